"""What one attempt was worth, from 0 to 1: what the bandit learns from, and what the simulated days measure regret in.

    reward = (1 + speed + thrift) / 3   of an attempt that answered
           = 0                          of one that failed, whatever it cost and however fast it failed

Each part is `worth(measure, objective) = objective / (objective + measure)`: 1 at nothing, 0.5 at the model's objective, 0 far beyond it. It has no
step, so the better of two targets is seen on both sides of the objective. `thrift` is the worth of the dollars. `speed` of a stream is the mean of
the worths of its time to first token and of its time per output token; of any other answer the worth of its whole duration, for which the
objective is that of the first token and of as many tokens as were written. A part that nobody could measure (no price, no tokens) is left out and
the others share its place.

An attempt is rewarded for itself: a request that failed at one target and was answered by the next teaches 0 of the first and its own reward of the
second, without the time that was lost before.
"""

from __future__ import annotations

from extproc.registry.policy import Objectives
from extproc.routing.measured import BLAMELESS
from extproc.routing.statistics import CLIENT_GONE, OK, Sample

TEACHES_NOTHING = frozenset({CLIENT_GONE, *BLAMELESS})
"""Outcomes that say nothing of the target: the client left, or the request itself was at fault."""


def worth(measure: float, objective: float) -> float:
    """1 at 0, 0.5 at the objective, towards 0 beyond. Both in the same unit, `objective` above 0."""
    return objective / (objective + measure) if measure > 0.0 else 1.0


def reward(sample: Sample, objectives: Objectives) -> float | None:
    """The reward of one attempt; None where it teaches nothing."""
    if sample.outcome != OK:
        return None if sample.outcome in TEACHES_NOTHING else 0.0
    parts = 1.0 + speed(sample, objectives)
    if sample.usd is None:
        return parts / 2.0
    return (parts + worth(sample.usd, objectives.usd_per_request)) / 3.0


def speed(sample: Sample, objectives: Objectives) -> float:
    """The worth of how fast an answer came."""
    first, each = sample.first_token, sample.per_token
    if sample.stream and first is not None:
        begin = worth(first, objectives.first_token)
        return begin if each is None else (begin + worth(each, objectives.per_token)) / 2.0
    tokens = sample.usage.output_tokens if sample.usage is not None else 0
    return worth(sample.seconds, objectives.first_token + max(tokens, 0) * objectives.per_token)
