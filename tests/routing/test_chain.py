"""Chains: order, weights, what is left out and why, and what happens when everything is."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from extproc.core.dialect import Need
from extproc.core.errors import ApiError, ErrorKind
from extproc.dialects.catalog import DIALECTS
from extproc.registry.types import Model, Rank, Target
from extproc.routing.chain import Chain, build, draw
from extproc.routing.health import Health, Out
from tests.stages.world import Clock, registry, target

CLIENT = DIALECTS["openai_chat"]


def model_of(*ranks: tuple[tuple[str, float], ...]) -> Model:
    base = registry(target("a")).models["chat"]
    return Model(base.name, (), tuple(Rank(r) for r in ranks), base.timeouts, base.attempts, base.commit, False)


def chain(targets: list[Target], *, model: Model | None = None, needs: set[str] | None = None, health: Health | None = None) -> Chain:
    plain = model_of(*[((t.name, 1.0),) for t in targets])
    known = {t.name: t for t in targets}
    return build(model or plain, known, DIALECTS, CLIENT, frozenset(needs or ()), health or Health(Clock()), lambda: 0.0)


def test_ranks_are_the_fallback_order() -> None:
    assert chain([target("a"), target("b"), target("c")]).clusters == ["a", "b", "c"]


def test_weights_draw_the_order_inside_a_rank() -> None:
    rng = random.Random(1)
    rank = Rank((("a", 95.0), ("b", 5.0)))
    first = Counter(draw(rank, rng.random)[0] for _ in range(4000))
    assert 0.93 < first["a"] / 4000 < 0.97
    assert sorted(draw(rank, rng.random)) == ["a", "b"]


def test_second_keys_come_after_every_first_key() -> None:
    pool = target("a", keys=("x", "y"))
    assert chain([pool, target("b")]).clusters == ["a@x", "b", "a@y"]


def test_a_stated_lack_leaves_a_target_out() -> None:
    found = chain([target("a", vision=False), target("b")], needs={Need.VISION})
    assert found.clusters == ["b"]
    assert [(e.cluster, e.code) for e in found.excluded] == [("a", "lacks:vision")]


def test_a_format_without_a_word_for_it_leaves_a_target_out() -> None:
    assert chain([target("a", "anthropic_messages"), target("b")], needs={Need.CHOICES}).clusters == ["b"]
    assert chain([target("a"), target("b", "anthropic_messages")], needs={Need.FILE_ID}).clusters == ["a"], "a file id lives in one vendor's account"


def test_no_capable_target_is_a_422_that_says_what_is_missing() -> None:
    with pytest.raises(ApiError) as caught:
        chain([target("a", tools=False)], needs={Need.TOOLS})
    assert caught.value.kind is ErrorKind.UNPROCESSABLE
    assert "tools" in caught.value.message


def test_cooling_ejected_and_inactive_clusters_are_left_out() -> None:
    clock = Clock()
    health = Health(clock)
    health.cool_down("a", 10, Out.LIMITED)
    health.ejected = frozenset({"b"})
    health.active = frozenset({"a", "b", "d"})
    targets = [target(n) for n in "abcd"]
    found = chain(targets, health=health)
    assert found.clusters == ["d"]
    assert [(e.cluster, e.code) for e in found.excluded] == [("a", "limited"), ("b", "ejected"), ("c", "inactive")]
    clock.now += 10.1
    assert chain(targets, health=health).clusters == ["a", "d"]


def test_a_cool_down_is_never_shortened_and_ends_with_an_answer() -> None:
    clock = Clock()
    health = Health(clock)
    health.cool_down("a", 10, Out.LIMITED)
    health.cool_down("a", 1, Out.KEY_REFUSED)
    assert health.why("a") == (Out.LIMITED, 10.0)
    health.recovered("a", clock.now)
    assert health.why("a") is None


def test_an_answer_to_an_earlier_request_ends_no_cool_down() -> None:
    clock = Clock()
    health = Health(clock)
    asked = health.now
    clock.now += 1
    health.cool_down("a", 10, Out.LIMITED)
    health.recovered("a", asked)
    assert health.why("a") == (Out.LIMITED, 10.0)


def test_what_is_out_is_tried_when_nothing_else_is_left() -> None:
    health = Health(Clock())
    health.ejected = frozenset({"a"})
    found = chain([target("a")], health=health)
    assert (found.clusters, found.last_resort) == (["a"], True)


def test_all_limited_is_a_429_with_the_shortest_wait() -> None:
    health = Health(Clock())
    health.cool_down("a", 20, Out.LIMITED)
    health.cool_down("b", 7, Out.LIMITED)
    with pytest.raises(ApiError) as caught:
        chain([target("a"), target("b")], health=health)
    assert (caught.value.kind, caught.value.retry_after) == (ErrorKind.RATE_LIMITED, 7.0)


def test_nothing_active_yet_is_a_503_that_asks_to_try_again() -> None:
    health = Health(Clock())
    health.active = frozenset()
    with pytest.raises(ApiError) as caught:
        chain([target("a")], health=health)
    assert (caught.value.kind, caught.value.retry_after) == (ErrorKind.UNAVAILABLE, 1.0)


# state that an earlier answer left in one account


def test_state_goes_to_one_cluster_and_always_the_same() -> None:
    health = Health(Clock())
    targets = [target("b", "anthropic_messages"), target("a", keys=("x", "y")), target("c")]
    model = model_of((("b", 1.0), ("a", 1.0)), (("c", 99.0),))
    rng = random.Random(1)
    for _ in range(20):
        found = build(model, {t.name: t for t in targets}, DIALECTS, CLIENT, frozenset({Need.STATE}), health, rng.random)
        assert found.clusters == ["a@x"]
    assert {(e.cluster, e.code) for e in found.excluded} == {("b", "lacks:state"), ("a@y", "other_account"), ("c", "other_account")}


def test_state_goes_there_even_if_it_is_out() -> None:
    """Another account would only say that it knows nothing of it."""
    health = Health(Clock())
    health.cool_down("a", 10, Out.LIMITED)
    assert chain([target("a"), target("b")], needs={Need.STATE}, health=health).clusters == ["a"]


def test_a_target_that_keeps_no_state_is_passed_over() -> None:
    assert chain([target("a", state=False), target("b", vision=False), target("c")], needs={Need.STATE, Need.VISION}).clusters == ["c"]


def test_state_that_nobody_keeps_is_a_422_that_says_what_to_do() -> None:
    with pytest.raises(ApiError) as caught:
        chain([target("a", state=False), target("b", "anthropic_messages")], needs={Need.STATE})
    assert (caught.value.kind, caught.value.code) == (ErrorKind.UNPROCESSABLE, "state_not_kept")
    assert "whole conversation" in caught.value.message
