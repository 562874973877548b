"""Cohere's streams, both ways; clients' are read by Cohere's own SDK."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
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
from extproc.core.losses import meaning
from extproc.core.usage import Usage
from extproc.dialects.cohere_chat import CohereChat
from extproc.dialects.cohere_chat.wire import NAME
from tests.validators.cohere_sdk import check_stream, parse_stream

COHERE = CohereChat()
REPLY = Reply("reply-id", 1, "shown")


def wire(kind: str, index: int | None = None, **message: Any) -> dict[str, Any]:
    event: dict[str, Any] = {"type": kind}
    if index is not None:
        event["index"] = index
    return event | ({"delta": {"message": message}} if message else {})


def raw(*events: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % (event if isinstance(event, bytes) else orjson.dumps(event)) for event in events)


START = {"type": "message-start", "id": "i"}
END = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 5, "output_tokens": 2}}}}
DONE = b"[DONE]"


def tool(index: int, ident: str, name: str = "f", *pieces: str) -> list[dict[str, Any]]:
    first = wire("tool-call-start", index, tool_calls={"id": ident, "type": "function", "function": {"name": name, "arguments": ""}})
    more = [wire("tool-call-delta", index, tool_calls={"function": {"arguments": piece}}) for piece in pieces]
    return [first, *more, wire("tool-call-end", index)]


def read(*events: Any, close: bool = True) -> tuple[list[Event], set[str]]:
    decoder = COHERE.stream_decoder()
    found = decoder.feed(raw(*events))
    found += decoder.close() if close else []
    assert all(meaning(loss.code) for loss in decoder.losses)
    return found, {loss.code for loss in decoder.losses}


# from the provider


def test_thoughts_and_text() -> None:
    events, losses = read(
        START,
        wire("content-start", 0, content={"type": "thinking", "thinking": "be"}),
        wire("content-delta", 0, content={"thinking": "cause"}),
        wire("content-end", 0),
        wire("content-start", 1, content={"type": "text", "text": ""}),
        wire("content-delta", 1, content={"text": "so"}),
        wire("content-end", 1),
        END,
        DONE,
    )
    assert events == [
        MessageStart("i", ""),
        BlockStart(0, Thinking("")),
        BlockDelta(0, "be"),
        BlockDelta(0, "cause"),
        BlockStop(0),
        BlockStart(1, Text("")),
        BlockDelta(1, "so"),
        BlockStop(1),
        UsageUpdate(Usage(5, 2)),
        Finish(FinishReason.STOP),
        End(),
    ]
    assert losses == set()


def test_a_plan_and_calls() -> None:
    plan = [wire("tool-plan-delta", tool_plan=piece) for piece in ("I ", "will")]
    events, losses = read(START, *plan, *tool(0, "a", "llm1_1st", '{"x"', ":1}"), *tool(1, "b"), END)
    assert events == [
        MessageStart("i", ""),
        BlockStart(0, Text("")),
        BlockDelta(0, "I "),
        BlockDelta(0, "will"),
        BlockStop(0),
        BlockStart(1, ToolCall("a", "1st", "")),
        BlockDelta(1, '{"x"'),
        BlockDelta(1, ":1}"),
        BlockStop(1),
        BlockStart(2, ToolCall("b", "f", "")),
        BlockStop(2),
        UsageUpdate(Usage(5, 2)),
        Finish(FinishReason.TOOL_CALLS),
        End(),
    ]
    assert losses == set()


def test_contents_and_calls_are_numbered_apart() -> None:
    content = [wire("content-start", 0, content={"type": "text"}), wire("content-delta", 0, content={"text": "a"})]
    events, _ = read(START, *content, *tool(0, "x", "f", "{}"), wire("content-end", 0), END)
    assert [(type(e), e.index) for e in events if isinstance(e, BlockStart | BlockStop)] == [
        (BlockStart, 0),
        (BlockStart, 1),
        (BlockStop, 1),
        (BlockStop, 0),
    ]


def test_what_has_no_place_is_named() -> None:
    cited = wire("citation-start", 0, citations={"start": 0})
    text = {**wire("content-delta", 0, content={"text": "a"}), "logprobs": {"text": "a"}}
    lost = wire("tool-call-delta", 7, tool_calls={"function": {"arguments": "{}"}})
    events, losses = read({"type": "debug"}, text, cited, wire("citation-end", 0), lost, {"type": "novel"}, END)
    assert BlockDelta(0, "a") in events
    assert losses == {"dropped:citations", "dropped:logprobs", "dropped:delta", "dropped:event"}


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "boom"}}, ErrorKind.INTERNAL),
        ({"type": "message-end", "delta": {"finish_reason": "TIMEOUT"}}, ErrorKind.TIMEOUT),
        ({"type": "message-end", "delta": {"error": "boom"}}, ErrorKind.UPSTREAM),
        ({"message": "too many tokens"}, ErrorKind.CONTEXT_LENGTH),
        (b"{broken", ErrorKind.UPSTREAM),
        (b"[]", ErrorKind.UPSTREAM),
        ({"type": "content-end", "index": "0"}, ErrorKind.UPSTREAM),
        ({"type": "tool-call-start", "index": 0}, ErrorKind.UPSTREAM),
    ],
)
def test_errors_in_a_stream(event: Any, kind: ErrorKind) -> None:
    events, _ = read(START, event, END, DONE)
    assert isinstance(events[-1], StreamError)
    assert events[-1].error.kind is kind
    assert not any(isinstance(e, Finish | End) for e in events)


def test_a_stream_that_was_cut_has_no_finish() -> None:
    events, _ = read(START, wire("content-delta", 0, content={"text": "a"}))
    assert [type(e) for e in events] == [MessageStart, BlockStart, BlockDelta]
    decoder = COHERE.stream_decoder()
    assert decoder.feed(raw(START, END)[:-20]) + decoder.close() == [MessageStart("i", "")]


def test_too_many_open_blocks_are_an_error() -> None:
    starts = [wire("content-start", n, content={"type": "text"}) for n in range(2000)]
    events, _ = read(*starts)
    assert isinstance(events[-1], StreamError)
    assert len(events) < 1100


def test_events_are_the_same_however_they_are_cut() -> None:
    body = raw(START, wire("content-delta", 0, content={"text": "ä☔"}), *tool(0, "a", "f", "{}"), END, DONE)
    whole, _ = read(START, wire("content-delta", 0, content={"text": "ä☔"}), *tool(0, "a", "f", "{}"), END, DONE)
    for size in (1, 7):
        for form in (body, body.replace(b"\n", b"\r\n")):
            decoder = COHERE.stream_decoder()
            found = [e for i in range(0, len(form), size) for e in decoder.feed(form[i : i + size])]
            assert found + decoder.close() == whole


PIECES = [
    *(START, END, DONE, wire("content-end", 0), *tool(0, "a", "f", "{}"), wire("tool-plan-delta", tool_plan="p")),
    wire("content-start", 0, content={"type": "text", "text": "x"}),
    wire("content-delta", 0, content={"thinking": "t"}),
]


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.binary(max_size=20))
def test_any_stream_is_read(events: list[Any], tail: bytes) -> None:
    decoder = COHERE.stream_decoder()
    found = decoder.feed(raw(*events) + tail) + decoder.close()
    assert sum(isinstance(e, Finish) for e in found) <= 1
    encoder = COHERE.stream_encoder(REPLY)
    for event in found:
        encoder.encode(event)


def test_the_observer_sees_what_passes() -> None:
    observer = COHERE.stream_observer(hide_usage=True)
    body = raw(START, wire("content-delta", 0, content={"text": "a"}), END, DONE)
    assert observer.feed(body) + observer.close() == body
    assert observer.start == MessageStart("i", "")
    assert (observer.content, observer.usage, observer.ended, observer.error) == (True, Usage(5, 2), True, None)
    assert observer.finish == Finish(FinishReason.STOP)


# to the client


def write(*events: Event) -> tuple[dict[str, Any] | None, set[str]]:
    """(the answer as the SDK's events add up, the losses' codes)."""
    encoder = COHERE.stream_encoder(REPLY)
    out = b"".join([encoder.encode(event) for event in events])
    assert all(meaning(loss.code) for loss in encoder.losses)
    return check_stream(out), {loss.code for loss in encoder.losses}


STOP: list[Event] = [Finish(FinishReason.STOP), End()]


def test_a_whole_stream_in_the_sdk() -> None:
    folded, losses = write(
        MessageStart("i", "m"),
        BlockStart(0, Thinking("")),
        BlockDelta(0, "why"),
        BlockStop(0),
        BlockStart(1, Text("a")),
        BlockDelta(1, "b"),
        BlockStop(1),
        BlockStart(2, ToolCall("x", "f", "")),
        BlockDelta(2, '{"n"'),
        BlockDelta(2, ":1}"),
        BlockStop(2),
        Finish(FinishReason.TOOL_CALLS),
        UsageUpdate(Usage(5, 2, 3)),
        End(),
    )
    assert folded is not None
    assert folded["message"] == {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "why"}, {"type": "text", "text": "ab"}],
        "tool_calls": [{"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"n":1}'}}],
    }
    assert (folded["id"], folded["finish_reason"], folded["usage"]["cached_tokens"]) == ("i", "TOOL_CALL", 3)
    assert losses == set()


def test_signatures_ride_in_the_id_of_the_call() -> None:
    own, thought = Opaque("gemini", "Zw=="), Opaque("anthropic", "c2ln")
    for arguments, late in (("{}", True), ("", True), ("{}", False)):
        folded, losses = write(
            BlockStart(0, Thinking("")),
            BlockDelta(0, "why"),
            BlockStop(0, thought),
            BlockStart(1, ToolCall("x", "f", "", None if late else own)),
            BlockDelta(1, arguments),
            BlockStop(1, own if late else None),
            *STOP,
        )
        assert folded is not None
        (made,) = folded["message"]["tool_calls"]
        assert carrier.split(made["id"]) == ("x", own, [Thinking("why", thought)])
        assert made["function"]["arguments"] == "{}"
        assert losses == set()
    _, losses = write(BlockStart(0, Thinking("")), BlockDelta(0, "why"), BlockStop(0, thought), *STOP)
    assert losses == {"dropped:signature"}
    deltas = [BlockDelta(0, piece) for piece in ("{", "}")]
    _, losses = write(BlockStart(0, ToolCall("x", "f", "")), *deltas, BlockStop(0, own), *STOP)
    assert losses == {"dropped:signature"}


def test_what_cohere_has_not() -> None:
    citation = {"start": 0, "end": 1, "text": "a", "sources": []}
    folded, losses = write(
        BlockStart(0, Refusal("")),
        BlockDelta(0, "no"),
        BlockStop(0),
        BlockStart(1, Image(Source(url="u"))),
        BlockStop(1),
        BlockStart(2, Foreign("x", "search", {})),
        BlockStart(3, Text("t", citations=[{}], citations_from="x", opaque=Opaque("gemini", "Zw=="))),
        BlockStop(3),
        BlockStart(4, Text("t", citations=[citation], citations_from=NAME)),
        BlockStop(4),
        Finish(FinishReason.CONTENT_FILTER, "s", "d"),
        BlockStart(5, Text("late")),
        End(),
    )
    assert folded is not None
    assert folded["message"]["citations"] == [citation]
    names = ("image", "foreign_block", "citations", "signature", "stop_sequence", "finish_detail", "content")
    assert losses == {"coerced:refusal", "coerced:finish_reason", *(f"dropped:{name}" for name in names)}


def test_nothing_is_empty_and_nothing_stays_open() -> None:
    folded, _ = write(BlockStart(0, Text("")), BlockStart(1, Thinking("")), BlockStop(1), BlockDelta(0, "a"), BlockDelta(9, "lost"), *STOP)
    assert folded is not None
    assert folded["message"]["content"] == [{"type": "text", "text": "a"}]
    folded, _ = write(BlockStart(0, ToolCall("x", "f", "")), *STOP)
    assert folded is not None
    assert folded["message"]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert folded["finish_reason"] == "TOOL_CALL"


def test_a_cut_stream_has_no_end() -> None:
    encoder = COHERE.stream_encoder(REPLY)
    out = b"".join([encoder.encode(event) for event in (MessageStart("i", "m"), BlockStart(0, Text("a")), End())])
    assert b"message-end" not in out
    assert b"[DONE]" not in out
    encoder = COHERE.stream_encoder(REPLY)
    assert b"message-end" not in encoder.encode(Finish(FinishReason.STOP))


@pytest.mark.parametrize(("kind", "word"), [(ErrorKind.UPSTREAM, "ERROR"), (ErrorKind.TIMEOUT, "TIMEOUT"), (ErrorKind.OVERLOADED, "ERROR")])
def test_a_stream_that_fails_says_so_in_the_sdk(kind: ErrorKind, word: str) -> None:
    error = ApiError(kind, "words")
    encoder = COHERE.stream_encoder(REPLY)
    out = encoder.encode(BlockStart(0, Text("a"))) + encoder.encode(StreamError(error))
    assert encoder.encode(Finish(FinishReason.STOP)) + encoder.encode(End()) == b""
    assert out.endswith(COHERE.encode_stream_error(error))
    assert check_stream(out) is None
    last = parse_stream(out)[-1]
    assert (last.delta.finish_reason, last.delta.error) == (word, "words")
    events = COHERE.stream_decoder().feed(out)
    assert isinstance(events[-1], StreamError)


BLOCKS = st.sampled_from([Text(""), Text("x"), Refusal("r"), Thinking(""), Thinking("", Opaque("v", "d"), redacted=True), ToolCall("c", "f")])
EVENTS = st.one_of(
    st.builds(BlockStart, st.integers(0, 3), BLOCKS),
    st.builds(BlockDelta, st.integers(0, 3), st.text(max_size=3)),
    st.builds(BlockStop, st.integers(0, 3), st.none() | st.just(Opaque("v", "d"))),
    st.just(UsageUpdate(Usage(1, 1))),
    st.just(MessageStart("i", "m")),
)


@given(st.lists(EVENTS, max_size=14))
def test_any_order_of_events_is_a_valid_stream(events: list[Event]) -> None:
    encoder = COHERE.stream_encoder(REPLY)
    out = b"".join([encoder.encode(event) for event in [*events, *STOP]])
    assert check_stream(out) is not None


def test_text_that_is_no_unicode_does_not_break_it() -> None:
    folded, _ = write(BlockStart(0, Text("a\ud800")), *STOP)
    assert folded is not None
    assert folded["message"]["content"][0]["text"] == "a?"
