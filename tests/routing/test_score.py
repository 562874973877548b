"""The score: weights over measures on absolute scales."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.usage import Price
from extproc.registry.policy import SCORED, Objectives, Policy, RankBy
from extproc.routing.policies.score import CONCURRENCY, FAILURES, rank
from tests.routing.measures import Place, Scene, place


def by(**weights: float) -> RankBy:
    return RankBy(Policy.SCORE, tuple(weights.items()))


@st.composite
def places(draw: st.DrawFn, name: str) -> Place:
    def maybe(values: st.SearchStrategy[float]) -> float | None:
        return draw(st.none() | values)

    requests = draw(st.floats(0, 1000))
    found: dict[str, Any] = {
        "first_token": maybe(st.floats(0, 60)),
        "per_token": maybe(st.floats(0, 2)),
        "seconds": maybe(st.floats(0, 300)),
        "output_tokens": maybe(st.floats(0, 5000)),
        "cached_share": maybe(st.floats(0, 1)),
        "in_flight": float(draw(st.integers(0, 100))),
        "requests": requests,
        "failures": draw(st.floats(0, 1)) * requests,
    }
    price = draw(st.none() | st.builds(Price, st.floats(0, 50), st.floats(0, 200), st.none() | st.floats(0, 50)))
    return place(name, price, maybe(st.floats(0, 1)), draw(st.none() | st.integers(1, 200)), **{k: v for k, v in found.items() if v is not None})


many = st.integers(2, 6).flatmap(lambda n: st.tuples(*[places(f"t{i}") for i in range(n)]).map(list))
weighed = st.dictionaries(st.sampled_from(SCORED), st.floats(0.01, 10), min_size=1).map(lambda w: by(**w))


@given(many, weighed, st.data())
def test_leaving_one_out_never_changes_the_order_of_the_others(found: list[Place], weights: RankBy, data: st.DataObject) -> None:
    """Nor any other's score: independence of irrelevant alternatives."""
    gone = data.draw(st.sampled_from(found))
    every = {r.candidate.target.name: r.score for r in Scene(found).rank(rank, weights)}
    rest = Scene([p for p in found if p is not gone], others=[gone])
    left = {r.candidate.target.name: r.score for r in rest.rank(rank, weights)}
    # a mean over the model's targets is summed in another order there
    assert left == pytest.approx({n: s for n, s in every.items() if n != gone.name}, rel=1e-12)
    assert rest.names(rank, weights) == [n for n in every if n != gone.name]


@given(many, weighed)
def test_a_score_lies_between_perfect_and_worst(found: list[Place], weights: RankBy) -> None:
    for ranked in Scene(found).rank(rank, weights):
        assert -1e-9 <= ranked.score <= 1 + 1e-9
        assert set(ranked.numbers) == {name for name, _ in weights.weights}
        assert all(0 <= worth <= 1 for worth in ranked.numbers.values())


@given(many, weighed, st.floats(0.1, 10))
def test_only_the_ratio_of_the_weights_counts(found: list[Place], weights: RankBy, factor: float) -> None:
    scaled = RankBy(Policy.SCORE, tuple((n, w * factor) for n, w in weights.weights))
    one, other = Scene(found).rank(rank, weights), Scene(found).rank(rank, scaled)
    assert {r.candidate.target.name: r.score for r in one} == pytest.approx({r.candidate.target.name: r.score for r in other})


def numbers(found: Place, **settings: Objectives) -> dict[str, float]:
    return Scene([found], settings=dict(settings)).rank(rank, by(latency=1, cost=1, reliability=1, quality=1, load=1))[0].numbers


def test_a_measure_at_its_reference_is_worth_half() -> None:
    objectives = Objectives(first_token=1.0, per_token=0.01, usd_per_request=0.001)
    at = place("a", Price(1.0, 0.0), first_token=1.0, per_token=0.01, output_tokens=50.0, in_flight=8, concurrency=8)
    at.measured |= {"requests": 1e9, "failures": FAILURES * 1e9}
    assert numbers(at, objectives=objectives) == pytest.approx(dict.fromkeys(SCORED, 0.5))
    best = place("a", Price(0.0, 0.0), 1.0, first_token=0.0, per_token=0.0, requests=1e12)
    assert numbers(best, objectives=objectives) == pytest.approx(dict.fromkeys(SCORED, 1.0))
    far = place("a", Price(1e9, 0.0), 0.0, first_token=1e9, requests=1e9, failures=1e9, in_flight=1e9)
    worst = numbers(far, objectives=objectives)
    assert worst["reliability"] < 0.05
    assert max(worst["latency"], worst["cost"], worst["quality"], worst["load"]) < 1e-6


def test_what_is_unknown() -> None:
    assert numbers(place("a"))["latency"] == 1.0, "to be tried at once"
    assert numbers(place("a", in_flight=1))["latency"] == 0.5, "by one request"
    assert numbers(place("a", requests=3.0, failures=3.0))["latency"] == 0.5, "tried in vain"
    assert numbers(place("a", seconds=17.0))["latency"] == pytest.approx(0.5), "2 s and 300 tokens of 50 ms"
    unknown = numbers(place("a", in_flight=CONCURRENCY))
    assert (unknown["quality"], unknown["cost"], unknown["load"]) == (0.5, 0.0, 0.5)


def test_few_attempts_prove_little() -> None:
    def reliability(requests: float, failures: float) -> float:
        return numbers(place("a", requests=requests, failures=failures))["reliability"]

    unknown = reliability(0, 0)
    assert reliability(1, 1) > reliability(10, 10) > reliability(1000, 1000), "one failure of one is not the worst"
    assert unknown < reliability(1, 0) < reliability(10, 0) < reliability(1000, 0), "one success of one is not perfect"
    assert unknown - reliability(1, 0) > -0.05


def test_each_weight_decides_alone_what_it_is_for() -> None:
    good = place("good", Price(0.1, 0.1), 0.9, 100, first_token=0.1, requests=500.0, in_flight=1)
    bad = place("bad", Price(9.0, 90.0), 0.1, 2, first_token=9.0, requests=500.0, failures=100.0, in_flight=2)
    for name in SCORED:
        assert Scene([bad, good]).names(rank, by(**{name: 1.0})) == ["good", "bad"], name


def test_weights_settle_a_conflict() -> None:
    fast = place("fast", Price(20.0, 80.0), first_token=0.2, per_token=0.01)
    cheap = place("cheap", Price(0.1, 0.4), first_token=4.0, per_token=0.1)
    assert Scene([cheap, fast]).names(rank, by(latency=3, cost=1)) == ["fast", "cheap"]
    assert Scene([fast, cheap]).names(rank, by(latency=1, cost=3)) == ["cheap", "fast"]


def test_equal_scores_keep_the_order_of_the_file() -> None:
    assert Scene([place("b", first_token=1.0), place("a", first_token=1.0)]).names(rank, by(latency=1, load=1)) == ["b", "a"]


def test_only_what_is_weighed_is_asked_for() -> None:
    scene = Scene([place("a", Price(1.0, 1.0)), place("b")], random=random.Random(0))
    scene.rank(rank, by(reliability=1, load=1, quality=1, latency=1))
    assert "prompt_tokens" not in scene.said.asked
    scene.rank(rank, by(cost=1))
    assert "prompt_tokens" in scene.said.asked
