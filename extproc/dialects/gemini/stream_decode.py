"""Gemini's streams to events, as server-sent events or as one JSON array (told apart by the first byte).

Every chunk is a whole GenerateContentResponse with more parts. Consecutive text parts are one block until something else, or a signature, comes.
There is no terminator: the finish reason stands in the last chunk, in older models in every chunk, so the last one seen counts, and the
finish is given out when the body ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from extproc.core.errors import ApiError, ErrorKind, UpstreamFormatError
from extproc.core.framing import SSEParser
from extproc.core.ir import (
    BlockDelta,
    BlockStart,
    BlockStop,
    End,
    Event,
    Finish,
    FinishReason,
    Loss,
    MessageStart,
    Opaque,
    StreamError,
    Text,
    Thinking,
    ToolCall,
    UsageUpdate,
)
from extproc.core.losses import Losses
from extproc.core.usage import Usage
from extproc.dialects.gemini.errors import error_of
from extproc.dialects.gemini.json_array import JSONArrayParser
from extproc.dialects.gemini.response import (
    CANDIDATE_CITATIONS,
    block_of,
    blocked_of,
    created_of,
    finish_of,
    first_candidate,
    lost_metadata,
    member,
    members,
    signature_of,
    text_of,
)
from extproc.dialects.gemini.wire import digest, usage_in

_CITATIONS = frozenset(CANDIDATE_CITATIONS)
_BOM = b"\xef\xbb\xbf"


class GeminiStreamDecoder:
    """A `StreamDecoder`."""

    __slots__ = ("_array", "_calls", "_dead", "_finish", "_head", "_index", "_losses", "_open", "_seed", "_sse", "_started", "_usage")

    def __init__(self) -> None:
        self._sse = SSEParser()
        self._array: JSONArrayParser | None = None
        self._head: bytes | None = b""
        self._losses = Losses()
        self._dead = False
        self._started = False
        self._seed = ""
        self._calls = 0
        self._index = 0
        self._open: type[Text | Thinking] | None = None
        self._usage: Usage | None = None
        self._finish: Finish | None = None

    @property
    def losses(self) -> Sequence[Loss]:
        return self._losses

    def feed(self, data: bytes) -> list[Event]:
        out: list[Event] = []
        if self._dead:
            return out
        if self._head is not None:
            data = self._sniff(self._head + data)
        try:
            if self._array is not None:
                for raw in self._array.feed(data):
                    self._chunk(raw, out)
            elif data:
                for event in self._sse.feed(data):
                    self._chunk(event.data, out)
        except ApiError as error:
            self._fail(error, out)
        return out

    def close(self) -> list[Event]:
        out: list[Event] = []
        if self._dead:
            return out
        try:
            if self._head:
                head, self._head = self._head, None
                self._sse.feed(head)
            for event in self._sse.close():
                self._chunk(event.data, out)
        except ApiError as error:
            self._fail(error, out)
        if self._finish is not None and not self._dead:
            self._close_block(None, out)
            out.append(self._finish)
            if self._array is None or self._array.ended:
                out.append(End())
        self._dead = True
        return out

    def _sniff(self, head: bytes) -> bytes:
        """Holds the first bytes until one says which form this is."""
        body = head.removeprefix(_BOM).lstrip()
        if not body or _BOM.startswith(head):
            # white space says nothing and is not kept: there may be no end of it
            self._head = head if _BOM.startswith(head) else b""
            return b""
        self._head = None
        if body[:1] in (b"[", b"{"):
            self._array = JSONArrayParser()
        return body

    def _fail(self, error: ApiError, out: list[Event]) -> None:
        self._dead = True
        out.append(StreamError(error))

    def _chunk(self, raw: bytes, out: list[Event]) -> None:
        if self._dead:
            return
        try:
            chunk = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise UpstreamFormatError("an event of the provider's stream is not JSON") from None
        if not isinstance(chunk, dict):
            raise UpstreamFormatError("an event of the provider's stream is not an object")
        error = chunk.get("error")
        if error is not None:
            self._fail(error_of(error, 200) if isinstance(error, dict) else ApiError(ErrorKind.UPSTREAM, "the provider reported an error"), out)
            return
        if not self._started:
            self._started = True
            self._seed = text_of(chunk.get("responseId"))
            out.append(MessageStart(self._seed, text_of(chunk.get("modelVersion")), created_of(chunk.get("createTime"))))
        candidate = first_candidate(chunk, self._losses)
        if candidate:
            for part in members(member(candidate.get("content"), "content").get("parts"), "parts"):
                if not self._seed and "functionCall" in part:
                    self._seed = digest(raw)
                self._part(part, out)
            if candidate.get("finishReason") is not None:
                self._finish = Finish(*_reason(candidate, self._calls))
            lost_metadata(candidate, self._losses)
            if not _CITATIONS.isdisjoint(candidate) and any(candidate.get(name) is not None for name in CANDIDATE_CITATIONS):
                self._losses.add("dropped:citations", "grounding comes behind the text of a stream and has no event")
        blocked = blocked_of(chunk) if "promptFeedback" in chunk else None
        if blocked is not None and not candidate:
            self._finish = Finish(FinishReason.CONTENT_FILTER, detail=blocked)
        usage = usage_in(member(chunk.get("usageMetadata"), "usageMetadata"))
        if usage is not None and usage != self._usage:
            self._usage = usage
            out.append(UsageUpdate(usage))

    def _part(self, part: dict[str, Any], out: list[Event]) -> None:
        block = block_of(part, self._seed, self._calls, self._losses)
        if isinstance(block, Text | Thinking):
            if type(block) is not self._open:
                self._close_block(None, out)
                self._open = type(block)
                out.append(BlockStart(self._index, self._open("")))
            if block.text:
                out.append(BlockDelta(self._index, block.text))
            if block.opaque is not None:
                self._close_block(block.opaque, out)
        elif isinstance(block, ToolCall):
            self._close_block(None, out)
            self._calls += 1
            out.append(BlockStart(self._index, ToolCall(block.id, block.name)))
            out.append(BlockDelta(self._index, block.arguments or "{}"))
            out.append(BlockStop(self._index, block.opaque))
            self._index += 1
        elif block is not None:
            self._close_block(None, out)
            out.append(BlockStart(self._index, block))
            out.append(BlockStop(self._index, signature_of(part)))
            self._index += 1

    def _close_block(self, opaque: Opaque | None, out: list[Event]) -> None:
        if self._open is not None:
            out.append(BlockStop(self._index, opaque))
            self._open = None
            self._index += 1


def _reason(candidate: dict[str, Any], calls: int) -> tuple[FinishReason, None, str | None]:
    reason, detail = finish_of(candidate, has_calls=calls > 0)
    return reason, None, detail
