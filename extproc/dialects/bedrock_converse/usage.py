"""Bedrock's token counts and the canonical ones: its `inputTokens` leaves out what was read from and written to the cache, its total holds it."""

from __future__ import annotations

from extproc.core.ir import JSON
from extproc.core.losses import Losses
from extproc.core.usage import Usage


def _count(counts: dict[str, JSON], name: str) -> int:
    value = counts.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def decode_usage(counts: JSON) -> Usage | None:
    """None where nothing was counted."""
    if not isinstance(counts, dict):
        return None
    read, write = _count(counts, "cacheReadInputTokens"), _count(counts, "cacheWriteInputTokens")
    return Usage(_count(counts, "inputTokens") + read + write, _count(counts, "outputTokens"), read, write)


def encode_usage(usage: Usage | None, losses: Losses) -> dict[str, JSON]:
    """`usage` of an answer or a stream; zeros if nothing is known."""
    if usage is None:
        losses.add("defaulted:usage", "the provider counted no tokens")
        usage = Usage()
    if usage.reasoning:
        losses.add("dropped:usage_details", "how many of the output's tokens were reasoning")
    out: dict[str, JSON] = {
        "inputTokens": max(usage.input_tokens - usage.cache_read - usage.cache_write, 0),
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total,
    }
    if usage.cache_read or usage.cache_write:
        out |= {"cacheReadInputTokens": usage.cache_read, "cacheWriteInputTokens": usage.cache_write}
    return out
