"""A whole answer as the events of a stream: for a provider that answers a streaming request with one plain body."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from extproc.core.ir import (
    BlockDelta,
    BlockStart,
    BlockStop,
    End,
    Event,
    Finish,
    MessageStart,
    Refusal,
    Response,
    Text,
    Thinking,
    ToolCall,
    UsageUpdate,
)


def events_of(response: Response) -> Iterator[Event]:
    """The events that a stream of `response` would have given, in order."""
    yield MessageStart(response.id, response.model, response.created)
    for index, block in enumerate(response.blocks):
        match block:
            case Thinking(redacted=True):
                yield BlockStart(index, block)
                yield BlockStop(index, block.opaque)
            case Text(text=text) | Thinking(text=text) | Refusal(text=text):
                yield BlockStart(index, replace(block, text=""))
                yield BlockDelta(index, text)
                yield BlockStop(index, None if isinstance(block, Refusal) else block.opaque)
            case ToolCall():
                yield BlockStart(index, replace(block, arguments="", opaque=None))
                yield BlockDelta(index, block.arguments)
                yield BlockStop(index, block.opaque)
            case _:
                yield BlockStart(index, block)
                yield BlockStop(index)
    if response.usage is not None:
        yield UsageUpdate(response.usage)
    yield Finish(response.finish, response.stop_sequence, response.finish_detail)
    yield End()
