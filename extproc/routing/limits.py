"""Limits and budgets: what tenants, applications, users and models may use, and what a target takes. Enforced before a request on what is known
then, corrected by what it really used.

Times are Unix seconds: replicas share windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from extproc.registry.policy import Limit
from extproc.registry.types import Target


@dataclass(slots=True)
class Admitted:
    """A request that was counted: what `settle` corrects. `counters` are internal keys."""

    counters: list[str]
    tokens: float = 0.0


@dataclass(slots=True)
class Exceeded:
    """The limit that stands in the way, what of it is used up ("600 requests per minute"), for whom, and the seconds after which a repeat may
    pass."""

    limit: Limit
    what: str
    whose: str
    retry_after: float


@dataclass(slots=True)
class Full:
    """A target that takes no more just now: `code` is concurrency, requests_per_minute or tokens_per_minute."""

    code: str
    detail: str
    seconds: float


class Limits:
    """The counters of this process, and what it knows of other replicas'."""

    def admit(
        self,
        limits: Sequence[Limit],
        who: Mapping[str, str],
        model: str,
        tokens: Callable[[], float],
        wall: float,
    ) -> Admitted | Exceeded:
        """Count a request against every limit that concerns it, or say which one is used up (then nothing was counted). `tokens` estimates the
        prompt; it is only called if a limit on tokens concerns the request."""
        raise NotImplementedError

    def settle(self, admitted: Admitted, tokens: float, usd: float, wall: float) -> None:
        """The request is over: it took `tokens` in all (0: none, it failed) and cost `usd`."""
        raise NotImplementedError

    def full(self, target: Target, cluster: str, in_flight: int, tokens: float, wall: float) -> Full | None:
        """Does `cluster` take a request of about `tokens` now, by the registry's limits for its target?"""
        raise NotImplementedError

    def sent(self, target: Target, cluster: str, tokens: float, wall: float) -> None:
        """An attempt went to `cluster`."""
        raise NotImplementedError
