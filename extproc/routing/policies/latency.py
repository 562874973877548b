"""The fastest target first, by what users wait for, with the load that we put on each.

    expected = time to first token + time per token x expected tokens x (1 for a whole answer, `REST` for a stream)
    score    = expected x (1 + requests in flight) / (1 - probability of failure)

The times are peak EWMAs (`routing.statistics`): up at once, down slowly. Times requests in flight is the cost of the "peak EWMA" balancer of
Finagle (finagle-core, loadbalancer/PeakEwma.scala) and linkerd. The last factor is ours: attempts until one succeeds are 1 / (1 - p) on average,
without it a target that refuses everything at once would look fastest.

Two choices: of the candidates that are about as fast as the best (within `NEAR`) two are drawn and the better one goes first, so that many
processes that see the same numbers do not all turn to one target. Finagle draws from all, because its endpoints are alike; ours differ by
factors, and the second of three would get a third of the requests however slow it is. The other candidates follow by score.

A target that nobody has tried counts as the fastest until its first request is under way, and as the slowest until that one is measured (Finagle
does the same), so each is tried at once, by one request. What is known but slow is tried again by the model's `explore`.
"""

from __future__ import annotations

from extproc.registry.policy import Objectives, RankBy
from extproc.registry.types import Model
from extproc.routing.decision import Candidate, Ranked, Request, World
from extproc.routing.policies.expect import Expected, failure
from extproc.routing.statistics import Measured

REST = 0.25
"""What a second of a stream after its first token is worth: it is read while it arrives, but whoever needs all of it waits."""
NEAR = 1.25
"""Scores up to this factor apart are not told apart by what was measured."""
UNTRIED = 0.5
"""Attempts, decayed: fewer tell nothing."""
PENALTY = 1e6
"""Seconds: behind everything that was measured."""


def rest_weight(request: Request) -> float:
    """What the time after the first token counts for in this request."""
    return REST if request.signals.get("stream") is True else 1.0


def expected_seconds(measured: Measured, objectives: Objectives, output_tokens: float, weight: float) -> float | None:
    """None while nothing was measured. Where only whole answers were, the mean duration of those; a time per token that is not known counts
    as the objective."""
    first = measured.first_token
    if first is None:
        return measured.seconds
    each = measured.per_token
    return first + weight * output_tokens * (objectives.per_token if each is None else each)


def objective_seconds(objectives: Objectives, output_tokens: float, weight: float) -> float:
    """The same sum, of a target that just meets the model's objectives."""
    return objectives.first_token + weight * output_tokens * objectives.per_token


def untried(measured: Measured) -> bool:
    """Did it have no chance yet to be measured?"""
    return measured.requests < UNTRIED


def rank(candidates: list[Candidate], model: Model, request: Request, world: World, rank_by: RankBy) -> list[Ranked]:  # noqa: ARG001
    """By score, in seconds, but for the first, which is the better of two draws among the best."""
    expected = Expected(model, request, world)
    weight = rest_weight(request)
    objectives, of = model.objectives, world.statistics.of
    ranked = []
    for candidate in candidates:
        measured = of(candidate.clusters[0])
        in_flight = measured.in_flight
        output = expected.output(measured)
        seconds = expected_seconds(measured, objectives, output, weight)
        if seconds is None:
            if untried(measured):
                ranked.append(Ranked(candidate, PENALTY + in_flight if in_flight else 0.0, {"in_flight": in_flight}))
                continue
            # it was tried and only ever failed: as good as it should be, so that its failures decide
            seconds = objective_seconds(objectives, output, weight)
        score = seconds * (1 + in_flight) / (1.0 - failure(measured))
        numbers: dict[str, float] = {"seconds": seconds, "in_flight": in_flight}
        if measured.first_token is not None:
            numbers["first_token"] = measured.first_token
            if measured.per_token is not None:
                numbers["per_token"] = measured.per_token
        ranked.append(Ranked(candidate, score, numbers))
    ranked.sort(key=_score)
    if len(ranked) > 2:  # of two, two draws are both
        limit = ranked[0].score * NEAR
        near = 1
        while near < len(ranked) and ranked[near].score <= limit:
            near += 1
        if near > 2:
            ranked.insert(0, ranked.pop(better_of_two(near, world.random.random(), world.random.random())))
    return ranked


def better_of_two(count: int, one: float, other: float) -> int:
    """Of the places 0 to `count` - 1 (the best first) the better of two different ones, each pair as likely: place k with probability
    2 (count - 1 - k) / (count (count - 1)). `one` and `other` are uniform draws from [0, 1)."""
    first = int(one * count)
    second = int(other * (count - 1))
    return min(first, second + 1 if second >= first else second)


def _score(ranked: Ranked) -> float:
    return ranked.score
