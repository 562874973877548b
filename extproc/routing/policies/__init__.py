"""The policies: how the candidates of a request are ranked. One module each, one entry here.

A ranking function gets the candidates that every filter let through, in the order of the file (a rule's preferred ones first), and gives each of
them back once, the best first, with its score (lower is better) and the numbers that it came from. Where scores are equal the order of the file
holds: a stable sort by score alone keeps it. It changes nothing that it was handed: candidates are shared between requests. Preference of a
rule, exploration and affinity are not its business: `routing.decide` applies them to what it gives.
"""

from __future__ import annotations

from collections.abc import Callable

from extproc.registry.policy import Policy, RankBy
from extproc.registry.types import Model
from extproc.routing.decision import Candidate, Ranked, Request, World
from extproc.routing.policies import bandit, cost, latency, order, score

Rank = Callable[[list[Candidate], Model, Request, World, RankBy], list[Ranked]]
"""`rank(candidates, model, request, world, rank_by)`. At least one candidate; `rank_by.weights` are of `score`."""

POLICIES: dict[Policy, Rank] = {
    Policy.ORDER: order.rank,
    Policy.COST: cost.rank,
    Policy.LATENCY: latency.rank,
    Policy.SCORE: score.rank,
    Policy.BANDIT: bandit.rank,
}
