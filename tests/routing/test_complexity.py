"""How hard a request looks: in [0, 1], more of anything never less, and in the order that people would put requests in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.complexity import complexity

EASY = "What is the capital of France?"
MIDDLE = "Write a Python function that reads a CSV file, skips blank lines and returns the rows as dictionaries. It must not use pandas."
HARD = """Design a rate limiter for a distributed API gateway. Compare token bucket and sliding window, step by step, and justify the choice.

Constraints:
- at most 5 ms per decision, without a central lock
- it must never admit more than 1.1 times the limit
- only Redis may be shared

Then prove that the overshoot is bounded by r * s * n, derive the worst case, and finally implement it:

```python
class Limiter:
    def allow(self, key: str) -> bool:
        return self.store.incr(key) <= self.limit
```

Why does clock skew matter, and what if a replica is partitioned? Analyze the trade-offs."""


def test_the_order_that_people_would_give() -> None:
    easy, middle, hard = (complexity(text, "", 0, 1) for text in (EASY, MIDDLE, HARD))
    assert 0 <= easy < 0.08 < middle < 0.3 < 0.4 < hard <= 1


def test_tools_turns_and_instructions_count() -> None:
    plain = complexity(MIDDLE, "", 0, 1)
    assert complexity(MIDDLE, "", 20, 1) > plain
    assert complexity(MIDDLE, "", 0, 40) > plain
    assert complexity(MIDDLE, "You must always answer in JSON. Never apologise. Only use the tools.", 0, 1) > plain
    assert complexity("", "", 0, 0) == 0


PIECES = st.sampled_from([*HARD.splitlines(), EASY, MIDDLE, "Why?", "It must be so.", "x^2 + y^2 = z^2", "Then stop.", "words and more words"])


@given(st.lists(PIECES, max_size=20), st.lists(PIECES, max_size=10), st.integers(0, 200), st.integers(0, 2000), PIECES)
def test_more_is_never_easier(user: list[str], system: list[str], tools: int, turns: int, more: str) -> None:
    text, instructions = "\n".join(user), "\n".join(system)
    score = complexity(text, instructions, tools, turns)
    assert 0 <= score <= 1
    assert complexity(text, instructions, tools + 1, turns) >= score
    assert complexity(text, instructions, tools, turns + 1) >= score
    # whole lines: a word that is cut in two by what follows would be another word
    assert complexity(f"{text}\n{more}", instructions, tools, turns) >= score - 1e-3
    assert complexity(text, f"{instructions}\n{more}", tools, turns) >= score - 1e-3


@given(st.text(max_size=500), st.text(max_size=100))
def test_total(user: str, system: str) -> None:
    assert 0 <= complexity(user, system, 0, 0) <= 1
