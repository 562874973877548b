"""Events to Gemini's stream for clients: server-sent events or the members of one JSON array, each a GenerateContentResponse with the new parts.

Function calls have no deltas in this format: their arguments are held until the block is whole. The finish reason and the token counts stand
in the last chunk, which is written at the clean end only: a stream without it is truncated, and clients can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from extproc.core.dialect import Reply
from extproc.core.framing import sse
from extproc.core.ir import (
    Block,
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
from extproc.core.usage import Usage
from extproc.dialects.gemini.errors import encode_stream_error
from extproc.dialects.gemini.json_array import JSONArrayWriter, one_line
from extproc.dialects.gemini.response import answer_part, finish_members, prompt_feedback
from extproc.dialects.gemini.signature import Carried
from extproc.dialects.gemini.wire import ARRAY, VENDOR, usage_out


class GeminiStreamEncoder:
    """A `StreamEncoder`. Total: an event that fits nowhere writes nothing."""

    __slots__ = ("_array", "_blocks", "_carried", "_done", "_finish", "_id", "_losses", "_model", "_texts", "_usage", "_wrote")

    def __init__(self, reply: Reply) -> None:
        self._array = JSONArrayWriter() if reply.form == ARRAY else None
        self._id = reply.id
        self._model = reply.model
        self._losses = Losses()
        self._blocks: dict[int, Block] = {}
        self._texts: dict[int, list[str]] = {}
        self._carried = Carried()
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._wrote = False
        self._done = False

    @property
    def losses(self) -> Sequence[Loss]:
        return self._losses

    def encode(self, event: Event) -> bytes:
        if self._array is None:
            return self._event(event)
        # an error that comes before anything else stands in the array too
        return self._array.open() + self._event(event)

    def _event(self, event: Event) -> bytes:
        if self._done:
            return b""
        if isinstance(event, BlockDelta):
            return self._delta(event)
        if isinstance(event, BlockStart):
            return self._start(event)
        if isinstance(event, BlockStop):
            return self._stop(event)
        if isinstance(event, UsageUpdate):
            self._usage = event.usage
        elif isinstance(event, MessageStart):
            self._id = event.id or self._id
        elif isinstance(event, Finish):
            self._finish = event
        elif isinstance(event, StreamError):
            self._done = True
            return encode_stream_error(event.error, "" if self._array is None else ARRAY)
        elif isinstance(event, End):
            return self._end()
        return b""

    def _start(self, event: BlockStart) -> bytes:
        block = event.block
        if isinstance(block, Text | Refusal | Thinking | ToolCall):
            self._blocks[event.index] = block
            if isinstance(block, Refusal):
                self._losses.add("coerced:refusal", "a refusal was sent as text")
            if isinstance(block, ToolCall):
                self._texts[event.index] = [block.arguments]
            elif block.text:
                return self._delta(BlockDelta(event.index, block.text))
            return b""
        return self._part(answer_part(block, self._carried, self._losses))

    def _delta(self, event: BlockDelta) -> bytes:
        block = self._blocks.get(event.index)
        if block is None or not event.text:
            return b""
        if isinstance(block, ToolCall):
            self._texts[event.index].append(event.text)
            return b""
        if not isinstance(block, Thinking):
            return self._part({"text": event.text})
        # kept for the function call that may follow: another vendor's signed reasoning travels with it
        self._texts.setdefault(event.index, []).append(event.text)
        return self._part({"text": event.text, "thought": True})

    def _stop(self, event: BlockStop) -> bytes:
        block = self._blocks.pop(event.index, None)
        text = "".join(self._texts.pop(event.index, ()))
        opaque = event.opaque
        if isinstance(block, ToolCall):
            whole = ToolCall(block.id, block.name, text, opaque or block.opaque)
            return self._part(answer_part(whole, self._carried, self._losses))
        if block is None:
            return b""
        opaque = opaque or (block.opaque if isinstance(block, Text | Thinking) else None)
        if isinstance(block, Thinking) and opaque is not None and opaque.vendor != VENDOR:
            self._carried.wait(Thinking(text, opaque, block.redacted))
            return b""
        slot = self._carried.text(opaque)
        if not slot:
            return b""
        # the signature of what has gone out already: on an empty part of its own, as Gemini itself sends it
        part: dict[str, Any] = {"text": "", "thoughtSignature": slot}
        return self._part(part | {"thought": True} if isinstance(block, Thinking) else part)

    def _part(self, part: dict[str, Any] | None) -> bytes:
        if part is None:
            return b""
        self._wrote = True
        return self._chunk({"candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0}]})

    def _chunk(self, chunk: dict[str, Any]) -> bytes:
        chunk["modelVersion"] = self._model
        chunk["responseId"] = self._id
        raw = orjson.dumps(chunk)
        # tool arguments are as the model wrote them, and may hold line ends
        return sse(one_line(raw)) if self._array is None else self._array.add(raw)

    def _end(self) -> bytes:
        self._done = True
        if self._finish is None:
            return b""
        if any(isinstance(block, ToolCall) for block in self._blocks.values()):
            self._losses.add("dropped:tool_call", "a tool call that was never finished")
        if self._finish.stop_sequence is not None:
            self._losses.add("dropped:stop_sequence", "which stop sequence matched has no place")
        rest = self._carried.rest()
        feedback = prompt_feedback(self._finish.detail) if not self._wrote and not rest else None
        chunk: dict[str, Any]
        if feedback is not None:
            chunk = {"promptFeedback": feedback}
        else:
            finish = finish_members(self._finish.reason, self._finish.detail)
            last = {"text": "", "thoughtSignature": rest} if rest else {"text": ""}
            chunk = {"candidates": [{"content": {"parts": [last], "role": "model"}, **finish, "index": 0}]}
        if self._usage is not None:
            chunk["usageMetadata"] = usage_out(self._usage)
        out = self._chunk(chunk)
        return out if self._array is None else out + self._array.close()
