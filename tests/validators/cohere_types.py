"""The v2 types of the cohere SDK as strict validators of the requests, answers and stream events that we write.

The SDK has no type for a whole request body, so it is made of the parameters of its `chat` and `rerank`. Its open enums (`Literal[...] | Any`) are
closed here, and what only the API reference says is checked in code: ranges, names, and what cannot stand together.
Sources: https://docs.cohere.com/v2/reference/chat, https://docs.cohere.com/reference/errors.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cache
from typing import Any, get_type_hints

import orjson
from cohere.raw_base_client import RawBaseCohere
from cohere.types.rerank_response import RerankResponse
from cohere.v2.raw_client import RawV2Client
from cohere.v2.types.v2chat_response import V2ChatResponse
from cohere.v2.types.v2chat_stream_response import V2ChatStreamResponse
from cohere.v2.types.v2rerank_response import V2RerankResponse
from pydantic import ConfigDict, TypeAdapter, create_model
from pydantic_core import SchemaValidator

from tests.validators.typed import strict_schema

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RANGES = {
    "temperature": (0, 1),
    "p": (0.01, 0.99),
    "k": (0, 500),
    "frequency_penalty": (0, 1),
    "presence_penalty": (0, 1),
    "seed": (0, (1 << 64) - 1),
    "priority": (0, 999),
    "max_tokens": (0, float("inf")),
}


def _closed(node: Any) -> Any:
    """A copy of a core schema without the open ends of enums."""
    if isinstance(node, list | tuple):
        return type(node)(_closed(item) for item in node)
    if not isinstance(node, dict):
        return node
    copy = {key: value if key in {"cls", "metadata", "expected", "default", "config"} else _closed(value) for key, value in node.items()}
    if copy.get("type") == "union":
        plain = [choice[0] if isinstance(choice, tuple) else choice for choice in copy["choices"]]
        if any(choice.get("type") == "literal" for choice in plain):
            copy["choices"] = [choice for choice in copy["choices"] if choice != {"type": "any"}]
    return copy


def _validator(root: Any) -> Callable[[bytes], None]:
    # of a model alone pydantic may give a schema that is not built yet
    schema = _closed(strict_schema(TypeAdapter(list[root]).core_schema))
    validator = SchemaValidator(schema, _use_prebuilt=False)

    def check(body: bytes) -> None:
        validator.validate_json(b"[%b]" % body, strict=True)

    return check


def _body(method: Any, name: str, required: set[str]) -> Any:
    """The body of a request: the parameters of the SDK's method for it, and `stream`."""
    hints = get_type_hints(method)
    fields: dict[str, Any] = {"stream": (bool, False)}
    for parameter in inspect.signature(method).parameters:
        if parameter not in ("self", "request_options"):
            fields[parameter] = (hints[parameter], ... if parameter in required else None)
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


@cache
def _chat() -> Callable[[bytes], None]:
    return _validator(_body(RawV2Client.chat, "ChatRequest", {"model", "messages"}))


@cache
def _rerank(first: bool) -> Callable[[bytes], None]:
    method = RawBaseCohere.rerank if first else RawV2Client.rerank
    return _validator(_body(method, "RerankRequest", {"query", "documents"}))


@cache
def _answer(kind: Any) -> Callable[[bytes], None]:
    return _validator(kind)


def check_chat_request(raw: bytes) -> None:
    """Raises `pydantic_core.ValidationError` or `AssertionError` for a body that Cohere refuses."""
    _chat()(raw)
    body = orjson.loads(raw)
    for name, (least, most) in _RANGES.items():
        assert least <= body.get(name, least) <= most, (name, body[name])
    assert not (body.get("frequency_penalty") and body.get("presence_penalty"))
    assert len(body.get("stop_sequences", ())) <= 5
    assert all(body.get("stop_sequences", ("x",)))
    tools = [tool["function"] for tool in body.get("tools", ("x",) if "tools" in body else ())]
    assert all(_NAME.fullmatch(tool["name"]) and tool["parameters"]["type"] == "object" for tool in tools), tools
    assert tools or not body.keys() & {"tools", "tool_choice", "strict_tools"}
    assert not body.get("strict_tools") or all(tool["parameters"].get("required") for tool in tools)
    output = body.get("response_format", {})
    assert not output or not (body.keys() & {"tools", "documents"})
    assert "json_schema" not in output or (output["type"] == "json_object" and output["json_schema"]["type"] == "object")
    assert body.get("thinking", {}).get("token_budget", 1) >= 1
    check_messages(body["messages"])


def check_messages(messages: list[dict[str, Any]]) -> None:
    """Every tool call has its result behind it, no id is used twice, no message is empty."""
    used: set[str] = set()
    waiting: set[str] = set()
    assert any(message["role"] != "system" for message in messages)
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] in waiting, "tool call id not found in previous tool calls"
            waiting.remove(message["tool_call_id"])
            continue
        assert not waiting, f"no results of {waiting}"
        content = message.get("content")
        texts = [content] if isinstance(content, str) else [p.get("text", "x") for p in content or ()]
        assert all(text.strip() for text in texts), "message must not be empty in a turn"
        assert texts or message.get("tool_calls")
        for call in message.get("tool_calls", ()):
            assert call["id"] not in used, "cannot have duplicate tool ids"
            assert _NAME.fullmatch(call["function"]["name"])
            used.add(call["id"])
            waiting.add(call["id"])
    assert not waiting, f"no results of {waiting}"


def check_rerank_request(raw: bytes, *, first: bool) -> None:
    """Of the first version or of the second. Raises as `check_chat_request` does."""
    _rerank(first)(raw)
    body = orjson.loads(raw)
    assert body["documents"]
    assert body.get("top_n", 1) >= 1


_NEWER = frozenset({"reasoning_tokens", "image_tokens"})
"""Counts that recorded answers have and the SDK's types have not."""


def _without_newer(answer: dict[str, Any]) -> bytes:
    tokens = (answer.get("usage") or {}).get("tokens")
    if tokens:
        answer = {**answer, "usage": {**answer["usage"], "tokens": {k: v for k, v in tokens.items() if k not in _NEWER}}}
    return orjson.dumps(answer)


def check_chat_answer(body: bytes) -> None:
    """Raises `pydantic_core.ValidationError` or `AssertionError` for an answer that the SDK's types do not allow."""
    answer = orjson.loads(body)
    _answer(V2ChatResponse)(_without_newer(answer))
    assert answer["message"]["role"] == "assistant"
    assert (answer["finish_reason"] == "TOOL_CALL") <= bool(answer["message"].get("tool_calls"))


def check_event(data: bytes) -> None:
    """Raises `pydantic_core.ValidationError` for a stream event that the SDK's types do not allow."""
    event = orjson.loads(data)
    if event["type"] == "message-end":
        event["delta"] = orjson.loads(_without_newer(event["delta"]))
    _answer(V2ChatStreamResponse)(orjson.dumps(event))


def check_rerank_answer(body: bytes, *, first: bool) -> None:
    """Of the first version, less what clients of other vendors read on its path, or of the second. Raises `pydantic_core.ValidationError`."""
    answer = orjson.loads(body)
    if first:
        answer = {name: value for name, value in answer.items() if name not in ("model", "usage")}
    _answer(RerankResponse if first else V2RerankResponse)(orjson.dumps(answer))
