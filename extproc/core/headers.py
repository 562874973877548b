"""Which headers (and what of a query) cross the gateway: what a provider may see of a client's request, and a client of a provider's answer.

The rule towards providers is a list of what passes, not of what is stopped: a header that nobody thought of (a cookie, an internal
token, a tracing baggage) does not leave. Credentials never even reach this code: Envoy hides them from it and removes them.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from urllib.parse import unquote_plus

CLIENT_KEPT = ("anthropic-version", "anthropic-beta", "openai-beta")
"""Headers of a client that its own dialect passes on to a provider of that dialect; each up to `KEPT_LIMIT` characters."""
PASSED = (*CLIENT_KEPT, "content-type", "content-encoding", "accept", "range", "idempotency-key")
"""Those that a request keeps which is passed on as it is."""
KEPT_LIMIT = 512

ANTHROPIC_BETA = re.compile(r"(?:^|&)(beta=[A-Za-z0-9._-]{1,32})(?=&|$)")
"""Anthropic's SDKs send `beta=true`."""
GOOGLE_ENUMS = re.compile(r"(?:^|&)((?:\$|%24)alt=json(?:;|%3B)enum-encoding(?:=|%3D)int)(?=&|$)", re.IGNORECASE)
"""Google's generated clients ask for enums as numbers: `$alt=json;enum-encoding=int`."""

_KEYS = re.compile(
    r"x(amz|goog).*|(x|aws|ocpapim)?(api|secret|access|subscription)?key(id)?|(access|auth|oauth|id|bearer|refresh|security|session)?token"
    r"|(client)?secret|password|authorization|auth|bearer|sig(nature)?|credentials?"
)
"""Parameters of a query that may hold a key: letters and digits of their names alone, in lower case."""
_PROVIDERS_OWN = frozenset({"apiversion"})
"""What the registry says for each provider, and a client of another one says otherwise."""
_NOT_NAME = re.compile(r"[^a-z0-9]")

_VAGUE = frozenset({"", "text/plain", "application/octet-stream", "binary/octet-stream"})
_ENVOYS = ("x-envoy-", "x-llm-")
_LEFT = frozenset({"content-length", "transfer-encoding", "host", "te", "x-request-id", "x-forwarded-proto", "traceparent", "tracestate"})
"""Headers that Envoy still needs behind us; a later filter of every cluster strips them before the provider."""

RESPONSE_REMOVED = (
    "set-cookie",
    "server",
    "openai-organization",
    "openai-project",
    "anthropic-organization-id",
    "alt-svc",
    "strict-transport-security",
    "x-llm-retry",
    "x-llm-backoff",
    "x-llm-local",
    "x-llm-final",
    "x-envoy-upstream-service-time",
    "x-envoy-attempt-count",
)
"""Response headers that no client gets: the provider account's identity, its cookies, its host's transport policy, and our own marks."""

_SAFE_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,255}", re.ASCII)


def is_safe_segment(name: str) -> bool:
    """May `name` stand as one segment of a URL path? Model names go into paths: no slash, percent, query, fragment, or dot segment."""
    return _SAFE_SEGMENT.fullmatch(name) is not None and ".." not in name


def kept_query(query: str, kept: re.Pattern[str] = ANTHROPIC_BETA) -> str:
    """What of the client's query its own dialect passes on and the plan carries. Other parameters may hold a key."""
    found = kept.search(query)
    return found[1] if found else ""


def passed_query(query: str) -> str:
    """The whole query less credentials, and less what is the provider's own."""
    # some servers part parameters at a semicolon, too
    return "&".join(p for p in query.split("&") if p and not any(map(_left_out, p.split(";"))))


def _left_out(parameter: str) -> bool:
    name = _NOT_NAME.sub("", unquote_plus(parameter.partition("=")[0]).lower())
    return name in _PROVIDERS_OWN or _KEYS.fullmatch(name) is not None


def media_type(headers: Mapping[str, str]) -> str:
    """The content type without its parameters, "" if there is none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def is_stream(headers: Mapping[str, str], stream_type: str, *, strict: bool = False) -> bool:
    """Is the answer to a request for a stream one? A content type that says nothing counts as the format's own, unless `strict`: some servers in
    front of a model have no other. JSON and pages say what they are."""
    media = media_type(headers)
    return media == stream_type or (not strict and media in _VAGUE)


def kept(headers: Mapping[str, str], names: Iterable[str] = CLIENT_KEPT) -> dict[str, str]:
    """The client's headers that travel in the plan."""
    found = {name: _cut(headers[name]) for name in names if name in headers}
    return {name: value for name, value in found.items() if value}


def _cut(value: str) -> str:
    """`value`, or as many whole items of its list as fit (none: "")."""
    return value if len(value) <= KEPT_LIMIT else value[: KEPT_LIMIT + 1].rpartition(",")[0]


def foreign_headers(seen: Mapping[str, str], wanted: Container[str]) -> list[str]:
    """The names among `seen` that a provider must not get: all but `wanted`, pseudo headers and what Envoy itself still needs."""
    return [n for n in seen if n[:1] != ":" and n not in wanted and n not in _LEFT and not n.startswith(_ENVOYS)]
