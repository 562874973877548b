"""Streamed answers, client side: canonical events to the messages of an event stream.

The format has one block open at a time, other formats several (parallel tool calls). So a block that begins while another is open waits in a
queue with its deltas and is written when its turn comes. Text gives way at once instead, since it may go on in a block of its own later.

A call's signature rides in its id, which goes first, but may be known only at the call's end: so a call is held back until its second piece of
arguments. `messageStop` and `metadata` are written on a clean end behind a finish, and on nothing else: a stream that was cut has to look cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from extproc.core.dialect import Reply
from extproc.core.eventstream import event as framed
from extproc.core.ir import (
    JSON,
    Block,
    BlockDelta,
    BlockStart,
    BlockStop,
    End,
    Event,
    Finish,
    Foreign,
    Opaque,
    Refusal,
    StreamError,
    Text,
    Thinking,
    ToolCall,
    UsageUpdate,
)
from extproc.core.losses import Losses
from extproc.core.raw_json import printable
from extproc.core.usage import Usage
from extproc.dialects.bedrock_converse.errors import encode_stream_error
from extproc.dialects.bedrock_converse.finish import encode_finish
from extproc.dialects.bedrock_converse.response import encode_block, lost_detail, tool_use
from extproc.dialects.bedrock_converse.turns import reasoning_content
from extproc.dialects.bedrock_converse.usage import encode_usage
from extproc.dialects.bedrock_converse.wire import VENDOR

_TEXT = b'{"contentBlockIndex":%d,"delta":{"text":%b}}'
_REASONING = b'{"contentBlockIndex":%d,"delta":{"reasoningContent":{"text":%b}}}'
_INPUT = b'{"contentBlockIndex":%d,"delta":{"toolUse":{"input":%b}}}'
_DELTA = "contentBlockDelta"


@dataclass(slots=True)
class _Waiting:
    """A block behind the open one: what it is and what came of it so far."""

    block: Block
    pieces: list[str] = field(default_factory=list)
    stopped: bool = False
    opaque: Opaque | None = None


def _quoted(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except TypeError:
        return orjson.dumps(printable(text))


class ConverseEncoder:
    """A `StreamEncoder`. After an error or an end it writes nothing more."""

    __slots__ = (
        *("_block", "_done", "_finish", "_gave_way", "_held", "_index", "_open", "_queue", "_refused", "_started", "_tools", "_usage", "_written"),
        "losses",
    )

    def __init__(self, reply: Reply) -> None:  # noqa: ARG002 - the format has no place for id, time and model
        self.losses = Losses()
        self._started = self._done = self._refused = self._tools = False
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._index = 0
        """The wire's number of the open block, or of the next one."""
        self._open: int | None = None
        """The canonical number of the open block, and `_block` what it is."""
        self._block: Block | None = None
        self._written = False
        """Is anything of the open block written?"""
        self._held: list[str] = []
        """Arguments of an open call whose start is not written."""
        self._queue: dict[int, _Waiting] = {}
        self._gave_way: dict[int, Block] = {}
        """Text that was closed for another block's sake, and how it goes on if more of it comes."""

    def encode(self, event: Event) -> bytes:
        if self._done:
            return b""
        out: list[bytes] = []
        if isinstance(event, BlockDelta):
            self._delta(event.index, event.text, out)
        elif isinstance(event, BlockStart):
            self._start(event.index, event.block, out)
        elif isinstance(event, BlockStop):
            self._stop(event.index, event.opaque, out)
        elif isinstance(event, UsageUpdate):
            self._usage = event.usage
        elif isinstance(event, Finish):
            self._finish = event
        elif isinstance(event, StreamError):
            self._done = True
            out.append(encode_stream_error(event.error))
        elif isinstance(event, End):
            self._end(out)
        else:
            self._message_start(out)
        return b"".join(out)

    def _message_start(self, out: list[bytes]) -> None:
        if not self._started:
            self._started = True
            out.append(framed("messageStart", b'{"role":"assistant"}'))

    def _start(self, index: int, block: Block, out: list[bytes]) -> None:
        if index == self._open or index in self._queue:
            self._stop(index, None, out)
        self._give_way(out)
        if self._open is None:
            self._begin(index, block, out)
        else:
            self._queue[index] = _Waiting(block)

    def _give_way(self, out: list[bytes]) -> None:
        """Closes open text for the sake of a block behind it."""
        if self._open is not None and isinstance(self._block, Text | Refusal):
            self._gave_way[self._open] = type(self._block)("")
            self._close(None, out)

    def _begin(self, index: int, block: Block, out: list[bytes]) -> None:
        self._message_start(out)
        self._open, self._block, self._written = index, block, False
        if isinstance(block, ToolCall):
            self._tools = True
            self._held = [block.arguments] if block.arguments else []
            if block.opaque is not None:
                self._tell(block, block.opaque, out)
        elif isinstance(block, Text | Refusal) or (isinstance(block, Thinking) and not block.redacted):
            if isinstance(block, Refusal) and not self._refused:
                self._refused = True
                self.losses.add("coerced:refusal", "the refusal became text and the stop reason")
            if isinstance(block, Text) and block.opaque is not None:
                self.losses.add("dropped:signature", "text has no slot for a signature")
            if block.text:
                self._piece(block.text, out)
        else:
            self._whole(block, out)

    def _whole(self, block: Block, out: list[bytes]) -> None:
        """A block that comes at once: hidden reasoning, an image, what only AWS knows."""
        encoded: JSON = encode_block(block, self.losses)
        kind = next(iter(encoded), "") if isinstance(encoded, dict) else ""
        inner: JSON = encoded[kind] if kind and isinstance(encoded[kind], dict) else {}
        if kind == "reasoningContent":
            self._write(_DELTA, {"delta": {"reasoningContent": inner}}, out)
        elif kind == "image":
            self._write("contentBlockStart", {"start": {"image": {"format": inner.get("format")}}}, out)
            self._write(_DELTA, {"delta": {"image": {"source": inner.get("source")}}}, out)
        elif kind == "toolUse":
            head = {name: value for name, value in inner.items() if name != "input"}
            self._write("contentBlockStart", {"start": {"toolUse": head}}, out)
            self._write(_DELTA, {"delta": {"toolUse": {"input": orjson.dumps(inner.get("input", {})).decode()}}}, out)
        elif kind == "toolResult":
            head = {name: value for name, value in inner.items() if name != "content"}
            self._write("contentBlockStart", {"start": {"toolResult": head}}, out)
            self._write(_DELTA, {"delta": {"toolResult": inner.get("content", [])}}, out)
        elif isinstance(block, Foreign) and kind:
            self.losses.add("dropped:foreign_block", f"{block.kind[:64]}, streamed")

    def _write(self, kind: str, members: dict[str, JSON], out: list[bytes]) -> None:
        self._written = True
        out.append(framed(kind, orjson.dumps({"contentBlockIndex": self._index, **members})))

    def _tell(self, call: ToolCall, sealed: Opaque | None, out: list[bytes]) -> None:
        """The start of the open call, and the pieces that were held back for it."""
        named = ToolCall(call.id, call.name, opaque=sealed)
        self._write("contentBlockStart", {"start": {"toolUse": tool_use(named, self.losses)}}, out)
        out += [framed(_DELTA, _INPUT % (self._index, _quoted(text))) for text in self._held]
        self._held = []

    def _piece(self, text: str, out: list[bytes]) -> None:
        """More of the open block."""
        block = self._block
        if isinstance(block, ToolCall):
            if not self._written:
                self._held.append(text)
                if len(self._held) > 1:
                    self._tell(block, None, out)
                return
            template = _INPUT
        else:
            template = _REASONING if isinstance(block, Thinking) else _TEXT
        self._written = True
        out.append(framed(_DELTA, template % (self._index, _quoted(text))))

    def _delta(self, index: int, text: str, out: list[bytes]) -> None:
        if not text:
            return
        if index == self._open:
            self._piece(text, out)
            return
        waiting = self._queue.get(index)
        if waiting is not None:
            waiting.pieces.append(text)
            return
        gave_way = self._gave_way.pop(index, None)
        if gave_way is None:
            self.losses.add("dropped:delta", "a delta of no open block")
        else:
            self._start(index, gave_way, out)
            self._delta(index, text, out)

    def _stop(self, index: int, sealed: Opaque | None, out: list[bytes]) -> None:
        if index == self._open:
            self._close(sealed, out)
            self._advance(out)
        elif index in self._queue:
            self._queue[index].stopped = True
            self._queue[index].opaque = sealed
        else:
            self._gave_way.pop(index, None)

    def _close(self, sealed: Opaque | None, out: list[bytes]) -> None:
        block = self._block
        if isinstance(block, Thinking) and not block.redacted:
            sealed = sealed or block.opaque
            if sealed is not None:
                slot = reasoning_content(Thinking("", sealed))["reasoningContent"]["reasoningText"]["signature"]
                self._write(_DELTA, {"delta": {"reasoningContent": {"signature": slot}}}, out)
        elif isinstance(block, ToolCall) and not self._written:
            self._tell(block, sealed, out)
        elif sealed is not None and not (isinstance(block, ToolCall | Thinking) and block.opaque == sealed) and sealed.vendor != VENDOR:
            self.losses.add("dropped:signature", "the block has no slot for it, or its id was written already")
        if self._written:
            out.append(framed("contentBlockStop", b'{"contentBlockIndex":%d}' % self._index))
            self._index += 1
        self._open = self._block = None

    def _advance(self, out: list[bytes]) -> None:
        """Writes what waits, up to and including the first block that is still under way."""
        while self._open is None and self._queue:
            index = next(iter(self._queue))
            waiting = self._queue.pop(index)
            self._begin(index, waiting.block, out)
            for text in waiting.pieces:
                self._piece(text, out)
            if waiting.stopped:
                self._close(waiting.opaque, out)
            elif self._queue:
                self._give_way(out)

    def _end(self, out: list[bytes]) -> None:
        self._done = True
        finish = self._finish
        if finish is None:
            return
        self._message_start(out)
        while self._open is not None:
            self._close(None, out)
            self._advance(out)
        word, carried = encode_finish(finish.reason, finish.detail, refused=self._refused, calls=self._tools)
        if not carried:
            self.losses.add("coerced:finish_reason", finish.reason.value)
        lost_detail(finish.detail, word, self.losses)
        stop: dict[str, JSON] = {"stopReason": word}
        if finish.stop_sequence is not None:
            stop["additionalModelResponseFields"] = {"stop_sequence": finish.stop_sequence}
        out.append(framed("messageStop", orjson.dumps(stop)))
        out.append(framed("metadata", orjson.dumps({"usage": encode_usage(self._usage, self.losses), "metrics": {"latencyMs": 0}})))
