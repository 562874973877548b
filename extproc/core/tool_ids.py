"""Tool calls and their results in formats that answer every call of a turn in the next one: which result belongs to which call.

Ids are unique in a request, although some servers count theirs from zero in every answer. What no repair can guess, a result without its call
or a call without its result, is the client's mistake and answered as such.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from extproc.core.errors import BadRequestError
from extproc.core.ir import ToolResult
from extproc.core.losses import Losses


class ToolIds:
    """Tool calls that wait for their results, and the ids that were given out. Linear in the calls, however they are named."""

    __slots__ = ("_last", "_safe", "_used", "_waiting")

    def __init__(self, safe: Callable[[str], str]) -> None:
        """`safe` makes an id out of the format's own alphabet; "_" and digits are in it."""
        self._safe = safe
        self._used: set[str] = set()
        self._last: dict[str, int] = {}
        self._waiting: dict[str, deque[str]] = {}

    def call(self, call_id: str, losses: Losses) -> str:
        """The id to write for a call; unique, because some servers count from zero in every answer."""
        wire = base = self._safe(call_id)
        number = self._last.get(base, 1)
        while wire in self._used:
            number += 1
            wire = f"{base}_{number}"
        if wire is not base:
            self._last[base] = number
            losses.add("coerced:tool_id", "a tool call id that was used twice got a number")
        self._used.add(wire)
        self._waiting.setdefault(call_id, deque()).append(wire)
        return wire

    def results(self, blocks: list[ToolResult], losses: Losses) -> list[tuple[str, ToolResult]]:
        """Each result with the id to write. Raises `BadRequestError` for a result without a call and a call without a result."""
        paired: list[tuple[str, ToolResult]] = []
        answered: dict[str, ToolResult] = {}
        for block in blocks:
            open_calls = self._waiting.get(block.id)
            if open_calls:
                whole = answered[block.id] = ToolResult(block.id, list(block.content), block.name, block.is_error, block.cache)
                paired.append((open_calls.popleft(), whole))
            elif block.id in answered:
                losses.add("coerced:tool_result", "two results of one tool call were joined")
                whole = answered[block.id]
                whole.content += block.content
                whole.is_error = whole.is_error or block.is_error
                whole.cache = block.cache or whole.cache
            else:
                raise BadRequestError(f"the tool result for {block.id[:64]!r} has no tool call in the turn before it", param="messages")
        self.settle()
        return paired

    def settle(self) -> None:
        """No call may be waiting any more."""
        if not self._waiting:
            return
        missing = next((call_id for call_id, left in self._waiting.items() if left), None)
        if missing is not None:
            raise BadRequestError(f"the tool call {missing[:64]!r} has no tool result right behind it", param="messages")
        self._waiting.clear()
