"""A small world for policies: targets whose measurements and prices a test states, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from extproc.core.operation import Operation
from extproc.core.usage import Price
from extproc.dialects.catalog import DIALECTS
from extproc.registry.policy import RankBy, SignalValue
from extproc.registry.types import Model
from extproc.routing.affinity import Affinities
from extproc.routing.decision import Candidate, Ranked, Request, World
from extproc.routing.policies import Rank
from extproc.routing.statistics import Measured, Statistics
from tests.stages.world import registry, target

NOW = 1000.0


@dataclass
class Place:
    """One target: what was measured of it, what it costs, what the registry says of it."""

    name: str
    price: Price | None = None
    quality: float | None = None
    concurrency: int | None = None
    keys: tuple[str, ...] = ("",)
    measured: dict[str, float] = field(default_factory=dict)


@dataclass
class Said:
    """Signals that a test states, and which of them were asked for."""

    values: Mapping[str, SignalValue]
    asked: list[str] = field(default_factory=list)

    def get(self, name: str) -> SignalValue:
        self.asked.append(name)
        return self.values.get(name)


def place(
    name: str,
    price: Price | None = None,
    quality: float | None = None,
    concurrency: int | None = None,
    keys: tuple[str, ...] = ("",),
    **measured: Any,
) -> Place:
    return Place(name, price, quality, concurrency, keys, measured)


@dataclass
class Scene:
    """Places in the order of the file. `others` are targets of the model that are no candidates."""

    places: list[Place]
    signals: Mapping[str, SignalValue] = field(default_factory=lambda: {"prompt_tokens": 1000.0})
    others: list[Place] = field(default_factory=list)
    session: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    random: Any = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        every = self.places + self.others
        targets = [replace(target(p.name, keys=p.keys), price=p.price, quality=p.quality, concurrency=p.concurrency) for p in every]
        self.registry = registry(*targets)
        self.model: Model = replace(self.registry.models["chat"], **self.settings)
        statistics = Statistics()
        for p, t in zip(every, targets, strict=True):
            for cluster in t.clusters:
                statistics._by_cluster[cluster] = measured(**p.measured)
        self.candidates = []
        for i, t in enumerate(targets[: len(self.places)]):
            upstream = t.upstream(Operation.CHAT, "openai_chat")
            assert upstream is not None
            self.candidates.append(Candidate(t, upstream, list(t.clusters), i))
        self.said = Said(self.signals)
        self.request = Request(DIALECTS["openai_chat"], "chat", frozenset(), 4000, signals=cast("Any", self.said), session=self.session)
        unused: Any = None
        self.world = World(
            registry=self.registry,
            dialects=DIALECTS,
            facts=lambda target, _: (target.facts, target.price),
            health=unused,
            statistics=statistics,
            limits=unused,
            bandit=unused,
            affinities=Affinities(),
            random=self.random,
            now=NOW,
            wall=0.0,
        )

    def rank(self, by: Rank, rank_by: RankBy | None = None) -> list[Ranked]:
        return by(self.candidates, self.model, self.request, self.world, rank_by or RankBy())

    def names(self, by: Rank, rank_by: RankBy | None = None) -> list[str]:
        return [r.candidate.target.name for r in self.rank(by, rank_by)]


def measured(**values: float) -> Measured:
    """Measurements count as from many requests unless a test says how many."""
    found = Measured()
    if values and "requests" not in values and set(values) - {"in_flight"}:
        found.requests = 100.0
    for name, value in values.items():
        setattr(found, name, value)
    return found
