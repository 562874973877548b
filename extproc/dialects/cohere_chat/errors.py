"""Cohere's error envelope both ways: `{"message", "id"}`, with the status that says what it is.

A stream that fails ends with `message-end` whose `finish_reason` is ERROR or TIMEOUT and whose `error` says why, and without `[DONE]`. Its SDK
hands that event to the application; it has no exception for a stream under way, whatever a server sends.
Source: https://docs.cohere.com/reference/errors, the SDK's `errors` and `ChatMessageEndEventDelta`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from extproc.core.errors import STATUS, ApiError, ErrorKind, kind_of_status
from extproc.core.framing import sse
from extproc.core.ir import JSON
from extproc.core.openai_errors import retry_after

_MAX_MESSAGE = 4096
_CONTEXT = re.compile(r"too many tokens|prompt is too long|size limit exceeded|context (length|window)", re.IGNORECASE)
_OUTPUT_LIMIT = re.compile(r"max tokens must be less than", re.IGNORECASE)
_QUOTA = re.compile(r"(calls|tokens) / month|maximum billing|payment method", re.IGNORECASE)
_BAD_KEY = re.compile(r"api (token|key)", re.IGNORECASE)
_STATUSES = {ErrorKind.QUOTA: 402}
_BY_STATUS = {498: ErrorKind.CONTENT_FILTER, 499: ErrorKind.UNAVAILABLE}
"""498 is an unsafe request or a bad token, told apart by its words; 499 a run that Cohere itself cancelled."""


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
    """The error in a parsed envelope. `status` 0: it came without one (inside a stream, under a 2xx)."""
    said = _message(envelope)
    failed = status >= 400
    kind = _BY_STATUS.get(status) or (kind_of_status(status) if failed else ErrorKind.UPSTREAM)
    if said:
        kind = _by_words(kind, status, said)
    fallback = f"the provider answered with status {status} and no explanation" if failed else "the provider reported an error"
    return ApiError(kind, said or fallback, status if failed else STATUS[kind])


def _message(envelope: JSON) -> str:
    """Cohere's own `message`, and what proxies in front of it write in its place."""
    for name in ("message", "error", "detail"):
        value = envelope.get(name) if isinstance(envelope, dict) else None
        if isinstance(value, dict):
            value = value.get("message")
        if isinstance(value, str) and value:
            return value[:_MAX_MESSAGE]
    return ""


def _by_words(kind: ErrorKind, status: int, said: str) -> ErrorKind:
    if status == 498 and _BAD_KEY.search(said):
        return ErrorKind.AUTHENTICATION
    if kind is ErrorKind.RATE_LIMITED and _QUOTA.search(said):
        return ErrorKind.QUOTA
    if kind in (ErrorKind.INVALID_REQUEST, ErrorKind.UNPROCESSABLE, ErrorKind.UPSTREAM):
        if _OUTPUT_LIMIT.search(said):
            return ErrorKind.INVALID_REQUEST
        if _CONTEXT.search(said):
            return ErrorKind.CONTEXT_LENGTH
    return kind


def encode_error(error: ApiError) -> tuple[int, bytes]:
    """(status, envelope) for a client of this dialect."""
    return _STATUSES.get(error.kind, STATUS[error.kind]), orjson.dumps({"message": error.message})


def encode_stream_error(error: ApiError) -> bytes:
    """The event that ends a stream under way."""
    word = "TIMEOUT" if error.kind is ErrorKind.TIMEOUT else "ERROR"
    return sse(orjson.dumps({"type": "message-end", "delta": {"error": error.message, "finish_reason": word}}), "message-end")
