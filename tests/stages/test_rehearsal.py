"""Asking what would happen changes nothing of what happens."""

from __future__ import annotations

from dataclasses import replace

from extproc.core.exchange import Closed
from extproc.registry.policy import Limit
from extproc.routing.limits import Admitted
from extproc.stages.rehearsal import rehearsal
from extproc.stages.route import RouteExchange
from tests.stages.world import World, chat, registry, request_body, request_headers, target

LIMITS = (Limit("limits[0]", (("model", "chat"),), requests_per_minute=3, tokens_per_minute=1000),)


def test_a_rehearsed_request_leaves_nothing_behind() -> None:
    world = World(replace(registry(target("a"), target("b")), limits=LIMITS))
    services = world.services
    services.health.failed("a", world.clock.now)
    services.health.failed("a", world.clock.now)
    world.clock.now += 6
    for _ in range(10):
        exchange = RouteExchange(rehearsal(services))
        exchange.handle(request_headers())
        exchange.handle(request_body(chat()))
        assert exchange.decision is not None
        assert exchange.decision.clusters[0] == "a", "the probe is not claimed by who only asks"
        exchange.handle(Closed())
    assert not services.under_way
    assert not services.decisions
    assert services.statistics.of("a").in_flight == 0
    counted = [services.limits.admit(LIMITS, {}, "chat", lambda: 300.0, world.clock.now) for _ in range(4)]
    assert [isinstance(answer, Admitted) for answer in counted] == [True, True, True, False]


def test_it_knows_what_the_real_one_knows() -> None:
    world = World(registry(target("a"), target("b")))
    world.services.health.ejected = frozenset({"a"})
    exchange = RouteExchange(rehearsal(world.services))
    exchange.handle(request_headers())
    exchange.handle(request_body(chat()))
    assert exchange.decision is not None
    assert exchange.decision.clusters == ["b", "a"]
    assert [e.code for e in exchange.decision.excluded] == ["ejected"]
