"""Our own policies, with the real code behind them: `routing.decide`, statistics, health, affinity, bandit, over real registry snapshots."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from extproc.core.dialect import Facts
from extproc.core.prompt import Prompt
from extproc.dialects.catalog import DIALECTS
from extproc.providers.kinds import KINDS
from extproc.registry.policy import Affinity, RankBy, SignalValue
from extproc.registry.types import Commit, Credential, Model, Provider, Rank, Registry, Target
from extproc.routing.affinity import Affinities, left_in_cache
from extproc.routing.bandit import Bandit
from extproc.routing.decide import decide
from extproc.routing.decision import Request, World
from extproc.routing.health import Health
from extproc.routing.limits import Limits
from extproc.routing.reward import reward
from extproc.routing.statistics import OK, Sample, Statistics
from extproc.stages.services import own_facts
from tests.days.scenario import OBJECTIVES, Asked, Day
from tests.days.simulation import ATTEMPTS, TIMEOUTS, Clock
from tests.days.truth import Targets

CLIENT = DIALECTS["openai_chat"]
MODEL = "chat"


@dataclass(frozen=True, slots=True)
class Ours:
    """How a registry's model is set. `weights`: one rank with these; () is one rank per target."""

    rank_by: RankBy
    weights: tuple[float, ...] = ()
    affinity: Affinity | None = None

    def __call__(self, day: Day, targets: Targets, health: Health, clock: Clock) -> Sidecar:
        return Sidecar(self, day, targets, health, clock)


class Told:
    """The signals of a simulated request, which has no body to read them from."""

    def __init__(self, asked: Asked) -> None:
        self._values: dict[str, SignalValue] = {
            "task": asked.task,
            "prompt_tokens": asked.prompt,
            "stream": asked.stream,
            "tools": False,
        }

    def get(self, name: str) -> SignalValue:
        return self._values.get(name)

    @property
    def prompt(self) -> Prompt:
        return Prompt()


class Sidecar:
    """A router."""

    def __init__(self, ours: Ours, day: Day, targets: Targets, health: Health, clock: Clock) -> None:
        self.contexts: dict[int, str] = {}
        self.snapshots = [(start, registry(ours, day, targets, start)) for start in sorted({0.0, *_changes(day)}, reverse=True)]
        self.world = World(
            registry=self.snapshots[-1][1],
            dialects=DIALECTS,
            facts=own_facts,
            health=health,
            statistics=Statistics(),
            limits=Limits(),
            bandit=Bandit(),
            affinities=Affinities(),
            random=random.Random(day.seed),
            now=0.0,
            wall=0.0,
        )

    def route(self, asked: Asked, now: float) -> list[str]:
        world = self.world
        world.now = world.wall = now
        world.registry = next(registry for start, registry in self.snapshots if start <= now)
        request = Request(CLIENT, MODEL, frozenset(), asked.prompt * 4, Told(asked), session=asked.session)
        decision = decide(world.registry.models[MODEL], request, world)
        self.contexts[asked.n] = decision.context
        return decision.clusters

    def began(self, cluster: str) -> None:
        self.world.statistics.began(cluster)

    def ended(self, asked: Asked, sample: Sample, now: float) -> None:
        world = self.world
        world.statistics.ended(sample.cluster)
        world.statistics.record(sample, now)
        model = world.registry.models[MODEL]
        context = self.contexts[asked.n]
        worth = reward(sample, model.objectives) if context else None
        if worth is not None:
            world.bandit.learn(context, sample.cluster, worth, now)
        if sample.outcome == OK and sample.usage is not None:
            price = world.registry.targets[sample.cluster].price
            world.affinities.served(asked.session, sample.cluster, left_in_cache(sample.usage, price), now)


def registry(ours: Ours, day: Day, targets: Targets, at: float) -> Registry:
    """The snapshot in force from `at` on."""
    provider = Provider("simulated", KINDS["openai"], "http", "simulated.test", 80, "/v1", (Credential(),))
    found = {}
    for offer in day.offers:
        facts = Facts(offer.name, KINDS["openai"].vendor, 4096, None)
        found[offer.name] = Target(
            offer.name, replace(provider, name=f"p-{offer.name}"), offer.name, facts, price=targets.price(offer.name, at), quality=offer.quality
        )
    if ours.weights:
        ranks: tuple[Rank, ...] = (Rank(tuple(zip(found, ours.weights, strict=True))),)
    else:
        ranks = tuple(Rank(((name, 1.0),)) for name in found)
    model = Model(
        MODEL, (), ranks, TIMEOUTS, ATTEMPTS, Commit.FIRST_TOKEN, False, rank_by=ours.rank_by, objectives=OBJECTIVES, affinity=ours.affinity
    )
    return Registry({t.provider.name: t.provider for t in found.values()}, found, {MODEL: model}, f"at{at:.0f}", "registry.yaml")


def _changes(day: Day) -> list[float]:
    """When a price changes."""
    return [at for event in day.events if event.dear != 1.0 for at in (event.start, event.end)]
