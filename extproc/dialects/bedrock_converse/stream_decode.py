"""Streamed answers of Bedrock: an event stream's messages to events.

Text and reasoning blocks have no start: their first delta opens them. Reasoning is signed, or hidden as a whole, in a delta too. `messageStop` holds
the reason, and `metadata` with the counts comes behind it and ends the stream. Each event may hold padding, `p`. Exceptions are messages of their
own. What only AWS knows (server tools, their results) and images are held until they are whole.
Source: `ConverseStreamOutput` of the service model; recorded streams.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

import orjson

from extproc.core import carrier
from extproc.core.aws_errors import stream_error
from extproc.core.errors import UpstreamFormatError
from extproc.core.eventstream import EventStreamParser, Message, json_headers
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
    Image,
    MessageStart,
    Opaque,
    Source,
    StreamError,
    Text,
    Thinking,
    ToolCall,
    UsageUpdate,
)
from extproc.core.losses import Losses
from extproc.core.observe import STRING
from extproc.dialects.bedrock_converse.finish import decode_finish, stop_sequence
from extproc.dialects.bedrock_converse.media import IMAGES
from extproc.dialects.bedrock_converse.usage import decode_usage
from extproc.dialects.bedrock_converse.wire import NAME, VENDOR, original_id, redacted_in

_DELTA = rb'"text":%b|"toolUse":\{"input":%b\}|"reasoningContent":\{"text":%b\}' % (STRING, STRING, STRING)
_PAYLOAD = rb'\{"contentBlockIndex":\d+,"delta":\{(?:%b)\}(?:,"p":"\w*+")?\}' % _DELTA
_HEADERS = json_headers("event", "contentBlockDelta")
_GOES_ON = re.compile(rb".{4}%b.{4}%b%b.{4}" % (re.escape(len(_HEADERS).to_bytes(4)), re.escape(_HEADERS), _PAYLOAD), re.DOTALL)
MAX_OPEN = 1024
"""Blocks that may be open at once. The format opens one; more than this is no answer but an attempt to fill memory."""


@dataclass(slots=True)
class _Open:
    """A block under way: its canonical number (-1: held back until whole), what it is, and what has been gathered of it."""

    index: int
    kind: str
    opaque: Opaque | None = None
    start: JSON = None
    pieces: list[JSON] = field(default_factory=list)


class ConverseDecoder:
    """A `StreamDecoder`. After an error or the end it reads nothing more."""

    __slots__ = ("_ended", "_finished", "_next", "_open", "_parser", "losses")

    def __init__(self) -> None:
        self.losses = Losses()
        self._parser = EventStreamParser()
        self._open: dict[int, _Open] = {}
        self._next = 0
        self._finished = False
        self._ended = False

    def goes_on(self, data: bytes) -> bool:
        """Is `data` one whole message that only goes on with a text? Who watches need not read it, unless it belongs to a block that is held. Its
        sums are the client's to check."""
        if not self._parser.idle or _GOES_ON.fullmatch(data) is None or int.from_bytes(data[:4]) != len(data):
            return False
        return all(block.index >= 0 for block in self._open.values())

    def feed(self, data: bytes) -> list[Event]:
        out: list[Event] = []
        if self._ended:
            return out
        try:
            for message in self._parser.feed(data):
                self._message(message, out)
                if self._ended:
                    break
        except UpstreamFormatError as error:
            self._fail(error, out)
        return out

    def close(self) -> list[Event]:
        out: list[Event] = []
        if self._ended:
            return out
        try:
            self._parser.close()
        except UpstreamFormatError as error:
            self._fail(error, out)
            return out
        self._ended = True
        if self._finished:
            out.append(End())
        return out

    def _fail(self, error: UpstreamFormatError, out: list[Event]) -> None:
        self._ended = True
        out.append(StreamError(error))

    def _message(self, message: Message, out: list[Event]) -> None:
        error = stream_error(message)
        if error is not None:
            self._ended = True
            out.append(StreamError(error))
            return
        try:
            event = orjson.loads(message.payload)
        except orjson.JSONDecodeError:
            raise UpstreamFormatError("the provider's stream holds an event that is not JSON") from None
        if not isinstance(event, dict):
            raise UpstreamFormatError("the provider's stream holds an event that is no object")
        kind = message.text(":event-type")
        if kind == "contentBlockDelta":
            self._delta(_index(event), event.get("delta"), out)
        elif kind == "contentBlockStart":
            self._start(_index(event), event.get("start"), out)
        elif kind == "contentBlockStop":
            self._stop(_index(event), out)
        elif kind == "messageStart":
            out.append(MessageStart("", ""))
        elif kind == "messageStop":
            self._message_stop(event, out)
        elif kind == "metadata":
            usage = decode_usage(event.get("usage"))
            if usage is not None:
                out.append(UsageUpdate(usage))
            if self._finished:
                self._ended = True
                out.append(End())
        elif kind != "initial-response":
            self.losses.add("dropped:event", kind[:64])

    def _message_stop(self, event: dict[str, JSON], out: list[Event]) -> None:
        word = event.get("stopReason")
        if not isinstance(word, str):
            raise UpstreamFormatError("the provider's messageStop holds no reason")
        for index in list(self._open):
            self._stop(index, out)
        reason, detail = decode_finish(word)
        self._finished = True
        out.append(Finish(reason, stop_sequence(event.get("additionalModelResponseFields")), detail))

    def _begin(self, index: int, block: Block, out: list[Event]) -> _Open:
        under_way = self._hold(index, type(block).__name__)
        under_way.index = self._next
        out.append(BlockStart(self._next, block))
        self._next += 1
        return under_way

    def _hold(self, index: int, kind: str, start: JSON = None) -> _Open:
        if len(self._open) >= MAX_OPEN:
            raise UpstreamFormatError("the provider's stream opens too many blocks")
        under_way = self._open[index] = _Open(-1, kind, start=start)
        return under_way

    def _start(self, index: int, start: JSON, out: list[Event]) -> None:
        self._stop(index, out)  # one that began anew without a stop
        kind = next(iter(start), "") if isinstance(start, dict) else ""
        inner = start[kind] if kind else None
        if kind == "toolUse" and isinstance(inner, dict) and inner.get("type") in (None, "tool_use"):
            call_id, name = inner.get("toolUseId"), inner.get("name")
            if not isinstance(call_id, str) or not isinstance(name, str):
                raise UpstreamFormatError("a tool call of the provider's stream lacks its id or its name")
            carried, sealed, _ = carrier.split(call_id)
            self._begin(index, ToolCall(original_id(carried), name, opaque=sealed), out)
        elif isinstance(inner, dict):
            self._hold(index, kind, inner)
        else:
            raise UpstreamFormatError("the provider's contentBlockStart holds no block")

    def _delta(self, index: int, delta: JSON, out: list[Event]) -> None:
        if not isinstance(delta, dict):
            raise UpstreamFormatError("the provider's contentBlockDelta holds no delta")
        under_way = self._open.get(index)
        text = delta.get("text")
        if isinstance(text, str):
            if text:
                out.append(BlockDelta((under_way or self._begin(index, Text(""), out)).index, text))
            return
        kind = next(iter(delta), "")
        inner = delta[kind] if kind else None
        if kind == "reasoningContent" and isinstance(inner, dict):
            self._reasoning(index, under_way, inner, out)
        elif kind == "citation":
            self.losses.add("dropped:citations", "streamed")
        elif kind == "image" and isinstance(inner, dict):
            (under_way or self._hold(index, "image", {})).pieces.append(inner.get("source"))
        elif under_way is None:
            self.losses.add("dropped:delta", "a delta of no block")
        elif kind == "toolUse" and isinstance(inner, dict) and isinstance(inner.get("input"), str):
            if under_way.index < 0:
                under_way.pieces.append(inner["input"])
            elif inner["input"]:
                out.append(BlockDelta(under_way.index, inner["input"]))
        elif kind == "toolResult" and isinstance(inner, list):
            under_way.pieces += inner
        else:
            self.losses.add("dropped:delta", kind[:64])

    def _reasoning(self, index: int, under_way: _Open | None, inner: dict[str, JSON], out: list[Event]) -> None:
        hidden = inner.get("redactedContent")
        if isinstance(hidden, str):
            (under_way or self._hold(index, "redactedContent")).pieces.append(hidden)
            return
        if under_way is None:
            under_way = self._begin(index, Thinking(""), out)
        text = inner.get("text")
        if isinstance(text, str) and text:
            out.append(BlockDelta(under_way.index, text))
        sealed = carrier.from_slot(inner.get("signature"), VENDOR)
        if sealed is not None:
            under_way.opaque = sealed

    def _stop(self, index: int, out: list[Event]) -> None:
        under_way = self._open.pop(index, None)
        if under_way is None:
            return
        if under_way.index < 0:
            block = _whole(under_way)
            if block is None:
                self.losses.add("dropped:block", under_way.kind[:64])
                return
            out.append(BlockStart(self._next, block))
            under_way.index = self._next
            self._next += 1
        out.append(BlockStop(under_way.index, under_way.opaque))


def _whole(held: _Open) -> Block | None:
    """A held block with all that its deltas said; None where they make none."""
    if held.kind == "redactedContent":
        hidden = redacted_in(_joined(held.pieces))
        return Thinking("", hidden, redacted=True) if hidden is not None else None
    if held.kind == "image":
        data = _joined([source.get("bytes") for source in held.pieces if isinstance(source, dict)])
        return Image(Source(IMAGES.get(str(held.start.get("format"))), data=data)) if data else None
    inner = dict(held.start)
    if held.kind == "toolUse":
        try:
            inner["input"] = orjson.loads("".join(held.pieces) or "{}")
        except (orjson.JSONDecodeError, TypeError):
            raise UpstreamFormatError(f"the input of the provider's {held.kind} block is not JSON") from None
    elif held.kind == "toolResult":
        inner["content"] = held.pieces
    return Foreign(NAME, str(inner.get("type") or held.kind)[:64], {held.kind: inner})


def _joined(pieces: list[JSON]) -> str:
    """Bytes that came in several pieces, each base64 of its own, as one."""
    texts = [piece for piece in pieces if isinstance(piece, str)]
    if len(texts) < 2:
        return "".join(texts)
    try:
        return base64.b64encode(b"".join(base64.b64decode(text, validate=True) for text in texts)).decode()
    except (binascii.Error, ValueError):
        raise UpstreamFormatError("the provider's stream holds bytes that are not base64") from None


def _index(event: dict[str, JSON]) -> int:
    index = event.get("contentBlockIndex")
    if not isinstance(index, int):
        raise UpstreamFormatError("an event of the provider's stream lacks its index")
    return index
