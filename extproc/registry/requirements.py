"""`require`: what every target of a request must have. Narrowed from the defaults to the model, never widened; and why a target cannot meet it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from extproc.registry.endpoints import read_regions
from extproc.registry.fields import Field
from extproc.registry.offers import MAX_PRICE
from extproc.registry.policy import NO_REQUIRE, Require
from extproc.registry.problems import spelled
from extproc.registry.promises import read_promises
from extproc.registry.types import Provider, Target

KNOWN = ("data_stays_in", "data_policy", "usd_per_million_tokens")
HINTS = {
    **dict.fromkeys(("residency", "region_lock", "region", "regions", "data_residency", "location", "geo"), "use data_stays_in: [eu]"),
    **dict.fromkeys(("no_training", "zero_retention", "zdr", "policy", "privacy", "compliance"), "use data_policy: [no_training]"),
    **dict.fromkeys(
        ("max_price", "price", "max_cost", "cost", "price_ceiling", "max_price_per_million"), "use usd_per_million_tokens: {input: 3, output: 15}"
    ),
    **dict.fromkeys(("vision", "tools", "capabilities", "context_window"), "a request says itself what it needs; targets say what they lack"),
    **dict.fromkeys(("providers", "targets", "allow", "deny"), "the model's targets are the list; a tenant's lists narrow it"),
}
MOST_LISTED = 12
"""Targets that a message lists one by one."""


def read_require(field: Field | None, providers: Mapping[str, Provider | None] | None) -> Require:
    """What is asked for. Words that no provider of the file promises are problems: such a requirement leaves nothing."""
    record = field.record(KNOWN, hints=HINTS, wanted="a mapping such as {data_stays_in: [eu]}") if field else None
    if record is None or field is None:
        return NO_REQUIRE
    if not record.refused and not any(record.get(k) for k in KNOWN):
        field.fail("says nothing", "such as {data_stays_in: [eu]}, or leave it out")
    promises = read_promises(record.get("data_policy"))
    part = record.get("data_policy")
    known = {word for p in (providers or {}).values() if p for word in p.data_policy}
    if part is not None and providers is not None and all(providers.values()):
        for word in sorted(promises - known):
            said = f"; they promise: {spelled(known)}" if known else ""
            guess = field.problems.did_you_mean(word, known) or f"write data_policy: [{spelled([word])}] at those that do"
            part.fail(f"no provider of this file promises {spelled([word])}{said}", guess)
        promises &= known
    return Require(read_regions(record.get("data_stays_in")), promises, _ceiling(record.get("usd_per_million_tokens")))


def _ceiling(field: Field | None) -> tuple[float | None, float | None]:
    record = field.record(("input", "output"), wanted="a mapping such as {input: 3, output: 15}") if field else None
    if record is None or field is None:
        return None, None
    if not record.refused and record.get("input") is None and record.get("output") is None:
        field.fail("says nothing", "such as {input: 3, output: 15}")
    found: list[float | None] = []
    for key in ("input", "output"):
        part = record.get(key)
        amount = part.number("a price in US dollars per million tokens") if part else None
        if part is not None and amount is not None and not 0 <= amount <= MAX_PRICE:
            part.fail(f"must be from 0 to {MAX_PRICE:g} US dollars per million tokens, is {amount:g}")
            amount = None
        found.append(amount)
    return found[0], found[1]


def narrowed(outer: Require, own: Require, where: Field | None) -> Require:
    """Both hold. Regions that exclude each other are a problem at `where`: no target could ever meet both."""
    if not outer or not own:
        return own or outer
    stays = outer.data_stays_in & own.data_stays_in if outer.data_stays_in and own.data_stays_in else outer.data_stays_in or own.data_stays_in
    if not stays and own.data_stays_in and where is not None:
        where.fail(
            f"[{spelled(own.data_stays_in)}] excludes [{spelled(outer.data_stays_in)}], where defaults require data to stay: both hold here",
            "a model's require adds to the defaults', it cannot widen it; require less there, and more in the other models",
        )
        stays = own.data_stays_in
    (a, b), (c, d) = outer.usd_per_million_tokens, own.usd_per_million_tokens
    return Require(stays, outer.data_policy | own.data_policy, (_least(a, c), _least(b, d)))


def _least(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else min(a, b)


def unmet(require: Require, target: Target) -> str:
    """Why `target` can never meet `require`, as the end of a sentence about it; "" if it can. What is unknown is not met, but for the price of
    `model: "*"`, which depends on the request."""
    provider = target.provider
    if require.data_stays_in and not provider.data_stays_in:
        return f"its provider {spelled([provider.name])} does not say where data stays"
    if not provider.data_stays_in <= (require.data_stays_in or provider.data_stays_in):
        return f"its data may be in {spelled(provider.data_stays_in)}"
    missing = require.data_policy - provider.data_policy
    if missing:
        return f"its provider {spelled([provider.name])} does not promise {spelled(missing)}"
    price = target.price
    if price is None:
        return "its price is not known" if require.usd_per_million_tokens != (None, None) and target.model != "*" else ""
    for kind, most, costs in zip(("input", "output"), require.usd_per_million_tokens, (price.input, price.output), strict=True):
        if most is not None and costs > most:
            return f"its {kind} costs {costs:g} US dollars per million tokens"
    return ""


def none_left(require: Require, targets: Iterable[Target]) -> str:
    """Each target and why it does not meet `require`, for a message; "" if one does (or there is none)."""
    reasons: list[str] = []
    for target in targets:
        why = unmet(require, target)
        if not why:
            return ""
        reasons.append(f"{spelled([target.name])}: {why}")
    more = len(reasons) - MOST_LISTED
    return "; ".join(reasons[:MOST_LISTED]) + (f"; and {more} more" if more > 0 else "")
