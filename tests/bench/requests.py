"""What the benchmarks send: Chat Completions requests of a given model and size."""

from __future__ import annotations

from typing import Any

import orjson

_SYSTEM = "You are a careful assistant of a travel agency. Answer briefly, name your sources, and never invent a train that does not run. "
_TURN = "Which connections are there from Basel to Turin on a Sunday morning, and how long is the change in Milan? "


def chat(model: str, *, stream: bool = False, usage: bool = True) -> bytes:
    """About 1 KB: a system prompt, three turns, one tool."""
    body: dict[str, Any] = {
        "model": model,
        "temperature": 0.2,
        "max_tokens": 400,
        "messages": [
            {"role": "system", "content": _SYSTEM * 2},
            {"role": "user", "content": _TURN},
            {"role": "assistant", "content": "There is one at 6:31 with a change of 22 minutes."},
            {"role": "user", "content": "And on Monday?"},
        ],
    }
    if stream:
        body |= {"stream": True, **({"stream_options": {"include_usage": True}} if usage else {})}
    return orjson.dumps(body)


def image(model: str, size: int) -> bytes:
    """`size` bytes, nearly all of them one base64 image."""
    # 'iVBORw0KGgo' is the signature of a PNG file; what follows is no picture, and nobody here looks
    data = "iVBORw0KGgo" + "QUJD" * ((size - 300) // 4)
    data = data[: len(data) // 4 * 4]
    parts = [{"type": "text", "text": "What is in this picture?"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}]
    return orjson.dumps({"model": model, "max_tokens": 400, "messages": [{"role": "user", "content": parts}]})


def messages(model: str, size: int) -> bytes:
    """`size` bytes of short turns, some 110 bytes each."""
    turns = [{"role": "user" if n % 2 == 0 else "assistant", "content": f"{n}. {_TURN[:70]}"} for n in range(max(1, size // 115) | 1)]
    return orjson.dumps({"model": model, "max_tokens": 400, "messages": turns})


def session(model: str, turns: int, size: int = 2000) -> bytes:
    """An agent at work: `turns` turns of about `size` bytes each. It calls a tool, reads the result, and now and then its user speaks."""
    schema = {"type": "object", "properties": {"path": {"type": "string"}, "from": {"type": "integer"}}, "required": ["path"]}
    tools = [{"type": "function", "function": {"name": n, "description": _TURN, "parameters": schema}} for n in ("read", "search", "write", "run")]
    told = (_SYSTEM * (size // len(_SYSTEM) + 1))[:size]
    # code and its like hold quotes, line ends and what is not ASCII
    result = ("    return [\"größer\", {'a': 1}]\n" * (size // 30 + 1))[:size]
    history: list[dict[str, Any]] = [{"role": "system", "content": told}, {"role": "user", "content": told}]
    for n in range((turns - 2) // 2):
        if n % 10 == 9:
            history += [{"role": "assistant", "content": told}, {"role": "user", "content": told}]
            continue
        arguments = orjson.dumps({"path": f"src/module_{n}.py", "text": told[: size - 300]}).decode()
        call = {"id": f"call_{n:04}QmJ7xWcRt2LpVz8KdNsY", "type": "function", "function": {"name": "write", "arguments": arguments}}
        history += [{"role": "assistant", "content": _TURN, "tool_calls": [call]}, {"role": "tool", "tool_call_id": call["id"], "content": result}]
    return orjson.dumps({"model": model, "max_tokens": 400, "messages": history, "tools": tools})


SHAPES = {"one image": image, "many messages": messages}
