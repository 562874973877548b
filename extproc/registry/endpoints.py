"""The `providers` section: which endpoint, of which kind, where. Whose key it gets is in `credentials`.

What is put into a URL (a region, a project) is held to the exact form that its owner gives it, so nothing written there can lead elsewhere.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from extproc.providers.kinds import ALIASES, KINDS, QUIRKS, ProviderKind
from extproc.registry.credentials import KEY_ADVICE, check_name, read_credentials
from extproc.registry.fields import Field, Record
from extproc.registry.problems import shown
from extproc.registry.promises import read_promises
from extproc.registry.types import Provider
from extproc.registry.yaml_marks import Scalar

LATER_KINDS = frozenset({"ai21", "replicate", "watsonx"})
"""Endpoints with a dialect of their own, which this version does not speak."""
USUAL_NAMES = {
    **dict.fromkeys(("aws", "amazon", "amazon-bedrock", "aws-bedrock"), "bedrock"),
    **dict.fromkeys(("google", "google-ai", "google-genai", "googleai"), "gemini, or vertex for Google Cloud"),
    **dict.fromkeys(("gcp", "google-vertex", "vertexai", "vertex_ai"), "vertex"),
    "claude": "anthropic",
    "grok": "xai",
    "llamacpp": "llama.cpp",
}
"""What people call a kind that has another name here."""
HINTS = {
    **dict.fromkeys(("api_key", "apikey", "api-key", "key", "token", "secret", "password"), KEY_ADVICE),
    **dict.fromkeys(("base_url", "api_base", "endpoint", "host"), "use url"),
    **dict.fromkeys(("type", "provider", "dialect"), "use kind"),
    **dict.fromkeys(("project_id", "gcp_project"), "use project"),
    **dict.fromkeys(("aws_region", "region_name"), "use region"),
    "deployment": "it belongs to the target",
    **dict.fromkeys(("residency", "region_lock", "data_residency", "regions", "stays_in"), "use data_stays_in: [eu]"),
    **dict.fromkeys(("no_training", "zero_retention", "zdr", "privacy", "policies"), "use data_policy: [no_training]"),
    **dict.fromkeys(("weight", "priority", "rpm", "tpm", "requests_per_minute", "concurrency"), "it belongs to the target, or to a model's targets"),
}
PLACES = ("region", "project", "location")
"""What a kind's `url` may hold in braces."""
_MISTAKEN = {"region": "location", "location": "region"}
"""Two clouds' words for the same."""
KNOWN = ("kind", "url", *PLACES, "api_version", "credential", "credentials", "data_stays_in", "data_policy", "quirks", "envoy")
DIALECT_PATHS = ("/chat/completions", "/completions", "/messages", "/responses", "/embeddings", "/models")

_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\.?\Z")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~@:+-]+)*\Z")
_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,31}\Z")
_PLACE: dict[str, tuple[re.Pattern[str], str]] = {
    "region": (re.compile(r"[a-z]{2,4}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}\Z"), "a region of AWS such as eu-central-1"),
    "project": (
        re.compile(r"(?:[a-z][a-z0-9.-]{1,62}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]\Z|[0-9]{6,20}\Z"),
        "the id or the number of a Google Cloud project",
    ),
    "location": (re.compile(r"[a-z]{2,}(?:-[a-z]+[0-9]{1,2})?\Z"), "a location of Vertex AI such as europe-west4, eu or global"),
}
_API_VERSION = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}(?:-preview)?\Z")
UNDATED = ("v1", "preview")
"""The `api_version` of Azure's style of paths that has no date."""
_AZURE_PATH = re.compile(r"/openai(?:/v1|/deployments(?:/.*)?)?\Z")


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


def _provider(name: str, field: Field, directory: str) -> Provider | None:
    before = len(field.problems)
    check_name(field, name, "provider")
    record = field.record(KNOWN, hints=HINTS, wanted="a mapping such as {kind: openai, credential: {env: OPENAI_API_KEY}}")
    if record is None:
        return None
    kind = _kind(record)
    places = _places(record, kind)
    api_version, kind = _api_version(record.get("api_version"), kind)
    endpoint = _endpoint(record, kind, places)
    credentials = read_credentials(record, kind, directory)
    stays_in = read_regions(record.get("data_stays_in"))
    promises = read_promises(record.get("data_policy"))
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
        data_policy=promises,
        envoy=envoy,
        quirks=kind.quirks | quirks,
        region=places.get("region"),
        api_version=api_version,
    )


def _kind(record: Record) -> ProviderKind | None:
    field = record.need("kind", "openai")
    name = field.text("a provider kind") if field else None
    if field is None or name is None:
        return None
    name = ALIASES.get(name, name)
    if name in KINDS:
        return KINDS[name]
    if name.lower() in LATER_KINDS:
        field.fail(f"the provider kind {shown(name)} is not supported by this version yet", f"supported: {', '.join(KINDS)}")
    else:
        usual = USUAL_NAMES.get(name.lower())
        guess = f"use {usual}" if usual else field.problems.did_you_mean(name, (*KINDS, *ALIASES))
        advice = f"known: {', '.join(KINDS)}; any other server with OpenAI's API is openai-compatible with its url"
        field.fail(f"no provider kind {shown(name)}", guess or advice)
    return None


def _places(record: Record, kind: ProviderKind | None) -> dict[str, str]:
    """Those of `PLACES` that are written and good. Reports those that the kind needs, and those that would say nothing."""
    out: dict[str, str] = {}
    needed = set(PLACES) if kind is None else _needed(record, kind)
    for name in PLACES:
        field = record.get(name)
        pattern, wanted = _PLACE[name]
        value = field.text(wanted) if field else None
        if field is None or value is None:
            continue
        if name in needed and not pattern.match(value):
            field.fail(f"{shown(value)} is not {wanted}")
        out[name] = value
    if kind is None:
        return out
    for name in PLACES:
        field, other = record.get(name), _MISTAKEN.get(name, "") if record.get("url") is None else ""
        if name in needed and field is None:
            if other not in needed and record.get(other) is not None:
                continue
            record.field.fail(f"the kind {kind.name} needs `{name}`", f"{_PLACE[name][1]}")
        elif name not in needed and field is not None and other in needed and record.get(other) is None:
            field.fail(f"is not what the kind {kind.name} calls it", f"use {other}: {_PLACE[other][1]}")
        elif name not in needed and field is not None:
            advice = "where data stays is data_stays_in" if name != "project" else None
            if name in _templates(kind.url or ""):
                advice = f"the url is whole; leave {name} out, or write {{{name}}} where it belongs in the url"
            field.fail(f"says nothing: the kind {kind.name} does not need it here", advice)
    return out


def _needed(record: Record, kind: ProviderKind) -> set[str]:
    """Which of `PLACES` the provider's URL, or the signature of its requests, is made with."""
    needed = {"region"} if kind.signs is not None else set()
    written = record.get("url")
    if written is None or not isinstance(written.node, Scalar):
        return needed | _templates(kind.url or "")
    given = _templates(written.node.text)
    return needed | given | (_templates(_path_of(kind)) if _is_bare(written.node.text) else set())


def _templates(url: str) -> set[str]:
    return {name for name in PLACES if f"{{{name}}}" in url}


def _is_bare(url: str) -> bool:
    """Is it a host without a path?"""
    return "/" not in url.partition("://")[2].rstrip("/")


def _path_of(kind: ProviderKind) -> str:
    """The path of a kind's URL where that depends on the provider."""
    path = "/" + (kind.url or "").partition("://")[2].partition("/")[2]
    return path if _templates(path) else ""


def _api_version(field: Field | None, kind: ProviderKind | None) -> tuple[str | None, ProviderKind | None]:
    """The version as it is sent, and the kind with the formats that it has there."""
    if kind is None:
        return None, None
    if field is None:
        return None, replace(kind, speaks=kind.undated) if kind.undated else kind
    if not kind.undated:
        field.fail(f"says nothing: the kind {kind.name} has no versions by date")
        return None, kind
    value = field.text("a version such as 2025-04-01-preview, or v1")
    if value in UNDATED:
        return (None if value == "v1" else value), replace(kind, speaks=kind.undated)
    if value is not None and not _API_VERSION.match(value):
        field.fail(f"{shown(value)} is no version: a date such as 2024-10-21 or 2025-04-01-preview, or {' or '.join(UNDATED)}")
    return value, replace(kind, speaks=tuple(s for s in kind.speaks if s.since is None or (value or "") >= s.since))


def _endpoint(record: Record, kind: ProviderKind | None, places: Mapping[str, str]) -> Endpoint | None:
    field = record.get("url")
    if field is not None:
        found = parse_url(field, places)
        if found is None or kind is None:
            return found
        if kind.undated and _AZURE_PATH.search(found.path):
            field.fail("must end before /openai: that part and what follows it are added per request", "leave /openai and what follows it off")
            return None
        return found if found.path else replace(found, path=_filled(_path_of(kind), places))
    if kind is not None and kind.url is None:
        record.field.fail(f"the kind {kind.name} needs `url`", f"for example url: {_EXAMPLES.get(kind.name, _EXAMPLES['openai-compatible'])}")
        return None
    if kind is None or kind.url is None or _templates(kind.url) - set(places):
        return None
    special = (url for name, pattern, url in kind.urls if re.fullmatch(pattern, places.get(name, "")))
    parts = urlsplit(_filled(next(special, kind.url), places))
    return Endpoint(parts.scheme, parts.hostname or "", 443 if parts.scheme == "https" else 80, parts.path)


_EXAMPLES = {"openai-compatible": '"http://vllm.models.svc:8000/v1"', "azure-openai": '"https://acme-eu.openai.azure.com"'}


def _filled(template: str, places: Mapping[str, str]) -> str:
    for name, value in places.items():
        template = template.replace(f"{{{name}}}", value)
    return template


def parse_url(field: Field, places: Mapping[str, str]) -> Endpoint | None:
    """An http or https base URL, in which `places` stand in braces. The text of a refused one is not quoted: people write keys into URLs."""
    text = field.text('a URL such as "https://host/v1"')
    if text is None:
        return None
    text = _filled(text, places)
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
    elif not is_host(host) or port == 0 or parts.netloc.endswith(":"):
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


def is_host(host: str) -> bool:
    """A host name or an address, without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST.match(host) is not None
    return "%" not in host


def read_regions(field: Field | None) -> frozenset[str]:
    """Where data stays, or must stay; what is no region is left out."""
    found: set[str] = set()
    for item in (field.items("a list of regions such as [eu]") if field else None) or []:
        region = item.text("the name of a region")
        if region is None:
            continue
        if not _REGION.match(region):
            item.fail(f"{shown(region)} is no region", "lower-case letters, digits and dashes, such as eu")
        elif region in found:
            item.fail(f"{shown(region)} is listed twice")
        else:
            found.add(region)
    return frozenset(found)


def _quirks(field: Field | None) -> frozenset[str]:
    found: set[str] = set()
    for item in (field.items("a list of quirks") if field else None) or []:
        quirk = item.text("the name of a quirk")
        if quirk is None:
            continue
        if quirk not in QUIRKS:
            item.fail(f"no quirk {shown(quirk)}", item.problems.did_you_mean(quirk, QUIRKS) or f"known: {', '.join(QUIRKS)}")
        found.add(quirk)
    return frozenset(found)


def read_envoy(field: Field | None) -> dict[str, object]:
    """A block of Envoy's cluster configuration as plain data; `check` and Envoy itself judge what it says."""
    if field is None or field.entries("a mapping of Envoy cluster settings") is None:
        return {}
    data = field.data()
    return data if isinstance(data, dict) else {}
