"""How hard a request looks, from 0 to 1, by features that are cheap to see.

    feature       share   half of it at   what is counted
    length         0.25   1,500           characters of the user's last text and of the system's
    constraints    0.15   2               must, only, at least, exactly, without, ...; numbered and bulleted demands
    steps          0.13   2               step by step, first, then, finally, plan, design, compare, ...
    mathematics    0.14   2               prove, derive, integral, equation, ...; formulas
    code           0.13   2               features of source code (`code.features`), words of programming
    questions      0.08   3               question marks, question words
    tools          0.07   8               tools on offer
    turns          0.05   12              messages of the conversation

Each feature gives its share of n / (n + half), so more of anything never makes a request look easier, and nothing makes it look hard alone. It is a
measure of form, not of thought: a rule should treat it as a hint, and the registry's own words about a task come first.
"""

from __future__ import annotations

import re

from extproc.routing.code import features

_USER, _SYSTEM = 6000, 2000
"""Characters that are read of each; the length counts whole."""

_CONSTRAINTS = re.compile(
    r"\b(?:must|only|exactly|at (?:least|most)|no (?:more|less|fewer) than|without|unless|except|avoid|ensure|never|always|do not|don't|required?"
    r"|constraints?|should(?: not)?|between \d+ and \d+|in the (?:format|form) of)\b|^[ \t]*(?:[-*•]|\d{1,2}[.)])[ \t]",
    re.MULTILINE,
)
_STEPS = re.compile(
    r"\b(?:step[- ]by[- ]step|steps?|first(?:ly)?|second(?:ly)?|then|next|after(?:wards| that)|finally|plan|design|architecture|compare"
    r"|contrast|analy[sz]e|evaluate|trade-?offs?|pros and cons|justify|explain why|reason(?:ing)?|investigate|root cause|optimi[sz]e)\b",
)
_MATHEMATICS = re.compile(
    r"\b(?:prov(?:e|ing)|proof|theorem|lemma|deriv(?:e|ation|ative)|integra(?:l|te)|equations?|matri(?:x|ces)|eigen\w+|probability|expectation"
    r"|polynomial|modulo|solve for|differential|converges?|asymptotic|big-?o|np-hard|complexity of)\b"
    r"|[∑∏∫√≤≥≠≈∞∂∇∈∀∃→⇒]|\\(?:frac|sum|int|sqrt|begin|mathbb)\b|\b[a-z]\s*\^\s*[\d{a-z]|\b\d+\s*[*/^]\s*\d+|[a-z]\([a-z]\)\s*=",
)
_PROGRAMMING = re.compile(
    r"\b(?:function|method|class|script|api|sql|regex|algorithm|compile[rs]?|refactor|debug|unit tests?|python|javascript|typescript|java|rust|golang"
    r"|kotlin|swift|bash|docker|kubernetes|postgres|redis|thread|async|race condition|memory leak|stack trace)\b",
)
_QUESTIONS = re.compile(r"\?|？|؟|\b(?:why|how|what if|which|whether)\b")


def complexity(user: str, system: str, tools: int, turns: int) -> float:
    """`user` is the user's last text, `tools` and `turns` are numbers."""
    text = user[:_USER]
    low = text.lower()
    shown = f"{low}\n{system[:_SYSTEM].lower()}"
    score = (
        0.25 * _share(len(user) + len(system), 1500)
        + 0.15 * _share(_count(_CONSTRAINTS, shown), 2)
        + 0.13 * _share(_count(_STEPS, low), 2)
        + 0.14 * _share(_count(_MATHEMATICS, low), 2)
        + 0.13 * _share(features(text) + _count(_PROGRAMMING, low), 2)
        + 0.08 * _share(_count(_QUESTIONS, low), 3)
        + 0.07 * _share(tools, 8)
        + 0.05 * _share(turns, 12)
    )
    return round(score, 4)


def _count(pattern: re.Pattern[str], text: str) -> int:
    return len(pattern.findall(text))


def _share(number: float, half: float) -> float:
    return number / (number + half)
