"""The `providers` section: which endpoint, of which kind, with whose key. The file says where a key is, never what it is."""

from __future__ import annotations

import ipaddress
import os.path
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from extproc.providers.kinds import KINDS, QUIRKS, ProviderKind
from extproc.registry.fields import Field, Record
from extproc.registry.problems import looks_secret, shown
from extproc.registry.types import Credential, Provider
from extproc.registry.yaml_marks import Scalar

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
NAME_RULE = "must be 1 to 63 lower-case letters, digits, dots, dashes or underscores, the first a letter or a digit"

LATER_KINDS = frozenset("ai21 azure azure-openai bedrock cohere huggingface mistral ollama replicate vertex vertex-ai watsonx".split())  # noqa: SIM905
"""Endpoints with a dialect or an envelope of their own, which this version does not speak."""
COMPATIBLE = frozenset("cerebras deepseek fireworks groq llama.cpp lmstudio nvidia openrouter perplexity sglang tgi together vllm x-ai xai".split())  # noqa: SIM905
"""Vendors that are no kind of their own because they speak OpenAI's dialect."""
LATER_CREDENTIALS = {
    "aws": "an AWS credential",
    "entra": "a Microsoft Entra credential",
    "gcp": "a Google Cloud credential",
    "google": "a Google Cloud credential",
    "vault": "a Vault credential",
}
LATER_KEYS = {
    "api_version": "`api_version` (Azure)",
    "region": "`region` (Bedrock, Vertex)",
    "project": "`project` (Vertex)",
    "location": "`location` (Vertex)",
}
_KEY_ADVICE = "keys are not written in this file: use credential: {file: /path} or {env: NAME}"
HINTS = {
    **dict.fromkeys(("api_key", "apikey", "api-key", "key", "token", "secret", "password"), _KEY_ADVICE),
    **dict.fromkeys(("base_url", "api_base", "endpoint", "host"), "use url"),
    **dict.fromkeys(("type", "provider", "dialect"), "use kind"),
}
KNOWN = ("kind", "url", "credential", "credentials", "data_stays_in", "quirks", "envoy")
DIALECT_PATHS = ("/chat/completions", "/completions", "/messages", "/responses", "/embeddings", "/models")

_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\.?\Z")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~@:+-]+)*\Z")
_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,31}\Z")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A parsed base URL."""

    scheme: str
    host: str
    port: int
    path: str


def read_providers(section: Field, directory: str) -> dict[str, Provider | None] | None:
    """By name; None for one that has problems (and for the section), so that its targets are not called dangling. `directory` holds the file."""
    entries = section.entries("a mapping from names to providers")
    return None if entries is None else {name: _provider(name, entry, directory) for name, entry in entries.items()}


def check_name(field: Field, name: str, what: str) -> None:
    """Reports a name that cannot become part of an Envoy cluster's name."""
    if not NAME.match(name):
        field.fail(f"{shown(name)} is no name for a {what}: it {NAME_RULE}")


def _provider(name: str, field: Field, directory: str) -> Provider | None:
    before = len(field.problems)
    check_name(field, name, "provider")
    record = field.record(KNOWN, later=LATER_KEYS, hints=HINTS, wanted="a mapping such as {kind: openai, credential: {env: OPENAI_API_KEY}}")
    if record is None:
        return None
    kind = _kind(record)
    endpoint = _endpoint(record, kind)
    credentials = _credentials(record, kind, directory)
    stays_in = _regions(record.get("data_stays_in"))
    quirks = _quirks(record.get("quirks"))
    envoy = read_envoy(record.get("envoy"))
    if kind is None or endpoint is None or len(field.problems) > before:
        return None
    return Provider(
        name,
        kind,
        endpoint.scheme,
        endpoint.host,
        endpoint.port,
        endpoint.path,
        credentials,
        data_stays_in=stays_in,
        envoy=envoy,
        quirks=kind.quirks | quirks,
    )


def _kind(record: Record) -> ProviderKind | None:
    field = record.need("kind", "openai")
    name = field.text("a provider kind") if field else None
    if field is None or name is None:
        return None
    if name in KINDS:
        return KINDS[name]
    if name.lower() in LATER_KINDS:
        field.fail(f"the provider kind {shown(name)} is not supported by this version yet", f"supported: {', '.join(KINDS)}")
    elif name.lower() in COMPATIBLE:
        field.fail(f"no provider kind {shown(name)}", "it speaks OpenAI's dialect: use openai-compatible with its url")
    else:
        guess = field.problems.did_you_mean(name, KINDS)
        field.fail(f"no provider kind {shown(name)}", guess or f"known: {', '.join(KINDS)}")
    return None


def _endpoint(record: Record, kind: ProviderKind | None) -> Endpoint | None:
    field = record.get("url")
    if field is not None:
        return parse_url(field)
    if kind is not None and kind.url is None:
        record.field.fail(f"the kind {kind.name} needs `url`", 'for example url: "http://vllm.models.svc:8000/v1"')
        return None
    if kind is None or kind.url is None:
        return None
    parts = urlsplit(kind.url)
    return Endpoint(parts.scheme, parts.hostname or "", 443 if parts.scheme == "https" else 80, parts.path)


def parse_url(field: Field) -> Endpoint | None:
    """An http or https base URL. The text of a refused one is not quoted: people write keys into URLs."""
    text = field.text('a URL such as "https://host/v1"')
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        field.fail("is not a URL: its host or port cannot be read")
        return None
    before = len(field.problems)
    if parts.scheme not in ("http", "https"):
        field.fail("must start with https:// or http://")
    elif not text.isascii() or any(c.isspace() or not c.isprintable() for c in text):
        field.fail("must not hold spaces, control characters or letters outside ASCII", "write the host in punycode")
    elif "@" in parts.netloc:
        field.fail("must not hold a user name or password", "use credential")
    elif "?" in text or "#" in text:
        field.fail("must not hold a query or a fragment", "a key belongs to credential, a path prefix before the ?")
    elif not _is_host(host) or port == 0 or parts.netloc.endswith(":"):
        field.fail("has no valid host or port")
    path = parts.path.rstrip("/")
    if len(field.problems) == before and (not _PATH.match(path) or any(s in (".", "..") for s in path.split("/"))):
        field.fail("has a path that needs escaping or holds empty segments, . or ..")
    ending = next((p for p in DIALECT_PATHS if path.endswith(p)), None)
    if ending:
        field.fail(f"is the base of an API and must not end with {ending}: that part is added per request", f"leave {ending} off")
    if len(field.problems) > before:
        return None
    return Endpoint(parts.scheme, host.rstrip("."), port or (443 if parts.scheme == "https" else 80), path)


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST.match(host) is not None
    return "%" not in host


def _credentials(record: Record, kind: ProviderKind | None, directory: str) -> tuple[Credential, ...]:
    one, pool = record.get("credential"), record.get("credentials")
    if one is not None and pool is not None:
        pool.fail("stands beside `credential`", "keep one of them; a pool holds all keys")
    if one is not None:
        if isinstance(one.node, Scalar) and one.node.text == "none":
            return (Credential(),)
        found = _credential("", one, directory)
        return (found,) if found else ()
    if pool is not None:
        entries = pool.entries("a mapping from names to credentials") or {}
        for name, field in entries.items():
            check_name(field, name, "credential")
        return tuple(c for name, field in entries.items() if (c := _credential(name, field, directory)))
    if kind is not None and kind.url is not None and record.get("url") is None:
        record.field.fail(
            f"has no credential, and {urlsplit(kind.url).hostname} serves nobody without one",
            "credential: {env: NAME} or {file: /path}; credential: none if a proxy on the way adds the key",
        )
    return (Credential(),)


def _credential(name: str, field: Field, directory: str) -> Credential | None:
    if isinstance(field.node, Scalar):
        # never quoted: whatever stands here in place of a reference is probably the key itself
        field.fail("must say where the key is, not what it is" if field.node.kind != "null" else "is empty", _KEY_ADVICE)
        return None
    record = field.record(("file", "env"), later=LATER_CREDENTIALS, hints=HINTS, wanted="{file: /path} or {env: NAME}")
    if record is None:
        return None
    file, env = record.get("file"), record.get("env")
    if (file is None) == (env is None):
        if not record.refused:
            field.fail("needs exactly one of `file` and `env`")
        return None
    if env is not None:
        variable = _reference(env, "the name of an environment variable")
        if variable is not None and not _ENV.match(variable):
            env.fail("is not the name of an environment variable: letters, digits and underscores")
            return None
        return Credential(name, env=variable) if variable else None
    path = _reference(file, "the path of a file") if file is not None else None
    if path is None or file is None:
        return None
    if path.startswith("~") or "\0" in path or path.endswith("/"):
        file.fail("is not the path of a file that Envoy could read", "write it absolute, or relative to this file")
        return None
    return Credential(name, file=os.path.normpath(os.path.join(directory, path)))  # noqa: PTH118 - Path keeps `..`


def _reference(field: Field, wanted: str) -> str | None:
    """The text, unless it is a key itself; a wrong value is not quoted either."""
    if isinstance(field.node, Scalar) and looks_secret(field.node.text) and "/" not in field.node.text:
        field.fail(f"looks like a key; here stands {wanted} that holds it", _KEY_ADVICE)
        return None
    return field.text(wanted)


def _regions(field: Field | None) -> frozenset[str]:
    found: set[str] = set()
    for item in (field.items("a list of regions such as [eu]") if field else None) or []:
        region = item.text("the name of a region")
        if region is None:
            continue
        if not _REGION.match(region):
            item.fail(f"{shown(region)} is no region", "lower-case letters, digits and dashes, such as eu")
        elif region in found:
            item.fail(f"{shown(region)} is listed twice")
        found.add(region)
    return frozenset(found)


def _quirks(field: Field | None) -> frozenset[str]:
    found: set[str] = set()
    for item in (field.items("a list of quirks") if field else None) or []:
        quirk = item.text("the name of a quirk")
        if quirk is None:
            continue
        if quirk not in QUIRKS:
            item.fail(f"no quirk {shown(quirk)}; known: {', '.join(QUIRKS)}", item.problems.did_you_mean(quirk, QUIRKS))
        found.add(quirk)
    return frozenset(found)


def read_envoy(field: Field | None) -> dict[str, object]:
    """A block of Envoy's cluster configuration as plain data; `check` and Envoy itself judge what it says."""
    if field is None or field.entries("a mapping of Envoy cluster settings") is None:
        return {}
    data = field.data()
    return data if isinstance(data, dict) else {}
