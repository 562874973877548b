"""Which clusters to leave out of new chains: those that cool down for our reasons, and those that Envoy's outlier detection ejected.

Soft state of one server process: a second process learns the same from its own attempts and the same Envoy. Time is handed in (seconds of
any monotonic clock).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class Out(Enum):
    """Why a cluster is left out."""

    LIMITED = "cooling down after a rate limit"
    ASKED = "cooling down because its provider asked to wait"
    KEY_REFUSED = "cooling down after the provider refused its key or configuration"
    EJECTED = "ejected by Envoy's outlier detection"
    INACTIVE = "its Envoy cluster is not active yet"

    @staticmethod
    def of(alarm: bool, limited: bool) -> Out:
        """Why a verdict cools its cluster down: our configuration is at fault, a limit was reached, or a failure named a time to come back."""
        return Out.KEY_REFUSED if alarm else Out.LIMITED if limited else Out.ASKED


class Health:
    """`why(cluster)` is None for a usable cluster. `ejected` and `active` are replaced whole by the reader of Envoy's admin interface."""

    __slots__ = ("_clock", "_cooling", "active", "ejected")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._cooling: dict[str, tuple[float, Out, float]] = {}
        self.ejected: frozenset[str] = frozenset()
        self.active: frozenset[str] | None = None
        """Clusters that Envoy reports; None while unknown (no admin socket): all count as active."""

    def cool_down(self, cluster: str, seconds: float, why: Out) -> None:
        """Leave `cluster` out for `seconds` from now; never shortens a longer cool-down."""
        now = self._clock()
        until = now + min(seconds, 3600.0)
        if until > self._cooling.get(cluster, (now, why, now))[0]:
            self._cooling[cluster] = (until, why, now)

    def recovered(self, cluster: str, asked: float) -> None:
        """`cluster` answered what it was asked at the time `asked`: whatever it cooled down for before that is over. An answer to an earlier
        request proves nothing: of fifty under way one is limited, and the others still end well."""
        cooling = self._cooling.get(cluster)
        if cooling is not None and cooling[2] <= asked:
            del self._cooling[cluster]

    @property
    def now(self) -> float:
        """The time on the clock that all of this is measured by."""
        return self._clock()

    def why(self, cluster: str) -> tuple[Out, float] | None:
        """(reason, seconds left) if `cluster` should be left out, else None. Seconds are 0 where Envoy decides."""
        cooling = self._cooling.get(cluster)
        if cooling is not None:
            left = cooling[0] - self._clock()
            if left > 0:
                return cooling[1], left
            del self._cooling[cluster]
        if self.active is not None and cluster not in self.active:
            return Out.INACTIVE, 0.0
        if cluster in self.ejected:
            return Out.EJECTED, 0.0
        return None
