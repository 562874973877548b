"""From a model and a request's needs to the chain: the clusters to try, in order, and why every other candidate was left out.

Pure: health, randomness and facts are handed in. The order is the model's ranks; inside a rank the weights draw the order. The first key of
every target comes before any second key, because what Envoy retries by itself (silence, resets) should go to another provider;
a failed key promotes its sibling in the verdict.

A request that goes on from what an answer left behind (`previous_response_id`) has no choice: that lies in one account. Its chain is one cluster and
always the same one: the first target in the order of the registry that keeps state, with its first key, whatever weights and health say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from extproc.core.dialect import Dialect, Need
from extproc.core.errors import ApiError, ErrorKind
from extproc.registry.types import Model, Rank, Target
from extproc.routing.health import LAST_RESORTS, Health, Out

_FORMAT_NEEDS = frozenset({Need.CHOICES, Need.FILE_ID, Need.SERVER_TOOLS, Need.STATE})
"""Needs that only the client's own dialect can meet, whatever a target claims."""
_TRANSLATED = frozenset({Need.FUNCTIONS})
"""Needs that every translation meets, because the client's own dialect writes the answer."""


@dataclass(slots=True)
class Excluded:
    """A candidate that is not in the chain. `code` is low in cardinality: `lacks:vision`, `limited`, `key_refused`, `ejected`, `inactive`,
    `other_account`."""

    cluster: str
    code: str
    detail: str


@dataclass(slots=True)
class Chain:
    """`clusters` in the order of the attempts; `excluded` with reasons; `last_resort` if only left-out clusters remained."""

    clusters: list[str]
    excluded: list[Excluded] = field(default_factory=list)
    last_resort: bool = False


def draw(rank: Rank, random: Callable[[], float]) -> list[str]:
    """The targets of one rank in a weighted random order. One draw per place; a rank of one target draws nothing."""
    left = list(rank.targets)
    order: list[str] = []
    while len(left) > 1:
        point = random() * sum(weight for _, weight in left)
        for i, (_, weight) in enumerate(left):
            point -= weight
            if point < 0 or i == len(left) - 1:
                order.append(left.pop(i)[0])
                break
    order.extend(name for name, _ in left)
    return order


def lacking(target: Target, client: Dialect, upstream: Dialect, needs: frozenset[str]) -> list[str]:
    """The needs that `target` cannot meet: by its stated capabilities, or because its wire format has no word for them."""
    stated = target.capabilities
    missing = [n for n in needs if stated.get(n) is False]
    if upstream.name != client.name:
        carried = upstream.carries | target.carries
        missing += [n for n in needs if (n not in carried or n in _FORMAT_NEEDS) and n not in _TRANSLATED and n not in missing]
    elif upstream is not client:
        # the same format in a provider's envelope, which may lack what the plain one has
        missing += [n for n in needs if n in client.carries and n not in upstream.carries | target.carries and n not in missing]
    return sorted(missing)


def build(
    model: Model,
    targets: Mapping[str, Target],
    dialects: Mapping[str, Dialect],
    client: Dialect,
    needs: frozenset[str],
    health: Health,
    random: Callable[[], float],
) -> Chain:
    """The chain for one request.

    Raises `ApiError`: UNPROCESSABLE when no target can carry the request, RATE_LIMITED with `retry_after` when all that could are limited.
    """
    if Need.STATE in needs:
        return _where_the_state_is(model, targets, dialects, client, needs)
    chain = Chain([])
    later: list[str] = []
    waiting: list[tuple[str, Out, float]] = []
    for rank in model.ranks:
        for name in draw(rank, random):
            target = targets[name]
            clusters = list(target.clusters)
            upstream = target.upstream(client.operation, client.name)
            missing = lacking(target, client, dialects[upstream.dialect], needs) if upstream else [client.operation.value]
            if missing:
                said = upstream.name if upstream else target.provider.kind.name
                detail = f"{said} at {target.provider.name} cannot carry: {', '.join(missing)}"
                chain.excluded += [Excluded(c, f"lacks:{missing[0]}", detail) for c in clusters]
                continue
            if len(clusters) > 1:
                start = int(random() * len(clusters)) % len(clusters)
                clusters = clusters[start:] + clusters[:start]
            usable: list[str] = []
            for cluster in clusters:
                why = health.why(cluster)
                if why is None:
                    usable.append(cluster)
                    continue
                reason, left = why
                waiting.append((cluster, reason, left))
                detail = f"{reason.value}, {left:.0f} s left" if left else reason.value
                chain.excluded.append(Excluded(cluster, reason.name.lower(), detail))
            chain.clusters += usable[:1]
            later += usable[1:]
    chain.clusters += later
    if chain.clusters:
        return chain
    if not waiting:
        lacks = sorted({e.code.partition(":")[2] for e in chain.excluded})
        raise ApiError(ErrorKind.UNPROCESSABLE, f"no target of model {model.name!r} can carry what this request needs: {', '.join(lacks)}")
    usable = [c for c, reason, _ in waiting if reason in LAST_RESORTS]
    if usable:
        # trying what is out is better than failing for certain
        chain.clusters, chain.last_resort = usable, True
        return chain
    limited = [left for _, reason, left in waiting if reason is Out.LIMITED]
    if limited:
        raise ApiError(ErrorKind.RATE_LIMITED, f"every target of model {model.name!r} is rate limited by its provider", retry_after=min(limited))
    raise ApiError(ErrorKind.UNAVAILABLE, f"no target of model {model.name!r} is active in Envoy yet", retry_after=1.0)


def _where_the_state_is(
    model: Model, targets: Mapping[str, Target], dialects: Mapping[str, Dialect], client: Dialect, needs: frozenset[str]
) -> Chain:
    chain = Chain([])
    for target in (targets[name] for rank in model.ranks for name, _ in rank.targets):
        upstream = target.upstream(client.operation, client.name)
        missing = lacking(target, client, dialects[upstream.dialect], needs) if upstream else [client.operation.value]
        if missing:
            said = upstream.name if upstream else target.provider.kind.name
            detail = f"{said} at {target.provider.name} cannot carry: {', '.join(missing)}"
        else:
            detail = "what the request goes on from lies in one account"
        for cluster in target.clusters:
            if missing or chain.clusters:
                chain.excluded.append(Excluded(cluster, f"lacks:{missing[0]}" if missing else "other_account", detail))
            else:
                chain.clusters.append(cluster)
    if not chain.clusters:
        raise ApiError(
            ErrorKind.UNPROCESSABLE,
            f"no target of model {model.name!r} keeps the state of earlier answers: send the whole conversation instead of a reference to it "
            "(SDKs do when `store` is false)",
            code="state_not_kept",
        )
    return chain
