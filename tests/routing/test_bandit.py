"""The bandit: it finds the best target, leaves one that gets worse, finds it again, forgets, stays small, and survives a restart."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.registry.policy import Policy
from extproc.routing.bandit import BANDS, CLUSTERS, CONTEXTS, LONGEST, Bandit, context_of
from extproc.routing.policies import POLICIES
from extproc.routing.policies.bandit import context_for
from tests.routing.measures import NOW, Scene, place

CONTEXT = context_of("chat", "chat", 100)
LONG = context_of("chat", "summarization", 20_000)
HOUR = 3600.0

Earns = Callable[[str, str, float], float]
"""(context, cluster, time) to the mean reward; 0 is a failure."""


def live(
    bandit: Bandit,
    clusters: list[str],
    earns: Earns,
    start: float,
    seconds: float,
    every: float,
    seed: int = 1,
    contexts: tuple[str, ...] = (CONTEXT,),
) -> list[tuple[float, str, str]]:
    """(time, context, chosen) of a request every so many seconds, each answered at once, with a little noise."""
    rng = random.Random(seed)
    chosen = []
    for i in range(int(seconds / every)):
        now, context = start + i * every, contexts[i % len(contexts)]
        draws = bandit.draw(context, clusters, now, rng)
        best = max(range(len(clusters)), key=lambda k: draws[k].reward)
        mean = earns(context, clusters[best], now)
        bandit.learn(context, clusters[best], min(max(mean + rng.gauss(0.0, 0.05), 0.01), 1.0) if mean > 0.0 else 0.0, now)
        chosen.append((now, context, clusters[best]))
    return chosen


def share(chosen: list[tuple[float, str, str]], cluster: str) -> float:
    return sum(c == cluster for _, _, c in chosen) / len(chosen)


def test_the_best_gets_nearly_everything() -> None:
    worth = {"a": 0.6, "b": 0.7, "c": 0.5}
    chosen = live(Bandit(), list(worth), lambda _, c, __: worth[c], 0.0, HOUR, 2.0)
    assert set(worth) == {c for _, _, c in chosen[:30]}, "each is tried"
    assert share(chosen[300:], "b") > 0.9


def test_a_target_that_gets_worse_is_left_and_found_again() -> None:
    def earns(_: str, cluster: str, now: float) -> float:
        return 0.6 if cluster == "steady" else 0.4 if HOUR <= now < 3 * HOUR else 0.75

    bandit = Bandit()
    chosen = live(bandit, ["steady", "drifts"], earns, 0.0, 6 * HOUR, 4.0)
    by_hour = [[c for c in chosen if h * HOUR <= c[0] < (h + 1) * HOUR] for h in range(6)]
    assert share(by_hour[0][200:], "drifts") > 0.9
    assert share(by_hour[1][120:], "drifts") < 0.1, "left within eight minutes"
    assert share(by_hour[2], "drifts") < 0.1
    assert share(by_hour[5], "drifts") > 0.9, "back before three hours are over"


def test_without_discounting_it_would_not_be_found_again() -> None:
    def earns(_: str, cluster: str, now: float) -> float:
        return 0.6 if cluster == "steady" else 0.3 if now < 3 * HOUR else 0.75

    def after(bandit: Bandit) -> float:
        return share(live(bandit, ["steady", "drifts"], earns, 0.0, 7 * HOUR, 4.0)[-600:], "drifts")

    assert after(Bandit()) > 0.9
    assert after(Bandit(half_life=1e12, window=1e12, forgiven=1e12)) < 0.1


def test_a_target_that_failed_comes_back_soon_after_it_recovered() -> None:
    def earns(_: str, cluster: str, now: float) -> float:
        return 0.6 if cluster == "steady" else 0.0 if HOUR <= now < 2 * HOUR else 0.75

    chosen = live(Bandit(), ["steady", "fails"], earns, 0.0, 4 * HOUR, 2.0)
    during = [c for c in chosen if HOUR <= c[0] < 2 * HOUR]
    assert during[:40].count((during[0][0], CONTEXT, "fails")) <= 1
    assert share(during[20:], "fails") < 0.05, "a few requests an hour find out that it still fails"
    assert share([c for c in chosen if c[0] > 3 * HOUR], "fails") > 0.9


@pytest.mark.parametrize("every", [0.5, 5.0])
def test_what_is_bad_is_tried_again_at_a_bounded_rate_whatever_the_traffic(every: float) -> None:
    worth = {"good": 0.7, "bad": 0.45}
    chosen = live(Bandit(), list(worth), lambda _, c, __: worth[c], 0.0, 24 * HOUR, every)
    tries = [now for now, _, c in chosen if c == "bad" and now > HOUR]
    gaps = [b - a for a, b in zip([HOUR, *tries], [*tries, 24 * HOUR], strict=True)]
    assert len(tries) / 23.0 < 6.0, "per hour"
    assert max(gaps) < 5 * HOUR


def test_a_new_target_is_tried_soon_and_not_by_everybody_at_once() -> None:
    bandit, rng = Bandit(), random.Random(2)
    live(bandit, ["old", "older"], lambda *_: 0.6, 0.0, HOUR, 4.0)
    names = ["old", "older", "new"]
    first = [max(zip(bandit.draw(CONTEXT, names, HOUR, rng), names, strict=True))[1] for _ in range(100)]
    assert first.count("new") > 20
    alone = bandit.draw(CONTEXT, names, HOUR, rng, [0, 0, 0])[2].deviation
    awaited = bandit.draw(CONTEXT, names, HOUR, rng, [0, 0, 30])[2].deviation
    assert awaited < alone / 2.0


def test_contexts_differ() -> None:
    def earns(context: str, cluster: str, _: float) -> float:
        return 0.7 if (cluster == "quick") == (context == CONTEXT) else 0.5

    chosen = live(Bandit(), ["quick", "cheap"], earns, 0.0, 2 * HOUR, 2.0, contexts=(CONTEXT, LONG))[400:]
    assert share([c for c in chosen if c[1] == CONTEXT], "quick") > 0.9
    assert share([c for c in chosen if c[1] == LONG], "cheap") > 0.9


def test_what_one_context_finds_out_counts_where_others_know_little() -> None:
    bandit, rng = Bandit(), random.Random(3)
    new, idle, now = context_of("chat", "translation", 100), LONG, 3 * HOUR
    live(bandit, ["a", "b"], lambda *_: 0.6, 0.0, HOUR, 2.0, contexts=(CONTEXT, idle))
    live(bandit, ["a", "b"], lambda *_: 0.6, HOUR, 2 * HOUR, 2.0)
    live(bandit, ["a"], lambda *_: 0.3, now, 400.0, 2.0)
    now += 400.0
    slow, other = bandit.draw(new, ["a", "b"], now, rng)
    assert slow.mean < other.mean - 0.1
    slow, other = bandit.draw(idle, ["a", "b"], now, rng)
    assert slow.mean < other.mean - 0.03


def test_a_target_that_fails_is_left_in_every_context() -> None:
    bandit, rng = Bandit(), random.Random(3)
    live(bandit, ["a", "b"], lambda *_: 0.6, 0.0, HOUR, 2.0, contexts=(CONTEXT, LONG))
    live(bandit, ["a"], lambda *_: 0.0, HOUR, 100.0, 2.0)
    failing, other = bandit.draw(LONG, ["a", "b"], HOUR + 100.0, rng)
    assert failing.mean < 0.7 * other.mean


def test_a_context_that_is_worth_less_does_not_make_its_targets_look_bad_elsewhere() -> None:
    bandit, rng = Bandit(), random.Random(4)
    for i in range(400):
        context, shift = (CONTEXT, 0.2) if i % 2 else (LONG, -0.2)
        bandit.learn(context, "both", 0.5 + shift, float(i))
        if context == LONG:
            bandit.learn(LONG, "only long", 0.5 + shift, float(i))
    both, only = bandit.draw(CONTEXT, ["both", "only long"], 400.0, rng)
    assert abs(both.mean - only.mean) < 0.1


def test_memory_is_bounded_and_the_least_recently_used_goes() -> None:
    bandit = Bandit()
    for i in range(CONTEXTS + 100):
        bandit.learn(f"model{i}/other/short", "a", 0.5, float(i))
        bandit.learn("kept/other/short", "a", 0.5, float(i))
    dumped = bandit.dump(0.0)
    assert len(dumped["contexts"]) == CONTEXTS
    assert len(dumped["models"]) == CONTEXTS
    assert "kept/other/short" in dumped["contexts"]
    assert "model0/other/short" not in dumped["contexts"]
    assert "model0" not in dumped["models"]
    for i in range(CLUSTERS + 20):
        bandit.learn(CONTEXT, f"c{i}", 0.5, 5000.0 + i)
        bandit.learn(CONTEXT, "c0", 0.5, 5000.0 + i)
    dumped = bandit.dump(0.0)
    for arms in (dumped["contexts"][CONTEXT]["arms"], dumped["models"]["chat"]["arms"], dumped["models"]["chat"]["answers"]):
        assert len(arms) == CLUSTERS
        assert "c0" in arms
        assert "c1" not in arms


learned = st.lists(
    st.tuples(st.sampled_from([CONTEXT, LONG, "a/b/other/short"]), st.sampled_from("xyz"), st.floats(0.0, 1.0), st.floats(0.0, 1e5)), max_size=40
)


def taught(events: list[tuple[str, str, float, float]]) -> tuple[Bandit, float]:
    bandit, now = Bandit(), 0.0
    for context, cluster, worth, later in events:
        now += later
        bandit.learn(context, cluster, worth, now)
    return bandit, now


@given(learned, st.floats(0.0, 1e6), st.floats(0.0, 1e9))
def test_a_restart_changes_nothing_but_the_clock(events: list[tuple[str, str, float, float]], elapsed: float, clock: float) -> None:
    bandit, now = taught(events)
    again = Bandit()
    again.load(json.loads(json.dumps(bandit.dump(now))), clock, elapsed)
    for context in (CONTEXT, LONG, "a/b/other/short"):
        one = bandit.draw(context, ["x", "y", "z"], now + elapsed, random.Random(5))
        other = again.draw(context, ["x", "y", "z"], clock, random.Random(5))
        for left, right in zip(one, other, strict=True):
            assert left == pytest.approx(right, rel=1e-3, abs=1e-3)


@given(learned, st.lists(st.integers(0, 1000), min_size=3, max_size=3))
def test_beliefs_are_finite_and_near_the_rewards(events: list[tuple[str, str, float, float]], under_way: list[int]) -> None:
    bandit, now = taught(events)
    for context in (CONTEXT, LONG, "unknown/other/short"):
        for draw in bandit.draw(context, ["x", "y", "z"], now, random.Random(6), under_way):
            assert -0.5 < draw.mean < 1.5
            assert 0.0 < draw.deviation < 1.0


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for k, v in inside for p in paths(v, (*path, k)))]


def said(do: Callable[[], None]) -> str:
    try:
        do()
    except ValueError as error:
        return str(error)
    return ""


@given(st.data(), st.one_of(st.none(), st.booleans(), st.text(max_size=3), st.just([]), st.just({}), st.floats(allow_nan=True), st.integers()))
def test_a_dump_that_was_tampered_with_is_refused_by_name_or_harmless(data: st.DataObject, junk: Any) -> None:
    source, _ = taught([(CONTEXT, "x", 0.5, 1.0), (LONG, "y", 0.0, 1.0), (LONG, "y", 0.7, 1.0)])
    dumped = source.dump(10.0)
    path = data.draw(st.sampled_from(paths(dumped)[1:]))
    place = dumped
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = junk
    bandit, _ = taught([(CONTEXT, "z", 0.9, 1.0)])
    before = bandit.dump(1.0)
    refused = said(lambda: bandit.load(dumped, 0.0))
    if refused:
        assert path[0] in refused or "no such model" in refused
        assert bandit.dump(1.0) == before
    else:
        for draw in bandit.draw(LONG, ["x", "y"], 0.0, random.Random(7)):
            assert -2.0 < draw.mean < 4.0
            bandit.learn(LONG, "y", 0.5, 1.0)


def test_contexts_are_few() -> None:
    assert context_of("a/b", "chat", 10) == "a/b/chat/short"
    assert context_of("m", "<script>", 10) == context_of("m", "", 10) == "m/other/short"
    assert [context_of("m", "chat", n).rpartition("/")[2] for n in (0, 999, 1000, 8000, 64_000, 10**9)] == [
        "short",
        "short",
        "medium",
        "long",
        "huge",
        "huge",
    ]
    assert context_of("m", "chat", None) == context_of("m", "chat", 0)
    assert LONGEST not in {name for _, name in BANDS}


def test_draws_are_in_the_order_of_the_clusters_and_change_nothing() -> None:
    bandit, now = taught([(CONTEXT, c, w, 1.0) for c, w in (("a", 0.9), ("b", 0.1)) for _ in range(20)])
    before = bandit.dump(now)
    means = Counter({c: d.mean for c, d in zip("ba", bandit.draw(CONTEXT, ["b", "a"], now, random.Random(8)), strict=True)})
    assert means["a"] > means["b"] + 0.5
    bandit.draw("never/other/short", ["a"], now, random.Random(8))
    assert bandit.dump(now) == before


class Middle(random.Random):
    """Every draw is the mean."""

    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        return mu


def test_the_policy_ranks_by_what_was_drawn_in_the_context_of_the_request() -> None:
    scene = Scene([place("a"), place("b"), place("c")], signals={"prompt_tokens": 20_000, "task": "summarization"}, random=Middle())
    scene.world.bandit = Bandit()
    context = context_for(scene.model, scene.request)
    assert context == LONG
    for i in range(50):
        for name, worth, elsewhere in (("a", 0.4, 0.9), ("b", 0.8, 0.1), ("c", 0.6, 0.5)):
            scene.world.bandit.learn(LONG, name, worth, NOW - 50.0 + i)
            scene.world.bandit.learn(CONTEXT, name, elsewhere, NOW - 50.0 + i)
    ranked = scene.rank(POLICIES[Policy.BANDIT])
    assert [r.candidate.target.name for r in ranked] == ["b", "c", "a"]
    assert [r.score for r in ranked] == [pytest.approx(1.0 - r.numbers["reward"]) for r in ranked]
    assert [c.target.name for c in scene.candidates] == ["a", "b", "c"], "what it was handed stays as it was"


def test_equal_draws_keep_the_order_of_the_file() -> None:
    scene = Scene([place(name) for name in "xyz"], random=Middle())
    scene.world.bandit = Bandit()
    assert scene.names(POLICIES[Policy.BANDIT]) == ["x", "y", "z"]
