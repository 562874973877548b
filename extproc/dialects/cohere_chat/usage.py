"""Token counts and finish reasons of Cohere v2, both ways.

`tokens` is what the model read and wrote, `billed_units` what of it is paid for (without Cohere's own preamble), so `tokens` counts. Measured on
recorded answers: `cached_tokens` and `reasoning_tokens` are parts of the input and the output, `image_tokens` stand beside `input_tokens`.
"""

from __future__ import annotations

from extproc.core.errors import ApiError, ErrorKind
from extproc.core.ir import JSON, FinishReason
from extproc.core.usage import Usage

_DECODE = {
    "COMPLETE": FinishReason.STOP,
    "STOP_SEQUENCE": FinishReason.STOP_SEQUENCE,
    "MAX_TOKENS": FinishReason.LENGTH,
    "TOOL_CALL": FinishReason.TOOL_CALLS,
    "ERROR_LIMIT": FinishReason.CONTEXT_WINDOW,
    "ERROR_TOXIC": FinishReason.CONTENT_FILTER,
}
"""The last two are words of the first API version, which servers of the second may still say."""
_FAILED = {"ERROR": ErrorKind.INTERNAL, "TIMEOUT": ErrorKind.TIMEOUT}
_ENCODE = {
    FinishReason.STOP: "COMPLETE",
    FinishReason.STOP_SEQUENCE: "STOP_SEQUENCE",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.CONTEXT_WINDOW: "MAX_TOKENS",
    FinishReason.TOOL_CALLS: "TOOL_CALL",
}
"""MAX_TOKENS is documented for the end of the context window too."""


def _count(counts: JSON, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 << 53 else 0


def decode_usage(raw: dict[str, JSON]) -> Usage:
    """Total over all shapes: what is no positive number counts 0."""
    tokens = raw.get("tokens")
    if not isinstance(tokens, dict) or not tokens:
        tokens = raw.get("billed_units")
    sent = _count(tokens, "input_tokens") + _count(tokens, "image_tokens")
    given = _count(tokens, "output_tokens")
    return Usage(
        input_tokens=sent,
        output_tokens=given,
        cache_read=min(_count(raw, "cached_tokens"), sent),
        reasoning=min(_count(tokens, "reasoning_tokens"), given),
    )


def encode_usage(usage: Usage) -> dict[str, JSON]:
    """The `usage` object. Another vendor bills what it counts, so both are the same."""
    counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    tokens = counts | ({"reasoning_tokens": usage.reasoning} if usage.reasoning else {})
    return {"billed_units": counts, "tokens": tokens, "cached_tokens": usage.cache_read}


def failure(word: JSON, message: JSON) -> ApiError | None:
    """The error that a finish reason stands for, if it is one: what came before it is no answer."""
    kind = _FAILED.get(word) if isinstance(word, str) else None
    if kind is None:
        return None
    said = message[:4096] if isinstance(message, str) and message else "the provider could not finish the answer"
    return ApiError(kind, said, raw_type=str(word))


def decode_finish(word: JSON, *, called: bool) -> tuple[FinishReason, str | None]:
    """(reason, the provider's own word if it is unusual)."""
    reason = _DECODE.get(word, FinishReason.OTHER) if isinstance(word, str) else FinishReason.OTHER
    if reason is FinishReason.STOP and called:
        reason = FinishReason.TOOL_CALLS
    return reason, str(word)[:64] if reason is FinishReason.OTHER and word else None


def encode_finish(reason: FinishReason, *, called: bool) -> tuple[str, bool]:
    """(`finish_reason`, whether the reason has a word in this format)."""
    word = _ENCODE.get(reason)
    if word == "COMPLETE" and called:
        return "TOOL_CALL", True
    return word or "COMPLETE", word is not None
