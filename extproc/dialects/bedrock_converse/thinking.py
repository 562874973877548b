"""How much to think, in the words of each family of models.

Anthropic's models take a budget or an effort, and manual thinking constrains the rest: it forbids forced tools, must fit under the limit and must
stand in front of a tool loop from its beginning. What the application depends on comes first, so thinking gives way.
Source: https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html,
https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html, recorded requests.
"""

from __future__ import annotations

from extproc.core import claude
from extproc.core.ir import JSON, Reasoning
from extproc.core.losses import Losses
from extproc.dialects.bedrock_converse.draft import Draft

_ANSWER = 4096
"""Tokens for the answer beside a thinking budget, where the client sets no limit."""


def encode_thinking(draft: Draft) -> bool:
    """Writes what the request asks for; says whether an Anthropic model thinks, which constrains its sampling."""
    wanted = draft.request.reasoning
    if wanted is None:
        return False
    if draft.family.thinking == "claude":
        return _claude(draft, wanted)
    _others(draft, wanted)
    return False


def _claude(draft: Draft, wanted: Reasoning) -> bool:
    """Writes the thinking and the effort of an Anthropic model; says whether it thinks."""
    losses = draft.losses
    known = draft.family.claude
    assert known is not None
    thinking: dict[str, JSON] | None = None
    if wanted.enabled is False or wanted.effort == "none" or wanted.budget == 0:
        # older models think only when told to
        thinking = {"type": "disabled"} if known.adaptive else None
    elif not (known.adaptive or known.budget):
        losses.add("dropped:reasoning", "the model does not think")
    elif known.adaptive and (wanted.budget in (None, -1) or not known.budget):
        thinking = {"type": "adaptive"}
        effort = claude.effort(wanted, known, losses)
        if effort is not None:
            draft.members["outputConfig"] = {**draft.members.get("outputConfig", {}), "effort": effort}
    elif wanted.enabled is not None or wanted.effort is not None or wanted.budget is not None:
        thinking = _fitted(draft, claude.budget(wanted, losses))
    if thinking is None:
        return False
    thinks: bool = thinking["type"] != "disabled"
    if wanted.show is not None and thinks:
        thinking["display"] = "summarized" if wanted.show else "omitted"
    draft.fields["thinking"] = thinking
    return thinks


def _fitted(draft: Draft, budget: int) -> dict[str, JSON] | None:
    """Manual thinking that the request allows; None where it must be off."""
    losses, messages, inference = draft.losses, draft.turns.messages, draft.inference
    if draft.tools.get("toolChoice", {}).keys() & {"any", "tool"}:
        losses.add("coerced:thinking", "off: a tool is forced, which manual thinking forbids")
        return None
    if messages[-1]["role"] == "assistant" or not continues_signed(messages):
        losses.add("coerced:thinking", "off: the turn that goes on has no signed thinking in front")
        return None
    most = inference.get("maxTokens")
    if most is None:
        losses.add("defaulted:max_tokens", "thinking counts in the limit")
        most = inference["maxTokens"] = min(budget + _ANSWER, draft.facts.max_output_tokens or budget + _ANSWER)
    fitted = max(claude.MIN_BUDGET, budget if budget < most else most // 2)
    if fitted >= most:
        losses.add("coerced:thinking", f"off: it needs {claude.MIN_BUDGET} tokens, and max_tokens is {most}")
        return None
    if fitted != budget:
        losses.add("coerced:thinking_budget", "the budget must be at least 1024 tokens and less than max_tokens")
    return {"type": "enabled", "budget_tokens": fitted}


def continues_signed(messages: JSON) -> bool:
    """False for a tool loop under way that does not begin with reasoning: manual thinking is refused there.

    The loop is all turns since the user last spoke, tool results not counted. True if there is none. Total: `messages` may be a client's own.
    """
    if not isinstance(messages, list) or not messages or not _holds_result(messages[-1]):
        return True
    first: JSON = None
    for message in reversed(messages):
        if not isinstance(message, dict):
            return True
        if message.get("role") == "assistant":
            first = message.get("content")
        elif not _holds_result(message):
            break
    if first is None:
        return True
    head = first[0] if isinstance(first, list) and first else None
    return isinstance(head, dict) and "reasoningContent" in head


def _holds_result(message: JSON) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    return isinstance(content, list) and any(isinstance(b, dict) and "toolResult" in b for b in content)


_LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def _others(draft: Draft, wanted: Reasoning) -> None:
    """Thinking of the other families, which know efforts only."""
    request, family, fields, losses = draft.request, draft.family, draft.fields, draft.losses
    off = wanted.enabled is False or wanted.effort == "none" or (wanted.budget == 0 and wanted.effort is None)
    if not family.thinking:
        if off or wanted.enabled or wanted.effort or wanted.budget:
            losses.add("dropped:reasoning", "the model thinks, or does not, by itself")
        return
    level = _level(wanted, losses)
    if family.thinking == "nova":
        if off:
            fields["reasoningConfig"] = {"type": "disabled"}
        elif level is not None:
            if level == "high" and not (request.temperature is request.top_p is request.max_tokens is None):
                losses.add("coerced:reasoning_effort", "with temperature, top_p or max_tokens the model takes medium at most")
                level = "medium"
            fields["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": level}
        return
    if off:
        losses.add("coerced:reasoning", "the model cannot switch thinking off: sent as low")
        level = "low"
    if level is None:
        return
    if family.thinking == "effort":
        fields["reasoning_effort"] = level
    else:
        if level == "medium":
            losses.add("coerced:reasoning_effort", "the model knows low and high")
        fields["reasoning_config"] = "low" if level == "low" else "high"


def _level(wanted: Reasoning, losses: Losses) -> str | None:
    """low, medium or high; None where nothing is asked for."""
    if wanted.effort is not None and wanted.effort != "none":
        level = _LEVELS.get(wanted.effort, "medium")
        if level != wanted.effort:
            losses.add("coerced:reasoning_effort", f"the model knows low, medium and high: sent as {level}")
        return level
    if wanted.budget is not None and wanted.budget > 0:
        level = "low" if wanted.budget <= claude.BUDGETS["low"] else "medium" if wanted.budget <= claude.BUDGETS["medium"] else "high"
        losses.add("coerced:thinking_budget", f"the model takes an effort, not a budget: sent as {level}")
        return level
    return "medium" if wanted.enabled else None
