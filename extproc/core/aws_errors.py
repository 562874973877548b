"""Errors as AWS says them, in answers and in event streams: `{"message": …}` with the type in the header `x-amzn-errortype`.

The type is a name, perhaps with a namespace in front (`#`) or a link behind (`:`). Some proxies and older services say it in the body, as
`__type` or `code`. Bedrock reports much as a ValidationException that is something else: an over-long prompt, a model that does not exist.
Source: the errors of botocore's bedrock-runtime model, https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html,
recorded errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from extproc.core.errors import STATUS, ApiError, ErrorKind, kind_of_status
from extproc.core.eventstream import Message
from extproc.core.ir import JSON

_KINDS: dict[str, tuple[ErrorKind, int]] = {
    "ValidationException": (ErrorKind.INVALID_REQUEST, 400),
    "SerializationException": (ErrorKind.INVALID_REQUEST, 400),
    "ConflictException": (ErrorKind.CONFLICT, 400),
    "AccessDeniedException": (ErrorKind.PERMISSION, 403),
    "AccessDenied": (ErrorKind.PERMISSION, 403),
    "NotAuthorized": (ErrorKind.PERMISSION, 403),
    "OptInRequired": (ErrorKind.PERMISSION, 403),
    "UnrecognizedClientException": (ErrorKind.AUTHENTICATION, 403),
    "ExpiredTokenException": (ErrorKind.AUTHENTICATION, 403),
    "ExpiredToken": (ErrorKind.AUTHENTICATION, 403),
    "IncompleteSignatureException": (ErrorKind.AUTHENTICATION, 403),
    "IncompleteSignature": (ErrorKind.AUTHENTICATION, 403),
    "InvalidSignatureException": (ErrorKind.AUTHENTICATION, 403),
    "SignatureDoesNotMatch": (ErrorKind.AUTHENTICATION, 403),
    "InvalidClientTokenId": (ErrorKind.AUTHENTICATION, 403),
    "MissingAuthenticationTokenException": (ErrorKind.AUTHENTICATION, 403),
    "MissingAuthenticationToken": (ErrorKind.AUTHENTICATION, 403),
    "ResourceNotFoundException": (ErrorKind.NOT_FOUND, 404),
    "UnknownOperationException": (ErrorKind.NOT_FOUND, 404),
    "ThrottlingException": (ErrorKind.RATE_LIMITED, 429),
    "TooManyRequestsException": (ErrorKind.RATE_LIMITED, 429),
    "ServiceQuotaExceededException": (ErrorKind.QUOTA, 400),
    "ModelTimeoutException": (ErrorKind.TIMEOUT, 408),
    "RequestTimeoutException": (ErrorKind.TIMEOUT, 408),
    "ModelErrorException": (ErrorKind.UPSTREAM, 424),
    "ModelStreamErrorException": (ErrorKind.UPSTREAM, 424),
    "ModelNotReadyException": (ErrorKind.UNAVAILABLE, 429),
    "InternalServerException": (ErrorKind.INTERNAL, 500),
    "InternalFailure": (ErrorKind.INTERNAL, 500),
    "ServiceUnavailableException": (ErrorKind.UNAVAILABLE, 503),
    "ServiceUnavailable": (ErrorKind.UNAVAILABLE, 503),
}
"""Type: (kind, the status that AWS gives it). Types are matched without regard to the case of their first letter: streams write it small."""

_CONTEXT = re.compile(
    r"input is too long|too many input tokens|input tokens exceeded|prompt is too long|exceeds maximum length|too many total text bytes"
    r"|maximum context length|exceed(?:s|ed)? (?:the )?(?:context|maximum context|model's maximum)",
    re.IGNORECASE,
)
_MODEL = re.compile(
    r"provided model identifier is invalid|on-demand throughput isn.t supported|model .{0,80}(?:not found|does not exist|end of its life)",
    re.IGNORECASE,
)
_FILTER = re.compile(r"blocked by (?:our )?content filter|content filtering policy|violat\w+ .{0,40}(?:usage|content) polic", re.IGNORECASE)
_DAILY = re.compile(r"per day", re.IGNORECASE)
_OVERLOADED = re.compile(r"overloaded|unable to process your request|too many connections", re.IGNORECASE)
_MAX_MESSAGE = 4096


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Total: a page, an empty body or a foreign envelope is judged by the status alone."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    return error_of(parsed, headers.get("x-amzn-errortype", ""), status, _retry_after(headers))


def error_of(parsed: JSON, word: str = "", status: int = 0, retry_after: float | None = None) -> ApiError:
    """From the parsed body and, where it is known, the type. `status` 0: it came without one (inside a stream), so its type decides."""
    members = parsed if isinstance(parsed, dict) else {}
    if not word:
        word = next((members[name] for name in ("__type", "code", "Code") if isinstance(members.get(name), str)), "")
    word = word.partition(":")[0].rpartition("#")[2][:64]
    said = next((members[name] for name in ("message", "Message", "originalMessage") if isinstance(members.get(name), str) and members[name]), None)
    kind, usual = _KINDS.get(word[:1].upper() + word[1:], (None, 0))
    if kind is None or (status and kind is ErrorKind.INVALID_REQUEST):
        kind = kind_of_status(status) if status >= 400 else kind or ErrorKind.UPSTREAM
    if said:
        kind = _by_message(kind, said)
    message = said[:_MAX_MESSAGE] if said else f"the provider answered with status {status} and no explanation" if status else "the provider failed"
    return ApiError(kind, message, status or usual or STATUS[kind], retry_after=retry_after, raw_type=word or None)


def _by_message(kind: ErrorKind, said: str) -> ErrorKind:
    """What AWS reports under a broader type."""
    if kind in (ErrorKind.INVALID_REQUEST, ErrorKind.UPSTREAM, ErrorKind.NOT_FOUND):
        if _CONTEXT.search(said):
            return ErrorKind.CONTEXT_LENGTH
        if _MODEL.search(said):
            return ErrorKind.NOT_FOUND
        return ErrorKind.CONTENT_FILTER if _FILTER.search(said) else kind
    if kind is ErrorKind.RATE_LIMITED and _DAILY.search(said):
        return ErrorKind.QUOTA
    return ErrorKind.OVERLOADED if kind is ErrorKind.UNAVAILABLE and _OVERLOADED.search(said) else kind


def stream_error(message: Message) -> ApiError | None:
    """The error that a message of an event stream is; None for one that is none."""
    of = message.text(":message-type")
    if of == "error":
        return error_of({"message": message.text(":error-message")}, message.text(":error-code"))
    if of != "exception":
        return None
    try:
        parsed = orjson.loads(message.payload)
    except orjson.JSONDecodeError:
        parsed = None
    return error_of(parsed, message.text(":exception-type"))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
