"""How much to think, in the words of each Gemini generation.

Gemini 2.5 takes `thinkingBudget` (tokens, 0 = off, -1 = the model decides), Gemini 3 and later take `thinkingLevel`; a request with both is
refused, and older models refuse either. The generation is read from the model's name; `-latest` aliases are current models.
Effort to budget is the table of Google's own OpenAI-compatible endpoint. Ranges: https://ai.google.dev/gemini-api/docs/thinking.
"""

from __future__ import annotations

import re
from typing import Any

from extproc.core.ir import Reasoning
from extproc.core.losses import Losses

_GENERATION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 32768}
_LEVELS = ("minimal", "low", "medium", "high")


def generation(model: str) -> float | None:
    """2.5 for `gemini-2.5-pro`; the current one for aliases (`gemini-flash-latest`); None for names that do not say."""
    found = _GENERATION.match(model)
    if found is not None:
        return float(f"{found.group(1)}.{(found.group(2) or '0')[:3]}")
    return 3.0 if model.startswith("gemini-") and "latest" in model else None


def wants_signatures(model: str) -> bool:
    """Does `model` refuse a step whose first function call has no thought signature? Every one since Gemini 3."""
    series = generation(model.rpartition("/")[2])
    return series is not None and series >= 3


def thinking_config(reasoning: Reasoning, model: str, losses: Losses, *, shown: bool | None = None) -> dict[str, Any]:
    """`thinkingConfig` for `model`; empty when the model's default is what was asked for. `shown`: include thoughts if the request does not say."""
    series = generation(model)
    out: dict[str, Any] = {}
    if series is not None and series < 2.5:
        if reasoning.enabled or reasoning.budget or reasoning.effort not in (None, "none"):
            losses.add("dropped:reasoning", f"{model} does not think")
        return out
    show = reasoning.show if reasoning.show is not None else shown
    if show is not None:
        out["includeThoughts"] = show
    if series is not None and series >= 3:
        level = _level(reasoning, model, losses)
        if level is not None:
            out["thinkingLevel"] = level.upper()
    else:
        budget = _budget(reasoning, model, losses)
        if budget is not None:
            out["thinkingBudget"] = budget
    return out


def _is_off(reasoning: Reasoning) -> bool:
    return reasoning.enabled is False or reasoning.effort == "none" or (reasoning.budget == 0 and reasoning.effort is None)


def _level(reasoning: Reasoning, model: str, losses: Losses) -> str | None:
    effort = reasoning.effort
    known = ("low", "high") if model.startswith("gemini-3-pro") else _LEVELS[1:] if "-pro" in model else _LEVELS
    if _is_off(reasoning):
        losses.add("coerced:reasoning", f"{model} cannot switch thinking off: sent as {known[0]}")
        return known[0]
    if effort is None:
        budget = reasoning.budget
        if budget is None or budget < 0:
            return None
        effort = "low" if budget <= 1024 else "medium" if budget <= 8192 else "high"
        losses.add("coerced:thinking_budget", f"{model} takes a thinkingLevel, not a thinkingBudget: sent as {effort}")
    if effort in known:
        return effort
    nearest = known[0] if effort == "minimal" else "high"
    losses.add("coerced:reasoning_effort", f"{model} does not know this effort: sent as {nearest}")
    return nearest


def _budget(reasoning: Reasoning, model: str, losses: Losses) -> int | None:
    low, high, can_stop = (128, 32768, False) if "-pro" in model else (512, 24576, True) if "-lite" in model else (1, 24576, True)
    if _is_off(reasoning):
        if can_stop:
            return 0
        losses.add("coerced:reasoning", f"{model} cannot switch thinking off: sent as {low} tokens")
        return low
    wanted = reasoning.budget
    if wanted is None and reasoning.effort is not None:
        wanted = _BUDGETS.get(reasoning.effort)
        if wanted is None:
            losses.add("coerced:reasoning_effort", "unknown effort: the model decides")
            return -1
    if wanted is None:
        return -1 if reasoning.adaptive else None
    if wanted < 0:
        return -1
    if low <= wanted <= high:
        return wanted
    nearest = min(max(wanted, low), high)
    losses.add("coerced:thinking_budget", f"{model} takes {low} to {high} tokens: sent as {nearest}")
    return nearest


def reasoning_of(config: dict[str, Any]) -> Reasoning:
    """What a client's `thinkingConfig` asks for."""
    out = Reasoning()
    show = config.get("includeThoughts")
    if isinstance(show, bool):
        out.show = show
    budget = config.get("thinkingBudget")
    if isinstance(budget, int) and not isinstance(budget, bool):
        out.budget = budget
        out.enabled = budget != 0
    level = config.get("thinkingLevel")
    if isinstance(level, str) and level.upper() != "THINKING_LEVEL_UNSPECIFIED":
        out.effort = level.lower()
    return out
