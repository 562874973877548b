"""What OpenAI's own models refuse, by name: reasoning efforts, sampling parameters, verbosity, `max_tokens`.

Only names that OpenAI documents are judged; any other model is taken to accept what the format has. Sources: the model pages and the
reasoning guide at https://platform.openai.com/docs/guides/reasoning, and recorded 400 answers (`unsupported_parameter`, `unsupported_value`).
"""

from __future__ import annotations

import re
from functools import lru_cache

from extproc.core.dialect import Facts

SCALE = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Efforts from least to most."""

_COMMON = ("low", "medium", "high")
_EFFORTS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern), efforts)
    for pattern, efforts in (
        (r"o1-(mini|preview)|gpt-[5-9][\d.]*-(chat|search)", ()),
        (r"o\d", _COMMON),
        (r"gpt-5(\.\d+)?-pro", ("high",)),
        (r"gpt-5-codex", _COMMON),
        (r"gpt-5(-(mini|nano))?(-\d{4}.*)?$", ("minimal", *_COMMON)),
        (r"gpt-5\.1-codex-max", ("none", *_COMMON, "xhigh")),
        (r"gpt-5\.1", ("none", *_COMMON)),
        (r"gpt-5\.\d|gpt-[6-9]", ("none", *_COMMON, "xhigh")),
    )
)
_OLD = re.compile(r"gpt-(3|4)|chatgpt-|ft:gpt-(3|4)")
_TERSE = re.compile(r"gpt-(3|4)|chatgpt-|ft:gpt-(3|4)|o\d|gpt-5-chat")


@lru_cache(maxsize=1024)
def efforts(facts: Facts) -> tuple[str, ...]:
    """The efforts that the target takes in `reasoning_effort`, least first; () if it takes none."""
    if "no_reasoning_effort" in facts.quirks:
        return ()
    if facts.vendor != "openai":
        return _COMMON
    for pattern, known in _EFFORTS:
        if pattern.match(facts.model):
            return known
    return () if _OLD.match(facts.model) else _COMMON


def reasons(facts: Facts) -> bool:
    """Is it certainly one of OpenAI's reasoning models, which refuse `max_tokens`?"""
    return facts.vendor == "openai" and bool(re.match(r"o\d|gpt-[5-9]", facts.model)) and "max_tokens" not in facts.quirks


def verbose(facts: Facts) -> bool:
    """Does it take a verbosity other than medium? Models before GPT-5, and the first that ChatGPT used, answer 400 to any other."""
    return facts.vendor != "openai" or not _TERSE.match(facts.model)


def one_call_at_a_time(facts: Facts) -> bool:
    """Is it one of the o-series, which refuse `parallel_tool_calls`?"""
    return reasons(facts) and facts.model.startswith("o")


def samples(facts: Facts, effort: str | None) -> bool:
    """Does it take temperature, top_p, penalties, logprobs and stop? Reasoning models do only while they are not reasoning."""
    if not reasons(facts):
        return True
    known = efforts(facts)
    return (not known and not facts.model.startswith("o")) or ("none" in known and effort in {None, "none"})


def nearest(effort: str, known: tuple[str, ...]) -> str | None:
    """The most that `known` has up to `effort`, else its least; None for a word that is no effort."""
    if effort in known:
        return effort
    if effort not in SCALE or not known:
        return None
    below = [e for e in known if SCALE.index(e) <= SCALE.index(effort)]
    return below[-1] if below else known[0]


def budget_effort(budget: int) -> str:
    """The effort nearest to a budget in tokens."""
    return "low" if budget <= 2048 else "medium" if budget <= 16384 else "high"
