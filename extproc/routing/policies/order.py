"""The order of the file: ranks one behind the other, weighted draws inside a rank."""

from __future__ import annotations

from extproc.registry.policy import RankBy
from extproc.registry.types import Model
from extproc.routing.decision import Candidate, Ranked, Request, World


def rank(candidates: list[Candidate], model: Model, request: Request, world: World, rank_by: RankBy) -> list[Ranked]:  # noqa: ARG001
    """By rank; inside a rank each place is drawn by the weights. A score is the place."""
    left = candidates
    placed: list[Candidate] = []
    while left:
        first = left[0].rank
        group = [c for c in left if c.rank == first]
        left = [c for c in left if c.rank != first]
        while len(group) > 1:
            point = world.random.random() * sum(c.weight for c in group)
            for i, c in enumerate(group):
                point -= c.weight
                if point < 0 or i == len(group) - 1:
                    placed.append(group.pop(i))
                    break
        placed += group
    return [Ranked(c, float(i)) for i, c in enumerate(placed)]
