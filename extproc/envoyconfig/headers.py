"""Header names that Envoy itself keeps apart: what carries a key, what an application may not steer with, what no provider should see."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from extproc.providers.kinds import KINDS

CREDENTIALS: tuple[str, ...] = tuple(
    sorted(
        {
            "authorization",
            "proxy-authorization",
            "x-api-key",
            "api-key",
            "x-goog-api-key",
            "x-amz-security-token",
            "cookie",
            *(kind.auth_header for kind in KINDS.values()),
        }
    )
)
"""Headers that may carry a key. The ext_proc server never sees them and each attempt starts without them: header changes of one attempt persist
into the next, so provider B would otherwise receive provider A's key."""

CREDENTIAL_PREFIXES: tuple[str, ...] = ("x-amz-", "x-goog-iam-")

CLIENT_CONTROLS: tuple[str, ...] = ("x-llm-task", "x-llm-session")
"""The only x-llm-* headers that are believed from applications."""

SHADOW: tuple[str, ...] = ("x-llm-shadow",)
"""The only one that is believed on the server's own socket, by which it sends a request again. It holds what the others would say."""

STAGE_MARKS: tuple[str, ...] = ("x-llm-retry", "x-llm-backoff", "x-llm-local", "x-llm-final")
"""Response headers by which the stages tell each other something."""

_NOT_FOR_PROVIDERS: tuple[str, ...] = (
    "x-request-id",
    "x-client-trace-id",
    "x-ot-span-context",
    "x-real-ip",
    "forwarded",
    "via",
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "te",
)
_NOT_FOR_PROVIDERS_PREFIXES: tuple[str, ...] = ("x-llm-", "x-envoy-", "x-forwarded-", "x-b3-")


def disallowed(kinds: Iterable[str] = ()) -> dict[str, Any]:
    """`forward_rules` that hide every credential header, those named in `kinds` too."""
    names = [{"exact": name} for name in sorted({*CREDENTIALS, *kinds})]
    return {"disallowed_headers": {"patterns": names + [{"prefix": prefix} for prefix in CREDENTIAL_PREFIXES]}}


def clean_mutations() -> list[dict[str, Any]]:
    """Takes the application's key, or the key that an earlier attempt was given, off the request."""
    return [{"remove": name} for name in CREDENTIALS] + [_remove_prefix(prefix) for prefix in CREDENTIAL_PREFIXES]


def strip_mutations() -> list[dict[str, Any]]:
    """Takes off what is about us and not about the prompt. Removals persist into later attempts, but for traceparent, which Envoy writes anew."""
    return [_remove_prefix(prefix) for prefix in _NOT_FOR_PROVIDERS_PREFIXES] + [{"remove": name} for name in _NOT_FOR_PROVIDERS]


def arrival_of_answer_mutations() -> list[dict[str, Any]]:
    """What a provider may not say: the marks between the stages, by which it could ask for retries or pass for Envoy itself."""
    return [_remove_prefix("x-llm-")]


def arrival_mutations(believed: Iterable[str] = CLIENT_CONTROLS) -> list[dict[str, Any]]:
    """What an application may not say, and Envoy's server span as `x-llm-span: <trace id>-<span id>` ("-" without tracing)."""
    return [
        {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": all_but("x-llm-", believed)}}}},
        _remove_prefix("x-envoy-"),
        {"append": {"header": {"key": "x-llm-span", "value": "%TRACE_ID%-%SPAN_ID%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}},
    ]


def departure_mutations() -> list[dict[str, Any]]:
    """The marks between the stages, and what a provider's own Envoy says about itself, never reach an application."""
    return [{"remove": name} for name in STAGE_MARKS] + [_remove_prefix("x-envoy-")]


def all_but(prefix: str, kept: Iterable[str]) -> str:
    """A regular expression for every string that begins with `prefix` and is not in `kept`. RE2 has no negative lookahead, so it is spelled out."""
    return prefix + _complement(frozenset(name.removeprefix(prefix) for name in kept))


def _complement(words: frozenset[str]) -> str:
    """A group that matches every string that is not in `words`, by first letter."""
    if not words:
        return ".*"
    heads = sorted({word[0] for word in words if word})
    choices = [] if "" in words else [""]
    if heads:
        choices.append(f"[^{''.join(heads)}].*")
        choices += [head + _complement(frozenset(word[1:] for word in words if word[:1] == head)) for head in heads]
    else:
        choices.append(".+")
    return f"(?:{'|'.join(choices)})"


def _remove_prefix(prefix: str) -> dict[str, Any]:
    return {"remove_on_match": {"key_matcher": {"prefix": prefix}}}
