"""What clients get, judged by their own SDK: whole answers and streams, each dialect's way. A dialect more is one entry more."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from anthropic.lib.streaming._messages import accumulate_event
from openai.lib.streaming.chat._completions import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from extproc.core.framing import SSEParser
from tests.validators.anthropic_types import check_event, check_message


def check_chat_answer(body: bytes) -> None:
    """Raises pydantic's `ValidationError`, `AssertionError`."""
    answer = ChatCompletion.model_validate(orjson.loads(body), strict=True)
    assert answer.choices[0].message.role == "assistant"
    assert (answer.choices[0].finish_reason == "tool_calls") <= bool(answer.choices[0].message.tool_calls)


def _events(raw: bytes) -> list[tuple[str, bytes]]:
    parser = SSEParser()
    return [(event.event, event.data) for event in (*parser.feed(raw), *parser.close())]


def check_chat_stream(raw: bytes) -> bool:
    """True for a whole answer, False for one that ends in an error. Raises as `check_chat_answer` does."""
    state = ChatCompletionStreamState()
    *pieces, (_, last) = _events(raw)
    for _, data in pieces:
        state.handle_chunk(ChatCompletionChunk.model_validate(orjson.loads(data), strict=True))
    if last != b"[DONE]":
        assert orjson.loads(last)["error"]["message"]
        return False
    answer = state.current_completion_snapshot
    assert answer.choices[0].finish_reason is not None
    for call in answer.choices[0].message.tool_calls or ():
        assert call.id
        assert call.function.name
    return True


def check_messages_stream(raw: bytes) -> bool:
    """True for a whole answer, False for one that ends in an error. Raises `ValidationError` or `AssertionError`."""
    snapshot = None
    buffers: dict[int, bytes] = {}
    events = _events(raw)
    for n, (name, data) in enumerate(events):
        if name == "error":
            assert n == len(events) - 1
            assert orjson.loads(data)["error"]["message"]
            return False
        check_event(data)
        assert name == orjson.loads(data)["type"]
        snapshot = accumulate_event(event=orjson.loads(data), current_snapshot=snapshot, json_bufs=buffers)
    assert events[-1][0] == "message_stop"
    assert snapshot is not None
    assert snapshot.stop_reason is not None
    return True


ANSWERS: dict[str, Callable[[bytes], None]] = {"openai_chat": check_chat_answer, "anthropic_messages": check_message}
STREAMS: dict[str, Callable[[bytes], bool]] = {"openai_chat": check_chat_stream, "anthropic_messages": check_messages_stream}
