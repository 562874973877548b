"""What clients get, judged by their own SDK: whole answers and streams, each dialect's way. A dialect more is one entry more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from anthropic.lib.streaming._messages import accumulate_event
from openai.lib.streaming.chat._completions import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from extproc.core.framing import SSEParser
from tests.validators.anthropic_types import check_event, check_message
from tests.validators.bedrock_service import check_converse_answer, check_converse_stream
from tests.validators.cohere_sdk import check_answer as check_cohere_answer
from tests.validators.cohere_sdk import check_stream as check_cohere_stream
from tests.validators.genai_sdk import check_gemini_answer, check_gemini_stream
from tests.validators.ollama_types import check_chat_answer as check_ollama_answer
from tests.validators.ollama_types import check_chat_stream as check_ollama_stream
from tests.validators.responses_types import check_responses_answer, check_responses_stream


def check_chat_answer(body: bytes) -> None:
    """Raises pydantic's `ValidationError`, `AssertionError`."""
    answer = ChatCompletion.model_validate(orjson.loads(body), strict=True)
    assert answer.choices[0].message.role == "assistant"
    assert (answer.choices[0].finish_reason == "tool_calls") <= bool(answer.choices[0].message.tool_calls)


def _events(raw: bytes) -> list[tuple[str, bytes]]:
    parser = SSEParser()
    return [(event.event, event.data) for event in (*parser.feed(raw), *parser.close())]


def check_chat_stream(raw: bytes) -> dict[str, Any] | None:
    """The whole answer as the SDK folds it, None for one that ends in an error. Raises as `check_chat_answer` does."""
    state = ChatCompletionStreamState()
    *pieces, (_, last) = _events(raw)
    for _, data in pieces:
        state.handle_chunk(ChatCompletionChunk.model_validate(orjson.loads(data), strict=True))
    if last != b"[DONE]":
        assert orjson.loads(last)["error"]["message"]
        return None
    answer = state.current_completion_snapshot
    assert answer.choices[0].finish_reason is not None
    for call in answer.choices[0].message.tool_calls or ():
        assert call.id
        assert call.function.name
    return answer.model_dump(mode="json", warnings=False)


def check_messages_stream(raw: bytes) -> dict[str, Any] | None:
    """The whole answer as the SDK folds it, None for one that ends in an error. Raises `ValidationError` or `AssertionError`."""
    events = _events(raw)
    last, data = events[-1]
    if last == "error":
        assert orjson.loads(data)["error"]["message"]
        return None
    for name, data in events:
        check_event(data)
        assert name == orjson.loads(data)["type"]
    assert last == "message_stop"
    folded = fold_messages(raw)
    assert folded["stop_reason"] is not None
    return folded


def fold_messages(raw: bytes) -> dict[str, Any]:
    """The answer that a Messages stream adds up to in the SDK, however newer than its types it is."""
    snapshot = None
    buffers: dict[int, bytes] = {}
    for name, data in _events(raw):
        if name != "ping":
            snapshot = accumulate_event(event=orjson.loads(data), current_snapshot=snapshot, json_bufs=buffers)
    assert snapshot is not None
    return snapshot.to_dict(mode="json", warnings=False)


ANSWERS: dict[str, Callable[[bytes], None]] = {
    "openai_chat": check_chat_answer,
    "openai_responses": check_responses_answer,
    "anthropic_messages": check_message,
    "gemini": check_gemini_answer,
    "bedrock_converse": check_converse_answer,
    "cohere_chat": check_cohere_answer,
    "ollama_chat": check_ollama_answer,
}
STREAMS: dict[str, Callable[[bytes], dict[str, Any] | None]] = {
    "openai_chat": check_chat_stream,
    "openai_responses": check_responses_stream,
    "anthropic_messages": check_messages_stream,
    "gemini": check_gemini_stream,
    "bedrock_converse": check_converse_stream,
    "cohere_chat": check_cohere_stream,
    "ollama_chat": check_ollama_stream,
}
