"""Anthropic's token counts and the canonical ones: its `input_tokens` leaves out what was read from and written to the cache."""

from __future__ import annotations

from extproc.core.ir import JSON
from extproc.core.usage import Usage


def _count(counts: JSON, name: str) -> int | None:
    value = counts.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


class Counts:
    """Counts as they come in: whole in an answer, spread over `message_start` and cumulative `message_delta`s in a stream."""

    __slots__ = ("_fresh", "_output", "_read", "_reasoning", "_write")

    def __init__(self) -> None:
        self._fresh = self._read = self._write = self._output = self._reasoning = 0

    def update(self, counts: JSON) -> Usage:
        """Takes over what `counts` states (a later count replaces an earlier one) and gives the sum of it all."""
        if isinstance(counts, dict):
            fresh, read = _count(counts, "input_tokens"), _count(counts, "cache_read_input_tokens")
            write, output = _count(counts, "cache_creation_input_tokens"), _count(counts, "output_tokens")
            details = counts.get("output_tokens_details")
            reasoning = _count(details, "thinking_tokens") if isinstance(details, dict) else None
            self._fresh = self._fresh if fresh is None else fresh
            self._read = self._read if read is None else read
            self._write = self._write if write is None else write
            self._output = self._output if output is None else output
            self._reasoning = self._reasoning if reasoning is None else reasoning
        return Usage(self._fresh + self._read + self._write, self._output, self._read, self._write, self._reasoning)


def encode_usage(usage: Usage | None) -> dict[str, JSON]:
    """`usage` of an answer or a stream; zeros if nothing is known."""
    if usage is None:
        return {"input_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 0}
    out: dict[str, JSON] = {
        "input_tokens": max(usage.input_tokens - usage.cache_read - usage.cache_write, 0),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning:
        out["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return out
