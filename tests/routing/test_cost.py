"""Expected cost: its laws, what it is made of where nothing was measured, and the order that follows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.usage import Price, Usage, cost_usd
from extproc.registry.policy import Affinity
from extproc.routing.policies.cost import expected_cost, rank
from extproc.routing.policies.expect import UNKNOWN_OUTPUT
from tests.routing.measures import NOW, Scene, place

DEAR = Price(3.0, 15.0, 0.3, 3.75)
CHEAP = Price(0.15, 0.6, 0.075)
rates = st.floats(0, 100)
tokens = st.integers(0, 300_000)
shares = st.floats(0, 1)


@given(rates, rates, rates, rates, tokens, tokens, shares, shares)
def test_more_dear_is_never_cheaper(
    cost_in: float, cost_out: float, more: float, more_out: float, prompt: int, output: int, read: float, write: float
) -> None:
    read, write = read / 2, write / 2
    low = expected_cost(Price(cost_in, cost_out), prompt, output, read, write)
    high = expected_cost(Price(cost_in + more, cost_out + more_out), prompt, output, read, write)
    assert low <= high + 1e-12


@given(rates, rates, rates, tokens, tokens, shares)
def test_a_cached_share_saves_the_difference_of_the_two_prices(
    cost_in: float, cost_out: float, cost_read: float, prompt: int, output: int, share: float
) -> None:
    price = Price(cost_in, cost_out, cost_read)
    saved = expected_cost(price, prompt, output) - expected_cost(price, prompt, output, share)
    assert saved == pytest.approx(prompt * share * (cost_in - cost_read) / 1e6, abs=1e-9)


@given(tokens, tokens, st.integers(0, 100), st.integers(0, 100))
def test_it_is_what_such_a_usage_costs(prompt: int, output: int, read: int, written: int) -> None:
    """At shares that are whole tokens, expectation and bill agree, on every tier."""
    price = Price(3.0, 15.0, 0.3, 3.75, ((200_000, Price(6.0, 22.5, 0.6, 7.5)),))
    read, written = min(read, prompt // 2), min(written, prompt // 2)
    shares = (read / prompt, written / prompt) if prompt else (0.0, 0.0)
    assert expected_cost(price, prompt, output, *shares) == pytest.approx(cost_usd(Usage(prompt, output, read, written), price), rel=1e-9)


def test_unknown_cache_prices_are_the_inputs() -> None:
    assert expected_cost(Price(2.0, 8.0), 1000, 100, 0.6, 0.2) == expected_cost(Price(2.0, 8.0), 1000, 100)


def test_the_cheapest_is_first_and_unknown_is_last() -> None:
    scene = Scene([place("unknown"), place("dear", DEAR), place("cheap", CHEAP), place("local", Price(0.0, 0.0))])
    ranked = scene.rank(rank)
    assert [r.candidate.target.name for r in ranked] == ["local", "cheap", "dear", "unknown"]
    assert ranked[-1].score == math.inf
    assert ranked[1].numbers == {"usd": pytest.approx((1000 * 0.15 + UNKNOWN_OUTPUT * 0.6) / 1e6)}


def test_equal_costs_keep_the_order_of_the_file() -> None:
    assert Scene([place("b", CHEAP), place("x"), place("a", CHEAP), place("y")]).names(rank) == ["b", "a", "x", "y"]


def test_a_wordy_model_is_dearer_than_its_list_price() -> None:
    wordy = place("wordy", Price(1.0, 5.0), output_tokens=2000)
    terse = place("terse", Price(1.2, 6.0), output_tokens=200)
    assert Scene([wordy, terse]).names(rank) == ["terse", "wordy"]


def test_a_measured_cache_makes_the_dearer_list_price_the_cheaper_one() -> None:
    signals = {"prompt_tokens": 50_000.0}
    cached = place("cached", Price(3.0, 15.0, 0.3), cached_share=0.9)
    plain = place("plain", Price(1.5, 15.0), cached_share=0.9)
    assert Scene([plain, cached], signals=signals).names(rank) == ["cached", "plain"]
    assert Scene([place("plain", Price(1.5, 15.0)), place("cached", Price(3.0, 15.0, 0.3))], signals=signals).names(rank) == ["plain", "cached"]


def test_writing_the_cache_has_its_price() -> None:
    [ranked] = Scene([place("a", DEAR, cached_share=0.5, written_share=0.25)]).rank(rank)
    assert ranked.score == pytest.approx((500 * 0.3 + 250 * 3.75 + 250 * 3.0 + UNKNOWN_OUTPUT * 15) / 1e6)


def test_a_long_prompt_is_charged_at_its_tier() -> None:
    tiered = place("tiered", Price(1.0, 4.0, tiers=((200_000, Price(4.0, 16.0)),)))
    flat = place("flat", Price(2.0, 8.0))
    assert Scene([flat, tiered], signals={"prompt_tokens": 200_000.0}).names(rank) == ["tiered", "flat"]
    assert Scene([tiered, flat], signals={"prompt_tokens": 200_001.0}).names(rank) == ["flat", "tiered"]


def test_the_length_of_an_answer_is_the_targets_then_the_models_then_a_default_and_never_over_the_clients_bound() -> None:
    free_prompt = Price(0.0, 1e6)

    def outputs(bound: int | None, *measured: float | None, others: float | None = None) -> list[float]:
        places = [place(f"t{i}", free_prompt, output_tokens=m) for i, m in enumerate(measured)]
        more = [] if others is None else [place("other", output_tokens=others)]
        scene = Scene(places, {"prompt_tokens": 10.0, "max_output_tokens": bound}, more)
        by_name = {r.candidate.target.name: r.score for r in scene.rank(rank)}
        return [by_name[p.name] for p in places]

    assert outputs(None, 100, 400) == [100, 400]
    assert outputs(None, 100, 400, None) == [100, 400, 250], "the mean of what was measured"
    assert outputs(None, 100, None, others=500) == [100, 300], "also of targets that are no candidates"
    assert outputs(None, None) == [UNKNOWN_OUTPUT]
    assert outputs(150, 100, 400, None) == [100, 150, 150]
    assert outputs(64_000, None) == [UNKNOWN_OUTPUT], "a generous bound is no estimate"


def test_without_an_estimate_of_the_prompt_its_bytes_count() -> None:
    [ranked] = Scene([place("a", Price(1.0, 0.0))], signals={}).rank(rank)
    assert ranked.score == pytest.approx(4000 / 4 / 1e6)


def test_the_warm_cache_of_the_session_counts_at_its_target_only() -> None:
    """Elsewhere the session pays in full, whatever other sessions find there."""
    a, b = place("a", Price(3.0, 0.0, 0.3), cached_share=0.5), place("b", Price(2.5, 0.0, 0.25, 3.0), cached_share=0.9)
    scene = Scene([a, b], session="s", settings={"affinity": Affinity(ttl=60)})
    assert scene.names(rank) == ["b", "a"], "nothing is known of the session: what targets measured"
    scene.world.affinities.served("s", "a", 800, NOW - 59)
    ranked = scene.rank(rank)
    assert [r.candidate.target.name for r in ranked] == ["a", "b"]
    assert ranked[0].score == pytest.approx((800 * 0.3 + 200 * 3.0) / 1e6)
    assert ranked[1].score == pytest.approx((800 * 3.0 + 200 * 2.5) / 1e6), "the cache is written anew"
    scene.world.now += 1
    assert scene.names(rank) == ["b", "a"], "it has gone cold"


def test_a_cache_can_hold_no_more_than_the_prompt() -> None:
    scene = Scene([place("a", Price(3.0, 0.0, 0.3))], session="s")
    scene.world.affinities.served("s", "a", 99_999, NOW)
    assert scene.rank(rank)[0].score == pytest.approx(1000 * 0.3 / 1e6)


def test_the_candidates_are_left_as_they_were() -> None:
    scene = Scene([place("dear", DEAR), place("cheap", CHEAP)])
    before = list(scene.candidates)
    scene.rank(rank)
    assert scene.candidates == before
