"""Services by which a request can be decided without being sent: they know what the real ones know, and nothing is learned from it.

The decision is the stages' own. What a request would leave behind (a place among those under way, a claimed probe, a count against a limit) is
left out or taken back at once.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from extproc.registry.policy import Limit
from extproc.routing.health import Health
from extproc.routing.limits import Admitted, Exceeded, Limits
from extproc.routing.statistics import Statistics
from extproc.stages.services import Services, no_span


class _Statistics(Statistics):
    def __init__(self, real: Statistics) -> None:
        self.__dict__.update(real.__dict__)

    def began(self, cluster: str) -> None:
        """Nothing begins."""

    def ended(self, cluster: str) -> None:
        """Nor ends."""


class _Health(Health):
    __slots__ = ()

    def __init__(self, real: Health) -> None:
        for name in Health.__slots__:
            setattr(self, name, getattr(real, name))

    def taken(self, cluster: str) -> bool:  # noqa: ARG002
        """Nobody probes."""
        return False


class _Limits(Limits):
    def __init__(self, real: Limits) -> None:
        self.__dict__.update(real.__dict__)

    def admit(
        self,
        limits: Sequence[Limit],
        who: Mapping[str, str],
        model: str,
        tokens: Callable[[], float],
        wall: float,
        passed: Collection[str] = (),
    ) -> Admitted | Exceeded:
        answer = super().admit(limits, who, model, tokens, wall, passed)
        if isinstance(answer, Admitted):
            self.withdraw(answer, wall)
        return answer


def rehearsal(services: Services) -> Services:
    """For one request."""
    return replace(
        services,
        statistics=_Statistics(services.statistics),
        health=_Health(services.health),
        limits=_Limits(services.limits),
        decisions=deque(maxlen=1),
        under_way={},
        start_span=no_span,
        random=copy.copy(services.random),
    )
