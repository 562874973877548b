"""Which target has a session's prompt cache warm. Bounded: the sessions that were used last."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Warm:
    """`cached` tokens were read from or written to the cache of `cluster` at the monotonic time `at`."""

    cluster: str
    cached: int
    at: float


class Affinities:
    """By session."""

    def warm(self, session: str, now: float, ttl: float) -> Warm | None:
        """Where `session` has a warm cache, younger than `ttl` seconds."""
        raise NotImplementedError

    def served(self, session: str, cluster: str, cached: int, now: float) -> None:
        """`cluster` answered a request of `session`, with `cached` tokens of its prompt in its cache now."""
        raise NotImplementedError
