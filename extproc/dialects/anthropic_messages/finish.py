"""Stop reasons both ways. Source: the SDK's `StopReason` and `RefusalStopDetails`."""

from __future__ import annotations

from extproc.core.ir import JSON, FinishReason

_DECODE = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "max_tokens": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "pause_turn": FinishReason.PAUSE,
    "refusal": FinishReason.REFUSAL,
    "model_context_window_exceeded": FinishReason.CONTEXT_WINDOW,
}
_ENCODE = {reason: word for word, reason in _DECODE.items()} | {FinishReason.CONTENT_FILTER: "refusal"}


def decode_finish(word: str, details: JSON) -> tuple[FinishReason, str | None]:
    """(the reason, the provider's words for it). A newer stop reason is OTHER, with its name as the words."""
    reason = _DECODE.get(word, FinishReason.OTHER)
    if reason is FinishReason.OTHER:
        return reason, word[:64]
    explanation = details.get("explanation") if isinstance(details, dict) else None
    return reason, explanation if isinstance(explanation, str) else None


def encode_finish(reason: FinishReason, detail: str | None, *, refused: bool, calls: bool) -> tuple[str, JSON, bool]:
    """(`stop_reason`, `stop_details`, whether the reason has a word in this format).

    `refused`: the answer holds a refusal block, which other formats finish as an ordinary stop. `calls`: it holds tool calls, which some
    formats do too, and Anthropic's clients run tools only on `tool_use`.
    """
    word = _ENCODE.get(reason)
    carried = word is not None
    if word in (None, "end_turn"):
        word = "refusal" if refused else "tool_use" if calls else "end_turn"
    details = {"type": "refusal", "category": None, "explanation": detail} if word == "refusal" else None
    return str(word), details, carried
