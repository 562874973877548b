"""Ranks by the bandit: what each target would earn, drawn from what is believed of it."""

from __future__ import annotations

from collections.abc import Sequence

from extproc.registry.policy import RankBy
from extproc.registry.types import Model
from extproc.routing.bandit import context_of
from extproc.routing.decision import Candidate, Ranked, Request, World


def context_for(model: Model, request: Request) -> str:
    """The bandit's context of `request`, for its draw and for what its attempts teach."""
    get = request.signals.get
    task, tokens = get("task"), get("prompt_tokens")
    return context_of(model.name, task if isinstance(task, str) else "", tokens if isinstance(tokens, int | float) else None)


def rank(candidates: Sequence[Candidate], model: Model, request: Request, world: World, rank_by: RankBy) -> list[Ranked]:  # noqa: ARG001
    """The best first. A score is 1 less the reward that was drawn; the numbers are what it was drawn from."""
    clusters = [c.clusters[0] for c in candidates]
    of = world.statistics.of
    drawn = world.bandit.draw(context_for(model, request), clusters, world.now, world.random, [of(c).in_flight for c in clusters])
    ranked = [
        Ranked(candidate, 1.0 - draw.reward, {"reward": draw.reward, "mean": draw.mean, "deviation": draw.deviation})
        for candidate, draw in zip(candidates, drawn, strict=True)
    ]
    ranked.sort(key=_score)
    return ranked


def _score(ranked: Ranked) -> float:
    return ranked.score
