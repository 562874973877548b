"""May this request be served, and by which model? Limits and budgets of the caller, before anything is chosen.

A limit that is used up refuses with 429, or hands over to the model that it names in `instead`. That model's limits hold, too. A limit that has
handed over lets the request pass then: it counts what its model takes, and no longer stops it. Models go by the registry's name for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from extproc.core.errors import ApiError, ErrorKind
from extproc.registry.policy import Limit
from extproc.registry.types import Model, Registry
from extproc.routing.limits import Admitted, Exceeded, Limits

HOPS = 8
"""Models that one request may be handed on to."""


def allow(
    limits: Limits, registry: Registry, model: Model, who: Mapping[str, str], tokens: Callable[[], float], wall: float
) -> tuple[Model, Admitted | None, str]:
    """(the model that serves the request, what `Limits.settle` must be told at its end, the key of the limit that handed it over or "").

    The second is None where no limit concerns the request. `tokens` estimates the prompt, and is called at most once per model. Raises `ApiError`:
    RATE_LIMITED with `retry_after`, TOO_LARGE where the request alone is more than the limit; nothing was counted then.
    """
    rules: Sequence[Limit] = registry.limits
    if not rules:
        return model, None, ""
    passed: set[str] = set()
    left: set[str] = set()
    handed = ""
    while True:
        answer = limits.admit(rules, who, model.name, tokens, wall, passed)
        if isinstance(answer, Admitted):
            return model, answer if answer.counters else None, handed
        instead = answer.limit.instead
        successor = registry.resolve(instead) if instead else None
        if successor is None or successor.name in left or len(left) >= HOPS:
            raise refusal(answer)
        passed.add(answer.limit.key)
        if successor.name != model.name:
            left.add(model.name)
            model, handed = successor, answer.limit.key


def refusal(exceeded: Exceeded) -> ApiError:
    """What a caller is told."""
    whose, what = exceeded.whose, exceeded.what
    if math.isinf(exceeded.retry_after):
        return ApiError(ErrorKind.TOO_LARGE, f"this request alone is more than the limit of {what} for {whose}", code="limit_exceeded")
    return ApiError(ErrorKind.RATE_LIMITED, f"the limit of {what} for {whose} is used up", code="limit_exceeded", retry_after=exceeded.retry_after)
