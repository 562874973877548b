"""Which clusters to leave out of new chains: those that cool down for our reasons, those that failed in a row, and those that Envoy's outlier
detection ejected.

Soft state of one server process: a second process learns the same from its own attempts and the same Envoy. Time is handed in (seconds of
any monotonic clock). Bounded: clusters are the registry's, and `keep` forgets those that are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import Enum
from typing import Any

from extproc.core.errors import ErrorKind
from extproc.routing.breaker import Breaker, Event, Patience, State


class Out(Enum):
    """Why a cluster is left out."""

    LIMITED = "cooling down after a rate limit"
    SPENT = "at its rate limit, by its provider's own count"
    ASKED = "cooling down because its provider asked to wait"
    KEY_REFUSED = "cooling down after the provider refused its key or configuration"
    FAILING = "cooling down after failures in a row"
    EJECTED = "ejected by Envoy's outlier detection"
    INACTIVE = "its Envoy cluster is not active yet"

    @staticmethod
    def of(alarm: bool, limited: bool) -> Out:
        """Why a verdict cools its cluster down: our configuration is at fault, a limit was reached, or a failure named a time to come back."""
        return Out.KEY_REFUSED if alarm else Out.LIMITED if limited else Out.ASKED


LAST_RESORTS = (Out.SPENT, Out.ASKED, Out.KEY_REFUSED, Out.FAILING, Out.EJECTED)
"""Trying what is out for one of these is better than failing for certain. A limit that a provider has refused by holds until its time."""

SAYS: dict[ErrorKind, Event | None] = {
    ErrorKind.INVALID_REQUEST: Event.ANSWERED,
    ErrorKind.CONTEXT_LENGTH: Event.ANSWERED,
    ErrorKind.CONTENT_FILTER: Event.ANSWERED,
    ErrorKind.AUTHENTICATION: Event.ANSWERED,
    ErrorKind.PERMISSION: Event.ANSWERED,
    ErrorKind.NOT_FOUND: Event.ANSWERED,
    ErrorKind.METHOD_NOT_ALLOWED: Event.ANSWERED,
    ErrorKind.CONFLICT: None,
    ErrorKind.TOO_LARGE: Event.ANSWERED,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: Event.ANSWERED,
    ErrorKind.UNPROCESSABLE: Event.ANSWERED,
    # limits have their own cool-down, and many providers say 429 where they mean 503: neither sound nor failed
    ErrorKind.RATE_LIMITED: None,
    ErrorKind.QUOTA: None,
    ErrorKind.INTERNAL: Event.FAILED,
    ErrorKind.NOT_IMPLEMENTED: None,
    ErrorKind.UPSTREAM: Event.FAILED,
    ErrorKind.UNAVAILABLE: Event.FAILED,
    ErrorKind.OVERLOADED: Event.FAILED,
    ErrorKind.TIMEOUT: Event.FAILED,
}
"""What an error that a provider answers with says about the provider. Every kind has an entry (a test holds it to that)."""

LONGEST = 3600.0
"""Seconds of the longest cool-down."""


class Health:
    """`why(cluster)` is None for a usable cluster. `ejected` and `active` are replaced whole by the reader of Envoy's admin interface."""

    __slots__ = ("_breakers", "_clock", "_cooling", "_patience", "active", "ejected")

    def __init__(self, clock: Callable[[], float], patience: Patience | None = None) -> None:
        self._clock = clock
        self._patience = patience or Patience()
        self._cooling: dict[str, tuple[float, Out, float]] = {}
        self._breakers: dict[str, Breaker] = {}
        self.ejected: frozenset[str] = frozenset()
        self.active: frozenset[str] | None = None
        """Clusters that Envoy reports; None while unknown (no admin socket): all count as active."""

    @property
    def now(self) -> float:
        """The time on the clock that all of this is measured by."""
        return self._clock()

    # what the stages learn

    def cool_down(self, cluster: str, seconds: float, why: Out) -> None:
        """Leave `cluster` out for `seconds` from now; never shortens a longer cool-down."""
        now = self._clock()
        until = now + min(seconds, LONGEST)
        if until > self._cooling.get(cluster, (now, why, now))[0]:
            self._cooling[cluster] = (until, why, now)

    def recovered(self, cluster: str, asked: float) -> None:
        """`cluster` answered what it was asked at the time `asked`: whatever it was left out for before that is over. An answer to an earlier
        request proves nothing: of fifty under way one is limited, and the others still end well."""
        cooling = self._cooling.get(cluster)
        if cooling is not None and cooling[2] <= asked:
            self._cooling.pop(cluster, None)
        self._on(cluster, Event.ANSWERED, asked)

    def failed(self, cluster: str, asked: float) -> None:
        """What `cluster` was asked at the time `asked` got no answer, or an error of the provider's own."""
        self._breaker(cluster).on(Event.FAILED, self._clock(), asked)

    def refused(self, cluster: str, kind: ErrorKind, asked: float) -> None:
        """`cluster` answered with an error: the provider's own, or one that shows that it works."""
        event = SAYS[kind]
        if event is Event.FAILED:
            self.failed(cluster, asked)
        elif event is not None:
            self._on(cluster, event, asked)

    def broken_off(self, cluster: str, asked: float) -> None:
        """An answer of `cluster` was cut or fell silent while it flowed."""
        self._breaker(cluster).on(Event.BROKEN_OFF, self._clock(), asked)

    def finished(self, cluster: str, asked: float) -> None:
        """An answer of `cluster` came to its end."""
        self._on(cluster, Event.FINISHED, asked)

    def taken(self, cluster: str) -> bool:
        """A request goes to `cluster` first. Where that is to be probed, this one is the probe: then True."""
        breaker = self._breakers.get(cluster)
        if breaker is None:
            return False
        now = self._clock()
        probes = breaker.state(now) is State.HALF_OPEN and breaker.out(now) is None
        breaker.on(Event.TAKEN, now, now)
        return probes

    def left(self, cluster: str) -> None:
        """The client of the probe of `cluster` left before there was an answer: another request may probe."""
        self._on(cluster, Event.LEFT, self._clock())

    def _breaker(self, cluster: str) -> Breaker:
        return self._breakers.get(cluster) or self._breakers.setdefault(cluster, Breaker(self._patience))

    def _on(self, cluster: str, event: Event, asked: float) -> None:
        breaker = self._breakers.get(cluster)
        if breaker is not None:
            breaker.on(event, self._clock(), asked)

    # what routing asks

    def why(self, cluster: str) -> tuple[Out, float] | None:
        """(reason, seconds left) if `cluster` should be left out, else None. Seconds are 0 where Envoy decides. Changes nothing."""
        cooling = self._cooling.get(cluster)
        if cooling is not None:
            left = cooling[0] - self._clock()
            if left > 0:
                return cooling[1], left
        if self.active is not None and cluster not in self.active:
            return Out.INACTIVE, 0.0
        breaker = self._breakers.get(cluster)
        if breaker is not None:
            out = breaker.out(self._clock())
            if out is not None:
                return Out.FAILING, out
        if cluster in self.ejected:
            return Out.EJECTED, 0.0
        return None

    def state(self, cluster: str) -> dict[str, Any]:
        """For readers, as JSON: the breaker's state, and why and for how many seconds the cluster is left out."""
        breaker, why = self._breakers.get(cluster), self.why(cluster)
        said: dict[str, Any] = {"breaker": breaker.state(self._clock()).value if breaker is not None else "closed"}
        if why is not None:
            said |= {"out": why[0].name.lower(), "seconds": round(why[1], 1)}
        return said

    def keep(self, clusters: Collection[str]) -> None:
        """Forget every cluster but these: the registry's."""
        for cluster in {*tuple(self._cooling), *tuple(self._breakers)} - set(clusters):
            self._cooling.pop(cluster, None)
            self._breakers.pop(cluster, None)

    def forget(self) -> None:
        """All clusters are sound, as far as we know; what Envoy says stays."""
        self._cooling.clear()
        self._breakers.clear()
