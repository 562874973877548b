"""What can go wrong, in one vocabulary: error kinds, the status each one has, and the object that carries them between stages.

A dialect turns an `ApiError` into its own envelope (`Dialect.encode_error`) and a provider's error body into one (`Dialect.decode_error`).
`message` is always safe to send to the client: it never holds a key, a stack trace or another request's text.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrorKind(StrEnum):
    """Low-cardinality reasons; the values go to logs, spans (`error.type`) and envelopes."""

    INVALID_REQUEST = "invalid_request"
    CONTEXT_LENGTH = "context_length_exceeded"
    CONTENT_FILTER = "content_filter"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    TOO_LARGE = "request_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UNPROCESSABLE = "unprocessable"
    RATE_LIMITED = "rate_limited"
    QUOTA = "insufficient_quota"
    INTERNAL = "internal"
    NOT_IMPLEMENTED = "not_implemented"
    UPSTREAM = "upstream"
    UNAVAILABLE = "unavailable"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"


STATUS: dict[ErrorKind, int] = {
    ErrorKind.INVALID_REQUEST: 400,
    ErrorKind.CONTEXT_LENGTH: 400,
    ErrorKind.CONTENT_FILTER: 400,
    ErrorKind.AUTHENTICATION: 401,
    ErrorKind.PERMISSION: 403,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.METHOD_NOT_ALLOWED: 405,
    ErrorKind.CONFLICT: 409,
    ErrorKind.TOO_LARGE: 413,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorKind.UNPROCESSABLE: 422,
    ErrorKind.RATE_LIMITED: 429,
    ErrorKind.QUOTA: 429,
    ErrorKind.INTERNAL: 500,
    ErrorKind.NOT_IMPLEMENTED: 501,
    ErrorKind.UPSTREAM: 502,
    ErrorKind.UNAVAILABLE: 503,
    ErrorKind.OVERLOADED: 503,
    ErrorKind.TIMEOUT: 504,
}
"""The status that a client gets for each kind, unless the dialect has a better one (Anthropic's 529 for OVERLOADED)."""

_BY_STATUS: dict[int, ErrorKind] = {
    400: ErrorKind.INVALID_REQUEST,
    401: ErrorKind.AUTHENTICATION,
    402: ErrorKind.QUOTA,
    403: ErrorKind.PERMISSION,
    404: ErrorKind.NOT_FOUND,
    405: ErrorKind.METHOD_NOT_ALLOWED,
    408: ErrorKind.TIMEOUT,
    409: ErrorKind.CONFLICT,
    413: ErrorKind.TOO_LARGE,
    415: ErrorKind.UNSUPPORTED_MEDIA_TYPE,
    422: ErrorKind.UNPROCESSABLE,
    429: ErrorKind.RATE_LIMITED,
    500: ErrorKind.INTERNAL,
    501: ErrorKind.NOT_IMPLEMENTED,
    502: ErrorKind.UPSTREAM,
    503: ErrorKind.UNAVAILABLE,
    504: ErrorKind.TIMEOUT,
    529: ErrorKind.OVERLOADED,
}


def kind_of_status(status: int) -> ErrorKind:
    """The kind that a bare HTTP status stands for, when the body says nothing better."""
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    return ErrorKind.INVALID_REQUEST if 400 <= status < 500 else ErrorKind.UPSTREAM


@dataclass(slots=True)
class ApiError(Exception):
    """An error on its way to a client, or read from a provider.

    `status` is the HTTP status to judge by (a provider's own, or `STATUS[kind]`). `code` and `param` are the provider's, where it has them.
    `retry_after` is in seconds. `raw_type` is the provider's own word for the kind, for logs.
    """

    kind: ErrorKind
    message: str
    status: int = 0
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    raw_type: str | None = None

    def __post_init__(self) -> None:
        if not self.status:
            self.status = STATUS[self.kind]

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.message}"


class UntranslatableError(ApiError):
    """The target's dialect cannot carry something that the request depends on: 422, and the target is no candidate."""

    def __init__(self, message: str, param: str | None = None) -> None:
        ApiError.__init__(self, ErrorKind.UNPROCESSABLE, message, param=param)


class BadRequestError(ApiError):
    """The client's body is not what its dialect allows: 400."""

    def __init__(self, message: str, param: str | None = None) -> None:
        ApiError.__init__(self, ErrorKind.INVALID_REQUEST, message, param=param)


class UpstreamFormatError(ApiError):
    """A provider's bytes are not its dialect: 502."""

    def __init__(self, message: str) -> None:
        ApiError.__init__(self, ErrorKind.UPSTREAM, message)
