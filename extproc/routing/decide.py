"""One request's decision: rule, filters, ranking, chain. Pure: everything it reads is in the `World` and the `Request`."""

from __future__ import annotations

from extproc.registry.types import Model
from extproc.routing.decision import Decision, Request, World


def decide(model: Model, request: Request, world: World) -> Decision:
    """Raises `ApiError`: UNPROCESSABLE, RATE_LIMITED (with `retry_after`), PERMISSION or UNAVAILABLE where there is no candidate; the message
    lists every target with the filter that removed it."""
    raise NotImplementedError
