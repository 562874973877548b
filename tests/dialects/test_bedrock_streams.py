"""Bedrock's streams both ways: in any pieces and any order, and read by a real boto3 client."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import eventstream
from extproc.core.dialect import Reply
from extproc.core.errors import ErrorKind
from extproc.core.eventstream import event
from extproc.core.ir import (
    Audio,
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
from extproc.dialects.bedrock_converse import BedrockConverse
from tests.dialects.bedrock_client import ASK, boto_client
from tests.validators.bedrock_service import check_converse_stream, events

DIALECT = BedrockConverse()
REPLY = Reply("id", 1, "shown")
PNG = "iVBORw0KGgo="


START = MessageStart("", "")
USAGE = UsageUpdate(Usage(3, 5, 1))


def stream(*given: Event) -> tuple[bytes, set[str]]:
    encoder = DIALECT.stream_encoder(REPLY)
    raw = b"".join(encoder.encode(one) for one in given)
    return raw, {loss.code for loss in encoder.losses}


def test_boto3_reads_our_stream() -> None:
    raw, losses = stream(
        *(START, BlockStart(0, Thinking("")), BlockDelta(0, "hm"), BlockStop(0, Opaque("anthropic", "sig"))),
        *(BlockStart(1, Text("")), BlockDelta(1, "he"), BlockDelta(1, "llo ☃"), BlockStop(1)),
        *(BlockStart(2, ToolCall("tooluse_1", "f")), BlockDelta(2, '{"a"'), BlockDelta(2, ":1}"), BlockStop(2)),
        *(Finish(FinishReason.TOOL_CALLS), USAGE, End()),
    )
    found = list(boto_client(200, raw, DIALECT.stream_type).converse_stream(**ASK)["stream"])
    assert [next(iter(one)) for one in found] == [
        *("messageStart", "contentBlockDelta", "contentBlockDelta", "contentBlockStop"),
        *("contentBlockDelta", "contentBlockDelta", "contentBlockStop"),
        *("contentBlockStart", "contentBlockDelta", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"),
    ]
    folded = check_converse_stream(raw)
    assert folded is not None
    assert folded["output"]["message"]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"text": "hello ☃"},
        {"toolUse": {"toolUseId": "tooluse_1", "name": "f", "input": {"a": 1}}},
    ]
    assert not losses


def test_parallel_calls_are_written_one_after_the_other() -> None:
    raw, losses = stream(
        *(START, BlockStart(0, ToolCall("a", "f")), BlockStart(1, ToolCall("b", "g")), BlockDelta(1, '{"y":'), BlockDelta(0, '{"x":1}')),
        *(BlockDelta(1, "2}"), BlockStop(1), BlockStop(0, Opaque("gemini", "s")), Finish(FinishReason.TOOL_CALLS), USAGE, End()),
    )
    folded = check_converse_stream(raw)
    assert folded is not None
    blocks = DIALECT.decode_response(orjson.dumps(folded)).blocks
    assert blocks == [ToolCall("a", "f", '{"x":1}', Opaque("gemini", "s")), ToolCall("b", "g", '{"y":2}')]
    assert not losses


@pytest.mark.parametrize("ends", [(), (End(),), (USAGE,), (BlockStop(0),)])
def test_a_stream_without_a_finish_has_no_end(ends: tuple[Event, ...]) -> None:
    raw, _ = stream(START, BlockStart(0, Text("")), BlockDelta(0, "he"), *ends)
    assert not {"messageStop", "metadata"} & {kind for one in events(raw) for kind in one}


BLOCKS = st.sampled_from(
    [
        *(
            Text(""),
            Text("t"),
            Thinking(""),
            Thinking("", Opaque("anthropic", "x"), redacted=True),
            ToolCall("a", "f"),
            ToolCall("a", "g", "", Opaque("gemini", "s")),
        ),
        *(
            Refusal(""),
            Image(Source("image/png", data=PNG)),
            Audio(Source(data="aa")),
            Foreign("bedrock_converse", "searchResult", {"searchResult": {}}),
        ),
        Foreign("bedrock_converse", "server_tool_use", {"toolUse": {"toolUseId": "s", "name": "n", "input": {"q": 1}, "type": "server_tool_use"}}),
    ]
)
EVENTS = st.one_of(
    st.just(START),
    st.builds(BlockStart, st.integers(0, 3), BLOCKS),
    st.builds(BlockDelta, st.integers(0, 3), st.sampled_from(["", "x", '{"a":1}', "☃\ud800"])),
    st.builds(BlockStop, st.integers(0, 3), st.none() | st.just(Opaque("openai", "enc"))),
    st.just(USAGE),
    st.builds(Finish, st.sampled_from(list(FinishReason)), st.none() | st.just("END"), st.none() | st.just("why")),
    st.just(End()),
)


@given(st.lists(EVENTS, max_size=25))
def test_any_order_of_events_is_a_stream_that_aws_could_have_sent(given_events: list[Event]) -> None:
    raw, _ = stream(*given_events)
    opened: int | None = None
    next_index = 0
    for one in events(raw):
        kind, inner = next(iter(one.items()))
        if kind == "contentBlockStart" or (kind == "contentBlockDelta" and opened is None):
            assert opened is None
            opened = inner["contentBlockIndex"]
            assert opened == next_index
            next_index += 1
        elif kind in ("contentBlockDelta", "contentBlockStop"):
            assert inner["contentBlockIndex"] == opened
            opened = None if kind == "contentBlockStop" else opened


def feed(raw: bytes, size: int) -> list[Event]:
    decoder = DIALECT.stream_decoder()
    pieces = [decoder.feed(raw[at : at + size]) for at in range(0, len(raw), size)]
    return [*itertools.chain.from_iterable(pieces), *decoder.close()]


def wire(*messages: tuple[str, Any]) -> bytes:
    return b"".join(event(kind, orjson.dumps(payload)) for kind, payload in messages)


DELTA = "contentBlockDelta"
ENDING = (("messageStop", {"stopReason": "end_turn"}), ("metadata", {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}}))


def test_text_and_reasoning_have_no_start() -> None:
    raw = wire(
        ("messageStart", {"role": "assistant", "p": "abc"}),
        (DELTA, {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm"}}, "p": "ab"}),
        (DELTA, {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "sig"}}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        (DELTA, {"contentBlockIndex": 1, "delta": {"reasoningContent": {"redactedContent": base64.b64encode(b"da").decode()}}}),
        (DELTA, {"contentBlockIndex": 1, "delta": {"reasoningContent": {"redactedContent": base64.b64encode(b"ta").decode()}}}),
        ("contentBlockStop", {"contentBlockIndex": 1}),
        (DELTA, {"contentBlockIndex": 2, "delta": {"text": ""}}),
        (DELTA, {"contentBlockIndex": 2, "delta": {"text": "a"}}),
        ("contentBlockStop", {"contentBlockIndex": 2}),
        *ENDING,
    )
    wanted = [
        *(START, BlockStart(0, Thinking("")), BlockDelta(0, "hm"), BlockStop(0, Opaque("anthropic", "sig"))),
        *(BlockStart(1, Thinking("", Opaque("anthropic", "data"), redacted=True)), BlockStop(1)),
        *(BlockStart(2, Text("")), BlockDelta(2, "a"), BlockStop(2), Finish(FinishReason.STOP), UsageUpdate(Usage(1, 2)), End()),
    ]
    for size in (1, 7, len(raw)):
        assert feed(raw, size) == wanted


def test_the_end_comes_with_the_counts_or_with_the_body() -> None:
    with_counts = DIALECT.stream_decoder()
    assert with_counts.feed(wire(*ENDING))[-1] == End()
    assert with_counts.close() == []
    without = DIALECT.stream_decoder()
    assert without.feed(wire(ENDING[0])) == [Finish(FinishReason.STOP)]
    assert without.close() == [End()]
    cut = DIALECT.stream_decoder()
    cut.feed(wire(("messageStart", {"role": "assistant"})))
    assert cut.close() == []


@pytest.mark.parametrize(
    "raw",
    [
        b"<html><body>502 Bad Gateway</body></html>" * 2,
        event(DELTA, b"{"),
        event(DELTA, b"[]"),
        event(DELTA, b"{}"),
        wire((DELTA, {"contentBlockIndex": 0, "delta": 1})),
        wire(("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"name": "f"}}})),
        wire(("contentBlockStart", {"contentBlockIndex": 0})),
        wire(("messageStop", {})),
        *(wire(("messageStart", {}))[:-1],),
        wire(*(("contentBlockStart", {"contentBlockIndex": n, "start": {"toolUse": {"toolUseId": "a", "name": "f"}}}) for n in range(1025))),
        wire(
            ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "a", "name": "f", "type": "server_tool_use"}}}),
            (DELTA, {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{"}}}),
            ("contentBlockStop", {"contentBlockIndex": 0}),
        ),
    ],
)
def test_a_broken_stream_is_an_error_and_no_exception(raw: bytes) -> None:
    *_, last = feed(raw, 9)
    assert isinstance(last, StreamError)
    assert last.error.kind is ErrorKind.UPSTREAM


KINDS = st.sampled_from(["messageStart", "contentBlockStart", DELTA, "contentBlockStop", "messageStop", "metadata", "novel"])
NAMES = (
    *("contentBlockIndex", "delta", "start", "text", "toolUse", "toolUseId", "name", "input", "type", "reasoningContent", "signature"),
    *("redactedContent", "image", "format", "source", "bytes", "toolResult", "citation", "stopReason", "usage", "inputTokens"),
)
PAYLOADS = st.recursive(
    st.none() | st.integers(0, 2) | st.sampled_from(["", "text", "YQ==", "end_turn"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
)


@given(st.lists(st.tuples(KINDS, PAYLOADS), max_size=8), st.integers(1, 99))
def test_any_payload_is_read(messages: list[tuple[str, Any]], size: int) -> None:
    raw = wire(*messages)
    found = feed(raw, size)
    assert [type(one) for one in found] == [type(one) for one in feed(raw, len(raw) or 1)]
    assert sum(isinstance(one, StreamError | End) for one in found) <= 1


def test_content_type() -> None:
    assert DIALECT.stream_type == eventstream.CONTENT_TYPE == DIALECT.answer_type("", stream=True)
    assert DIALECT.answer_type("", stream=False) == "application/json"
