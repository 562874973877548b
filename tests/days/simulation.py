"""One router's day: an event queue on a clock of its own. Arrivals, first tokens and ends of attempts happen in their order; nothing sleeps.

What the sidecar does around a decision is here as the stages do it, the same for every router: health, the real verdict on a failed attempt, the
next cluster of the chain. A failed attempt costs its time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from extproc.core.errors import ApiError, ErrorKind
from extproc.core.verdict import decide
from extproc.registry.types import Attempts, Timeouts
from extproc.routing.health import Health, Out
from extproc.routing.statistics import OK, Sample
from tests.days.scenario import OBJECTIVES, Asked, Day
from tests.days.truth import NO_ANSWER, SILENCE, UNARY, Answer, Targets, sample_of

ATTEMPTS = Attempts(total=4, same_target=0, wait_at_most=2.0)
TIMEOUTS = Timeouts(unary_attempt=UNARY, first_token=SILENCE)


class Clock:
    """Seconds since the start of the day."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Router(Protocol):
    """Chooses, and is told how attempts went."""

    def route(self, asked: Asked, now: float) -> list[str]:
        """The chain. Raises `ApiError` where nobody can serve the request just now."""
        ...

    def began(self, cluster: str) -> None:
        """An attempt goes to `cluster`."""
        ...

    def ended(self, asked: Asked, sample: Sample, now: float) -> None:
        """An attempt is over."""
        ...


@dataclass(slots=True)
class Outcome:
    """What became of one request. `chosen` and `best` are the targets that the router put first and that the clairvoyant would have, "" for
    a request that was refused; `regret` the difference of the rewards that could be expected of them. `first` (token; of a whole answer its
    end) and `total` are seconds from the request's arrival, lost attempts included."""

    asked: Asked
    chosen: str
    best: str
    regret: float
    clusters: list[str] = field(default_factory=list)
    ok: bool = False
    first: float = 0.0
    total: float = 0.0
    usd: float = 0.0


@dataclass(slots=True)
class _Going:
    """A request under way."""

    outcome: Outcome
    standing: list[str]
    made: list[str] = field(default_factory=list)
    sent: float = 0.0


Build = Callable[[Day, Targets, Health, Clock], Router]


def run(day: Day, build: Build) -> list[Outcome]:
    """The day as the router that `build` makes lives through it: one outcome per request, in the order of arrival."""
    return _Run(day, build).run()


class _Run:
    def __init__(self, day: Day, build: Build) -> None:
        self.day = day
        self.clock = Clock()
        self.targets = Targets(day, OBJECTIVES)
        self.health = Health(self.clock)
        self.router = build(day, self.targets, self.health, self.clock)
        self.place = {name: i for i, name in enumerate(self.targets.names)}
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.counted = 0

    def run(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for asked in self.day.asked:
            self._until(asked.at)
            outcomes.append(self._arrives(asked))
        self._until(float("inf"))
        return outcomes

    def _until(self, at: float) -> None:
        queue = self.queue
        while queue and queue[0][0] <= at:
            self.clock.now, _, happen = heapq.heappop(queue)
            happen()
        self.clock.now = at

    def _at(self, at: float, happen: Callable[[], None]) -> None:
        self.counted += 1
        heapq.heappush(self.queue, (at, self.counted, happen))

    def _arrives(self, asked: Asked) -> Outcome:
        now = asked.at
        expected = {name: self.targets.expected(name, asked, now) for name in self.targets.names}
        best = max(expected, key=lambda name: expected[name])
        try:
            chain = self.router.route(asked, now)
        except ApiError:
            return Outcome(asked, "", best, expected[best])
        outcome = Outcome(asked, chain[0], best, expected[best] - expected[chain[0]])
        self.health.taken(chain[0])
        self._send(_Going(outcome, chain[1:]), chain[0])
        return outcome

    def _send(self, going: _Going, cluster: str) -> None:
        now = self.clock.now
        asked = going.outcome.asked
        going.made.append(cluster)
        going.outcome.clusters.append(cluster)
        going.sent = now
        answer = self.targets.begin(cluster, asked, now, self.day.luck[asked.n][self.place[cluster]])
        self.targets.under_way(cluster, 1)
        self.router.began(cluster)
        if answer.outcome == OK:
            begins = answer.first_token if asked.stream else answer.seconds
            self._at(now + begins, lambda: self.health.recovered(cluster, going.sent))
        self._at(now + answer.seconds, lambda: self._ends(going, cluster, answer))

    def _ends(self, going: _Going, cluster: str, answer: Answer) -> None:
        now, outcome = self.clock.now, going.outcome
        asked = outcome.asked
        self.targets.under_way(cluster, -1)
        sample = sample_of(cluster, asked, answer)
        self.router.ended(asked, sample, now)
        if answer.outcome == OK:
            self.health.finished(cluster, going.sent)
            self.targets.served(cluster, asked, now)
            outcome.ok, outcome.usd, outcome.total = True, answer.usd, now - asked.at
            outcome.first = going.sent + answer.first_token - asked.at if asked.stream else outcome.total
            return
        self._fails(going, cluster, answer)

    def _fails(self, going: _Going, cluster: str, answer: Answer) -> None:
        outcome, standing = going.outcome, going.standing
        now, asked = self.clock.now, outcome.asked
        outcome.total = outcome.first = now - asked.at
        left = TIMEOUTS.deadline - outcome.total
        pause = 0.0
        if answer.outcome == NO_ANSWER:
            # Envoy goes on by itself, to the default successor
            self.health.failed(cluster, going.sent)
            more = len(going.made) < ATTEMPTS.total
        else:
            error = ApiError(ErrorKind(answer.outcome), "", retry_after=answer.retry_after or None)
            verdict = decide(
                error,
                made=going.made,
                standing=standing,
                total=ATTEMPTS.total,
                same=ATTEMPTS.same_target,
                wait=min(ATTEMPTS.wait_at_most, left / 2.0),
                siblings=lambda _: False,
                larger=lambda _: False,
            )
            self.health.refused(cluster, error.kind, going.sent)
            if verdict.cool_down > 0:
                self.health.cool_down(cluster, verdict.cool_down, Out.LIMITED if error.kind is ErrorKind.RATE_LIMITED else Out.ASKED)
            standing = verdict.successors if verdict.successors is not None else standing
            more, pause = verdict.retry, float(verdict.backoff)
        if not more or not standing or left <= 0:
            return
        going.standing = standing[1:]
        following = standing[0]
        if pause:
            self._at(now + pause, lambda: self._send(going, following))
        else:
            self._send(going, following)
