"""Cohere's whole answers and errors, both ways; clients' are read by Cohere's own SDK."""

from __future__ import annotations

from typing import Any

import cohere
import orjson
import pytest
from cohere.core.api_error import ApiError as CohereError
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import carrier
from extproc.core.dialect import Reply
from extproc.core.errors import STATUS, ApiError, ErrorKind, UpstreamFormatError
from extproc.core.ir import Block, FinishReason, Foreign, Image, Opaque, Refusal, Response, Source, Text, Thinking, ToolCall
from extproc.core.losses import meaning
from extproc.core.usage import Usage
from extproc.dialects.cohere_chat import CohereChat
from extproc.dialects.cohere_chat.wire import NAME
from tests.validators.cohere_sdk import check_answer, parse_answer

COHERE = CohereChat()
REPLY = Reply("reply-id", 1, "shown")
CITATION = {"start": 0, "end": 1, "text": "a", "sources": []}


def answer(message: dict[str, Any], finish: str = "COMPLETE", **members: Any) -> dict[str, Any]:
    return {"id": "i", "finish_reason": finish, "message": {"role": "assistant", **message}, **members}


def decode(message: dict[str, Any], finish: str = "COMPLETE", **members: Any) -> Response:
    response = COHERE.decode_response(orjson.dumps(answer(message, finish, **members)))
    assert all(meaning(loss.code) for loss in response.losses)
    return response


def encode(*blocks: Block, finish: FinishReason = FinishReason.STOP, **members: Any) -> tuple[dict[str, Any], set[str]]:
    body, losses = COHERE.encode_response(Response("i", "x", list(blocks), finish, **members), REPLY)
    check_answer(body)
    assert all(meaning(loss.code) for loss in losses)
    return orjson.loads(body), {loss.code for loss in losses}


def call(ident: str, name: str = "f", arguments: str = "{}") -> dict[str, Any]:
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


def text(*texts: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": t} for t in texts]}


# from the provider


def test_thoughts_plan_and_calls_in_order() -> None:
    message = {"content": [{"type": "thinking", "thinking": "t"}], "tool_plan": "p", "tool_calls": [call("a", "llm1_1st"), call("b", arguments="")]}
    response = decode(message, "TOOL_CALL")
    assert response.blocks == [Thinking("t"), Text("p"), ToolCall("a", "1st", "{}"), ToolCall("b", "f", "")]
    assert (response.id, response.model, response.finish) == ("i", "", FinishReason.TOOL_CALLS)


@pytest.mark.parametrize(
    ("word", "reason", "detail"),
    [
        ("COMPLETE", FinishReason.STOP, None),
        ("STOP_SEQUENCE", FinishReason.STOP_SEQUENCE, None),
        ("MAX_TOKENS", FinishReason.LENGTH, None),
        ("ERROR_TOXIC", FinishReason.CONTENT_FILTER, None),
        ("NOVEL", FinishReason.OTHER, "NOVEL"),
        (None, FinishReason.OTHER, None),
    ],
)
def test_reasons_to_finish(word: Any, reason: FinishReason, detail: str | None) -> None:
    response = decode(text("a"), word)
    assert (response.finish, response.finish_detail) == (reason, detail)


@pytest.mark.parametrize(("word", "kind"), [("ERROR", ErrorKind.INTERNAL), ("TIMEOUT", ErrorKind.TIMEOUT)])
def test_answers_that_failed_are_errors(word: str, kind: ErrorKind) -> None:
    with pytest.raises(ApiError) as caught:
        decode(text("half"), word)
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        ({"tokens": {"input_tokens": 9.0, "output_tokens": 3}, "billed_units": {"input_tokens": 1}}, Usage(9, 3)),
        ({"tokens": {"input_tokens": 9, "output_tokens": 3, "reasoning_tokens": 2}, "cached_tokens": 8}, Usage(9, 3, 8, 0, 2)),
        ({"tokens": {"input_tokens": 34, "image_tokens": 259, "output_tokens": 1}}, Usage(293, 1)),
        ({"billed_units": {"input_tokens": 5, "output_tokens": 1}}, Usage(5, 1)),
        ({"tokens": {"input_tokens": 5}, "cached_tokens": 99}, Usage(5, 0, 5)),
        ({"tokens": {"input_tokens": -5, "output_tokens": "x"}, "cached_tokens": True}, Usage()),
    ],
)
def test_usage(raw: Any, usage: Usage) -> None:
    assert decode(text("a"), usage=raw).usage == usage


def test_citations_belong_to_one_text() -> None:
    second, plan, thought = {**CITATION, "content_index": 1}, {**CITATION, "type": "PLAN"}, {**CITATION, "type": "THINKING_CONTENT"}
    response = decode({**text("a", "b"), "tool_plan": "p", "tool_calls": [call("x")], "citations": [CITATION, second, plan, thought]}, "TOOL_CALL")
    cited = [b.citations for b in response.blocks if isinstance(b, Text)]
    assert cited == [[CITATION], [second], [plan]]
    assert [loss.code for loss in response.losses] == ["dropped:citations"]


def test_what_is_no_answer() -> None:
    for raw in (b"<html>", b"[]", b"{}", b'{"message":{"content":[{"type":"text"}]}}', b'{"message":{"tool_calls":[{}]}}'):
        with pytest.raises(UpstreamFormatError):
            COHERE.decode_response(raw)
    with pytest.raises(ApiError) as caught:
        COHERE.decode_response(b'{"id":"x","message":"too many tokens"}')
    assert caught.value.kind is ErrorKind.CONTEXT_LENGTH
    losses = decode({**text("a"), "novel": 1}, logprobs=[{}], more=1).losses
    assert {loss.code for loss in losses} == {"dropped:logprobs", "dropped:unknown_member"}
    assert decode({"content": [{"type": "novel"}]}).blocks == [Foreign(NAME, "novel", {"type": "novel"})]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 1 << 60) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "id", "function", "name", "index"]), inner, max_size=4)
    ),
    max_leaves=6,
)


MESSAGE = st.fixed_dictionaries({}, optional=dict.fromkeys(("content", "tool_plan", "tool_calls", "citations"), JSON))
ANSWER = st.fixed_dictionaries({"message": MESSAGE | JSON}, optional=dict.fromkeys(("finish_reason", "usage", "id", "error"), JSON))


@given(ANSWER)
def test_any_answer_is_read_or_an_error(raw: Any) -> None:
    try:
        response = COHERE.decode_response(orjson.dumps(raw))
    except ApiError:
        return
    assert orjson.loads(COHERE.encode_response(response, REPLY)[0])["message"]["role"] == "assistant"


# to the client


def test_text_before_calls_is_the_plan() -> None:
    body, losses = encode(Thinking("t"), Text("one"), Text(" two"), ToolCall("a", "f", ""), usage=Usage(9, 3, 2, 0, 1))
    assert body == {
        "id": "i",
        "finish_reason": "TOOL_CALL",
        "message": {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "t"}],
            "tool_plan": "one two",
            "tool_calls": [call("a")],
        },
        "usage": {
            "billed_units": {"input_tokens": 9, "output_tokens": 3},
            "tokens": {"input_tokens": 9, "output_tokens": 3, "reasoning_tokens": 1},
            "cached_tokens": 2,
        },
    }
    assert losses == set()


@pytest.mark.parametrize(
    ("reason", "word", "losses"),
    [
        (FinishReason.STOP, "COMPLETE", set()),
        (FinishReason.STOP_SEQUENCE, "STOP_SEQUENCE", set()),
        (FinishReason.LENGTH, "MAX_TOKENS", set()),
        (FinishReason.CONTEXT_WINDOW, "MAX_TOKENS", set()),
        (FinishReason.CONTENT_FILTER, "COMPLETE", {"coerced:finish_reason"}),
        (FinishReason.PAUSE, "COMPLETE", {"coerced:finish_reason"}),
        (FinishReason.OTHER, "COMPLETE", {"coerced:finish_reason"}),
    ],
)
def test_reasons_to_finish_of_others(reason: FinishReason, word: str, losses: set[str]) -> None:
    body, lost = encode(Text("a"), finish=reason)
    assert (body["finish_reason"], lost) == (word, losses)


def test_signatures_ride_in_ids() -> None:
    signed = Thinking("why", Opaque("anthropic", "c2ln"))
    hidden = Thinking("", Opaque("anthropic", "aGlk"), redacted=True)
    body, losses = encode(signed, hidden, ToolCall("a", "f", "{}", Opaque("gemini", "Zw==")), ToolCall("b", "f"))
    first, second = (c["id"] for c in body["message"]["tool_calls"])
    assert carrier.split(first) == ("a", Opaque("gemini", "Zw=="), [signed, hidden])
    assert second == "b"
    assert losses == set()
    assert encode(signed, Text("a", opaque=Opaque("gemini", "Zw==")))[1] == {"dropped:signature"}


def test_what_cohere_has_not() -> None:
    blocks: list[Block] = [Refusal("no"), Image(Source(url="u")), Foreign("x", "search", {}), Text("a", citations=[{}], citations_from="x")]
    body, losses = encode(*blocks, stop_sequence="s", finish_detail="d")
    assert [p["text"] for p in body["message"]["content"]] == ["no", "a"]
    assert losses == {
        *("coerced:refusal", "dropped:image", "dropped:foreign_block", "dropped:citations", "dropped:stop_sequence", "dropped:finish_detail"),
    }
    body, losses = encode(Text("a", citations=[CITATION], citations_from=NAME))
    assert body["message"]["citations"] == [CITATION]
    assert losses == set()


def test_an_empty_answer_without_counts() -> None:
    body, losses = COHERE.encode_response(Response("", "", [], FinishReason.STOP), REPLY)
    assert orjson.loads(body) == {"id": "reply-id", "finish_reason": "COMPLETE", "message": {"role": "assistant", "content": []}}
    assert losses == []


# errors


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "invalid request: temperature must be between 0 and 1.0 inclusive.", ErrorKind.INVALID_REQUEST),
        (400, "too many tokens: size limit exceeded by 11326 tokens. Try using shorter or fewer inputs", ErrorKind.CONTEXT_LENGTH),
        (400, "too many tokens: max tokens must be less than or equal to 4096, the maximum output", ErrorKind.INVALID_REQUEST),
        (401, "invalid api token", ErrorKind.AUTHENTICATION),
        (402, "Please add or update your payment method", ErrorKind.QUOTA),
        (404, "model 'xyz' not found, make sure the correct model ID was used", ErrorKind.NOT_FOUND),
        (422, "invalid request", ErrorKind.UNPROCESSABLE),
        (429, "trial token rate limit exceeded, limit is 100000 tokens per minute", ErrorKind.RATE_LIMITED),
        (429, "You are using a Trial key, which is limited to 1000 API calls / month.", ErrorKind.QUOTA),
        (498, "invalid api token", ErrorKind.AUTHENTICATION),
        (498, "unsafe request", ErrorKind.CONTENT_FILTER),
        (499, "request cancelled", ErrorKind.UNAVAILABLE),
        (500, "internal server error", ErrorKind.INTERNAL),
        (504, "timeout", ErrorKind.TIMEOUT),
    ],
)
def test_errors_of_the_provider(status: int, message: str, kind: ErrorKind) -> None:
    error = COHERE.decode_error(status, {"retry-after": "7"}, orjson.dumps({"id": "x", "message": message}))
    assert (error.kind, error.status, error.message, error.retry_after) == (kind, status, message, 7.0)


@given(st.integers(400, 599), st.binary(max_size=40) | JSON.map(orjson.dumps))
def test_every_error_is_read(status: int, body: bytes) -> None:
    error = COHERE.decode_error(status, {"retry-after": "soon"}, body)
    assert error.message
    assert error.status == status


EXCEPTIONS = {
    ErrorKind.INVALID_REQUEST: cohere.BadRequestError,
    ErrorKind.CONTEXT_LENGTH: cohere.BadRequestError,
    ErrorKind.AUTHENTICATION: cohere.UnauthorizedError,
    ErrorKind.PERMISSION: cohere.ForbiddenError,
    ErrorKind.NOT_FOUND: cohere.NotFoundError,
    ErrorKind.UNPROCESSABLE: cohere.UnprocessableEntityError,
    ErrorKind.RATE_LIMITED: cohere.TooManyRequestsError,
    ErrorKind.INTERNAL: cohere.InternalServerError,
    ErrorKind.NOT_IMPLEMENTED: cohere.NotImplementedError,
    ErrorKind.OVERLOADED: cohere.ServiceUnavailableError,
    ErrorKind.TIMEOUT: cohere.GatewayTimeoutError,
}


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_errors_raise_in_the_sdk(kind: ErrorKind) -> None:
    status, body = COHERE.encode_error(ApiError(kind, "words"))
    assert status == (402 if kind is ErrorKind.QUOTA else STATUS[kind])
    with pytest.raises(EXCEPTIONS.get(kind, CohereError)) as caught:
        parse_answer(body, status)
    assert caught.value.body == {"message": "words"}
    assert COHERE.decode_error(status, {}, body).message == "words"
