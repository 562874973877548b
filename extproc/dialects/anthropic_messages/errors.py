"""Anthropic's error envelope both ways: `{"type": "error", "error": {"type", "message"}, "request_id"}`.

Statuses are those that its SDK turns into the class that fits (`anthropic._error_classes`); OVERLOADED is Anthropic's own 529. Clients look
for "prompt is too long" in a 400 to shorten the conversation, so a context error of any provider begins with these words.
Source: https://platform.claude.com/docs/en/api/errors; recorded errors.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from extproc.core.errors import STATUS, ApiError, ErrorKind, kind_of_status
from extproc.core.framing import sse
from extproc.core.ir import JSON

_KINDS = {
    "invalid_request_error": ErrorKind.INVALID_REQUEST,
    "authentication_error": ErrorKind.AUTHENTICATION,
    "billing_error": ErrorKind.QUOTA,
    "permission_error": ErrorKind.PERMISSION,
    "not_found_error": ErrorKind.NOT_FOUND,
    "conflict_error": ErrorKind.CONFLICT,
    "request_too_large": ErrorKind.TOO_LARGE,
    "rate_limit_error": ErrorKind.RATE_LIMITED,
    "api_error": ErrorKind.INTERNAL,
    "overloaded_error": ErrorKind.OVERLOADED,
    "timeout_error": ErrorKind.TIMEOUT,
}
_TYPES = {
    ErrorKind.AUTHENTICATION: "authentication_error",
    ErrorKind.QUOTA: "billing_error",
    ErrorKind.PERMISSION: "permission_error",
    ErrorKind.NOT_FOUND: "not_found_error",
    ErrorKind.CONFLICT: "conflict_error",
    ErrorKind.TOO_LARGE: "request_too_large",
    ErrorKind.RATE_LIMITED: "rate_limit_error",
    ErrorKind.INTERNAL: "api_error",
    ErrorKind.NOT_IMPLEMENTED: "api_error",
    ErrorKind.UPSTREAM: "api_error",
    ErrorKind.UNAVAILABLE: "api_error",
    ErrorKind.OVERLOADED: "overloaded_error",
    ErrorKind.TIMEOUT: "timeout_error",
}
_STATUSES = {ErrorKind.OVERLOADED: 529, ErrorKind.QUOTA: 402}
_TOO_LONG = "prompt is too long"
_CONTEXT = (_TOO_LONG, "exceed context limit", "exceeds the context window", "input length and `max_tokens` exceed")
_CREDIT = "credit balance is too low"
_FILTERED = "blocked by content filtering policy"
_MAX_MESSAGE = 4096


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Total: a page, an empty body or a foreign envelope is judged by its status alone."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    error = error_of(parsed, status)
    error.retry_after = retry_after(headers)
    return error


def error_of(envelope: JSON, status: int = 0) -> ApiError:
    """The error in a parsed envelope. `status` 0: it came without one (inside a stream, under a 2xx), so its type decides."""
    inner = envelope.get("error") if isinstance(envelope, dict) else None
    word = inner.get("type") if isinstance(inner, dict) else None
    said = inner.get("message") if isinstance(inner, dict) else None
    given = said[:_MAX_MESSAGE] if isinstance(said, str) and said else None
    if not given and isinstance(inner, str):
        given = inner[:_MAX_MESSAGE]
    kind = _KINDS.get(word) if isinstance(word, str) else None
    judged_by_status = status >= 400 and (kind is None or kind is ErrorKind.INTERNAL or kind is ErrorKind.INVALID_REQUEST)
    if judged_by_status:
        kind = kind_of_status(status)
    kind = kind or ErrorKind.UPSTREAM
    if given and kind is ErrorKind.INVALID_REQUEST:
        kind = _by_message(given.lower())
    message = (
        given or f"the provider answered with status {status} and no explanation" if status >= 400 else given or "the provider reported an error"
    )
    details = inner.get("details") if isinstance(inner, dict) else None
    code = details.get("error_code") if isinstance(details, dict) else None
    return ApiError(
        kind,
        message,
        status if status >= 400 else _STATUSES.get(kind, STATUS[kind]),
        code=code if isinstance(code, str) else None,
        raw_type=word[:64] if isinstance(word, str) else None,
    )


def _by_message(message: str) -> ErrorKind:
    """What Anthropic reports as an invalid request, but is handled in its own way."""
    if any(words in message for words in _CONTEXT):
        return ErrorKind.CONTEXT_LENGTH
    if _CREDIT in message:
        return ErrorKind.QUOTA
    return ErrorKind.CONTENT_FILTER if _FILTERED in message else ErrorKind.INVALID_REQUEST


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after`; a date is not read, because there is no clock here."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < 1e9:
            return seconds
    return None


def _inner(error: ApiError) -> dict[str, str]:
    message = error.message
    if error.kind is ErrorKind.CONTEXT_LENGTH and _TOO_LONG not in message.lower():
        message = f"{_TOO_LONG}: {message}"
    return {"type": _TYPES.get(error.kind, "invalid_request_error"), "message": message}


def encode_error(error: ApiError) -> tuple[int, bytes]:
    """(status, envelope) for a client of this dialect."""
    envelope = {"type": "error", "error": _inner(error), "request_id": None}
    return _STATUSES.get(error.kind, STATUS[error.kind]), orjson.dumps(envelope)


def encode_stream_error(error: ApiError) -> bytes:
    """The event that ends a stream under way: the SDK raises on it."""
    return sse(orjson.dumps({"type": "error", "error": _inner(error)}), "error")
