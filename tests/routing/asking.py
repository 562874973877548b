"""A registry, a world and a request for decisions, with nothing behind them: signals are stated, limits are a table, time stands still."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from extproc.core.dialect import Facts
from extproc.core.prompt import Prompt, read
from extproc.core.usage import Price
from extproc.dialects.catalog import DIALECTS
from extproc.providers.kinds import KINDS
from extproc.registry.policy import Is, Rule, SignalValue, Tenant
from extproc.registry.types import Attempts, Commit, Credential, Model, Provider, Rank, Registry, Target, Timeouts
from extproc.routing.affinity import Affinities
from extproc.routing.bandit import Bandit
from extproc.routing.decide import decide
from extproc.routing.decision import Decision, Request, World
from extproc.routing.health import Health
from extproc.routing.limits import Full, Limits
from extproc.routing.statistics import Statistics
from extproc.stages.services import own_facts
from tests.stages.world import Clock

MODEL_OF = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash"}


@dataclass
class Stated:
    """Signals as a test states them."""

    values: Mapping[str, SignalValue] = field(default_factory=dict)
    prompt: Prompt = field(default_factory=Prompt)

    def get(self, name: str) -> SignalValue:
        return self.values.get(name)


class Table(Limits):
    """Clusters that are full."""

    def __init__(self) -> None:
        super().__init__()
        self.clusters: dict[str, Full] = {}

    def full(self, target: Target, cluster: str, in_flight: int, tokens: float, wall: float) -> Full | None:
        return self.clusters.get(cluster)


def provider(name: str, kind: str = "openai", keys: tuple[str, ...] = ("",), stays: Iterable[str] = (), policy: Iterable[str] = ()) -> Provider:
    credentials = tuple(Credential(k, env="KEY") for k in keys)
    return Provider(name, KINDS[kind], "https", f"{name}.test", 443, "/v1", credentials, frozenset(stays), frozenset(policy))


def target(
    name: str,
    of: Provider | None = None,
    *,
    window: int | None = None,
    price: Price | None = None,
    capabilities: Mapping[str, bool] | None = None,
    model: str = "",
    **fields: Any,
) -> Target:
    """At a provider of its own, `p-` and its name, unless `of` is given."""
    at = of or provider(f"p-{name}")
    named = model or MODEL_OF[at.kind.name]
    facts = Facts("" if named == "*" else named, at.kind.vendor, 4096, window)
    return Target(name, at, named, facts, dict(capabilities or {}), price, **fields)


def model(*ranks: Any, name: str = "chat", **fields: Any) -> Model:
    """A rank is the name of a target or {name: weight}."""
    found = tuple(Rank(tuple(r.items()) if isinstance(r, dict) else ((r, 1.0),)) for r in ranks)
    return Model(name, (), found, Timeouts(), Attempts(), Commit.FIRST_TOKEN, strict=False, **fields)


def registry(targets: Iterable[Target], models: Iterable[Model], tenants: Iterable[Tenant] = ()) -> Registry:
    found = {t.name: t for t in targets}
    return Registry(
        {t.provider.name: t.provider for t in found.values()},
        found,
        {m.name: m for m in models},
        "d1",
        "registry.yaml",
        tenants={t.name: t for t in tenants},
    )


def world(snapshot: Registry, seed: int = 1) -> World:
    clock = Clock()
    return World(
        registry=snapshot,
        dialects=DIALECTS,
        facts=own_facts,
        health=Health(clock),
        statistics=Statistics(),
        limits=Table(),
        bandit=Bandit(),
        affinities=Affinities(),
        random=random.Random(seed),
        now=clock(),
        wall=1_750_000_000.0,
    )


def request(
    *needs: str,
    client: str = "openai_chat",
    asked: str = "chat",
    size: int = 100,
    text: str = "",
    who: Mapping[str, str] | None = None,
    session: str = "",
    headers: Mapping[str, str] | None = None,
    **signals: SignalValue,
) -> Request:
    """`text` is what the prompt holds, and then the body's size."""
    prompt = read("openai_chat", {"messages": [{"role": "user", "content": text}]}) if text else Prompt()
    return Request(
        DIALECTS[client],
        asked,
        frozenset(needs),
        len(text) or size,
        Stated(signals, prompt),
        who or {},
        session,
        headers or {},
    )


ALWAYS = Is("task", frozenset({"yes"}))
"""Holds for requests with task="yes"."""


def rule(name: str = "r", **fields: Any) -> Rule:
    return Rule(name, ALWAYS, **fields)


def scene(targets: Iterable[Target], *ranks: Any, tenants: Iterable[Tenant] = (), seed: int = 1, **fields: Any) -> World:
    """One model `chat`; without `ranks` each target is one."""
    listed = list(targets)
    return world(registry(listed, [model(*(ranks or [t.name for t in listed]), **fields)], tenants), seed)


def decided(where: World, asking: Request | None = None, **fields: Any) -> Decision:
    """The decision on `asking` for the model `chat`, some fields of which may be changed."""
    chat = where.registry.models["chat"]
    return decide(replace(chat, **fields) if fields else chat, asking or request(), where)


def codes(decision: Decision) -> list[tuple[str, str]]:
    return [(e.cluster, e.code) for e in decision.excluded]
