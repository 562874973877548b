"""One cluster's measurements: decayed sums and peaks, and what policies read of them.

Counts and sums fade with a half-life of `HALF_LIFE`, so shares, means and rates are those of the last minutes, whatever the traffic. Durations are
peak EWMAs (Finagle's PeakEwma): a slower one counts at once and in full, faster ones bring it down with the time constant `TAU`. All times are
seconds of the monotonic clock that is handed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp
from typing import Any

from extproc.core import rate_limits
from extproc.core.errors import ErrorKind
from extproc.core.usage import Usage
from extproc.core.verdict import about_request
from extproc.routing.sketch import Sketch

HALF_LIFE = 180.0
"""Seconds in which a count loses half its weight: half an hour later a thousandth is left."""
TAU = 30.0
"""Seconds in which a peak comes down to what is measured now, but for 1/e of the distance."""

CLIENT_GONE = "client_gone"
"""The client left: says nothing about the target's reliability."""
OK = "ok"
CUT, STALLED, NO_ANSWER = "cut", "stalled", "no_answer"
BLAMELESS = frozenset(kind.value for kind in ErrorKind if about_request(kind) or kind is ErrorKind.TOO_LARGE)
"""The request itself was at fault: the target did answer."""
OUTCOMES = (OK, CLIENT_GONE, CUT, STALLED, NO_ANSWER, *(kind.value for kind in ErrorKind))


@dataclass(slots=True)
class Sample:
    """One attempt's end, never changed (frozen it would take five times as long to make). `outcome`: `OK`, `CLIENT_GONE`, "cut", "stalled",
    "no_answer" (Envoy ended it: reset, no connection, time-out), or the `ErrorKind` value of what the provider said. `seconds` is the attempt's
    whole duration, `first_token` and `per_token` are of streams, None where unknown; of an attempt that timed out before its first token,
    `first_token` is how long it was waited for. `estimated` is the prompt's estimated tokens before correction (0: nobody estimated). `retry_after`
    is the provider's, 0 without."""

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
    retry_after: float = 0.0


SUMS = (
    "requests", "failures", "answers", "input", "cached", "written", "output", "usd", "priced", "real", "estimated",
    "first_tokens", "per_tokens", "durations",
)  # fmt: skip
"""The decayed sums of a cluster. `answers` counts those with usage, `priced` those with a cost, the last three what `TIMES` were measured on."""
REQUESTS, FAILURES, ANSWERS, INPUT, CACHED, WRITTEN, OUTPUT, USD, PRICED, REAL, ESTIMATED, FIRSTS, EACH, DURATIONS = range(len(SUMS))
TIMES = ("first_token", "per_token", "seconds")
COUNTS = (FIRSTS, EACH, DURATIONS)


class Measured:
    """One cluster's statistics, with what replicas say of it. Counts are decayed; times in seconds, None while nothing was measured."""

    __slots__ = (
        "_at",
        "_firsts",
        "_kinds",
        "_others",
        "_peaks",
        "_said",
        "_sums",
        "_tellers",
        "_totals",
        "cached_share",
        "failures",
        "first_token",
        "in_flight",
        "output_tokens",
        "per_token",
        "requests",
        "retry_at",
        "seconds",
        "token_ratio",
        "usd",
        "written_share",
    )

    def __init__(self) -> None:
        self.in_flight = 0
        self.requests = 0.0
        """Attempts that say something of the target."""
        self.failures = 0.0
        self.first_token: float | None = None
        self.per_token: float | None = None
        self.seconds: float | None = None
        self.cached_share: float | None = None
        """Part of the input tokens that was read from the provider's cache."""
        self.written_share: float | None = None
        """Part of the input tokens that was written to the provider's cache."""
        self.output_tokens: float | None = None
        self.token_ratio: float | None = None
        """Real input tokens over estimated ones."""
        self.usd: float | None = None
        self.retry_at = 0.0
        """The last time before which the provider asked not to be asked again."""
        self._at = 0.0
        self._sums = [0.0] * len(SUMS)
        self._others: list[float] | None = None
        self._tellers = 0
        """Replicas that `_others` is made of."""
        self._peaks: dict[str, tuple[float, float]] = {}
        self._kinds: dict[str, tuple[float, float]] = {}
        self._said: tuple[float, dict[str, str]] | None = None
        self._firsts = Sketch(HALF_LIFE)
        self._totals = Sketch(HALF_LIFE)

    @property
    def failure_rate(self) -> float:
        """0 while nothing was measured."""
        return self.failures / self.requests if self.requests else 0.0

    def add(self, sample: Sample, now: float) -> None:
        """One attempt's end."""
        sums = self.fade(now)
        outcome = sample.outcome
        if outcome == OK:
            sums[REQUESTS] += 1.0
            self._peak("seconds", sample.seconds, now)
            sums[DURATIONS] += 1.0
            self._totals.add(sample.seconds, now)
        elif outcome != CLIENT_GONE:
            sums[REQUESTS] += 1.0
            if outcome not in BLAMELESS:
                sums[FAILURES] += 1.0
            weight, at = self._kinds.get(outcome, (0.0, now))
            self._kinds[outcome] = (weight * 2.0 ** ((at - now) / HALF_LIFE) + 1.0, now)
            if sample.retry_after > 0:
                self.retry_at = max(self.retry_at, now + sample.retry_after)
        if sample.first_token is not None:
            self._peak("first_token", sample.first_token, now)
            sums[FIRSTS] += 1.0
            self._firsts.add(sample.first_token, now)
        if sample.per_token is not None:
            self._peak("per_token", sample.per_token, now)
            sums[EACH] += 1.0
        usage = sample.usage
        if usage is not None:
            sums[INPUT] += usage.input_tokens
            sums[CACHED] += usage.cache_read
            sums[WRITTEN] += usage.cache_write
            if sample.estimated > 0 and usage.input_tokens > 0:
                sums[REAL] += usage.input_tokens
                sums[ESTIMATED] += sample.estimated
            if outcome == OK:
                # an answer that was broken off is shorter than it would have been
                sums[OUTPUT] += usage.output_tokens
                sums[ANSWERS] += 1.0
        if sample.usd is not None:
            sums[USD] += sample.usd
            sums[PRICED] += 1.0
        self._derive()

    def limits_left(self, said: dict[str, str], now: float) -> None:
        """What a response said of rate limits (`core.rate_limits.said`)."""
        self._said = (now, said)

    def fade(self, now: float) -> list[float]:
        """The sums, decayed to `now`."""
        if now > self._at:
            fade = 2.0 ** ((self._at - now) / HALF_LIFE) if self._at else 0.0
            self._sums = [value * fade for value in self._sums]
            if self._others is not None:
                self._others = [value * fade for value in self._others]
            self._at = now
        return self._sums

    def age(self, now: float) -> None:
        """Let time pass."""
        self.fade(now)
        self._derive()

    # replicas and restarts

    def fields(self, now: float) -> dict[str, float]:
        """What was measured here, as plain numbers: `SUMS` decayed to `now`, `TIMES`, and `kind:` with an outcome."""
        fade = 2.0 ** ((self._at - now) / HALF_LIFE)
        fields = {field: value * fade for field, value in zip(SUMS, self._sums, strict=True) if value * fade > 1e-6}
        fields |= {field: peak for field, (peak, _) in tuple(self._peaks.items())}
        return fields | {f"kind:{kind}": weight * 2.0 ** ((at - now) / HALF_LIFE) for kind, (weight, at) in tuple(self._kinds.items())}

    def restore(self, fields: Mapping[str, float], sketches: Any, at: float) -> None:
        """What `fields` and `sketches` gave at the time `at`."""
        self._at = at
        self._sums = [fields.get(field, 0.0) for field in SUMS]
        self._peaks = {field: (fields[field], at) for field in TIMES if field in fields}
        self._kinds = {kind: (fields[f"kind:{kind}"], at) for kind in OUTCOMES if f"kind:{kind}" in fields}
        if isinstance(sketches, dict):
            self._firsts.load(sketches.get("first_token"), at)
            self._totals.load(sketches.get("seconds"), at)

    def sketches(self, now: float) -> dict[str, dict[str, float]]:
        """The distributions, as JSON."""
        return {"first_token": self._firsts.dump(now), "seconds": self._totals.dump(now)}

    def elsewhere(self, before: Mapping[str, float] | None, left: float, after: Mapping[str, float] | None, now: float) -> None:
        """What a replica measured is `after` now, and was `before`, of which the part `left` is left. None: it said nothing."""
        self.fade(now)
        self._tellers += (after is not None) - (before is not None)
        if self._tellers == 0:
            self._others = None
        else:
            others = self._others or [0.0] * (len(SUMS) + len(TIMES))
            if before is not None:
                _add(others, before, -left)
            if after is not None:
                _add(others, after, 1.0)
            # what was taken off was not decayed in the same steps
            self._others = [value if value > 0.0 else 0.0 for value in others]  # noqa: FURB136 - half the time of max()
        self._derive()

    # readers

    def shown(self, now: float, wall: float) -> dict[str, Any]:
        """All of it as JSON. `wall` (Unix seconds) is for resets of limits that are points in time."""
        fade = 2.0 ** ((self._at - now) / HALF_LIFE) if self._at else 1.0
        kinds = {kind: round(weight * 2.0 ** ((at - now) / HALF_LIFE), 3) for kind, (weight, at) in tuple(self._kinds.items())}
        shown: dict[str, Any] = {
            "in_flight": self.in_flight,
            "requests": round(self.requests * fade, 3),
            "failures": round(self.failures * fade, 3),
            "failure_rate": round(self.failure_rate, 6),
            "kinds": kinds,
            "first_token": {"peak": _rounded(self.first_token), **_quantiles(self._firsts)},
            "per_token": _rounded(self.per_token),
            "seconds": {"peak": _rounded(self.seconds), **_quantiles(self._totals)},
            "cached_share": _rounded(self.cached_share),
            "written_share": _rounded(self.written_share),
            "output_tokens": _rounded(self.output_tokens),
            "token_ratio": _rounded(self.token_ratio),
            "usd": _rounded(self.usd),
        }
        if self.retry_at > now:
            shown["retry_after"] = round(self.retry_at - now, 1)
        if self._said is not None:
            at, said = self._said
            # a reset that is a point in time was said when it was said
            limits = rate_limits.read(said, wall - (now - at))
            shown["limits"] = {a.what or "requests": {"remaining": a.remaining, "limit": a.limit, "reset": _rounded(a.reset)} for a in limits}
            shown["limits_age"] = round(now - at, 1)
        return shown

    def _peak(self, name: str, value: float, now: float) -> None:
        known = self._peaks.get(name)
        if known is not None and value < known[0]:
            value += (known[0] - value) * exp(min(known[1] - now, 0.0) / TAU)
        self._peaks[name] = (value, now)

    def _derive(self) -> None:
        """What policies read, from the sums here and at the replicas."""
        sums, others, peaks = self._sums, self._others, self._peaks
        if others is not None:
            sums = [mine + theirs for mine, theirs in zip(sums, others, strict=False)]
            self.first_token, self.per_token, self.seconds = (self._blend(others, i) for i in range(len(TIMES)))
        else:
            if "first_token" in peaks:
                self.first_token = peaks["first_token"][0]
            if "per_token" in peaks:
                self.per_token = peaks["per_token"][0]
            if "seconds" in peaks:
                self.seconds = peaks["seconds"][0]
        self.requests, self.failures = sums[REQUESTS], sums[FAILURES]
        if sums[INPUT] > 0:
            self.cached_share = min(sums[CACHED] / sums[INPUT], 1.0)
            self.written_share = min(sums[WRITTEN] / sums[INPUT], 1.0)
        if sums[ANSWERS] > 0:
            self.output_tokens = sums[OUTPUT] / sums[ANSWERS]
        if sums[PRICED] > 0:
            self.usd = sums[USD] / sums[PRICED]
        if sums[ESTIMATED] > 0:
            self.token_ratio = sums[REAL] / sums[ESTIMATED]

    def _blend(self, others: list[float], time: int) -> float | None:
        """The mean of the peaks here and at the replicas, by how much each has measured lately."""
        peak = self._peaks.get(TIMES[time])
        theirs = others[COUNTS[time]]
        if peak is None:
            return others[len(SUMS) + time] / theirs if theirs > 0 else None
        mine = self._sums[COUNTS[time]]
        return (others[len(SUMS) + time] + mine * peak[0]) / (theirs + mine) if theirs + mine > 0 else peak[0]


def _add(total: list[float], fields: Mapping[str, float], weight: float) -> None:
    """Sums, and durations each times the count that it was measured on."""
    for i, field in enumerate(SUMS):
        value = fields.get(field)
        if value is not None:
            total[i] += weight * value
    for i, (field, count) in enumerate(zip(TIMES, COUNTS, strict=True), len(SUMS)):
        value = fields.get(field)
        if value is not None:
            total[i] += weight * value * fields.get(SUMS[count], 0.0)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _quantiles(sketch: Sketch) -> dict[str, float | None]:
    return {"p50": _rounded(sketch.quantile(0.5)), "p95": _rounded(sketch.quantile(0.95))}
