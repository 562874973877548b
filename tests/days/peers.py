"""Naive versions of what other routers do, written anew from their documented behaviour. They get the same health, chain and fallback as
ours, and the order in which they would try the targets is all that differs.

- `LastTen`: the lowest mean of the last ten latencies, per token of the answer. A target that nobody measured comes first; a time-out counts as
  1000 seconds (LiteLLM, `latency-based-routing`).
- `UnitPrice`: the lowest sum of the prices of an input and an output token (LiteLLM, `cost-based-routing`).
- `StopsLearning`: Thompson sampling with Beta posteriors for the first 200 requests, the best means ever after. It learns from our own reward.
- `RoundRobin`: one after the other.
"""

from __future__ import annotations

import random
from collections import deque

from extproc.core.errors import ApiError, ErrorKind
from extproc.routing.health import LAST_RESORTS, Health
from extproc.routing.reward import reward
from extproc.routing.statistics import OK, Sample
from tests.days.scenario import OBJECTIVES, Asked, Day
from tests.days.simulation import Clock
from tests.days.truth import NO_ANSWER, Targets


class Peer:
    """A router that only knows an order."""

    def __init__(self, day: Day, targets: Targets, health: Health, clock: Clock) -> None:
        self.names = list(targets.names)
        self.targets = targets
        self.health = health
        self.clock = clock
        self.random = random.Random(day.seed)

    def order(self, asked: Asked) -> list[str]:
        raise NotImplementedError

    def learn(self, sample: Sample) -> None:
        """An attempt is over."""

    def route(self, asked: Asked, now: float) -> list[str]:
        order = self.order(asked)
        why = {name: self.health.why(name) for name in order}
        usable = [name for name in order if why[name] is None]
        if usable:
            return usable
        resort = [name for name in order if (out := why[name]) is not None and out[0] in LAST_RESORTS]
        if not resort:
            raise ApiError(ErrorKind.RATE_LIMITED, "every target is at a limit")
        return resort

    def began(self, cluster: str) -> None:
        pass

    def ended(self, asked: Asked, sample: Sample, now: float) -> None:
        self.learn(sample)


class LastTen(Peer):
    def __init__(self, day: Day, targets: Targets, health: Health, clock: Clock) -> None:
        super().__init__(day, targets, health, clock)
        self.last: dict[str, deque[float]] = {name: deque(maxlen=10) for name in self.names}

    def order(self, asked: Asked) -> list[str]:
        shuffled = self.names.copy()
        self.random.shuffle(shuffled)
        return sorted(shuffled, key=lambda name: sum(self.last[name]) / len(self.last[name]) if self.last[name] else 0.0)

    def learn(self, sample: Sample) -> None:
        if sample.outcome == OK and sample.usage is not None:
            self.last[sample.cluster].append(sample.seconds / max(sample.usage.output_tokens, 1))
        elif sample.outcome == NO_ANSWER:
            self.last[sample.cluster].append(1000.0)


class UnitPrice(Peer):
    def order(self, asked: Asked) -> list[str]:
        prices = {name: self.targets.price(name, self.clock.now) for name in self.names}
        return sorted(self.names, key=lambda name: prices[name].input + prices[name].output)


class StopsLearning(Peer):
    LEARNS = 200

    def __init__(self, day: Day, targets: Targets, health: Health, clock: Clock) -> None:
        super().__init__(day, targets, health, clock)
        self.posterior = {name: [1.0, 1.0] for name in self.names}
        self.seen = 0

    def order(self, asked: Asked) -> list[str]:
        self.seen += 1
        if self.seen > self.LEARNS:
            return sorted(self.names, key=lambda name: -self.posterior[name][0] / sum(self.posterior[name]))
        drawn = {name: self.random.betavariate(*self.posterior[name]) for name in self.names}
        return sorted(self.names, key=lambda name: -drawn[name])

    def learn(self, sample: Sample) -> None:
        worth = reward(sample, OBJECTIVES)
        if self.seen <= self.LEARNS and worth is not None:
            self.posterior[sample.cluster][0] += worth
            self.posterior[sample.cluster][1] += 1.0 - worth


class RoundRobin(Peer):
    turn = 0

    def order(self, asked: Asked) -> list[str]:
        self.turn += 1
        start = self.turn % len(self.names)
        return self.names[start:] + self.names[:start]


class Clairvoyant(Peer):
    """Knows what nobody can know, and so shows what is left to win. No peer."""

    def order(self, asked: Asked) -> list[str]:
        return sorted(self.names, key=lambda name: -self.targets.expected(name, asked, self.clock.now))
