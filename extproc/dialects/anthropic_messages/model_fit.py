"""What a Messages request must say in other words, because its client named another model than the one that gets it.

Claude's generations refuse each other's settings with a 400: budgets of thinking, adaptive thinking, efforts, sampling parameters, an assistant's
turn at the end (`core.claude` has the rules). A client that names the very generation knows what it takes, and its request stays as it is; so
does one for a model whose generation its name does not tell.
"""

from __future__ import annotations

from extproc.core import claude
from extproc.core.dialect import Facts
from extproc.core.ir import JSON, Reasoning, Request
from extproc.core.losses import Losses
from extproc.dialects.anthropic_messages.parameters import fitted

_EFFORT_ALONE = ("low", "medium", "high")
"""Opus 4.5 takes an effort, and thinks by budget."""


def is_other_model(body: dict[str, JSON], facts: Facts) -> bool:
    """Does the client name another generation than the target's, whose rules are known?"""
    asked = body.get("model")
    made = claude.version(facts.model)
    named = claude.version(asked) if isinstance(asked, str) else claude.NEWEST
    return claude.NEWEST != made != named and asked not in (facts.model, facts.wire_model)


def fit_to_model(body: dict[str, JSON], messages: JSON, facts: Facts, losses: Losses) -> dict[str, JSON]:
    """Top-level members with their new values, None for those that must go. `messages` are those that are sent. Total: members of a wrong
    shape are the provider's to refuse."""
    known = claude.model(facts.model)
    edits: dict[str, JSON] = {}
    limit, most = body.get("max_tokens"), facts.max_output_tokens
    if isinstance(limit, int) and most is not None and limit > most:
        edits["max_tokens"] = limit = most
        losses.add("coerced:max_tokens", f"the model writes at most {most} tokens")
    _thinking(body, messages, limit, known, facts, edits, losses)
    refused: tuple[str, ...] = () if known.sampling else ("temperature", "top_p", "top_k")
    if not refused and not known.both and body.get("temperature") is not None:
        refused = ("top_p",)
    for name in refused:
        value = body.get(name)
        if value is not None:
            edits[name] = None
            if value != 1 or name == "top_k":
                losses.add(f"dropped:{name}", "the model takes temperature or top_p" if known.sampling else "the model takes none")
    return edits


def _thinking(body: dict[str, JSON], messages: JSON, limit: JSON, known: claude.Model, facts: Facts, edits: dict[str, JSON], losses: Losses) -> None:
    thinking, config = body.get("thinking"), body.get("output_config")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    said = config.get("effort") if isinstance(config, dict) else None
    effort = said if isinstance(said, str) else None
    efforts = known.efforts or (_EFFORT_ALONE if "opus-4-5" in facts.model else ())
    if (kind != "enabled" or known.budget) and (kind != "adaptive" or known.adaptive) and (effort is None or effort in efforts):
        return
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    wanted = Reasoning(effort=effort, budget=budget if isinstance(budget, int) else None, adaptive=kind == "adaptive")
    wished = thinking
    if kind in ("enabled", "adaptive") and not (known.adaptive or known.budget):
        losses.add("dropped:reasoning", "the model does not think")
        wished = effort = None
    elif known.adaptive:
        if kind == "enabled" and not known.budget:
            wished = {"type": "adaptive", **_rest(thinking)}
            if effort is not None and wanted.budget is not None:
                losses.add("coerced:thinking_budget", "the model takes an effort, not a budget")
        effort = claude.effort(wanted, known, losses)
    elif kind == "adaptive" and isinstance(limit, int):
        draft = {"type": "enabled", "budget_tokens": claude.budget(wanted, losses), **_rest(thinking)}
        wished = fitted(draft, Request("", [], max_tokens=limit), _said(body, messages, limit), facts, losses)
        effort = effort if effort in efforts else None
    elif effort is not None:
        losses.add("dropped:reasoning_effort", "the model takes none, or not this one")
        effort = None
    if wished is not thinking:
        edits["thinking"] = wished
    if effort != said:
        rest = {name: value for name, value in config.items() if name != "effort"} if isinstance(config, dict) else {}
        edits["output_config"] = (rest if effort is None else {**rest, "effort": effort}) or None


def _rest(thinking: JSON) -> dict[str, JSON]:
    """What a request for thinking says beside its kind."""
    return {name: value for name, value in thinking.items() if name not in ("type", "budget_tokens")} if isinstance(thinking, dict) else {}


def _said(body: dict[str, JSON], messages: JSON, limit: int) -> dict[str, JSON]:
    """The members that manual thinking depends on."""
    choice = body.get("tool_choice")
    turns = [turn for turn in messages if isinstance(turn, dict)] if isinstance(messages, list) else []
    return {"tool_choice": choice if isinstance(choice, dict) else {}, "messages": turns or [{}], "max_tokens": limit}
