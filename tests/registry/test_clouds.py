"""Providers whose URL is made from a region or a project, that serve several wire formats, and whose credential is more than a key; and the paths
that are passed through to one of them."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import yaml

from extproc.core.operation import Operation
from extproc.dialects.catalog import DIALECTS
from extproc.providers.kinds import ENTRA_SCOPE, GOOGLE_SCOPE, KINDS
from extproc.registry.load import RegistryError, parse_registry
from extproc.registry.types import AwsSource, Credential, Passthrough, Registry, TokenSource

DAY = date(2026, 10, 20)
CLIENT = "0c7d0b7e-4e7c-4b0a-9d3a-2f1f2b3c4d5e"
AZURE = {"kind": "azure-openai", "url": "https://acme-eu.openai.azure.com", "credential": {"env": "K"}}
BEDROCK = {"kind": "bedrock", "region": "eu-central-1", "credential": {"aws": "default"}}
VERTEX = {"kind": "vertex", "project": "acme-prod", "location": "europe-west4", "credential": {"google": "default"}}


def data(provider: dict[str, Any], target: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "providers": {"p": provider},
        "targets": {"t": {"provider": "p", "model": "gpt-4o", **(target or {})}},
        "models": {"chat": {"targets": ["t"]}},
        **more,
    }


def loaded(*arguments: Any, **more: Any) -> Registry:
    return parse_registry(yaml.safe_dump(data(*arguments, **more)).encode(), "/etc/llm/r.yaml", DAY)


def refused(*arguments: Any, **more: Any) -> list[tuple[str, str]]:
    with pytest.raises(RegistryError) as caught:
        loaded(*arguments, **more)
    assert all(problem.line for problem in caught.value.problems)
    return [(p.path, p.message) for p in caught.value.problems]


def reached(registry: Registry, client: str, target: str = "t") -> tuple[str, str, str]:
    """(dialect, base path, query) in which a chat of `client` goes out."""
    via = registry.targets[target].upstream(Operation.CHAT, client)
    assert via is not None
    return via.dialect, via.base_path, via.query


# Kinds


def test_every_format_of_every_kind_is_one_that_we_speak() -> None:
    for kind in KINDS.values():
        for speaks in (*kind.speaks, *kind.undated):
            assert speaks.dialect in DIALECTS, f"{kind.name}: {speaks.dialect}"
            assert DIALECTS[speaks.dialect].operation is speaks.operation


@pytest.mark.parametrize(
    ("version", "model", "deployment", "expected"),
    [
        ("2025-04-01-preview", "gpt-4o", "prod-4o", ("openai_chat", "/openai/deployments/prod-4o", "api-version=2025-04-01-preview")),
        ("2024-10-21", "gpt-4o", None, ("openai_chat", "/openai/deployments/gpt-4o", "api-version=2024-10-21")),
        (None, "gpt-4o", "prod-4o", ("openai_chat", "/openai/v1", "")),
        ("v1", "gpt-4o", None, ("openai_chat", "/openai/v1", "")),
        ("preview", "*", None, ("openai_chat", "/openai/v1", "api-version=preview")),
    ],
)
def test_azure(version: str | None, model: str, deployment: str | None, expected: tuple[str, str, str]) -> None:
    provider = {**AZURE, **({"api_version": version} if version else {})}
    registry = loaded(provider, {"model": model, **({"deployment": deployment} if deployment else {})})
    assert reached(registry, "openai_chat") == expected
    facts = registry.targets["t"].facts
    assert (facts.model, facts.wire_model, facts.vendor) == (model, deployment or model, "openai")


@pytest.mark.parametrize(
    ("version", "model", "client", "expected"),
    [
        ("2025-04-01-preview", "gpt-4o", "openai_responses", ("openai_responses", "/openai", "api-version=2025-04-01-preview")),
        ("2025-03-01-preview", "o3-pro", "openai_chat", ("openai_responses", "/openai", "api-version=2025-03-01-preview")),
        # before there was a Responses API
        ("2024-10-21", "gpt-4o", "openai_responses", ("openai_chat", "/openai/deployments/gpt-4o", "api-version=2024-10-21")),
        ("v1", "gpt-4o", "openai_responses", ("openai_responses", "/openai/v1", "")),
        ("preview", "o3-pro", "anthropic_messages", ("openai_responses", "/openai/v1", "api-version=preview")),
    ],
)
def test_both_chat_formats_of_azure(version: str, model: str, client: str, expected: tuple[str, str, str]) -> None:
    assert reached(loaded({**AZURE, "api_version": version}, {"model": model}), client) == expected


@pytest.mark.parametrize(("api", "dialect"), [("chat", "openai_chat"), ("responses", "openai_responses")])
@pytest.mark.parametrize("client", ["openai_chat", "openai_responses", "gemini"])
@pytest.mark.parametrize("provider", [AZURE, {"kind": "openai", "credential": {"env": "K"}}])
def test_one_api_of_openai_alone(provider: dict[str, Any], client: str, api: str, dialect: str) -> None:
    registry = loaded(provider, {"model": "gpt-5", "api": api})
    assert reached(registry, client)[0] == dialect
    assert registry.targets["t"].upstream(Operation.EMBEDDINGS, "") is not None


def test_azure_behind_a_gateway_with_a_path() -> None:
    registry = loaded({**AZURE, "kind": "azure", "url": "https://apim.example/llm", "api_version": "2024-10-21"})
    assert reached(registry, "openai_chat")[1] == "/llm/openai/deployments/gpt-4o"
    assert registry.providers["p"].kind.name == "azure-openai"


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-central-1", "bedrock-runtime.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "bedrock-runtime.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "bedrock-runtime.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_bedrock(region: str, host: str) -> None:
    provider = loaded({**BEDROCK, "region": region}, {"model": "amazon.nova-pro-v1:0"}).providers["p"]
    assert (provider.scheme, provider.host, provider.port, provider.base_path, provider.region) == ("https", host, 443, "", region)


@pytest.mark.parametrize(
    ("model", "claude"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", True),
        ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", True),
        ("arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0", True),
        ("arn:aws:bedrock:eu-central-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0", True),
        ("arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1b2c3", False),
        ("amazon.nova-pro-v1:0", False),
        ("meta.llama3-3-70b-instruct-v1:0", False),
        ("*", False),
    ],
)
def test_formats_of_bedrock(model: str, claude: bool) -> None:
    registry = loaded(BEDROCK, {"model": model})
    assert reached(registry, "anthropic_messages")[0] == ("anthropic_messages@bedrock" if claude else "bedrock_converse")
    assert reached(registry, "bedrock_converse")[0] == "bedrock_converse"
    assert registry.targets["t"].facts.vendor == ("anthropic" if claude else "bedrock")


def test_one_api_of_bedrock_alone() -> None:
    registry = loaded(BEDROCK, {"model": "anthropic.claude-3-haiku-20240307-v1:0", "api": "converse"})
    assert reached(registry, "anthropic_messages")[0] == "bedrock_converse"


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
@pytest.mark.parametrize(
    ("model", "dialect", "publisher", "vendor"),
    [("gemini-2.5-pro", "gemini", "google", "gemini"), ("claude-sonnet-4-5@20250929", "anthropic_messages@vertex", "anthropic", "anthropic")],
)
def test_vertex(location: str, host: str, model: str, dialect: str, publisher: str, vendor: str) -> None:
    registry = loaded({**VERTEX, "location": location}, {"model": model})
    assert registry.providers["p"].host == host
    assert reached(registry, "openai_chat") == (dialect, f"/v1/projects/acme-prod/locations/{location}/publishers/{publisher}", "")
    assert registry.targets["t"].facts.vendor == vendor


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:8080", "/v1/projects/acme-prod/locations/europe-west4"),
        ("https://vertex.internal/", "/v1/projects/acme-prod/locations/europe-west4"),
        ("https://vertex.internal/x/{location}/{project}", "/x/europe-west4/acme-prod"),
    ],
)
def test_vertex_somewhere_else(url: str, base: str) -> None:
    assert loaded({**VERTEX, "url": url}, {"model": "gemini-2.5-pro"}).providers["p"].base_path == base


def test_bedrock_somewhere_else() -> None:
    provider = loaded({**BEDROCK, "url": "https://vpce-1.bedrock-runtime.{region}.vpce.amazonaws.com"}, {"model": "amazon.nova-pro-v1:0"}).providers[
        "p"
    ]
    assert (provider.host, provider.region) == ("vpce-1.bedrock-runtime.eu-central-1.vpce.amazonaws.com", "eu-central-1")


@pytest.mark.parametrize(
    ("provider", "target", "path", "message"),
    [
        ({"kind": "azure-openai", "credential": {"env": "K"}}, {}, "providers.p", "the kind azure-openai needs `url`"),
        ({**AZURE, "credential": None}, {}, "providers.p.credential", "is empty"),
        ({k: v for k, v in AZURE.items() if k != "credential"}, {}, "providers.p", "has no credential, and the kind azure-openai"),
        ({**AZURE, "url": "https://a.openai.azure.com/openai/v1"}, {}, "providers.p.url", "must end before /openai"),
        ({**AZURE, "url": "https://a.openai.azure.com/openai/deployments/x"}, {}, "providers.p.url", "must end before /openai"),
        ({**AZURE, "api_version": "2025"}, {}, "providers.p.api_version", '"2025" is no version'),
        ({**AZURE, "api_version": "2025-04-01&x=1"}, {}, "providers.p.api_version", '"2025-04-01&x=1" is no version'),
        ({**AZURE, "api_version": "latest"}, {}, "providers.p.api_version", '"latest" is no version'),
        ({**AZURE, "api_version": "2024-10-21"}, {"model": "*"}, "targets.t", 'needs `deployment`: it is part of the path, and "*" cannot be'),
        (
            {**AZURE, "api_version": "2024-10-21"},
            {"model": "meta/llama"},
            "targets.t",
            'needs `deployment`: it is part of the path, and "meta/llama"',
        ),
        (AZURE, {"deployment": "a/b"}, "targets.t.deployment", '"a/b" is no name of a deployment'),
        (AZURE, {"deployment": "../x"}, "targets.t.deployment", '"../x" is no name of a deployment'),
        (AZURE, {"api": "converse"}, "targets.t.api", 'the kind azure-openai has no api "converse"; it has: chat, responses'),
        ({"kind": "anthropic", "credential": {"env": "K"}}, {"api": "chat"}, "targets.t.api", 'the kind anthropic has no api "chat" to choose from'),
        ({"kind": "openai", "credential": {"env": "K"}}, {"deployment": "x"}, "targets.t.deployment", "the kind openai has no deployments"),
        ({"kind": "openai", "credential": {"env": "K"}, "region": "eu-central-1"}, {}, "providers.p.region", "says nothing: the kind openai"),
        ({"kind": "openai", "credential": {"env": "K"}, "api_version": "v1"}, {}, "providers.p.api_version", "says nothing: the kind openai"),
        ({"kind": "bedrock", "credential": {"aws": "default"}}, {}, "providers.p", "the kind bedrock needs `region`"),
        ({**BEDROCK, "url": "http://127.0.0.1:1", "region": None}, {}, "providers.p.region", "must be a region of AWS"),
        ({**BEDROCK, "region": "eu"}, {}, "providers.p.region", '"eu" is not a region of AWS'),
        ({**BEDROCK, "region": "evil.example/eu-central-1"}, {}, "providers.p.region", "is not a region of AWS"),
        ({**BEDROCK, "region": "EU-CENTRAL-1"}, {}, "providers.p.region", "is not a region of AWS"),
        ({**BEDROCK, "project": "acme-prod"}, {}, "providers.p.project", "says nothing: the kind bedrock"),
        ({**VERTEX, "project": "a/../b-cdef"}, {}, "providers.p.project", "is not the id or the number of a Google Cloud project"),
        ({**VERTEX, "location": "evil.example/"}, {}, "providers.p.location", "is not a location of Vertex AI"),
        ({**VERTEX, "url": "https://v.example/whole/base"}, {}, "providers.p.project", "says nothing: the kind vertex does not need it here"),
        ({**VERTEX, "url": "https://v.example/{region}"}, {}, "providers.p", "the kind vertex needs `region`"),
        ({"kind": "vertex", "credential": {"google": "default"}}, {}, "providers.p", "the kind vertex needs `project`"),
        ({**VERTEX, "location": None, "region": "europe-west4"}, {}, "providers.p.location", "must be a location of Vertex AI"),
        (
            {"kind": "vertex", "project": "acme-prod", "region": "europe-west4", "credential": {"google": "default"}},
            {},
            "providers.p.region",
            "is not what the kind vertex calls it",
        ),
        ({"kind": "aws", "region": "eu-central-1"}, {}, "providers.p.kind", 'no provider kind "aws"'),
        (BEDROCK, {"model": "amazon.nova-pro-v1:0", "api": "invoke"}, "targets.t.api", "is not reached by the api invoke"),
        ({"kind": "openai", "credential": {"env": "K"}}, {"model": "o1-pro", "api": "chat"}, "targets.t.api", "is not reached by the api chat"),
        (
            {**AZURE, "api_version": "2024-10-21"},
            {"api": "responses"},
            "targets.t.api",
            'the provider\'s api_version 2024-10-21 has no api "responses"',
        ),
        (VERTEX, {"model": "*"}, "targets.t", 'the kind vertex serves no model "*"'),
        (VERTEX, {"model": "publishers/google/x"}, "targets.t.model", "cannot be part of a Gemini path"),
    ],
)
def test_refused(provider: dict[str, Any], target: dict[str, Any], path: str, message: str) -> None:
    found = refused(provider, target)
    assert any(where == path and message in words for where, words in found), found


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        (BEDROCK, "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (BEDROCK, "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (BEDROCK, "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (VERTEX, "claude-sonnet-4-5@20250929"),
    ],
)
def test_limits_of_claude_by_its_names_elsewhere(provider: dict[str, Any], model: str) -> None:
    """Anthropic's format needs a `max_tokens` that fits."""
    assert loaded(provider, {"model": model}).targets["t"].facts.max_output_tokens == 64000


# Credentials


@pytest.mark.parametrize(
    ("provider", "credential", "expected"),
    [
        (BEDROCK, {"aws": "default"}, Credential(aws=AwsSource())),
        (BEDROCK, {"aws": {"file": "keys/aws"}}, Credential(aws=AwsSource("/etc/llm/keys/aws"))),
        (BEDROCK, {"aws": {"file": "/s/aws", "profile": "prod"}}, Credential(aws=AwsSource("/s/aws", "prod"))),
        (BEDROCK, {"env": "BEDROCK_API_KEY"}, Credential(env="BEDROCK_API_KEY")),
        (VERTEX, {"google": "default"}, Credential(token=TokenSource("google", GOOGLE_SCOPE))),
        (VERTEX, {"google": {"file": "/s/sa.json"}}, Credential(token=TokenSource("google", GOOGLE_SCOPE, "/s/sa.json"))),
        (AZURE, {"entra": "workload-identity"}, Credential(token=TokenSource("entra", ENTRA_SCOPE, settings=(("method", "workload-identity"),)))),
        (
            AZURE,
            {"entra": {"managed_identity": CLIENT, "scope": "https://ai.azure.com/.default"}},
            Credential(token=TokenSource("entra", "https://ai.azure.com/.default", None, (("method", "managed-identity"), ("client", CLIENT)))),
        ),
        (
            AZURE,
            {"entra": {"tenant": "contoso.onmicrosoft.com", "client": CLIENT, "env": "AZURE_SECRET"}},
            Credential(
                token=TokenSource(
                    "entra",
                    ENTRA_SCOPE,
                    None,
                    (("method", "secret"), ("tenant", "contoso.onmicrosoft.com"), ("client", CLIENT), ("env", "AZURE_SECRET")),
                )
            ),
        ),
        (
            AZURE,
            {"entra": {"tenant": CLIENT, "client": CLIENT, "certificate": "/s/cert.pem"}},
            Credential(token=TokenSource("entra", ENTRA_SCOPE, "/s/cert.pem", (("method", "certificate"), ("tenant", CLIENT), ("client", CLIENT)))),
        ),
    ],
)
def test_credentials(provider: dict[str, Any], credential: dict[str, Any], expected: Credential) -> None:
    model = {"bedrock": "amazon.nova-pro-v1:0", "vertex": "gemini-2.5-pro"}.get(provider["kind"], "gpt-4o")
    assert loaded({**provider, "credential": credential}, {"model": model}).providers["p"].credentials == (expected,)


def test_a_pool_of_accounts() -> None:
    pool = {"a": {"aws": {"file": "/s/aws", "profile": "a"}}, "b": {"aws": {"file": "/s/aws", "profile": "b"}}, "c": {"file": "/s/key"}}
    provider = {k: v for k, v in BEDROCK.items() if k != "credential"} | {"credentials": pool}
    registry = loaded(provider, {"model": "amazon.nova-pro-v1:0"})
    assert registry.targets["t"].clusters == ("t@a", "t@b", "t@c")


def test_a_token_for_any_server_of_openais_dialect() -> None:
    provider = {"kind": "openai-compatible", "url": "https://v.example/v1", "credential": {"google": "default"}}
    assert loaded(provider).providers["p"].credentials[0].token == TokenSource("google", GOOGLE_SCOPE)


@pytest.mark.parametrize(
    ("provider", "credential", "path", "message"),
    [
        (AZURE, {"aws": "default"}, "credential.aws", "the kind azure-openai takes no such credential; these do: bedrock"),
        (BEDROCK, {"google": "default"}, "credential.google", "the kind bedrock takes no such credential; these do: openai-compatible, vertex"),
        (VERTEX, {"entra": "default"}, "credential.entra", "the kind vertex takes no such credential"),
        (BEDROCK, {"aws": "profile"}, "credential.aws", 'must be default, or {file: /path, profile: name}, is "profile"'),
        (BEDROCK, {"aws": {"profile": "prod"}}, "credential.aws", "needs `file`"),
        (BEDROCK, {"aws": {"file": "/s/aws", "profile": "a\nb"}}, "credential.aws.profile", "is no name of a profile"),
        (BEDROCK, {"aws": {"access_key_id": "x"}}, "credential.aws.access_key_id", "is not a known key"),
        (BEDROCK, {"aws": "default", "env": "K"}, "credential", "needs exactly one of"),
        (BEDROCK, {"gcp": "default"}, "credential.gcp", "is not a known key"),
        (VERTEX, {"google": "~/sa.json"}, "credential.google", "must be default, or {file: /path} of a service account"),
        (VERTEX, {"google": {"file": "/s/", "scope": "x"}}, "credential.google.file", "is not the path of a file"),
        (VERTEX, {"google": {"file": "/s/x", "scope": "x y"}}, "credential.google.scope", "is not a scope"),
        (AZURE, {"entra": "cli"}, "credential.entra", "must be one of workload-identity, managed-identity, default"),
        (AZURE, {"entra": {"tenant": "t"}}, "credential.entra", "needs `client`"),
        (AZURE, {"entra": {"tenant": "a/b", "client": CLIENT, "env": "K"}}, "credential.entra.tenant", "is not the id or the domain of a tenant"),
        (AZURE, {"entra": {"tenant": "t", "client": "x", "env": "K"}}, "credential.entra.client", "is not the client id"),
        (AZURE, {"entra": {"tenant": "t", "client": CLIENT}}, "credential.entra", "needs exactly one of `file` and `env`"),
        (AZURE, {"entra": {"tenant": "t", "client": CLIENT, "env": "a b"}}, "credential.entra.env", "is not the name of an environment variable"),
        (AZURE, {"entra": {"managed_identity": CLIENT, "env": "K"}}, "credential.entra.env", "stands beside `managed_identity`"),
    ],
)
def test_refused_credentials(provider: dict[str, Any], credential: dict[str, Any], path: str, message: str) -> None:
    found = refused({**provider, "credential": credential})
    assert any(where == f"providers.p.{path}" and message in words for where, words in found), found


@pytest.mark.parametrize("place", ["tenant", "client", "env", "file", "certificate", "managed_identity", "scope"])
def test_a_secret_in_the_wrong_place_is_never_quoted(place: str) -> None:
    secret = "Zk3v9QmWx81LpTn5RbYc7Ua2Zk3v9QmWx81LpTn5"
    with pytest.raises(RegistryError) as caught:
        loaded({**AZURE, "credential": {"entra": {"tenant": "t", "client": CLIENT, place: secret}}})
    assert secret not in str(caught.value)


# Paths that are passed through

POOL = {"kind": "openai", "credentials": {"a": {"env": "A"}, "b": {"env": "B"}}}
ONE = {"kind": "openai", "credential": {"env": "A"}}


def test_the_longest_path_comes_first() -> None:
    paths = ["/v1/files/**", "/v1/batches", "/v1/files/*/content", "/v1/files/*", "/v1/files", "/v1/responses/**"]
    with pytest.raises(RegistryError, match="is no path"):
        loaded(ONE, passthrough={path: {"target": "t"} for path in paths})
    paths.remove("/v1/files/*/content")
    found = loaded(ONE, passthrough={path: {"target": "t"} for path in paths}).passthrough
    assert [entry.path for entry in found] == ["/v1/responses/**", "/v1/batches", "/v1/files", "/v1/files/*", "/v1/files/**"]
    assert {entry.cluster for entry in found} == {"t"}


def test_one_account_of_a_pool() -> None:
    assert loaded(POOL, passthrough={"/v1/files/**": {"target": "t", "credential": "b"}}).passthrough == (Passthrough("/v1/files/**", "t@b"),)


@pytest.mark.parametrize(
    ("provider", "path", "entry", "message"),
    [
        (ONE, "/v1/chat/completions", {"target": "t"}, "is served here"),
        (ONE, "/openai/v1/responses", {"target": "t"}, "is served here"),
        (ONE, "/v1/messages", {"target": "t"}, "is served here"),
        (ONE, "/v2/chat", {"target": "t"}, "is served here"),
        (ONE, "/**", {"target": "t"}, "is no path"),
        (ONE, "/v1/**", {"target": "t"}, "is too wide"),
        (ONE, "/v1/*", {"target": "t"}, "is too wide"),
        (ONE, "/openai/v1/**", {"target": "t"}, "is too wide"),
        (ONE, "/compatible-mode/v1/*", {"target": "t"}, "is too wide"),
        (ONE, "/v1beta/openai/**", {"target": "t"}, "is too wide"),
        (ONE, "v1/files", {"target": "t"}, "is no path"),
        (ONE, "/v1/files/", {"target": "t"}, "is no path"),
        (ONE, "/v1//files", {"target": "t"}, "is no path"),
        (ONE, "/v1/../files/**", {"target": "t"}, "is no path"),
        (ONE, "/v1/%2e%2e/files", {"target": "t"}, "is no path"),
        (ONE, "/v1/fi*/x", {"target": "t"}, "is no path"),
        (ONE, "/v1/files?x=1", {"target": "t"}, "is no path"),
        (ONE, "/v1/files/***", {"target": "t"}, "is no path"),
        (ONE, "/v1/files", {"target": "x"}, 'no target named "x"'),
        (ONE, "/v1/files", {}, "needs `target`"),
        (ONE, "/v1/files", {"target": "t", "credential": "a"}, "has a single credential"),
        (POOL, "/v1/files", {"target": "t"}, "needs `credential`"),
        (POOL, "/v1/files", {"target": "t", "credential": "c"}, 'has no credential "c"'),
        (ONE, "/v1/files", {"target": "t", "fallback": "u"}, "is not a known key"),
    ],
)
def test_refused_passthrough(provider: dict[str, Any], path: str, entry: dict[str, Any], message: str) -> None:
    found = refused(provider, passthrough={path: entry})
    assert any(where.startswith("passthrough.") and message in words for where, words in found), found
