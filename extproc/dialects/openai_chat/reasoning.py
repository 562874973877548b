"""How a request asks for thoughts, both ways: `reasoning_effort`, and what vendors have in its place or beside it.

OpenRouter's `reasoning` object, the `thinking` switch of DeepSeek and Z.ai, Groq's `reasoning_format` and `include_reasoning`, Mistral's
`prompt_mode`, vLLM's `chat_template_kwargs.enable_thinking`.
References: https://openrouter.ai/docs/use-cases/reasoning-tokens, https://api-docs.deepseek.com/guides/thinking_mode,
https://console.groq.com/docs/reasoning, https://docs.mistral.ai/capabilities/reasoning
"""

from __future__ import annotations

import re

from extproc.core import openai_models as models
from extproc.core.dialect import Facts
from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON, Reasoning
from extproc.core.losses import Losses
from extproc.dialects.openai_chat import members

MEMBERS = frozenset({"reasoning_effort", "reasoning", "thinking", "prompt_mode", "include_reasoning", "reasoning_format", "chat_template_kwargs"})
"""Members of a request that say how to think."""

_TAGGED = re.compile(r"qwen|qwq|deepseek-r1")
"""Models that think aloud in `<think>` tags unless the provider is asked to part the thoughts from the text."""
_ALWAYS = re.compile(r"magistral")
_OBJECT_EFFORTS = ("minimal", "low", "medium", "high", "xhigh")


def decode_reasoning(body: dict[str, JSON], losses: Losses) -> Reasoning | None:
    """Raises `BadRequestError` for an effort that is no string."""
    if not body.keys() & MEMBERS:
        return None
    effort = body.get("reasoning_effort")
    if effort is not None and not isinstance(effort, str):
        raise BadRequestError("reasoning_effort must be a string", param="reasoning_effort")
    # "default" is Groq's word for saying nothing
    reasoning = Reasoning(effort=effort if effort and effort != "default" else None)
    router, switch, template = body.get("reasoning"), body.get("thinking"), body.get("chat_template_kwargs")
    if isinstance(template, dict):
        losses.unknown("chat_template_kwargs", template, frozenset({"enable_thinking", "thinking"}))
        said = template.get("enable_thinking", template.get("thinking"))
        reasoning.enabled = said if isinstance(said, bool) else None
    if body.get("prompt_mode") == "reasoning":
        reasoning.enabled = True
    if isinstance(body.get("include_reasoning"), bool):
        reasoning.show = body["include_reasoning"]
    if isinstance(body.get("reasoning_format"), str):
        reasoning.show = body["reasoning_format"] != "hidden"
    if isinstance(router, dict):
        losses.unknown("reasoning", router, frozenset({"effort", "max_tokens", "enabled", "exclude"}))
        reasoning.effort = reasoning.effort or (router["effort"] if isinstance(router.get("effort"), str) else None)
        reasoning.budget = router["max_tokens"] if isinstance(router.get("max_tokens"), int) else None
        reasoning.enabled = router["enabled"] if isinstance(router.get("enabled"), bool) else reasoning.enabled
        reasoning.show = not router["exclude"] if isinstance(router.get("exclude"), bool) else reasoning.show
    if isinstance(switch, dict):
        losses.unknown("thinking", switch, frozenset({"type"}))
        reasoning.enabled = {"enabled": True, "disabled": False}.get(str(switch.get("type")), reasoning.enabled)
    if reasoning.effort == "none":
        reasoning.enabled = False
    return reasoning if reasoning != Reasoning() else None


def encode_reasoning(body: dict[str, JSON], reasoning: Reasoning | None, facts: Facts, losses: Losses) -> str | None:
    """Sets the members that the target takes; gives the effort that was set in `reasoning_effort`."""
    _show(body, reasoning, facts, losses)
    if reasoning is None:
        return None
    if "reasoning_object" in facts.quirks:
        _object(body, reasoning, losses)
        return None
    wanted = "none" if reasoning.enabled is False else reasoning.effort
    if wanted is None and reasoning.budget is not None and reasoning.budget >= 0:
        wanted = models.budget_effort(reasoning.budget)
        losses.add("coerced:thinking_budget", f"effort {wanted}")
    if "thinking_switch" in facts.quirks and (wanted is not None or reasoning.enabled):
        body["thinking"] = {"type": "disabled" if wanted == "none" else "enabled"}
        if wanted == "none":
            return None
    known = members.efforts(facts)
    if wanted is None:
        # "think as you see fit" is what a reasoning model does unasked
        if reasoning.enabled and not known and "thinking" not in body and not _ALWAYS.search(facts.model):
            losses.add("dropped:reasoning", "the model does not reason")
        return None
    if not known:
        if wanted != "none" and not _ALWAYS.search(facts.model):
            losses.add("dropped:reasoning", "the model does not take an effort")
        return None
    effort = members.nearest(wanted, known)
    if effort is None or (wanted == "none" and effort != "none" and facts.vendor != "openai"):
        losses.add("dropped:reasoning_effort", "not an effort that the model takes")
        return None
    if effort != wanted:
        losses.add("coerced:reasoning_effort", f"{wanted} to {effort}")
    body["reasoning_effort"] = effort
    return effort


def _object(body: dict[str, JSON], reasoning: Reasoning, losses: Losses) -> None:
    """OpenRouter's object: an effort or a budget, never both."""
    said: dict[str, JSON] = {}
    if reasoning.enabled is False:
        said["enabled"] = False
    elif reasoning.budget is not None and reasoning.budget > 0:
        said["max_tokens"] = reasoning.budget
    elif reasoning.effort is not None:
        effort = models.nearest(reasoning.effort, _OBJECT_EFFORTS)
        if effort is None:
            losses.add("dropped:reasoning_effort", "not an effort that the model takes")
        else:
            said["effort"] = effort
            if effort != reasoning.effort:
                losses.add("coerced:reasoning_effort", f"{reasoning.effort} to {effort}")
    elif reasoning.enabled or reasoning.adaptive:
        said["enabled"] = True
    if reasoning.show is False and said.get("enabled") is not False:
        said["exclude"] = True
    if said:
        body["reasoning"] = said


def _show(body: dict[str, JSON], reasoning: Reasoning | None, facts: Facts, losses: Losses) -> None:
    """Whether thoughts are to be part of the answer."""
    show = reasoning.show if reasoning is not None else None
    if "reasoning_format" in facts.quirks:
        if _TAGGED.search(facts.model):
            body["reasoning_format"] = "hidden" if show is False else "parsed"
        elif show is False and members.efforts(facts):
            body["include_reasoning"] = False
    elif show is not None and show is (facts.vendor == "openai") and "reasoning_object" not in facts.quirks:
        # OpenAI's chat never shows thoughts, and vendors that show them do so unasked
        losses.add("dropped:reasoning_show")


def native(facts: Facts) -> frozenset[str]:
    """Those of `MEMBERS` that the target understands as they are."""
    words = {"reasoning_effort"}
    if "reasoning_object" in facts.quirks:
        words |= {"reasoning", "include_reasoning"}
    if "thinking_switch" in facts.quirks:
        words.add("thinking")
    if "reasoning_format" in facts.quirks:
        words |= {"reasoning_format", "include_reasoning"}
    if "mistral_members" in facts.quirks:
        words.add("prompt_mode")
    if members.taken(facts) is None and len(words) == 1 and "efforts_by_model" not in facts.quirks:
        # who ignores what it does not know may know any of them
        return MEMBERS
    return frozenset(words)
