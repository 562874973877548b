"""Routing decisions alone, in this process: a model with 10 targets and 10 rules in registries of 10, 1,000 and 10,000 models, for each policy.

`warm` asks for one model again and again; `mixed` for all models in turn, each with statistics of its own; `cold` decides on a snapshot that nobody
has asked before, as after a change of the registry. The first nine rules hold for no request, so each request looks at all ten. Signals are given,
not computed: what they cost depends on the body.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from extproc.core.dialect import Facts
from extproc.core.prompt import Prompt
from extproc.core.usage import Price
from extproc.dialects.catalog import DIALECTS
from extproc.providers.kinds import KINDS
from extproc.registry.policy import All, Is, Not, Policy, RankBy, Rule, SignalValue, Within
from extproc.registry.types import Attempts, Commit, Credential, Model, Provider, Rank, Registry, Target, Timeouts
from extproc.routing.affinity import Affinities
from extproc.routing.bandit import Bandit
from extproc.routing.decide import decide
from extproc.routing.decision import Request, World
from extproc.routing.health import Health
from extproc.routing.limits import Limits
from extproc.routing.policies.bandit import context_for
from extproc.routing.statistics import Measured, Statistics
from extproc.stages.services import own_facts
from tests.bench.report import table

TARGETS = 10
SIZES = (10, 1_000, 10_000)
LIMITS = {"order": 25, "weights": 25, "weights, sticky": 25, "cost": 80, "latency": 80, "score": 80, "bandit": 80}
"""µs, warm."""
_SCORED = RankBy(Policy.SCORE, (("latency", 2.0), ("cost", 1.0), ("reliability", 1.0), ("quality", 1.0), ("load", 1.0)))
_RUN = 1000
_CLIENT = DIALECTS["openai_chat"]


@dataclass
class Given:
    """Signals that somebody has worked out already."""

    values: dict[str, SignalValue]
    prompt: Prompt = field(default_factory=Prompt)

    def get(self, name: str) -> SignalValue:
        return self.values[name]


SIGNALS = Given(
    {
        "prompt_tokens": 812,
        "max_output_tokens": 1000,
        "tools": False,
        "task": "chat",
        "tier": "standard",
        "tenant": "acme",
        "modalities": frozenset({"text"}),
        "language": "en",
        "time": 600,
        "stream": True,
        "complexity": 0.3,
    }
)


def rules() -> tuple[Rule, ...]:
    """Ten as people write them; only the last holds, and it changes nothing."""
    return (
        Rule("short", All((Within("prompt_tokens", 0, 50), Is("tools", frozenset({False}))))),
        Rule("code", Is("task", frozenset({"code_generation"}))),
        Rule("digest", Is("task", frozenset({"summarization", "extraction"}))),
        Rule("premium", Is("tier", frozenset({"premium"}))),
        Rule("pictures", Is("modalities", frozenset({"image", "video"}))),
        Rule("german", Is("language", frozenset({"de"}))),
        Rule("night", Within("time", 1320, 360, wraps=True)),
        Rule("hard", All((Within("complexity", 0.8, 2.0), Is("task", frozenset({"chat"}))))),
        Rule("batch", Not(Is("stream", frozenset({True})))),
        Rule("others", Is("tenant", frozenset(), ("ac",))),
    )


def registry(models: int, of: Callable[[str, Sequence[str]], Model]) -> Registry:
    """`models` models, each with ten targets of its own at twenty providers."""
    providers = {f"p{n}": Provider(f"p{n}", KINDS["openai"], "https", f"p{n}.test", 443, "/v1", (Credential("", env="KEY"),)) for n in range(20)}
    pool, targets, found = list(providers.values()), {}, {}
    for m in range(models):
        names = [f"m{m}-t{n}" for n in range(TARGETS)]
        for n, name in enumerate(names):
            facts = Facts("gpt-4o", "openai", 4096, 128_000)
            targets[name] = Target(name, pool[(m + n) % 20], "gpt-4o", facts, price=Price(1.0 + n, 4.0 + n, 0.5 + n), quality=0.5 + n / 25)
        found[f"m{m}"] = of(f"m{m}", names)
    return Registry(providers, targets, found, "bench", "registry.yaml")


def ranked_by(rank_by: RankBy, *, together: bool = False, sticky: str = "") -> Callable[[str, Sequence[str]], Model]:
    """A model of ten ranks, or of one rank with ten weights."""

    def of(name: str, targets: Sequence[str]) -> Model:
        ranks = (Rank(tuple((t, 1.0 + n) for n, t in enumerate(targets))),) if together else tuple(Rank(((t, 1.0),)) for t in targets)
        return Model(name, (), ranks, Timeouts(), Attempts(), Commit.FIRST_TOKEN, strict=False, rank_by=rank_by, rules=rules(), sticky_by=sticky)

    return of


POLICIES: dict[str, Callable[[str, Sequence[str]], Model]] = {
    "order": ranked_by(RankBy()),
    "weights": ranked_by(RankBy(), together=True),
    "weights, sticky": ranked_by(RankBy(), together=True, sticky="user"),
    "cost": ranked_by(RankBy(Policy.COST)),
    "latency": ranked_by(RankBy(Policy.LATENCY)),
    "score": ranked_by(_SCORED),
    "bandit": ranked_by(RankBy(Policy.BANDIT)),
}


def world_of(snapshot: Registry) -> World:
    """Everything measured and healthy."""
    draws = random.Random(1)
    measures = Statistics()
    for cluster in snapshot.targets:
        measured = Measured()
        measured.requests, measured.failures, measured.in_flight = 50.0, draws.random(), draws.randrange(8)
        measured.first_token, measured.per_token, measured.seconds = 0.2 + draws.random(), 0.01 + draws.random() / 50, 2.0 + draws.random()
        measured.cached_share, measured.output_tokens, measured.token_ratio, measured.usd = draws.random(), 200.0, 1.0, 0.01
        measures._by_cluster[cluster] = measured  # what many samples would have come to
    return World(
        registry=snapshot,
        dialects=DIALECTS,
        facts=own_facts,
        health=Health(time.monotonic),
        statistics=measures,
        limits=Limits(),
        bandit=Bandit(),
        affinities=Affinities(),
        random=draws,
        now=1000.0,
        wall=1_750_000_000.0,
    )


def request(asked: str) -> Request:
    return Request(_CLIENT, asked, frozenset({"tools"}), 3200, SIGNALS, {"tenant": "acme", "tier": "standard", "user": "u1"}, headers={})


def cpu(work: Callable[[], object], seconds: float) -> float:
    """µs of CPU, the median over runs of a thousand: the clock of a virtual machine's processor is not exact for shorter ones."""
    runs: list[float] = []
    end = time.perf_counter() + seconds
    while len(runs) < 3 or time.perf_counter() < end:
        began = time.process_time()
        for _ in range(_RUN):
            work()
        runs.append((time.process_time() - began) / _RUN * 1e6)
    return statistics.median(runs)


def figures(of: Callable[[str, Sequence[str]], Model], models: int, seconds: float) -> tuple[float, float, float]:
    """(warm, mixed, cold) in µs of CPU per decision."""
    snapshot = registry(models, of)
    world = world_of(snapshot)
    known = list(snapshot.models.values())
    asks = [(model, request(model.name)) for model in known]
    if known[0].rank_by.policy is Policy.BANDIT:
        for model, ask in asks:
            for n in range(3 * TARGETS):
                world.bandit.learn(context_for(model, ask), f"{model.name}-t{n % TARGETS}", 0.5 + n / 100, 990.0)
    model, ask = asks[0]
    warm = cpu(lambda: decide(model, ask, world), seconds)
    for each, its in asks:
        decide(each, its, world)
    turns = cycle(asks)
    mixed = cpu(lambda: decide(*next(turns), world), seconds)

    def cold() -> None:
        snapshot.memo.clear()
        decide(model, ask, world)

    return warm, mixed, cpu(cold, seconds)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=0.3, metavar="S", help="per figure (default: %(default)s)")
    parser.add_argument("--policy", choices=list(POLICIES), action="append", help="only these")


def run(args: argparse.Namespace) -> dict[str, Any]:
    # the server collects cycles far more rarely than the interpreter would by itself, and decisions make none
    gc.disable()
    found: dict[str, dict[str, float]] = {}
    for name in args.policy or POLICIES:
        row = found[name] = {}
        for models in SIZES:
            warm, mixed, cold = figures(POLICIES[name], models, args.seconds)
            row |= {f"{models} warm": warm, f"{models} mixed": mixed, f"{models} cold": cold}
    head = [f"{models} {how}" for models in SIZES for how in ("warm", "mixed", "cold")]
    table(["µs per decision", *head], [[name, *(row[what] for what in head)] for name, row in found.items()])
    for name, row in found.items():
        late = [f"{what} {row[what]:.1f}" for what in head if what.endswith("warm") and row[what] > LIMITS[name]]
        print(f"{name}: {LIMITS[name]} µs " + (f"is missed: {', '.join(late)}" if late else "holds"), flush=True)
    return {"figures": found}
