"""Answers of vendors of Chat Completions: where each departs from OpenAI, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from extproc.core.errors import ApiError, ErrorKind
from extproc.core.ir import BlockStop, End, Event, Finish, FinishReason, MessageStart, Opaque, StreamError, Text, Thinking, ToolCall, UsageUpdate
from extproc.core.usage import Usage
from extproc.dialects.openai_chat import OpenAIChat
from tests.dialects.cross import gathered

DIALECT = OpenAIChat()


def whole(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> bytes:
    return orjson.dumps({"id": "i", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": finish}], **more})


def stream(*chunks: Any, done: bool = True) -> list[Event]:
    raw = b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in chunks) + (b"data: [DONE]\n\n" if done else b"")
    decoder = DIALECT.stream_decoder()
    return [*decoder.feed(raw), *decoder.close()]


def delta(finish: str | None = None, **members: Any) -> dict[str, Any]:
    return {"id": "i", "model": "m", "choices": [{"index": 0, "delta": members, "finish_reason": finish}]}


def kinds(events: list[Event]) -> list[type]:
    return [type(event) for event in events]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_point_29_thoughts_under_either_name(name: str) -> None:
    assert DIALECT.decode_response(whole({"content": "a", name: "hm"})).blocks == [Thinking("hm"), Text("a")]
    assert gathered(stream(delta(**{name: "h"}), delta(**{name: "m"}), delta(content="a"), delta("stop"))).blocks == [Thinking("hm"), Text("a")]


def test_point_29_mistrals_thoughts_are_parts_and_may_be_signed() -> None:
    part = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "signature": "bWlz"}
    answer = DIALECT.decode_response(whole({"content": [part, {"type": "text", "text": "a"}]}))
    assert answer.blocks == [Thinking("hm", Opaque("mistral", "bWlz")), Text("a")]


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (
            {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 14, "completion_tokens_details": {"reasoning_tokens": 4}},
            Usage(9, 5, 0, 0, 4),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 3},
            Usage(9, 1, 6),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "num_cached_tokens": 6}, Usage(9, 1, 6)),
        ({"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "queue_time": 0.1, "total_time": 0.2}, Usage(9, 1)),
    ],
)
def test_point_34_35_counts(usage: dict[str, Any], counted: Usage) -> None:
    assert DIALECT.decode_response(whole({"content": "a"}, usage=usage)).usage == counted


def test_point_36_usage_where_the_vendors_have_it() -> None:
    usage = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
    for last in (
        [delta("stop") | {"usage": usage}],
        [delta("stop"), {"choices": [], "usage": usage}],
        [delta("stop") | {"x_groq": {"id": "r", "usage": usage}}],
    ):
        events = stream(delta(content="a"), *last)
        assert [e.usage for e in events if isinstance(e, UsageUpdate)] == [Usage(2, 1)]
        assert isinstance(events[-1], End)


def test_point_38_azures_first_chunk() -> None:
    first = {"id": "", "object": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    events = stream(first, delta(content="a", role="assistant"), delta("stop"))
    assert [e for e in events if isinstance(e, MessageStart)] == [MessageStart("i", "m")]
    assert not DIALECT.stream_decoder().losses


def test_point_39_perplexity_has_no_terminator() -> None:
    sources: dict[str, Any] = {"citations": ["https://e.x"], "search_results": [{"title": "t", "url": "https://e.x"}]}
    raw = b"".join(b"data: " + json.dumps(c | sources).encode() + b"\n\n" for c in (delta(content="a"), delta("stop")))
    decoder = DIALECT.stream_decoder()
    events = [*decoder.feed(raw), *decoder.close()]
    assert kinds(events)[-2:] == [Finish, End]
    assert [(loss.code) for loss in decoder.losses] == ["dropped:citations"]
    assert [loss.code for loss in DIALECT.decode_response(whole({"content": "a"}, **sources)).losses] == ["dropped:citations"]


def test_point_42_openrouters_comments() -> None:
    raw = b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\ndata: " + json.dumps(delta(content="a")).encode() + b"\n\n"
    decoder = DIALECT.stream_decoder()
    assert [type(e) for e in decoder.feed(raw)] == kinds(stream(delta(content="a"), done=False))


@pytest.mark.parametrize(("word", "reason"), [("eos", FinishReason.STOP), ("", FinishReason.STOP), ("model_length", FinishReason.CONTEXT_WINDOW)])
def test_point_44_last_words(word: str, reason: FinishReason) -> None:
    assert DIALECT.decode_response(whole({"content": "a"}, word)).finish is reason
    events = stream(delta(content="a"), delta(word))
    assert [e.reason for e in events if isinstance(e, Finish)] == [reason]
    assert isinstance(events[-1], End)


def test_point_44_an_empty_last_word_behind_calls_means_the_calls() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    assert [e.reason for e in stream(delta("", tool_calls=[call])) if isinstance(e, Finish)] == [FinishReason.TOOL_CALLS]
    assert DIALECT.decode_response(whole({"tool_calls": [call]}, "")).finish is FinishReason.TOOL_CALLS


def test_an_empty_word_is_no_finish_without_the_formats_own_end() -> None:
    events = stream(delta("", content="a"), delta("", content="b"), done=False)
    assert not any(isinstance(event, Finish | End) for event in events)


@pytest.mark.parametrize(
    ("word", "kind"), [("error", ErrorKind.UPSTREAM), ("abort", ErrorKind.UPSTREAM), ("insufficient_system_resource", ErrorKind.OVERLOADED)]
)
def test_answers_that_broke_off_are_failures(word: str, kind: ErrorKind) -> None:
    with pytest.raises(ApiError) as caught:
        DIALECT.decode_response(whole({"content": "a"}, word))
    assert caught.value.kind is kind
    events = stream(delta(content="a"), delta(word), delta("stop"))
    assert [e.error.kind for e in events if isinstance(e, StreamError)] == [kind]
    assert not any(isinstance(event, Finish | End) for event in events)


@pytest.mark.parametrize(
    "chunk",
    [
        {"error": {"message": "x", "code": "tool_use_failed", "status_code": 400}},
        {"id": "i", "choices": [], "x_groq": {"id": "r", "error": "over capacity"}},
        {"id": "i", "choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 502, "message": "x"}}]},
        {"error": {"code": 502, "message": "x"}, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]},
    ],
)
def test_point_47_errors_after_200(chunk: dict[str, Any]) -> None:
    events = stream(delta(content="a"), chunk)
    assert isinstance(events[-1], StreamError)
    assert events[-1].error.kind is ErrorKind.UPSTREAM
    assert not any(isinstance(event, Finish | End) for event in events)


def test_point_07_calls_in_one_piece() -> None:
    calls = [{"index": n, "id": f"abc12345{n}", "type": "function", "function": {"name": "f", "arguments": '{"n": 1}'}} for n in (0, 1)]
    blocks = gathered(stream(delta(tool_calls=calls), delta("tool_calls"))).blocks
    assert blocks == [ToolCall(f"abc12345{n}", "f", '{"n": 1}') for n in (0, 1)]


def test_point_28_claudes_signature_at_openrouter_streamed() -> None:
    said = {"format": "anthropic-claude-v1", "index": 0, "type": "reasoning.text"}
    events = stream(
        delta(reasoning="h", reasoning_details=[said | {"text": "h"}]),
        delta(reasoning="m", reasoning_details=[said | {"text": "m"}]),
        delta(reasoning_details=[said | {"signature": "c2ln"}]),
        delta(content="a"),
        delta("stop"),
    )
    assert [e.opaque for e in events if isinstance(e, BlockStop)] == [Opaque("anthropic", "c2ln"), None]


def test_point_28_geminis_signature_at_its_openai_endpoint() -> None:
    call = {"id": "c", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"google": {"thought_signature": "c2ln"}}}
    assert DIALECT.decode_response(whole({"tool_calls": [call]})).blocks == [ToolCall("c", "f", "{}", Opaque("gemini", "c2ln"))]
    echoed = DIALECT.decode_request({"model": "m", "messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]})
    assert echoed.messages[0].blocks == [ToolCall("c", "f", "{}", Opaque("gemini", "c2ln"))]
    assert not echoed.losses
