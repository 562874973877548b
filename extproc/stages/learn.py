"""What requests teach: health, statistics, the bandit, warm caches and limits, fed from every end of every attempt.

An attempt's end is known at different moments and in different processes, and each is counted once:
- a failure that the attempt stage judges counts there and then (`AttemptExchange`);
- an attempt that Envoy ended (reset, no connection, time-out) when the next one starts in this process (`attempted`), at the latest when the
  answer reaches the return stage (`heard`), which also takes over what attempts in other processes found out;
- what became of a flowing answer, and all measurements, when the call is closed, or when Envoy's access log has said who broke the answer off
  (`settled`). Where nobody says, nobody is blamed.

Large bodies are handled in threads, so what happens there (`departed`, `attempted`, `heard`, `over`) only counts up and down or sets what is whole;
`settled` runs in the server's own thread alone, one writer for all that is measured, and after the answer has gone out.

A client that leaves teaches nothing about a target but how long its first token took.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from extproc.core import rate_limits
from extproc.core.errors import ErrorKind, kind_of_status
from extproc.core.operation import Operation
from extproc.core.plan import AttemptNote, Plan
from extproc.core.usage import Usage
from extproc.core.verdict import Action
from extproc.registry.types import Target
from extproc.routing.affinity import left_in_cache
from extproc.routing.health import Out
from extproc.routing.policies.expect import UNKNOWN_OUTPUT
from extproc.routing.reward import reward
from extproc.routing.statistics import CLIENT_GONE, CUT, NO_ANSWER, OK, STALLED, Sample
from extproc.routing.tokens import family_of
from extproc.telemetry.record import Outcome

if TYPE_CHECKING:
    from extproc.stages.request import RequestExchange
    from extproc.stages.services import Services, UnderWay

LONGEST_SPENT = 60.0
"""Seconds: a limit that is whole again much later may let something through before."""
HALF_A_CHANCE = 0.5
"""An attempt that the deadline of the whole chain ends was silent for too long if it had this part of the time that one attempt may take."""
NO_WORK = (Operation.COUNT_TOKENS, Operation.PASSTHROUGH)
"""How long these take says nothing about how long an answer takes."""
_NONE_USED = Usage()
_BROKEN_OFF = (Outcome.CLIENT_GONE, Outcome.CUT, Outcome.STALLED, Outcome.DETACHED)
_EARLY = 0.05
"""Seconds by which a timer may run out before the wall clock says so."""
_OVERFLOW = "overflow"
"""In Envoy's words for an attempt that its own circuit breaker kept from leaving."""


# on the way


def departed(services: Services, here: UnderWay, cluster: str) -> None:
    """A routed request goes to `cluster` first."""
    services.statistics.began(cluster)
    here.counted.append(cluster)
    if services.health.taken(cluster):
        here.probes = cluster


def attempted(services: Services, here: UnderWay | None, note: AttemptNote, target: Target) -> None:
    """The attempt of `note` starts in this process; `here` is known if the request was routed here, too."""
    wall = services.wall()
    if target.requests_per_minute is not None or target.tokens_per_minute is not None:
        services.limits.sent(target, note.cluster, here.estimated if here is not None else 0.0, wall)
    if here is None:
        return
    for earlier in here.notes.values():
        if earlier.n < note.n and not earlier.verdict and not earlier.ended:
            earlier.ended = wall
            services.health.failed(earlier.cluster, _asked(services, earlier))
    here.notes[note.n] = note
    if here.counted != [note.cluster] and _leaves(services, here):
        services.statistics.began(note.cluster)
        here.counted.append(note.cluster)
        if here.over:
            # in the meantime, in the other thread, which found nothing to take out
            _leaves(services, here)


def _leaves(services: Services, here: UnderWay) -> bool:
    """The request is no longer under way where it was. False if it was nowhere."""
    try:
        cluster = here.counted.pop()
    except IndexError:
        return False
    services.statistics.ended(cluster)
    return True


def limits_left(services: Services, cluster: str, headers: Mapping[str, str]) -> float:
    """What the headers of a provider's response say of its limits: seconds until something is left again, 0.0 where something is."""
    said = rate_limits.said(headers)
    if not said:
        return 0.0
    services.statistics.limits_left(cluster, said, services.monotonic())
    return rate_limits.spent(rate_limits.read(said, services.wall()), LONGEST_SPENT) if rate_limits.may_be_spent(said) else 0.0


def heard(exchange: RequestExchange, local: str) -> None:
    """The final response has come, with the notes of all attempts; `local` are Envoy's own words if it answers itself."""
    services, here = exchange.services, exchange.here
    for note in exchange.notes:
        mine = here.notes.get(note.n) if here is not None else None
        if mine is not None and (mine.verdict or mine.ended):
            continue
        if mine is not None:
            mine.ended = note.ended
        asked = _asked(services, note)
        if not note.verdict:
            if note is not exchange.notes[-1] or _OVERFLOW not in local:
                services.health.failed(note.cluster, asked)
        elif note.verdict == "pass":
            services.health.recovered(note.cluster, asked)
        elif _its_own(note) and not cut_short(note, exchange.per_try, exchange.plan.deadline_at if exchange.plan is not None else 0.0):
            services.health.refused(note.cluster, ErrorKind(note.kind), asked)
        if note.cool_down > 0:
            why = Out.of(note.action == Action.KEY.value, note.action == Action.WAIT.value)
            services.health.cool_down(note.cluster, note.cool_down - (services.wall() - note.ended), why)


# at the end


def over(exchange: RequestExchange) -> None:
    """The request is over, however it ended: it is no longer under way, and what it took is known to the limits before its answer is out."""
    services, here, record = exchange.services, exchange.here, exchange.record
    if here is not None:
        here.over = True
        _leaves(services, here)
        if here.probes and record.outcome is Outcome.CLIENT_GONE and not any(_told(note, here.probes) for note in exchange.notes):
            services.health.left(here.probes)
    if exchange.admitted is not None:
        usage, usd = used(exchange), record.cost_usd
        gone = record.outcome in _BROKEN_OFF
        if gone and exchange.winner is not None:
            usage = _supposed(exchange, usage)
            usd = exchange.cost(usage)
        # before an answer has begun nobody knows what it would take: the reservation stands
        tokens = float(usage.total) if usage is not None else exchange.admitted.tokens if gone else 0.0
        services.limits.settle(exchange.admitted, tokens, usd or 0.0, services.wall())


def _told(note: AttemptNote, cluster: str) -> bool:
    """Has the attempt of `note` said anything of `cluster`?"""
    return note.cluster == cluster and (note.verdict != "" or note.ended > 0)


def _supposed(exchange: RequestExchange, usage: Usage | None) -> Usage:
    """What an answer took that was broken off. Providers say it at the end, or not all of it before, and charge it nevertheless; whoever always left
    before the end would have no limits. So its prompt is as long as it was estimated, and it is as long as the target's answers usually are."""
    here, decision = exchange.here, exchange.decision
    assert exchange.winner is not None
    of, signals = exchange.services.statistics.of, decision.signals if decision is not None else {}
    usual = of(exchange.notes[-1].cluster).output_tokens if exchange.notes else None
    output = usual if usual is not None else exchange.services.statistics.output_tokens(exchange.plan.model) if exchange.plan is not None else None
    most = signals.get("max_output_tokens")
    output = min(UNKNOWN_OUTPUT if output is None else output, most if isinstance(most, int) and most > 0 else inf)
    if usage is None:
        return Usage(input_tokens=int(here.estimated) if here is not None else 0, output_tokens=int(output))
    return replace(usage, output_tokens=max(usage.output_tokens, int(output)))


def used(exchange: RequestExchange) -> Usage | None:
    """What the answer took; counting tokens takes none."""
    return _NONE_USED if exchange.client.operation is Operation.COUNT_TOKENS else exchange.record.usage


def settled(exchange: RequestExchange, *, certain: bool) -> None:
    """The call is closed, and whose fault its end was is known, or (not `certain`) will never be."""
    services, plan, decision = exchange.services, exchange.plan, exchange.decision
    if plan is None:
        return
    now = services.monotonic()
    model = exchange.registry.models.get(plan.model)
    for note in exchange.notes:
        last = note is exchange.notes[-1]
        outcome = _outcome(exchange, note, last=last, certain=certain)
        target = exchange.registry.cluster_target(note.cluster)
        if outcome is None or target is None:
            continue
        if last:
            _flowed(exchange, note, outcome)
        sample = _sample(exchange, plan, note, outcome, target, last=last)
        if target.tokens_per_minute is not None:
            _took(exchange, note, sample, target)
        if outcome == OK and exchange.client.operation in NO_WORK:
            continue
        services.statistics.record(sample, now)
        worth = reward(sample, model.objectives) if model is not None and decision is not None and decision.context else None
        if worth is not None and decision is not None:
            services.bandit.learn(decision.context, note.cluster, worth, now)
        if outcome == OK and sample.usage is not None and exchange.here is not None and exchange.here.session and exchange.winner is not None:
            price = services.facts(exchange.winner, exchange.asked_model())[1]
            services.affinities.served(exchange.here.session, note.cluster, left_in_cache(sample.usage, price), now)


_AS_IT_ENDED = {
    Outcome.OK: OK,
    Outcome.CUT: CUT,
    Outcome.STALLED: STALLED,
    # Envoy answered for a provider that broke off what was still held
    Outcome.EXHAUSTED: CUT,
    Outcome.UPSTREAM_ERROR: ErrorKind.UPSTREAM.value,
    Outcome.INTERNAL_ERROR: None,
}


def _outcome(exchange: RequestExchange, note: AttemptNote, *, last: bool, certain: bool) -> str | None:
    """A `Sample`'s outcome; None where the attempt says nothing, because the failure is ours."""
    ended, status = exchange.record.outcome, exchange.record.status
    if note.verdict == "pass":
        if not certain:
            return CLIENT_GONE
        if exchange.client.operation is Operation.PASSTHROUGH and status >= 400:
            # whether it is the client's own mistake nobody here reads
            return kind_of_status(status).value if status >= 500 or status == 429 else OK
        return _AS_IT_ENDED.get(ended, CLIENT_GONE)
    if exchange.plan is not None and cut_short(note, exchange.per_try, exchange.plan.deadline_at):
        return CLIENT_GONE
    if note.verdict:
        return note.kind if _its_own(note) else None
    if last and ended in (Outcome.CLIENT_GONE, Outcome.DETACHED, Outcome.INTERNAL_ERROR):
        return CLIENT_GONE
    return NO_ANSWER


def _flowed(exchange: RequestExchange, note: AttemptNote, outcome: str) -> None:
    """What the last attempt's end says about health, beyond what was counted before."""
    health, asked = exchange.services.health, _asked(exchange.services, note)
    if note.verdict == "pass" and exchange.client.operation is not Operation.PASSTHROUGH:
        if outcome == OK:
            health.finished(note.cluster, asked)
        elif outcome in (CUT, STALLED, ErrorKind.UPSTREAM.value):
            health.broken_off(note.cluster, asked)
    elif outcome == NO_ANSWER and exchange.record.outcome is Outcome.DEADLINE and exchange.here is not None:
        mine = exchange.here.notes.get(note.n)
        if mine is note:
            # the deadline was ours: no further attempt and no answer has counted it
            health.failed(note.cluster, asked)


def _sample(exchange: RequestExchange, plan: Plan, note: AttemptNote, outcome: str, target: Target, *, last: bool) -> Sample:
    record, here = exchange.record, exchange.here
    passed = note.verdict == "pass"
    # what is held to its end has ended when it is let go, however slowly the client reads
    end = record.ended_ns / 1e9 if passed and last and not plan.complete else note.ended or record.ended_ns / 1e9
    seconds = max(end - note.started, 0.0)
    first = each = None
    if plan.stream and exchange.client.operation not in NO_WORK:
        if passed:
            first = max((note.first or note.ended) - note.started, 0.0)
        elif outcome == ErrorKind.TIMEOUT.value or (outcome == NO_ANSWER and note.kind == ErrorKind.TIMEOUT.value):
            first = seconds
    usage = used(exchange) if passed and last else None
    if outcome == OK and first is not None and usage is not None and usage.output_tokens > 0 and seconds > first:
        each = (seconds - first) / usage.output_tokens
    return Sample(
        note.cluster,
        plan.model,
        outcome,
        seconds,
        plan.stream,
        first,
        each,
        usage,
        record.cost_usd if passed and last else None,
        # what was estimated as others count says nothing of this target
        here.estimated if here is not None and here.estimated and counts_as(target, plan.asked) == here.family else 0.0,
        note.retry_after,
    )


def counts_as(target: Target, asked: str) -> str:
    """The family of the model that `target` serves when `asked` is asked for."""
    return family_of(target.model if target.model != "*" else asked)


def _took(exchange: RequestExchange, note: AttemptNote, sample: Sample, target: Target) -> None:
    """The target's own limits: what the attempt took in the end."""
    here = exchange.here
    reserved = here.estimated if here is not None and note.n in here.notes else 0.0
    tokens = float(sample.usage.total) if sample.usage is not None else reserved if sample.outcome in (CLIENT_GONE, CUT, STALLED) else 0.0
    exchange.services.limits.took(target, note.cluster, reserved, tokens, note.started, exchange.services.wall())


def cut_short(note: AttemptNote, limit: float, deadline_at: float) -> bool:
    """Was it the deadline of the whole chain that ended a silent attempt, before it had the time that an attempt may take (`limit`, seconds)?"""
    silent = note.kind == ErrorKind.TIMEOUT.value and note.verdict != "pass"
    return silent and note.ended >= deadline_at - _EARLY and note.ended - note.started < HALF_A_CHANCE * limit


def _its_own(note: AttemptNote) -> bool:
    """Was it the provider that failed or refused? What we could not send has no status, and neither has a silent one, which is a time-out."""
    return bool(note.kind) and (note.status > 0 or note.kind == ErrorKind.TIMEOUT.value)


def _asked(services: Services, note: AttemptNote) -> float:
    """When an attempt started, by the clock of health. Notes tell the wall clock's time, which processes share."""
    return services.health.now - max(services.wall() - note.started, 0.0)
