"""One day: who offers what, what happens to them, and who asks. All of it drawn from one seed before anybody routes, so that every router lives
through the same day with the same luck.

Five targets with different strengths; over the day one gets slow, one gets dear, one fails and one is limited. Requests arrive as a Poisson process
whose rate follows the time of day: three kinds of work with log-normal sizes, most chats in sessions whose prompts grow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from extproc.core.usage import Price
from extproc.registry.policy import Objectives

HOUR = 3600.0
OBJECTIVES = Objectives(first_token=0.6, per_token=0.012, usd_per_request=0.003)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a target is on an ordinary day. Times in seconds at no load; `capacity` requests under way double them; a share `failing` of requests
    fails; `per_minute` requests are accepted and the rest gets 429; `busy` is how much slower it is at the busiest hour, from other customers."""

    name: str
    price: Price
    first_token: float
    per_token: float
    capacity: float
    failing: float
    quality: float
    busy: float = 0.25
    per_minute: float = math.inf


OFFERS = (
    Offer("steady", Price(0.35, 1.4, 0.09), first_token=0.4, per_token=0.006, capacity=40.0, failing=0.004, quality=0.8),
    Offer("thrifty", Price(0.1, 0.4, 0.05), first_token=0.8, per_token=0.014, capacity=25.0, failing=0.01, quality=0.6),
    Offer("swift", Price(0.9, 3.6, 0.15), first_token=0.18, per_token=0.0025, capacity=40.0, failing=0.006, quality=0.7),
    Offer("grand", Price(2.5, 10.0, 0.3), first_token=0.8, per_token=0.012, capacity=40.0, failing=0.002, quality=1.0),
    Offer("house", Price(0.05, 0.2), first_token=1.2, per_token=0.02, capacity=4.0, failing=0.008, quality=0.5, busy=0.0),
)
"""In the order of the registry's file."""


@dataclass(frozen=True, slots=True)
class Event:
    """Between `start` and `end` (seconds of the day) `target` is slower and dearer by a factor, fails a share `failing` of requests and accepts at
    most `per_minute`."""

    label: str
    target: str
    start: float
    end: float
    slow: float = 1.0
    dear: float = 1.0
    failing: float = 0.0
    per_minute: float = math.inf


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `prompt` and `output` in tokens; `session` is "" for a request on its own, `shared` the prompt's tokens that the session has sent
    before."""

    n: int
    at: float
    task: str
    prompt: int
    output: int
    stream: bool
    session: str
    shared: int


@dataclass(frozen=True, slots=True)
class Day:
    """`luck[n][target]` are standard normal draws for first token and per token and a uniform one for failures, the same for every router."""

    seed: int
    hours: float
    offers: tuple[Offer, ...]
    events: tuple[Event, ...]
    asked: tuple[Asked, ...]
    luck: list[list[tuple[float, float, float]]]

    @property
    def seconds(self) -> float:
        return self.hours * HOUR


def day(seed: int, hours: float = 24.0, requests: int = 20_000, *, drift: bool = True) -> Day:
    """About so many `requests`. `hours` below 24 press the whole day, its events included, into less time. Without `drift` nothing happens to the
    targets."""
    rng = np.random.default_rng(seed)
    happens = _events(hours, rng)
    offers = tuple(replace(o, first_token=o.first_token * rng.uniform(0.9, 1.1), per_token=o.per_token * rng.uniform(0.9, 1.1)) for o in OFFERS)
    asked = tuple(_asked(hours * HOUR, requests, rng))
    normal = rng.standard_normal((len(asked), len(offers), 2))
    uniform = rng.random((len(asked), len(offers)))
    luck = [[(a, b, u) for (a, b), u in zip(ab, us, strict=True)] for ab, us in zip(normal.tolist(), uniform.tolist(), strict=True)]
    return Day(seed, hours, offers, happens if drift else (), asked, luck)


def busy(at: float, seconds: float) -> float:
    """The time of day as a factor from 0 (2 in the morning) to 1 (2 in the afternoon)."""
    return 0.5 - 0.5 * math.cos(2.0 * math.pi * (at / seconds - 2.0 / 24.0))


def _events(hours: float, rng: np.random.Generator) -> tuple[Event, ...]:
    """At hours of a day of 24 that is pressed into `hours`. When and how bad differs a little from seed to seed."""
    scale = hours * HOUR / 24.0

    def spell(start: float, length: float) -> tuple[float, float]:
        begin = start + rng.uniform(-0.3, 0.3)
        return begin * scale, (begin + length * rng.uniform(0.9, 1.1)) * scale

    def about(value: float) -> float:
        return float(value * rng.uniform(0.85, 1.15))

    return (
        Event("slow", "steady", *spell(4.5, 4.0), slow=about(5.0)),
        Event("dear", "thrifty", *spell(10.0, 4.5), dear=about(8.0)),
        Event("failing", "swift", *spell(16.0, 1.0), failing=min(about(0.85), 0.95)),
        Event("limited", "house", *spell(18.5, 3.0), per_minute=about(3.0)),
    )


SIZES = {"chat": (500.0, 0.7, 220.0, 0.6), "summarization": (8_000.0, 0.5, 320.0, 0.4), "code_generation": (2_200.0, 0.7, 800.0, 0.5)}
"""Per task: median and log-normal sigma of prompt tokens, and of output tokens."""
KINDS = (("chat", 0.6), ("summarization", 0.22), ("code_generation", 0.18))
TURNS = 6.0
"""Mean length of a session of chats and of work on code."""


def _asked(seconds: float, requests: int, rng: np.random.Generator) -> Iterator[Asked]:
    """Arrivals by thinning a Poisson process of the busiest hour's rate (Lewis and Shedler 1979)."""
    highest = requests / seconds * 1.7
    live: dict[str, list[tuple[str, int]]] = {kind: [] for kind, _ in KINDS}
    names, shares = [k for k, _ in KINDS], [s for _, s in KINDS]
    at, n, sessions = 0.0, 0, 0
    while True:
        at += rng.exponential(1.0 / highest)
        if at >= seconds:
            return
        if rng.random() > (0.3 + 1.4 * busy(at, seconds)) / 1.7:
            continue
        task = str(rng.choice(names, p=shares))
        prompt_median, prompt_sigma, output_median, output_sigma = SIZES[task]
        prompt = max(int(prompt_median * math.exp(rng.normal(0.0, prompt_sigma))), 8)
        output = max(int(output_median * math.exp(rng.normal(0.0, output_sigma))), 4)
        session, shared = "", 0
        if task != "summarization":
            going = live[task]
            if going and rng.random() < 1.0 - 1.0 / TURNS:
                session, shared = going.pop(int(rng.integers(len(going))))
                prompt = min(shared + prompt // 3, 60_000)
            else:
                sessions += 1
                session = f"s{sessions}"
            going.append((session, prompt + output))
            if len(going) > 12:
                going.pop(0)
        yield Asked(n, at, task, prompt, output, bool(rng.random() < 0.85), session, shared)
        n += 1
