"""When a token is fetched again: well before it expires, never by all instances at once, and after a failure with growing pauses. Pure."""

from __future__ import annotations

from collections.abc import Callable

EARLIEST, LATEST = 0.6, 0.8
"""Parts of a token's lifetime between which it is renewed. What is left must outlast an outage of its issuer."""
SHORTEST = 5.0
"""Seconds. An issuer that hands out a token which is about to expire (metadata servers cache theirs) is asked again, but not in a loop."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds after the first failure in a row, and at most."""


def until_renewal(lifetime: float, random: Callable[[], float]) -> float:
    """Seconds from now for a token that is good for another `lifetime` seconds. `random` in [0, 1)."""
    return max(SHORTEST, lifetime * (EARLIEST + (LATEST - EARLIEST) * random()))


def pause_after(failures: int, random: Callable[[], float]) -> float:
    """Seconds to wait after `failures` in a row (from 1): doubling, spread over the upper half."""
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))
    return pause * (0.5 + 0.5 * random())
