"""One short answer in each provider format: whole, as the events of a stream, and the ways in which that format says that something went wrong."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from extproc.core import eventstream

TEXT, USAGE = "hello there", (5, 2)
FIRST, SECOND = "hello", " there"


@dataclass(frozen=True)
class Spoken:
    """`model` is the one of `replay_stack`. A stream is `start`, then `content` (two pieces of text), then `end`. `fails` is the error that a stream
    may hold, `refuses` the body of an error; both say that the provider is too busy, and `kind` is our word for that."""

    dialect: str
    model: str
    content_type: str
    start: tuple[bytes, ...]
    content: tuple[bytes, bytes]
    end: tuple[bytes, ...]
    whole: bytes
    fails: bytes
    refuses: bytes
    kind: str

    @property
    def stream(self) -> bytes:
        return b"".join((*self.start, *self.content, *self.end))


SSE = "text/event-stream"


def _data(body: object, event: str = "") -> bytes:
    return (f"event: {event}\n" if event else "").encode() + b"data: " + orjson.dumps(body) + b"\n\n"


def _chunk(delta: object, finish: str | None = None, **more: object) -> bytes:
    choices = [] if "usage" in more else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return _data({"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more})


_CHAT_USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
OPENAI = Spoken(
    "openai_chat",
    "openai-chat-openai",
    SSE,
    (_chunk({"role": "assistant", "content": ""}),),
    (_chunk({"content": FIRST}), _chunk({"content": SECOND})),
    (_chunk({}, "stop"), _chunk({}, usage=_CHAT_USAGE), b"data: [DONE]\n\n"),
    orjson.dumps(
        {
            "id": "c-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
            "usage": _CHAT_USAGE,
        }
    ),
    _data({"error": {"message": "too busy", "type": "server_error", "param": None, "code": "overloaded"}}),
    orjson.dumps({"error": {"message": "too busy", "type": "server_error", "param": None, "code": "overloaded"}}),
    "overloaded",
)

_ITEM = {"id": "msg_1", "type": "message", "role": "assistant"}


def _answer(status: str, output: list[object], **more: object) -> dict[str, object]:
    usage = {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 7,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "m",
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage if status == "completed" else None,
        **more,
    }


_PART = {"type": "output_text", "text": TEXT, "annotations": []}
_DONE = {**_ITEM, "status": "completed", "content": [_PART]}
_WHERE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}


def _event(number: int, kind: str, **more: object) -> bytes:
    return _data({"type": f"response.{kind}", "sequence_number": number, **more}, f"response.{kind}")


_BUSY = {"code": "server_is_overloaded", "message": "too busy"}
RESPONSES = Spoken(
    "openai_responses",
    "openai-responses",
    SSE,
    (
        _event(0, "created", response=_answer("in_progress", [])),
        _event(1, "output_item.added", output_index=0, item={**_ITEM, "status": "in_progress", "content": []}),
        _event(2, "content_part.added", **_WHERE, part={**_PART, "text": ""}),
    ),
    (
        _event(3, "output_text.delta", **_WHERE, delta=FIRST, logprobs=[]),
        _event(4, "output_text.delta", **_WHERE, delta=SECOND, logprobs=[]),
    ),
    (
        _event(5, "output_text.done", **_WHERE, text=TEXT, logprobs=[]),
        _event(6, "content_part.done", **_WHERE, part=_PART),
        _event(7, "output_item.done", output_index=0, item=_DONE),
        _event(8, "completed", response=_answer("completed", [_DONE])),
    ),
    orjson.dumps(_answer("completed", [_DONE])),
    _event(5, "failed", response=_answer("failed", [], error=_BUSY)),
    orjson.dumps({"error": {"message": "too busy", "type": "server_error", "param": None, "code": "server_is_overloaded"}}),
    "overloaded",
)


def _named(kind: str, **more: object) -> bytes:
    return _data({"type": kind, **more}, kind)


_MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
_TOO_BUSY = {"type": "error", "error": {"type": "overloaded_error", "message": "too busy"}}
ANTHROPIC = Spoken(
    "anthropic_messages",
    "anthropic-messages-anthropic",
    SSE,
    (
        _named(
            "message_start",
            message={**_MESSAGE, "content": [], "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 1}},
        ),
        _named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    ),
    (
        _named("content_block_delta", index=0, delta={"type": "text_delta", "text": FIRST}),
        _named("content_block_delta", index=0, delta={"type": "text_delta", "text": SECOND}),
    ),
    (
        _named("content_block_stop", index=0),
        _named("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 2}),
        _named("message_stop"),
    ),
    orjson.dumps(
        {
            **_MESSAGE,
            "content": [{"type": "text", "text": TEXT}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 5, "output_tokens": 2},
        }
    ),
    _data(_TOO_BUSY, "error"),
    orjson.dumps(_TOO_BUSY),
    "overloaded",
)


def _candidate(text: str, **more: object) -> dict[str, object]:
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r-1"}


_UNAVAILABLE = {"error": {"code": 503, "message": "too busy", "status": "UNAVAILABLE"}}
GEMINI = Spoken(
    "gemini",
    "gemini-gemini",
    SSE,
    (),
    (_data(_candidate(FIRST)), _data(_candidate(SECOND))),
    (_data(_candidate("", finishReason="STOP")),),
    orjson.dumps(_candidate(TEXT, finishReason="STOP")),
    _data(_UNAVAILABLE),
    orjson.dumps(_UNAVAILABLE),
    "unavailable",
)


def _frame(kind: str, **payload: object) -> bytes:
    return eventstream.event(kind, orjson.dumps(payload))


_TOKENS = {"inputTokens": 5, "outputTokens": 2, "totalTokens": 7}
BEDROCK = Spoken(
    "bedrock_converse",
    "bedrock-converse-bedrock",
    "application/vnd.amazon.eventstream",
    (_frame("messageStart", role="assistant"),),
    (
        _frame("contentBlockDelta", contentBlockIndex=0, delta={"text": FIRST}),
        _frame("contentBlockDelta", contentBlockIndex=0, delta={"text": SECOND}),
    ),
    (
        _frame("contentBlockStop", contentBlockIndex=0),
        _frame("messageStop", stopReason="end_turn"),
        _frame("metadata", usage=_TOKENS, metrics={"latencyMs": 1}),
    ),
    orjson.dumps(
        {
            "output": {"message": {"role": "assistant", "content": [{"text": TEXT}]}},
            "stopReason": "end_turn",
            "usage": _TOKENS,
            "metrics": {"latencyMs": 1},
        }
    ),
    eventstream.exception("throttlingException", b'{"message":"too busy"}'),
    b'{"__type":"ThrottlingException","message":"too busy"}',
    "rate_limited",
)

_COUNTS = {"billed_units": {"input_tokens": 5, "output_tokens": 2}, "tokens": {"input_tokens": 5, "output_tokens": 2}}
COHERE = Spoken(
    "cohere_chat",
    "cohere-chat-cohere",
    SSE,
    (
        _named(
            "message-start", id="c-1", delta={"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}
        ),
        _named("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}}),
    ),
    (
        _named("content-delta", index=0, delta={"message": {"content": {"text": FIRST}}}),
        _named("content-delta", index=0, delta={"message": {"content": {"text": SECOND}}}),
    ),
    (_named("content-end", index=0), _named("message-end", id="c-1", delta={"finish_reason": "COMPLETE", "usage": _COUNTS})),
    orjson.dumps(
        {
            "id": "c-1",
            "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": TEXT}]},
            "usage": _COUNTS,
        }
    ),
    _named("message-end", id="c-1", delta={"finish_reason": "ERROR", "error": "too busy"}),
    b'{"message":"too busy"}',
    "upstream",
)


def _line(text: str, **more: object) -> bytes:
    line = {"model": "m", "created_at": "2025-01-01T00:00:00Z", "message": {"role": "assistant", "content": text}, "done": False}
    return orjson.dumps(line | more) + b"\n"


_LAST = {"done": True, "done_reason": "stop", "total_duration": 9, "prompt_eval_count": 5, "eval_count": 2}
OLLAMA = Spoken(
    "ollama_chat",
    "ollama-chat-ollama",
    "application/x-ndjson",
    (),
    (_line(FIRST), _line(SECOND)),
    (_line("", **_LAST),),
    _line(TEXT, **_LAST),
    b'{"error":"too busy"}\n',
    b'{"error":"too busy"}',
    "upstream",
)

ALL = (OPENAI, RESPONSES, ANTHROPIC, GEMINI, BEDROCK, COHERE, OLLAMA)
