"""Chat Completions streams: what vendors send to events, events to what the real SDK reads, and never a clean end to a truncated one."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from extproc.core import carrier
from extproc.core.dialect import Reply
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.framing import SSEParser
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
from extproc.dialects.openai_chat import OpenAIChat

DIALECT = OpenAIChat()
REPLY = Reply("chatcmpl-ours", 17, "shown")


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **members: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + orjson.dumps({"id": "a1", "created": 5, "model": "real", "choices": choices} | members) + b"\n\n"


def call(index: int | None = 0, arguments: Any = None, **members: Any) -> dict[str, Any]:
    function = {k: members.pop(k) for k in ("name",) if k in members}
    if arguments is not None:
        function["arguments"] = arguments
    place = {} if index is None else {"index": index}
    return {"tool_calls": [{**place, **members, "function": function}]}


DONE = b"data: [DONE]\n\n"
START = MessageStart("a1", "real", 5)
STOP = chunk({}, "stop")


def decode(*pieces: bytes) -> list[Event]:
    decoder = DIALECT.stream_decoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()


def lost(*pieces: bytes) -> list[str]:
    decoder = DIALECT.stream_decoder()
    for piece in pieces:
        decoder.feed(piece)
    return [loss.code for loss in decoder.losses]


def encode(*events: Event, reply: Reply = REPLY) -> bytes:
    encoder = DIALECT.stream_encoder(reply)
    return b"".join(map(encoder.encode, events))


def chunks(stream: bytes) -> list[dict[str, Any]]:
    parser = SSEParser()
    found = [json.loads(event.data) for event in parser.feed(stream) + parser.close() if event.data != b"[DONE]"]
    for one in found:
        if "error" not in one:
            ChatCompletionChunk.model_validate(one, strict=True)
    return found


def folded(stream: bytes) -> ChatCompletion:
    """The answer that the SDK puts together."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for one in chunks(stream):
        state.handle_chunk(ChatCompletionChunk.model_validate(one))
    return state.get_final_completion()


# decoding


def test_text_with_usage_behind_the_finish() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert decode(chunk({"role": "assistant", "content": ""}), chunk({"content": "a"}), chunk({"content": "b"}), STOP, chunk(usage=usage), DONE) == [
        START,
        BlockStart(0, Text("")),
        BlockDelta(0, "a"),
        BlockDelta(0, "b"),
        BlockStop(0),
        Finish(FinishReason.STOP),
        UsageUpdate(Usage(3, 2)),
        End(),
    ]


def test_usage_on_the_finish_chunk_comes_before_the_finish() -> None:
    last = chunk({"content": ""}, "length", x_groq={"usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    assert decode(chunk({"content": "a"}), last, DONE)[-3:] == [UsageUpdate(Usage(1, 1)), Finish(FinishReason.LENGTH), End()]


def test_a_first_chunk_without_choices_starts_nothing() -> None:
    azure = b'data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}\n\n'
    assert decode(azure) == []
    assert decode(azure, chunk({"content": "a"}))[0] == START


def test_arguments_in_pieces_and_calls_side_by_side() -> None:
    events = decode(
        chunk({"content": "t"}),
        chunk(call(0, "", id="c1", type="function", name="f")),
        chunk(call(0, '{"a"')),
        chunk(call(0, ":1}")),
        chunk(call(1, '{"b', id="c2", name="g")),
        chunk(call(2, "{}", id="c3", name="h")),
        chunk(call(1, '":2}')),
        chunk({}, "tool_calls"),
        DONE,
    )
    assert events[1:] == [
        BlockStart(0, Text("")),
        BlockDelta(0, "t"),
        BlockStop(0),
        BlockStart(1, ToolCall("c1", "f")),
        BlockDelta(1, '{"a"'),
        BlockDelta(1, ":1}"),
        BlockStop(1),
        BlockStart(2, ToolCall("c2", "g")),
        BlockDelta(2, '{"b'),
        BlockStart(3, ToolCall("c3", "h")),
        BlockDelta(3, "{}"),
        BlockDelta(2, '":2}'),
        BlockStop(2),
        BlockStop(3),
        Finish(FinishReason.TOOL_CALLS),
        End(),
    ]


def calls_of(*pieces: bytes) -> list[tuple[str, str, str]]:
    """(id, name, arguments) of every call."""
    starts: dict[int, ToolCall] = {}
    texts: dict[int, str] = {}
    for event in decode(*pieces, chunk({}, "stop")):
        if isinstance(event, BlockStart) and isinstance(event.block, ToolCall):
            starts[event.index] = event.block
        elif isinstance(event, BlockDelta):
            texts[event.index] = texts.get(event.index, "") + event.text
    return [(block.id, block.name, texts.get(index, "")) for index, block in starts.items()]


def test_calls_as_vendors_spell_them() -> None:
    # whole in one chunk, all with index 0, without index, with an object as arguments, with the id on every piece
    assert calls_of(chunk(call(0, '{"a":1}', id="c1", name="f")), chunk(call(0, "{}", id="c2", name="g"))) == [
        ("c1", "f", '{"a":1}'),
        ("c2", "g", "{}"),
    ]
    assert calls_of(chunk(call(None, '{"a":', id="c1", name="f")), chunk(call(None, "1}"))) == [("c1", "f", '{"a":1}')]
    assert calls_of(chunk(call(0, {"a": 1}, id="c1", name="f"))) == [("c1", "f", '{"a":1}')]
    assert calls_of(chunk(call(0, "", id="c1", name="f")), chunk(call(0, "{", id="c1")), chunk(call(0, "}", id="c1"))) == [("c1", "f", "{}")]
    # the name behind the id, and no id at all
    assert calls_of(chunk(call(0, "{", id="c1")), chunk(call(0, "}", name="f"))) == [("c1", "f", "{}")]
    ((ident, name, _),) = calls_of(chunk(call(0, "{}", name="f")))
    assert name == "f"
    assert ident.startswith("call_")
    assert calls_of(chunk(call(0, "{}", name="f")))[0][0] == ident
    # the older form
    legacy = (chunk({"function_call": {"name": "f", "arguments": ""}}), chunk({"function_call": {"arguments": "{}"}}))
    assert calls_of(*legacy)[0][1:] == ("f", "{}")


def test_a_stop_behind_calls_means_the_calls() -> None:
    assert decode(chunk(call(0, "{}", id="c", name="f")), STOP)[-2] == Finish(FinishReason.TOOL_CALLS)
    assert decode(chunk({"refusal": "no"}), STOP)[-2] == Finish(FinishReason.REFUSAL)


def test_reasoning_as_vendors_spell_it() -> None:
    for name in ("reasoning", "reasoning_content"):
        assert decode(chunk({name: "a"}), chunk({name: "b", "content": ""}), chunk({"content": "c", name: None}))[1:] == [
            BlockStart(0, Thinking("")),
            BlockDelta(0, "a"),
            BlockDelta(0, "b"),
            BlockStop(0),
            BlockStart(1, Text("")),
            BlockDelta(1, "c"),
        ]
    part = {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]}
    assert decode(chunk(part))[1:] == [BlockStart(0, Thinking("")), BlockDelta(0, "a")]


def test_signatures_of_reasoning_come_with_the_end_of_its_block() -> None:
    detail = {"type": "reasoning.text", "index": 0}
    signed = Opaque("openrouter", '{"type":"reasoning.text","index":0,"signature":"s"}')
    assert decode(
        chunk({"reasoning": "a", "reasoning_details": [detail | {"text": "a"}]}),
        chunk({"reasoning": None, "reasoning_details": [detail | {"signature": "s"}]}),
        chunk({"content": "x"}),
    )[1:4] == [BlockStart(0, Thinking("")), BlockDelta(0, "a"), BlockStop(0, signed)]
    hidden = {"type": "reasoning.encrypted", "data": "d"}
    assert decode(chunk({"reasoning_details": [hidden]}))[1:] == [
        BlockStart(0, Thinking("", Opaque("openrouter", orjson.dumps(hidden).decode()), redacted=True)),
        BlockStop(0),
    ]


def test_other_content() -> None:
    url = {"image_url": {"url": "data:image/png;base64,aGk="}}
    assert decode(chunk({"images": [url]}))[1:] == [BlockStart(0, Image(Source("image/png", "aGk="))), BlockStop(0)]
    custom = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "f", "input": ""}}
    own = Foreign("openai_chat", "custom_tool_call", custom)
    assert decode(chunk({"tool_calls": [custom]}))[1:] == [BlockStart(0, own), BlockStop(0)]
    assert custom in json.loads(SSEParser().feed(encode(BlockStart(0, own)))[1].data)["choices"][0]["delta"]["tool_calls"]
    assert decode(chunk({"audio": {"data": "aGk="}}))[1:] == [BlockStart(0, Foreign("openai_chat", "audio", {"data": "aGk="})), BlockStop(0)]
    several = chunk(None, choices=[{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": []}}])
    assert decode(several)[1:] == [BlockStart(0, Text("")), BlockDelta(0, "a")]
    assert lost(several, chunk({"executed_tools": [1]})) == ["dropped:choices", "dropped:logprobs", "dropped:unknown_member"]


def test_a_repeated_finish_is_one() -> None:
    events = decode(chunk({"content": "a"}), STOP, chunk({"content": ""}, "stop", usage={"prompt_tokens": 1}), DONE)
    assert events[-3:] == [Finish(FinishReason.STOP), UsageUpdate(Usage(1)), End()]
    assert lost(chunk({"content": "a"}), STOP, chunk({"content": "late"})) == ["dropped:content"]


def test_without_the_terminator_a_finish_ends_the_body() -> None:
    assert decode(chunk({"content": "a"}), STOP)[-2:] == [Finish(FinishReason.STOP), End()]
    assert decode(chunk({"content": "a"}), STOP, b"data: [DO")[-1] == End()
    assert decode(chunk({"content": "a"}), STOP, DONE.rstrip())[-2:] == [Finish(FinishReason.STOP), End()]


def test_a_truncated_stream_has_neither_finish_nor_end() -> None:
    for cut in (b"", b'data: {"id":"a1","cho', chunk({"content": "b"})[:-2]):
        events = decode(chunk({"content": "a"}), cut)
        assert not any(isinstance(event, Finish | End | StreamError) for event in events)


@pytest.mark.parametrize(
    "event",
    [
        b'event: error\ndata: {"error":{"message":"m","code":429}}\n\n',
        b'data: {"error":{"message":"m","code":"rate_limit_exceeded"}}\n\n',
        b'data: {"id":"x","choices":[{"index":0,"delta":{"content":""},"finish_reason":"error","error":{"code":429,"message":"m"}}]}\n\n',
    ],
)
def test_an_error_ends_the_stream_without_a_finish(event: bytes) -> None:
    events = decode(chunk({"content": "a"}), event, chunk({"content": "late"}), STOP, DONE)
    assert isinstance(events[-1], StreamError)
    assert (events[-1].error.kind, events[-1].error.message) == (ErrorKind.RATE_LIMITED, "m")
    assert not any(isinstance(one, Finish | End) for one in events)


@pytest.mark.parametrize("event", [b"data: {nope}\n\n", b"data: [1]\n\n", b"data: null\n\n", b'data: "text"\n\n'])
def test_a_malformed_event_is_an_upstream_error(event: bytes) -> None:
    events = decode(chunk({"content": "a"}), event, STOP, DONE)
    assert isinstance(events[-1], StreamError)
    assert events[-1].error.kind is ErrorKind.UPSTREAM


CHUNK_NAMES = ["choices", "delta", "index", "finish_reason", "usage", "error", "x_groq", "prompt_tokens_details"]
DELTA_NAMES = [
    "content",
    "tool_calls",
    "reasoning",
    "reasoning_details",
    "refusal",
    "images",
    "function_call",
    "annotations",
]  # audio is replayed as it came
odd = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*CHUNK_NAMES, *DELTA_NAMES, "type", "text", "id", "function", "name", "arguments", "thinking"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)
deltas = st.dictionaries(
    st.sampled_from(DELTA_NAMES),
    odd,
    max_size=3,
)
odd_chunks = odd | st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"delta": deltas}, optional={"finish_reason": odd, "index": odd, "error": odd}), max_size=2)}
)


@settings(max_examples=300, deadline=None)
@given(st.lists(odd_chunks, max_size=5), st.booleans(), st.booleans())
def test_whatever_a_provider_sends_gives_a_stream_that_clients_can_read(sent: list[Any], done: bool, functions: bool) -> None:
    events = decode(*(b"data: " + orjson.dumps(one) + b"\n\n" for one in sent), DONE if done else b"")
    opened: set[int] = set()
    for place, event in enumerate(events):
        if isinstance(event, BlockStart):
            assert event.index not in opened
            opened.add(event.index)
        elif isinstance(event, BlockDelta | BlockStop):
            assert event.index in opened
        elif isinstance(event, StreamError | End):
            assert place == len(events) - 1
    out = encode(*events, reply=Reply("x", 1, "m", functions=functions))
    assert all("choices" in one or "error" in one for one in chunks(out))
    finished = any(isinstance(event, Finish) for event in events) and isinstance(events[-1], End)
    assert out.endswith(DONE) == finished


@given(st.binary(max_size=60))
def test_bytes_that_are_no_stream_at_all(data: bytes) -> None:
    assert not any(isinstance(event, Finish) for event in decode(data))


# encoding


def test_a_whole_stream_for_the_sdk() -> None:
    out = encode(
        START,
        BlockStart(0, Thinking("")),
        BlockDelta(0, "hm"),
        BlockStop(0, Opaque("anthropic", "sig")),
        BlockStart(1, Text("")),
        BlockDelta(1, "é"),
        BlockDelta(1, "!"),
        BlockStop(1),
        BlockStart(2, ToolCall("c1", "f")),
        BlockDelta(2, '{"a"'),
        BlockDelta(2, ":1"),
        BlockDelta(2, "}"),
        BlockStop(2),
        BlockStart(3, ToolCall("c2", "g")),
        BlockStop(3),
        Finish(FinishReason.TOOL_CALLS),
        UsageUpdate(Usage(10, 5, 2, 0, 1)),
        End(),
    )
    assert out.endswith(DONE)
    all_chunks = chunks(out)
    assert all_chunks[0] == {
        "id": "a1",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": "shown",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}, "logprobs": None, "finish_reason": None}],
        "usage": None,
    }
    assert [one["choices"] == [] for one in all_chunks] == [False] * (len(all_chunks) - 1) + [True]
    assert all_chunks[-1]["usage"]["completion_tokens_details"]["reasoning_tokens"] == 1
    message = folded(out).choices[0].message
    assert message.content == "é!"
    assert message.tool_calls is not None
    first, second = message.tool_calls
    assert carrier.split(first.id) == ("c1", None, [Thinking("hm", Opaque("anthropic", "sig"))])
    assert (second.id, second.function.name, second.function.arguments) == ("c2", "g", "{}")
    assert first.function.arguments == '{"a":1}'
    assert folded(out).choices[0].finish_reason == "tool_calls"
    assert "".join(one["choices"][0]["delta"].get("reasoning_content", "") for one in all_chunks[:-1]) == "hm"


def test_a_signature_that_comes_behind_a_whole_call_rides_in_its_id() -> None:
    events = [
        START,
        BlockStart(0, ToolCall("c", "f")),
        BlockDelta(0, '{"a":1}'),
        BlockStop(0, Opaque("gemini", "sig")),
        Finish(FinishReason.TOOL_CALLS),
        End(),
    ]
    (one,) = folded(encode(*events)).choices[0].message.tool_calls or ()
    assert carrier.split(one.id) == ("c", Opaque("gemini", "sig"), [])
    assert one.function.arguments == '{"a":1}'


def test_a_signature_that_comes_too_late_is_a_loss() -> None:
    encoder = DIALECT.stream_encoder(REPLY)
    for event in (BlockStart(0, ToolCall("c", "f")), BlockDelta(0, "{"), BlockDelta(0, "}"), BlockStop(0, Opaque("gemini", "s"))):
        encoder.encode(event)
    assert [loss.code for loss in encoder.losses] == ["dropped:signature"]


def test_calls_are_told_with_their_second_piece_at_the_latest() -> None:
    encoder = DIALECT.stream_encoder(REPLY)
    encoder.encode(START)
    assert encoder.encode(BlockStart(0, ToolCall("c", "f"))) == b""
    assert encoder.encode(BlockDelta(0, "{")) == b""
    assert b'"id":"c"' in encoder.encode(BlockDelta(0, '"a"'))
    assert b'"id":"d"' in encoder.encode(BlockStart(1, ToolCall("d", "g", opaque=Opaque("gemini", "s")))).replace(b"d__llm1_", b'd"')


def test_usage_only_for_those_who_asked() -> None:
    events = [START, BlockStart(0, Text("a")), Finish(FinishReason.STOP), UsageUpdate(Usage(1, 1)), End()]
    quiet = chunks(encode(*events, reply=Reply("x", 1, "m", include_usage=False)))
    assert not any("usage" in one for one in quiet)
    assert all(one["choices"] for one in quiet)
    asked = chunks(encode(*events))
    assert [one["usage"] for one in asked[:-1]] == [None] * (len(asked) - 1)


def test_the_older_form() -> None:
    events = [BlockStart(0, ToolCall("c", "f")), BlockDelta(0, "{"), BlockDelta(0, "}"), BlockStart(1, ToolCall("d", "g")), BlockDelta(1, "{}")]
    out = encode(*events, Finish(FinishReason.TOOL_CALLS), End(), reply=Reply("x", 1, "m", functions=True))
    found = chunks(out)
    assert "".join(one["choices"][0]["delta"].get("function_call", {}).get("arguments", "") for one in found) == "{}"
    assert found[-1]["choices"][0]["finish_reason"] == "function_call"
    assert b"tool_calls" not in out


def test_a_truncated_stream_gets_no_terminator() -> None:
    assert b"[DONE]" not in encode(START, BlockStart(0, Text("a")), End())
    assert b"[DONE]" not in encode(START, BlockStart(0, Text("a")), Finish(FinishReason.STOP))


def test_an_error_is_the_last_thing_said() -> None:
    error = StreamError(ApiError(ErrorKind.OVERLOADED, "busy"))
    out = encode(START, BlockStart(0, Text("a")), error, BlockDelta(0, "late"), Finish(FinishReason.STOP), End())
    assert chunks(out)[-1] == {"error": {"message": "busy", "type": "server_error", "param": None, "code": "overloaded"}}
    assert b"[DONE]" not in out


def test_refusals_and_thoughts_in_paragraphs() -> None:
    out = encode(
        BlockStart(0, Thinking("A")), BlockStop(0), BlockStart(1, Thinking("B")), BlockStart(2, Refusal("no")), Finish(FinishReason.REFUSAL), End()
    )
    found = chunks(out)
    assert "".join(one["choices"][0]["delta"].get("reasoning_content", "") for one in found) == "A\n\nB"
    assert folded(out).choices[0].message.refusal == "no"
    assert found[-1]["choices"][0]["finish_reason"] == "stop"
    assert found[0]["id"] == "chatcmpl-ours"


# watching


def test_the_hidden_chunk_leaves_every_other_byte_alone() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    head = b": comment\n\n" + chunk({"content": 'say \\"choices\\":[]'}) + STOP.replace(b"\n", b"\r\n")
    for raw_usage in (chunk(usage=usage), chunk(usage=usage).replace(b"\n", b"\r\n"), chunk(usage=usage).replace(b'"choices":[]', b'"choices": [ ]')):
        for size in (1, 2, 3, 5, 1000):
            observer = DIALECT.stream_observer(hide_usage=True)
            raw = head + raw_usage + DONE
            out = b"".join(observer.feed(raw[i : i + size]) for i in range(0, len(raw), size)) + observer.close()
            assert out.replace(b"\r\n", b"\n") == (head + DONE).replace(b"\r\n", b"\n")
            assert observer.usage == Usage(3, 2)
            assert observer.ended
            assert observer.start == START


def test_what_is_more_than_usage_is_passed_on() -> None:
    usage = {"prompt_tokens": 3}
    for kept in (
        chunk({}, "stop", usage=usage),
        chunk(usage=None),
        chunk(prompt_filter_results=[1], usage=usage),
        b'data: {"choices":[],"usage":{',
        b"data: x",
    ):
        observer = DIALECT.stream_observer(hide_usage=True)
        assert observer.feed(kept) + observer.close() == kept


def test_an_endless_event_is_not_held_back() -> None:
    observer = DIALECT.stream_observer(hide_usage=True)
    passed = b"".join(observer.feed(b"data: " + b"x" * 600_000) for _ in range(4))
    assert len(passed) > 1_000_000


def test_calls_that_only_their_ids_tell_apart_take_linear_time() -> None:
    tool_calls = [{"id": f"c{n}", "function": {"name": "f", "arguments": "{"}} for n in range(40_000)]
    # by comparing each with each this would take half a minute
    events = decode(chunk({"tool_calls": tool_calls}), chunk({"tool_calls": [{"id": "c7", "function": {"arguments": "}"}}]}))
    assert [event.text for event in events if isinstance(event, BlockDelta) and event.index == 7] == ["{", "}"]
