"""A stream of Responses events to canonical events, however the bytes are cut.

Handles what vendors of the format do: items that interleave (OpenRouter), part events under other names (Bedrock), whole arguments in one piece
(xAI), a `[DONE]` behind the end. What the deltas left out comes with the item's `done`, and with the final answer at the latest.
`response.completed` and `response.incomplete` are the clean end; a stream without them gives no `Finish`, and neither does one that failed.
Reference: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from extproc.core.errors import UpstreamFormatError
from extproc.core.framing import SSEParser
from extproc.core.ir import (
    JSON,
    BlockDelta,
    BlockStart,
    BlockStop,
    End,
    Event,
    Finish,
    Loss,
    MessageStart,
    Refusal,
    StreamError,
    Text,
    Thinking,
    ToolCall,
    UsageUpdate,
)
from extproc.core.losses import Losses
from extproc.core.observe import STRING, events
from extproc.core.openai_errors import decode_error_object
from extproc.dialects.openai_responses.response_decode import call_id, decode_item, decode_part, failure, head
from extproc.dialects.openai_responses.tools import flat_name
from extproc.dialects.openai_responses.usage import decode_finish, decode_usage
from extproc.dialects.openai_responses.wire import BREAK, thinking_of

_MEMBER = rb'"(?!type")[a-z_]+": (?:%b|\d+|null|\[\])' % STRING
_KIND = rb'"type": "response\.(?:output_text|function_call_arguments|reasoning_summary_text|reasoning_text)\.delta"'
_GOES_ON = events(rb"(?:%b, )*+%b(?:, %b)*+" % (_MEMBER, _KIND, _MEMBER))
_SILENT = frozenset(
    {
        "response.content_part.added",
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
        "response.reasoning_part.added",
        "response.reasoning_part.done",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_part.done",
        "response.reasoning_text.done",
    }
)
"""Events that say nothing which others do not say too."""

_CALLS = ("function_call", "custom_tool_call")


class _Item:
    """An output item under way: its open blocks by part, -1 for the one block of an item without parts. `told`: parts that said something."""

    __slots__ = ("done", "kind", "open", "part", "told")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.open: dict[int, int] = {}
        self.told: set[int] = set()
        self.part: tuple[str, JSON] = ("", None)
        """Of reasoning: which text and which part of it came last."""
        self.done = False


class ResponsesStreamDecoder:
    """One stream. `feed` and `close` never raise."""

    __slots__ = ("_answer", "_block", "_called", "_done", "_handlers", "_items", "_losses", "_parser", "_refused", "_started")

    def __init__(self) -> None:
        self._parser = SSEParser()
        self._losses = Losses()
        self._items: dict[JSON, _Item] = {}
        self._answer = ""
        self._block = 0
        self._started = self._called = self._refused = self._done = False
        self._handlers: dict[str, Callable[[dict[str, JSON], list[Event]], None]] = {
            "response.output_text.delta": self._text,
            "response.refusal.delta": self._text,
            "response.function_call_arguments.delta": self._arguments,
            "response.reasoning_summary_text.delta": self._thought,
            "response.reasoning_text.delta": self._thought,
            "response.output_item.added": self._added,
            "response.output_item.done": self._item_done,
            "response.output_text.done": self._text_done,
            "response.refusal.done": self._text_done,
            "response.content_part.done": self._part_done,
            "response.function_call_arguments.done": self._arguments_done,
            "response.reasoning_summary_text.done": self._thought_done,
            "response.output_text.annotation.added": self._annotation,
            "response.created": self._start,
            "response.in_progress": self._start,
            "response.queued": self._start,
            "response.completed": self._end,
            "response.incomplete": self._end,
            "response.failed": self._failed,
            "error": self._error,
        }

    @property
    def losses(self) -> Sequence[Loss]:
        return self._losses

    def goes_on(self, data: bytes) -> bool:
        """Are `data` whole events that only go on with a text? Who watches need not read them."""
        return self._parser.idle and _GOES_ON.fullmatch(data) is not None

    def feed(self, data: bytes) -> list[Event]:
        out: list[Event] = []
        if self._done:
            return out
        try:
            for event in self._parser.feed(data):
                self._event(event.data, out, last=False)
        except UpstreamFormatError as error:
            self._fail(error, out)
        return out

    def close(self) -> list[Event]:
        out: list[Event] = []
        if self._done:
            return out
        try:
            for event in self._parser.close():
                self._event(event.data, out, last=True)
        except UpstreamFormatError as error:
            self._fail(error, out)
        return out

    def _fail(self, error: UpstreamFormatError, out: list[Event]) -> None:
        self._done = True
        out.append(StreamError(error))

    def _event(self, data: bytes, out: list[Event], *, last: bool) -> None:
        if self._done or not data or data.startswith(b"[DONE]"):
            return
        try:
            event = orjson.loads(data)
        except orjson.JSONDecodeError:
            # the last event of a body that was cut is no event
            if not last:
                self._fail(UpstreamFormatError("The provider's stream has an event that is not JSON."), out)
            return
        if not isinstance(event, dict):
            self._fail(UpstreamFormatError("The provider's stream has an event that is not a JSON object."), out)
            return
        kind = event.get("type")
        if not isinstance(kind, str):
            kind = "error" if event.get("error") else ""
        handle = self._handlers.get(kind)
        if handle is not None:
            handle(event, out)
        elif kind not in _SILENT:
            item = self._items.get(_key(event))
            # what the vendor's own tools say on their way stands in their items in the end
            if item is None or item.kind in ("message", "reasoning", *_CALLS):
                self._losses.add("dropped:event", kind[:64])

    # the answer

    def _start(self, event: dict[str, JSON], out: list[Event]) -> None:
        answer = event.get("response")
        if self._started or not isinstance(answer, dict):
            return
        self._started = True
        start = MessageStart(*head(answer))
        self._answer = start.id
        out.append(start)

    def _end(self, event: dict[str, JSON], out: list[Event]) -> None:
        answer = event.get("response")
        if not isinstance(answer, dict):
            self._fail(UpstreamFormatError("The provider's stream ends without its answer."), out)
            return
        failed = failure(answer)
        if failed is not None:
            self._done = True
            out.append(StreamError(failed))
            return
        self._start(event, out)
        output = answer.get("output")
        for place, raw in enumerate(output if isinstance(output, list) else ()):
            if isinstance(raw, dict) and (place not in self._items or not self._items[place].done):
                self._whole(place, raw, out)
        for item in self._items.values():
            self._stop(item, out)
        usage = answer.get("usage")
        if isinstance(usage, dict):
            out.append(UsageUpdate(decode_usage(usage)))
        reason, detail = decode_finish(answer, called=self._called, refused=self._refused)
        out += (Finish(reason, detail=detail), End())
        self._done = True

    def _failed(self, event: dict[str, JSON], out: list[Event]) -> None:
        answer = event.get("response")
        error = failure(answer) if isinstance(answer, dict) else None
        self._done = True
        out.append(StreamError(error or decode_error_object({"message": "The provider failed to answer."})))

    def _error(self, event: dict[str, JSON], out: list[Event]) -> None:
        self._done = True
        out.append(StreamError(decode_error_object(event.get("error") or event)))

    # items

    def _item(self, event: dict[str, JSON], kind: str) -> _Item:
        """The item that an event belongs to; a new one if it was not announced."""
        key = _key(event)
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = _Item(kind)
        return item

    def _added(self, event: dict[str, JSON], out: list[Event]) -> None:
        raw = event.get("item")
        if not isinstance(raw, dict):
            return
        item = self._item(event, str(raw.get("type")))
        if item.kind == "function_call" and not item.open and isinstance(raw.get("name"), str) and raw["name"]:
            self._call(item, raw, _key(event), out)
            if isinstance(raw.get("arguments"), str) and raw["arguments"]:
                item.told.add(-1)
                out.append(BlockDelta(item.open[-1], raw["arguments"]))

    def _call(self, item: _Item, raw: dict[str, JSON], place: JSON, out: list[Event]) -> None:
        self._called = True
        name = flat_name(raw.get("namespace"), str(raw.get("name") or ""))
        self._open(item, -1, ToolCall(call_id(raw, self._answer, place if isinstance(place, int) else 0), name), out)

    def _item_done(self, event: dict[str, JSON], out: list[Event]) -> None:
        raw = event.get("item")
        if isinstance(raw, dict):
            self._whole(_key(event), raw, out)

    def _whole(self, key: JSON, raw: dict[str, JSON], out: list[Event]) -> None:
        """An item is complete: what has not been told of it is told now."""
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = _Item(str(raw.get("type")))
        if item.done:
            return
        item.done = True
        if item.kind == "message":
            content = raw.get("content")
            parts = content if isinstance(content, list) else []
            # Bedrock numbers the parts of its deltas otherwise than those of its items
            if len(item.told) < len(parts):
                for place, part in enumerate(parts):
                    if isinstance(part, dict):
                        self._part(item, place, part, out)
        elif item.kind == "reasoning":
            self._reasoning(item, raw, out)
        elif item.kind == "function_call":
            if -1 not in item.open:
                self._call(item, raw, key, out)
            if -1 not in item.told and isinstance(raw.get("arguments"), str) and raw["arguments"]:
                out.append(BlockDelta(item.open[-1], raw["arguments"]))
        else:
            for block in decode_item(raw, self._answer, key if isinstance(key, int) else 0, self._losses):
                if isinstance(block, ToolCall):
                    self._called = True
                    out += (BlockStart(self._block, ToolCall(block.id, block.name)), BlockDelta(self._block, block.arguments))
                else:
                    out.append(BlockStart(self._block, block))
                out.append(BlockStop(self._block))
                self._block += 1
        self._stop(item, out)

    def _open(self, item: _Item, part: int, block: Text | Refusal | Thinking | ToolCall, out: list[Event]) -> int:
        index = item.open[part] = self._block
        self._block += 1
        out.append(BlockStart(index, block))
        return index

    def _stop(self, item: _Item, out: list[Event]) -> None:
        out += [BlockStop(index) for index in item.open.values()]
        item.open = {}

    # messages

    def _text(self, event: dict[str, JSON], out: list[Event]) -> None:
        delta = event.get("delta")
        item = self._item(event, "message")
        if not isinstance(delta, str) or not delta or item.done:
            return
        if event.get("logprobs"):
            self._losses.add("dropped:logprobs")
        part = _place(event)
        index = item.open.get(part)
        if index is None:
            if part in item.told:
                self._losses.add("dropped:delta", "of a part that was done")
                return
            refusal = event["type"] == "response.refusal.delta"
            self._refused |= refusal
            item.told.add(part)
            index = self._open(item, part, Refusal("") if refusal else Text(""), out)
        out.append(BlockDelta(index, delta))

    def _text_done(self, event: dict[str, JSON], out: list[Event]) -> None:
        kind = "refusal" if event["type"] == "response.refusal.done" else "output_text"
        self._part(self._item(event, "message"), _place(event), {**event, "type": kind}, out)

    def _part_done(self, event: dict[str, JSON], out: list[Event]) -> None:
        part, item = event.get("part"), self._item(event, "message")
        if isinstance(part, dict) and item.kind == "message":
            self._part(item, _place(event), part, out)

    def _part(self, item: _Item, place: int, part: dict[str, JSON], out: list[Event]) -> None:
        """A part is complete."""
        if part.get("annotations"):
            self._losses.add("dropped:citations", "in a stream")
        if place not in item.told:
            for block in decode_part(part, self._losses):
                if isinstance(block, Text | Refusal) and block.text:
                    self._refused |= isinstance(block, Refusal)
                    item.told.add(place)
                    index = self._open(item, place, type(block)(""), out)
                    out.append(BlockDelta(index, block.text))
        index = item.open.pop(place, -1)
        if index >= 0:
            out.append(BlockStop(index))

    def _annotation(self, event: dict[str, JSON], out: list[Event]) -> None:  # noqa: ARG002 - a handler like the others
        self._losses.add("dropped:citations", "in a stream")

    # calls

    def _arguments(self, event: dict[str, JSON], out: list[Event]) -> None:
        item, delta = self._items.get(_key(event)), event.get("delta")
        # those of a call that has no name yet come again with its end
        if item is not None and -1 in item.open and isinstance(delta, str) and delta:
            item.told.add(-1)
            out.append(BlockDelta(item.open[-1], delta))

    def _arguments_done(self, event: dict[str, JSON], out: list[Event]) -> None:
        item = self._items.get(_key(event))
        if item is not None and -1 not in item.told:
            self._arguments({**event, "delta": event.get("arguments")}, out)

    # reasoning

    def _thought(self, event: dict[str, JSON], out: list[Event]) -> None:
        delta, item = event.get("delta"), self._item(event, "reasoning")
        if not isinstance(delta, str) or not delta or item.done:
            return
        kind = event["type"]
        part = (kind, event.get("summary_index", event.get("content_index")))
        if -1 not in item.open:
            self._open(item, -1, Thinking(""), out)
        elif part != item.part:
            if item.part[0] != kind:
                self._losses.add("dropped:delta", "the reasoning itself, beside its summary")
                return
            delta = BREAK + delta
        item.part = part
        out.append(BlockDelta(item.open[-1], delta))

    def _thought_done(self, event: dict[str, JSON], out: list[Event]) -> None:
        if self._item(event, "reasoning").part != ("response.reasoning_summary_text.delta", event.get("summary_index")):
            self._thought({**event, "type": "response.reasoning_summary_text.delta", "delta": event.get("text")}, out)

    def _reasoning(self, item: _Item, raw: dict[str, JSON], out: list[Event]) -> None:
        thought = thinking_of(raw)
        if thought is None:
            return
        if -1 not in item.open:
            if thought.redacted:
                self._open(item, -1, thought, out)
            else:
                index = self._open(item, -1, Thinking(""), out)
                if thought.text:
                    out.append(BlockDelta(index, thought.text))
        out.append(BlockStop(item.open.pop(-1), thought.opaque))


def _key(event: dict[str, JSON]) -> JSON:
    """What tells items apart: their place, or their id where a vendor does not give it."""
    place = event.get("output_index")
    return place if isinstance(place, int) else str(event.get("item_id"))


def _place(event: dict[str, JSON]) -> int:
    place = event.get("content_index")
    return place if isinstance(place, int) else 0
