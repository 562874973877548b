"""Google's error envelope, `{"error": {code, message, status, details}}`, to our kinds and back.

What the HTTP status hides: a bad key is a 400, an over-long prompt is a 400, and the time to wait is only in the body, as RetryInfo or in
words. Format: https://cloud.google.com/apis/design/errors and google/rpc/error_details.proto.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from extproc.core.errors import STATUS, ApiError, ErrorKind, kind_of_status
from extproc.core.framing import sse
from extproc.core.ir import JSON
from extproc.dialects.gemini.json_array import SEPARATOR
from extproc.dialects.gemini.wire import ARRAY

_BY_STATUS_NAME: dict[str, ErrorKind] = {
    "INVALID_ARGUMENT": ErrorKind.INVALID_REQUEST,
    "FAILED_PRECONDITION": ErrorKind.INVALID_REQUEST,
    "OUT_OF_RANGE": ErrorKind.INVALID_REQUEST,
    "UNAUTHENTICATED": ErrorKind.AUTHENTICATION,
    "PERMISSION_DENIED": ErrorKind.PERMISSION,
    "NOT_FOUND": ErrorKind.NOT_FOUND,
    "ALREADY_EXISTS": ErrorKind.CONFLICT,
    "ABORTED": ErrorKind.CONFLICT,
    "RESOURCE_EXHAUSTED": ErrorKind.RATE_LIMITED,
    "CANCELLED": ErrorKind.UPSTREAM,
    "UNKNOWN": ErrorKind.INTERNAL,
    "INTERNAL": ErrorKind.INTERNAL,
    "DATA_LOSS": ErrorKind.INTERNAL,
    "UNIMPLEMENTED": ErrorKind.NOT_IMPLEMENTED,
    "UNAVAILABLE": ErrorKind.UNAVAILABLE,
    "DEADLINE_EXCEEDED": ErrorKind.TIMEOUT,
}

_STATUS_NAME: dict[ErrorKind, str] = {
    ErrorKind.AUTHENTICATION: "UNAUTHENTICATED",
    ErrorKind.PERMISSION: "PERMISSION_DENIED",
    ErrorKind.NOT_FOUND: "NOT_FOUND",
    ErrorKind.CONFLICT: "ABORTED",
    ErrorKind.RATE_LIMITED: "RESOURCE_EXHAUSTED",
    ErrorKind.QUOTA: "RESOURCE_EXHAUSTED",
    ErrorKind.INTERNAL: "INTERNAL",
    ErrorKind.NOT_IMPLEMENTED: "UNIMPLEMENTED",
    ErrorKind.UPSTREAM: "UNAVAILABLE",
    ErrorKind.UNAVAILABLE: "UNAVAILABLE",
    ErrorKind.OVERLOADED: "UNAVAILABLE",
    ErrorKind.TIMEOUT: "DEADLINE_EXCEEDED",
}
"""Everything else is INVALID_ARGUMENT."""

_KEY = re.compile(r"api[ _]key (?:not valid|expired|not found|invalid)|pass a valid api key", re.IGNORECASE)
_CONTEXT = re.compile(r"token count.{0,40}exceeds the maximum|exceeds the maximum number of (?:input )?tokens", re.IGNORECASE)
_FILTER = re.compile(r"blocked by (?:safety|our safety|model armor)|violat\w+ .{0,40}(?:usage|content) polic", re.IGNORECASE)
_RETRY = re.compile(r"retry (?:in|after) (\d{1,9}(?:\.\d{1,12})?)\s?(ms|m|s|h)?(\d{1,9}(?:\.\d{1,12})?s)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DAILY = re.compile(r"per[ _]?day", re.IGNORECASE)
_MAX_MESSAGE = 4000


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Total: other envelopes, HTML and empty bodies are judged by the status."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    if isinstance(parsed, list) and parsed:
        parsed = parsed[0]
    inner = parsed.get("error") if isinstance(parsed, dict) else None
    if isinstance(inner, str):
        inner = {"message": inner}
    if not isinstance(inner, dict):
        kind = kind_of_status(status)
        return ApiError(kind, f"the provider answered with status {status}", status, retry_after=_header(headers))
    return error_of(inner, status, _header(headers))


def error_of(inner: dict[str, Any], status: int, retry_after: float | None = None) -> ApiError:
    """From the member `error`. Under a 2xx status, and inside a stream, its own `code` says what it stands for."""
    code = inner.get("code")
    if not 400 <= status < 600:
        status = code if isinstance(code, int) and 400 <= code < 600 else 0
    text = inner.get("message")
    message = text[:_MAX_MESSAGE] if isinstance(text, str) and text else "the provider reported an error without a message"
    name = inner.get("status")
    name = name if isinstance(name, str) else None
    kind = _BY_STATUS_NAME.get(name or "")
    if kind is None:
        kind = kind_of_status(status) if status else ErrorKind.UPSTREAM
    elif status and kind is ErrorKind.INVALID_REQUEST:
        kind = kind_of_status(status)
    reasons, wait, daily = _details(inner.get("details"))
    if "API_KEY_INVALID" in reasons or "API_KEY_EXPIRED" in reasons or (kind is ErrorKind.INVALID_REQUEST and _KEY.search(message)):
        kind = ErrorKind.AUTHENTICATION
    elif kind is ErrorKind.INVALID_REQUEST:
        if _CONTEXT.search(message):
            kind = ErrorKind.CONTEXT_LENGTH
        elif _FILTER.search(message):
            kind = ErrorKind.CONTENT_FILTER
    elif kind is ErrorKind.UNAVAILABLE and "overloaded" in message:
        kind = ErrorKind.OVERLOADED
    elif kind is ErrorKind.RATE_LIMITED and (daily or _DAILY.search(message)):
        kind = ErrorKind.QUOTA
    retry_after = wait if wait is not None else _wait_in_words(message) if retry_after is None else retry_after
    return ApiError(kind, message, status, code=reasons[0] if reasons else None, retry_after=retry_after, raw_type=name)


def _details(details: JSON) -> tuple[list[str], float | None, bool]:
    """(ErrorInfo reasons, seconds of RetryInfo, is a quota per day used up)."""
    reasons: list[str] = []
    wait: float | None = None
    daily = False
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        reason = detail.get("reason")
        if isinstance(reason, str):
            reasons.append(reason)
        delay = detail.get("retryDelay")
        found = _DURATION.fullmatch(delay) if isinstance(delay, str) else None
        if found is not None:
            wait = float(found.group(1))
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            quota = violation.get("quotaId") if isinstance(violation, dict) else None
            daily = daily or (isinstance(quota, str) and _DAILY.search(quota) is not None)
    return reasons, wait, daily


def _wait_in_words(message: str) -> float | None:
    """48.9 for "Please retry in 48.939935699s.", 90.5 for "retry in 1m30.5s"."""
    found = _RETRY.search(message)
    if found is None:
        return None
    more = found.group(3)
    return float(found.group(1)) * _UNIT[(found.group(2) or "s").lower()] + (float(more[:-1]) if more else 0.0)


def _header(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 10 else None


def _envelope(error: ApiError) -> dict[str, Any]:
    inner: dict[str, Any] = {"code": STATUS[error.kind], "message": error.message, "status": _STATUS_NAME.get(error.kind, "INVALID_ARGUMENT")}
    details: list[dict[str, str]] = []
    if error.code is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.code})
    if error.retry_after is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{error.retry_after:.3f}s"})
    if details:
        inner["details"] = details
    return {"error": inner}


def encode_error(error: ApiError) -> tuple[int, bytes]:
    """Google's envelope; the SDKs choose the exception class by the status."""
    return STATUS[error.kind], orjson.dumps(_envelope(error))


def encode_stream_error(error: ApiError, form: str = "") -> bytes:
    """An event whose first member is `error`: what Google's SDKs look for inside a stream. The array of the other form stays open behind it, so that
    readers that look at candidates only fail too."""
    raw = orjson.dumps(_envelope(error))
    return SEPARATOR + raw + b"\n" if form == ARRAY else sse(raw)
