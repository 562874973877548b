"""Where prompt caches are warm, and when it is worth to leave them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.usage import Price, Usage
from extproc.registry.policy import Affinity
from extproc.routing.affinity import Affinities, left_in_cache, stay
from extproc.routing.decide import decide
from extproc.routing.decision import Ranked
from extproc.routing.health import Health
from extproc.routing.limits import Limits
from tests.routing.measures import NOW, Place, Scene, place

DEAR = Price(3.0, 15.0, 0.3, 3.75)


def test_the_last_that_served_is_warm_until_its_time_is_over() -> None:
    affinities = Affinities()
    assert affinities.warm("s", 0.0, 300.0) is None
    affinities.served("s", "a", 500, 10.0)
    affinities.served("s", "b", 700, 20.0)
    warm = affinities.warm("s", 319.9, 300.0)
    assert warm is not None
    assert (warm.cluster, warm.cached) == ("b", 700)
    assert affinities.warm("s", 320.0, 300.0) is None
    assert affinities.warm("t", 20.0, 300.0) is None


def test_an_answer_without_a_cache_ends_that_clusters_warmth_only() -> None:
    affinities = Affinities()
    affinities.served("s", "a", 500, 10.0)
    affinities.served("s", "b", 0, 11.0)
    assert affinities.warm("s", 12.0, 300.0) is not None, "the cache at a is as warm as it was"
    affinities.served("s", "a", 0, 13.0)
    assert affinities.warm("s", 14.0, 300.0) is None
    assert len(affinities) == 0


def test_no_session_is_nobodys() -> None:
    affinities = Affinities()
    affinities.served("", "a", 500, 10.0)
    assert len(affinities) == 0
    assert affinities.warm("", 10.0, 300.0) is None


@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from("ab"), st.integers(0, 2)), max_size=60), st.integers(1, 8))
def test_it_holds_the_sessions_that_were_used_last(served: list[tuple[int, str, int]], most: int) -> None:
    affinities = Affinities(most)
    known: dict[int, str] = {}
    for at, (session, cluster, cached) in enumerate(served):
        affinities.served(str(session), cluster, cached, at)
        if cached:
            known.pop(session, None)
            known[session] = cluster
        elif known.get(session) == cluster:
            del known[session]
        while len(known) > most:
            del known[next(iter(known))]
        assert len(affinities) == len(known) <= most
    for session in range(13):
        warm = affinities.warm(str(session), len(served), 1e9)
        assert (warm.cluster if warm else None) == known.get(session)


def test_nothing_that_a_client_wrote_is_kept() -> None:
    affinities = Affinities()
    session = "user-17's very long secret session " * 1000 + "\ud800"
    affinities.served(session, "a", 5, 0.0)
    assert [len(key) for key in affinities._by_session] == [16]
    assert affinities.warm(session, 0.0, 1.0) is not None


@pytest.mark.parametrize(
    ("usage", "price", "cached"),
    [
        (Usage(5000, 10, cache_read=3000, cache_write=1000), DEAR, 4000),
        (Usage(5000, 10), DEAR, 0),
        (Usage(5000, 10), Price(2.5, 10.0, 1.25), 5000),
        (Usage(5000, 10, cache_read=3000), Price(2.5, 10.0, 1.25), 5000),
        (Usage(1023, 10), Price(2.5, 10.0, 1.25), 0),
        (Usage(5000, 10), Price(2.5, 10.0), 0),
        (Usage(5000, 10, cache_read=3000), Price(2.5, 10.0), 3000),
        (Usage(5000, 10, cache_read=3000), None, 3000),
        (Usage(5000, 10), None, 0),
    ],
    ids=["said", "marked-only", "by-itself", "by-itself-all", "too-short", "no-cache-price", "said-without-price", "said-unpriced", "unpriced"],
)
def test_what_is_left_in_the_cache(usage: Usage, price: Price | None, cached: int) -> None:
    assert left_in_cache(usage, price) == cached


def scene(*places: Place, cached: int = 9000, at: str = "warm", tokens: float = 10_000.0, **affinity: float) -> Scene:
    found = Scene(list(places), {"prompt_tokens": tokens}, session="s", settings={"affinity": Affinity(**affinity)})
    found.world.affinities.served("s", at, cached, NOW - 10)
    return found


def stays(found: Scene, **changed: Any) -> int | None:
    for name, value in changed.items():
        setattr(found.request, name, value)
    return stay(as_ranked(found), found.model, found.request, found.world)


def as_ranked(found: Scene) -> list[Ranked]:
    return [Ranked(c, float(i)) for i, c in enumerate(found.candidates)]


def test_it_stays_where_the_cache_is_warm() -> None:
    found = scene(place("first", DEAR), place("second", DEAR), place("warm", DEAR))
    assert stays(found) == 2
    assert stays(scene(place("warm", DEAR), place("other", DEAR))) == 0


def test_it_does_not_without_a_session_a_setting_or_a_warm_candidate() -> None:
    first, warm = place("first", DEAR), place("warm", DEAR)
    assert stays(scene(first, warm), session="") is None
    assert stays(scene(first, warm), session="another") is None
    assert stays(scene(first, warm, at="filtered-out")) is None
    assert stays(scene(first, warm, ttl=10.0)) is None
    assert stays(Scene([first, warm], session="s")) is None
    found = scene(first, warm)
    assert stay([], found.model, found.request, found.world) is None


def test_it_leaves_for_more_than_so_much_money() -> None:
    """The warm one is charged 9,000 tokens at the cached price, the other all 10,000 in full."""
    warm = place("warm", Price(3.0, 0.0, 0.3))
    here = (9000 * 0.3 + 1000 * 3.0) / 1e6
    for cheaper, expected in ((0.0019, 1), (0.0021, None)):
        other = place("other", Price((here - cheaper) * 1e6 / 10_000, 0.0))
        assert stays(scene(other, warm, usd=0.002)) == expected
    almost_as_cheap = place("other", Price(0.6, 0.0))
    assert stays(scene(almost_as_cheap, warm, usd=0.0)) == 1, "a fifth of the list price is dearer than a warm cache"


def test_the_other_ones_answer_may_be_longer_and_its_cache_has_to_be_written() -> None:
    warm = place("warm", Price(3.0, 10.0, 0.3), output_tokens=100.0)
    same = Price(0.5, 10.0)
    assert stays(scene(place("other", same, output_tokens=100.0), warm, usd=0.0)) is None
    assert stays(scene(place("other", same, output_tokens=400.0), warm, usd=0.0)) == 1
    assert stays(scene(place("other", Price(0.5, 10.0, 0.1, 2.0), output_tokens=100.0), warm, usd=0.0)) == 1


def test_it_leaves_for_more_than_so_many_seconds_to_the_first_token() -> None:
    for first_token, expected in ((1.05, 1), (0.95, None)):
        found = scene(place("other", DEAR, first_token=first_token), place("warm", DEAR, first_token=2.0), seconds=1.0)
        assert stays(found) == expected


def test_what_is_not_known_is_no_reason_to_leave() -> None:
    assert stays(scene(place("other"), place("warm", DEAR, first_token=30.0))) == 1
    assert stays(scene(place("other", Price(0.0, 0.0)), place("warm"))) == 1


def test_the_key_whose_cache_is_warm_is_tried_first() -> None:
    found = scene(place("first", DEAR), place("warm", DEAR, keys=("x", "y", "z")), at="warm@y")
    shared = found.candidates[1]
    ranked = as_ranked(found)
    assert stay(ranked, found.model, found.request, found.world) == 1
    assert ranked[1].candidate.clusters == ["warm@y", "warm@x", "warm@z"]
    assert ranked[1].numbers == {"warm_tokens": 9000}
    assert shared.clusters == ["warm@x", "warm@y", "warm@z"], "candidates are shared between requests"


def test_an_estimate_that_is_too_low_does_not_make_the_warm_one_free() -> None:
    found = scene(place("other", Price(0.2, 0.0)), place("warm", Price(3.0, 0.0, 0.3)), cached=50_000, usd=0.0)
    assert stays(found) is None


def test_a_decision_keeps_the_key_of_its_only_target() -> None:
    found = scene(place("warm", DEAR, keys=("x", "y")), at="warm@y")
    found.world.health, found.world.limits = Health(lambda: NOW), Limits()
    for _ in range(10):
        decision = decide(found.model, found.request, found.world)
        assert decision.clusters == ["warm@y", "warm@x"]
        assert decision.stayed
