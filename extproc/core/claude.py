"""What the published Claude models take, as far as encoding a request depends on it: through Anthropic's own format and through Bedrock's.

Some generations changed what is valid, and the API answers 400 for what a model does not take:

* 3.7 brought manual thinking, 4.1 refuses temperature and top_p together.
* 4.6 brought adaptive thinking and `output_config.effort` (effort alone came with Opus 4.5); forced tools are allowed beside it. It refuses
  an assistant's turn at the end.
* 4.7 refuses manual thinking budgets and sampling parameters, and knows effort `xhigh`.

The version is read from the name (`claude-opus-4-6`, `claude-3-7-sonnet-20250219`, `eu.anthropic.claude-sonnet-4-5-20250929-v1:0`). A
Claude whose version cannot be read counts as the newest, another vendor's model as one that takes the classic parameters.
Source: https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking and recorded answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from extproc.core.ir import Reasoning
from extproc.core.losses import Losses

_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?")
NEWEST = (9, 9)
"""The version of a name that tells none."""

MIN_BUDGET = 1024
"""Tokens, the least that manual thinking takes."""

BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 32768}
"""Tokens for an effort on models without one."""
_LEVELS = ("minimal", "low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, slots=True)
class Model:
    """`adaptive`: takes `thinking: {type: adaptive}` and an effort. `budget`: takes a manual budget. `sampling`: takes temperature, top_p or top_k.
    `both`: takes temperature and top_p in one request. `prefill`: goes on with an assistant's last turn."""

    adaptive: bool = False
    budget: bool = True
    sampling: bool = True
    both: bool = True
    prefill: bool = True
    efforts: tuple[str, ...] = ()


_CLASSIC = Model()


def version(name: str) -> tuple[int, int]:
    """(4, 6) for `claude-opus-4-6`."""
    found = _VERSION.search(name)
    return (int(found[1]), int(found[2] or 0)) if found else NEWEST


@lru_cache(maxsize=256)
def model(name: str) -> Model:
    """The facts for a provider's model name."""
    if "claude" not in name:
        return _CLASSIC
    made = version(name)
    if made < (3, 7):
        return Model(budget=False)
    if made < (4, 6):
        return Model(both=made < (4, 1))
    if made < (4, 7):
        return Model(adaptive=True, both=False, prefill=False, efforts=("low", "medium", "high", "max"))
    return Model(adaptive=True, budget=False, sampling=False, both=False, prefill=False, efforts=("low", "medium", "high", "xhigh", "max"))


def effort(wanted: Reasoning, known: Model, losses: Losses) -> str | None:
    """The effort that the model knows, nearest to the one asked for and not above it where there is a choice."""
    asked = wanted.effort
    if asked is None:
        if wanted.budget in (None, -1):
            return None
        losses.add("coerced:thinking_budget", "the model takes an effort, not a budget")
        return next((level for level, tokens in BUDGETS.items() if level in known.efforts and wanted.budget <= tokens), known.efforts[-1])
    if asked in known.efforts:
        return asked
    losses.add("coerced:reasoning_effort", f"the model knows {', '.join(known.efforts)}")
    if asked not in _LEVELS:
        return None
    lower = [level for level in _LEVELS[: _LEVELS.index(asked)] if level in known.efforts]
    return lower[-1] if lower else known.efforts[0]


def budget(wanted: Reasoning, losses: Losses) -> int:
    """Tokens of manual thinking for a model that is told how many."""
    if wanted.budget is not None and wanted.budget > 0:
        return wanted.budget
    if wanted.effort is not None:
        losses.add("coerced:reasoning_effort", "the model takes a budget, not an effort")
    elif wanted.budget == -1 or wanted.adaptive:
        losses.add("coerced:thinking_budget", "the model cannot choose its own budget")
    return BUDGETS.get(wanted.effort or "medium", BUDGETS["medium"])
