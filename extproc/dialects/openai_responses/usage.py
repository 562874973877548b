"""Token counts of Responses, and how an answer ended, both ways.

The format has no finish reason: `status` with `incomplete_details`, and what the output holds. Counts of the newest SDK must have
`input_tokens_details.cache_write_tokens`, which most recorded answers lack.
"""

from __future__ import annotations

from extproc.core.ir import JSON, FinishReason
from extproc.core.usage import Usage

_INCOMPLETE = {"max_output_tokens": FinishReason.LENGTH, "content_filter": FinishReason.CONTENT_FILTER}
_REASONS = {
    FinishReason.LENGTH: "max_output_tokens",
    FinishReason.CONTEXT_WINDOW: "max_output_tokens",
    FinishReason.CONTENT_FILTER: "content_filter",
}
COERCED = frozenset({FinishReason.PAUSE, FinishReason.MALFORMED_TOOL_CALL, FinishReason.OTHER})
"""Reasons that the format has no word for: the answer is completed, with a loss."""


def _count(value: JSON) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def decode_usage(raw: dict[str, JSON]) -> Usage:
    """Total over all shapes: what is no positive integer counts 0."""
    given, details = raw.get("input_tokens_details"), raw.get("output_tokens_details")
    given = given if isinstance(given, dict) else {}
    details = details if isinstance(details, dict) else {}
    sent = _count(raw.get("input_tokens"))
    cached = min(_count(given.get("cached_tokens")), sent)
    return Usage(
        input_tokens=sent,
        output_tokens=_count(raw.get("output_tokens")),
        cache_read=cached,
        cache_write=min(_count(given.get("cache_write_tokens")), sent - cached),
        reasoning=_count(details.get("reasoning_tokens")),
    )


def encode_usage(usage: Usage) -> dict[str, JSON]:
    """The `usage` object."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }


def decode_finish(answer: dict[str, JSON], *, called: bool, refused: bool) -> tuple[FinishReason, str | None]:
    """(reason, the provider's own word if it is unusual). Some vendors leave `status` out or say "complete"."""
    status = answer.get("status")
    if status in (None, "completed", "complete"):
        return FinishReason.TOOL_CALLS if called else FinishReason.REFUSAL if refused else FinishReason.STOP, None
    details = answer.get("incomplete_details")
    word = details.get("reason") if isinstance(details, dict) else None
    reason = _INCOMPLETE.get(word, FinishReason.OTHER) if isinstance(word, str) else FinishReason.OTHER
    return reason, str(word or status)[:100] if reason is FinishReason.OTHER else None


def encode_finish(reason: FinishReason, *, refused: bool) -> tuple[str, str | None]:
    """(status, the reason of an incomplete answer)."""
    if reason is FinishReason.REFUSAL and not refused:
        return "incomplete", "content_filter"
    word = _REASONS.get(reason)
    return ("incomplete", word) if word else ("completed", None)
