"""Streamed answers, provider side: Messages events to canonical ones.

The wire's order is `message_start`, then per block `content_block_start`, deltas, `content_block_stop`, then `message_delta` with the stop
reason and the cumulative counts, then `message_stop`; `ping` and `error` may come anywhere, and newer kinds must be passed over. Blocks are
numbered anew in the order in which they begin. Blocks of kinds that only this format knows are held until they are whole.
Source: https://platform.claude.com/docs/en/build-with-claude/streaming; recorded streams.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from extproc.core.errors import BadRequestError, UpstreamFormatError
from extproc.core.framing import SSEParser
from extproc.core.ir import (
    JSON,
    BlockDelta,
    BlockStart,
    BlockStop,
    End,
    Event,
    Finish,
    Foreign,
    MessageStart,
    Opaque,
    StreamError,
    Text,
    Thinking,
    ToolCall,
    UsageUpdate,
)
from extproc.core.losses import Losses
from extproc.core.observe import STRING, events
from extproc.dialects.anthropic_messages.blocks import decode_block
from extproc.dialects.anthropic_messages.errors import error_of
from extproc.dialects.anthropic_messages.finish import decode_finish
from extproc.dialects.anthropic_messages.usage import Counts
from extproc.dialects.anthropic_messages.wire import NAME, opaque

_GOES_ON = events(
    rb'"type": "content_block_delta", "index": \d+, "delta": \{"type": "(?:text_delta|input_json_delta|thinking_delta)", ',
    rb'"(?:text|partial_json|thinking)": %b\}' % STRING,
)
MAX_OPEN = 1024
"""Blocks that may be open at once. The format opens one; more than this is no answer but an attempt to fill memory."""


@dataclass(slots=True)
class _Open:
    """A block under way: its canonical number (-1: held back until whole), what it is, and what has been gathered of it."""

    index: int
    kind: str
    opaque: Opaque | None = None
    raw: JSON = None
    pieces: list[str] | None = None
    given: str = ""
    """Arguments that came whole with the start; they count if no delta follows."""


class MessagesDecoder:
    """A `StreamDecoder`. After an error it reads nothing more."""

    __slots__ = ("_counts", "_ended", "_next", "_open", "_parser", "_started", "losses")

    def __init__(self) -> None:
        self.losses = Losses()
        self._parser = SSEParser()
        self._open: dict[int, _Open] = {}
        self._next = 0
        self._counts = Counts()
        self._started = False
        self._ended = False

    def goes_on(self, data: bytes) -> bool:
        """Are `data` whole events that only go on with a text? Who watches need not read them, unless they belong to a block that is held."""
        return self._parser.idle and _GOES_ON.fullmatch(data) is not None and all(block.index >= 0 for block in self._open.values())

    def feed(self, data: bytes) -> list[Event]:
        return self._read(data)

    def close(self) -> list[Event]:
        return self._read(None)

    def _read(self, data: bytes | None) -> list[Event]:
        out: list[Event] = []
        if self._ended:
            return out
        try:
            for event in self._parser.close() if data is None else self._parser.feed(data):
                self._event(event.data, out)
                if self._ended:
                    break
        except UpstreamFormatError as error:
            self._fail(error, out)
        except BadRequestError as error:
            self._fail(UpstreamFormatError(f"the provider's stream holds a malformed block: {error.message}"), out)
        return out

    def _fail(self, error: UpstreamFormatError, out: list[Event]) -> None:
        self._ended = True
        out.append(StreamError(error))

    def _event(self, data: bytes, out: list[Event]) -> None:
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise UpstreamFormatError("the provider's stream holds an event that is not JSON") from None
        kind = event.get("type") if isinstance(event, dict) else None
        if kind == "content_block_delta":
            self._delta(event, out)
        elif kind == "content_block_start":
            self._start(event, out)
        elif kind == "content_block_stop":
            self._stop(_index(event), out)
        elif kind == "ping":
            return
        elif kind == "message_start":
            self._message(event.get("message"), out)
        elif kind == "message_delta":
            self._message_delta(event, out)
        elif kind == "message_stop":
            self._ended = True
            out.append(End())
        elif kind == "error" or (kind is None and isinstance(event, dict) and "error" in event):
            self._ended = True
            out.append(StreamError(error_of(event)))
        else:
            self.losses.add("dropped:event", str(kind)[:64])

    def _message(self, message: JSON, out: list[Event]) -> None:
        if not isinstance(message, dict):
            raise UpstreamFormatError("the provider's message_start holds no message")
        if not self._started:
            self._started = True
            out.append(MessageStart(str(message.get("id") or ""), str(message.get("model") or "")))
        self._usage(message.get("usage"), out)

    def _usage(self, counts: JSON, out: list[Event]) -> None:
        if isinstance(counts, dict):
            out.append(UsageUpdate(self._counts.update(counts)))

    def _message_delta(self, event: dict[str, JSON], out: list[Event]) -> None:
        self._usage(event.get("usage"), out)
        delta = event.get("delta")
        if not isinstance(delta, dict):
            return
        if delta.get("container") is not None:
            self.losses.add("dropped:container")
        word, stop_sequence = delta.get("stop_reason"), delta.get("stop_sequence")
        if isinstance(word, str):
            reason, detail = decode_finish(word, delta.get("stop_details"))
            out.append(Finish(reason, stop_sequence if isinstance(stop_sequence, str) else None, detail))

    def _begin(self, index: int, block: Text | Thinking | ToolCall, kind: str, out: list[Event]) -> _Open:
        if len(self._open) >= MAX_OPEN:
            raise UpstreamFormatError("the provider's stream opens too many blocks")
        under_way = self._open[index] = _Open(self._next, kind)
        out.append(BlockStart(self._next, block))
        self._next += 1
        return under_way

    def _start(self, event: dict[str, JSON], out: list[Event]) -> None:
        index, raw = _index(event), event.get("content_block")
        if not isinstance(raw, dict):
            raise UpstreamFormatError("the provider's content_block_start holds no block")
        self._stop(index, out)  # one that began anew without a stop
        block = decode_block(raw, "content", self.losses)
        if isinstance(block, Text):
            first, block.text = block.text, ""
            if block.citations:
                self.losses.add("dropped:citations", "streamed")
                block.citations = block.citations_from = None
            under_way = self._begin(index, block, "text", out)
        elif isinstance(block, Thinking) and not block.redacted:
            first, block.text = block.text, ""
            sealed, block.opaque = block.opaque, None
            under_way = self._begin(index, block, "thinking", out)
            under_way.opaque = sealed
        elif isinstance(block, ToolCall):
            given, block.arguments = block.arguments, ""
            first = ""
            under_way = self._begin(index, block, "tool_use", out)
            under_way.given = given
        elif isinstance(block, Thinking):
            first = ""
            self._begin(index, block, "redacted_thinking", out)
            return
        else:
            if len(self._open) >= MAX_OPEN:
                raise UpstreamFormatError("the provider's stream opens too many blocks")
            self._open[index] = _Open(-1, str(raw.get("type")), raw=raw, pieces=[])
            return
        if first:
            out.append(BlockDelta(under_way.index, first))

    def _delta(self, event: dict[str, JSON], out: list[Event]) -> None:
        delta = event.get("delta")
        if not isinstance(delta, dict):
            raise UpstreamFormatError("the provider's content_block_delta holds no delta")
        index, kind = _index(event), delta.get("type")
        under_way = self._open.get(index)
        if kind == "text_delta":
            text = delta.get("text")
            if under_way is None:
                under_way = self._begin(index, Text(""), "text", out)
        elif kind == "input_json_delta":
            text = delta.get("partial_json")
        elif kind == "thinking_delta":
            text = delta.get("thinking")
            if under_way is None:
                under_way = self._begin(index, Thinking(""), "thinking", out)
        elif kind == "signature_delta" and under_way is not None:
            under_way.opaque = opaque(delta.get("signature"))
            return
        elif kind == "citations_delta":
            self.losses.add("dropped:citations", "streamed")
            return
        else:
            self.losses.add("dropped:delta", str(kind)[:64])
            return
        if under_way is None or not isinstance(text, str):
            self.losses.add("dropped:delta", "a delta of no block")
        elif under_way.pieces is not None:
            under_way.pieces.append(text)
        elif text:
            under_way.given = ""
            out.append(BlockDelta(under_way.index, text))

    def _stop(self, index: int, out: list[Event]) -> None:
        under_way = self._open.pop(index, None)
        if under_way is None:
            return
        if under_way.index < 0:
            out.append(BlockStart(self._next, _whole(under_way)))
            out.append(BlockStop(self._next))
            self._next += 1
            return
        if under_way.given:
            out.append(BlockDelta(under_way.index, under_way.given))
        out.append(BlockStop(under_way.index, under_way.opaque))


def _whole(held: _Open) -> Foreign:
    """A held block with the input that its deltas spelled out."""
    raw = held.raw
    if held.pieces and any(held.pieces):
        try:
            raw = {**raw, "input": orjson.loads("".join(held.pieces))}
        except orjson.JSONDecodeError:
            raise UpstreamFormatError(f"the input of the provider's {held.kind[:64]} block is not JSON") from None
    return Foreign(NAME, held.kind, raw)


def _index(event: dict[str, JSON]) -> int:
    index = event.get("index")
    if not isinstance(index, int):
        raise UpstreamFormatError("an event of the provider's stream lacks its index")
    return index
