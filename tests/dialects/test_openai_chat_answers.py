"""Chat Completions answers and errors: decoded from every vendor's form, encoded so that the real SDK reads them."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from extproc.core import carrier
from extproc.core.dialect import Reply
from extproc.core.errors import STATUS, ApiError, ErrorKind, UpstreamFormatError
from extproc.core.ir import (
    Audio,
    Block,
    FinishReason,
    Foreign,
    Image,
    Opaque,
    Refusal,
    Response,
    Source,
    Text,
    Thinking,
    ToolCall,
)
from extproc.core.openai_errors import duration
from extproc.core.usage import Usage
from extproc.dialects.openai_chat import OpenAIChat

DIALECT = OpenAIChat()
REPLY = Reply("chatcmpl-ours", 17, "shown")


def answer(message: dict[str, Any], finish: str | None = "stop", **members: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return orjson.dumps({"id": "a1", "object": "chat.completion", "created": 5, "model": "real", "choices": [choice], **members})


def encode(response: Response, reply: Reply = REPLY) -> tuple[dict[str, Any], set[str]]:
    body, losses = DIALECT.encode_response(response, reply)
    parsed = orjson.loads(body)
    ChatCompletion.model_validate(parsed, strict=True)
    return parsed, {loss.code for loss in losses}


def whole(*blocks: Block, finish: FinishReason = FinishReason.STOP) -> Response:
    return Response("a1", "real", list(blocks), finish)


# decoding


@pytest.mark.parametrize(
    ("message", "blocks"),
    [
        ({"content": "hi"}, [Text("hi")]),
        ({"content": ""}, []),
        ({"content": None, "refusal": "no"}, [Refusal("no")]),
        ({"content": "hi", "reasoning_content": "hm"}, [Thinking("hm"), Text("hi")]),
        ({"content": "hi", "reasoning": "hm"}, [Thinking("hm"), Text("hi")]),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]},
                    {"type": "text", "text": "hi"},
                ]
            },
            [Thinking("hm"), Text("hi")],
        ),
        (
            {"content": "hi", "reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0}]},
            [Thinking("hm", Opaque("openrouter", '{"type":"reasoning.text","signature":"s","index":0}')), Text("hi")],
        ),
        (
            {"content": "hi", "reasoning_details": [{"type": "reasoning.encrypted", "data": "d"}]},
            [Thinking("", Opaque("openrouter", '{"type":"reasoning.encrypted","data":"d"}'), redacted=True), Text("hi")],
        ),
        (
            {"tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"b":1, "a":2}'}}]},
            [ToolCall("c", "f", '{"b":1, "a":2}')],
        ),
        (
            {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"b": 1}}, "extra_content": {"google": {"thought_signature": "s"}}}]},
            [ToolCall("c", "f", '{"b":1}', Opaque("gemini", "s"))],
        ),
        ({"content": None, "images": [{"image_url": {"url": "data:image/png;base64,aGk="}}]}, [Image(Source("image/png", "aGk="))]),
        ({"audio": {"id": "x", "data": "aGk="}}, [Foreign("openai_chat", "audio", {"id": "x", "data": "aGk="})]),
    ],
)
def test_messages_decode(message: dict[str, Any], blocks: list[Block]) -> None:
    response = DIALECT.decode_response(answer(message))
    assert response.blocks == blocks
    assert response.losses == []


def test_calls_without_ids_get_the_same_one_every_time() -> None:
    body = answer({"tool_calls": [{"id": "", "function": {"name": "f"}}, {"function": {"name": "f"}}], "function_call": None})
    one, two = DIALECT.decode_response(body).blocks
    assert isinstance(one, ToolCall)
    assert isinstance(two, ToolCall)
    assert one.id != two.id
    assert DIALECT.decode_response(body).blocks == [one, two]
    legacy = DIALECT.decode_response(answer({"function_call": {"name": "f", "arguments": "{}"}}, "function_call"))
    assert legacy.finish is FinishReason.TOOL_CALLS
    assert isinstance(legacy.blocks[0], ToolCall)


def test_what_is_not_kept_is_reported() -> None:
    body = json.loads(answer({"content": "a", "executed_tools": [1]}, moderation={"x": 1}, system_fingerprint="fp", x_groq={"id": 1}))
    body["choices"][0]["logprobs"] = {"content": []}
    body["choices"].append(body["choices"][0])
    assert [(loss.code, loss.detail) for loss in DIALECT.decode_response(orjson.dumps(body)).losses] == [
        ("dropped:choices", "1 more"),
        ("dropped:logprobs", ""),
        ("dropped:unknown_member", "answer.moderation"),
        ("dropped:unknown_member", "message.executed_tools"),
    ]


@pytest.mark.parametrize(
    ("word", "message", "finish", "detail"),
    [
        ("stop", {"content": "a"}, FinishReason.STOP, None),
        ("eos", {"content": "a"}, FinishReason.STOP, None),
        ("stop", {"refusal": "a"}, FinishReason.REFUSAL, None),
        ("stop", {"tool_calls": [{"id": "c", "function": {"name": "f"}}]}, FinishReason.TOOL_CALLS, None),
        ("length", {"content": "a"}, FinishReason.LENGTH, None),
        ("model_length", {"content": "a"}, FinishReason.CONTEXT_WINDOW, None),
        ("content_filter", {"content": ""}, FinishReason.CONTENT_FILTER, None),
        ("", {"content": "a"}, FinishReason.STOP, None),
        ("", {"tool_calls": [{"id": "c", "function": {"name": "f"}}]}, FinishReason.TOOL_CALLS, None),
        ("novel", {"content": "a"}, FinishReason.OTHER, "novel"),
        (None, {"content": "a"}, FinishReason.OTHER, None),
    ],
)
def test_finish_reasons_decode(word: str | None, message: dict[str, Any], finish: FinishReason, detail: str | None) -> None:
    response = DIALECT.decode_response(answer(message, word))
    assert (response.finish, response.finish_detail) == (finish, detail)


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, Usage(10, 5)),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 15,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(10, 5, 4, 2, 3),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115, "completion_tokens_details": {"reasoning_tokens": 100}},
            Usage(10, 105, reasoning=100),
        ),
        ({"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}, Usage(35, 74, reasoning=62)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 3}, Usage(9, 1, 6)),
        ({"prompt_tokens": 9, "num_cached_tokens": 6, "completion_tokens": None}, Usage(9, 0, 6)),
        ({"prompt_tokens": "many", "prompt_tokens_details": [], "total_tokens": -4}, Usage()),
    ],
)
def test_usage_decodes_to_one_convention(raw: dict[str, Any], usage: Usage) -> None:
    assert DIALECT.decode_response(answer({"content": "a"}, usage=raw)).usage == usage


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{}]}', b'{"choices":[1]}', b'{"choices":{"a":1}}', b"null"]
)
def test_what_is_not_an_answer_is_an_upstream_error(body: bytes) -> None:
    with pytest.raises(UpstreamFormatError) as caught:
        DIALECT.decode_response(body)
    assert caught.value.status == 502


def test_an_error_under_status_200_is_the_error_it_stands_for() -> None:
    with pytest.raises(ApiError) as caught:
        DIALECT.decode_response(b'{"error":{"message":"slow down","code":429}}')
    assert (caught.value.kind, caught.value.status) == (ErrorKind.RATE_LIMITED, 429)
    inside = orjson.dumps({"choices": [{"message": {"content": ""}, "finish_reason": "error", "error": {"code": 502, "message": "gone"}}]})
    with pytest.raises(ApiError) as caught:
        DIALECT.decode_response(inside)
    assert (caught.value.kind, caught.value.message) == (ErrorKind.UPSTREAM, "gone")


def test_a_filtered_choice_without_a_message_is_an_answer() -> None:
    body = orjson.dumps({"id": "a", "choices": [{"index": 0, "finish_reason": "content_filter", "content_filter_results": {"hate": {}}}]})
    response = DIALECT.decode_response(body)
    assert (response.blocks, response.finish) == ([], FinishReason.CONTENT_FILTER)


# encoding


def test_an_answer_has_every_member_that_clients_expect() -> None:
    response = whole(Thinking("A"), Thinking("B"), Text("x"), Text("y"))
    response.usage = Usage(10, 5, 4, 0, 3)
    body, losses = encode(response)
    assert body == {
        "id": "a1",
        "object": "chat.completion",
        "created": 17,
        "model": "shown",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "xy", "refusal": None, "reasoning_content": "A\n\nB"},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 3,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
    }
    assert not losses


def test_signed_thoughts_ride_in_the_ids_of_the_calls_they_led_to() -> None:
    one, two = Thinking("1", Opaque("anthropic", "s1")), Thinking("", Opaque("anthropic", "s2"), redacted=True)
    body, losses = encode(whole(one, ToolCall("c1", "f"), two, ToolCall("c2", "g", "{}", Opaque("gemini", "g")), finish=FinishReason.TOOL_CALLS))
    message = body["choices"][0]["message"]
    first, second = message["tool_calls"]
    assert carrier.split(first["id"]) == ("c1", None, [one])
    assert carrier.split(second["id"]) == ("c2", Opaque("gemini", "g"), [two])
    assert first["function"] == {"name": "f", "arguments": "{}"}
    assert message["content"] is None
    assert body["choices"][0]["finish_reason"] == "tool_calls"
    assert not losses
    request = DIALECT.decode_request({"model": "m", "messages": [message]})
    assert request.messages[0].blocks == [one, ToolCall("c1", "f", "{}"), two, ToolCall("c2", "g", "{}", Opaque("gemini", "g"))]


def test_the_older_form() -> None:
    reply = Reply("x", 1, "m", functions=True)
    response = whole(ToolCall("c", "f", '{"a":1}'), ToolCall("d", "g"), finish=FinishReason.TOOL_CALLS)
    body, losses = encode(response, reply)
    assert body["choices"][0]["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert "tool_calls" not in body["choices"][0]["message"]
    assert body["choices"][0]["finish_reason"] == "function_call"
    assert losses == {"dropped:parallel_tool_calls"}


def test_what_the_format_lacks_is_reported() -> None:
    response = whole(
        Text("a", citations=[{}], citations_from="anthropic_messages", opaque=Opaque("gemini", "s")),
        Image(Source("image/png", "aGk=")),
        Audio(Source("audio/wav", "aGk=")),
        Foreign("anthropic_messages", "server_tool_use", {}),
        Thinking("t", Opaque("anthropic", "s")),
        finish=FinishReason.PAUSE,
    )
    response.stop_sequence = "END"
    body, losses = encode(response)
    assert body["choices"][0]["message"]["images"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]
    assert "usage" not in body
    assert losses == {
        "dropped:citations",
        "dropped:signature",
        "dropped:audio",
        "dropped:foreign_block",
        "dropped:stop_sequence",
        "coerced:finish_reason",
    }


@pytest.mark.parametrize("finish", FinishReason)
def test_every_finish_reason_has_a_word(finish: FinishReason) -> None:
    body, _ = encode(whole(Text("a"), finish=finish))
    word = body["choices"][0]["finish_reason"]
    again = DIALECT.decode_response(orjson.dumps(body)).finish
    expected = {
        FinishReason.STOP_SEQUENCE: FinishReason.STOP,
        FinishReason.CONTEXT_WINDOW: FinishReason.LENGTH,
        FinishReason.REFUSAL: FinishReason.CONTENT_FILTER,
        FinishReason.PAUSE: FinishReason.STOP,
        FinishReason.MALFORMED_TOOL_CALL: FinishReason.STOP,
        FinishReason.OTHER: FinishReason.STOP,
    }
    assert again == expected.get(finish, finish), word


def test_a_refusal_in_its_own_member_finishes_with_stop() -> None:
    body, _ = encode(whole(Refusal("no"), finish=FinishReason.REFUSAL))
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["choices"][0]["message"]["refusal"] == "no"


# errors


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, '{"error":{"message":"too long","code":"context_length_exceeded","param":"messages"}}', ErrorKind.CONTEXT_LENGTH, "too long"),
        (
            400,
            '{"object":"error","message":"This model\'s maximum context length is 8192"}',
            ErrorKind.CONTEXT_LENGTH,
            "This model's",
        ),
        (400, '{"code":"invalid-argument","error":"This model\'s maximum prompt length is 131072 but"}', ErrorKind.CONTEXT_LENGTH, "This model's"),
        (400, '{"error":{"code":"content_filter","innererror":{"code":"ResponsibleAIPolicyViolation"}}}', ErrorKind.CONTENT_FILTER, "The provider"),
        (403, '{"error":{"code":403,"message":"flagged","metadata":{"reasons":["violence"]}}}', ErrorKind.CONTENT_FILTER, "flagged"),
        (429, '{"error":{"message":"pay","type":"insufficient_quota","code":"insufficient_quota"}}', ErrorKind.QUOTA, "pay"),
        (429, '{"error":{"message":"Rate limit reached","type":"tokens","code":"rate_limit_exceeded"}}', ErrorKind.RATE_LIMITED, "Rate limit"),
        (402, '{"error":{"message":"Insufficient credits","code":402}}', ErrorKind.QUOTA, "Insufficient"),
        (
            400,
            '{"code":"invalid argument","error":"Incorrect API key provided: xa***34."}',
            ErrorKind.AUTHENTICATION,
            "Incorrect",
        ),
        (401, '{"error":{"message":"Access denied","code":"401"}}', ErrorKind.AUTHENTICATION, "Access denied"),
        (401, '{"detail":"Unauthorized"}', ErrorKind.AUTHENTICATION, "Unauthorized"),
        (422, '{"detail":[{"loc":["body","messages",0],"msg":"Field required","type":"missing"}]}', ErrorKind.UNPROCESSABLE, "Field required"),
        (404, '{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}', ErrorKind.NOT_FOUND, "The model"),
        (400, '{"error":{"message":"Invalid model: x"}}', ErrorKind.NOT_FOUND, "Invalid model"),
        (404, '{"error":{"code":"DeploymentNotFound","message":"none"}}', ErrorKind.NOT_FOUND, "none"),
        (400, '[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key."}}]', ErrorKind.AUTHENTICATION, "API key not"),
        (500, '{"error":"boom"}', ErrorKind.INTERNAL, "boom"),
        (503, '{"message":"overloaded","type":"overloaded_error"}', ErrorKind.OVERLOADED, "overloaded"),
        (502, "<html><head><title>502 Bad Gateway</title></head><body>x</body></html>", ErrorKind.UPSTREAM, "502 Bad Gateway"),
        (503, "upstream connect error", ErrorKind.UNAVAILABLE, "upstream connect error"),
        (429, "", ErrorKind.RATE_LIMITED, "The provider answered with status 429."),
        (418, "null", ErrorKind.INVALID_REQUEST, "The provider answered with status 418."),
        (200, '{"error":{"code":502,"message":"x"}}', ErrorKind.UPSTREAM, "x"),
    ],
)
def test_errors_decode(status: int, body: str, kind: ErrorKind, message: str) -> None:
    error = DIALECT.decode_error(status, {}, body.encode())
    assert error.kind is kind
    assert error.message.startswith(message)
    assert error.status == (status if status >= 400 else 502)


def test_the_path_of_a_validation_error_is_its_param() -> None:
    error = DIALECT.decode_error(422, {}, b'{"detail":[{"loc":["body","messages",0,"role"],"msg":"m"}]}')
    assert error.param == "messages.0.role"


@pytest.mark.parametrize("key", ["sk-proj-abc_DEF123", "gsk_abcdef", "xai-abcdef", "abcd1234efgh"])
def test_no_key_gets_into_a_message(key: str) -> None:
    body = orjson.dumps({"error": {"message": f"Incorrect API key provided: {key}. See https://example.com."}})
    error = DIALECT.decode_error(401, {}, body)
    assert key not in error.message
    assert "https://example.com" in error.message


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([200, 400, 401, 404, 429, 500, 599]),
    st.binary(max_size=40)
    | st.recursive(
        st.none() | st.text(max_size=5) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["error", "message", "code", "type", "detail", "loc", "msg", "metadata", "innererror", "raw"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode()),
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date", "x-ratelimit-reset-tokens"]), st.text(max_size=6)),
)
def test_errors_decode_whatever_comes(status: int, body: bytes, headers: dict[str, str]) -> None:
    error = DIALECT.decode_error(status, headers, body)
    assert error.message
    assert 400 <= error.status < 600
    assert DIALECT.encode_error(error)[0] == STATUS[error.kind]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "7", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Mon, 02 Nov 2026 10:00:30 GMT", "date": "Mon, 02 Nov 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Mon, 02 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"x-ratelimit-reset-requests": "2m59.5s", "x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-reset-requests": "2m59.5s", "x-ratelimit-reset-tokens": "20ms", "x-ratelimit-remaining-requests": "0"}, 179.5),
        ({"retry-after": "1", "x-ratelimit-reset-requests": "6m0s"}, 1.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert DIALECT.decode_error(429, headers, b"").retry_after == pytest.approx(seconds)
    assert DIALECT.decode_error(400, headers, b"").retry_after is None


def test_durations() -> None:
    assert duration("1h2m3s") == 3723
    assert duration("") is None
    assert duration("-1") is None
    assert duration("nan") is None
    assert duration("5 parsecs") is None


def client(status: int, body: bytes, content_type: str = "application/json") -> openai.OpenAI:
    def handle(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, content=body, headers={"content-type": content_type}, request=request)

    return openai.OpenAI(api_key="k", base_url="http://x.test/v1", max_retries=0, http_client=httpx2.Client(transport=httpx2.MockTransport(handle)))


EXCEPTIONS: dict[ErrorKind, type[openai.APIStatusError]] = {
    ErrorKind.INVALID_REQUEST: openai.BadRequestError,
    ErrorKind.CONTEXT_LENGTH: openai.BadRequestError,
    ErrorKind.CONTENT_FILTER: openai.BadRequestError,
    ErrorKind.AUTHENTICATION: openai.AuthenticationError,
    ErrorKind.PERMISSION: openai.PermissionDeniedError,
    ErrorKind.NOT_FOUND: openai.NotFoundError,
    ErrorKind.METHOD_NOT_ALLOWED: openai.APIStatusError,
    ErrorKind.CONFLICT: openai.ConflictError,
    ErrorKind.TOO_LARGE: openai.APIStatusError,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: openai.APIStatusError,
    ErrorKind.UNPROCESSABLE: openai.UnprocessableEntityError,
    ErrorKind.RATE_LIMITED: openai.RateLimitError,
    ErrorKind.QUOTA: openai.RateLimitError,
}


@pytest.mark.parametrize("kind", ErrorKind)
def test_the_sdk_raises_the_right_exception(kind: ErrorKind) -> None:
    status, body = DIALECT.encode_error(ApiError(kind, "why", code="theirs", param="messages"))
    with pytest.raises(EXCEPTIONS.get(kind, openai.InternalServerError)) as caught:
        client(status, body).chat.completions.create(model="m", messages=[])
    assert "why" in caught.value.message
    assert caught.value.param == "messages"
    codes = {
        ErrorKind.CONTEXT_LENGTH: "context_length_exceeded",
        ErrorKind.CONTENT_FILTER: "content_filter",
        ErrorKind.AUTHENTICATION: "invalid_api_key",
        ErrorKind.QUOTA: "insufficient_quota",
        ErrorKind.RATE_LIMITED: "rate_limit_exceeded",
        ErrorKind.OVERLOADED: "overloaded",
        ErrorKind.TIMEOUT: "timeout",
    }
    assert caught.value.code == codes.get(kind, "theirs")


@pytest.mark.parametrize("kind", [kind for kind in ErrorKind if kind is not ErrorKind.TIMEOUT])
def test_an_encoded_error_decodes_to_its_kind(kind: ErrorKind) -> None:
    status, body = DIALECT.encode_error(ApiError(kind, "why"))
    assert DIALECT.decode_error(status, {}, body).kind is kind


def test_the_sdk_reads_our_answers() -> None:
    body, _ = DIALECT.encode_response(whole(Text("hi"), ToolCall("c", "f", "{}"), finish=FinishReason.TOOL_CALLS), REPLY)
    read = client(200, body).chat.completions.create(model="m", messages=[])
    assert read.choices[0].message.content == "hi"
    assert read.choices[0].message.tool_calls[0].function.name == "f"


def test_the_sdk_raises_on_a_stream_that_ends_with_an_error() -> None:
    body = DIALECT.encode_stream_error(ApiError(ErrorKind.UPSTREAM, "cut"))
    stream = client(200, body, "text/event-stream").chat.completions.create(model="m", messages=[], stream=True)
    with pytest.raises(openai.APIError, match="cut"):
        list(stream)
