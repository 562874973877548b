"""Streamed answers, client side: canonical events to Messages events.

The format has one block open at a time, other formats several (parallel tool calls). So a block that begins while another is open waits in a
queue with its deltas and is written when its turn comes. Text gives way at once instead, since it may go on in a block of its own later.

A call's signature rides in its id, which goes first, but may be known only at the call's end: so a call is held back until its second piece of
arguments. Vendors that sign calls send them whole.

`message_start` waits for the first event behind the start, because the counts of the prompt may come with that. Empty text is not opened:
the API refuses it when the client sends the answer back. `message_delta` and `message_stop` are written on a clean end behind a finish, and
on nothing else: a stream that was cut has to look cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from extproc.core import carrier
from extproc.core.dialect import Reply
from extproc.core.framing import sse
from extproc.core.ir import (
    JSON,
    Block,
    BlockDelta,
    BlockStart,
    BlockStop,
    End,
    Event,
    Finish,
    FinishReason,
    MessageStart,
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
from extproc.dialects.anthropic_messages.errors import encode_stream_error
from extproc.dialects.anthropic_messages.finish import encode_finish
from extproc.dialects.anthropic_messages.response import encode_block
from extproc.dialects.anthropic_messages.usage import encode_usage
from extproc.dialects.anthropic_messages.wire import VENDOR, safe_id, signature

_TEXT = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":%b}}\n\n'
_THINKING = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"thinking_delta","thinking":%b}}\n\n'
_INPUT = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"input_json_delta","partial_json":%b}}\n\n'
_SIGNATURE = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"signature_delta","signature":%b}}\n\n'
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


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


class MessagesEncoder:
    """A `StreamEncoder`. After an error or an end it writes nothing more."""

    __slots__ = (
        "_block",
        "_done",
        "_finish",
        "_gave_way",
        "_held",
        "_id",
        "_index",
        "_open",
        "_queue",
        "_refusal",
        "_reply",
        "_started",
        "_tools",
        "_usage",
        "_written",
        "losses",
    )

    def __init__(self, reply: Reply) -> None:
        self.losses = Losses()
        self._reply = reply
        self._id = reply.id
        self._started = False
        self._done = False
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._refusal: list[str] | None = None
        self._tools = False
        self._index = 0
        """The wire's number of the open block, or of the next one."""
        self._open: int | None = None
        """The canonical number of the open block, and `_block` what it is."""
        self._block: Block | None = None
        self._written = False
        """Is the open block's start written? Text and thinking wait for their first piece, calls for their second."""
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
        elif isinstance(event, MessageStart):
            self._id = event.id or self._id
        elif isinstance(event, Finish):
            self._finish = event
        elif isinstance(event, StreamError):
            self._done = True
            out.append(encode_stream_error(event.error))
        elif isinstance(event, End):
            self._end(out)
        return b"".join(out)

    def _message_start(self, out: list[bytes]) -> None:
        if self._started:
            return
        self._started = True
        message: dict[str, JSON] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._reply.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": encode_usage(self._usage),
        }
        out.append(sse(orjson.dumps({"type": "message_start", "message": message}), "message_start"))

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
        if isinstance(block, Refusal):
            self._refusal = self._refusal if self._refusal is not None else []
            self.losses.add("coerced:refusal", "the refusal became text and the stop reason")
        elif isinstance(block, ToolCall):
            self._tools = True
            self._held = [block.arguments] if block.arguments else []
            if block.opaque is not None:
                self._tell(block, block.opaque, out)
        elif isinstance(block, Thinking) and not block.redacted:
            if block.opaque is not None:
                self._ensure(out)
        elif not isinstance(block, Text):
            whole = encode_block(block, self.losses)
            if whole is not None:
                self._write_start(whole, out)
        if isinstance(block, Text | Refusal) or (isinstance(block, Thinking) and not block.redacted):
            if isinstance(block, Text) and block.opaque is not None and block.opaque.vendor != VENDOR:
                self.losses.add("dropped:signature", "text has no slot for a signature")
            if block.text:
                self._piece(block.text, out)

    def _tell(self, call: ToolCall, sealed: Opaque | None, out: list[bytes]) -> None:
        """The start of the open call, and the pieces that were held back for it."""
        call_id = carrier.join(safe_id(call.id), sealed, [])
        self._write_start({"type": "tool_use", "id": call_id, "name": call.name, "input": {}}, out)
        out += [_INPUT % (self._index, _quoted(text)) for text in self._held]
        self._held = []

    def _write_start(self, block: JSON, out: list[bytes]) -> None:
        self._written = True
        out.append(sse(orjson.dumps({"type": "content_block_start", "index": self._index, "content_block": block}), "content_block_start"))

    def _ensure(self, out: list[bytes]) -> None:
        """The start of an open text or thinking block, unless it is written."""
        if not self._written:
            empty = {"type": "thinking", "thinking": "", "signature": ""} if isinstance(self._block, Thinking) else {"type": "text", "text": ""}
            self._write_start(empty, out)

    def _piece(self, text: str, out: list[bytes]) -> None:
        """More of the open block."""
        block = self._block
        if isinstance(block, Text):
            self._ensure(out)
            out.append(_TEXT % (self._index, _quoted(text)))
        elif isinstance(block, ToolCall):
            if self._written:
                out.append(_INPUT % (self._index, _quoted(text)))
            else:
                self._held.append(text)
                if len(self._held) > 1:
                    self._tell(block, None, out)
        elif isinstance(block, Thinking):
            self._ensure(out)
            out.append(_THINKING % (self._index, _quoted(text)))
        elif isinstance(block, Refusal):
            self._ensure(out)
            if self._refusal is not None:
                self._refusal.append(printable(text))
            out.append(_TEXT % (self._index, _quoted(text)))

    def _delta(self, index: int, text: str, out: list[bytes]) -> None:
        if not text:
            return
        if index == self._open:
            self._piece(text, out)
            return
        waiting = self._queue.get(index)
        if waiting is None:
            gave_way = self._gave_way.pop(index, None)
            if gave_way is None:
                self.losses.add("dropped:delta", "a delta of no open block")
            else:
                self._start(index, gave_way, out)
                self._delta(index, text, out)
        else:
            waiting.pieces.append(text)

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
                self._ensure(out)
                out.append(_SIGNATURE % (self._index, _quoted(signature(sealed))))
        elif isinstance(block, ToolCall) and not self._written:
            self._tell(block, sealed, out)
        elif sealed is not None and sealed.vendor != VENDOR and not (isinstance(block, ToolCall | Thinking) and block.opaque == sealed):
            self.losses.add("dropped:signature", "the block has no slot for it, or its id was written already")
        if self._written:
            out.append(_STOP % self._index)
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
        refused = self._refusal is not None
        said = finish.detail or ("".join(self._refusal) if self._refusal else None)
        word, details, carried = encode_finish(finish.reason, said, refused=refused, calls=self._tools)
        if not carried:
            self.losses.add("coerced:finish_reason", finish.reason.value)
        if self._usage is None:
            self.losses.add("defaulted:usage", "the provider counted no tokens")
        delta: dict[str, JSON] = {
            "stop_reason": word,
            "stop_sequence": finish.stop_sequence if finish.reason is FinishReason.STOP_SEQUENCE else None,
        }
        if details is not None:
            delta["stop_details"] = details
        out.append(sse(orjson.dumps({"type": "message_delta", "delta": delta, "usage": encode_usage(self._usage)}), "message_delta"))
        out.append(_MESSAGE_STOP)
