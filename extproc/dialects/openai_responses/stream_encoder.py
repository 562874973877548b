"""Canonical events to a stream of Responses events. Total over every order of events that a decoder can give.

Every item is added, filled and done, and the end repeats them all: `response.completed` or `response.incomplete` come only on `End` behind a
`Finish`, because a truncated answer must not look whole. A call's own signature rides in its id, which goes first, but may come only with its
`BlockStop`: so a call is held back until its second piece of arguments. Vendors that sign calls send them whole.
Reference: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import orjson

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
from extproc.dialects.openai_responses.errors import encode_stream_error
from extproc.dialects.openai_responses.response_encode import encode_ending, encode_item, text_marks
from extproc.dialects.openai_responses.response_object import Items, refusal_part, response_object, summary_part, text_part
from extproc.dialects.openai_responses.tools import called
from extproc.dialects.openai_responses.usage import encode_usage

_DELTA = b'event: %b\ndata: {"type":"%b","sequence_number":%d,"item_id":%b,"output_index":%d%b,"delta":%b}\n\n'
_TEXT, _REFUSAL = b"response.output_text.delta", b"response.refusal.delta"
_SUMMARY, _ARGUMENTS = b"response.reasoning_summary_text.delta", b"response.function_call_arguments.delta"


@dataclass(slots=True)
class _Message:
    """A message item under way: its place among the items, its parts, and how many of them are open."""

    place: int
    content: list[JSON] = field(default_factory=list)
    open: int = 0
    closing: bool = False


@dataclass(slots=True)
class _Open:
    """A block under way: what came of it, and where it goes once it has been told to the client."""

    block: Block
    texts: list[str] = field(default_factory=list)
    place: int = -1
    item_id: bytes = b""
    message: _Message | None = None
    part: int = 0
    where: bytes = b""
    """The part's index as members of its delta events."""


class ResponsesStreamEncoder:
    """One stream to one client."""

    __slots__ = (
        "_answer",
        "_blocks",
        "_created",
        "_finish",
        "_held",
        "_items",
        "_losses",
        "_message",
        "_output",
        "_over",
        "_refused",
        "_reply",
        "_sequence",
        "_started",
        "_usage",
    )

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._losses = Losses()
        self._items = Items(reply.id, {}, self._losses)
        self._answer = ""
        self._created: int | None = None
        self._sequence = 0
        self._blocks: dict[int, _Open] = {}
        self._output: list[JSON] = []
        self._message: _Message | None = None
        self._held: _Open | None = None
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._refused = self._started = self._over = False

    @property
    def losses(self) -> Sequence[Loss]:
        return self._losses

    def encode(self, event: Event) -> bytes:
        if self._over:
            return b""
        out: list[bytes] = []
        match event:
            case BlockDelta():
                known = self._blocks.get(event.index)
                if known is not None and event.text:
                    self._more(known, event.text, out)
            case BlockStart():
                self._start(event, out)
            case BlockStop():
                known = self._blocks.pop(event.index, None)
                if known is not None:
                    self._stop(known, event.opaque, out)
            case UsageUpdate():
                self._usage = event.usage
            case MessageStart():
                self._begin(out, event.id, event.created)
            case Finish():
                self._finish = self._finish or event
            case StreamError():
                self._over = True
                out.append(encode_stream_error(event.error, self._next()))
            case End():
                self._end(out)
        return b"".join(out)

    # events

    def _next(self) -> int:
        number = self._sequence
        self._sequence += 1
        return number

    def _say(self, out: list[bytes], kind: str, **members: JSON) -> None:
        out.append(sse(orjson.dumps({"type": kind, "sequence_number": self._next(), **members}), kind))

    def _piece(self, out: list[bytes], kind: bytes, known: _Open, text: str) -> None:
        """A delta: the event that there are many of."""
        out.append(_DELTA % (kind, kind, self._next(), known.item_id, known.place, known.where, orjson.dumps(text)))

    def _begin(self, out: list[bytes], answer: str = "", created: int | None = None) -> None:
        """The first two events, once; an answer without a `MessageStart` gets them before its first content."""
        if self._started:
            return
        self._started = True
        self._answer, self._created = answer, created
        self._items = Items(answer or self._reply.id, called(self._reply.echo.get("tools")), self._losses)
        begun = response_object(self._reply, answer, created, "in_progress")
        for kind in ("response.created", "response.in_progress"):
            self._say(out, kind, response=begun)

    def _end(self, out: list[bytes]) -> None:
        self._over = True
        finish = self._finish
        if finish is None:
            return
        self._begin(out)
        self._tell(out)
        for known in self._blocks.values():
            self._stop(known, None, out)
        self._close(out)
        status, reason = encode_ending(finish.reason, finish.stop_sequence, finish.detail, refused=self._refused, losses=self._losses)
        answer = response_object(
            self._reply,
            self._answer,
            self._created,
            status,
            output=self._output,
            usage=encode_usage(self._usage) if self._usage is not None else None,
            incomplete_details={"reason": reason} if reason else None,
        )
        self._say(out, f"response.{status}", response=answer)

    # blocks

    def _start(self, event: BlockStart, out: list[bytes]) -> None:
        self._begin(out)
        self._tell(out)
        before = self._blocks.pop(event.index, None)
        if before is not None:
            self._stop(before, None, out)
        block = event.block
        known = _Open(block)
        match block:
            case Text() | Refusal():
                self._blocks[event.index] = known
                if isinstance(block, Text):
                    text_marks(replace(block, citations=None), self._losses)
                    if block.citations:
                        self._losses.add("dropped:citations", "in a stream")
                if block.text:
                    self._more(known, block.text, out)
            case Thinking():
                self._blocks[event.index] = known
                if block.text:
                    self._more(known, block.text, out)
            case ToolCall():
                self._blocks[event.index] = self._held = known
                if block.arguments:
                    known.texts.append(block.arguments)
                if block.opaque is not None:
                    self._tell(out)
            case _:
                item = encode_item(block, len(self._output), self._items, self._losses)
                if item is not None:
                    self._close(out)
                    place = len(self._output)
                    self._output.append(item)
                    self._say(out, "response.output_item.added", output_index=place, item=item)
                    self._say(out, "response.output_item.done", output_index=place, item=item)

    def _more(self, known: _Open, text: str, out: list[bytes]) -> None:
        block = known.block
        known.texts.append(text)
        if isinstance(block, Text | Refusal):
            if known.message is None:
                self._part(known, out)
            if isinstance(block, Text):
                self._piece(out, _TEXT, known, text)
            else:
                self._piece(out, _REFUSAL, known, text)
        elif isinstance(block, Thinking):
            if known.place < 0:
                self._item(known, {"type": "reasoning", "summary": []}, "rs", out)
                known.where = b',"summary_index":0'
                self._say(out, "response.reasoning_summary_part.added", **self._at(known), summary_index=0, part=summary_part(""))
            self._piece(out, _SUMMARY, known, text)
        elif known is not self._held:
            if not self._custom(known):
                self._piece(out, _ARGUMENTS, known, text)
        elif len(known.texts) > 1:
            self._tell(out)

    def _item(self, known: _Open, item: dict[str, JSON], prefix: str, out: list[bytes]) -> None:
        """A block's own item begins."""
        self._close(out)
        known.place = len(self._output)
        item.setdefault("id", self._items.id(prefix, known.place))
        known.item_id = orjson.dumps(item["id"])
        self._output.append(item)
        self._say(out, "response.output_item.added", output_index=known.place, item=item)

    def _done(self, known: _Open, item: dict[str, JSON], out: list[bytes]) -> None:
        self._output[known.place] = item
        self._say(out, "response.output_item.done", output_index=known.place, item=item)

    def _at(self, known: _Open) -> dict[str, JSON]:
        return {"item_id": orjson.loads(known.item_id), "output_index": known.place}

    def _stop(self, known: _Open, sealed: Opaque | None, out: list[bytes]) -> None:
        block = known.block
        if isinstance(block, ToolCall):
            self._stop_call(known, block, sealed, out)
        elif isinstance(block, Thinking):
            text = "".join(known.texts)
            self._stop_thought(known, Thinking(text, sealed or block.opaque, redacted=block.redacted and not text), out)
        else:
            if sealed is not None:
                self._losses.add("dropped:signature", "on text: the format has no place for it")
            if known.message is not None:
                self._stop_part(known, known.message, out)

    # messages

    def _part(self, known: _Open, out: list[bytes]) -> None:
        """A text begins: a part of the message under way, or of a new one."""
        message = self._message
        if message is None:
            message = self._message = _Message(len(self._output))
            self._output.append(self._items.message(message.place, message.content))
            item = self._items.message(message.place, [], "in_progress")
            self._say(out, "response.output_item.added", output_index=message.place, item=item)
        known.message, known.place, known.part = message, message.place, len(message.content)
        known.item_id = orjson.dumps(self._output[message.place]["id"])
        refusal = isinstance(known.block, Refusal)
        self._refused |= refusal
        known.where = b',"content_index":%d%b' % (known.part, b"" if refusal else b',"logprobs":[]')
        empty = refusal_part("") if refusal else text_part("")
        message.content.append(empty)
        message.open += 1
        self._say(out, "response.content_part.added", **self._at(known), content_index=known.part, part=empty)

    def _stop_part(self, known: _Open, message: _Message, out: list[bytes]) -> None:
        text = "".join(known.texts)
        at = {**self._at(known), "content_index": known.part}
        if isinstance(known.block, Refusal):
            part = refusal_part(text)
            self._say(out, "response.refusal.done", **at, refusal=text)
        else:
            part = text_part(text)
            self._say(out, "response.output_text.done", **at, logprobs=[], text=text)
        message.content[known.part] = part
        self._say(out, "response.content_part.done", **at, part=part)
        message.open -= 1
        if message.closing and not message.open:
            self._message_done(message, out)

    def _close(self, out: list[bytes]) -> None:
        """No part comes any more to the message under way; it is done when its open ones are."""
        message, self._message = self._message, None
        if message is None:
            return
        message.closing = True
        if not message.open:
            self._message_done(message, out)

    def _message_done(self, message: _Message, out: list[bytes]) -> None:
        self._say(out, "response.output_item.done", output_index=message.place, item=self._output[message.place])

    # reasoning

    def _stop_thought(self, known: _Open, thought: Thinking, out: list[bytes]) -> None:
        if known.place < 0:
            if thought.opaque is None:
                return
            item = self._items.reasoning(len(self._output), thought)
            self._item(known, {"id": item["id"], "type": "reasoning", "summary": []}, "rs", out)
        else:
            at = {**self._at(known), "summary_index": 0}
            self._say(out, "response.reasoning_summary_text.done", **at, text=thought.text)
            self._say(out, "response.reasoning_summary_part.done", **at, part=summary_part(thought.text))
        # the id is told already
        self._done(known, {**self._items.reasoning(known.place, thought), "id": self._output[known.place]["id"]}, out)

    # calls

    def _custom(self, known: _Open) -> bool:
        return bool(self._output[known.place]["type"] == "custom_tool_call")

    def _tell(self, out: list[bytes]) -> None:
        """The held call, with what came of its arguments."""
        known, self._held = self._held, None
        if known is None or not isinstance(known.block, ToolCall):
            return
        self._close(out)
        self._item(known, self._items.call(len(self._output), known.block, "in_progress"), "fc", out)
        text = "".join(known.texts)
        if text and not self._custom(known):
            self._piece(out, _ARGUMENTS, known, text)

    def _stop_call(self, known: _Open, call: ToolCall, sealed: Opaque | None, out: list[bytes]) -> None:
        if known is self._held:
            known.block = call = replace(call, opaque=sealed or call.opaque)
            self._tell(out)
        elif sealed is not None and sealed != call.opaque:
            self._losses.add("dropped:signature", "it came behind the id that would carry it")
        item = self._items.call(known.place, replace(call, arguments="".join(known.texts)))
        if item["type"] == "custom_tool_call":
            if item["input"]:
                self._say(out, "response.custom_tool_call_input.delta", **self._at(known), delta=item["input"])
            self._say(out, "response.custom_tool_call_input.done", **self._at(known), input=item["input"])
        else:
            if not known.texts:
                self._piece(out, _ARGUMENTS, known, item["arguments"])
            self._say(out, "response.function_call_arguments.done", **self._at(known), arguments=item["arguments"])
        self._done(known, item, out)
