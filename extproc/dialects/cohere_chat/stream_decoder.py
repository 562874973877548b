"""Streamed answers, provider side: v2 events to canonical ones.

The wire's order is `message-start`; then `content-start`, deltas and `content-end` for each thought and text; `tool-plan-delta`s, which have no
start and no end; `tool-call-start`, deltas and `tool-call-end` for each call; `message-end` with the reason and the counts; `[DONE]`. Citations
come between the deltas of the text that they are about. An answer that failed says so in `message-end`.
Source: https://docs.cohere.com/v2/docs/streaming, the SDK's `V2ChatStreamResponse`; recorded streams.
"""

from __future__ import annotations

from typing import Any

import orjson

from extproc.core.errors import UpstreamFormatError
from extproc.core.framing import SSEParser
from extproc.core.ir import JSON, BlockDelta, BlockStart, BlockStop, End, Event, Finish, MessageStart, StreamError, Text, Thinking, UsageUpdate
from extproc.core.losses import Losses
from extproc.core.observe import STRING, events
from extproc.dialects.cohere_chat.errors import error_of
from extproc.dialects.cohere_chat.response import tool_call
from extproc.dialects.cohere_chat.usage import decode_finish, decode_usage, failure

_GOES_ON = events(
    rb'"type": "(?:content|tool-call|tool-plan)-delta"(?:, "index": \d+)?, "delta": \{"message": \{"(?:content|tool_calls|tool_plan)": ',
    rb'(?:%b|\{"(?:text|thinking)": %b\}|\{"function": \{"arguments": %b\}\})\}\}' % (STRING, STRING, STRING),
)
MAX_OPEN = 1024
"""Blocks that may be open at once. The format opens one; more than this is no answer but an attempt to fill memory."""

_PLAN = ("plan", 0)
_SILENT = frozenset({"debug", "citation-end"})
_Key = tuple[str, int]


class CohereStreamDecoder:
    """A `StreamDecoder`. After an error or the end it reads nothing more."""

    __slots__ = ("_called", "_ended", "_finished", "_next", "_open", "_parser", "_started", "losses")

    def __init__(self) -> None:
        self.losses = Losses()
        self._parser = SSEParser()
        self._open: dict[_Key, int] = {}
        """The canonical number of each open block, by the wire's own; contents and calls are numbered apart."""
        self._next = 0
        self._started = self._called = self._finished = self._ended = False

    def goes_on(self, data: bytes) -> bool:
        """Are `data` whole events that only go on with a text? Who watches need not read them."""
        return self._parser.idle and _GOES_ON.fullmatch(data) is not None

    def feed(self, data: bytes) -> list[Event]:
        return self._read(data)

    def close(self) -> list[Event]:
        out = self._read(None)
        if self._finished and not self._ended:
            self._ended = True
            out.append(End())
        return out

    def _read(self, data: bytes | None) -> list[Event]:
        out: list[Event] = []
        if self._ended:
            return out
        try:
            for event in self._parser.close() if data is None else self._parser.feed(data):
                self._event(event.data, out, last=data is None)
                if self._ended:
                    break
        except UpstreamFormatError as error:
            self._ended = True
            out.append(StreamError(error))
        return out

    def _event(self, data: bytes, out: list[Event], *, last: bool) -> None:
        if not data:
            return
        if data.startswith(b"[DONE]"):
            self._ended = True
            out.append(End())
            return
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            # the last event of a body that was cut is no event
            if last:
                return
            raise UpstreamFormatError("the provider's stream holds an event that is not JSON") from None
        kind = event.get("type") if isinstance(event, dict) else None
        if not isinstance(kind, str):
            self._ended = True
            out.append(StreamError(error_of(event)))
            return
        match kind:
            case "content-delta":
                self._content(event, out)
            case "tool-call-delta":
                self._delta(("call", _index(event)), _inside(event, "tool_calls", "function").get("arguments"), out)
            case "tool-plan-delta":
                self._plan(event, out)
            case "content-start":
                self._content_start(event, out)
            case "tool-call-start":
                self._call(event, out)
            case "content-end":
                self._stop(("content", _index(event)), out)
            case "tool-call-end":
                self._stop(("call", _index(event)), out)
            case "citation-start":
                self.losses.add("dropped:citations", "streamed")
            case "message-start":
                self._start(event, out)
            case "message-end":
                self._message_end(event, out)
            case _ if kind not in _SILENT:
                self.losses.add("dropped:event", kind[:64])

    def _start(self, event: dict[str, JSON], out: list[Event]) -> None:
        if not self._started:
            self._started = True
            out.append(MessageStart(str(event.get("id") or ""), ""))

    def _begin(self, key: _Key, block: Any, out: list[Event]) -> int:
        self._stop(_PLAN, out)
        self._stop(key, out)  # one that began anew without an end
        if len(self._open) >= MAX_OPEN:
            raise UpstreamFormatError("the provider's stream opens too many blocks")
        index = self._open[key] = self._next
        self._next += 1
        out.append(BlockStart(index, block))
        return index

    def _content_start(self, event: dict[str, JSON], out: list[Event]) -> None:
        content = _inside(event, "content")
        thinks = content.get("type") == "thinking" or (content.get("type") is None and "thinking" in content)
        index = self._begin(("content", _index(event)), Thinking("") if thinks else Text(""), out)
        first = content.get("thinking" if thinks else "text")
        if isinstance(first, str) and first:
            out.append(BlockDelta(index, first))

    def _content(self, event: dict[str, JSON], out: list[Event]) -> None:
        content = _inside(event, "content")
        if event.get("logprobs"):
            self.losses.add("dropped:logprobs")
        thought = content.get("thinking")
        text = thought if isinstance(thought, str) and thought else content.get("text")
        key = ("content", _index(event))
        if key not in self._open and isinstance(text, str) and text:
            self._begin(key, Thinking("") if text is thought else Text(""), out)
        self._delta(key, text, out)

    def _plan(self, event: dict[str, JSON], out: list[Event]) -> None:
        text = _inside(event).get("tool_plan")
        if isinstance(text, str) and text:
            if _PLAN not in self._open:
                self._begin(_PLAN, Text(""), out)
            self._delta(_PLAN, text, out)

    def _call(self, event: dict[str, JSON], out: list[Event]) -> None:
        raw = _inside(event).get("tool_calls")
        call = tool_call(raw[0] if isinstance(raw, list) and raw else raw)
        first, call.arguments = call.arguments, ""
        self._called = True
        index = self._begin(("call", _index(event)), call, out)
        if first:
            out.append(BlockDelta(index, first))

    def _delta(self, key: _Key, text: JSON, out: list[Event]) -> None:
        index = self._open.get(key)
        if not isinstance(text, str) or not text:
            return
        if index is None:
            self.losses.add("dropped:delta", "a delta of no block")
        else:
            out.append(BlockDelta(index, text))

    def _stop(self, key: _Key, out: list[Event]) -> None:
        index = self._open.pop(key, None)
        if index is not None:
            out.append(BlockStop(index))

    def _message_end(self, event: dict[str, JSON], out: list[Event]) -> None:
        delta = event.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        for key in list(self._open):
            self._stop(key, out)
        if isinstance(delta.get("usage"), dict):
            out.append(UsageUpdate(decode_usage(delta["usage"])))
        word = delta.get("finish_reason")
        failed = failure(word, delta.get("error"))
        if failed is None and delta.get("error"):
            failed = error_of(delta)
        if failed is not None:
            self._ended = True
            out.append(StreamError(failed))
        elif word and not self._finished:
            self._finished = True
            reason, detail = decode_finish(word, called=self._called)
            out.append(Finish(reason, detail=detail))


def _index(event: dict[str, JSON]) -> int:
    index = event.get("index", 0)
    if not isinstance(index, int):
        raise UpstreamFormatError("an event of the provider's stream has an index that is no number")
    return index


def _inside(event: dict[str, JSON], *names: str) -> dict[str, JSON]:
    """The object at `delta.message.<names>`, {} where there is none."""
    value: JSON = event
    for name in ("delta", "message", *names):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}
