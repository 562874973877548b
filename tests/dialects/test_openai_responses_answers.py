"""Whole Responses answers, both ways, and errors; what the goldens show whole is not repeated here."""

from __future__ import annotations

from typing import Any

import httpx2
import openai
import orjson
import pytest

from extproc.core import carrier
from extproc.core.dialect import Reply
from extproc.core.errors import ApiError, ErrorKind, UpstreamFormatError
from extproc.core.ir import Audio, Block, FinishReason, Foreign, Image, Opaque, Refusal, Response, Source, Text, Thinking, ToolCall
from extproc.core.usage import Usage
from extproc.dialects.openai_responses import OpenAIResponses
from tests.validators.responses_types import check_responses_answer

DIALECT = OpenAIResponses()
REPLY = Reply("resp_reply", 7, "shown")
USAGE = Usage(10, 5, 4, 2, 3)


def decode(output: list[Any], **members: Any) -> Response:
    return DIALECT.decode_response(orjson.dumps({"id": "resp_1", "object": "response", "created_at": 5.0, "model": "m", "output": output, **members}))


def encode(*blocks: Block, finish: FinishReason = FinishReason.STOP, reply: Reply = REPLY, **members: Any) -> tuple[dict[str, Any], set[str]]:
    body, losses = DIALECT.encode_response(Response("a1", "m", list(blocks), finish, **members), reply)
    check_responses_answer(body)
    return orjson.loads(body), {loss.code for loss in losses}


# from providers


def test_items_become_blocks() -> None:
    response = decode(
        [
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "a"}], "encrypted_content": "E"},
            {"type": "reasoning", "id": "rs_2", "summary": [], "content": [{"type": "reasoning_text", "text": "raw"}]},
            {"type": "reasoning", "id": "rs_3", "summary": []},
            {
                "type": "message",
                "content": [
                    {"type": "output_text", "text": "T", "annotations": [{"type": "x"}], "logprobs": [1]},
                    {"type": "refusal", "refusal": "R"},
                    {"type": "new"},
                ],
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call", "name": "g", "arguments": None},
            {"type": "image_generation_call", "result": "AA==", "output_format": "webp"},
            {"type": "web_search_call", "id": "ws"},
        ],
        status="completed",
        usage={
            "input_tokens": 10,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 3},
        },
    )
    made = response.blocks[5]
    assert isinstance(made, ToolCall)
    assert made.id.startswith("call_llm1_")
    assert response.blocks == [
        Thinking("a", Opaque("openai", "rs_1:E")),
        Thinking("raw"),
        Text("T", citations=[{"type": "x"}], citations_from="openai_responses"),
        Refusal("R"),
        ToolCall("c", "f", "{}"),
        ToolCall(made.id, "g"),
        Image(Source("image/webp", "AA==")),
        Foreign("openai_responses", "web_search_call", {"type": "web_search_call", "id": "ws"}),
    ]
    assert (response.finish, response.usage, response.created) == (FinishReason.TOOL_CALLS, USAGE, 5)
    assert {loss.code for loss in response.losses} == {"dropped:logprobs", "dropped:block"}


@pytest.mark.parametrize(
    ("members", "finish", "detail"),
    [
        ({"status": "completed"}, FinishReason.STOP, None),
        ({}, FinishReason.STOP, None),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, FinishReason.LENGTH, None),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, FinishReason.CONTENT_FILTER, None),
        ({"status": "incomplete", "incomplete_details": {"reason": "steered"}}, FinishReason.OTHER, "steered"),
        ({"status": "incomplete", "incomplete_details": None}, FinishReason.OTHER, "incomplete"),
        ({"status": "queued"}, FinishReason.OTHER, "queued"),
    ],
)
def test_why_an_answer_ended(members: dict[str, Any], finish: FinishReason, detail: str | None) -> None:
    response = decode([], **members)
    assert (response.finish, response.finish_detail) == (finish, detail)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"status": "failed", "output": [], "error": {"code": "rate_limit_exceeded", "message": "slow"}}, ErrorKind.RATE_LIMITED),
        ({"status": "failed", "output": [], "error": None}, ErrorKind.UPSTREAM),
        ({"error": {"code": "context_length_exceeded", "message": "long"}}, ErrorKind.CONTEXT_LENGTH),
        ({"code": "invalid-argument", "error": "Incorrect API key provided."}, ErrorKind.AUTHENTICATION),
    ],
)
def test_failed_answers_are_errors(body: Any, kind: ErrorKind) -> None:
    with pytest.raises(ApiError) as raised:
        DIALECT.decode_response(orjson.dumps(body))
    assert raised.value.kind is kind


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"output": 5}'])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(UpstreamFormatError):
        DIALECT.decode_response(body)


# to clients


def test_the_object_has_what_the_newest_sdk_requires() -> None:
    body, losses = encode(Text("Hi"), usage=USAGE)
    assert not losses
    assert body["output"] == [
        {
            "id": body["output"][0]["id"],
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "Hi"}],
        }
    ]
    assert body["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 15,
    }
    shown = {"id": "a1", "object": "response", "created_at": 7, "model": "shown", "status": "completed", "error": None, "incomplete_details": None}
    defaults = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "temperature": 1.0, "top_p": 1.0, "truncation": "disabled"}
    assert {name: body[name] for name in shown | defaults} == shown | defaults


def test_the_object_repeats_the_request() -> None:
    asked = {
        "instructions": "i",
        "temperature": 0.2,
        "tools": [{"type": "function", "name": "f"}],
        "tool_choice": "required",
        "text": {"verbosity": "low"},
        "max_output_tokens": 9,
        "metadata": {"a": "b"},
        "store": True,
        "previous_response_id": None,
        "input": "q",
        "model": "asked",
    }
    body, _ = encode(Text("Hi"), reply=Reply("r", 1, "shown", echo=DIALECT.wishes(asked).echo))
    assert (body["instructions"], body["temperature"], body["tool_choice"], body["max_output_tokens"]) == ("i", 0.2, "required", 9)
    assert body["tools"] == [{"type": "function", "name": "f", "description": None, "parameters": None, "strict": None}]
    assert body["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert body["model"] == "shown"
    assert "store" not in body


def test_texts_side_by_side_are_one_message() -> None:
    body, _ = encode(Text("a"), Text(""), Refusal("b"), ToolCall("c", "f", "{}"), Text("d"))
    assert [item["type"] for item in body["output"]] == ["message", "function_call", "message"]
    assert [part["type"] for part in body["output"][0]["content"]] == ["output_text", "refusal"]
    assert encode()[0]["output"] == []


def test_reasoning_carries_the_signatures_of_others() -> None:
    thoughts: list[Block] = [
        Thinking("t", Opaque("anthropic", "S")),
        Thinking("", Opaque("anthropic", "D"), redacted=True),
        Thinking("", Opaque("anthropic", "O")),
        Thinking("x"),
    ]
    body, losses = encode(*thoughts, ToolCall("c", "f", "", Opaque("gemini", "G")), finish=FinishReason.TOOL_CALLS)
    signed, hidden, omitted, bare, call = body["output"]
    assert (signed["summary"], signed["encrypted_content"]) == ([{"type": "summary_text", "text": "t"}], "llm1.anthropic.S")
    assert (hidden["summary"], hidden["encrypted_content"]) == ([], "llm1.anthropic.D")
    assert omitted["summary"] == [{"type": "summary_text", "text": ""}]
    assert "encrypted_content" not in bare
    assert carrier.split(call["call_id"]) == ("c", Opaque("gemini", "G"), [])
    assert call["arguments"] == "{}"
    assert not losses
    again = DIALECT.decode_request({"model": "m", "input": body["output"]}).messages[0].blocks
    assert again == [*thoughts, ToolCall("c", "f", "{}", Opaque("gemini", "G"))]


def test_calls_come_back_as_the_client_knows_its_tools() -> None:
    tools = [
        {"type": "custom", "name": "patch"},
        {
            "type": "namespace",
            "name": "files",
            "description": "",
            "tools": [{"type": "function", "name": "list"}, {"type": "custom", "name": "edit"}],
        },
    ]
    reply = Reply("r", 1, "m", echo=DIALECT.wishes({"tools": tools}).echo)
    functions = DIALECT.decode_request({"model": "m", "input": "q", "tools": tools}).tools
    assert [tool.name for tool in functions if not hasattr(tool, "kind")] == ["patch", "files__list", "files__edit"]
    calls = [
        ToolCall("1", "patch", '{"input":"*** A"}'),
        ToolCall("2", "files__list", "{}"),
        ToolCall("3", "files__edit", "plain"),
        ToolCall("4", "other", "{}"),
    ]
    body, _ = encode(*calls, finish=FinishReason.TOOL_CALLS, reply=reply)
    kept = [{k: v for k, v in item.items() if k not in ("id", "status")} for item in body["output"]]
    assert kept == [
        {"type": "custom_tool_call", "call_id": "1", "name": "patch", "input": "*** A"},
        {"type": "function_call", "call_id": "2", "name": "list", "namespace": "files", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "3", "name": "edit", "namespace": "files", "input": "plain"},
        {"type": "function_call", "call_id": "4", "name": "other", "arguments": "{}"},
    ]
    assert DIALECT.wishes({"tools": [*tools, {"type": "function", "name": "a.b"}, 5]}).tool_names == ("a.b",)
    history = DIALECT.decode_request({"model": "m", "input": body["output"], "tools": tools}).messages[0].blocks
    assert [b.name for b in history if isinstance(b, ToolCall)] == ["patch", "files__list", "files__edit", "other"]


@pytest.mark.parametrize(
    ("finish", "status", "reason", "losses"),
    [
        (FinishReason.STOP, "completed", None, set()),
        (FinishReason.STOP_SEQUENCE, "completed", None, {"dropped:stop_sequence"}),
        (FinishReason.LENGTH, "incomplete", "max_output_tokens", set()),
        (FinishReason.CONTEXT_WINDOW, "incomplete", "max_output_tokens", set()),
        (FinishReason.CONTENT_FILTER, "incomplete", "content_filter", set()),
        (FinishReason.REFUSAL, "incomplete", "content_filter", set()),
        (FinishReason.PAUSE, "completed", None, {"coerced:finish_reason"}),
        (FinishReason.OTHER, "completed", None, {"coerced:finish_reason"}),
    ],
)
def test_how_an_end_is_said(finish: FinishReason, status: str, reason: str | None, losses: set[str]) -> None:
    body, lost = encode(Text("x"), finish=finish)
    assert (body["status"], body["incomplete_details"]) == (status, {"reason": reason} if reason else None)
    assert lost == losses
    assert encode(Refusal("no"), finish=FinishReason.REFUSAL)[0]["status"] == "completed"


def test_what_the_format_has_no_place_for_is_a_loss() -> None:
    blocks: list[Block] = [
        Text("t", opaque=Opaque("gemini", "G"), citations=[{}], citations_from="gemini"),
        Audio(Source("audio/wav", "AA==")),
        Image(Source(url="https://x")),
        Foreign("gemini", "executableCode", {}),
    ]
    body, losses = encode(*blocks, Image(Source("image/png", "AA==")), finish_detail="why")
    assert losses == {"dropped:signature", "dropped:citations", "dropped:audio", "dropped:image", "dropped:foreign_block", "dropped:finish_detail"}
    assert [item["type"] for item in body["output"]] == ["message", "image_generation_call"]
    assert body["output"][1]["result"] == "AA=="


# errors


def raised(status: int, content: bytes, content_type: str, *, stream: bool) -> openai.APIError:
    """What the SDK makes of a provider's bytes."""
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, content=content, headers={"content-type": content_type}))
    client = openai.OpenAI(api_key="none", base_url="http://x", max_retries=0, http_client=httpx2.Client(transport=transport))
    with client, pytest.raises(openai.APIError) as caught:
        list(client.responses.create(model="m", input="q", stream=stream))
    return caught.value


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (ErrorKind.INVALID_REQUEST, openai.BadRequestError),
        (ErrorKind.RATE_LIMITED, openai.RateLimitError),
        (ErrorKind.AUTHENTICATION, openai.AuthenticationError),
        (ErrorKind.UNPROCESSABLE, openai.UnprocessableEntityError),
        (ErrorKind.OVERLOADED, openai.InternalServerError),
    ],
)
def test_errors_raise_in_the_sdk(kind: ErrorKind, expected: type[openai.APIStatusError]) -> None:
    status, body = DIALECT.encode_error(ApiError(kind, "why"))
    error = raised(status, body, "application/json", stream=False)
    assert isinstance(error, expected)
    assert error.body["message"] == "why"  # type: ignore[index]


def test_point_47_an_error_in_a_stream_raises_in_the_sdk() -> None:
    error = raised(200, DIALECT.encode_stream_error(ApiError(ErrorKind.OVERLOADED, "busy")), "text/event-stream", stream=True)
    assert error.message == "busy"
    assert error.code == "overloaded"
