"""A request or an answer pushed through the seam between two dialects, for tests that look at one point each."""

from __future__ import annotations

import json
from typing import Any

import orjson

from extproc.core.dialect import Ask, Reply
from extproc.core.operation import Operation
from extproc.dialects.catalog import DIALECTS
from extproc.stages import pipes, upstream
from tests.golden.matrix import TARGETS
from tests.validators.requests import REQUESTS

CHAT, ANTHROPIC, GEMINI = (DIALECTS[name] for name in ("openai_chat", "anthropic_messages", "gemini"))
REPLY = Reply("id", 1, "shown")
USER = {"role": "user", "content": "q"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
A_TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {}}}


def send(client: str, to: str, *messages: Any, **members: Any) -> tuple[dict[str, Any], set[str]]:
    """(what the target `to` gets, the codes of the losses) for a request of `client`; strictly valid for another dialect."""
    body = {"model": "m", "messages": list(messages) or [USER], **({"max_tokens": 9000} if client == "anthropic_messages" else {}), **members}
    target = TARGETS[to]
    via = target.upstream(Operation.CHAT, client)
    assert via is not None
    dialect = via.dialect
    raw = json.dumps(body).encode()
    built = upstream.encode(
        raw, orjson.loads(raw), DIALECTS[client], DIALECTS[dialect], target.facts, Ask(body["model"], stream=body.get("stream") is True)
    )
    if client != dialect:
        REQUESTS[dialect](built.body)
    return orjson.loads(built.body), {loss.code for loss in built.losses}


def answer(source: str, client: str, body: dict[str, Any]) -> dict[str, Any]:
    return orjson.loads(pipes.translate_whole(orjson.dumps(body), DIALECTS[client], DIALECTS[source], REPLY, stream=False)[0])  # type: ignore[no-any-return]


def streamed(source: str, client: str, raw: bytes, *, size: int = 0) -> bytes:
    pipe = pipes.TranslatedStream(DIALECTS[client], DIALECTS[source], REPLY)
    size = size or len(raw)
    return b"".join(pipe.feed(raw[i : i + size], end=i + size >= len(raw)) for i in range(0, len(raw), size))


def chat(message: dict[str, Any], finish: str = "stop", **members: Any) -> dict[str, Any]:
    return {"id": "c1", "created": 1, "model": "x", "choices": [{"index": 0, "message": message, "finish_reason": finish}], **members}


def messages(*content: Any, stop: str = "end_turn", **members: Any) -> dict[str, Any]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    return {"id": "m1", "type": "message", "role": "assistant", "model": "x", "content": content, "stop_reason": stop, "usage": usage, **members}


def gemini(*parts: Any, finish: str = "STOP", **members: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish}], "responseId": "r1", **members}


def sse(*chunks: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % (c if isinstance(c, bytes) else orjson.dumps(c)) for c in chunks)


def call(call_id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": arguments}}


def loop(*ids: str, arguments: str = "{}", result: Any = "ok") -> list[dict[str, Any]]:
    calls = [call(i, arguments) for i in ids]
    return [USER, {"role": "assistant", "content": None, "tool_calls": calls}, *({"role": "tool", "tool_call_id": i, "content": result} for i in ids)]


def a_loop(*results: dict[str, Any], **block: Any) -> list[dict[str, Any]]:
    uses = [{"type": "tool_use", "id": r["tool_use_id"], "name": "f", "input": {}} | block for r in results]
    return [USER, {"role": "assistant", "content": uses}, {"role": "user", "content": [{"type": "tool_result", **r} for r in results]}]
