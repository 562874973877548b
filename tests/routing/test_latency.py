"""Expected time: its laws, targets that nobody tried, and two choices among the best."""

from __future__ import annotations

import random
from collections import Counter
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.registry.policy import Objectives
from extproc.routing.policies.expect import failure
from extproc.routing.policies.latency import NEAR, PENALTY, REST, better_of_two, expected_seconds, rank
from tests.routing.measures import Place, Scene, measured, place

OUTPUT: dict[str, Any] = {"output_tokens": 100.0}
seconds = st.floats(0, 100)


class Draws(random.Random):
    """What a test says, in turn."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.left = list(values)

    def random(self) -> float:
        return self.left.pop(0)


def quick(name: str, first_token: float) -> Place:
    return place(name, first_token=first_token, per_token=0.0)


def only(**values: Any) -> float:
    return Scene([place("a", **values)]).rank(rank)[0].score


@given(seconds, seconds, st.floats(0, 1), st.floats(0, 1), st.integers(0, 50), st.integers(0, 5), st.floats(0, 100), st.floats(0, 100))
def test_slower_busier_or_failing_more_is_never_better(
    first: float, more: float, each: float, more_each: float, busy: int, more_busy: int, failures: float, more_failures: float
) -> None:
    failures, more_failures = min(failures, 50.0), min(more_failures, 50.0)
    good = only(first_token=first, per_token=each, in_flight=busy, failures=failures, **OUTPUT)
    assert good <= only(first_token=first + more, per_token=each + more_each, in_flight=busy, failures=failures, **OUTPUT) + 1e-9
    assert good <= only(first_token=first, per_token=each, in_flight=busy + more_busy, failures=failures, **OUTPUT) + 1e-9
    assert good <= only(first_token=first, per_token=each, in_flight=busy, failures=failures + more_failures, **OUTPUT) + 1e-9


def test_the_formula() -> None:
    sound = measured(first_token=0.5)
    [ranked] = Scene([place("a", first_token=0.5, per_token=0.02, in_flight=3, **OUTPUT)]).rank(rank)
    assert ranked.score == pytest.approx((0.5 + 100 * 0.02) * 4 / (1 - failure(sound)))
    assert ranked.numbers == {"seconds": pytest.approx(2.5), "in_flight": 3, "first_token": 0.5, "per_token": 0.02}


def test_a_streams_user_feels_the_first_token_more_than_the_rest() -> None:
    quick_start = place("quick-start", first_token=0.3, per_token=0.04, **OUTPUT)
    quick_end = place("quick-end", first_token=1.5, per_token=0.02, **OUTPUT)
    assert Scene([quick_start, quick_end], signals={"stream": False}).names(rank) == ["quick-end", "quick-start"]
    ranked = Scene([quick_end, quick_start], signals={"stream": True}).rank(rank)
    assert [r.candidate.target.name for r in ranked] == ["quick-start", "quick-end"]
    assert ranked[0].numbers["seconds"] == pytest.approx(0.3 + REST * 4)


def test_what_expected_seconds_are_made_of() -> None:
    objectives = Objectives(first_token=2.0, per_token=0.05)
    assert expected_seconds(measured(), objectives, 100, 1.0) is None
    assert expected_seconds(measured(seconds=7.0), objectives, 100, 0.25) == 7.0, "only whole answers were measured"
    assert expected_seconds(measured(seconds=7.0, first_token=1.0), objectives, 100, 1.0) == 6.0, "the objective where nothing is known"
    assert expected_seconds(measured(seconds=7.0, first_token=1.0, per_token=0.01), objectives, 100, 0.5) == pytest.approx(1.5)


def test_the_prompt_is_not_estimated_for_it() -> None:
    scene = Scene([place("a", first_token=1.0), place("b")])
    scene.rank(rank)
    assert "prompt_tokens" not in scene.said.asked


def test_a_failing_target_is_slower_than_it_looks() -> None:
    refuses = place("refuses", first_token=0.1, requests=50.0, failures=48.0)
    works = place("works", first_token=0.5, requests=50.0)
    assert Scene([refuses, works]).names(rank) == ["works", "refuses"]


def test_each_untried_target_is_tried_at_once_by_one_request() -> None:
    fast, new = place("fast", first_token=0.01, **OUTPUT), place("new")
    assert Scene([fast, new]).names(rank) == ["new", "fast"]
    scene = Scene([place("new", in_flight=1), fast])
    ranked = scene.rank(rank)
    assert [r.candidate.target.name for r in ranked] == ["fast", "new"]
    assert ranked[1].score == PENALTY + 1


def test_with_every_target_untried_a_burst_is_spread() -> None:
    scene = Scene([place(name) for name in "abcd"])
    taken = Counter[str]()
    for _ in range(20):
        cluster = scene.rank(rank)[0].candidate.cluster
        scene.world.statistics.began(cluster)
        taken[cluster] += 1
    assert set(taken) == set("abcd")
    assert max(taken.values()) <= 7


def test_what_only_ever_failed_is_not_untried() -> None:
    """Else every request would begin with a failure."""
    scene = Scene(
        [place("broken", requests=5.0, failures=5.0), place("works", first_token=1.0, **OUTPUT)],
        settings={"objectives": Objectives(first_token=2.0, per_token=0.05)},
    )
    assert scene.names(rank) == ["works", "broken"]
    broken = scene.rank(rank)[1]
    assert broken.score == pytest.approx((2.0 + 100 * 0.05) / (1 - 5.2 / 15))


def test_equal_times_keep_the_order_of_the_file() -> None:
    assert Scene([place("b", first_token=1.0), place("a", first_token=1.0)]).names(rank) == ["b", "a"]


def test_two_choices_have_their_distribution() -> None:
    """Every pair of different places is as likely: counted over an even grid of draws, not sampled."""
    for n in (2, 3, 4, 7):
        grid = [(i + 0.5) / (n * (n - 1)) for i in range(n * (n - 1))]
        counted = Counter(better_of_two(n, x, y) for x, y in product(grid, grid))
        total = len(grid) ** 2
        assert [counted[k] / total for k in range(n)] == pytest.approx([2 * (n - 1 - k) / (n * (n - 1)) for k in range(n)])


@given(st.integers(2, 20), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_two_choices_never_take_the_worst(n: int, one: float, other: float) -> None:
    assert 0 <= better_of_two(n, one, other) < n - 1


def test_the_winner_goes_first_and_the_others_follow_by_time() -> None:
    places = [quick(n, s) for n, s in (("d", 1.2), ("b", 1.05), ("a", 1.0), ("c", 1.1))]
    assert Scene(places, random=Draws(0.99, 0.5)).names(rank) == ["b", "a", "c", "d"], "places 3 and 1 were drawn"
    assert Scene(places, random=Draws(0.0, 0.9)).names(rank) == ["a", "b", "c", "d"]


def test_the_two_are_drawn_among_the_best_only() -> None:
    """The second of three would get a third of the requests otherwise, however slow."""
    slow = [quick("slow", 1.0 * NEAR + 0.01), quick("slower", 9.0), quick("fast", 1.0)]
    for _ in range(50):
        assert Scene(slow, random=random.Random()).names(rank) == ["fast", "slow", "slower"]


def test_the_shares_of_equals_over_many_requests() -> None:
    rng = random.Random(7)
    first = Counter(Scene([quick(n, s) for n, s in (("a", 1.0), ("b", 1.1), ("c", 1.2))], random=rng).names(rank)[0] for _ in range(1500))
    assert first["c"] == 0
    assert 0.62 < first["a"] / 1500 < 0.71
