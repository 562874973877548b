"""Errors both ways, judged by the real SDK."""

from __future__ import annotations

from collections.abc import Mapping

import anthropic
import httpx2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.errors import STATUS, ApiError, ErrorKind
from extproc.dialects.anthropic_messages import AnthropicMessages

DIALECT = AnthropicMessages()
CLASSES = {
    ErrorKind.INVALID_REQUEST: anthropic.BadRequestError,
    ErrorKind.CONTEXT_LENGTH: anthropic.BadRequestError,
    ErrorKind.CONTENT_FILTER: anthropic.BadRequestError,
    ErrorKind.AUTHENTICATION: anthropic.AuthenticationError,
    ErrorKind.PERMISSION: anthropic.PermissionDeniedError,
    ErrorKind.NOT_FOUND: anthropic.NotFoundError,
    ErrorKind.METHOD_NOT_ALLOWED: anthropic.APIStatusError,
    ErrorKind.CONFLICT: anthropic.ConflictError,
    ErrorKind.TOO_LARGE: anthropic._exceptions.ContentTooLargeError,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: anthropic.APIStatusError,
    ErrorKind.UNPROCESSABLE: anthropic.UnprocessableEntityError,
    ErrorKind.RATE_LIMITED: anthropic.RateLimitError,
    ErrorKind.QUOTA: anthropic._exceptions.PaymentRequiredError,
    ErrorKind.INTERNAL: anthropic.InternalServerError,
    ErrorKind.NOT_IMPLEMENTED: anthropic._exceptions.HTTPNotImplementedError,
    ErrorKind.UPSTREAM: anthropic.InternalServerError,
    ErrorKind.UNAVAILABLE: anthropic._exceptions.ServiceUnavailableError,
    ErrorKind.OVERLOADED: anthropic._exceptions.OverloadedError,
    ErrorKind.TIMEOUT: anthropic._exceptions.GatewayTimeoutError,
}


def _client(response: httpx2.Response) -> anthropic.Anthropic:
    transport = httpx2.MockTransport(lambda request: response)
    return anthropic.Anthropic(api_key="k", base_url="http://llm.internal", max_retries=0, http_client=httpx2.Client(transport=transport))


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_the_sdk_raises_the_class_that_fits(kind: ErrorKind) -> None:
    status, body = DIALECT.encode_error(ApiError(kind, "what happened"))
    with (
        _client(httpx2.Response(status, content=body, headers={"content-type": "application/json"})) as client,
        pytest.raises(anthropic.APIStatusError) as raised,
    ):
        client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "hi"}])
    assert type(raised.value) is CLASSES[kind]
    assert raised.value.api_message is not None
    assert "what happened" in raised.value.api_message
    back = DIALECT.decode_error(status, {}, body)
    same = {ErrorKind.CONTENT_FILTER: ErrorKind.INVALID_REQUEST}.get(kind, kind)
    assert back.kind is same


def test_an_error_inside_a_stream_raises() -> None:
    body = DIALECT.encode_stream_error(ApiError(ErrorKind.UPSTREAM, "cut off"))
    assert body.startswith(b"event: error\n")
    with (
        _client(httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"})) as client,
        client.messages.create(model="m", max_tokens=1, messages=[], stream=True) as stream,
        pytest.raises(anthropic.APIStatusError, match="cut off"),
    ):
        list(stream)


def test_a_context_error_says_what_clients_look_for() -> None:
    for said in ("maximum context length is 8192 tokens", "prompt is too long: 9 tokens > 8 maximum"):
        message = orjson.loads(DIALECT.encode_error(ApiError(ErrorKind.CONTEXT_LENGTH, said))[1])["error"]["message"]
        assert message.startswith("prompt is too long")
        assert message.count("prompt is too long") == 1


@pytest.mark.parametrize(
    ("status", "word", "message", "kind"),
    [
        (400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", ErrorKind.CONTEXT_LENGTH),
        (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 9 + 9 > 10", ErrorKind.CONTEXT_LENGTH),
        (400, "invalid_request_error", "Your credit balance is too low to access the API", ErrorKind.QUOTA),
        (400, "invalid_request_error", "Output blocked by content filtering policy", ErrorKind.CONTENT_FILTER),
        (400, "invalid_request_error", "max_tokens: too large", ErrorKind.INVALID_REQUEST),
        (401, "authentication_error", "invalid x-api-key", ErrorKind.AUTHENTICATION),
        (402, "billing_error", "pay", ErrorKind.QUOTA),
        (403, "permission_error", "no", ErrorKind.PERMISSION),
        (404, "not_found_error", "model: x", ErrorKind.NOT_FOUND),
        (413, "request_too_large", "big", ErrorKind.TOO_LARGE),
        (429, "rate_limit_error", "slow", ErrorKind.RATE_LIMITED),
        (500, "api_error", "oops", ErrorKind.INTERNAL),
        (503, "api_error", "down", ErrorKind.UNAVAILABLE),
        (504, "timeout_error", "slow", ErrorKind.TIMEOUT),
        (529, "overloaded_error", "Overloaded", ErrorKind.OVERLOADED),
        (404, "invalid_request_error", "x", ErrorKind.NOT_FOUND),
    ],
)
def test_decode(status: int, word: str, message: str, kind: ErrorKind) -> None:
    body = orjson.dumps({"type": "error", "error": {"type": word, "message": message}, "request_id": "req_1"})
    error = DIALECT.decode_error(status, {"retry-after": "7"}, body)
    assert (error.kind, error.status, error.message, error.raw_type, error.retry_after) == (kind, status, message, word, 7.0)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_retry_after(headers: Mapping[str, str], seconds: float | None) -> None:
    assert DIALECT.decode_error(429, headers, b"").retry_after == seconds


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><h1>502</h1>",
        b"null",
        b"[]",
        b"{}",
        b'{"error":null}',
        b'{"error":{"type":3,"message":[]}}',
        b'{"type":"error","error":{"message":""}}',
    ],
)
def test_any_body_is_an_error(body: bytes) -> None:
    error = DIALECT.decode_error(502, {}, body)
    assert (error.kind, error.status) == (ErrorKind.UPSTREAM, 502)
    assert "<" not in error.message
    assert error.message


@given(status=st.integers(100, 599), body=st.binary(max_size=60))
def test_decode_is_total(status: int, body: bytes) -> None:
    error = DIALECT.decode_error(status, {}, body)
    assert error.status >= 400
    assert DIALECT.encode_error(error)[0] in {*STATUS.values(), 402, 529}
