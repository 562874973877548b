"""Streamed answers, client side: canonical events to v2 events. Total over every order of events that a decoder can give.

Text cannot wait until it is known whether tool calls follow, so in a stream it is content and not `tool_plan`. Contents and calls are numbered
apart, as on the wire. A call's signature may come only with its `BlockStop`, but its id goes first: so a call is held back until its second
piece of arguments. Vendors that sign calls send them whole.

`message-end` holds the reason and the counts, which may come behind it, so it waits for the clean end, and `[DONE]` follows. A stream that was
cut gets neither.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    Loss,
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
from extproc.core.usage import Usage
from extproc.dialects.cohere_chat.errors import encode_stream_error
from extproc.dialects.cohere_chat.response import lost
from extproc.dialects.cohere_chat.usage import encode_finish, encode_usage
from extproc.dialects.cohere_chat.wire import NAME, quoted

_TEXT = b'event: content-delta\ndata: {"type":"content-delta","index":%d,"delta":{"message":{"content":{"text":%b}}}}\n\n'
_THINKING = b'event: content-delta\ndata: {"type":"content-delta","index":%d,"delta":{"message":{"content":{"thinking":%b}}}}\n\n'
_ARGUMENTS = (
    b'event: tool-call-delta\ndata: {"type":"tool-call-delta","index":%d,"delta":{"message":{"tool_calls":{"function":{"arguments":%b}}}}}\n\n'
)
_CONTENT_END = b'event: content-end\ndata: {"type":"content-end","index":%d}\n\n'
_CALL_END = b'event: tool-call-end\ndata: {"type":"tool-call-end","index":%d}\n\n'
_CITATION_END = b'event: citation-end\ndata: {"type":"citation-end","index":%d}\n\n'


class _Open:
    """An open block: what it is, its number on the wire, what came of it, and whether its start has been written."""

    __slots__ = ("block", "opaque", "place", "texts", "told")

    def __init__(self, block: Text | Refusal | Thinking | ToolCall) -> None:
        self.block = block
        self.opaque: Opaque | None = None if isinstance(block, Refusal) else block.opaque
        self.place = -1
        self.texts: list[str] = []
        self.told = False


class CohereStreamEncoder:
    """One stream to one client. After an error or an end it writes nothing more."""

    __slots__ = ("_calls", "_contents", "_finish", "_held", "_losses", "_open", "_over", "_reply", "_signed", "_started", "_usage")

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._losses = Losses()
        self._open: dict[int, _Open] = {}
        self._held: _Open | None = None
        self._signed: list[Thinking] = []
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._contents = self._calls = 0
        self._started = self._over = False

    @property
    def losses(self) -> Sequence[Loss]:
        return self._losses

    def encode(self, event: Event) -> bytes:
        if self._over:
            return b""
        if self._finish is not None and isinstance(event, BlockStart | BlockDelta):
            self._losses.add("dropped:content", "behind the finish reason")
            return b""
        match event:
            case BlockDelta():
                return self._delta(event)
            case BlockStart():
                return self._tell() + self._begin(event.index, event.block)
            case BlockStop():
                return self._stop(event)
            case UsageUpdate():
                self._usage = event.usage
                return b""
            case MessageStart():
                return self._message(event.id)
            case Finish():
                return self._finished(event)
            case StreamError():
                self._over = True
                return encode_stream_error(event.error)
            case End():
                return self._end()

    def _message(self, answer: str) -> bytes:
        """`message-start`, once; an answer without a `MessageStart` gets it before its first content."""
        if self._started:
            return b""
        self._started = True
        start = {"id": answer or self._reply.id, "type": "message-start", "delta": {"message": {"role": "assistant"}}}
        return sse(orjson.dumps(start), "message-start")

    def _begin(self, index: int, block: Block) -> bytes:
        ended = self._stop(BlockStop(index)) if index in self._open else b""
        if not isinstance(block, Text | Refusal | Thinking | ToolCall):
            lost(block, self._losses)
            return ended
        known = self._open[index] = _Open(block)
        if isinstance(block, ToolCall):
            known.place = self._calls
            self._calls += 1
            if block.arguments:
                known.texts.append(block.arguments)
            self._held = known
            return ended + (self._tell() if block.opaque is not None else b"")
        if isinstance(block, Refusal):
            self._losses.add("coerced:refusal", "the refusal became text")
        return ended + (self._say(known, block.text) if block.text else b"")

    def _say(self, known: _Open, text: str) -> bytes:
        """More of a text or thought; its start goes before its first piece, so that none is empty."""
        thought = isinstance(known.block, Thinking)
        start = b""
        if not known.told:
            known.told = True
            known.place = self._contents
            self._contents += 1
            content: JSON = {"type": "thinking", "thinking": ""} if thought else {"type": "text", "text": ""}
            event = {"type": "content-start", "index": known.place, "delta": {"message": {"content": content}}}
            start = self._message("") + sse(orjson.dumps(event), "content-start")
        if thought:
            known.texts.append(text)
        return start + (_THINKING if thought else _TEXT) % (known.place, quoted(text))

    def _tell(self) -> bytes:
        """The held call, with what came of its arguments."""
        known, self._held = self._held, None
        if known is None or not isinstance(known.block, ToolCall):
            return b""
        known.told = True
        call, text = known.block, "".join(known.texts)
        ident = carrier.join(call.id, known.opaque, self._signed)
        self._signed = []
        told: JSON = {"id": ident, "type": "function", "function": {"name": call.name, "arguments": ""}}
        event = {"type": "tool-call-start", "index": known.place, "delta": {"message": {"tool_calls": told}}}
        out = self._message("") + sse(orjson.dumps(event), "tool-call-start")
        return out + _ARGUMENTS % (known.place, quoted(text)) if text else out

    def _delta(self, event: BlockDelta) -> bytes:
        known = self._open.get(event.index)
        if known is None or not event.text:
            return b""
        if not isinstance(known.block, ToolCall):
            return self._tell() + self._say(known, event.text)
        if known.told:
            # past the first piece only whether there were any is kept
            known.texts = known.texts or [""]
            return _ARGUMENTS % (known.place, quoted(event.text))
        known.texts.append(event.text)
        return self._tell() if len(known.texts) > 1 else b""

    def _stop(self, event: BlockStop) -> bytes:
        known = self._open.pop(event.index, None)
        if known is None:
            return b""
        block, opaque = known.block, event.opaque or known.opaque
        if isinstance(block, ToolCall):
            return self._stop_call(known, event.opaque)
        if isinstance(block, Thinking):
            if opaque is not None:
                text = "".join(known.texts)
                self._signed.append(Thinking(text, opaque, redacted=not text))
        elif isinstance(block, Text):
            if opaque is not None:
                self._losses.add("dropped:signature", "on text: the format has no place for it")
            return self._cited(block) + (_CONTENT_END % known.place if known.told else b"")
        return _CONTENT_END % known.place if known.told else b""

    def _stop_call(self, known: _Open, opaque: Opaque | None) -> bytes:
        out = b""
        if not known.told:
            known.opaque = opaque or known.opaque
            known.texts = known.texts or ["{}"]
            self._held = known
            out = self._tell()
        elif opaque is not None and opaque != known.opaque:
            self._losses.add("dropped:signature", "it came behind the id that would carry it")
        if not known.texts:
            out += _ARGUMENTS % (known.place, b'"{}"')
        return out + _CALL_END % known.place

    def _cited(self, block: Text) -> bytes:
        if not block.citations:
            return b""
        if block.citations_from != NAME:
            self._losses.add("dropped:citations", f"of {block.citations_from}")
            return b""
        out: list[bytes] = []
        for place, citation in enumerate(block.citations):
            event = {"type": "citation-start", "index": place, "delta": {"message": {"citations": citation}}}
            out += (sse(orjson.dumps(event), "citation-start"), _CITATION_END % place)
        return b"".join(out)

    def _finished(self, event: Finish) -> bytes:
        if self._finish is not None:
            return b""
        self._finish = event
        out = self._tell() + b"".join([self._stop(BlockStop(index)) for index in list(self._open)]) + self._message("")
        losses = self._losses
        if self._signed:
            losses.add("dropped:signature", "thoughts that no tool call follows")
        if event.stop_sequence is not None:
            losses.add("dropped:stop_sequence", "the answer does not say which one matched")
        if event.detail is not None:
            losses.add("dropped:finish_detail", "the provider's own words for the end")
        return out

    def _end(self) -> bytes:
        self._over = True
        if self._finish is None:
            return b""
        word, carried = encode_finish(self._finish.reason, called=self._calls > 0)
        if not carried:
            self._losses.add("coerced:finish_reason", self._finish.reason.value)
        delta: dict[str, JSON] = {"finish_reason": word}
        if self._usage is not None:
            delta["usage"] = encode_usage(self._usage)
        return sse(orjson.dumps({"type": "message-end", "delta": delta}), "message-end") + b"data: [DONE]\n\n"
