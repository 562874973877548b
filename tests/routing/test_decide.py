"""Decisions: rules, preference, keys, exploration, affinity, observation, state."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from extproc.core.dialect import Need
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.usage import Price
from extproc.registry.policy import Access, Affinity, Is, Policy, RankBy, Require, Rule, Tenant, Within
from extproc.registry.types import Target
from extproc.routing.health import Out
from extproc.routing.limits import Full
from tests.routing.asking import Table, codes, decided, provider, request, rule, scene, target

COST = RankBy(Policy.COST)
LATENCY = RankBy(Policy.LATENCY)
SCORE = RankBy(Policy.SCORE, (("cost", 1.0),))
BANDIT = RankBy(Policy.BANDIT)
YES = request(task="yes")


def priced(*prices: tuple[str, float]) -> list[Target]:
    return [target(name, price=Price(usd, usd)) for name, usd in prices]


ABC = priced(("a", 3.0), ("b", 1.0), ("c", 2.0))


# rules


def test_without_rules_the_order_of_the_file() -> None:
    found = decided(scene(ABC))
    assert (found.clusters, found.rule, found.policy, found.model) == (["a", "b", "c"], "", "order", "chat")


def test_the_first_rule_that_holds_decides() -> None:
    rules = (
        Rule("short", Within("prompt_tokens", 0, 50), prefer=("b",)),
        Rule("code", Is("task", frozenset({"code"})), prefer=("c",)),
        Rule("also", Is("task", frozenset({"code"})), only=("a",)),
    )
    where = scene(ABC, rules=rules)
    assert decided(where, request(prompt_tokens=20, task="code")).clusters == ["b", "a", "c"]
    assert decided(where, request(prompt_tokens=50, task="code")).clusters == ["c", "a", "b"]
    assert decided(where, request(task="code")).rule == "code", "an unknown signal holds nowhere"
    assert decided(where, request(prompt_tokens=50, task="chat")).rule == ""


def test_prefer_keeps_the_others_and_only_does_not() -> None:
    preferring, narrow = scene(ABC, rules=(rule(prefer=("c", "b")),)), scene(ABC, rules=(rule(only=("c", "b")),))
    assert decided(preferring, YES).clusters == ["c", "b", "a"]
    found = decided(narrow, YES)
    assert (found.clusters, codes(found)) == (["c", "b"], [("a", "rule")])
    assert decided(narrow).clusters == ["a", "b", "c"]


def test_a_rule_may_name_a_target_that_the_model_does_not_list() -> None:
    assert decided(scene(ABC, "a", rules=(rule(prefer=("c",)),)), YES).clusters == ["c", "a"]
    assert decided(scene(ABC, "a", rules=(rule(only=("c",)),)), YES).clusters == ["c"]


def test_what_a_rule_names_is_filtered_like_all_others() -> None:
    where = scene(ABC, "a", rules=(rule(prefer=("b",)),), require=Require(usd_per_million_tokens=(None, 0.5)))
    with pytest.raises(ApiError) as caught:
        decided(where, YES)
    assert caught.value.kind is ErrorKind.UNPROCESSABLE
    assert "b (" in caught.value.message


def test_only_is_kept_through_every_trouble() -> None:
    where = scene(ABC, rules=(rule(only=("a",)),), last_resort=False)
    where.health.cool_down("a", 10, Out.FAILING)
    with pytest.raises(ApiError) as caught:
        decided(where, YES)
    assert caught.value.kind is ErrorKind.UNAVAILABLE
    assert decided(where, YES, last_resort=True).clusters == ["a"]


def test_a_rule_changes_how_is_ranked() -> None:
    found = decided(scene(ABC, rules=(rule(rank_by=COST),)), YES)
    assert (found.clusters, found.policy) == (["b", "c", "a"], "cost")


def test_the_preferred_are_ranked_among_themselves() -> None:
    where = scene(ABC, rules=(rule(prefer=("a", "c")),), rank_by=COST)
    assert decided(where).clusters == ["b", "c", "a"]
    assert decided(where, YES).clusters == ["c", "a", "b"]


def test_weights_hold_for_what_no_rule_names() -> None:
    where = scene(priced(*((n, 1.0) for n in "abcd")), {"a": 1.0, "b": 1.0, "c": 1.0}, "d", rules=(rule(prefer=("c",)),))
    found = Counter("".join(decided(where, YES).clusters) for _ in range(200))
    assert set(found) == {"cabd", "cbad"}
    assert min(found.values()) > 60


@pytest.mark.parametrize("rank_by", [COST, LATENCY, SCORE])
def test_equal_targets_keep_the_order_of_the_file(rank_by: RankBy) -> None:
    same = priced(("z", 1.0), ("y", 1.0))
    assert decided(scene(same, rank_by=rank_by, explore=0.0)).clusters == ["z", "y"]


# keys


def test_second_keys_come_after_every_first_key_and_keys_take_turns() -> None:
    where = scene([target("a", provider("p", keys=("x", "y", "z"))), target("b")])
    found = Counter(tuple(decided(where).clusters) for _ in range(300))
    assert set(found) == {("a@x", "b", "a@y", "a@z"), ("a@y", "b", "a@z", "a@x"), ("a@z", "b", "a@x", "a@y")}
    assert min(found.values()) > 60


def test_a_key_that_is_out_leaves_its_siblings() -> None:
    where = scene([target("a", provider("p", keys=("x", "y"))), target("b")])
    where.health.cool_down("a@x", 10, Out.KEY_REFUSED)
    for _ in range(10):
        found = decided(where)
        assert (found.clusters, codes(found)) == (["a@y", "b"], [("a@x", "key_refused")])


# exploration


@pytest.mark.parametrize("rank_by", [LATENCY, SCORE])
def test_a_share_goes_to_another_than_the_best(rank_by: RankBy) -> None:
    where = scene(ABC, rank_by=rank_by, explore=0.2)
    for n, name in enumerate("abc"):
        measured = where.statistics._open(name)
        measured.requests, measured.first_token, measured.per_token = 100.0, 1.0 + n, 0.01 + n
    best = decided(where, explore=0.0).clusters
    found = [decided(where) for _ in range(5000)]
    explored = [d for d in found if d.explored]
    assert 0.18 < len(explored) / 5000 < 0.22
    first = Counter(d.clusters[0] for d in explored)
    assert set(first) == set(best[1:]), "the best itself is no exploration"
    assert min(first.values()) > 0.45 * len(explored)
    assert all(d.clusters == best for d in found if not d.explored)
    assert all([c for c in d.clusters if c != d.clusters[0]] == [c for c in best if c != d.clusters[0]] for d in explored)


@pytest.mark.parametrize("rank_by", [RankBy(), COST, BANDIT])
def test_order_cost_and_the_bandit_are_not_explored(rank_by: RankBy) -> None:
    where = scene(ABC, rank_by=rank_by, explore=1.0)
    assert not any(decided(where).explored for _ in range(20))


def test_exploration_keeps_to_what_a_rule_prefers() -> None:
    one, two = scene(ABC, rank_by=LATENCY, explore=1.0, rules=(rule(prefer=("c",)),)), scene(ABC, rank_by=LATENCY, explore=1.0)
    for _ in range(20):
        found = decided(one, YES)
        assert (found.clusters[0], found.explored) == ("c", False)
        assert decided(two, rules=(rule(prefer=("c", "b")),), asking=YES).clusters[0] in "cb"


def test_nothing_is_drawn_where_nothing_needs_it() -> None:
    for fields in ({}, {"rank_by": COST}, {"rank_by": SCORE, "explore": 0.0}, {"rank_by": LATENCY, "rules": (rule(only=("a",)),)}):
        where = scene(ABC, **fields)
        decided(where, YES)
        assert where.random.random() == random.Random(1).random(), fields


# affinity and observation


def test_a_session_stays_where_its_prompt_is_cached() -> None:
    where = scene(priced(("a", 1.0), ("b", 1.0)), rank_by=COST, affinity=Affinity(usd=1.0))
    where.affinities.served("s", "b", 2000, where.now)
    found = decided(where, request(session="s", prompt_tokens=3000))
    assert (found.clusters, found.stayed) == (["b", "a"], True)
    for asking in (request(session="other", prompt_tokens=3000), request(prompt_tokens=3000)):
        assert (decided(where, asking).clusters, decided(where, asking).stayed) == (["a", "b"], False)


def test_affinity_is_not_explored_away_and_keeps_to_what_a_rule_prefers() -> None:
    where = scene(priced(("a", 1.0), ("b", 1.0)), rank_by=SCORE, explore=1.0, affinity=Affinity(), rules=(rule(prefer=("a",)),))
    where.affinities.served("s", "b", 2000, where.now)
    asking = request(session="s", prompt_tokens=3000)
    assert all(decided(where, asking).clusters == ["b", "a"] for _ in range(10))
    found = decided(where, request(session="s", prompt_tokens=3000, task="yes"))
    assert (found.clusters, found.stayed) == (["a", "b"], False)


def test_affinity_brings_nobody_back() -> None:
    where = scene(priced(("a", 1.0), ("b", 1.0)), affinity=Affinity())
    where.affinities.served("s", "b", 2000, where.now)
    where.health.ejected = frozenset({"b"})
    assert decided(where, request(session="s", prompt_tokens=3000)).clusters == ["a", "b"]


def test_observation_only_tells_what_would_have_been_first() -> None:
    where = scene(ABC, observe=Policy.COST, rules=(rule(prefer=("a", "c")),))
    found = decided(where)
    assert (found.clusters, found.observed, found.policy, found.context) == (["a", "b", "c"], "b", "order", "")
    assert decided(where, YES).observed == "c", "under the same rule"
    assert decided(where, observe=None).observed == ""


def test_the_bandits_context_is_kept_whether_it_decides_or_observes() -> None:
    where = scene(ABC)
    asking = request(task="summarization", prompt_tokens=5000)
    for fields in ({"rank_by": BANDIT}, {"observe": Policy.BANDIT}):
        found = decided(where, asking, **fields)
        assert found.context == "chat/summarization/medium"
        assert sorted(found.clusters) == ["a", "b", "c"]
    assert decided(where, asking).context == ""


# what an answer left in one account


def test_state_goes_to_one_cluster_and_always_the_same() -> None:
    targets = [target("b", provider("pb", "anthropic")), target("a", provider("pa", keys=("x", "y"))), target("c", price=Price(0.1, 0.1))]
    where = scene(targets, {"b": 1.0, "a": 1.0}, {"c": 99.0}, rank_by=COST, rules=(rule(prefer=("c",)),))
    where.health.cool_down("a@x", 10, Out.FAILING)
    for asking in [request(Need.STATE), request(Need.STATE, task="yes")] * 10:
        found = decided(where, asking)
        assert (found.clusters, found.policy) == (["a@x"], "state")
        assert [r.candidate.target.name for r in found.ranked] == ["a"]
    assert codes(found) == [("b", "lacks:state"), ("a@y", "other_account"), ("c", "other_account")]


def test_state_keeps_to_what_is_allowed() -> None:
    where = scene(
        [target("a"), target("b", provider("pb", stays=["eu"])), target("c", provider("pc", stays=["eu"]))],
        tenants=[Tenant("acme", Require(data_stays_in=frozenset({"eu"})))],
        rules=(rule(only=("c", "a")),),
    )
    assert decided(where, request(Need.STATE)).clusters == ["a"]
    assert decided(where, request(Need.STATE, who={"tenant": "acme"})).clusters == ["b"]
    assert decided(where, request(Need.STATE, who={"tenant": "acme"}, task="yes")).clusters == ["c"]


def test_state_under_a_ceiling_needs_a_price_that_holds_at_any_length() -> None:
    tiers = ((200_000, Price(4.0, 8.0)),)
    where = scene(
        [target("a", price=Price(1.0, 8.0, tiers=tiers)), target("b", price=Price(1.0, 8.0))], require=Require(usd_per_million_tokens=(2.0, None))
    )
    found = decided(where, request(Need.STATE))
    assert (found.clusters, codes(found)) == (["b"], [("a", "price_ceiling")])


def test_state_at_a_target_that_is_full_or_not_there_is_not_sent_elsewhere() -> None:
    where = scene([target("a", requests_per_minute=1), target("b")])
    assert isinstance(where.limits, Table)
    where.limits.clusters["a"] = Full("requests_per_minute", "used up", 4.0)
    with pytest.raises(ApiError) as caught:
        decided(where, request(Need.STATE))
    assert (caught.value.kind, caught.value.retry_after) == (ErrorKind.RATE_LIMITED, 4.0)
    where.limits.clusters.clear()
    where.health.active = frozenset({"b"})
    with pytest.raises(ApiError) as caught:
        decided(where, request(Need.STATE))
    assert caught.value.kind is ErrorKind.UNAVAILABLE


def test_state_that_nobody_keeps_is_a_422_that_says_what_to_do() -> None:
    where = scene([target("a", capabilities={"state": False}), target("b", provider("pb", "anthropic"))])
    with pytest.raises(ApiError) as caught:
        decided(where, request(Need.STATE))
    assert (caught.value.kind, caught.value.code) == (ErrorKind.UNPROCESSABLE, "state_not_kept")
    assert "whole conversation" in caught.value.message


def test_state_that_is_not_for_this_tenant_is_a_403() -> None:
    where = scene([target("a")], tenants=[Tenant("*", providers=Access(deny=frozenset({"p-a"})))])
    with pytest.raises(ApiError) as caught:
        decided(where, request(Need.STATE))
    assert caught.value.kind is ErrorKind.PERMISSION


# the trace


def test_the_trace_says_all_of_it() -> None:
    where = scene([*ABC, target("d", capabilities={"tools": False})], rank_by=COST, rules=(rule("cheap", prefer=("a",)),))
    said = decided(where, request(Need.TOOLS, task="yes", prompt_tokens=1000)).said()
    assert (said["model"], said["rule"], said["rank_by"], said["chain"]) == ("chat", "cheap", "cost", ["a", "b", "c"])
    assert [r["target"] for r in said["ranked"]] == ["a", "b", "c"]
    assert said["ranked"][1]["usd"] == pytest.approx(0.0013)
    assert said["excluded"] == [{"cluster": "d", "code": "lacks:tools", "why": "openai_chat at p-d cannot carry: tools"}]
