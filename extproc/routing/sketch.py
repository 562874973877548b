"""Quantiles of durations in bounded memory: a histogram with logarithmic buckets whose counts fade.

Forward decay (Cormode, Shkapenyuk, Srivastava, Xu 2009): instead of making all old counts smaller at every observation, each new one weighs more, and
only ratios count. The weights are made small again long before they leave the range of floating-point numbers.
"""

from __future__ import annotations

from math import ceil, isfinite, log
from typing import Any

SMALLEST = 0.001
"""Seconds: the upper bound of the first bucket."""
GROWTH = 2**0.25
"""Bucket n ends at SMALLEST x GROWTH^n: a quantile is off by 9 percent at most."""
BUCKETS = 82
"""The last one takes all above 20 minutes."""
_PER_LOG = 1.0 / log(GROWTH)
_RENEW = 200.0
"""Half-lives: a weight is 2 to the power of them, and may be 2^1023."""


class Sketch:
    """Durations in seconds; `half_life` is that of their weight. One writer; a reader in another thread sees a consistent enough copy."""

    __slots__ = ("_counts", "_half_life", "_origin")

    def __init__(self, half_life: float) -> None:
        self._half_life = half_life
        self._origin: float | None = None
        self._counts: list[float] = [0.0] * BUCKETS

    def add(self, seconds: float, now: float) -> None:
        if self._origin is None:
            self._origin = now
        ages = (now - self._origin) / self._half_life
        if ages > _RENEW:
            self._counts = [count * 2.0**-ages for count in self._counts]
            self._origin, ages = now, 0.0
        place = ceil(log(seconds / SMALLEST) * _PER_LOG) if seconds > SMALLEST else 0
        self._counts[min(place, BUCKETS - 1)] += 2.0**ages

    def quantile(self, q: float) -> float | None:
        """The duration below which the share `q` (0 to 1) lies: the geometric middle of its bucket. None while nothing was seen."""
        counts = tuple(self._counts)
        left = q * sum(counts)
        last = None
        for n, count in enumerate(counts):
            if count > 0.0:
                last = SMALLEST * GROWTH ** (n - 0.5)
                left -= count
                if left <= 0.0:
                    break
        return last

    def dump(self, now: float) -> dict[str, float]:
        """As JSON: weight at `now` by bucket, those that matter."""
        if self._origin is None:
            return {}
        fade = 2.0 ** ((self._origin - now) / self._half_life)
        return {str(n): count * fade for n, count in enumerate(tuple(self._counts)) if count * fade > 1e-6}

    def load(self, dumped: Any, now: float) -> None:
        """What `dump` gave at the time `now`. What is none is left out."""
        self._origin, self._counts = now, [0.0] * BUCKETS
        for name, count in dumped.items() if isinstance(dumped, dict) else ():
            if isinstance(count, int | float) and isfinite(count) and count > 0 and name.isdecimal() and len(name) < 3 and int(name) < BUCKETS:
                self._counts[int(name)] = float(min(count, 1e9))
