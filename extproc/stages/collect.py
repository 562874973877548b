"""A stream's events back into one answer: for telemetry that was switched on to record what was said. Off, nothing here runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from extproc.core.ir import (
    Block,
    BlockDelta,
    BlockStart,
    Event,
    Finish,
    FinishReason,
    MessageStart,
    Refusal,
    Response,
    Text,
    Thinking,
    ToolCall,
    UsageUpdate,
)

LIMIT = 64 << 10
"""Characters of text that are kept: a span's attribute is cut far below this."""


class Collector:
    """Feed it the events of one answer; `response` is what came of it, also of one that was cut."""

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}
        self._texts: dict[int, list[str]] = {}
        self._size = 0
        self._response = Response("", "", [], FinishReason.OTHER)

    def feed(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case MessageStart():
                    self._response.id, self._response.model = event.id, event.model
                case BlockStart():
                    self._blocks[event.index] = event.block
                case BlockDelta() if self._size < LIMIT:
                    self._size += len(event.text)
                    self._texts.setdefault(event.index, []).append(event.text)
                case Finish():
                    self._response.finish = event.reason
                case UsageUpdate():
                    self._response.usage = event.usage
                case _:
                    continue

    @property
    def response(self) -> Response:
        return replace(self._response, blocks=[self._whole(i, b) for i, b in sorted(self._blocks.items())])

    def _whole(self, index: int, block: Block) -> Block:
        text = "".join(self._texts.get(index, ()))
        if isinstance(block, Text | Thinking | Refusal):
            return replace(block, text=block.text + text)
        if isinstance(block, ToolCall):
            return replace(block, arguments=block.arguments + text)
        return block
