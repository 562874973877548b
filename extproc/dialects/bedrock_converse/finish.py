"""Stop reasons both ways, and the matching stop sequence beside them. Source: `StopReason` of the service model."""

from __future__ import annotations

from extproc.core.ir import JSON, FinishReason

_DECODE = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "max_tokens": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "content_filtered": FinishReason.CONTENT_FILTER,
    "guardrail_intervened": FinishReason.CONTENT_FILTER,
    "malformed_tool_use": FinishReason.MALFORMED_TOOL_CALL,
    "model_context_window_exceeded": FinishReason.CONTEXT_WINDOW,
    "malformed_model_output": FinishReason.OTHER,
    "refusal": FinishReason.REFUSAL,
    "pause_turn": FinishReason.PAUSE,
}
_ENCODE = {
    FinishReason.STOP: "end_turn",
    FinishReason.STOP_SEQUENCE: "stop_sequence",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "content_filtered",
    FinishReason.REFUSAL: "content_filtered",
    FinishReason.MALFORMED_TOOL_CALL: "malformed_tool_use",
    FinishReason.CONTEXT_WINDOW: "model_context_window_exceeded",
}
_UNUSUAL = {"guardrail_intervened", "malformed_model_output"}
"""Words that several of ours stand for: they go into the detail, so that they can be written back."""


def decode_finish(word: str) -> tuple[FinishReason, str | None]:
    """(the reason, AWS's own word where it says more). A newer stop reason is OTHER."""
    reason = _DECODE.get(word)
    if reason is None:
        return FinishReason.OTHER, word[:64]
    return reason, word if word in _UNUSUAL else None


def encode_finish(reason: FinishReason, detail: str | None, *, refused: bool, calls: bool) -> tuple[str, bool]:
    """(`stopReason`, whether the reason has a word in this format).

    `refused`: the answer holds a refusal block, which other formats finish as an ordinary stop. `calls`: it holds tool calls, which some formats
    do too, and clients run tools only on `tool_use`.
    """
    if detail in _UNUSUAL and _DECODE[str(detail)] is reason:
        return str(detail), True
    word = _ENCODE.get(reason)
    if word in (None, "end_turn"):
        return "content_filtered" if refused else "tool_use" if calls else "end_turn", word is not None
    return str(word), True


def stop_sequence(fields: JSON) -> str | None:
    """The stop sequence that matched, in `additionalModelResponseFields`: Anthropic's models say it where they are asked to."""
    value = fields.get("stop_sequence") if isinstance(fields, dict) else None
    return value if isinstance(value, str) else None
