"""Everything that a stage is handed instead of reaching for it: the registry in force, clocks, randomness, identities, health, spans."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from weakref import WeakValueDictionary

from extproc.core.dialect import Dialect, Facts
from extproc.core.plan import AttemptNote
from extproc.core.usage import Price
from extproc.registry.types import Registry, Target
from extproc.routing.affinity import Affinities
from extproc.routing.bandit import Bandit
from extproc.routing.decision import Decision, Random
from extproc.routing.health import Health
from extproc.routing.limits import Limits
from extproc.routing.statistics import Statistics
from extproc.telemetry.record import RequestRecord


class Snapshots:
    """The registry in force, the last few before it, and all that requests of this process still use: a request ends with the registry it began
    with, however often that has changed since."""

    KEPT = 8

    def __init__(self, registry: Registry) -> None:
        self.current = registry
        self._known = {registry.digest: registry}
        self._used = WeakValueDictionary({registry.digest: registry})

    def learn(self, registry: Registry) -> None:
        """Know `registry` for attempts of requests that another process has already routed with it."""
        self._known.pop(registry.digest, None)
        self._known[registry.digest] = self._used[registry.digest] = registry
        while len(self._known) > self.KEPT:
            del self._known[next(iter(self._known))]

    def swap(self, registry: Registry) -> None:
        """Make `registry` the one that new requests use."""
        self.learn(registry)
        self.current = registry

    def get(self, digest: str) -> Registry:
        """The registry of a plan; the current one if this process never saw it or has forgotten it."""
        return self._known.get(digest) or self._used.get(digest) or self.current

    def at(self, name: str, endpoint: str) -> Iterator[Target]:
        """The definitions of the target `name` by which it lies at `endpoint`, the newest first."""
        for registry in reversed(tuple(self._known.values())):
            target = registry.targets.get(name)
            if target is not None and target.provider.endpoint == endpoint:
                yield target


class SpanStarter(Protocol):
    """Starts the span of a request. Returns (a handle for the edge, its context as `traceparent` or ""). The handle is None or has
    `wants_content`: should the conversation be kept for it?"""

    def __call__(self, headers: Mapping[str, str], model: str, stream: bool, first: Target | None, operation: str) -> tuple[Any, str]:
        """`first` is the chain's first target; None for a request that is refused before there is one. `operation` is a `core.operation` value, or
        "" where none could be told."""
        ...


def no_span(headers: Mapping[str, str], model: str, stream: bool, first: Target | None, operation: str) -> tuple[Any, str]:  # noqa: ARG001
    """Tracing is off."""
    return None, ""


def own_facts(target: Target, asked: str) -> tuple[Facts, Price | None]:
    """Facts and price of a target; one of model "*" takes the client's model name, and nothing more is known of it."""
    return (target.facts, target.price) if target.model != "*" else (replace(target.facts, model=asked), target.price)


@dataclass(slots=True)
class Options:
    """What an operator sets for the whole server. `max_body` in bytes; `expose`: send x-llm-target and x-llm-attempts to clients.

    `expose_losses`: send x-llm-losses, too: what the translation of the request lost, and of an answer that goes out whole also what that lost. The
    headers of a stream are gone before its answer is known; span and log line have it all. `show_alias`: answers name the model as the client did,
    not as the provider does.
    """

    max_body: int = 64 << 20
    expose: bool = True
    expose_losses: bool = False
    show_alias: bool = False


@dataclass(slots=True)
class UnderWay:
    """A request that this process routed, for attempts that happen to run here too: they need not parse the body again, and the route stage sees
    them before the answer does. Only ever a shortcut: an attempt in another process works without it.

    `body` is the parsed client body, shared and never changed; None once an answer has begun. `notes` are the attempts seen so far. `counted` is
    the cluster where it counts as under way, empty for nowhere: whoever takes it out counts it down, in whatever thread. `over`: the request has
    ended. `probes` is the cluster that it probes ("" none). `session` is what affinity goes by, `estimated` the tokens of its prompt as `family`
    counts them, uncorrected (0: nobody estimated).
    """

    body: Any
    notes: dict[int, AttemptNote] = field(default_factory=dict)
    counted: list[str] = field(default_factory=list)
    over: bool = False
    probes: str = ""
    session: str = ""
    estimated: float = 0.0
    family: str = ""


@dataclass(slots=True)
class Decided:
    """One decision as it is kept for whoever asks why: the decision, and the request's books, which fill up until it ends."""

    decision: Decision
    record: RequestRecord
    wall: float

    def said(self) -> dict[str, Any]:
        """As JSON. `outcome` is absent while the request is under way."""
        record = self.record
        ended = {"outcome": record.outcome.value, "status": record.status, "target": record.target} if record.ended_ns else {}
        return {"at": self.wall, "request_id": record.request_id, "asked": record.model, **ended, **self.decision.said()}


DECISIONS_KEPT = 256


@dataclass(slots=True)
class Services:
    """`monotonic` seconds for durations, `wall` Unix seconds for what other processes read, `new_id` 24 alphanumerics.

    `facts(target, asked)` are those of the model that `target` serves when a client asks for `asked`. `decisions` are the last ones, the newest
    last."""

    snapshots: Snapshots
    dialects: Mapping[str, Dialect]
    health: Health
    monotonic: Callable[[], float]
    wall: Callable[[], float]
    random: Random
    new_id: Callable[[], str]
    start_span: SpanStarter = no_span
    facts: Callable[[Target, str], tuple[Facts, Price | None]] = own_facts
    options: Options = field(default_factory=Options)
    under_way: dict[str, UnderWay] = field(default_factory=dict)
    statistics: Statistics = field(default_factory=Statistics)
    limits: Limits = field(default_factory=Limits)
    bandit: Bandit = field(default_factory=Bandit)
    affinities: Affinities = field(default_factory=Affinities)
    decisions: deque[Decided] = field(default_factory=lambda: deque(maxlen=DECISIONS_KEPT))
