"""AWS's errors: by header, by body, by status, inside streams; and what Bedrock reports under a broader type."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import aws_errors, eventstream
from extproc.core.errors import ErrorKind
from extproc.core.eventstream import EventStreamParser, Message

LINK = ":http://internal.amazon.com/coral/com.amazon.bedrock/"


def decode(status: int, message: str = "", word: str = "", **headers: str) -> aws_errors.ApiError:
    given = {"x-amzn-errortype": word, **headers} if word else headers
    return aws_errors.decode_error(status, given, orjson.dumps({"message": message} if message else {}))


@pytest.mark.parametrize(
    ("status", "word", "kind"),
    [
        (400, "ValidationException", ErrorKind.INVALID_REQUEST),
        (403, "AccessDeniedException", ErrorKind.PERMISSION),
        (403, "UnrecognizedClientException", ErrorKind.AUTHENTICATION),
        (403, "ExpiredTokenException", ErrorKind.AUTHENTICATION),
        (403, "InvalidSignatureException", ErrorKind.AUTHENTICATION),
        (404, "ResourceNotFoundException", ErrorKind.NOT_FOUND),
        (429, "ThrottlingException", ErrorKind.RATE_LIMITED),
        (400, "ServiceQuotaExceededException", ErrorKind.QUOTA),
        (408, "ModelTimeoutException", ErrorKind.TIMEOUT),
        (424, "ModelErrorException", ErrorKind.UPSTREAM),
        (429, "ModelNotReadyException", ErrorKind.UNAVAILABLE),
        (500, "InternalServerException", ErrorKind.INTERNAL),
        (503, "ServiceUnavailableException", ErrorKind.UNAVAILABLE),
        (418, "SomethingNew", ErrorKind.INVALID_REQUEST),
        (502, "", ErrorKind.UPSTREAM),
    ],
)
def test_types(status: int, word: str, kind: ErrorKind) -> None:
    for written in (word, word + LINK, f"com.amazonaws#{word}"):
        error = decode(status, "no", written if word else "")
        assert (error.kind, error.status, error.raw_type) == (kind, status, word or None)


@pytest.mark.parametrize("member", ["__type", "code", "Code"])
def test_a_type_in_the_body_counts_where_there_is_none_in_the_header(member: str) -> None:
    body = orjson.dumps({member: "com.amazon#ThrottlingException", "Message": "slow"})
    error = aws_errors.decode_error(400, {}, body)
    assert (error.kind, error.message) == (ErrorKind.RATE_LIMITED, "slow")
    assert aws_errors.decode_error(403, {"x-amzn-errortype": "AccessDeniedException"}, body).kind is ErrorKind.PERMISSION


@pytest.mark.parametrize(
    ("status", "word", "message", "kind"),
    [
        (400, "ValidationException", "Input is too long for requested model.", ErrorKind.CONTEXT_LENGTH),
        (400, "ValidationException", "The model returned the following errors: prompt is too long: 211037 tokens > 200000 maximum", "context"),
        (
            400,
            "ValidationException",
            "The model returned the following errors: Input Tokens Exceeded: Number of input tokens exceeds maximum length.",
            "context",
        ),
        (400, "ValidationException", "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000", "context"),
        (400, "ValidationException", "The provided model identifier is invalid.", ErrorKind.NOT_FOUND),
        (400, "ValidationException", "Invocation of model ID x with on-demand throughput isn’t supported.", ErrorKind.NOT_FOUND),
        (404, "ResourceNotFoundException", "This model version has reached the end of its life.", ErrorKind.NOT_FOUND),
        (400, "ValidationException", "Output blocked by content filtering policy", ErrorKind.CONTENT_FILTER),
        (429, "ThrottlingException", "Too many tokens, please wait before trying again.", ErrorKind.RATE_LIMITED),
        (429, "ThrottlingException", "Too many tokens per day, please wait before trying again.", ErrorKind.QUOTA),
        (503, "ServiceUnavailableException", "Bedrock is unable to process your request.", ErrorKind.OVERLOADED),
        (400, "ValidationException", "messages: text content blocks must be non-empty", ErrorKind.INVALID_REQUEST),
    ],
)
def test_what_stands_behind_a_broader_type(status: int, word: str, message: str, kind: ErrorKind | str) -> None:
    error = decode(status, message, word)
    assert error.kind is (ErrorKind.CONTEXT_LENGTH if kind == "context" else kind)
    assert (error.status, error.message) == (status, message)


def test_retry_after() -> None:
    assert decode(429, "slow", "ThrottlingException", **{"retry-after": "7"}).retry_after == 7.0
    assert decode(429, "slow", "ThrottlingException", **{"retry-after": "soon"}).retry_after is None


def in_stream(raw: bytes) -> Message:
    return next(EventStreamParser().feed(raw))


def test_exceptions_in_a_stream() -> None:
    found = aws_errors.stream_error(in_stream(eventstream.exception("throttlingException", b'{"message":"slow"}')))
    assert found is not None
    assert (found.kind, found.status, found.message, found.raw_type) == (ErrorKind.RATE_LIMITED, 429, "slow", "throttlingException")
    found = aws_errors.stream_error(in_stream(eventstream.exception("modelStreamErrorException", b'{"originalMessage":"boom"}')))
    assert found is not None
    assert (found.kind, found.message) == (ErrorKind.UPSTREAM, "boom")
    raw = eventstream.encode_message({":message-type": "error", ":error-code": "InternalFailure", ":error-message": "oops"}, b"")
    found = aws_errors.stream_error(in_stream(raw))
    assert found is not None
    assert (found.kind, found.message) == (ErrorKind.INTERNAL, "oops")
    assert aws_errors.stream_error(in_stream(eventstream.event("metadata", b"{}"))) is None
    broken = aws_errors.stream_error(in_stream(eventstream.exception("newException", b"<html>")))
    assert broken is not None
    assert broken.kind is ErrorKind.UPSTREAM


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner)
)


@given(
    st.integers(400, 599), st.text(max_size=40), st.binary(max_size=60) | JSON.map(lambda v: orjson.dumps(v, default=str) if not _big(v) else b"{}")
)
def test_anything_is_an_error(status: int, word: str, body: bytes) -> None:
    error = aws_errors.decode_error(status, {"x-amzn-errortype": word}, body)
    assert error.status == status
    assert error.message


def _big(value: object) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return True
    return False
