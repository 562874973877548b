"""What the targets are really like, which no router is told: latencies that depend on load, failures, limits, prompt caches, and what a request can
be expected to earn at each of them right now."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from extproc.core.errors import ErrorKind
from extproc.core.usage import Price, Usage, cost_usd
from extproc.registry.policy import Objectives
from extproc.routing.reward import reward
from extproc.routing.statistics import OK, Sample
from tests.days.scenario import Asked, Day, Event, Offer, busy

NO_ANSWER = "no_answer"
SILENCE, UNARY = 20.0, 120.0
"""Seconds after which a target that says nothing is given up: `timeouts.first_token` of a stream, `timeouts.unary_attempt` of a whole answer."""
CACHE_TTL = 300.0
"""Seconds that a provider keeps the beginning of a prompt."""
FIRST_SPREAD, EACH_SPREAD = 0.35, 0.15
"""Sigma of the log-normal times to first token and per token."""
PREFILL = 15_000.0
"""Fresh prompt tokens that double the time to first token."""
_NODES = ((-math.sqrt(3.0), 1.0 / 6.0), (0.0, 2.0 / 3.0), (math.sqrt(3.0), 1.0 / 6.0))
"""Three-point Gauss-Hermite quadrature of a standard normal variable."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How one attempt goes. It takes `seconds` in all; `outcome` as in `Sample`; `retry_after` seconds of a 429."""

    outcome: str
    seconds: float
    first_token: float = 0.0
    per_token: float = 0.0
    usage: Usage | None = None
    usd: float = 0.0
    retry_after: float = 0.0


@dataclass(slots=True)
class _Now:
    """A target's state in one router's world."""

    offer: Offer
    events: list[Event]
    in_flight: int = 0
    accepted: deque[float] = field(default_factory=deque)
    cached: dict[str, tuple[int, float]] = field(default_factory=dict)


class Targets:
    """All targets, in the world of one router: its own requests are what loads them, fills their limits and warms their caches."""

    def __init__(self, day: Day, objectives: Objectives) -> None:
        self._seconds = day.seconds
        self._objectives = objectives
        self._all = {o.name: _Now(o, [e for e in day.events if e.target == o.name]) for o in day.offers}
        self.names = tuple(self._all)

    def price(self, name: str, at: float) -> Price:
        """US dollars per million tokens, as the registry has them then."""
        price, dear = self._all[name].offer.price, 1.0
        for event in self._all[name].events:
            if event.start <= at < event.end:
                dear *= event.dear
        return Price(price.input * dear, price.output * dear, None if price.cache_read is None else price.cache_read * dear)

    def begin(self, name: str, asked: Asked, at: float, luck: tuple[float, float, float]) -> Answer:
        """`asked` is sent to `name`: how it will go, decided by the state of this moment and by `luck`."""
        target = self._all[name]
        failing, limit = self._trouble(target, at)
        if self._full(target, at, limit):
            return Answer(ErrorKind.RATE_LIMITED.value, 0.1, retry_after=min(60.0, max(target.accepted[0] + 60.0 - at, 1.0)))
        if limit < math.inf:
            target.accepted.append(at)
        patience = SILENCE if asked.stream else UNARY
        if luck[2] < failing:
            # a third of all failures is silence
            return Answer(NO_ANSWER, patience) if luck[2] < failing / 3.0 else Answer(ErrorKind.UNAVAILABLE.value, 0.4)
        answer = self._answer(target, asked, at, luck[0], luck[1])
        return answer if _begins(asked, answer) <= patience else Answer(NO_ANSWER, patience)

    def under_way(self, name: str, by: int) -> None:
        """One request more or fewer."""
        self._all[name].in_flight += by

    def served(self, name: str, asked: Asked, at: float) -> None:
        """The prompt and its answer are in the cache of `name` now."""
        if asked.session and self._all[name].offer.price.cache_read is not None:
            self._all[name].cached[asked.session] = asked.prompt + asked.output, at

    def expected(self, name: str, asked: Asked, at: float) -> float:
        """The reward that `asked` can be expected to earn at `name` now, the mean over luck."""
        target = self._all[name]
        failing, limit = self._trouble(target, at)
        if self._full(target, at, limit):
            return 0.0
        total = 0.0
        for node, weight in _NODES:
            # the two times come in separate terms of a stream's reward, so one sum serves both
            total += weight * self._earned(asked, self._answer(target, asked, at, node, node))
        usual = _begins(asked, self._answer(target, asked, at, 0.0, 0.0))
        patience, spread = (SILENCE, FIRST_SPREAD) if asked.stream else (UNARY, EACH_SPREAD)
        in_time = 0.5 + 0.5 * math.erf(math.log(patience / usual) / spread / math.sqrt(2.0))
        return (1.0 - failing) * in_time * total

    def _earned(self, asked: Asked, answer: Answer) -> float:
        sample = sample_of("", asked, answer)
        found = reward(sample, self._objectives)
        assert found is not None
        return found

    def _trouble(self, target: _Now, at: float) -> tuple[float, float]:
        """(share of requests that fail, requests per minute) now."""
        failing, limit = target.offer.failing, target.offer.per_minute
        for event in target.events:
            if event.start <= at < event.end:
                failing, limit = failing + event.failing, min(limit, event.per_minute)
        return failing, limit

    @staticmethod
    def _full(target: _Now, at: float, limit: float) -> bool:
        accepted = target.accepted
        while accepted and accepted[0] <= at - 60.0:
            accepted.popleft()
        return len(accepted) >= limit

    def _answer(self, target: _Now, asked: Asked, at: float, first: float, each: float) -> Answer:
        offer = target.offer
        slow = (1.0 + offer.busy * busy(at, self._seconds)) * (1.0 + target.in_flight / offer.capacity)
        for event in target.events:
            if event.start <= at < event.end:
                slow *= event.slow
        cached = 0
        if asked.shared:
            held, when = target.cached.get(asked.session, (0, 0.0))
            if at - when < CACHE_TTL:
                cached = min(held, asked.shared)
        first_token = offer.first_token * (1.0 + (asked.prompt - cached) / PREFILL) * slow * math.exp(FIRST_SPREAD * first)
        per_token = offer.per_token * slow * math.exp(EACH_SPREAD * each)
        usage = Usage(asked.prompt, asked.output, cached)
        return Answer(OK, first_token + asked.output * per_token, first_token, per_token, usage, cost_usd(usage, self.price(offer.name, at)))


def _begins(asked: Asked, answer: Answer) -> float:
    """When the client sees something of it, in seconds."""
    return answer.first_token if asked.stream else answer.seconds


def sample_of(cluster: str, asked: Asked, answer: Answer, model: str = "chat") -> Sample:
    """What a sidecar would measure of `answer`."""
    streamed = asked.stream and answer.outcome == OK
    return Sample(
        cluster,
        model,
        answer.outcome,
        answer.seconds,
        asked.stream,
        answer.first_token if streamed else None,
        answer.per_token if streamed else None,
        answer.usage,
        answer.usd if answer.outcome == OK else None,
        float(asked.prompt),
    )
