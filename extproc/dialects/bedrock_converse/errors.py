"""Errors for a client of Bedrock. What Bedrock itself reports is read by `core.aws_errors`, which other formats of AWS share.

AWS names the type in a header, `x-amzn-errortype`; its SDKs also take it from `__type` in the body, which is where it stands here. The types and
their statuses are those of the Converse operation, so that SDKs raise the modelled exception. Clients look for "Input is too long" to shorten a
conversation, so a context error of any provider begins with these words.
"""

from __future__ import annotations

import orjson

from extproc.core import eventstream
from extproc.core.errors import STATUS, ApiError, ErrorKind

_TYPES: dict[ErrorKind, tuple[str, int]] = {
    ErrorKind.AUTHENTICATION: ("UnrecognizedClientException", 403),
    ErrorKind.PERMISSION: ("AccessDeniedException", 403),
    ErrorKind.NOT_FOUND: ("ResourceNotFoundException", 404),
    ErrorKind.METHOD_NOT_ALLOWED: ("UnknownOperationException", 405),
    ErrorKind.CONFLICT: ("ConflictException", 400),
    ErrorKind.RATE_LIMITED: ("ThrottlingException", 429),
    ErrorKind.QUOTA: ("ServiceQuotaExceededException", 400),
    ErrorKind.INTERNAL: ("InternalServerException", 500),
    ErrorKind.NOT_IMPLEMENTED: ("UnknownOperationException", 501),
    ErrorKind.UPSTREAM: ("ModelErrorException", 424),
    ErrorKind.UNAVAILABLE: ("ServiceUnavailableException", 503),
    ErrorKind.OVERLOADED: ("ServiceUnavailableException", 503),
    ErrorKind.TIMEOUT: ("ModelTimeoutException", 408),
}
"""Everything else is a ValidationException."""

_IN_STREAM = {
    ErrorKind.RATE_LIMITED: "throttlingException",
    ErrorKind.QUOTA: "throttlingException",
    ErrorKind.INTERNAL: "internalServerException",
    ErrorKind.UNAVAILABLE: "serviceUnavailableException",
    ErrorKind.OVERLOADED: "serviceUnavailableException",
    ErrorKind.UPSTREAM: "modelStreamErrorException",
    ErrorKind.TIMEOUT: "modelStreamErrorException",
}
"""The exceptions that a stream may hold are fewer; everything else is a validationException."""

_TOO_LONG = "input is too long"


def _message(error: ApiError) -> str:
    if error.kind is ErrorKind.CONTEXT_LENGTH and _TOO_LONG not in error.message.lower():
        return f"Input is too long for requested model: {error.message}"
    return error.message


def encode_error(error: ApiError) -> tuple[int, bytes]:
    """(status, body) for a client of this dialect."""
    word, status = _TYPES.get(error.kind, ("ValidationException", 0))
    if not status:
        # what is larger than this gateway takes, or of a type that it does not read, is no 400
        status = STATUS[error.kind] if error.kind in (ErrorKind.TOO_LARGE, ErrorKind.UNSUPPORTED_MEDIA_TYPE) else 400
    return status, orjson.dumps({"__type": word, "message": _message(error)})


def encode_stream_error(error: ApiError) -> bytes:
    """The exception that ends a stream under way: SDKs raise it."""
    return eventstream.exception(_IN_STREAM.get(error.kind, "validationException"), orjson.dumps({"message": _message(error)}))
