"""The bandit's regret is at most half of each naive peer's under drift, and the simulation that says so can be believed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from extproc.core.errors import ErrorKind
from extproc.routing.reward import reward
from tests.days.measures import NEXT, notice, returning, row
from tests.days.plots import draw
from tests.days.report import markdown, ratios, reactions, results
from tests.days.routers import ALL, BANDIT, CLAIRVOYANT, PEERS
from tests.days.scenario import OBJECTIVES, Asked, Event, day
from tests.days.simulation import Outcome, run
from tests.days.truth import NO_ANSWER, Targets, sample_of

SHORT = day(5, hours=3.0, requests=600)


def regret(outcomes: Sequence[Outcome]) -> float:
    return sum(o.regret for o in outcomes)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_bandit_s_regret_is_at_most_half_of_each_peer_s(seed: int) -> None:
    this = day(seed, hours=12.0, requests=6_000)
    bandit = regret(run(this, ALL[BANDIT]))
    for name, peer in PEERS.items():
        assert bandit <= 0.5 * regret(run(this, peer)), name


@pytest.mark.parametrize("name", ALL)
def test_every_router_lives_through_the_day_and_the_same_day_is_the_same(name: str) -> None:
    once, again = run(SHORT, ALL[name]), run(SHORT, ALL[name])
    assert [(o.clusters, o.total, o.usd) for o in once] == [(o.clusters, o.total, o.usd) for o in again]
    assert len(once) == len(SHORT.asked)
    assert all(o.regret >= 0.0 for o in once)
    answered = [o for o in once if o.ok]
    assert len(answered) > 0.98 * len(once)
    assert all(0.0 < o.first <= o.total and o.usd > 0.0 for o in answered)
    assert all(len(o.clusters) <= 4 for o in once)


def test_the_clairvoyant_regrets_nothing() -> None:
    outcomes = run(SHORT, ALL[CLAIRVOYANT])
    # but for the moments in which its own breaker keeps it from the best
    assert regret(outcomes) < 0.02 * regret(run(SHORT, ALL["round robin"]))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("at", [0.2, 0.25, 0.5, 0.69])
def test_what_can_be_expected_is_the_mean_of_what_happens(stream: bool, at: float) -> None:
    """Quadrature against drawing, on quiet and on eventful hours."""
    this = day(7, requests=10)
    rng = random.Random(7)
    asked = Asked(0, at * this.seconds, "chat", 3_000, 300, stream, "", 0)
    targets = Targets(this, OBJECTIVES)
    for name in targets.names:
        if any(e.per_minute < 1e9 and e.target == name for e in this.events):
            continue
        found = []
        for _ in range(4_000):
            luck = (rng.gauss(), rng.gauss(), rng.random())
            found.append(reward(sample_of(name, asked, targets.begin(name, asked, asked.at, luck)), OBJECTIVES) or 0.0)
        assert targets.expected(name, asked, asked.at) == pytest.approx(sum(found) / len(found), abs=0.025), name


def test_events_do_what_they_say() -> None:
    this = day(1)
    slow, dear, failing, limited = this.events
    targets = Targets(this, OBJECTIVES)

    def asked(at: float) -> Asked:
        return Asked(0, at, "chat", 1_000, 200, True, "", 0)

    def begin(event: Event, at: float) -> float:
        return targets.begin(event.target, asked(at), at, (0.0, 0.0, 0.5)).seconds

    assert begin(slow, slow.start + 1.0) > 3.0 * begin(slow, slow.start - 1.0)
    assert begin(slow, slow.end + 1.0) == pytest.approx(begin(slow, slow.start - 1.0), rel=0.3)
    assert targets.price(dear.target, dear.start).output == pytest.approx(dear.dear * targets.price(dear.target, dear.end).output)
    middle = (failing.start + failing.end) / 2.0
    assert targets.begin(failing.target, asked(middle), middle, (0.0, 0.0, 0.1)).outcome == NO_ANSWER
    assert targets.begin(failing.target, asked(middle), middle, (0.0, 0.0, 0.5)).outcome == ErrorKind.UNAVAILABLE
    assert targets.begin(failing.target, asked(failing.end), failing.end, (0.0, 0.0, 0.1)).outcome == "ok"
    outcomes = [targets.begin(limited.target, asked(limited.start + i), limited.start + i, (0.0, 0.0, 0.5)) for i in range(10)]
    refused = [o for o in outcomes if o.outcome == ErrorKind.RATE_LIMITED]
    assert 5 <= len(refused) <= 8
    assert all(0.0 < o.retry_after <= 60.0 for o in refused)
    assert targets.expected(limited.target, asked(limited.start + 10), limited.start + 10) == 0.0


def test_a_cached_prompt_is_cheaper_and_faster_and_only_where_it_is() -> None:
    targets = Targets(day(1), OBJECTIVES)
    first = Asked(0, 10.0, "chat", 4_000, 100, True, "s", 0)
    second = replace(first, n=1, at=60.0, prompt=4_300, shared=4_100)
    cold = targets.begin("steady", second, 60.0, (0.0, 0.0, 0.5))
    targets.served("steady", first, 10.0)
    warm = targets.begin("steady", second, 60.0, (0.0, 0.0, 0.5))
    assert warm.usd < 0.5 * cold.usd
    assert warm.first_token < cold.first_token
    assert warm.usage is not None
    assert warm.usage.cache_read == 4_100
    elsewhere = targets.begin("swift", second, 60.0, (0.0, 0.0, 0.5))
    late = targets.begin("steady", replace(second, at=400.0), 400.0, (0.0, 0.0, 0.5))
    for other in (elsewhere, late):
        assert other.usage is not None
        assert other.usage.cache_read == 0


def served(shares: Sequence[tuple[float, float]]) -> list[Outcome]:
    """One request a second; of those from each (time, share) on that share goes to "a", evenly."""
    outcomes = []
    given = 0.0
    for second in range(7_200):
        share = next(s for at, s in reversed(shares) if at <= second)
        given += share
        chosen = "a" if given >= 1.0 else "b"
        given -= chosen == "a"
        asked = Asked(second, float(second), "chat", 1, 1, True, "", 0)
        outcomes.append(Outcome(asked, chosen, "a", 0.0))
    return outcomes


def test_noticing_and_returning_are_measured_in_seconds() -> None:
    this, event = day(1, hours=2.0, requests=10), Event("slow", "a", 3_000.0, 5_000.0)
    outcomes = served([(0, 0.5), (3_100, 0.0), (5_200, 0.5)])
    assert notice(outcomes, event, this) == pytest.approx(100.0, abs=NEXT * 0.2)
    assert returning(outcomes, event, this) == pytest.approx(200.0, abs=NEXT)
    assert notice(served([(0, 0.5)]), event, this) == float("inf")
    assert returning(served([(0, 0.5), (3_100, 0.0)]), event, this) == float("inf")
    assert notice(served([(0, 0.05)]), event, this) is None


def test_tables_and_pictures_come_out_whole_and_the_same_each_time(tmp_path: Path) -> None:
    names = (BANDIT, "cost", "round robin", CLAIRVOYANT)
    rows = {name: row(name, SHORT, run(SHORT, ALL[name])) for name in names}
    for table in (results(rows, len(SHORT.asked)), reactions(rows, SHORT), ratios({1: dict.fromkeys(ALL, 2.0)})):
        assert {len(line) for line in table} == {len(table[0])}
        assert markdown(table).count("\n") == len(table)
    shares = {name: np.full((48, 5), 0.2) for name in names}
    regrets = {name: np.arange(48.0) * (i + 1) for i, name in enumerate(names)}
    (tmp_path / "again").mkdir()
    paths = draw(tmp_path, SHORT, rows, shares, regrets)
    again = draw(tmp_path / "again", SHORT, rows, shares, regrets)
    assert {p.name for p in paths} >= {"shares.svg", "regret.svg", "shares.png", "cost-and-latency.svg"}
    for one, other in zip(paths, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
