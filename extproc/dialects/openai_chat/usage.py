"""Token counts and finish reasons of Chat Completions, both ways.

Vendors disagree on what `completion_tokens` holds: xAI and Gemini's compatible endpoint leave reasoning out, and then prompt + completion falls
short of `total_tokens` by exactly that (all recorded answers). So the excess over the sum is reasoning, whoever sent it; no switch is needed.
"""

from __future__ import annotations

from extproc.core.errors import ApiError, ErrorKind
from extproc.core.ir import JSON, FinishReason
from extproc.core.usage import Usage

_FINISH = {
    "stop": FinishReason.STOP,
    "": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.CONTEXT_WINDOW,
    "tool_calls": FinishReason.TOOL_CALLS,
    "tool_use": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_FAILED = {
    "error": ErrorKind.UPSTREAM,
    "abort": ErrorKind.UPSTREAM,
    "insufficient_system_resource": ErrorKind.OVERLOADED,
}
"""Words for an answer that broke off: Mistral, OpenRouter; vLLM and SGLang; DeepSeek."""
_WORDS = {
    FinishReason.STOP: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.CONTEXT_WINDOW: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.REFUSAL: "content_filter",
    FinishReason.PAUSE: "stop",
    FinishReason.MALFORMED_TOOL_CALL: "stop",
    FinishReason.OTHER: "stop",
}
COERCED = frozenset({FinishReason.PAUSE, FinishReason.MALFORMED_TOOL_CALL, FinishReason.OTHER})
"""Reasons that Chat Completions has no word for: it gets "stop", with a loss."""


def _count(value: JSON) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def decode_usage(raw: dict[str, JSON]) -> Usage:
    """Total over all shapes: what is no positive integer counts 0."""
    prompt = raw.get("prompt_tokens_details")
    prompt = prompt if isinstance(prompt, dict) else {}
    details = raw.get("completion_tokens_details")
    details = details if isinstance(details, dict) else {}
    sent, given = _count(raw.get("prompt_tokens")), _count(raw.get("completion_tokens"))
    hidden = max(_count(raw.get("total_tokens")) - sent - given, 0)
    cached = (
        _count(prompt.get("cached_tokens"))
        or _count(raw.get("prompt_cache_hit_tokens"))
        or _count(raw.get("num_cached_tokens"))
        or _count(raw.get("cached_tokens"))
    )
    if cached > sent:
        # Azure's Grok counts beside the prompt what it read from the cache
        sent += cached
    return Usage(
        input_tokens=sent,
        output_tokens=given + hidden,
        cache_read=cached,
        # OpenRouter reports for Gemini the same tokens as read and as written
        cache_write=min(_count(prompt.get("cache_write_tokens")), sent - cached),
        reasoning=_count(details.get("reasoning_tokens")) or hidden,
    )


def encode_usage(usage: Usage) -> dict[str, JSON]:
    """The `usage` object, with the details that SDKs of older versions expect."""
    prompt: dict[str, JSON] = {"cached_tokens": usage.cache_read, "audio_tokens": 0}
    if usage.cache_write:
        prompt["cache_write_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def finish_error(word: JSON) -> ApiError | None:
    """The failure that some vendors report as a reason to finish."""
    kind = _FAILED.get(word) if isinstance(word, str) else None
    return ApiError(kind, f"The provider broke the answer off: {word}.") if kind is not None else None


def decode_finish(word: JSON, *, called: bool, refused: bool) -> tuple[FinishReason, str | None]:
    """(reason, the provider's own word if it is unusual). A "stop" behind tool calls (a forced tool; some vendors always) means the calls,
    and so does the empty word that Snowflake ends with, xAI at times."""
    reason = _FINISH.get(word, FinishReason.OTHER) if isinstance(word, str) else FinishReason.OTHER
    if reason is FinishReason.STOP and called:
        reason = FinishReason.TOOL_CALLS
    elif reason is FinishReason.STOP and refused:
        reason = FinishReason.REFUSAL
    return reason, str(word)[:100] if reason is FinishReason.OTHER and word else None


def encode_finish(reason: FinishReason, *, refused: bool, functions: bool) -> str:
    """OpenAI says "stop" where the message itself holds the refusal, and the older form has its own word for a call."""
    if reason is FinishReason.REFUSAL and refused:
        return "stop"
    if reason is FinishReason.TOOL_CALLS and functions:
        return "function_call"
    return _WORDS[reason]
