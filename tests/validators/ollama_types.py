"""Ollama's Python SDK as the judge: what Ollama gets, and what its clients get. Its types forbid nothing, so unknown members are looked for here."""

from __future__ import annotations

import base64
from typing import Any

import orjson
from ollama import ChatResponse, GenerateResponse
from ollama._types import ChatRequest, Message, Options
from pydantic import BaseModel

_NEWER = {"Message.ToolCall": {"id"}, "ChatRequest": {"think", "logprobs", "top_logprobs"}}
"""Members that the API documents and this SDK's model does not list there."""


def _known(value: Any, model: type[BaseModel], where: str) -> None:
    names = set(model.model_fields) | _NEWER.get(model.__qualname__, set())
    assert set(value) <= names, f"{where}: {set(value) - names}"


def check_chat_request(body: bytes) -> None:
    """Raises pydantic's `ValidationError`, `AssertionError`."""
    raw = orjson.loads(body)
    ChatRequest.model_validate(raw)
    _known(raw, ChatRequest, "")
    assert isinstance(raw["stream"], bool)
    for message in raw["messages"]:
        _known(message, Message, "messages[]")
        Message.model_validate({name: value for name, value in message.items() if name != "images"})
        for image in message.get("images") or ():
            assert base64.b64decode(image, validate=True)
        assert message["role"] in {"system", "user", "assistant", "tool"}
        assert isinstance(message["content"], str)
        for call in message.get("tool_calls") or ():
            _known(call, Message.ToolCall, "tool_calls[]")
            assert isinstance(call["function"]["arguments"], dict)
    for tool in raw.get("tools") or ():
        assert tool["type"] == "function"
        assert set(tool["function"]) <= {"name", "description", "parameters"}
    _known(raw.get("options") or {}, Options, "options")


def check_chat_answer(body: bytes) -> None:
    """A whole answer of `/api/chat`."""
    raw = orjson.loads(body)
    answer = ChatResponse.model_validate(raw)
    assert answer.done
    assert answer.done_reason in {"stop", "length"}
    assert answer.message.role == "assistant"
    assert answer.created_at
    _known(raw, ChatResponse, "")


def check_generate_answer(body: bytes) -> None:
    """A whole answer of `/api/generate`."""
    raw = orjson.loads(body)
    assert GenerateResponse.model_validate(raw).done
    _known(raw, GenerateResponse, "")


def check_chat_stream(raw: bytes) -> dict[str, Any] | None:
    """The whole answer that the lines add up to, None for a stream that ends in an error."""
    lines = [orjson.loads(line) for line in raw.split(b"\n") if line]
    if "error" in lines[-1]:
        assert lines[-1]["error"]
        return None
    said: dict[str, Any] = {"role": "assistant", "content": "", "thinking": "", "tool_calls": []}
    for line in lines:
        part = ChatResponse.model_validate(line)
        assert part.done is (line is lines[-1])
        said["content"] += part.message.content or ""
        said["thinking"] += part.message.thinking or ""
        said["tool_calls"] += line["message"].get("tool_calls") or []
    return lines[-1] | {"message": {name: value for name, value in said.items() if value or name == "content"}}
