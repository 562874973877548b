"""Single mistakes, one per case: the path, the words, and for contradictions the whole rule; and that no input raises anything else."""

from datetime import date
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extproc.registry.load import RegistryError, parse_registry

DAY = date(2026, 10, 20)


def base() -> dict[str, Any]:
    return {
        "version": 1,
        "providers": {"p": {"kind": "openai-compatible", "url": "http://h:8000/v1"}},
        "targets": {"t": {"provider": "p", "model": "m"}, "u": {"provider": "p", "model": "n"}},
        "models": {"chat": {"targets": ["t"]}},
    }


def refused(data: Any) -> list[tuple[str, str]]:
    with pytest.raises(RegistryError) as caught:
        parse_registry(yaml.safe_dump(data, sort_keys=False).encode(), "r.yaml", DAY)
    return [(p.path, p.message) for p in caught.value.problems]


def changed(path: str, value: Any) -> dict[str, Any]:
    data = base()
    at = data
    *parents, last = path.split("/")
    for part in parents:
        at = at.setdefault(part, {})
    at[last] = value
    return data


def test_the_base_of_these_cases_is_good() -> None:
    assert parse_registry(yaml.safe_dump(base()).encode(), "r.yaml", DAY).resolve("chat") is not None


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("host/v1", "must start with https:// or http://"),
        ("file:///etc/passwd", "must start with https:// or http://"),
        ("https://user:pass@h/v1", "must not hold a user name or password"),
        ("https://h/v1?key=1", "must not hold a query or a fragment"),
        ("https://h/v1?", "must not hold a query or a fragment"),
        ("https://h/v1#x", "must not hold a query or a fragment"),
        ("https://", "has no valid host or port"),
        ("https://h:0/", "has no valid host or port"),
        ("https://h:/", "has no valid host or port"),
        ("https://h:99999/", "is not a URL: its host or port cannot be read"),
        ("https://[::1", "is not a URL: its host or port cannot be read"),
        ("https://[fe80::1%25eth0]/", "has no valid host or port"),
        ("https://-h-/v1", "has no valid host or port"),
        ("https://a..b/v1", "has no valid host or port"),
        ("https://h/a b", "must not hold spaces"),
        ("https://h/a\r\nx: y", "must not hold spaces"),
        ("https://hö/v1", "must not hold spaces, control characters or letters outside ASCII"),
        ("https://h/a/../b", "has a path that needs escaping"),
        ("https://h/a//b", "has a path that needs escaping"),
        ("https://h/%2e", "has a path that needs escaping"),
        ("https://h/v1/chat/completions", "is the base of an API and must not end with /chat/completions"),
        ("https://h/v1/messages/", "is the base of an API and must not end with /messages"),
    ],
)
def test_urls(url: str, message: str) -> None:
    ((path, found),) = refused(changed("providers/p/url", url))
    assert path == "providers.p.url"
    assert found.startswith(message)
    assert "user:pass" not in found


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "X-API-Key", "api-key", "x-goog-api-key", "X-Amz-Date", "cookie", "proxy-authorization"),
        *("Host", ":authority", ":path", "connection", "Transfer-Encoding", "content-length", "te", "upgrade", "keep-alive"),
        *("x-envoy-retry-on", "X-LLM-Target", "x-forwarded-for", "content-type", "accept-encoding", "traceparent", "a b", "ä", "a\r\nb"),
    ],
)
def test_header_names(name: str) -> None:
    ((path, found),) = refused(changed("targets/t/set_headers", {name: "v"}))
    assert path.startswith("targets.t.set_headers.")
    assert "cannot be set: " in found


@pytest.mark.parametrize("value", ["a\nb", "a\r\nx-api-key: b", "a\0", " a", "a ", "ü", "\x7f", "a" * 4097])
def test_header_values(value: str) -> None:
    ((_, found),) = refused(changed("targets/t/set_headers", {"x-a": value}))
    assert found.startswith("is no header value")


def test_headers_of_the_kind() -> None:
    data = base()
    data["providers"]["c"] = {"kind": "anthropic", "credential": {"env": "K"}}
    data["targets"]["t"] = {"provider": "c", "model": "m", "set_headers": {"Anthropic-Version": "1"}}
    assert refused(data) == [
        ("targets.t.set_headers.Anthropic-Version", 'the header "Anthropic-Version" cannot be set: the kind anthropic sets it'),
    ]


@pytest.mark.parametrize(
    ("path", "value", "where", "message"),
    [
        ("version", 2, "version", "this program reads version 1"),
        ("version", True, "version", "this program reads version 1"),
        ("models", {}, "models", "must be a mapping from names to models, is an empty mapping"),
        ("models", None, "models", "must be a mapping from names to models, is empty"),
        ("passthrough", {}, "passthrough", "must be a mapping from paths to {target: name}, is an empty mapping"),
        ("providers/p/kind", "watsonx", "providers.p.kind", 'the provider kind "watsonx" is not supported by this version yet'),
        ("providers/p/credential", {"vault": "x"}, "providers.p.credential.vault", "a Vault credential is not supported by this version yet"),
        ("providers/p/credential", {}, "providers.p.credential", "needs exactly one of `file`, `env`, `aws`, `google` and `entra`"),
        ("providers/p/credential", "", "providers.p.credential", "must say where the key is, not what it is"),
        ("providers/p/credential", {"env": "A B"}, "providers.p.credential.env", "is not the name of an environment variable"),
        ("providers/p/credentials", {}, "providers.p.credentials", "is an empty mapping"),
        ("providers/p/credentials", {"x@y": {"env": "A"}}, 'providers.p.credentials."x@y"', '"x@y" is no name for a credential'),
        ("targets/t/model", "a b", "targets.t.model", '"a b" is no model name'),
        ("targets/t/model", "../x", "targets.t.model", '"../x" is no model name'),
        ("targets/t/model", "a/../x", "targets.t.model", '"a/../x" is no model name'),
        ("targets/t/model", "a?alt=sse", "targets.t.model", '"a?alt=sse" is no model name'),
        ("targets/t/model", "a%2Fb", "targets.t.model", '"a%2Fb" is no model name'),
        ("targets/t/max_output_tokens", 0, "targets.t.max_output_tokens", "must be a whole number of tokens from 1"),
        ("targets/t/usd_per_million_tokens", {"input": 1}, "targets.t.usd_per_million_tokens", "needs `output`"),
        (
            "targets/t/usd_per_million_tokens",
            {"input": 1, "output": float("inf")},
            "targets.t.usd_per_million_tokens.output",
            "must be a price in US dollars",
        ),
        ("targets/" + "a" * 64, {"provider": "p", "model": "m"}, "targets.", "is no name for a target"),
        ("targets/otel", {"provider": "p", "model": "m"}, "targets.otel", "is the name of a cluster in Envoy's own configuration"),
        ("models/chat/targets", "t", "models.chat.targets", "must be a list of targets, in the order of fallback"),
        ("models/chat/targets", [{}], "models.chat.targets[0]", "is an empty mapping"),
        ("models/chat/targets", [{"t": -1}], "models.chat.targets[0].t", "must be a weight above 0"),
        ("models/chat/targets", [{"t": True}], "models.chat.targets[0].t", "must be a weight, a number above 0"),
        ("models/chat/targets", ["t", {"t": 1, "u": 1}], "models.chat.targets[1].t", 'the target "t" is listed twice'),
        ("models/chat/aliases", ["chat"], "models.chat.aliases[0]", '"chat" is already a name of models."chat"'),
        ("models/a*b", {"targets": ["t"]}, 'models."a*b"', '"a*b" is no model name'),
        ("models/chat/attempts", {"total": 11}, "models.chat.attempts.total", "must be a whole number from 1 to 10"),
        ("models/chat/attempts", {"total": 2, "same_target": 2}, "models.chat.attempts.same_target", "2 repeats of one target do not fit into 2"),
        ("models/chat/timeouts", {"deadline": "48h"}, "models.chat.timeouts.deadline", "must be more than 0s and at most 24h"),
        ("models/chat/strict", "no", "models.chat.strict", 'must be true or false, is "no"'),
    ],
)
def test_single_mistakes(path: str, value: Any, where: str, message: str) -> None:
    ((found_path, found),) = refused(changed(path, value))
    assert found_path.startswith(where)
    assert message in found


def test_an_unknown_vendor_is_told_how() -> None:
    with pytest.raises(RegistryError) as caught:
        parse_registry(yaml.safe_dump(changed("providers/p/kind", "my-gpu-cloud")).encode(), "r.yaml", DAY)
    assert "any other server with OpenAI's API is openai-compatible with its url" in (caught.value.problems[0].suggestion or "")


@pytest.mark.parametrize("model", ["models/gemini-2.5-pro", "a/b", "tunedModels/a/b", "tunedModels/a:b", "gemini:generateContent"])
def test_gemini_models_are_part_of_the_path(model: str) -> None:
    data = base()
    data["providers"]["p"] = {"kind": "gemini", "credential": {"env": "K"}}
    data["targets"]["t"]["model"] = model
    assert refused(data) == [("targets.t.model", f'"{model}" cannot be part of a Gemini path')]


def test_a_tuned_gemini_model() -> None:
    data = base()
    data["providers"]["p"] = {"kind": "gemini", "credential": {"env": "K"}}
    data["targets"]["t"]["model"] = "tunedModels/mine"
    assert parse_registry(yaml.safe_dump(data).encode(), "r.yaml", DAY).targets["t"].model == "tunedModels/mine"


def test_an_output_larger_than_the_window() -> None:
    data = base()
    data["targets"]["t"] |= {"context_window": 1000, "max_output_tokens": 1001}
    assert refused(data) == [("targets.t.max_output_tokens", "max_output_tokens (1001) is larger than context_window (1000)")]


def test_a_window_that_a_packaged_fact_contradicts() -> None:
    data = base()
    data["providers"]["p"] = {"kind": "openai", "credential": {"env": "K"}}
    data["targets"]["t"] = {"provider": "p", "model": "gpt-4o", "context_window": 1000}
    assert refused(data) == [("targets.t.context_window", "max_output_tokens (16384) is larger than context_window (1000)")]


def test_two_models_with_one_wildcard() -> None:
    data = base()
    data["models"] = {"a-*": {"targets": ["t"]}, "b": {"targets": ["t"], "aliases": ["a-*"]}}
    assert refused(data) == [("models.b.aliases[0]", '"a-*" is already a name of models."a-*", line 14')]


def test_a_deadline_that_the_defaults_contradict() -> None:
    data = changed("defaults/timeouts", {"first_token": "20s"})
    data["defaults"]["attempts"] = {"wait_at_most": "15s"}
    data["models"]["chat"]["timeouts"] = {"deadline": "10s"}
    data["models"]["other"] = {"targets": ["t"]}
    assert refused(data) == [
        ("models.chat.timeouts.deadline", "first_token (20s) is longer than the deadline over the whole chain (10s): no stream can take that long"),
        ("models.chat.timeouts.deadline", "wait_at_most (15s) is longer than the deadline over the whole chain (10s): no pause can take that long"),
    ]


def test_a_contradiction_of_the_defaults_is_reported_once() -> None:
    data = changed("defaults/timeouts", {"first_token": "20s", "deadline": "10s"})
    data["models"]["chat"]["timeouts"] = {"stall": "1s"}
    assert [path for path, _ in refused(data)] == ["defaults.timeouts.first_token"]


def test_a_broken_provider_does_not_make_its_targets_dangle() -> None:
    data = changed("providers/p/kind", "opnai")
    assert [path for path, _ in refused(data)] == ["providers.p.kind"]


def test_a_missing_section_does_not_hide_the_mistakes_of_the_next() -> None:
    data = base()
    del data["providers"]
    data["targets"]["t"]["modle"] = "m"
    data["models"]["chat"]["targets"] = ["x"]
    assert [path for path, _ in refused(data)] == ["", "targets.t.modle", "models.chat.targets[0]"]


@pytest.mark.parametrize("key", ["sk-ant-api03-abcdefghijkl", "AIza" + "SyA1234567890abcdefghijklmnopqrstuv", "0123456789abcdef0123456789abcdef"])
@pytest.mark.parametrize(
    "path",
    [
        *("providers/p/credential", "providers/p/credential/env", "providers/p/credential/file", "providers/p/credentials/a/env"),
        *("providers/p/api_key", "providers/p/kind", "providers/p/url", "targets/t/provider", "models/chat/targets", "models/chat/commit"),
        *("defaults/timeouts/stall", "defaults/strict", "targets/t/context_window"),
    ],
)
def test_a_key_in_the_wrong_place_is_never_quoted(path: str, key: str) -> None:
    data = changed(path, key)
    with pytest.raises(RegistryError) as caught:
        parse_registry(yaml.safe_dump(data).encode(), "r.yaml", DAY)
    assert key not in str(caught.value)
    assert key[4:16] not in repr(caught.value)


def test_a_key_as_a_name_is_never_quoted() -> None:
    key = "sk-ant-api03-abcdefghijkl"
    data = base()
    for section in ("providers", "targets", "models"):
        data[section][key] = {"x": 1}
    data[key] = {key: key}
    with pytest.raises(RegistryError) as caught:
        parse_registry(yaml.safe_dump(data).encode(), "r.yaml", DAY)
    assert key not in str(caught.value)


def accepts_or_refuses(raw: bytes) -> None:
    error = None
    try:
        parse_registry(raw, "r.yaml", DAY)
    except RegistryError as caught:
        error = caught
    if error is not None:
        assert error.problems
        assert str(error)
        assert [p.line for p in error.problems] == sorted(p.line for p in error.problems)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
    | st.sampled_from(["*", "t", "p", "20s", "none", "no"])
)
keys = st.sampled_from(
    [
        *("version", "providers", "targets", "models", "defaults", "kind", "url", "credential", "credentials", "file", "env", "model", "provider"),
        *(
            "region",
            "project",
            "location",
            "api_version",
            "aws",
            "google",
            "entra",
            "profile",
            "tenant",
            "client",
            "passthrough",
            "deployment",
            "api",
        ),
        *("capabilities", "set_headers", "envoy", "timeouts", "attempts", "commit", "aliases", "deadline", "total", "p", "t", "chat", "gpt-*"),
    ]
)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | st.text(max_size=5), inner, max_size=6), max_leaves=30
)


@given(trees)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_tree_is_accepted_or_refused(tree: Any) -> None:
    accepts_or_refuses(yaml.safe_dump(tree).encode())


@given(st.binary(max_size=200) | st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,? \n\t0.~<=", max_size=60).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_accepted_or_refused(raw: bytes) -> None:
    accepts_or_refuses(raw)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_good_file_with_one_value_replaced(data: st.DataObject) -> None:
    tree = base()
    tree["defaults"] = {"timeouts": {"stall": "1s"}, "attempts": {"total": 2}, "commit": "complete", "strict": True}
    tree["targets"]["t"] |= {"set_headers": {"x-a": "b"}, "capabilities": {"tools": True}, "envoy": {"a": 1}}
    at: Any = tree
    while True:
        key = data.draw(st.sampled_from(sorted(at)))
        if not isinstance(at[key], dict) or data.draw(st.booleans()):
            at[key] = data.draw(trees)
            break
        at = at[key]
    accepts_or_refuses(yaml.safe_dump(tree).encode())
