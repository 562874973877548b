"""Responses streams, both ways: what vendors do, what is cut or broken, and every order of events."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core import carrier
from extproc.core.dialect import Reply
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.ir import (
    BlockDelta,
    BlockStart,
    BlockStop,
    End,
    Event,
    Finish,
    FinishReason,
    Foreign,
    Image,
    MessageStart,
    Opaque,
    Refusal,
    Source,
    StreamError,
    Text,
    Thinking,
    ToolCall,
    UsageUpdate,
)
from extproc.core.usage import Usage
from extproc.dialects.openai_responses import OpenAIResponses
from tests.dialects.responses_recorded import events
from tests.validators.responses_types import check_responses_stream

DIALECT = OpenAIResponses()
REPLY = Reply("resp_reply", 7, "shown")
ANSWER = {"id": "resp_1", "created_at": 5, "model": "m", "status": "completed", "output": [], "usage": {"input_tokens": 3, "output_tokens": 2}}
END = [UsageUpdate(Usage(3, 2)), Finish(FinishReason.STOP), End()]


def sse(*said: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % (s if isinstance(s, bytes) else orjson.dumps(s)) for s in said)


def event(kind: str, **members: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **members}


def decode(*said: Any) -> tuple[list[Event], set[str]]:
    decoder = DIALECT.stream_decoder()
    found = decoder.feed(sse(*said)) + decoder.close()
    return found, {loss.code for loss in decoder.losses}


def encode(*said: Event, reply: Reply = REPLY) -> tuple[bytes, set[str]]:
    encoder = DIALECT.stream_encoder(reply)
    return b"".join(map(encoder.encode, said)), {loss.code for loss in encoder.losses}


# from providers


def test_what_deltas_left_out_comes_with_the_done() -> None:
    message = {"type": "message", "content": [{"type": "output_text", "text": "Hi", "annotations": [{"type": "x"}]}]}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    found, losses = decode(
        event("created", response=ANSWER | {"status": "in_progress"}),
        event("output_item.done", output_index=0, item=message),
        event("output_item.added", output_index=1, item=call | {"arguments": ""}),
        event("function_call_arguments.done", output_index=1, arguments="{}"),
        event("output_item.done", output_index=1, item=call),
        event("output_item.done", output_index=1, item=call),
        event("completed", response=ANSWER | {"output": [message, call]}),
    )
    assert found == [
        MessageStart("resp_1", "m", 5),
        BlockStart(0, Text("")),
        BlockDelta(0, "Hi"),
        BlockStop(0),
        BlockStart(1, ToolCall("c", "f")),
        BlockDelta(1, "{}"),
        BlockStop(1),
        UsageUpdate(Usage(3, 2)),
        Finish(FinishReason.TOOL_CALLS),
        End(),
    ]
    assert losses == {"dropped:citations"}


def test_an_answer_that_is_only_in_the_end() -> None:
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "E"},
        {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]},
    ]
    found, _ = decode(event("completed", response=ANSWER | {"output": output}))
    hidden = Thinking("", Opaque("openai", "rs_1:E"), redacted=True)
    assert found[1:6] == [BlockStart(0, hidden), BlockStop(0, hidden.opaque), BlockStart(1, Refusal("")), BlockDelta(1, "no"), BlockStop(1)]
    assert Finish(FinishReason.REFUSAL) in found


def test_paragraphs_of_a_summary_and_its_state() -> None:
    def said(part: int, text: str) -> dict[str, Any]:
        return event("reasoning_summary_text.delta", output_index=0, summary_index=part, delta=text)

    item = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "ab"}, {"type": "summary_text", "text": "c"}],
        "encrypted_content": "E",
    }
    found, losses = decode(
        event("output_item.added", output_index=0, item={"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "partial"}),
        said(0, "a"),
        said(0, "b"),
        event("reasoning_summary_text.done", output_index=0, summary_index=0, text="ab"),
        said(1, "c"),
        event("reasoning_text.delta", output_index=0, content_index=0, delta="raw"),
        event("output_item.done", output_index=0, item=item),
        event("completed", response=ANSWER),
    )
    assert found[:5] == [
        BlockStart(0, Thinking("")),
        BlockDelta(0, "a"),
        BlockDelta(0, "b"),
        BlockDelta(0, "\n\nc"),
        BlockStop(0, Opaque("openai", "rs_1:E")),
    ]
    assert losses == {"dropped:delta"}


def test_the_vendors_own_tools_are_whole_blocks() -> None:
    item = {"type": "web_search_call", "id": "ws", "status": "completed"}
    found, losses = decode(
        event("output_item.added", output_index=0, item=item),
        event("web_search_call.searching", output_index=0, item_id="ws"),
        event("output_item.done", output_index=0, item=item),
        event("something.new", x=1),
        event("completed", response=ANSWER),
        b"[DONE]",
    )
    assert found[:2] == [BlockStart(0, Foreign("openai_responses", "web_search_call", item)), BlockStop(0)]
    assert losses == {"dropped:event"}


def test_a_custom_tools_call_is_told_whole() -> None:
    item = {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "x"}
    found, _ = decode(
        event("output_item.added", output_index=0, item=item | {"input": ""}),
        event("custom_tool_call_input.delta", output_index=0, delta="x"),
        event("output_item.done", output_index=0, item=item),
        event("completed", response=ANSWER),
    )
    assert found[:3] == [BlockStart(0, ToolCall("c", "patch")), BlockDelta(0, '{"input":"x"}'), BlockStop(0)]
    assert Finish(FinishReason.TOOL_CALLS) in found


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (
            event("failed", response=ANSWER | {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow"}}),
            ErrorKind.RATE_LIMITED,
        ),
        (event("failed", response=ANSWER | {"status": "failed", "error": None}), ErrorKind.UPSTREAM),
        ({"type": "error", "code": "insufficient_quota", "message": "none left", "param": None}, ErrorKind.QUOTA),
        ({"type": "error", "error": {"code": "context_length_exceeded", "message": "long"}}, ErrorKind.CONTEXT_LENGTH),
        ({"error": {"code": 429, "message": "slow"}}, ErrorKind.RATE_LIMITED),
        (event("completed"), ErrorKind.UPSTREAM),
        (b"{", ErrorKind.UPSTREAM),
        (b"[1]", ErrorKind.UPSTREAM),
    ],
)
def test_point_47_failures_in_a_stream(last: Any, kind: ErrorKind) -> None:
    """An error, and nothing behind it."""
    found, _ = decode(event("created", response=ANSWER), last, event("completed", response=ANSWER))
    assert isinstance(found[-1], StreamError)
    assert found[-1].error.kind is kind
    assert not any(isinstance(one, Finish | End) for one in found)


def test_a_cut_last_event_is_none() -> None:
    decoder = DIALECT.stream_decoder()
    assert decoder.feed(b'data: {"type":"response.output_text.delta","output_index":0,"del') + decoder.close() == []


# to clients


def test_point_37_order_of_events() -> None:
    """Numbered, added, filled, done, completed."""
    out, losses = encode(
        MessageStart("a1", "m", 5),
        BlockStart(0, Thinking("")),
        BlockDelta(0, "why"),
        BlockStop(0, Opaque("anthropic", "S")),
        BlockStart(1, Text("")),
        BlockDelta(1, "Hi"),
        BlockStop(1),
        BlockStart(2, ToolCall("c", "f")),
        BlockDelta(2, '{"a":'),
        BlockDelta(2, "1}"),
        BlockStop(2),
        UsageUpdate(Usage(3, 2)),
        Finish(FinishReason.TOOL_CALLS),
        End(),
    )
    assert [one["type"].removeprefix("response.") for one in events(out)] == [
        *("created", "in_progress"),
        *("output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta", "reasoning_summary_text.done"),
        *("reasoning_summary_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"),
        "completed",
    ]
    folded = check_responses_stream(out)
    assert folded is not None
    assert not losses
    reasoning, message, call = folded["output"]
    assert reasoning["encrypted_content"] == "llm1.anthropic.S"
    assert message["content"][0]["text"] == "Hi"
    assert (call["call_id"], call["arguments"]) == ("c", '{"a":1}')
    assert folded["usage"]["total_tokens"] == 5


def test_a_calls_signature_rides_in_its_id() -> None:
    sealed = Opaque("gemini", "G")
    out, losses = encode(BlockStart(0, ToolCall("c", "f")), BlockDelta(0, "{}"), BlockStop(0, sealed), Finish(FinishReason.TOOL_CALLS), End())
    ids = {one["item"]["call_id"] for one in events(out) if "item" in one}
    assert [carrier.split(one) for one in ids] == [("c", sealed, [])]
    assert not losses
    late, losses = encode(
        BlockStart(0, ToolCall("c", "f")), BlockDelta(0, "{"), BlockDelta(0, "}"), BlockStop(0, sealed), Finish(FinishReason.TOOL_CALLS), End()
    )
    assert losses == {"dropped:signature"}
    assert check_responses_stream(late) is not None


def test_custom_tools_and_namespaces() -> None:
    tools = [{"type": "custom", "name": "patch"}, {"type": "namespace", "name": "files", "tools": [{"type": "function", "name": "list"}]}]
    reply = Reply("r", 1, "m", echo=DIALECT.wishes({"tools": tools}).echo)
    out, _ = encode(
        BlockStart(0, ToolCall("1", "patch")),
        BlockDelta(0, '{"input":'),
        BlockDelta(0, '"x"}'),
        BlockStop(0),
        BlockStart(1, ToolCall("2", "files__list")),
        BlockStop(1),
        Finish(FinishReason.TOOL_CALLS),
        End(),
        reply=reply,
    )
    said = events(out)
    assert [(one["type"], one.get("delta", one.get("input"))) for one in said if "custom_tool" in one["type"]] == [
        ("response.custom_tool_call_input.delta", "x"),
        ("response.custom_tool_call_input.done", "x"),
    ]
    patch, listed = said[-1]["response"]["output"]
    assert (patch["type"], patch["input"]) == ("custom_tool_call", "x")
    assert (listed["name"], listed["namespace"], listed["arguments"]) == ("list", "files", "{}")


def test_blocks_side_by_side() -> None:
    """Texts share a message while it is the last item; what is open when another item comes is done when its turn comes."""
    out, _ = encode(
        BlockStart(0, Text("")),
        BlockDelta(0, "a"),
        BlockStart(1, Refusal("")),
        BlockDelta(1, "no"),
        BlockStart(2, ToolCall("c", "f", opaque=Opaque("gemini", "G"))),
        BlockDelta(0, "b"),
        BlockStart(3, ToolCall("d", "g")),
        BlockDelta(2, "{}"),
        BlockStop(0),
        BlockStop(1),
        BlockStart(4, Image(Source("image/png", "AA=="))),
        BlockStart(5, Text("")),
        BlockDelta(5, "end"),
        Finish(FinishReason.LENGTH),
        End(),
    )
    folded = check_responses_stream(out)
    assert folded is not None
    assert [item["type"] for item in folded["output"]] == ["message", "function_call", "function_call", "image_generation_call", "message"]
    assert [part.get("text", part.get("refusal")) for part in folded["output"][0]["content"]] == ["ab", "no"]
    assert folded["incomplete_details"] == {"reason": "max_output_tokens"}


def test_point_42_nothing_ends_well_without_a_finish() -> None:
    out, _ = encode(BlockStart(0, Text("")), BlockDelta(0, "half"), End())
    assert b"response.completed" not in out
    out, _ = encode(
        BlockStart(0, Text("")), BlockDelta(0, "half"), StreamError(ApiError(ErrorKind.UPSTREAM, "gone")), Finish(FinishReason.STOP), End()
    )
    assert check_responses_stream(out) is None
    assert events(out)[-1]["sequence_number"] == len(events(out)) - 1


_BLOCKS = st.sampled_from(
    [
        Text(""),
        Text("x"),
        Refusal(""),
        Thinking(""),
        Thinking("", Opaque("anthropic", "R"), redacted=True),
        ToolCall("c", "f"),
        ToolCall("d", "g", '{"a":1}', Opaque("gemini", "G")),
        Image(Source("image/png", "AA==")),
        Image(Source(url="https://x")),
        Foreign("gemini", "x", {}),
    ]
)
_EVENTS = st.one_of(
    st.builds(BlockStart, st.integers(0, 3), _BLOCKS),
    st.builds(BlockDelta, st.integers(0, 4), st.sampled_from(["", "a", "{}", "é\n"])),
    st.builds(BlockStop, st.integers(0, 4), st.sampled_from([None, Opaque("anthropic", "S")])),
    st.just(UsageUpdate(Usage(1, 1))),
    st.just(MessageStart("a", "m")),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_EVENTS, max_size=14), st.sampled_from(list(FinishReason)))
def test_every_order_of_events_is_a_valid_stream(said: list[Event], reason: FinishReason) -> None:
    out, _ = encode(*said, Finish(reason), End())
    assert check_responses_stream(out) is not None


_JSON = st.recursive(
    st.none() | st.integers(-1, 3) | st.sampled_from(["message", "reasoning", "function_call", "output_text", "x", "rs_1", "E"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "item",
                    "id",
                    "content",
                    "text",
                    "summary",
                    "encrypted_content",
                    "name",
                    "call_id",
                    "arguments",
                    "part",
                    "output",
                    "status",
                    "error",
                    "usage",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
_KINDS = st.sampled_from(sorted(DIALECT.stream_decoder()._handlers))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"type": _KINDS},
            optional=dict.fromkeys(
                ("item", "response", "delta", "part", "output_index", "content_index", "summary_index", "item_id", "error", "text"), _JSON
            ),
        ),
        max_size=8,
    )
)
def test_no_event_breaks_the_decoder_or_what_follows_it(said: list[dict[str, Any]]) -> None:
    found, _ = decode(*said)
    starts: set[int] = set()
    for one in found:
        if isinstance(one, BlockStart):
            assert one.index == len(starts)
            starts.add(one.index)
        elif isinstance(one, BlockDelta | BlockStop):
            assert one.index in starts
    out, _ = encode(*found)
    assert (b"response.completed" in out or b"response.incomplete" in out) == any(isinstance(one, End) for one in found)
