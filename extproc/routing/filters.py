"""Which targets may serve a request, and why the others may not. Hard constraints, which fail closed: what is unknown is not allowed, and a
cluster that one of them removed is in no chain, so no fallback and no verdict can bring it back.

Two steps. What follows from the registry alone (`allowed`: formats, capabilities, residency, lists, prices) is the same for every request of a
kind and worked out once for each snapshot. What follows from this request's length and from the moment (`usable`: context windows, limits,
health) is looked at every time, as cheaply as can be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from extproc.core.dialect import Need
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.usage import Price
from extproc.registry.policy import Require, Rule, Tenant, matches
from extproc.registry.types import Model, Registry, Target
from extproc.routing.capabilities import lacking
from extproc.routing.decision import COPY, Candidate, Excluded, Request, World
from extproc.routing.health import LAST_RESORTS, Out
from extproc.routing.tokens import estimate, estimate_low, family_of

CODES: dict[str, str] = {
    "lacks:NEED": "its format or its model cannot carry what the request needs (a `Need`, or the whole operation)",
    "rule": "the rule that holds allows only others",
    "tenant_targets": "the tenant's lists leave the target out",
    "tenant_providers": "the tenant's lists leave its provider out",
    "residency": "its provider keeps data elsewhere than is required, or does not say where",
    "data_policy": "its provider does not promise what is required",
    "price_ceiling": "it costs more than is allowed, or its price is unknown",
    "context_window": "the prompt is longer than its context window",
    "other_account": "what the request goes on from lies in one account, and that is not this one",
    "drained": "it takes no new requests",
    "inactive": "Envoy does not report its cluster yet",
    "ejected": "Envoy's outlier detection ejected it",
    "key_refused": "it cools down: the provider refused its key or configuration",
    "asked": "it cools down: its provider asked to wait",
    "failing": "it cools down: it failed several times in a row",
    "limited": "it cools down: its provider's rate limit was reached",
    "spent": "its provider's rate limit is used up, by the provider's own count",
    "concurrency": "as many requests as the registry allows it are under way",
    "requests_per_minute": "it has had the requests per minute that the registry allows it",
    "tokens_per_minute": "it has had the tokens per minute that the registry allows it",
}
"""Every `Excluded.code` with its meaning. Those of health are the names of `health.Out` in lower case."""

_MEDIA = frozenset({Need.VISION, Need.DOCUMENTS, Need.AUDIO, Need.VIDEO, Need.IMAGE_URL, Need.DOCUMENT_URL, Need.AUDIO_URL, Need.FILE_ID, Need.STATE})
"""With these a prompt may have more tokens than its body has bytes."""
_DEAR = 1.25
"""How far an estimate may be off before a prompt is taken to reach a price above the ceiling."""
_ENTRIES = 4096
_UNKNOWN = float("inf")


@dataclass(slots=True)
class Fit:
    """How long a prompt a target takes, in tokens: `window` its context window, `reach` up to where its price is under the ceiling; both infinite
    where nothing bounds them. `model` is the one that is served, `drained` the target's own word."""

    candidate: Candidate
    window: float
    reach: float
    model: str
    drained: bool


@dataclass(slots=True)
class Allowed:
    """What the registry alone lets through: `candidates` in the order of the file, preferred ones first, which are `preferred` many.

    `fits` are theirs, and those of drained targets that nothing else keeps out; `tightest` is the least of their numbers. `tiered`: is there a price
    that goes over the ceiling? `by_name`: does it depend on the client's name for the model? `model` is the very object that this was worked
    out for.
    """

    model: Model
    candidates: list[Candidate]
    excluded: list[Excluded]
    fits: list[Fit]
    tightest: float
    preferred: int
    tiered: bool
    by_name: bool


@dataclass(slots=True)
class Usable:
    """What may be used now, with the reasons of what may not. `pools`: has a candidate more than one key? `held` are candidates that only a
    passing trouble keeps out, for the last resort."""

    candidates: list[Candidate]
    excluded: list[Excluded]
    held: list[Candidate]
    pools: bool


def tenant_of(who: Mapping[str, str], registry: Registry) -> Tenant | None:
    """The entry that holds for whoever asks."""
    tenants = registry.tenants
    if not tenants:
        return None
    return tenants.get(who.get("tenant", "")) or tenants.get("*")


def permits(tenant: Tenant, model: Model, asked: str) -> bool:
    """May the tenant ask for `model`, which the client called `asked`? Behind a wildcard the client's name counts, too, and a copy counts as its
    model."""
    access = tenant.models
    if access.allow is None and not access.deny:
        return True
    name = model.name.removesuffix(COPY)
    known = access.allow is None or matches(access.allow, name) or (name.endswith("*") and matches(access.allow, asked))
    return known and not matches(access.deny, name) and not matches(access.deny, asked)


def check_access(tenant: Tenant, model: Model, asked: str, who: str) -> None:
    """Raises `ApiError` (PERMISSION) where the tenant may not ask for `model`."""
    if not permits(tenant, model, asked):
        raise ApiError(ErrorKind.PERMISSION, f"{_whose(who)} may not use the model {asked!r}")


def may_step_in(tenant: Tenant | None, model: Model, requires: Sequence[Require], registry: Registry) -> bool:
    """May `model` serve what was asked of others, by which all of `requires` is required: is it the tenant's to use, and can a target of it?"""
    if tenant is not None and not permits(tenant, model, model.name):
        return False
    asked = [r for r in requires if r]
    targets = [registry.targets[name] for rank in model.ranks for name, _ in rank.targets] if asked else []
    return not asked or any(all(_unmet(target, r) is None for r in asked) for target in targets)


def check_passage(tenant: Tenant | None, target: Target, who: str) -> None:
    """May a request of the tenant that nobody here reads be passed on to `target`? Raises `ApiError`: PERMISSION, or UNAVAILABLE where it is drained.

    What such a request costs nobody can tell, so every price of the target must be under the tenant's ceiling.
    """
    why = None
    if tenant is not None:
        why = _listed(target, tenant) or _unmet(target, tenant.require)
        if why is None and _reach(target.price, tenant.require.usd_per_million_tokens) < _UNKNOWN:
            why = ("price_ceiling", "it may cost more than the ceiling")
    if why is not None:
        raise ApiError(ErrorKind.PERMISSION, f"requests of {_whose(who)} may not be passed on to {target.name} ({why[1]})")
    if target.drained:
        raise ApiError(ErrorKind.UNAVAILABLE, f"this path is passed on to {target.name}, which takes no requests now (drained)")


def keeps_promises(target: Target, before: Target) -> bool:
    """May what was to be sent to `before` be sent to `target`, by which another registry means the same name? Whatever was required of it is not
    looked at again, so nothing may be looser."""
    now, then = target.provider, before.provider
    stays = not then.data_stays_in or bool(now.data_stays_in and now.data_stays_in <= then.data_stays_in)
    same = now.name == then.name and now.kind.dialect == then.kind.dialect and target.model == before.model
    return stays and then.data_policy <= now.data_policy and same and target.price == before.price and target.capabilities == before.capabilities


def _whose(who: str) -> str:
    return f"tenant {who!r}" if who else "a request without a tenant"


def allowed(model: Model, request: Request, world: World, rule: Rule | None, tenant: Tenant | None) -> Allowed:
    """Kept for each kind of request in the registry's `memo`. What clients may name without end (a model behind a wildcard) is part of the key only
    where it matters, and the memo is emptied when it is full."""
    memo = world.registry.memo
    key: tuple[Any, ...] = (
        model.name,
        request.client.name,
        request.needs,
        tenant.name if tenant is not None else None,
        (rule.name, rule.prefer, rule.only) if rule is not None and (rule.prefer or rule.only) else None,
        request.requires,
    )
    found: Allowed | None = memo.get(key)
    if found is not None and found.model is model:
        if not found.by_name:
            return found
        # prices change by the day
        key = (*key, request.asked, world.wall // 86400)
        today: Allowed | None = memo.get(key)
        if today is not None and today.model is model:
            return today
    fresh = _work_out(model, request, world, rule, tenant)
    if len(memo) >= max(_ENTRIES, 2 * len(world.registry.models)):
        memo.clear()
    memo[key] = fresh
    return fresh


def _work_out(model: Model, request: Request, world: World, rule: Rule | None, tenant: Tenant | None) -> Allowed:
    found = Allowed(model, [], [], [], _UNKNOWN, 0, tiered=False, by_name=False)
    requires = [r for r in (model.require, *request.requires, tenant.require if tenant is not None else None) if r]
    seen: set[str] = set()
    named = (rule.prefer or rule.only) if rule is not None else ()
    only = rule.name if rule is not None and rule.only else None
    ranks = [((name, 1.0),) for name in named] + [rank.targets for rank in model.ranks]
    for place, rank in enumerate(ranks):
        for name, weight in rank:
            if name in seen:
                continue
            seen.add(name)
            target = world.registry.targets[name]
            if only is not None and place >= len(named):
                found.excluded += [Excluded(c, "rule", f"rule {only!r} allows only others") for c in target.clusters]
                continue
            _add(found, target, place, weight, request, world, requires, tenant)
    found.preferred = len(named) if rule is not None and rule.prefer else 0
    return found


def _add(
    found: Allowed, target: Target, place: int, weight: float, request: Request, world: World, requires: list[Require], tenant: Tenant | None
) -> None:
    client = request.client
    if target.model == "*":
        found.by_name = True
    upstream = target.upstream(client.operation, client.name)
    if upstream is None:
        why: tuple[str, str] | None = (
            f"lacks:{client.operation.value}",
            f"{target.provider.kind.name} at {target.provider.name} cannot carry: {client.operation.value}",
        )
    else:
        missing = lacking(target, client, world.dialects[upstream.dialect], request.needs)
        why = (f"lacks:{missing[0]}", f"{upstream.name} at {target.provider.name} cannot carry: {', '.join(missing)}") if missing else None
    why = why or _listed(target, tenant)
    facts, price = world.facts(target, request.asked)
    reach = _UNKNOWN
    for require in requires:
        why = why or _unmet(target, require)
        reach = min(reach, _reach(price, require.usd_per_million_tokens))
    if reach < 0:
        why = why or ("price_ceiling", "it costs more than the ceiling" if price is not None else "its price is unknown, and there is a ceiling")
    if why is not None:
        found.excluded += [Excluded(c, *why) for c in target.clusters]
        return
    assert upstream is not None
    window = float(facts.context_window or _UNKNOWN)
    clusters = list(target.clusters)
    candidate = Candidate(target, upstream, clusters, place, weight, plain=len(clusters) == 1 and not _limits(target))
    found.fits.append(Fit(candidate, window, reach, facts.model, target.drained))
    if target.drained:
        found.excluded += _drained(candidate)
    else:
        found.candidates.append(candidate)
    found.tightest = min(found.tightest, window, reach)
    found.tiered |= reach < _UNKNOWN


def _listed(target: Target, tenant: Tenant | None) -> tuple[str, str] | None:
    if tenant is None:
        return None
    if not tenant.targets.permits(target.name):
        return "tenant_targets", "not among the tenant's targets"
    if not tenant.providers.permits(target.provider.name):
        return "tenant_providers", f"{target.provider.name} is not among the tenant's providers"
    return None


def _unmet(target: Target, require: Require) -> tuple[str, str] | None:
    provider = target.provider
    regions = provider.data_stays_in
    if require.data_stays_in and not (regions and regions <= require.data_stays_in):
        where = f"its data may be in {', '.join(sorted(regions))}" if regions else "its data may be anywhere"
        return "residency", f"{where}, and must stay in {', '.join(sorted(require.data_stays_in))}"
    if not require.data_policy <= provider.data_policy:
        return "data_policy", f"its provider does not promise {', '.join(sorted(require.data_policy - provider.data_policy))}"
    return None


def _reach(price: Price | None, ceiling: tuple[float | None, float | None]) -> float:
    """The tokens of a prompt up to which `price` is under `ceiling`; below 0 it never is."""
    most_in, most_out = ceiling
    if most_in is None and most_out is None:
        return _UNKNOWN
    if price is None:
        return -1.0
    reached = -1.0
    for start, tier in ((-1.0, price), *price.tiers):
        reached = float(start)
        if (most_in is not None and tier.input > most_in) or (most_out is not None and tier.output > most_out):
            return reached
    return _UNKNOWN


def usable(found: Allowed, request: Request, world: World) -> Usable:
    """Of what the registry allows, what may be used now."""
    candidates, excluded = found.candidates, found.excluded
    if request.size > found.tightest or (found.tiered and not _MEDIA.isdisjoint(request.needs)):
        candidates, excluded = _fitting(found, request, world)
    why = world.health.why
    use = Usable([], excluded.copy(), [], pools=False)
    take = use.candidates.append
    for candidate in candidates:
        if candidate.plain and why(candidate.clusters[0]) is None:
            take(candidate)
        else:
            _keys(candidate, request, world, use)
    return use


def _keys(candidate: Candidate, request: Request, world: World, use: Usable) -> None:
    """The keys of one target, each by itself. They take turns."""
    clusters, target = candidate.clusters, candidate.target
    if len(clusters) > 1:
        start = int(world.random.random() * len(clusters)) % len(clusters)
        clusters = clusters[start:] + clusters[:start]
    free: list[str] = []
    held: list[str] = []
    for cluster in clusters:
        out = world.health.why(cluster)
        if out is None or out[0] in LAST_RESORTS:
            full = _full(target, cluster, request, world)
            if full is not None:
                use.excluded.append(full)
                continue
        if out is None:
            free.append(cluster)
            continue
        if out[0] in LAST_RESORTS:
            held.append(cluster)
        use.excluded.append(_out(cluster, *out))
    if free:
        use.candidates.append(Candidate(target, candidate.upstream, free, candidate.rank, candidate.weight))
        use.pools |= len(free) > 1
    elif held:
        use.held.append(Candidate(target, candidate.upstream, held, candidate.rank, candidate.weight))


def with_state(found: Allowed) -> tuple[list[Candidate], list[Excluded]]:
    """Of what the registry allows, what may serve a request that goes on from what lies with a provider: nobody here knows how long its prompt is, so
    the price must be under the ceiling at any length."""
    detail = "long prompts cost more than the ceiling there, and the length of this one is unknown"
    dear = [Excluded(c, "price_ceiling", detail) for fit in found.fits if fit.reach < _UNKNOWN for c in fit.candidate.clusters]
    out = {e.cluster for e in dear}
    candidates = [c for c in found.candidates if c.cluster not in out]
    return candidates, [*(e for e in found.excluded if e.cluster not in out), *dear]


def turned_away(target: Target, cluster: str, request: Request, world: World) -> Excluded | None:
    """Why a request that can go to no other cluster cannot go to `cluster` either: only what would certainly fail, or is over a limit."""
    out = world.health.why(cluster)
    return _out(cluster, *out) if out is not None and out[0] is Out.INACTIVE else _full(target, cluster, request, world)


def _out(cluster: str, reason: Out, left: float) -> Excluded:
    return Excluded(cluster, reason.name.lower(), f"{reason.value}, {left:.0f} s left" if left else reason.value, left)


def _limits(target: Target) -> bool:
    return target.concurrency is not None or target.requests_per_minute is not None or target.tokens_per_minute is not None


def _full(target: Target, cluster: str, request: Request, world: World) -> Excluded | None:
    if not _limits(target):
        return None
    prompt = request.signals.get("prompt_tokens") if target.tokens_per_minute is not None else 0
    tokens = float(prompt) if isinstance(prompt, int | float) else 0.0
    full = world.limits.full(target, cluster, world.statistics.of(cluster).in_flight, tokens, world.wall)
    return Excluded(cluster, full.code, full.detail, full.seconds) if full is not None else None


def _fitting(found: Allowed, request: Request, world: World) -> tuple[list[Candidate], list[Excluded]]:
    """The candidates that the prompt fits, by length and by what its length costs."""
    fitting: list[Candidate] = []
    # a drained target that is too small is no hope for later
    excluded = [e for e in found.excluded if e.code != "drained"]
    media = not _MEDIA.isdisjoint(request.needs)
    for fit in found.fits:
        candidate, window, reach = fit.candidate, fit.window, fit.reach
        ratio = world.statistics.of(candidate.cluster).token_ratio or 1.0
        if request.size > window:
            least = estimate_low(request.signals.prompt, family_of(fit.model), ratio)
            if least > window:
                detail = f"at least {least} tokens, and its context window has {window:.0f}"
                excluded += [Excluded(c, "context_window", detail) for c in candidate.clusters]
                continue
        if (media or request.size > reach) and reach < estimate(request.signals.prompt, family_of(fit.model)) * max(ratio, 1.0) * _DEAR:
            detail = f"a prompt of more than {reach:.0f} tokens costs more than the ceiling there"
            excluded += [Excluded(c, "price_ceiling", detail) for c in candidate.clusters]
        elif fit.drained:
            excluded += _drained(candidate)
        else:
            fitting.append(candidate)
    return fitting, excluded


def _drained(candidate: Candidate) -> list[Excluded]:
    return [Excluded(c, "drained", "drained") for c in candidate.clusters]
