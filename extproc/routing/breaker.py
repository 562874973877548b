"""One cluster's circuit breaker: out after failures in a row, one probe at a time, back after an answer.

    CLOSED ──failures in a row──► OPEN ──its pause is over──► HALF_OPEN ──an answer──► CLOSED
                                   ▲                             │
                                   └────the probe failed, twice the pause

The table below is all of it; every (state, event) has an entry. Events carry the time at which the request was asked, and what was asked before the
present state began proves nothing: of fifty requests under way when a provider goes down all fail, and none of them is a probe; nor does one that
times out after the provider has come back open the breaker again.

Failures before an answer and failures inside a flowing one are counted apart, because every stream that is cut had begun well.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf


class State(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Event(Enum):
    FAILED = "failed"
    """No answer, or an error that is the provider's own."""
    BROKEN_OFF = "broken_off"
    """A flowing answer was cut or fell silent."""
    ANSWERED = "answered"
    """An answer began, or an error that only a provider which works can say."""
    FINISHED = "finished"
    """An answer is whole."""
    TAKEN = "taken"
    """A request goes there first."""
    LEFT = "left"
    """The client of the probe left before there was an answer."""


class Move(Enum):
    NONE = "none"
    COUNT = "count"
    RESET = "reset"
    OPEN = "open"
    CLOSE = "close"
    PROBE = "probe"
    FREE = "free"


TABLE: dict[State, dict[Event, Move]] = {
    State.CLOSED: {
        Event.FAILED: Move.COUNT,
        Event.BROKEN_OFF: Move.COUNT,
        Event.ANSWERED: Move.RESET,
        Event.FINISHED: Move.RESET,
        Event.TAKEN: Move.NONE,
        Event.LEFT: Move.NONE,
    },
    State.OPEN: {
        # only a last resort asks here: its failure is no news, its answer is
        Event.FAILED: Move.NONE,
        Event.BROKEN_OFF: Move.NONE,
        Event.ANSWERED: Move.CLOSE,
        Event.FINISHED: Move.NONE,
        Event.TAKEN: Move.NONE,
        Event.LEFT: Move.NONE,
    },
    State.HALF_OPEN: {
        Event.FAILED: Move.OPEN,
        Event.BROKEN_OFF: Move.OPEN,
        Event.ANSWERED: Move.CLOSE,
        Event.FINISHED: Move.NONE,
        Event.TAKEN: Move.PROBE,
        # or whoever asks and leaves, again and again, would keep it from coming back
        Event.LEFT: Move.FREE,
    },
}


@dataclass(frozen=True, slots=True)
class Patience:
    """`failures` in a row open a breaker for `pause` seconds, which every failed probe doubles up to `longest`. A probe that has not ended after
    `probe` seconds lets another request probe. After `quiet` seconds without an opening the pause is the first one again, and a lone failure
    forgotten.

    A provider that recovers right after a probe of it has failed waits `longest`, and one that lets probes hang `probe` more: with these numbers
    traffic is back within 25 seconds and the time of one answer.
    """

    failures: int = 2
    pause: float = 5.0
    longest: float = 20.0
    probe: float = 5.0
    quiet: float = 60.0


class Breaker:
    """`now` and `asked` are seconds of one monotonic clock."""

    __slots__ = ("_broken", "_failed", "_last", "_patience", "_pause", "_probing", "_since", "_until")

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failed = 0
        self._broken = 0
        self._last = -inf
        """The last failure that was counted."""
        self._pause = 0.0
        self._since = -inf
        """When the present state began; of OPEN and HALF_OPEN the time of opening."""
        self._until: float | None = None
        """The end of the pause; None while closed."""
        self._probing = -inf
        """When the probe under way was sent."""

    def state(self, now: float) -> State:
        if self._until is None:
            return State.CLOSED
        return State.OPEN if now < self._until else State.HALF_OPEN

    def out(self, now: float) -> float | None:
        """Seconds for which the cluster is to be left out; None if it may be asked, be it for a probe."""
        if self._until is None:
            return None
        if now < self._until:
            return self._until - now
        left = self._probing + self._patience.probe - now
        return left if left > 0 else None

    def on(self, event: Event, now: float, asked: float) -> None:
        """`asked` is when the request was sent to the cluster. Total: no order of events and no times make it raise."""
        state = self.state(now)
        since = self._until if state is State.HALF_OPEN and event in (Event.FAILED, Event.BROKEN_OFF) else self._since
        if since is not None and asked < since:
            return
        match TABLE[state][event]:
            case Move.COUNT:
                self._count(event, now)
            case Move.RESET:
                self._failed = 0
                if event is Event.FINISHED:
                    self._broken = 0
            case Move.OPEN:
                self._open(now, min(2 * self._pause, self._patience.longest))
            case Move.CLOSE:
                self._until, self._since = None, now
                self._failed = self._broken = 0
            case Move.PROBE:
                if self.out(now) is None:
                    self._probing = now
            case Move.FREE:
                self._probing = -inf
            case Move.NONE:
                pass

    def _count(self, event: Event, now: float) -> None:
        patience = self._patience
        if now - self._last > patience.quiet:
            self._failed = self._broken = 0
        self._last = now
        if event is Event.FAILED:
            self._failed += 1
        else:
            self._broken += 1
        if max(self._failed, self._broken) >= patience.failures:
            again = self._pause and now - self._since <= patience.quiet
            self._open(now, min(2 * self._pause, patience.longest) if again else patience.pause)

    def _open(self, now: float, pause: float) -> None:
        self._pause, self._since, self._until = pause, now, now + pause
        self._probing = -inf
        self._failed = self._broken = 0
