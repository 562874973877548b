"""Hard constraints: what each removes, that the unknown is not allowed, and what a refusal says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from extproc.core.dialect import Need
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.prompt import Media
from extproc.core.usage import Price
from extproc.registry.policy import Access, Require, Tenant
from extproc.routing import filters, refusals
from extproc.routing.decide import decide
from extproc.routing.decision import Request, World
from extproc.routing.health import LAST_RESORTS, Out
from extproc.routing.limits import Full
from tests.routing.asking import Table, codes, decided, model, provider, registry, request, rule, scene, target, world

EU = Require(data_stays_in=frozenset({"eu"}))
CEILING = Require(usd_per_million_tokens=(2.0, 8.0))
LONG = "A sentence of some length, to be counted. " * 1000


def refused(where: World, asking: Request | None = None, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        decided(where, asking, **fields)
    return caught.value


# what the registry alone says


def test_a_stated_lack_and_a_format_without_a_word_for_it() -> None:
    where = scene([target("a", capabilities={"vision": False}), target("b", provider("pb", "anthropic")), target("c")])
    found = decided(where, request(Need.VISION, Need.CHOICES))
    assert found.clusters == ["c"]
    assert codes(found) == [("a", "lacks:vision"), ("b", "lacks:choices")]


def test_an_operation_that_a_provider_does_not_have() -> None:
    where = scene([target("a", provider("pa", "anthropic")), target("b")])
    found = decided(where, request(client="openai_embeddings"))
    assert (found.clusters, codes(found)) == (["b"], [("a", "lacks:embeddings")])


def test_residency_is_the_whole_list_and_unknown_is_not_allowed() -> None:
    targets = [
        target("inside", provider("p1", stays=["eu"])),
        target("both", provider("p2", stays=["eu", "us"])),
        target("unknown", provider("p3")),
        target("outside", provider("p4", stays=["us"])),
    ]
    found = decided(scene(targets), require=EU)
    assert found.clusters == ["inside"]
    assert codes(found) == [("both", "residency"), ("unknown", "residency"), ("outside", "residency")]
    assert decided(scene(targets), require=Require(frozenset({"eu", "us"}))).clusters == ["inside", "both", "outside"]


def test_a_provider_must_promise_all_that_is_required() -> None:
    targets = [target("none"), target("one", provider("p1", policy=["no_training"])), target("all", provider("p2", policy=["no_training", "x"]))]
    found = decided(scene(targets), require=Require(data_policy=frozenset({"no_training", "x"})))
    assert (found.clusters, codes(found)) == (["all"], [("none", "data_policy"), ("one", "data_policy")])


def test_a_price_over_the_ceiling_and_an_unknown_one() -> None:
    targets = [
        target("cheap", price=Price(2.0, 8.0)),
        target("dear_in", price=Price(2.1, 1.0)),
        target("dear_out", price=Price(1.0, 8.1)),
        target("unknown"),
    ]
    found = decided(scene(targets), require=CEILING)
    assert (found.clusters, {code for _, code in codes(found)}) == (["cheap"], {"price_ceiling"})
    assert decided(scene(targets), require=Require(usd_per_million_tokens=(None, 1.0))).clusters == ["dear_in"]


def test_a_price_that_rises_with_the_length_holds_for_short_prompts_only() -> None:
    tiers = ((5_000, Price(4.0, 8.0)),)
    where = scene([target("a", price=Price(1.0, 8.0, tiers=tiers)), target("b", price=Price(2.0, 8.0))], require=CEILING)
    assert decided(where, request(size=4_000)).clusters == ["a", "b"]
    found = decided(where, request(text=LONG))
    assert (found.clusters, codes(found)) == (["b"], [("a", "price_ceiling")])
    assert decided(where, request(text="a" * 6_000)).clusters == ["a", "b"], "more bytes than that, but not as many tokens"


def test_a_small_body_with_pictures_may_be_a_long_prompt() -> None:
    tiers = ((1_000, Price(4.0, 8.0)),)
    where = scene([target("a", price=Price(1.0, 8.0, tiers=tiers)), target("b", price=Price(2.0, 8.0))], require=CEILING)
    asking = request(Need.VISION)
    asking.signals.prompt.media.extend(Media("image") for _ in range(20))
    assert decided(where, asking).clusters == ["b"]


def test_both_the_models_and_the_tenants_requirements_hold() -> None:
    targets = [
        target("eu", provider("p1", stays=["eu"])),
        target("promised", provider("p2", policy=["no_training"])),
        target("both", provider("p3", stays=["eu"], policy=["no_training"])),
    ]
    where = scene(targets, tenants=[Tenant("acme", Require(data_policy=frozenset({"no_training"})))], require=EU)
    assert decided(where, request(who={"tenant": "acme"})).clusters == ["both"]
    assert decided(where, request(who={"tenant": "other"})).clusters == ["eu", "both"]


def test_a_tenants_lists_of_targets_and_providers() -> None:
    tenant = Tenant("acme", targets=Access(frozenset({"a", "b*"})), providers=Access(deny=frozenset({"p-b2"})))
    where = scene([target(n) for n in ("a", "b1", "b2", "c")], tenants=[tenant])
    found = decided(where, request(who={"tenant": "acme"}))
    assert found.clusters == ["a", "b1"]
    assert codes(found) == [("b2", "tenant_providers"), ("c", "tenant_targets")]


def test_the_entry_of_everybody_holds_for_strangers_and_for_nobody() -> None:
    tenants = [Tenant("acme"), Tenant("*", targets=Access(frozenset({"a"})))]
    where = scene([target("a"), target("b")], tenants=tenants)
    assert decided(where, request(who={"tenant": "acme"})).clusters == ["a", "b"]
    for who in ({}, {"tenant": ""}, {"tenant": "stranger"}, {"tenant": "*"}):
        assert decided(where, request(who=who)).clusters == ["a"]


def test_drained_targets_take_no_new_requests() -> None:
    found = decided(scene([target("a", drained=True), target("b")]))
    assert (found.clusters, codes(found)) == (["b"], [("a", "drained")])


@pytest.mark.parametrize(
    ("access", "name", "asked", "may"),
    [
        (Access(frozenset({"chat"})), "chat", "chat", True),
        (Access(frozenset({"chat"})), "chat", "alias", True),
        (Access(frozenset({"other"})), "chat", "chat", False),
        (Access(frozenset({"alias"})), "chat", "alias", False),
        (Access(deny=frozenset({"chat"})), "chat", "alias", False),
        (Access(deny=frozenset({"al*"})), "chat", "alias", False),
        (Access(frozenset()), "chat", "chat", False),
        (Access(frozenset({"gpt-4o"})), "gpt-*", "gpt-4o", True),
        (Access(frozenset({"gpt-4o"})), "gpt-*", "gpt-5", False),
        (Access(frozenset({"gpt-*"}), frozenset({"gpt-5"})), "gpt-*", "gpt-5", False),
        (Access(frozenset({"gpt-*"}), frozenset({"gpt-5"})), "gpt-*", "gpt-4o", True),
    ],
)
def test_which_models_a_tenant_may_ask_for(access: Access, name: str, asked: str, may: bool) -> None:
    where = world(registry([target("a")], [model("a", name=name)], [Tenant("acme", models=access)]))
    asking = request(asked=asked, who={"tenant": "acme"})
    if may:
        assert decide(where.registry.models[name], asking, where).clusters == ["a"]
        return
    with pytest.raises(ApiError) as caught:
        decide(where.registry.models[name], asking, where)
    assert (caught.value.kind, caught.value.status) == (ErrorKind.PERMISSION, 403)
    assert "acme" in caught.value.message
    assert asked in caught.value.message


# this request's length


def test_a_prompt_that_certainly_does_not_fit() -> None:
    found = decided(scene([target("small", window=1_000), target("large", window=100_000), target("unknown")]), request(text=LONG))
    assert (found.clusters, codes(found)) == (["large", "unknown"], [("small", "context_window")])


def test_a_prompt_that_may_just_fit_is_tried() -> None:
    """About 9,000 tokens: the estimate alone is not certain enough to say no."""
    assert decided(scene([target("a", window=8_000)]), request(text=LONG)).clusters == ["a"]


def test_a_small_body_is_not_even_looked_at() -> None:
    asking = request(size=999)
    del asking.signals.prompt
    assert decided(scene([target("a", window=1_000)]), asking).clusters == ["a"]


def test_what_was_learned_of_a_targets_tokens_counts() -> None:
    where = scene([target("a", window=6_000)])
    assert decided(where, request(text=LONG)).clusters == ["a"]
    where.statistics._open("a").token_ratio = 2.0
    assert refused(where, request(text=LONG)).kind is ErrorKind.CONTEXT_LENGTH


def test_the_window_of_a_model_that_the_client_names() -> None:
    """The facts of a target "*" are those of the model asked for."""
    where = scene([target("any", model="*")])
    windows = {"small": 1_000, "large": 100_000}
    where.facts = lambda t, asked: (replace(t.facts, model=asked, context_window=windows[asked]), None)
    for _ in range(2):
        assert decided(where, request(asked="large", text=LONG)).clusters == ["any"]
        assert refused(where, request(asked="small", text=LONG)).kind is ErrorKind.CONTEXT_LENGTH


def test_the_price_of_a_model_that_the_client_names_is_todays() -> None:
    where = scene([target("any", model="*")], require=CEILING)
    prices = {"cheap": Price(1.0, 1.0), "dear": Price(9.0, 9.0)}
    where.facts = lambda t, asked: (t.facts, prices[asked])
    for _ in range(2):
        assert decided(where, request(asked="cheap")).clusters == ["any"]
        assert refused(where, request(asked="dear")).kind is ErrorKind.UNPROCESSABLE
    prices["dear"] = Price(2.0, 2.0)
    where.wall += 86_400
    assert decided(where, request(asked="dear")).clusters == ["any"]


# the moment


def test_cooling_ejected_inactive_and_full_clusters_are_left_out() -> None:
    names = ("limited", "ejected", "inactive", "full", "free")
    where = scene([target(n, concurrency=1 if n == "full" else None) for n in names])
    where.health.cool_down("limited", 10, Out.LIMITED)
    where.health.ejected = frozenset({"ejected"})
    where.health.active = frozenset(names) - {"inactive"}
    table(where).clusters["full"] = Full("concurrency", "1 of 1 requests under way", 0.0)
    found = decided(where)
    assert found.clusters == ["free", "ejected"], "behind all others, for when they have failed"
    assert codes(found) == [(n, n if n != "full" else "concurrency") for n in names[:4]]


def table(where: World) -> Table:
    limits = where.limits
    assert isinstance(limits, Table)
    return limits


def test_limits_are_asked_only_of_targets_that_have_some() -> None:
    where = scene([target("a"), target("b")])
    table(where).clusters["a"] = Full("requests_per_minute", "", 3.0)
    assert decided(where).clusters == ["a", "b"]


@pytest.mark.parametrize("why", LAST_RESORTS)
def test_the_last_resort_brings_back_what_only_cools_down(why: Out) -> None:
    where = scene([target("a"), target("b", capabilities={"tools": False}), target("c", drained=True), target("d", requests_per_minute=1)])
    where.health.cool_down("a", 10, why)
    where.health.cool_down("b", 10, why)
    where.health.cool_down("d", 10, why)
    table(where).clusters["d"] = Full("requests_per_minute", "", 3.0)
    found = decided(where, request(Need.TOOLS))
    assert (found.clusters, found.last_resort) == (["a"], True)
    assert dict(codes(found))["a"] == why.name.lower()
    error = refused(where, request(Need.TOOLS), last_resort=False)
    assert error.kind is (ErrorKind.RATE_LIMITED if why is Out.SPENT else ErrorKind.UNAVAILABLE)


def test_what_is_out_comes_last_while_something_is_left() -> None:
    where = scene([target("a"), target("b")])
    where.health.ejected = frozenset({"a"})
    found = decided(where)
    assert (found.clusters, found.last_resort) == (["b", "a"], False)
    assert decided(where, last_resort=False).clusters == ["b"]


# refusals


def test_access_lists_alone_are_a_403() -> None:
    where = scene([target("a"), target("b")], tenants=[Tenant("*", targets=Access(frozenset({"x"})))])
    error = refused(where)
    assert error.kind is ErrorKind.PERMISSION
    assert "a (" in error.message
    assert "b (" in error.message


def test_constraints_are_a_422_that_names_each_target_and_why() -> None:
    where = scene([target("a", provider("pa", stays=["us"])), target("b", capabilities={"tools": False})], require=EU)
    error = refused(where, request(Need.TOOLS))
    assert error.kind is ErrorKind.UNPROCESSABLE
    assert "a (its data may be in us, and must stay in eu); b (openai_chat at p-b cannot carry: tools)" in error.message
    assert ".test" not in error.message, "no address of a provider"


def test_a_rules_others_are_not_blamed() -> None:
    where = scene([target("a", capabilities={"tools": False}), target("b")], rules=(rule("narrow", only=("a",)),))
    error = refused(where, request(Need.TOOLS, task="yes"))
    assert error.kind is ErrorKind.UNPROCESSABLE
    assert "b (" not in error.message


def test_too_long_for_all_is_what_clients_know_how_to_mend() -> None:
    where = scene([target("a", window=1_000), target("b", capabilities={"tools": False})])
    error = refused(where, request(Need.TOOLS, text=LONG))
    assert (error.kind, error.status) == (ErrorKind.CONTEXT_LENGTH, 400)


def test_all_limited_is_a_429_with_the_shortest_wait() -> None:
    where = scene([target("a"), target("b", tokens_per_minute=10), target("c", drained=True), target("d", capabilities={"tools": False})])
    where.health.cool_down("a", 20, Out.LIMITED)
    table(where).clusters["b"] = Full("tokens_per_minute", "", 7.0)
    error = refused(where, request(Need.TOOLS))
    assert (error.kind, error.retry_after) == (ErrorKind.RATE_LIMITED, 7.0)


def test_all_at_their_concurrency_is_a_429_for_a_second() -> None:
    where = scene([target("a", concurrency=2)])
    table(where).clusters["a"] = Full("concurrency", "2 of 2 requests under way", 0.0)
    error = refused(where)
    assert (error.kind, error.retry_after) == (ErrorKind.RATE_LIMITED, 1.0)


def test_out_without_a_last_resort_is_a_503() -> None:
    where = scene([target("a"), target("b")], last_resort=False)
    where.health.cool_down("a", 20, Out.LIMITED)
    where.health.cool_down("b", 12, Out.FAILING)
    error = refused(where)
    assert (error.kind, error.retry_after) == (ErrorKind.UNAVAILABLE, 12.0)


def test_nothing_active_yet_is_a_503_that_asks_to_try_again() -> None:
    where = scene([target("a")])
    where.health.active = frozenset()
    error = refused(where)
    assert (error.kind, error.retry_after) == (ErrorKind.UNAVAILABLE, 1.0)


def test_all_drained_is_a_503_until_nobody_knows_when() -> None:
    error = refused(scene([target("a", drained=True), target("b", capabilities={"tools": False})]), request(Need.TOOLS))
    assert (error.kind, error.retry_after) == (ErrorKind.UNAVAILABLE, None)


def test_a_long_list_is_cut() -> None:
    error = refused(scene([target(f"t{n}", capabilities={"tools": False}) for n in range(30)]), request(Need.TOOLS))
    assert "and 18 more" in error.message
    assert "t11 (" in error.message
    assert "t12 (" not in error.message


# what is kept


def test_every_code_has_a_meaning() -> None:
    assert {o.name.lower() for o in Out} <= set(filters.CODES)
    assert set(filters.CODES) >= refusals.ACCESS | refusals.MOMENTARY


def test_the_memo_is_bounded_and_a_wildcard_counts_by_name() -> None:
    where = scene([target("any", model="*")])
    for n in range(filters._ENTRIES + 100):
        decided(where, request(asked=f"m{n}"))
    assert len(where.registry.memo) <= filters._ENTRIES
    fixed = scene([target("a")])
    for n in range(100):
        decided(fixed, request(asked=f"m{n}"))
    assert len(fixed.registry.memo) == 1, "a name that changes nothing takes no place"


def test_what_is_kept_is_kept_for_one_model_only() -> None:
    """Another one of the same name, of the same snapshot, has constraints of its own."""
    where = scene([target("a"), target("b", provider("pb", stays=["eu"]))])
    for _ in range(2):
        assert decided(where).clusters == ["a", "b"]
        assert decided(where, require=EU).clusters == ["b"]


def test_what_is_kept_is_not_shared_with_a_decision() -> None:
    where = scene([target("a", capabilities={"tools": False}), target("b")])
    first = decided(where, request(Need.TOOLS))
    first.excluded.clear()
    first.clusters.append("x")
    first.ranked.clear()
    again = decided(where, request(Need.TOOLS))
    assert (again.clusters, codes(again), len(again.ranked)) == (["b"], [("a", "lacks:tools")], 1)
