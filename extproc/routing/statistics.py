"""What targets have done lately: measured at the end of every attempt, decayed, bounded, read by policies without a lock.

Writers are the stages (one process, under the interpreter's lock); readers take single attributes, which are always whole. Times are seconds of
the monotonic clock that is handed in.
"""

from __future__ import annotations

from dataclasses import dataclass

from extproc.core.usage import Usage

CLIENT_GONE = "client_gone"
"""The client left: says nothing about the target's reliability."""
OK = "ok"


@dataclass(frozen=True, slots=True)
class Sample:
    """One attempt's end. `outcome`: `OK`, `CLIENT_GONE`, "cut", "stalled", "no_answer" (Envoy ended it: reset, no connection, time-out), or the
    `ErrorKind` value of what the provider said. `seconds` is the attempt's whole duration, `first_token` and `per_token` are of streams, None
    where unknown.
    `estimated` is the prompt's estimated tokens before correction (0: nobody estimated)."""

    cluster: str
    model: str
    outcome: str
    seconds: float
    stream: bool = False
    first_token: float | None = None
    per_token: float | None = None
    usage: Usage | None = None
    usd: float | None = None
    estimated: float = 0.0


class Measured:
    """One cluster's statistics. Counts are decayed; times in seconds, None while nothing was measured."""

    __slots__ = (
        "cached_share",
        "failures",
        "first_token",
        "in_flight",
        "output_tokens",
        "per_token",
        "requests",
        "seconds",
        "token_ratio",
        "usd",
        "written_share",
    )

    def __init__(self) -> None:
        self.in_flight = 0
        self.requests = 0.0
        self.failures = 0.0
        self.first_token: float | None = None
        self.per_token: float | None = None
        self.seconds: float | None = None
        self.cached_share: float | None = None
        """Cached part of the input tokens."""
        self.written_share: float | None = None
        """The part of the input tokens that was written to the cache."""
        self.output_tokens: float | None = None
        self.token_ratio: float | None = None
        """Real input tokens over estimated ones."""
        self.usd: float | None = None

    @property
    def failure_rate(self) -> float:
        """0 while nothing was measured."""
        return self.failures / self.requests if self.requests else 0.0


class Statistics:
    """By cluster. `of` never creates: an unknown cluster has the empty statistics."""

    def __init__(self) -> None:
        self._by_cluster: dict[str, Measured] = {}

    def of(self, cluster: str) -> Measured:
        """What is known of `cluster`; to be read only."""
        return self._by_cluster.get(cluster) or _NOTHING

    def began(self, cluster: str) -> None:
        """A request is on its way to `cluster`."""
        self._open(cluster).in_flight += 1

    def ended(self, cluster: str) -> None:
        """It is over, or has gone elsewhere."""
        measured = self._open(cluster)
        measured.in_flight = max(measured.in_flight - 1, 0)

    def record(self, sample: Sample, now: float) -> None:  # noqa: ARG002
        """One attempt's end."""
        self._open(sample.cluster).requests += 1

    def _open(self, cluster: str) -> Measured:
        return self._by_cluster.setdefault(cluster, Measured())


_NOTHING = Measured()
