"""Puts streamed tool calls together for clients of Mistral's SDK, on a stream that otherwise passes as it comes.

Mistral sends a call in one piece; its SDK refuses a piece that has no name, which is how everybody else goes on. So the pieces of calls are kept,
and the next chunk that holds none, or the one that says why the answer ended, has them in front of it in one chunk.
"""

from __future__ import annotations

from typing import Any

import orjson

from extproc.core.errors import UpstreamFormatError
from extproc.core.framing import SSE, SSEParser, sse

_MOST = 4 << 20
"""Characters of arguments that are kept; beyond it the calls pass as they come."""


class WholeCalls:
    """Bytes of a stream in, bytes for the client out. Chunks without calls are written again as they were, event by event."""

    __slots__ = ("_calls", "_head", "_parser", "_size")

    def __init__(self) -> None:
        self._parser = SSEParser()
        self._calls: dict[int, dict[str, Any]] = {}
        self._head: dict[str, Any] = {}
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        try:
            events = self._parser.feed(data)
        except UpstreamFormatError:
            # said by the observer's decoder too, which ends the stream
            return b""
        return b"".join(map(self._event, events))

    def close(self) -> bytes:
        return b"".join(map(self._event, self._parser.close())) + self._told()

    def _event(self, event: SSE) -> bytes:
        raw = sse(event.data, event.event)
        if b'"tool_calls"' not in event.data and not self._calls:
            return raw
        try:
            chunk = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            return self._told() + raw
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        choice = choices[0] if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict) else {}
        delta = choice.get("delta")
        pieces = delta.get("tool_calls") if isinstance(delta, dict) else None
        if not isinstance(pieces, list) or not pieces or self._size > _MOST:
            return self._told() + raw
        whole = all(isinstance(p, dict) and isinstance(p.get("function"), dict) and p["function"].get("name") for p in pieces)
        if whole and choice.get("finish_reason") and not self._calls:
            return raw
        self._keep(chunk, pieces)
        assert isinstance(delta, dict)
        rest = {name: value for name, value in delta.items() if name != "tool_calls"}
        if not choice.get("finish_reason") and not any(rest.get(name) for name in ("content", "reasoning_content", "reasoning")):
            return b""
        choice["delta"] = rest
        return self._told() + sse(orjson.dumps(chunk), event.event)

    def _keep(self, chunk: dict[str, Any], pieces: list[Any]) -> None:
        self._head = self._head or {name: value for name, value in chunk.items() if name not in ("choices", "usage")}
        for place, piece in enumerate(pieces):
            if not isinstance(piece, dict):
                continue
            index = piece.get("index")
            call = self._calls.setdefault(index if isinstance(index, int) else place, {"type": "function", "function": {"name": "", "arguments": ""}})
            if piece.get("id"):
                call["id"] = piece["id"]
            function = piece.get("function")
            for name in ("name", "arguments"):
                said = function.get(name) if isinstance(function, dict) else None
                if isinstance(said, str):
                    call["function"][name] += said
                    self._size += len(said)

    def _told(self) -> bytes:
        if not self._calls:
            return b""
        calls = [{"index": index, **call} for index, call in sorted(self._calls.items()) if call["function"]["name"]]
        self._calls = {}
        choice = {"index": 0, "delta": {"tool_calls": calls}, "finish_reason": None}
        return sse(orjson.dumps(self._head | {"choices": [choice]})) if calls else b""
