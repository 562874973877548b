"""May this request be served, and by which model? Limits and budgets of the caller, before anything is chosen.

A limit that is used up refuses with 429, or hands over to the model that it names in `instead`. That model's limits hold, too. A limit that has
handed over lets the request pass then: it counts what its model takes, and no longer stops it. Models go by the registry's name for them. What the
model that was asked for requires of every target is required of its successor's, too: a limit changes what a request costs, not where it may go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from extproc.core.errors import ApiError, ErrorKind
from extproc.registry.policy import Limit, Require
from extproc.registry.types import Model, Registry
from extproc.routing.limits import Admitted, Exceeded, Limits

HOPS = 8
"""Models that one request may be handed on to."""


Permitted = Callable[[Model, Sequence[Require]], bool]
"""May this model step in for requests of which that is required?"""


def _anybody(successor: Model, requires: Sequence[Require]) -> bool:  # noqa: ARG001
    return True


class Allowance(NamedTuple):
    """Who serves a request. `admitted` is what `Limits.settle` must be told at its end, None where no limit concerns it. `limited` is the key of the
    limit that handed it over last, "" if none did; `left` are the models that it was taken from, whose requirements still hold."""

    model: Model
    admitted: Admitted | None = None
    limited: str = ""
    left: tuple[Model, ...] = ()


def allow(
    limits: Limits,
    registry: Registry,
    model: Model,
    who: Mapping[str, str],
    tokens: Callable[[], float],
    wall: float,
    permitted: Permitted = _anybody,
) -> Allowance:
    """`tokens` estimates the prompt, and is called at most once per model; only a `permitted` model may step in. Raises `ApiError`: RATE_LIMITED
    with `retry_after`, TOO_LARGE where the request alone is more than the limit; nothing was counted then."""
    rules: Sequence[Limit] = registry.limits
    if not rules:
        return Allowance(model)
    passed: set[str] = set()
    left: dict[str, Model] = {}
    handed = ""
    while True:
        answer = limits.admit(rules, who, model.name, tokens, wall, passed)
        if isinstance(answer, Admitted):
            return Allowance(model, answer if answer.counters else None, handed, tuple(left.values()))
        instead = answer.limit.instead
        successor = registry.resolve(instead) if instead else None
        if successor is None or successor.name in left or len(left) >= HOPS:
            raise refusal(answer)
        if successor.name != model.name and not permitted(successor, [each.require for each in (model, *left.values())]):
            raise refusal(answer)
        passed.add(answer.limit.key)
        if successor.name != model.name:
            left[model.name] = model
            model, handed = successor, answer.limit.key


def refusal(exceeded: Exceeded) -> ApiError:
    """What a caller is told."""
    whose, what = exceeded.whose, exceeded.what
    if math.isinf(exceeded.retry_after):
        return ApiError(ErrorKind.TOO_LARGE, f"this request alone is more than the limit of {what} for {whose}", code="limit_exceeded")
    return ApiError(ErrorKind.RATE_LIMITED, f"the limit of {what} for {whose} is used up", code="limit_exceeded", retry_after=exceeded.retry_after)
