"""A weighted mean of what matters, each measured against an absolute reference.

A measure is worth 1 / (1 + measure / reference): 1 at nothing, 0.5 at its reference, towards 0 far beyond it. Latency and cost have the model's
`objectives` as reference, reliability a failure rate of `FAILURES`, load the target's `concurrency`. Quality is the registry's own word. Nothing is
scaled by the other candidates, so leaving one out never changes the order of the rest (independence of irrelevant alternatives), and a
difference that does not matter stays small.

Unknown: quality counts `MIDDLE`; a price 0, as if far beyond the objective; a latency 1 until the target is tried (one request at a time), then
`MIDDLE` until it is measured.
"""

from __future__ import annotations

from extproc.registry.policy import RankBy
from extproc.registry.types import Model
from extproc.routing.decision import Candidate, Ranked, Request, World
from extproc.routing.policies.cost import Bill
from extproc.routing.policies.expect import Expected, failure
from extproc.routing.policies.latency import expected_seconds, objective_seconds, rest_weight, untried

FAILURES = 0.05
"""The failure rate at which reliability is worth half."""
CONCURRENCY = 16
"""Requests in flight at which a target without a `concurrency` is worth half by its load."""
MIDDLE = 0.5


def rank(candidates: list[Candidate], model: Model, request: Request, world: World, rank_by: RankBy) -> list[Ranked]:
    """By 1 - the weighted mean: a score of 0 is perfect, 1 the worst. Its numbers are what each weighed measure is worth."""
    weights = dict(rank_by.weights)
    total = sum(weights.values()) or 1.0
    for_latency, for_cost = weights.get("latency", 0.0), weights.get("cost", 0.0)
    for_reliability, for_quality, for_load = weights.get("reliability", 0.0), weights.get("quality", 0.0), weights.get("load", 0.0)
    expected = Expected(model, request, world)
    bill = Bill(model, request, world, expected) if for_cost else None
    rest = rest_weight(request) if for_latency else 1.0
    objectives, of = model.objectives, world.statistics.of
    ranked = []
    for candidate in candidates:
        measured = of(candidate.clusters[0])
        numbers = {}
        good = 0.0
        if for_latency:
            output = expected.output(measured)
            seconds = expected_seconds(measured, objectives, output, rest)
            if seconds is not None:
                # what is known of whole answers alone is held against a whole one
                worth = _worth(seconds, objective_seconds(objectives, output, 1.0 if measured.first_token is None else rest))
            else:
                worth = 1.0 if untried(measured) and not measured.in_flight else MIDDLE
            numbers["latency"] = worth
            good += for_latency * worth
        if bill is not None:
            usd = bill.usd(candidate, measured)
            worth = 0.0 if usd is None else _worth(usd, objectives.usd_per_request)
            numbers["cost"] = worth
            good += for_cost * worth
        if for_reliability:
            numbers["reliability"] = worth = _worth(failure(measured), FAILURES)
            good += for_reliability * worth
        if for_quality:
            quality = candidate.target.quality
            numbers["quality"] = worth = MIDDLE if quality is None else quality
            good += for_quality * worth
        if for_load:
            numbers["load"] = worth = _worth(measured.in_flight, candidate.target.concurrency or CONCURRENCY)
            good += for_load * worth
        ranked.append(Ranked(candidate, 1.0 - good / total, numbers))
    ranked.sort(key=_score)
    return ranked


def _worth(measure: float, reference: float) -> float:
    return reference / (reference + measure) if measure > 0 else 1.0


def _score(ranked: Ranked) -> float:
    return ranked.score
