"""Gemini streams: the same events however the bytes are cut, no end without a finish, chunks for clients."""

import functools
import tracemalloc

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.dialect import Reply
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.framing import MAX_EVENT, sse
from extproc.core.ir import (
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
    StreamError,
    Text,
    Thinking,
    ToolCall,
    UsageUpdate,
)
from extproc.core.usage import Usage
from extproc.dialects.gemini import GEMINI
from tests.dialects.gemini_traffic import Exchange, chunks_of, exchanges, needs_recordings

STREAMS = [e for e in exchanges() if e.stream and e.status == 200]
REPLY = Reply("fallback", 0, "shown")


def decode(*pieces: bytes) -> list[Event]:
    decoder = GEMINI.stream_decoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close()


@functools.cache
def whole(body: bytes) -> list[Event]:
    return decode(body)


def chunk(*parts: dict[str, object], **candidate: object) -> dict[str, object]:
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, **candidate}], "responseId": "r1", "modelVersion": "m"}


def stream(*chunks: dict[str, object]) -> bytes:
    return b"".join(sse(orjson.dumps(c)) for c in chunks)


def encode(*events: Event) -> list[dict[str, object]]:
    encoder = GEMINI.stream_encoder(REPLY)
    return list(chunks_of(b"".join(encoder.encode(event) for event in events)))


@needs_recordings
@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.name)
def test_byte_by_byte(exchange: Exchange) -> None:
    body = exchange.response[:40_000]
    assert decode(*(body[n : n + 1] for n in range(len(body)))) == whole(body)


@needs_recordings
def test_every_place_to_cut_small_streams() -> None:
    small = sorted({e.response for e in STREAMS}, key=len)
    for body in [b for b in small if b[:1] != b"["][:3] + [b for b in small if b[:1] == b"["][:2]:
        for cut in range(min(len(body), 2500)):
            assert decode(body[:cut], body[cut:]) == whole(body), cut


@needs_recordings
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_split(data: st.DataObject) -> None:
    body = data.draw(st.sampled_from(STREAMS)).response
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert decode(*pieces) == whole(body)


@needs_recordings
@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.name)
def test_other_framings_of_the_same_chunks(exchange: Exchange) -> None:
    chunks = chunks_of(exchange.response)
    as_events = stream(*chunks)
    expected = decode(as_events)
    assert decode(as_events.replace(b"\n", b"\r\n")) == expected
    assert decode(b"\xef\xbb\xbf" + as_events) == expected
    assert decode(as_events.rstrip(b"\n")) == expected
    has_ids = "responseId" in chunks[0]  # without one, ids of calls are made from the bytes
    if has_ids:
        pretty = [orjson.dumps(c, option=orjson.OPT_INDENT_2) for c in chunks]
        assert decode(orjson.dumps(chunks)) == expected
        assert decode(b" \n[" + b"\r\n,\r\n".join(pretty) + b"]\n") == expected


@needs_recordings
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_cut_stream_never_ends_cleanly(data: st.DataObject) -> None:
    body = data.draw(st.sampled_from(STREAMS)).response
    cut = data.draw(st.integers(0, max(body.rfind(b'"finishReason"'), 0)))
    events = decode(body[:cut])
    assert not any(isinstance(event, End | Finish) for event in events)


def test_golden_text_thought_call_and_usage() -> None:
    body = stream(
        chunk({"text": "Let me", "thought": True}) | {"usageMetadata": {"promptTokenCount": 9, "trafficType": "ON_DEMAND"}},
        chunk({"text": " see", "thought": True}, {"text": "Hel"}),
        chunk({"text": "lo", "thoughtSignature": "c2ln"}),
        chunk(
            {"functionCall": {"name": "f", "args": {"b": 1, "a": 2}}, "thoughtSignature": "Y2FsbA=="}, {"functionCall": {"name": "g", "id": "own"}}
        ),
        chunk({"text": ""}, finishReason="STOP", finishMessage="Model generated function call(s).")
        | {
            "usageMetadata": {
                "promptTokenCount": 9,
                "candidatesTokenCount": 5,
                "thoughtsTokenCount": 7,
                "totalTokenCount": 21,
                "cachedContentTokenCount": 4,
            }
        },
    )
    assert decode(body) == [
        MessageStart("r1", "m"),
        BlockStart(0, Thinking("")),
        BlockDelta(0, "Let me"),
        UsageUpdate(Usage(9, 0)),
        BlockDelta(0, " see"),
        BlockStop(0),
        BlockStart(1, Text("")),
        BlockDelta(1, "Hel"),
        BlockDelta(1, "lo"),
        BlockStop(1, Opaque("gemini", "c2ln")),
        BlockStart(2, ToolCall("call_g_r1_0", "f")),
        BlockDelta(2, '{"b":1,"a":2}'),
        BlockStop(2, Opaque("gemini", "Y2FsbA==")),
        BlockStart(3, ToolCall("own", "g")),
        BlockDelta(3, "{}"),
        BlockStop(3),
        UsageUpdate(Usage(9, 12, cache_read=4, reasoning=7)),
        Finish(FinishReason.TOOL_CALLS),
        End(),
    ]


def test_finish_reason_in_every_chunk_counts_once() -> None:
    events = decode(stream(chunk({"text": "a"}, finishReason="STOP"), chunk({"text": "b"}, finishReason="MAX_TOKENS")))
    assert [e for e in events if isinstance(e, Finish)] == [Finish(FinishReason.LENGTH)]
    assert [e.text for e in events if isinstance(e, BlockDelta)] == ["a", "b"]
    assert events[-2:] == [Finish(FinishReason.LENGTH), End()]


def test_signature_on_an_empty_part() -> None:
    signed = [
        e
        for e in decode(stream(chunk({"text": "a"}), chunk({"text": "", "thoughtSignature": "cw=="}, finishReason="STOP")))
        if isinstance(e, BlockStop)
    ]
    assert signed == [BlockStop(0, Opaque("gemini", "cw=="))]


def test_blocked_prompt_is_an_answer() -> None:
    body = stream({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "responseId": "r", "modelVersion": "m"})
    assert decode(body) == [MessageStart("r", "m"), Finish(FinishReason.CONTENT_FILTER, detail="PROMPT_BLOCKED PROHIBITED_CONTENT"), End()]


@pytest.mark.parametrize("form", ["events", "object", "array"])
def test_error_inside_the_stream(form: str) -> None:
    first = chunk({"text": "a"})
    error: dict[str, object] = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    body = {"events": stream(first, error), "object": orjson.dumps(error, option=orjson.OPT_INDENT_2), "array": orjson.dumps([first, error])}[form]
    for events in (decode(body), decode(*(body[n : n + 1] for n in range(len(body))))):
        assert events[-1] == StreamError(ApiError(ErrorKind.OVERLOADED, "The model is overloaded.", 503, raw_type="UNAVAILABLE"))


@pytest.mark.parametrize(
    "body",
    [
        b"data: {not json}\n\n",
        b"data: []\n\n",
        b'data: {"candidates": 5}\n\n',
        b'data: {"candidates": [5]}\n\n',
        b'data: {"candidates": [{"content": []}]}\n\n',
        b'data: {"candidates": [{"content": {"parts": [{"functionCall": "x"}]}}]}\n\n',
        b'data: {"usageMetadata": 1}\n\n',
        b'data: {"promptFeedback": []}\n\n',
        b"[[1]]",
        b"[1]",
        b'[{"a": nope}]',
        b'[{"candidates": []}] []',
    ],
)
def test_malformed_streams_are_stream_errors(body: bytes) -> None:
    events = decode(body)
    assert [e.error.kind for e in events if isinstance(e, StreamError)] == [ErrorKind.UPSTREAM]
    assert not any(isinstance(e, End) for e in events)


def test_an_event_without_end_is_refused() -> None:
    for start in (b'[{"a": "', b'data: {"a": "'):
        decoder = GEMINI.stream_decoder()
        decoder.feed(start)
        piece = b"x" * (1 << 20)
        events = [event for _ in range(MAX_EVENT // len(piece) + 1) for event in decoder.feed(piece)]
        assert [e.error.kind for e in events if isinstance(e, StreamError)] == [ErrorKind.UPSTREAM]
        assert decoder.feed(b"more") == []


@pytest.mark.parametrize("body", [b"", b"\n\n", b": comment\n\n", b"[]", b"[", b"\xef\xbb"])
def test_nothing_is_no_end(body: bytes) -> None:
    assert decode(body) == []


def test_array_without_its_bracket_has_no_end() -> None:
    events = decode(b"[" + orjson.dumps(chunk({"text": "a"}, finishReason="STOP")))
    assert events[-1] == Finish(FinishReason.STOP)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6), st.sampled_from([b"", b"[", b"{", b"data: ", b'[{"candidates":[{"content":{"parts":[{"text":"']))
def test_garbage_never_raises(pieces: list[bytes], start: bytes) -> None:
    decode(start, *pieces)


def test_only_the_first_candidate() -> None:
    decoder = GEMINI.stream_decoder()
    events = decoder.feed(
        stream({"candidates": [{"index": 1, "content": {"parts": [{"text": "no"}]}}], "responseId": "r"}, chunk({"text": "yes"}, index=0))
    )
    assert [e.text for e in events if isinstance(e, BlockDelta)] == ["yes"]
    assert [loss.code for loss in decoder.losses] == ["dropped:choices"]


def test_ids_without_a_response_id_are_repeatable_and_differ_between_turns() -> None:
    def call_id(tokens: int) -> str:
        part = {"functionCall": {"name": "f", "args": {}}}
        body = stream({"candidates": [{"content": {"parts": [part]}}], "usageMetadata": {"promptTokenCount": tokens}})
        return next(e.block.id for e in decode(body) if isinstance(e, BlockStart) and isinstance(e.block, ToolCall))

    assert call_id(5) == call_id(5)
    assert call_id(5) != call_id(6)


def test_observer_passes_every_byte_and_sees_the_end() -> None:
    body = stream(chunk({"text": "a"}), chunk(finishReason="STOP") | {"usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2}})
    observer = GEMINI.stream_observer(hide_usage=True)
    assert b"".join(observer.feed(body[n : n + 1]) for n in range(len(body))) + observer.close() == body
    assert (observer.content, observer.ended, observer.usage) == (True, True, Usage(1, 2))
    assert observer.finish == Finish(FinishReason.STOP)


def test_encoder_golden() -> None:
    chunks = encode(
        MessageStart("r", "upstream-model"),
        BlockStart(0, Thinking("")),
        BlockDelta(0, "hm"),
        BlockStop(0, Opaque("gemini", "dGg=")),
        BlockStart(1, Text("")),
        BlockDelta(1, "Hi"),
        BlockStop(1),
        BlockStart(2, ToolCall("c1", "f")),
        BlockStart(3, ToolCall("c2", "g")),
        BlockDelta(2, '{"x":'),
        BlockDelta(3, ""),
        BlockDelta(2, "1}"),
        BlockStop(3),
        BlockStop(2, Opaque("gemini", "Y2FsbA==")),
        Finish(FinishReason.TOOL_CALLS),
        UsageUpdate(Usage(10, 9, cache_read=2, reasoning=3)),
        End(),
    )
    assert {(c["responseId"], c["modelVersion"]) for c in chunks} == {("r", "shown")}
    parts = [c["candidates"][0]["content"]["parts"][0] for c in chunks]  # type: ignore[index]
    assert parts == [
        {"text": "hm", "thought": True},
        {"text": "", "thoughtSignature": "dGg=", "thought": True},
        {"text": "Hi"},
        {"functionCall": {"id": "c2", "name": "g", "args": {}}},
        {"functionCall": {"id": "c1", "name": "f", "args": {"x": 1}}, "thoughtSignature": "Y2FsbA=="},
        {"text": ""},
    ]
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"  # type: ignore[index]
    counts = {"promptTokenCount": 10, "candidatesTokenCount": 6, "thoughtsTokenCount": 3, "cachedContentTokenCount": 2, "totalTokenCount": 19}
    assert chunks[-1]["usageMetadata"] == counts
    assert not any("finishReason" in c["candidates"][0] for c in chunks[:-1])  # type: ignore[index]


def test_foreign_thinking_rides_in_the_calls_id_and_comes_back() -> None:
    thought: list[Event] = [BlockStart(0, Thinking("")), BlockDelta(0, "because"), BlockStop(0, Opaque("anthropic", "sig"))]
    call: list[Event] = [BlockStart(1, ToolCall("toolu_1", "f")), BlockDelta(1, "{}"), BlockStop(1)]
    chunks = encode(MessageStart("r", "m"), *thought, *call, Finish(FinishReason.TOOL_CALLS), End())
    parts = [p for c in chunks for p in c["candidates"][0]["content"]["parts"] if p != {"text": ""}]  # type: ignore[index]
    result = {"functionResponse": {"name": "f", "id": parts[1]["functionCall"]["id"], "response": {"result": "ok"}}}
    history = {"contents": [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": parts}, {"role": "user", "parts": [result]}]}
    _, model, user = GEMINI.decode_request(history).messages
    assert model.blocks == [Thinking("because", Opaque("anthropic", "sig")), ToolCall("toolu_1", "f", "{}")]
    assert user.blocks[0].id == "toolu_1"  # type: ignore[union-attr]


@pytest.mark.parametrize("last", [Finish(FinishReason.STOP), End()])
def test_truncated_upstream_writes_no_finish(last: Event) -> None:
    chunks = encode(BlockStart(0, Text("")), BlockDelta(0, "a"), last)
    assert [list(c["candidates"][0]) for c in chunks] == [["content", "index"]]  # type: ignore[index]


def test_stream_error_is_what_the_sdk_looks_for() -> None:
    encoder = GEMINI.stream_encoder(REPLY)
    raw = encoder.encode(StreamError(ApiError(ErrorKind.RATE_LIMITED, "slow down", retry_after=2.0)))
    assert raw == GEMINI.encode_stream_error(ApiError(ErrorKind.RATE_LIMITED, "slow down", retry_after=2.0))
    assert raw.startswith(b'data: {"error":{"code":429,')
    assert encoder.encode(Finish(FinishReason.STOP)) + encoder.encode(End()) == b""


_blocks = st.sampled_from(
    [
        Text("t"),
        Refusal("no"),
        Thinking("h"),
        ToolCall("c", "f"),
        Foreign("openai_chat", "x", {}),
        Foreign("gemini", "executableCode", {"executableCode": {}}),
    ]
)
_events = st.one_of(
    st.builds(MessageStart, st.just("r"), st.just("m")),
    st.builds(BlockStart, st.integers(0, 3), _blocks),
    st.builds(BlockDelta, st.integers(0, 3), st.sampled_from(["", "text", '{"a":1}', "{"])),
    st.builds(BlockStop, st.integers(0, 3), st.sampled_from([None, Opaque("gemini", "cw=="), Opaque("anthropic", "x")])),
    st.builds(UsageUpdate, st.just(Usage(1, 2))),
    st.builds(Finish, st.sampled_from(FinishReason), st.none(), st.sampled_from([None, "why", "PROMPT_BLOCKED SAFETY"])),
    st.just(End()),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_events, max_size=12))
def test_encoder_is_total_and_writes_what_the_decoder_reads(events: list[Event]) -> None:
    encoder = GEMINI.stream_encoder(REPLY)
    out = b"".join(encoder.encode(event) for event in events)
    assert not any(isinstance(event, StreamError) for event in decode(out))


def test_white_space_before_the_first_event_is_not_kept() -> None:
    decoder, blank = GEMINI.stream_decoder(), b" " * 65535 + b"\n"
    tracemalloc.start()
    try:
        for _ in range(100):
            assert decoder.feed(blank) == []
        assert tracemalloc.get_traced_memory()[0] < len(blank)
    finally:
        tracemalloc.stop()
    assert decoder.feed(b'[{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}') != []


def test_what_came_before_a_broken_array_counts_however_it_is_cut() -> None:
    raw = b'[{"candidates":[{"content":{"parts":[{"text":"a"}]}}]} x'
    whole, pieces = GEMINI.stream_decoder(), GEMINI.stream_decoder()
    assert whole.feed(raw) == [event for n in range(len(raw)) for event in pieces.feed(raw[n : n + 1])]
