"""Which targets a routed request is tried at: whose it is, what limits say, which model serves it, and the decision, which is kept for whoever asks
why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from extproc.core.dialect import Ask
from extproc.core.ir import JSON
from extproc.registry.policy import Require
from extproc.registry.types import Attempts, Commit, Model, Timeouts
from extproc.routing import filters
from extproc.routing.decide import decide
from extproc.routing.decision import Decision, Request, World
from extproc.routing.limits import Admitted
from extproc.routing.signals import RequestSignals
from extproc.stages import learn, shadow
from extproc.stages.allowance import Allowance, allow
from extproc.stages.services import Decided
from extproc.stages.session import session_of

if TYPE_CHECKING:
    from extproc.stages.route import RouteExchange

ONE_TARGET = Model("", (), (), Timeouts(), Attempts(total=2), Commit.FIRST_TOKEN, strict=False)
"""What holds for a request that is passed on as it is: once more if no connection could be made, and the usual limits."""


class Choice(NamedTuple):
    """`model` serves the request, which may be another one than was asked for, and is asked for `ask`. `session` is the one it was decided for."""

    model: Model
    ask: Ask
    decision: Decision
    session: str


def choose(exchange: RouteExchange, model: Model, ask: Ask, needs: frozenset[str], body: JSON, size: int) -> Choice:
    """Which of the registry's targets are tried for a request for `model`, in which order. `size` is the bytes of the body.

    Raises `ApiError` where the model is not the tenant's to use, a limit stands in the way or no target is left.
    """
    services, registry, who, shadowed = exchange.services, exchange.registry, exchange.who, exchange.shadowed
    wall = services.wall()
    first = registry.targets[model.ranks[0].targets[0][0]]
    measured = services.statistics.of(first.clusters[0])
    signals = exchange.signals = RequestSignals(
        exchange.client,
        body,
        ask,
        needs,
        exchange.headers,
        who,
        wall,
        family=learn.counts_as(first, ask.model),
        ratio=lambda: measured.token_ratio or 1.0,
    )
    limited = ""
    left: tuple[Model, ...] = ()
    if shadowed is not None:
        model = shadow.only(registry, model, shadowed.target)
    elif registry.limits:
        model, exchange.admitted, limited, left = _allowed(exchange, model, ask.model, signals, wall)
        if left:
            # where a target serves whatever name it is asked for
            ask = replace(ask, model=model.name)
    session = session_of(model, exchange.headers, who, signals) if shadowed is None else ""
    requires = tuple([each.require for each in left if each.require]) if left else ()
    request = Request(exchange.client, ask.model, needs, size, signals, who, session, exchange.headers, requires)
    world = World(
        registry,
        services.dialects,
        services.facts,
        services.health,
        services.statistics,
        services.limits,
        services.bandit,
        services.affinities,
        services.random,
        services.monotonic(),
        wall,
    )
    decision = exchange.decision = decide(model, request, world)
    decision.limited = limited
    record = exchange.record
    record.rule, record.rank_by, record.observed, record.limited = decision.rule, decision.policy, decision.observed, limited
    if decision.explored or decision.stayed or decision.last_resort:
        record.routing = [word for word in ("explored", "stayed", "last_resort") if getattr(decision, word)]
    decision.signals = signals.known
    services.decisions.append(Decided(decision, record, wall))
    if left and not model.strict and any(each.strict for each in left):
        model = replace(model, strict=True)
    return Choice(model, ask, decision, session)


def _allowed(exchange: RouteExchange, model: Model, asked: str, signals: RequestSignals, wall: float) -> Allowance:
    """What the limits say. Nobody is counted for a model that they may not use, and none such steps in."""
    registry, who = exchange.registry, exchange.who
    tenant = filters.tenant_of(who, registry)
    if tenant is not None:
        filters.check_access(tenant, model, asked, who.get("tenant", ""))

    def permitted(successor: Model, requires: Sequence[Require]) -> bool:
        return filters.may_step_in(tenant, successor, requires, registry)

    found = allow(exchange.services.limits, registry, model, who, signals.prompt_tokens, wall, permitted)
    if found.admitted is not None and any(counted.money for counted, _ in found.admitted.counters):
        # to be known if the answer is broken off before its provider has said what it took
        signals.get("prompt_tokens")
        signals.get("max_output_tokens")
    return found


def count(exchange: RouteExchange) -> Admitted | None:
    """Count a request that is passed on as it is. What it takes nobody reads, and no model could step in. Raises `ApiError`, as limits do."""
    return allow(exchange.services.limits, exchange.registry, ONE_TARGET, exchange.who, _nothing, exchange.services.wall(), _nobody).admitted


def _nothing() -> float:
    return 0.0


def _nobody(successor: Model, requires: Sequence[Require]) -> bool:  # noqa: ARG001
    return False
