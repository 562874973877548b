"""Laws of decisions over random registries, requests, health and limits, against an oracle that reads the constraints off the registry by itself."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import HealthCheck, Phase, event, given, note, settings
from hypothesis import strategies as st

from extproc.core.dialect import Need
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.prompt import Media, read
from extproc.core.usage import Price
from extproc.core.verdict import decide as judge
from extproc.dialects.catalog import DIALECTS
from extproc.registry.policy import SIGNALS, Policy, Require, Rule, Shape, SignalValue
from extproc.registry.types import Model, Registry, Target
from extproc.routing.decide import decide
from extproc.routing.decision import Decision, Request, World
from extproc.routing.health import LAST_RESORTS, Out
from extproc.routing.limits import Full
from extproc.routing.tokens import estimate, estimate_low, family_of
from tests.registry.strategies import PEOPLE, PROMISES, REGIONS, loaded
from tests.routing.asking import Stated, Table, world

NEEDS = sorted(v for k, v in vars(Need).items() if k.isupper())
CLIENTS = ("openai_chat", "anthropic_messages", "gemini", "openai_responses", "openai_embeddings")
ONLY_IN_ONES_OWN_FORMAT = {"choices", "file_id", "server_tools", "state"}
MAY_BE_LONG = {"vision", "documents", "audio", "video", "image_url", "document_url", "audio_url", "file_id", "state"}
TEXTS = ("", "Some words of which there are many. " * 60, "Some words of which there are many. " * 1500)
SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    # whole registries shrink too slowly to be worth the wait
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
Draw = st.DrawFn


@dataclass
class Case:
    """What decides besides the request. Made anew for each decision, so that none can change the next one's."""

    registry: Registry = field(repr=False)
    cooling: dict[str, Out]
    ejected: frozenset[str]
    active: frozenset[str] | None
    full: frozenset[str]
    ratios: dict[str, float]
    warm: dict[str, str]
    seed: int

    def world(self, snapshot: Registry) -> World:
        made = world(snapshot, self.seed)
        for n, (cluster, why) in enumerate(self.cooling.items()):
            made.health.cool_down(cluster, 5.0 + n, why)
        made.health.ejected, made.health.active = self.ejected, self.active
        assert isinstance(made.limits, Table)
        made.limits.clusters = {c: Full("requests_per_minute", "used up", 2.0) for c in self.full}
        for cluster, ratio in self.ratios.items():
            made.statistics._open(cluster).token_ratio = ratio
        for session, cluster in self.warm.items():
            made.affinities.served(session, cluster, 2000, made.now)
        return made


@st.composite
def cases(draw: Draw) -> Case:
    plain = draw(loaded())
    # prices with tiers, promises that no file of the strategy combines, and requirements that may leave nobody
    targets = {}
    for name, target in plain.targets.items():
        tiers = draw(st.sampled_from([(), ((1_000, Price(9.0, 20.0)),), ((10_000, Price(4.0, 1.0)), (20_000, Price(9.0, 20.0)))]))
        price = replace(target.price, tiers=tiers) if target.price is not None else None
        targets[name] = replace(target, price=price, capabilities={**target.capabilities, **draw(_capabilities)})
    models = {
        name: replace(model, require=draw(_requires), last_resort=draw(st.booleans())) if draw(st.booleans()) else model
        for name, model in plain.models.items()
    }
    registry = replace(plain, targets=targets, models=models)
    clusters = sorted(c for t in targets.values() for c in t.clusters)
    some = st.frozensets(st.sampled_from(clusters), max_size=len(clusters))
    few = st.just(frozenset[str]()) | some
    return Case(
        registry,
        draw(st.dictionaries(st.sampled_from(clusters), st.sampled_from([o for o in Out if o not in (Out.EJECTED, Out.INACTIVE)]))),
        draw(few),
        draw(st.none() | some),
        draw(few),
        draw(st.dictionaries(st.sampled_from(clusters), st.sampled_from([0.6, 1.8]))),
        {"s": draw(st.sampled_from(clusters))},
        draw(st.integers(0, 1000)),
    )


_capabilities = st.dictionaries(st.sampled_from(NEEDS), st.booleans(), max_size=2)
_requires = st.builds(
    Require,
    st.frozensets(st.sampled_from(REGIONS), max_size=2),
    st.frozensets(st.sampled_from(PROMISES), max_size=1),
    st.tuples(*[st.none() | st.sampled_from([0.0, 2.0, 9.0])] * 2),
)


def _signal(shape: Shape) -> st.SearchStrategy[SignalValue]:
    match shape:
        case Shape.NUMBER:
            return st.sampled_from([None, 0, 0.3, 1000, 5000])
        case Shape.FLAG:
            return st.sampled_from([None, True, False])
        case Shape.TIME:
            return st.sampled_from([0, 390, 1439])
        case Shape.WORDS:
            return st.sampled_from([frozenset({"text"}), frozenset({"text", "image"})])
    return st.sampled_from([None, "code_generation", "summarization", "en", "acme", "premium", "chat", "m0"])


@dataclass
class Asked:
    """A request, small enough to be shown where a law is broken."""

    text: int
    images: int
    needs: frozenset[str]
    client: str
    name: str
    who: dict[str, str]
    signals: dict[str, SignalValue]
    session: str

    def made(self) -> Request:
        text = TEXTS[self.text]
        prompt = read("openai_chat", {"messages": [{"role": "user", "content": text}]})
        prompt.media += [Media("image")] * (self.images if self.needs & MAY_BE_LONG else 0)
        signals = Stated(self.signals, prompt)
        return Request(DIALECTS[self.client], self.name, self.needs, max(len(text), 50), signals, self.who, self.session, {"x-desk": "7"})


_asks = st.builds(
    Asked,
    st.integers(0, len(TEXTS) - 1),
    st.integers(0, 20),
    st.frozensets(st.sampled_from(["tools", "vision"])) | st.frozensets(st.sampled_from(NEEDS), max_size=2),
    st.sampled_from(CLIENTS),
    st.sampled_from(["m0", "m1", "alias0", "family0-x", "w-one", "claude-sonnet-4-5"]),
    st.dictionaries(st.sampled_from(["tenant", "user"]), st.sampled_from([*PEOPLE, "stranger", ""])),
    st.fixed_dictionaries({name: _signal(shape) for name, (shape, _) in SIGNALS.items()}),
    st.sampled_from(["", "s", "t"]),
)


# the oracle


def first_rule(model: Model, asking: Request) -> Rule | None:
    return next((rule for rule in model.rules if rule.when.holds(asking.signals)), None)


def asked_for(model: Model, rule: Rule | None) -> list[str]:
    """Targets by name, without those that a rule leaves out."""
    listed = [name for rank in model.ranks for name, _ in rank.targets]
    if rule is not None and rule.only:
        return list(rule.only)
    return list(dict.fromkeys([*(rule.prefer if rule is not None else ()), *listed]))


def names(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def on_lists(access: Any, name: str) -> bool:
    if any(names(p, name) for p in access.deny):
        return False
    return access.allow is None or any(names(p, name) for p in access.allow)


def lacks(target: Target, asking: Request) -> bool:
    upstream = target.upstream(asking.client.operation, asking.client.name)
    if upstream is None or any(target.capabilities.get(need, True) is False for need in asking.needs):
        return True
    there = DIALECTS[upstream.dialect]
    words = there.carries | target.carries
    if there.name == asking.client.name:
        return any(need in asking.client.carries and need not in words for need in asking.needs) and there is not asking.client
    return any(need != "functions" and (need in ONLY_IN_ONES_OWN_FORMAT or need not in words) for need in asking.needs)


def denied(case: Case, target: Target, asking: Request) -> bool:
    tenant = case.registry.tenants.get(asking.who.get("tenant") or "*", case.registry.tenants.get("*"))
    return tenant is not None and not (on_lists(tenant.targets, target.name) and on_lists(tenant.providers, target.provider.name))


def unmet(case: Case, where: World, model: Model, target: Target, asking: Request) -> bool:
    """Residency, data policy and price, by everything that is required of anybody here."""
    tenant = case.registry.tenants.get(asking.who.get("tenant") or "*", case.registry.tenants.get("*"))
    price = where.facts(target, asking.asked)[1]
    for require in (model.require, tenant.require if tenant is not None else Require()):
        if require.data_stays_in:
            if not target.provider.data_stays_in:
                return True
            if any(region not in require.data_stays_in for region in target.provider.data_stays_in):
                return True
        if any(promise not in target.provider.data_policy for promise in require.data_policy):
            return True
        for n, most in enumerate(require.usd_per_million_tokens):
            if most is None:
                continue
            if price is None:
                return True
            costs = [(-1, price), *price.tiers]
            over = [start for start, tier in costs if (tier.input, tier.output)[n] > most]
            if over and not certainly_shorter(where, target, asking, min(over)):
                return True
    return False


def certainly_shorter(where: World, target: Target, asking: Request, start: int) -> bool:
    if start < 0 or "state" in asking.needs:
        return False
    if asking.size <= start and not asking.needs & MAY_BE_LONG:
        return True
    ratio = where.statistics.of(target.clusters[0]).token_ratio or 1.0
    return estimate(asking.signals.prompt, family_of(where.facts(target, asking.asked)[0].model)) * max(ratio, 1.0) * 1.25 <= start


def too_long(where: World, target: Target, asking: Request) -> bool:
    facts = where.facts(target, asking.asked)[0]
    window = facts.context_window
    if window is None or asking.size <= window or "state" in asking.needs:
        return False
    ratio = where.statistics.of(target.clusters[0]).token_ratio or 1.0
    return estimate_low(asking.signals.prompt, family_of(facts.model), ratio) > window


def may_ask(case: Case, model: Model, asking: Request) -> bool:
    tenant = case.registry.tenants.get(asking.who.get("tenant") or "*", case.registry.tenants.get("*"))
    if tenant is None:
        return True
    access = tenant.models
    if any(names(p, name) for p in access.deny for name in (model.name, asking.asked)):
        return False
    called = [model.name, asking.asked] if model.name.endswith("*") else [model.name]
    return access.allow is None or any(names(p, name) for p in access.allow for name in called)


def limited(case: Case, target: Target, cluster: str) -> bool:
    has = target.concurrency is not None or target.requests_per_minute is not None or target.tokens_per_minute is not None
    return has and cluster in case.full


def state_of(case: Case, where: World, target: Target, cluster: str) -> str:
    """free, held (may come back as a last resort) or away."""
    why = where.health.why(cluster)
    if limited(case, target, cluster):
        return "away"
    return "free" if why is None else "held" if why[0] in LAST_RESORTS else "away"


# the laws


@given(cases(), st.lists(_asks, min_size=4, max_size=8))
@SETTINGS
def test_decisions(case: Case, asked: list[Asked]) -> None:
    """The chain is all that is allowed, in its order, and nothing else, or the refusal is the right one; what is kept from one request to the next
    changes nothing; no verdict leads out of the chain."""
    note(str(case.registry))
    shared = replace(case.registry)
    for ask in [each.made() for each in asked * 2]:
        found = case.registry.resolve(ask.asked)
        model = found if found is not None else next(iter(case.registry.models.values()))
        decision = outcome(case, model, ask, replace(case.registry))
        check_allowed(case, model, ask, decision)
        again = outcome(case, model, ask, shared)
        if isinstance(decision, ApiError) or isinstance(again, ApiError):
            assert decision == again
        else:
            assert decision.said() == again.said()
            check_verdicts(case, decision)


def outcome(case: Case, model: Model, ask: Request, snapshot: Registry) -> Decision | ApiError:
    try:
        return decide(model, ask, case.world(snapshot))
    except ApiError as error:
        return error


def check_allowed(case: Case, model: Model, ask: Request, found: Decision | ApiError) -> None:
    where = case.world(case.registry)
    rule = first_rule(model, ask)
    targets = [case.registry.targets[name] for name in asked_for(model, rule)]
    hard = [t for t in targets if not (lacks(t, ask) or denied(case, t, ask) or unmet(case, where, model, t, ask) or too_long(where, t, ask))]
    taking = [t for t in hard if not t.drained]
    states = {c: state_of(case, where, t, c) for t in taking for c in t.clusters}
    free = {c for c, state in states.items() if state == "free"}
    held = {c for c, state in states.items() if state == "held"}
    if not may_ask(case, model, ask):
        assert isinstance(found, ApiError)
        assert found.kind is ErrorKind.PERMISSION
    elif "state" in ask.needs:
        check_state(case, where, taking, found, rule)
    elif isinstance(found, ApiError):
        event("refused")
        assert not free
        assert not (held and model.last_resort)
        check_refusal(found, where, targets, hard, ask, case)
    else:
        event("last resort" if found.last_resort else f"{found.policy}, {len(found.clusters)}")
        assert found.clusters
        assert len(found.clusters) == len(set(found.clusters))
        first, last = found.clusters[: len(free)], found.clusters[len(free) :]
        if free:
            # what is out for a passing trouble stands behind everything else, where the model allows it
            assert set(first) == free
            assert set(last) <= held
            assert not last or model.last_resort
        else:
            assert set(last) == held
        assert found.last_resort == (not free)
        assert free or model.last_resort
        check_order(case, model, rule, found)
        check_trace(case, model, rule, found)


def check_state(case: Case, where: World, targets: Sequence[Target], found: Decision | ApiError, rule: Rule | None) -> None:
    if rule is not None and rule.prefer:
        # the account does not change with preferences: the order is that of the file then
        targets = sorted(targets, key=lambda t: t.name in rule.prefer)
    clusters = {t.clusters[0] for t in targets}
    if isinstance(found, ApiError):
        assert not targets or any(case.active is not None and c not in case.active for c in clusters) or case.full & clusters
        return
    event("state")
    assert len(found.clusters) == 1
    assert found.clusters[0] in clusters
    target = case.registry.cluster_target(found.clusters[0])
    assert target is not None
    assert not limited(case, target, found.clusters[0])
    why = where.health.why(found.clusters[0])
    assert why is None or why[0] is not Out.INACTIVE


def check_refusal(error: ApiError, where: World, targets: list[Target], hard: list[Target], ask: Request, case: Case) -> None:
    for target in targets[:12]:
        assert target.name in error.message
    outs = [where.health.why(c) for t in hard if not t.drained for c in t.clusters]
    if hard:
        assert error.kind in (ErrorKind.RATE_LIMITED, ErrorKind.UNAVAILABLE)
        if outs and all(out is not None and out[0] is Out.LIMITED for out in outs) and not case.full:
            assert error.kind is ErrorKind.RATE_LIMITED
            assert error.retry_after == min(out[1] for out in outs if out is not None)
    elif all(not lacks(t, ask) and denied(case, t, ask) for t in targets):
        assert error.kind is ErrorKind.PERMISSION
    else:
        assert error.kind in (ErrorKind.UNPROCESSABLE, ErrorKind.CONTEXT_LENGTH)
        assert (error.kind is ErrorKind.UNPROCESSABLE) or any(too_long(where, t, ask) for t in targets)


def check_order(case: Case, model: Model, rule: Rule | None, found: Decision) -> None:
    def of(cluster: str) -> Target:
        target = case.registry.cluster_target(cluster)
        assert target is not None
        return target

    served = [of(c).name for c in found.clusters]
    # behind them, and behind their second keys, stands what is out
    firsts = list(dict.fromkeys(served))[: len(found.ranked)]
    assert served[: len(firsts)] == firsts, "a second key stands before a first one"
    assert firsts == [r.candidate.target.name for r in found.ranked]
    preferred = [name in rule.prefer for name in firsts] if rule is not None else [False] * len(firsts)
    assert preferred == sorted(preferred, reverse=True)
    rank_by = rule.rank_by if rule is not None and rule.rank_by is not None else model.rank_by
    assert found.policy == rank_by.policy.value
    if rank_by.policy is Policy.ORDER and not found.stayed:
        place = {name: n for n, rank in enumerate(model.ranks) for name, _ in rank.targets}
        named = (rule.prefer or rule.only) if rule is not None else ()
        order = [named.index(name) if name in named else len(named) + place[name] for name in firsts]
        assert order == sorted(order)
    assert not (found.explored and rank_by.policy not in (Policy.LATENCY, Policy.SCORE))
    assert bool(found.observed) == (model.observe is not None)
    assert found.observed in ("", *found.clusters)


def check_trace(case: Case, model: Model, rule: Rule | None, found: Decision) -> None:
    listed = {name for rank in model.ranks for name, _ in rank.targets} | {*(rule.prefer + rule.only if rule is not None else ())}
    clusters = {c for name in listed for c in case.registry.targets[name].clusters}
    left_out = [e.cluster for e in found.excluded]
    assert len(left_out) == len(set(left_out))
    assert {*found.clusters, *left_out} == clusters, "somebody is lost"
    ranked = {c for r in found.ranked for c in r.candidate.clusters}
    assert found.last_resort or not ranked & set(left_out)


def check_verdicts(case: Case, decision: Decision) -> None:
    """Whatever goes wrong, attempt after attempt."""
    draws = random.Random(case.seed)
    for _ in range(5):
        made: list[str] = []
        standing = list(decision.clusters)
        while standing and len(made) < 10:
            here = standing.pop(0)
            made.append(here)
            target = case.registry.cluster_target(here)
            verdict = judge(
                ApiError(draws.choice(list(ErrorKind)), "", retry_after=draws.choice([None, 0.0, 1.0, 60.0])),
                made=made,
                standing=standing,
                total=10,
                same=draws.randrange(3),
                wait=5.0,
                siblings=lambda c, here=here, target=target: c != here and case.registry.cluster_target(c) is target,  # type: ignore[misc]
                larger=lambda c, target=target: case.registry.cluster_target(c) is not target,  # type: ignore[misc]
            )
            if not verdict.retry:
                break
            standing = list(verdict.successors) if verdict.successors is not None else standing
            assert set(standing) <= set(decision.clusters)
