"""Gemini clients served by other dialects, through Google's own SDK: chat sessions with tools, errors, both forms of a stream."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import orjson
import pytest
from google.api_core._rest_streaming_base import BaseResponseIterator
from google.genai import errors, types
from google.protobuf.struct_pb2 import Struct
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.dialect import Ask, Facts, Reply
from extproc.core.errors import STATUS, ApiError, ErrorKind
from extproc.core.framing import sse
from extproc.core.ir import BlockDelta, BlockStart, BlockStop, End, Event, Finish, FinishReason, MessageStart, StreamError, Text, ToolCall
from extproc.dialects.catalog import DIALECTS
from extproc.dialects.gemini import GEMINI
from extproc.stages import pipes, upstream
from tests.dialects.gemini_traffic import Exchange, chunks_of, exchanges, needs_recordings
from tests.golden.matrix import FOLDER, MARK, TARGETS
from tests.validators import genai_sdk
from tests.validators.requests import REQUESTS

REPLY = Reply("reply", 1_700_000_000, "shown")
ARRAY = Reply("reply", 1_700_000_000, "shown", form="array")


# conversations


class Gateway:
    """What stands between the SDK and one provider of another dialect, whose answers are given. `sent` is what the provider got."""

    def __init__(self, target: str, *answers: bytes) -> None:
        self._target = TARGETS[target]
        self._upstream = DIALECTS[target.partition("-")[0]]
        self._answers = iter(answers)
        self.sent: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        stream = request.url.path.endswith(":streamGenerateContent")
        raw = request.content
        built = upstream.encode(raw, orjson.loads(raw), GEMINI, self._upstream, self._target.facts, Ask("m", stream=stream))
        if self._upstream.name != GEMINI.name:
            REQUESTS[self._upstream.name](built.body)
        self.sent.append(orjson.loads(built.body))
        answer = next(self._answers)
        if not stream:
            return httpx.Response(200, content=pipes.translate_whole(answer, GEMINI, self._upstream, REPLY, stream=False)[0])
        pipe = pipes.TranslatedStream(GEMINI, self._upstream, REPLY)
        out = b"".join([pipe.feed(answer[i : i + 7], i + 7 >= len(answer)) for i in range(0, len(answer), 7)])
        return httpx.Response(200, content=out, headers={"content-type": "text/event-stream"})


def a_stream(*blocks: dict[str, Any], stop: str) -> bytes:
    """An Anthropic stream of whole blocks; text and thoughts in pieces of four characters."""
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "c",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message | {"usage": {"input_tokens": 9, "output_tokens": 1}}}]
    for n, block in enumerate(blocks):
        kind = block["type"]
        deltas: list[dict[str, Any]] = []
        start = dict(block)
        if kind == "thinking":
            start |= {"thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        elif kind == "text":
            start["text"] = ""
            deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        elif kind == "tool_use":
            start["input"] = {}
            deltas = [{"type": "input_json_delta", "partial_json": orjson.dumps(block["input"]).decode()}]
        events.append({"type": "content_block_start", "index": n, "content_block": start})
        events += [{"type": "content_block_delta", "index": n, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": n})
    events.append({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 5}})
    events.append({"type": "message_stop"})
    return b"".join(sse(orjson.dumps(event), event["type"]) for event in events)


def pieces(text: str) -> list[str]:
    return [text[i : i + 4] for i in range(0, len(text), 4)]


def a_message(*blocks: dict[str, Any], stop: str) -> bytes:
    usage = {"input_tokens": 9, "output_tokens": 5}
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": blocks, "stop_reason": stop, "stop_sequence": None}
    return orjson.dumps(body | {"usage": usage})


THINKING = {"type": "thinking", "thinking": "Two cities, so two calls.", "signature": "c2lnbmVkLWJ5LWNsYXVkZQ=="}
HIDDEN = {"type": "redacted_thinking", "data": "aGlkZGVu"}
OSLO = {"type": "tool_use", "id": "toolu_01", "name": "weather", "input": {"city": "Oslo"}}
ROME = {"type": "tool_use", "id": "toolu_02", "name": "weather", "input": {"city": "Rome"}}
FIRST: list[dict[str, Any]] = [THINKING, HIDDEN, {"type": "text", "text": "Let me look."}, OSLO, ROME]
AGAIN = {"type": "thinking", "thinking": "Is it colder now?", "signature": "c2Vjb25k"}
SECOND: list[dict[str, Any]] = [AGAIN, OSLO | {"id": "toolu_03"}]
LAST = [{"type": "text", "text": "Oslo is colder."}]


def weather(city: str) -> str:
    """The weather of a city."""
    return {"Oslo": "-3", "Rome": "12"}[city]


def _conversation(gateway: Gateway, *, stream: bool) -> str:
    chat = genai_sdk.client(gateway).chats.create(model="m", config=types.GenerateContentConfig(tools=[weather]))
    answers = chat.send_message_stream("Oslo or Rome?") if stream else [chat.send_message("Oslo or Rome?")]
    texts = [chunk.text or "" for chunk in answers]
    follow_up = chat.send_message_stream("Thanks") if stream else [chat.send_message("Thanks")]
    assert "".join(chunk.text or "" for chunk in follow_up) == "Welcome."
    return "".join(texts)


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_session_with_tools_served_by_claude(stream: bool) -> None:
    """Automatic function calling over three turns: Claude gets its signatures, ids and results back as it gave them."""
    make: Callable[..., bytes] = a_stream if stream else a_message
    welcome = make({"type": "text", "text": "Welcome."}, stop="end_turn")
    answers = make(*FIRST, stop="tool_use"), make(*SECOND, stop="tool_use"), make(*LAST, stop="end_turn"), welcome
    gateway = Gateway("anthropic_messages", *answers)
    assert _conversation(gateway, stream=stream).endswith("Oslo is colder.")
    turns = gateway.sent[-1]["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant", "user", "assistant", "user"]
    assert turns[1]["content"] == FIRST
    assert turns[3]["content"] == SECOND
    assert turns[5]["content"] == LAST
    results = [[(b["tool_use_id"], b["content"][0]["text"]) for b in turn["content"]] for turn in (turns[2], turns[4])]
    assert results == [[("toolu_01", "-3"), ("toolu_02", "12")], [("toolu_03", "-3")]]
    for shorter, longer in itertools.pairwise(gateway.sent):
        # what was said before stays as it was, or the provider's cache misses
        assert longer["messages"][: len(shorter["messages"])] == shorter["messages"]


def _chat_answers(*, stream: bool) -> list[bytes]:
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": "weather", "arguments": f'{{\n"city": "{city}"}}'}}
        for n, city in enumerate(("Oslo", "Rome"))
    ]
    turns: list[tuple[dict[str, Any], str]] = [
        ({"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"),
        ({"role": "assistant", "content": "Oslo is colder."}, "stop"),
        ({"role": "assistant", "content": "Welcome."}, "stop"),
    ]
    head = {"id": "c1", "created": 1, "model": "x"}
    if not stream:
        return [orjson.dumps(head | {"object": "chat.completion", "choices": [{"index": 0, "message": m, "finish_reason": f}]}) for m, f in turns]
    out = []
    for message, finish in turns:
        delta = message | {"tool_calls": [call | {"index": n} for n, call in enumerate(message.get("tool_calls", ()))]}
        chunks = [{"index": 0, "delta": delta, "finish_reason": None}, {"index": 0, "delta": {}, "finish_reason": finish}]
        out.append(b"".join(sse(orjson.dumps(head | {"object": "chat.completion.chunk", "choices": [c]})) for c in chunks) + sse(b"[DONE]"))
    return out


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_session_with_tools_served_by_openai(stream: bool) -> None:
    gateway = Gateway("openai_chat", *_chat_answers(stream=stream))
    assert _conversation(gateway, stream=stream) == "Oslo is colder."
    history = gateway.sent[-1]["messages"]
    assert [call["id"] for call in history[1]["tool_calls"]] == ["call_0", "call_1"]
    assert [(m["tool_call_id"], m["content"]) for m in history[2:4]] == [("call_0", "-3"), ("call_1", "12")]


def _responses_answer(*output: dict[str, Any]) -> bytes:
    usage = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}
    return orjson.dumps(
        {"id": "resp_1", "object": "response", "model": "x", "created_at": 1, "status": "completed", "output": output, "usage": usage}
    )


def test_a_chat_session_with_encrypted_reasoning_served_by_openai() -> None:
    """What OpenAI encrypted comes back to it, in front of the call that it led to, and goes nowhere else."""
    reasoning: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAABlbmNyeXB0ZWQ="}
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Oslo"}', "status": "completed"}
    text = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    last = text | {"content": [{"type": "output_text", "text": "Cold.", "annotations": []}]}
    gateway = Gateway("openai_responses", _responses_answer(reasoning, call), _responses_answer(last))
    chat = genai_sdk.client(gateway).chats.create(model="m", config=types.GenerateContentConfig(tools=[weather]))
    assert chat.send_message("Oslo?").text == "Cold."
    sent = gateway.sent[1]["input"]
    assert [item.get("type", "message") for item in sent] == ["message", "reasoning", "function_call", "function_call_output"]
    assert sent[1]["encrypted_content"] == reasoning["encrypted_content"]
    assert (sent[2]["call_id"], sent[3]["call_id"], sent[3]["output"]) == ("call_1", "call_1", "-3")
    claude = Gateway("anthropic_messages", a_message(*LAST, stop="end_turn"))
    genai_sdk.client(claude).chats.create(model="m", history=list(chat.get_history())).send_message("And now?")
    assert reasoning["encrypted_content"].encode() not in orjson.dumps(claude.sent)


def test_a_gemini_model_takes_a_conversation_over() -> None:
    """What Claude signed does not reach Google, and its calls carry the stand-in that Gemini 3 wants."""
    session = Gateway("anthropic_messages", a_message(*FIRST, stop="tool_use"), a_message(*LAST, stop="end_turn"))
    chat = genai_sdk.client(session).chats.create(model="m", config=types.GenerateContentConfig(tools=[weather]))
    chat.send_message("Oslo or Rome?")
    google = Gateway("gemini-3", b'{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}]}')
    genai_sdk.client(google).chats.create(model="m", history=list(chat.get_history())).send_message("And now?")
    parts = [part for content in google.sent[0]["contents"] for part in content["parts"]]
    assert [part.get("thoughtSignature") for part in parts if "functionCall" in part] == ["skip_thought_signature_validator", ""]
    assert THINKING["signature"].encode() not in orjson.dumps(google.sent)


# errors


@pytest.mark.parametrize("kind", ErrorKind)
def test_errors_are_the_sdks(kind: ErrorKind) -> None:
    status, body = GEMINI.encode_error(ApiError(kind, "what went wrong", code="why", retry_after=1.5))
    wanted = errors.ClientError if STATUS[kind] < 500 else errors.ServerError
    with pytest.raises(wanted) as caught:
        genai_sdk.parse_answer(body, status)
    assert (caught.value.code, caught.value.message) == (status, "what went wrong")
    assert caught.value.status


def events(*more: Event) -> list[Event]:
    return [MessageStart("r", "m"), BlockStart(0, Text("")), BlockDelta(0, "Hi"), *more]


def encoded(reply: Reply, *them: Event) -> bytes:
    encoder = GEMINI.stream_encoder(reply)
    return b"".join([encoder.encode(event) for event in them])


class _RestStream(BaseResponseIterator):
    """How clients built on Google's REST transport read the array."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(Struct)
        self._response_itr: Iterator[str] = iter(raw.decode())

    def read(self) -> list[Struct]:
        # as `google.api_core.rest_streaming.ResponseIterator.__next__` does over HTTP
        out: list[Struct] = []
        for char in self._response_itr:
            self._process_chunk(char)
            while self._ready_objs:
                out.append(self._grab())
        if self._level > 0:
            raise ValueError("unfinished stream")
        return out


@pytest.mark.parametrize("kind", [ErrorKind.OVERLOADED, ErrorKind.RATE_LIMITED, ErrorKind.UPSTREAM])
def test_errors_inside_a_stream(kind: ErrorKind) -> None:
    error = ApiError(kind, "broke off")
    for out in (
        encoded(REPLY, *events()) + GEMINI.encode_stream_error(error),
        encoded(REPLY, *events(StreamError(error))),
        GEMINI.encode_stream_error(error),
    ):
        with pytest.raises(errors.APIError) as caught:
            genai_sdk.parse_stream(out)
        assert (caught.value.message, caught.value.code) == ("broke off", STATUS[kind])


@pytest.mark.parametrize(
    "before",
    [(), (MessageStart("r", "m"),), events(), events(Finish(FinishReason.STOP)), events(BlockStart(1, Text("")), BlockDelta(1, '"]}[{\\'))],
)
def test_errors_inside_an_array(before: list[Event]) -> None:
    """Whoever reads the array fails: the SDK, Google's REST transport, a JSON parser. Who reads object by object finds the error."""
    error = ApiError(ErrorKind.UPSTREAM, "broke off")
    for out in (encoded(ARRAY, *before) + GEMINI.encode_stream_error(error, "array"), encoded(ARRAY, *before, StreamError(error))):
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(out)
        with pytest.raises(ValueError, match=r"unfinished|Can only parse array"):
            _RestStream(out).read()
        with pytest.raises(errors.UnknownApiResponseError):
            genai_sdk.parse_stream(out)
        assert out.endswith(b'{"error":{"code":502,"message":"broke off","status":"UNAVAILABLE"}}\n')


# the two forms


def _golden_streams() -> list[tuple[str, bytes]]:
    paths = [p for p in sorted((FOLDER / "streams").glob("*/*.sse")) if MARK not in p.name]
    return [(p.parent.name, p.read_bytes()) for p in paths]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_point_41_an_array_says_what_the_events_say(size: int) -> None:
    whole = 0
    for source, raw in _golden_streams():
        outs = []
        for reply in (REPLY, ARRAY):
            pipe = pipes.TranslatedStream(GEMINI, DIALECTS[source], reply)
            outs.append(b"".join([pipe.feed(raw[i : i + size], i + size >= len(raw)) for i in range(0, len(raw), size)]))
        if pipe.seen.error is None:
            assert orjson.loads(outs[1]) == chunks_of(outs[0])
            assert len(_RestStream(outs[1]).read()) == len(orjson.loads(outs[1]))
            whole += 1
        else:
            with pytest.raises(orjson.JSONDecodeError):
                orjson.loads(outs[1])
    assert whole > 25


def test_a_whole_answer_as_an_array() -> None:
    answer = a_message(*LAST, stop="end_turn")
    out, content_type, _ = pipes.translate_whole(answer, GEMINI, DIALECTS["anthropic_messages"], ARRAY, stream=True)
    assert content_type == GEMINI.answer_type("array", stream=True) == "application/json"
    assert [c["candidates"][0]["content"]["parts"][0]["text"] for c in orjson.loads(out)] == ["Oslo is colder.", ""]
    assert GEMINI.answer_type("", stream=True) == "text/event-stream"
    assert encoded(ARRAY, Finish(FinishReason.STOP), End())[:1] == b"["


def _watched(raw: bytes, *cuts: int) -> tuple[bytes, pipes.Seen]:
    pipe = pipes.WatchedStream(GEMINI, GEMINI.stream_observer(hide_usage=False, form="array"), form="array")
    bounds = [0, *sorted(cuts), len(raw)]
    out = b"".join([pipe.feed(raw[a:b], b == len(raw) and n == len(bounds) - 2) for n, (a, b) in enumerate(itertools.pairwise(bounds))])
    return out, pipe.seen


RECORDED = [e for e in exchanges() if e.stream and e.status == 200]


@needs_recordings
@pytest.mark.parametrize("exchange", RECORDED, ids=lambda e: e.name)
def test_same_dialect_in_the_other_form(exchange: Exchange) -> None:
    """Every event's data as the provider wrote it, whichever form the provider chose."""
    out, seen = _watched(exchange.response, *range(5, min(len(exchange.response), 3000), 5))
    if seen.error is None:
        assert orjson.loads(out) == chunks_of(exchange.response)
        assert seen.finish
    else:
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(out)


_ONE = {"candidates": [{"content": {"parts": [{"text": "Hi\u2028"}], "role": "model"}, "index": 0}], "x": {"unknown": [1]}}
_END = {
    "candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 1},
}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_same_dialect_cut_anywhere(data: st.DataObject) -> None:
    raw = sse(orjson.dumps(_ONE)) + b": comment\r\n\r\n" + sse(orjson.dumps(_END)).replace(b"\n", b"\r\n")
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=6))
    out, seen = _watched(raw, *cuts)
    assert orjson.loads(out) == [_ONE, _END]
    assert seen.usage is not None


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", b"before it was complete"),
        (sse(orjson.dumps(_ONE)), b"before it was complete"),
        (sse(orjson.dumps(_ONE)) + sse(b'{"error":{"code":503,"message":"overloaded"}}'), b"overloaded"),
        (sse(orjson.dumps(_ONE)) + sse(b"not JSON"), b""),
    ],
)
def test_same_dialect_that_fails_is_left_open(raw: bytes, said: bytes) -> None:
    out, seen = _watched(raw)
    assert seen.error is not None
    assert said in out
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(out)
    with pytest.raises(ValueError, match="unfinished"):
        _RestStream(out).read()


# what clients may ask for


def test_point_43_numbers_for_enums() -> None:
    """`$alt=json;enum-encoding=int`: clients built on Google's REST transport write numbers; their parser, protobuf's, reads names as well."""
    body = {
        "contents": [{"parts": [{"text": "q"}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": 6, "properties": {"a": {"type": 5, "items": {"type": 1}}}}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": 3}},
        "generationConfig": {"responseModalities": [1, 2]},
    }
    request = GEMINI.decode_request(body)
    assert request.tools[0].parameters == {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}
    assert request.tool_choice is not None
    assert request.tool_choice.mode == "none"
    assert request.knobs["modalities"] == ["text", "image"]
    assert "output_image" in GEMINI.needs(body)
    spliced = GEMINI.splice_request(orjson.dumps(body), body, Facts("gemini-2.5-pro", "gemini"), Ask("m"))
    assert orjson.loads(spliced.body) == body


def test_one_word_of_a_list_is_asked_for() -> None:
    config = {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["good", "bad"]}}
    body = {"systemInstruction": {"parts": [{"text": "Judge."}]}, "contents": [{"parts": [{"text": "q"}]}], "generationConfig": config}
    request = GEMINI.decode_request(body)
    assert [b.text for m in request.messages[:2] for b in m.blocks if isinstance(b, Text)][1].endswith('["good","bad"]')
    assert [loss.code for loss in request.losses] == ["coerced:response_format"]
    assert not GEMINI.needs(body)


def test_every_event_of_an_array_is_a_whole_line_at_once() -> None:
    """So that a reader of lines, and the one that renames models on the way, has no reason to wait for the next."""
    call = events(BlockStop(0), BlockStart(1, ToolCall("c", "f")), BlockDelta(1, '{\n"a":\r\n1}'), BlockStop(1))
    encoder = GEMINI.stream_encoder(ARRAY)
    lines = [out for event in call if (out := encoder.encode(event))]
    assert [line.lstrip(b"[,\n")[:14] for line in lines] == [b"", b'{"candidates":', b'{"candidates":']
    for line in lines[1:]:
        assert orjson.loads(line.strip(b",\n"))
        assert line.endswith(b"}\n")
        assert line.strip(b",\n").count(b"\n") == 0
    out, _ = _watched(b'data: {"candidates":[{\ndata: "content":{"parts":[{"text":"a"}]}}]}\n\n')
    assert out.startswith(b'[{"candidates":[{ "content"')
    observer = GEMINI.stream_observer(hide_usage=False, form="array")
    assert observer.feed(sse(orjson.dumps(_ONE))).endswith(b"}\n")
