"""One request's decision: rule, filters, ranking, chain. Pure: everything it reads is in the `World` and the `Request`.

What is out for a passing trouble (ejected, failing, …) stands behind everything else, where the model allows it: it is tried when all that is sound
has failed, or when nothing else is left.

The first rule whose condition holds may change what is preferred and how is ranked. What the filters let through is ranked by one policy. Then, in
the part of it that a rule prefers (all of it without one): a session stays where its prompt is cached if that is worth it, or else
a small share of requests goes elsewhere, so that measurements stay fresh. The chain has the first key of every target before any second key,
because what Envoy retries by itself (silence, resets) should go to another provider; a failed key promotes its sibling in the verdict.

A request that goes on from what an answer left behind (`previous_response_id`) has no choice: that lies in one account. Its chain is one cluster and
always the same one: the first allowed target in the order of the file that keeps state, with its first key, whatever weights, preferences and
cool-downs say.
"""

from __future__ import annotations

from extproc.core.dialect import Need
from extproc.core.errors import ErrorKind
from extproc.registry.policy import Policy, Rule, Tenant
from extproc.registry.types import Model
from extproc.routing import affinity, filters
from extproc.routing.decision import Candidate, Decision, Excluded, Ranked, Request, World
from extproc.routing.policies import POLICIES
from extproc.routing.policies.bandit import context_for
from extproc.routing.refusals import refusal

_EXPLORING = frozenset({Policy.LATENCY, Policy.SCORE})
"""Policies that only know what they use. The bandit explores by itself; order and cost measure nothing that others would not."""


def decide(model: Model, request: Request, world: World) -> Decision:
    """Raises `ApiError`: PERMISSION, CONTEXT_LENGTH, UNPROCESSABLE, RATE_LIMITED (with `retry_after`) or UNAVAILABLE where there is no candidate;
    the message lists the targets with the filters that removed them."""
    tenant = filters.tenant_of(request.who, world.registry)
    if tenant is not None:
        filters.check_access(tenant, model, request.asked, request.who.get("tenant", ""))
    rule: Rule | None = None
    for each in model.rules:
        if each.when.holds(request.signals):
            rule = each
            break
    if Need.STATE in request.needs:
        return _where_the_state_is(model, request, world, rule, tenant)

    allowed = filters.allowed(model, request, world, rule, tenant)
    use = filters.usable(allowed, request, world)
    candidates, pools, last_resort = use.candidates, use.pools, False
    if not candidates:
        if not use.held or not model.last_resort:
            raise refusal(model, use.excluded)
        # trying what is out is better than failing for certain
        candidates, pools, last_resort = use.held, True, True

    rank_by = rule.rank_by if rule is not None and rule.rank_by is not None else model.rank_by
    policy = rank_by.policy
    ranked = POLICIES[policy](candidates, model, request, world, rank_by)
    decision = Decision(model.name, policy.value, [], rule.name if rule is not None else "", use.excluded, ranked, last_resort)
    head = len(ranked)
    if allowed.preferred:
        head = _prefer(ranked, allowed.preferred) or head
    if model.affinity is not None and request.session:
        # also of a single target: it may have several keys, and the cache is warm for one of them
        _stay(decision, head, model, request, world)
    if head > 1 and policy in _EXPLORING and not decision.stayed and model.explore and world.random.random() < model.explore:
        other = 1 + int(world.random.random() * (head - 1)) % (head - 1)
        ranked.insert(0, ranked.pop(other))
        decision.explored = True
    decision.clusters = [r.candidate.clusters[0] for r in ranked]
    if pools:
        decision.clusters += [c for r in ranked for c in r.candidate.clusters[1:]]
    if use.held and not last_resort and model.last_resort:
        # and when all these have failed, trying what is out is better than failing for certain
        decision.clusters += [c.clusters[0] for c in use.held]
    if model.observe is not None:
        decision.observed = _observed(candidates, allowed.preferred, model, request, world, model.observe)
    if Policy.BANDIT in (policy, model.observe):
        decision.context = context_for(model, request)
    return decision


def _prefer(ranked: list[Ranked], preferred: int) -> int:
    """Put what a rule prefers in front, as it is ranked. Returns how many those are."""
    first = [r for r in ranked if r.candidate.rank < preferred]
    if first:
        ranked[:] = first + [r for r in ranked if r.candidate.rank >= preferred]
    return len(first)


def _stay(decision: Decision, head: int, model: Model, request: Request, world: World) -> None:
    ranked = decision.ranked
    place = affinity.stay(ranked[:head], model, request, world)
    if place is not None:
        decision.stayed = True
        ranked.insert(0, ranked.pop(place))


def _observed(candidates: list[Candidate], preferred: int, model: Model, request: Request, world: World, policy: Policy) -> str:
    """The cluster that `policy` would have put first, under the same rule."""
    others = [c for c in candidates if c.rank < preferred] or candidates
    return POLICIES[policy](others, model, request, world, model.rank_by)[0].candidate.cluster


def _where_the_state_is(model: Model, request: Request, world: World, rule: Rule | None, tenant: Tenant | None) -> Decision:
    # preferences change with the conversation, and the account must not
    allowed = filters.allowed(model, request, world, rule if rule is not None and rule.only else None, tenant)
    candidates, excluded = filters.with_state(allowed)
    if not candidates:
        error = refusal(model, excluded)
        if error.kind is ErrorKind.UNPROCESSABLE:
            error.code = "state_not_kept"
            error.message += "; send the whole conversation instead of a reference to earlier answers (SDKs do when `store` is false)"
        raise error
    first, *others = candidates
    cluster = first.target.clusters[0]
    gone = filters.turned_away(first.target, cluster, request, world)
    if gone is not None:
        raise refusal(model, [gone])
    elsewhere = [*first.target.clusters[1:], *(c for other in others for c in other.target.clusters)]
    excluded += [Excluded(c, "other_account", "what the request goes on from lies in one account") for c in elsewhere]
    chosen = Candidate(first.target, first.upstream, [cluster], first.rank, first.weight)
    return Decision(model.name, "state", [cluster], rule.name if rule is not None else "", excluded, [Ranked(chosen, 0.0)])
