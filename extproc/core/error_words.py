"""Codes and words by which providers of OpenAI's format, OpenAI first, say what went wrong, as data: the envelopes differ, and so do the statuses.

Sources: recorded answers, the vendors' error pages, and the sources of vLLM, SGLang and llama.cpp. A code is believed before words, words before a
status.
"""

from __future__ import annotations

import re

from extproc.core.errors import ErrorKind

CODES: dict[str, ErrorKind] = {
    "context_length_exceeded": ErrorKind.CONTEXT_LENGTH,
    "exceed_context_size_error": ErrorKind.CONTEXT_LENGTH,
    "string_above_max_length": ErrorKind.INVALID_REQUEST,
    "content_filter": ErrorKind.CONTENT_FILTER,
    "content_policy_violation": ErrorKind.CONTENT_FILTER,
    "responsibleaipolicyviolation": ErrorKind.CONTENT_FILTER,
    "data_inspection_failed": ErrorKind.CONTENT_FILTER,
    "insufficient_quota": ErrorKind.QUOTA,
    "billing_hard_limit_reached": ErrorKind.QUOTA,
    "billing_not_active": ErrorKind.QUOTA,
    "invalid_api_key": ErrorKind.AUTHENTICATION,
    "wrong_api_key": ErrorKind.AUTHENTICATION,
    "authentication_error": ErrorKind.AUTHENTICATION,
    "unauthenticated": ErrorKind.AUTHENTICATION,
    "permission_denied": ErrorKind.PERMISSION,
    "model_not_found": ErrorKind.NOT_FOUND,
    "model_not_available": ErrorKind.NOT_FOUND,
    "invalid_model": ErrorKind.NOT_FOUND,
    "deploymentnotfound": ErrorKind.NOT_FOUND,
    "rate_limit_exceeded": ErrorKind.RATE_LIMITED,
    "resource_exhausted": ErrorKind.RATE_LIMITED,
    "request_quota_exceeded": ErrorKind.RATE_LIMITED,
    "token_quota_exceeded": ErrorKind.RATE_LIMITED,
    "service_tier_capacity_exceeded": ErrorKind.RATE_LIMITED,
    "queue_exceeded": ErrorKind.OVERLOADED,
    "overloaded_error": ErrorKind.OVERLOADED,
    "engine_overloaded": ErrorKind.OVERLOADED,
    "overloaded": ErrorKind.OVERLOADED,
    # of OpenAI's Responses
    "server_is_overloaded": ErrorKind.OVERLOADED,
    "slow_down": ErrorKind.OVERLOADED,
    # the model wrote what its own provider then refused: another try may do better, another request need not
    "tool_use_failed": ErrorKind.UPSTREAM,
    "json_validate_failed": ErrorKind.UPSTREAM,
    "output_parse_failed": ErrorKind.UPSTREAM,
}
"""By `code`, `type` or `status` of the error object, in lower case."""


def _words(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.DOTALL)


_UNSURE = frozenset({0, 400, 422})
_NO_CONTEXT = frozenset({401, 403, 404, 429})

WORDS: tuple[tuple[re.Pattern[str], ErrorKind, frozenset[int] | None, frozenset[int]], ...] = (
    (
        _words(
            r"(maximum|max)\b.{0,20}\bcontext length|context (length|window)\b.{0,60}\b(exceed|limit|too)|exceed\w*\b.{0,60}\bcontext (length|window)"
            r"|prompt is too long|maximum prompt length|too large for model with \d+ maximum|available context size|context length of only"
            r"|longer than the (model's|maximum) (context|model) length|tokens \+ `?max_new_tokens`? must be"
        ),
        ErrorKind.CONTEXT_LENGTH,
        None,
        _NO_CONTEXT,
    ),
    (
        _words(
            r"exceeded your current quota|insufficient (balance|credits|funds|quota)|out of credits|used all available credits"
            r"|does(n't| not) have any credits|monthly spending limit"
        ),
        ErrorKind.QUOTA,
        None,
        frozenset(),
    ),
    (
        _words(r"content exists risk|violates (our )?usage (guidelines|policies)|content management policy|inappropriate content"),
        ErrorKind.CONTENT_FILTER,
        None,
        frozenset({401, 404, 429}),
    ),
    (
        _words(r"(incorrect|invalid|no|missing|wrong)\b.{0,20}\b(api[ _-]?key|authentication)|api[ _-]?key\b.{0,20}\b(not valid|invalid)"),
        ErrorKind.AUTHENTICATION,
        _UNSURE,
        frozenset(),
    ),
    (
        _words(r"\bmodel\b.{0,120}\b(does not exist|not found|not available|not supported by)|invalid model\b"),
        ErrorKind.NOT_FOUND,
        _UNSURE,
        frozenset(),
    ),
    # llama.cpp's own server, whose model has no eyes or ears: the same again would not help, another target may
    (_words(r"\b(image|audio|video) input is not supported"), ErrorKind.NOT_IMPLEMENTED, frozenset({500}), frozenset()),
)
"""(words of the message, kind, the statuses that they are read under or None for any 4xx, those that say more than the words). First match wins."""

KEY = re.compile(r"(?i)(?<=provided: )\S+|\b(?:sk|csk|gsk|xai|pk|pplx|tgp|nvapi|fw|hf|AIza)[-_][\w*.-]+|(?<=bearer )\S+")
"""What may be a key, or the rest of one, in a message."""

WAIT = re.compile(r"(?:try again|retry)\s(?:in|after)\s((?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+|\d+(?:\.\d+)?(?= ?sec))", re.IGNORECASE)
"""How long to wait, in a message: OpenAI, Groq and Gemini say it there too."""
RETRY_DELAY = re.compile(rb'"retryDelay"\s*:\s*"(\d+(?:\.\d+)?s)"')
"""Google's `RetryInfo`, where no header says it."""
