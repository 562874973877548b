"""Streams: what the decoder makes of odd input, and that the encoder's output is well formed for any order of events."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core import carrier
from extproc.core.dialect import Reply
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.framing import SSEParser, sse
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
from extproc.dialects.anthropic_messages import AnthropicMessages
from tests.validators.anthropic_types import check_event

DIALECT = AnthropicMessages()
REPLY = Reply("msg_fallback", 0, "shown")
START = MessageStart("id_1", "upstream-model")
DONE: list[Event] = [Finish(FinishReason.STOP), End()]


def decode(*events: Any) -> tuple[list[Event], list[str]]:
    decoder = DIALECT.stream_decoder()
    out = decoder.feed(b"".join(sse(orjson.dumps(e)) for e in events)) + decoder.close()
    return out, [loss.code for loss in decoder.losses]


def block(index: int, content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index: int, **members: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": members}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def test_usage_is_cumulative_and_includes_the_cache() -> None:
    events, _ = decode(
        {
            "type": "message_start",
            "message": {
                "id": "m",
                "model": "c",
                "usage": {"input_tokens": 3, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 5, "output_tokens": 1},
            },
        },
        {"type": "ping"},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"},
            "usage": {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}},
        },
        {"type": "message_stop"},
    )
    assert events == [
        MessageStart("m", "c"),
        UsageUpdate(Usage(18, 1, 10, 5)),
        UsageUpdate(Usage(18, 9, 10, 5, 4)),
        Finish(FinishReason.STOP_SEQUENCE, "END"),
        End(),
    ]


def test_blocks() -> None:
    events, losses = decode(
        block(0, {"type": "thinking", "thinking": "", "signature": ""}),
        delta(0, type="thinking_delta", thinking="hm"),
        delta(0, type="signature_delta", signature="sig"),
        stop(0),
        block(1, {"type": "redacted_thinking", "data": "enc"}),
        stop(1),
        block(2, {"type": "text", "text": "a"}),
        delta(2, type="text_delta", text=""),
        delta(2, type="text_delta", text="b"),
        delta(2, type="citations_delta", citation={}),
        delta(2, type="new_delta"),
        stop(2),
        block(3, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
        delta(3, type="input_json_delta", partial_json='{"q":'),
        delta(3, type="input_json_delta", partial_json='"x"}'),
        stop(3),
        block(4, {"type": "tool_use", "id": "t", "name": "f", "input": {"whole": 1}}),
        stop(4),
        block(5, {"type": "tool_use", "id": "u", "name": "f", "input": {}}),
        delta(5, type="input_json_delta", partial_json="{}"),
        stop(5),
        {"type": "brand_new"},
    )
    assert events == [
        BlockStart(0, Thinking("")),
        BlockDelta(0, "hm"),
        BlockStop(0, Opaque("anthropic", "sig")),
        BlockStart(1, Thinking("", Opaque("anthropic", "enc"), redacted=True)),
        BlockStop(1),
        BlockStart(2, Text("")),
        BlockDelta(2, "a"),
        BlockDelta(2, "b"),
        BlockStop(2),
        BlockStart(
            3, Foreign("anthropic_messages", "server_tool_use", {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": "x"}})
        ),
        BlockStop(3),
        BlockStart(4, ToolCall("t", "f")),
        BlockDelta(4, '{"whole":1}'),
        BlockStop(4),
        BlockStart(5, ToolCall("u", "f")),
        BlockDelta(5, "{}"),
        BlockStop(5),
    ]
    assert losses == ["dropped:citations", "dropped:delta", "dropped:event"]


def test_indices_need_no_order() -> None:
    events, _ = decode(
        delta(7, type="text_delta", text="a"), block(7, {"type": "text", "text": ""}), stop(9), delta(7, type="text_delta", text="b"), stop(7)
    )
    assert events == [BlockStart(0, Text("")), BlockDelta(0, "a"), BlockStop(0), BlockStart(1, Text("")), BlockDelta(1, "b"), BlockStop(1)]


def test_an_error_ends_the_stream() -> None:
    events, _ = decode({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, {"type": "message_stop"})
    assert len(events) == 1
    assert isinstance(events[0], StreamError)
    assert (events[0].error.kind, events[0].error.status) == (ErrorKind.OVERLOADED, 529)


def test_malformed_input_is_an_error_event() -> None:
    for wrong in (
        b"data: {\n\n",
        sse(orjson.dumps({"type": "content_block_delta", "delta": {}})),
        sse(orjson.dumps({"type": "content_block_start", "index": 0, "content_block": 3})),
        sse(orjson.dumps(block(0, {"type": "tool_use"}))),
        sse(orjson.dumps(block(0, {"type": "x"})))
        + sse(orjson.dumps(delta(0, type="input_json_delta", partial_json="{")))
        + sse(orjson.dumps(stop(0))),
    ):
        decoder = DIALECT.stream_decoder()
        events = decoder.feed(wrong) + decoder.feed(sse(orjson.dumps({"type": "message_stop"}))) + decoder.close()
        assert len(events) == 1, wrong
        assert isinstance(events[0], StreamError)
        assert events[0].error.kind is ErrorKind.UPSTREAM


@given(
    st.lists(
        st.binary(max_size=30) | st.sampled_from([b'data: {"type":"content_block_start"}\n\n', b"data: 3\n\n", b'data: {"type":[]}\n\n']), max_size=8
    )
)
def test_no_bytes_crash_the_decoder(pieces: list[bytes]) -> None:
    decoder = DIALECT.stream_decoder()
    for piece in pieces:
        decoder.feed(piece)
    decoder.close()


def encode(events: list[Event]) -> bytes:
    encoder = DIALECT.stream_encoder(REPLY)
    return b"".join(map(encoder.encode, events))


def wire(events: list[Event]) -> list[dict[str, Any]]:
    parser = SSEParser()
    out: list[dict[str, Any]] = []
    for event in parser.feed(encode(events)):
        parsed = orjson.loads(event.data)
        assert event.event == parsed["type"]
        if parsed["type"] != "error":
            check_event(event.data)
        out.append(parsed)
    return out


def test_golden() -> None:
    assert encode(
        [START, BlockStart(0, Text("")), BlockDelta(0, "Hé"), BlockStop(0), Finish(FinishReason.STOP), UsageUpdate(Usage(5, 2, 1)), End()]
    ).decode() == (
        'event: message_start\ndata: {"type":"message_start","message":{"id":"id_1","type":"message","role":"assistant","model":"shown","content":[],'
        '"stop_reason":null,"stop_sequence":null,'
        '"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}\n\n'
        'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hé"}}\n\n'
        'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        '"usage":{"input_tokens":4,"cache_creation_input_tokens":0,"cache_read_input_tokens":1,"output_tokens":2}}\n\n'
        'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


def test_parallel_tool_calls_are_written_one_after_the_other() -> None:
    events: list[Event] = [
        START,
        UsageUpdate(Usage(7, 0)),
        BlockStart(0, Text("")),
        BlockDelta(0, "I look."),
        BlockStart(1, ToolCall("a", "f")),
        BlockStart(2, ToolCall("b.1", "g", opaque=Opaque("gemini", "s"))),
        BlockDelta(2, '{"x"'),
        BlockDelta(1, "{"),
        BlockDelta(2, ":1}"),
        BlockStop(2),
        BlockDelta(1, "}"),
        BlockStop(1),
        *DONE,
    ]
    out = wire(events)
    assert out[0]["message"]["usage"]["input_tokens"] == 7
    assert [(e["type"].removeprefix("content_block_"), e["index"]) for e in out if "index" in e] == [
        ("start", 0),
        ("delta", 0),
        ("stop", 0),
        ("start", 1),
        ("delta", 1),
        ("delta", 1),
        ("stop", 1),
        ("start", 2),
        ("delta", 2),
        ("delta", 2),
        ("stop", 2),
    ]
    calls = [e["content_block"] for e in out if e["type"] == "content_block_start"][1:]
    assert calls[0] == {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    assert calls[1]["id"].startswith("llm1id_")
    assert "__llm1_" in calls[1]["id"]
    assert out[-2]["delta"]["stop_reason"] == "tool_use"


def test_signatures_and_hidden_thinking() -> None:
    out = wire(
        [
            START,
            BlockStart(0, Thinking("")),
            BlockDelta(0, "hm"),
            BlockStop(0, Opaque("gemini", "s")),
            BlockStart(1, Thinking("", Opaque("openai", "enc"), redacted=True)),
            BlockStop(1),
            BlockStart(2, Thinking("")),
            BlockStop(2, Opaque("anthropic", "own")),
            *DONE,
        ]
    )
    assert [e["delta"] for e in out if e["type"] == "content_block_delta"] == [
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "signature_delta", "signature": "llm1.gemini.s"},
        {"type": "signature_delta", "signature": "own"},
    ]
    assert [e["content_block"] for e in out if e["type"] == "content_block_start"][1] == {"type": "redacted_thinking", "data": "llm1.openai.enc"}


def test_a_signature_behind_a_whole_call_rides_in_its_id() -> None:
    sealed = Opaque("gemini", "s")
    for events in (
        [BlockStart(0, ToolCall("a", "f")), BlockDelta(0, "{}"), BlockStop(0, sealed)],
        [BlockStart(0, ToolCall("a", "f")), BlockStop(0, sealed)],
        [BlockStart(0, ToolCall("a", "f", opaque=sealed)), BlockDelta(0, "{"), BlockDelta(0, "}"), BlockStop(0, sealed)],
        [BlockStart(1, Thinking("x")), BlockStart(0, ToolCall("a", "f")), BlockDelta(0, "{}"), BlockStop(0, sealed), BlockStop(1)],
    ):
        out = wire([START, *events, *DONE])
        (call,) = [e["content_block"] for e in out if e["type"] == "content_block_start" and e["content_block"]["type"] == "tool_use"]
        assert carrier.split(call["id"]) == ("a", sealed, [])


def test_a_call_starts_with_its_second_piece() -> None:
    encoder = DIALECT.stream_encoder(REPLY)
    assert b"tool_use" not in encoder.encode(BlockStart(0, ToolCall("a", "f"))) + encoder.encode(BlockDelta(0, "{"))
    assert b"tool_use" in encoder.encode(BlockDelta(0, "}"))


def test_refusals_and_what_has_no_word() -> None:
    encoder = DIALECT.stream_encoder(REPLY)
    events: list[Event] = [
        START,
        BlockStart(0, Text("")),
        BlockStop(0),
        BlockStart(1, Audio(Source(data="AA"))),
        BlockDelta(1, "x"),
        BlockStop(1),
        BlockStart(2, Refusal("")),
        BlockDelta(2, "No."),
        BlockStop(2),
        BlockStart(3, Text("")),
        BlockDelta(3, "x"),
        BlockStop(3, Opaque("gemini", "s")),
        *DONE,
    ]
    out = [orjson.loads(e.data) for e in SSEParser().feed(b"".join(map(encoder.encode, events)))]
    assert [(e["index"], e["content_block"]) for e in out if e["type"] == "content_block_start"] == [
        (0, {"type": "text", "text": ""}),
        (1, {"type": "text", "text": ""}),
    ]
    assert out[-2]["delta"] == {
        "stop_reason": "refusal",
        "stop_sequence": None,
        "stop_details": {"type": "refusal", "category": None, "explanation": "No."},
    }
    assert {loss.code for loss in encoder.losses} == {"dropped:audio", "coerced:refusal", "dropped:signature", "defaulted:usage"}


def test_truncation_is_never_a_clean_end() -> None:
    whole: list[Event] = [START, BlockStart(0, Text("")), BlockDelta(0, "a"), BlockStop(0), *DONE]
    for cut in range(len(whole)):
        assert b"message_stop" not in encode(whole[:cut])
    assert b"message_stop" not in encode([*whole[:4], End()])
    assert b"message_stop" not in encode([*whole[:5], StreamError(ApiError(ErrorKind.UPSTREAM, "x")), End()])
    assert b"message_stop" in encode(whole)


def test_the_sdk_reads_it() -> None:
    body = encode([START, BlockStart(0, ToolCall("a", "f")), BlockDelta(0, '{"n": 1'), BlockDelta(0, "}"), BlockStop(0), *DONE])
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"}))
    with (
        anthropic.Anthropic(api_key="k", base_url="http://llm.internal", http_client=httpx2.Client(transport=transport)) as client,
        client.messages.stream(model="m", max_tokens=1, messages=[{"role": "user", "content": "hi"}]) as stream,
    ):
        message = stream.get_final_message()
    assert message.stop_reason == "tool_use"
    assert message.content[0].type == "tool_use"
    assert message.content[0].input == {"n": 1}


_BLOCKS = st.sampled_from(
    [Text(""), Thinking(""), ToolCall("a", "f"), Refusal(""), Thinking("", Opaque("x", "y"), redacted=True), Audio(Source(data=""))]
)
_EVENTS = st.one_of(
    st.just(START),
    st.builds(BlockStart, st.integers(0, 4), _BLOCKS),
    st.builds(BlockDelta, st.integers(0, 4), st.sampled_from(["", "a", "{}", "\ud800"])),
    st.builds(BlockStop, st.integers(0, 4), st.none() | st.builds(Opaque, st.just("gemini"), st.just("s"))),
    st.builds(UsageUpdate, st.builds(Usage, st.integers(0, 9), st.integers(0, 9))),
    st.builds(Finish, st.sampled_from(list(FinishReason))),
)


@settings(max_examples=400, deadline=None)
@given(events=st.lists(_EVENTS, max_size=25), ends=st.booleans())
def test_any_order_gives_a_well_formed_stream(events: list[Event], ends: bool) -> None:
    out = wire([*events, *([End()] if ends else [])])
    kinds = [e["type"] for e in out]
    clean = ends and any(isinstance(e, Finish) for e in events)
    assert (kinds[-2:] == ["message_delta", "message_stop"]) is clean
    assert kinds.count("message_stop") == kinds.count("message_delta") == int(clean)
    if out:
        assert kinds[0] == "message_start"
        assert kinds.count("message_start") == 1
    under_way: int | None = None
    following = 0
    for event in out:
        if event["type"] == "content_block_start":
            assert under_way is None
            assert event["index"] == following
            under_way, following = following, following + 1
        elif event["type"] == "content_block_delta":
            assert event["index"] == under_way
        elif event["type"] == "content_block_stop":
            assert event["index"] == under_way
            under_way = None
        elif event["type"] in {"message_delta", "message_stop"}:
            assert under_way is None


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_interleaved_blocks_lose_nothing(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from([Text, Thinking, ToolCall]), min_size=1, max_size=4))
    pieces = [data.draw(st.lists(st.sampled_from(["a", "bc", "{"]), min_size=1, max_size=4)) for _ in kinds]
    scripts: list[list[Event]] = [
        [BlockStart(i, ToolCall(f"id{i}", "f") if kind is ToolCall else kind("")), *(BlockDelta(i, p) for p in pieces[i]), BlockStop(i)]
        for i, kind in enumerate(kinds)
    ]
    events: list[Event] = [START]
    begun = 0
    while any(scripts):
        ready = [i for i, script in enumerate(scripts) if script and (i < begun or i == begun)]
        i = data.draw(st.sampled_from(ready))
        begun = max(begun, i + 1)
        events.append(scripts[i].pop(0))
    out = wire([*events, *DONE])
    got: dict[int, str] = {}
    kind_of: dict[int, str] = {}
    for event in out:
        if event["type"] == "content_block_start":
            kind_of[event["index"]] = event["content_block"].get("id", event["content_block"]["type"])
        elif event["type"] == "content_block_delta":
            d = event["delta"]
            got[event["index"]] = got.get(event["index"], "") + d.get("text", d.get("thinking", d.get("partial_json", "")))
    for i, kind in enumerate(kinds):
        whole = "".join(pieces[i])
        if kind is ToolCall:
            assert [got[n] for n, name in kind_of.items() if name == f"id{i}"] == [whole]
        elif kind is Thinking:
            assert whole in [got[n] for n, name in kind_of.items() if name == "thinking"]
    texts = "".join(text for n, text in sorted(got.items()) if kind_of[n] == "text")
    assert sorted(texts) == sorted("".join("".join(pieces[i]) for i, kind in enumerate(kinds) if kind is Text))
