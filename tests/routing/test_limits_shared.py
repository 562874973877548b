"""Limits of several replicas: what one is told of the others, and by how much they overshoot together. The clock is the test's."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.registry.policy import Limit
from extproc.routing.limits import Admitted, Exceeded, Limits, Windows

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC).timestamp()
ACME = {"tenant": "acme"}
PER_MINUTE = (Limit("limits[0]", (("tenant", "*"),), requests_per_minute=100, tokens_per_minute=1000),)
BUDGET = (Limit("limits[0]", (("tenant", "*"),), usd_per_day=1.0),)


def ask(limits: Limits, rules: tuple[Limit, ...], wall: float, tokens: float = 1) -> Admitted | Exceeded:
    return limits.admit(rules, ACME, "chat", lambda: tokens, wall)


def used(limits: Limits, requests: int, wall: float, usd: float = 0.0, rules: tuple[Limit, ...] = PER_MINUTE) -> None:
    for _ in range(requests):
        answer = ask(limits, rules, wall)
        assert isinstance(answer, Admitted)
        limits.settle(answer, 1, usd, wall)


def test_what_others_used_counts_for_a_minute_and_money_for_its_period() -> None:
    a, b = Limits(), Limits()
    used(a, 100, NOON)
    used(a, 4, NOON, usd=0.25, rules=BUDGET)
    told = a.export(NOON)
    for _ in range(3):
        b.absorb({"a": told}, NOON)
    assert isinstance(ask(b, PER_MINUTE, NOON), Exceeded)
    over = ask(b, BUDGET, NOON)
    assert isinstance(over, Exceeded)
    assert over.retry_after == 43200
    # nothing was heard of since
    assert isinstance(ask(b, PER_MINUTE, NOON + 61), Exceeded)
    assert isinstance(ask(b, PER_MINUTE, NOON + 62.1), Admitted)
    assert isinstance(ask(b, BUDGET, NOON + 43199), Exceeded)
    assert isinstance(ask(b, BUDGET, NOON + 43200), Admitted)


def test_what_still_holds() -> None:
    a, b = Limits(), Limits()
    used(a, 100, NOON)
    b.absorb({"a": a.export(NOON)}, NOON)
    b.still(NOON + 40)
    assert isinstance(ask(b, PER_MINUTE, NOON + 100), Exceeded)
    assert isinstance(ask(b, PER_MINUTE, NOON + 103), Admitted)


def test_when_a_repeat_may_pass_is_told_of_others_too() -> None:
    a, b = Limits(), Limits()
    used(a, 100, NOON)
    b.absorb({"a": a.export(NOON)}, NOON)
    over = ask(b, PER_MINUTE, NOON)
    assert isinstance(over, Exceeded)
    assert 0 < over.retry_after <= 62
    used(b2 := Limits(), 50, NOON)
    b2.absorb({"a": {"requests": {"tenant:*|acme": 60}}}, NOON)
    over = ask(b2, PER_MINUTE, NOON)
    assert isinstance(over, Exceeded)
    assert over.retry_after == pytest.approx(11)


amounts = st.dictionaries(st.sampled_from(["tenant:*|acme", "tenant:*|b"]), st.floats(0, 60), max_size=2)
windows = st.fixed_dictionaries({"requests": amounts, "tokens": amounts, "day:2026-01-31": amounts})


@given(st.dictionaries(st.sampled_from("abcd"), windows, max_size=4), st.integers(1, 3), st.randoms(use_true_random=False))
def test_the_view_is_the_sum_whatever_the_order_and_however_often(others: dict[str, Windows], times: int, order: random.Random) -> None:
    limits = Limits()
    used(limits, 10, NOON)
    names = list(others)
    for _ in range(times):
        order.shuffle(names)
        limits.absorb({name: others[name] for name in names}, NOON)
    total = 10 + sum(o["requests"].get("tenant:*|acme", 0) for o in others.values())
    assert isinstance(ask(limits, PER_MINUTE, NOON), Admitted) is (total + 1 <= 100 + 1e-6 and _tokens(others) + 11 <= 1000 + 1e-6)


def _tokens(others: dict[str, Windows]) -> float:
    return sum(o["tokens"].get("tenant:*|acme", 0) for o in others.values())


def test_amounts_that_are_none() -> None:
    limits = Limits()
    odd: Any = {"requests": {"tenant:*|acme": "1000", "x": None, "y": [1], "z": -5, "w": float("nan"), "v": float("inf"), "tenant:*|b": 1}}
    limits.absorb({"a": odd}, NOON)
    used(limits, 100, NOON)


@given(
    replicas=st.integers(2, 6),
    interval=st.sampled_from([0.1, 0.5, 2.0]),
    rate=st.integers(5, 60),
    limit=st.integers(20, 200),
    seed=st.integers(0, 10**6),
)
@settings(deadline=None)
def test_replicas_overshoot_by_at_most_rate_times_interval_times_replicas(replicas: int, interval: float, rate: int, limit: int, seed: int) -> None:
    """Each replica takes `rate` requests a second, and tells and hears at moments of its own, twice in an interval."""
    rng = random.Random(seed)
    rules = (Limit("limits[0]", (("tenant", "*"),), requests_per_minute=limit),)
    nodes = [Limits() for _ in range(replicas)]
    shelf: dict[str, Windows] = {}
    events: list[tuple[float, int, str]] = []
    for node in range(replicas):
        events += [(NOON + (i + rng.random()) / rate, node, "ask") for i in range(20 * rate)]
        at = NOON + rng.random() * interval / 2
        while at < NOON + 20:
            events.append((at, node, "sync"))
            at += interval / 2 * rng.uniform(0.8, 1.0)
    let_in = 0
    for at, node, what in sorted(events):
        if what == "ask":
            let_in += isinstance(ask(nodes[node], rules, at), Admitted)
        else:
            shelf[str(node)] = nodes[node].export(at)
            nodes[node].absorb({name: told for name, told in shelf.items() if name != str(node)}, at)
    assert let_in >= min(limit, 20 * rate * replicas)
    # one more for each: they come at random within their beat
    assert let_in <= limit + rate * interval * replicas + 2 * replicas
