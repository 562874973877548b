"""The `limits` section: how many requests and tokens, and how much money, in the order of the file.

Limits need to be told apart when a process starts again and between replicas, so each has a key of its place and of whom it is for: a limit
that moved or changed hands starts anew instead of going on with somebody else's count.
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.registry.fields import Field, Record
from extproc.registry.identity import MAX_VALUE, Who
from extproc.registry.names import safe_model_name
from extproc.registry.policy import Limit, matches
from extproc.registry.problems import looks_secret, shown, spelled
from extproc.registry.ranking import within
from extproc.registry.types import Model
from extproc.registry.yaml_marks import Mapping as MappingNode
from extproc.registry.yaml_marks import Scalar

DIMENSIONS = ("tenant", "application", "user", "tier", "model")
MONEY = ("usd_per_day", "usd_per_month")
AMOUNTS = ("requests_per_minute", "tokens_per_minute", *MONEY)
KNOWN = ("for", *AMOUNTS, "instead", "scope")
MOST = 1e12
HINTS = {
    **dict.fromkeys(("rpm", "rpm_limit", "requests", "rate"), "use requests_per_minute"),
    **dict.fromkeys(("tpm", "tpm_limit", "tokens"), "use tokens_per_minute"),
    **dict.fromkeys(("budget", "max_budget", "usd", "soft_budget", "spend", "cost", "budget_limit"), "use usd_per_day or usd_per_month"),
    **dict.fromkeys(("budget_duration", "usd_per_hour", "usd_per_week", "usd_per_year"), "use usd_per_day or usd_per_month"),
    **dict.fromkeys(("requests_per_second", "requests_per_hour", "requests_per_day", "rps"), "use requests_per_minute"),
    **dict.fromkeys(("tokens_per_second", "tokens_per_hour", "tokens_per_day"), "use tokens_per_minute"),
    **dict.fromkeys(("max_parallel_requests", "concurrency"), "requests under way are limited at a target: concurrency"),
    **dict.fromkeys(("per", "by", "who", "match", "when", *DIMENSIONS), 'use for: {tenant: "*"}'),
    **dict.fromkeys(("use_model", "fallback", "fallback_model", "degrade_to", "downgrade"), "use instead: model"),
}
_DIMENSION_HINTS = {
    **dict.fromkeys(("team", "org", "organization", "customer"), "use tenant"),
    **dict.fromkeys(("app", "service", "api_key", "key"), "use application"),
    **dict.fromkeys(("target", "provider"), "targets have limits of their own: targets: {gpt-4o: {requests_per_minute: 500}}"),
}


def read_limits(section: Field | None, models: Mapping[str, Model] | None, who: Who, *, state: bool) -> tuple[Limit, ...]:
    """Those without problems. `state`: the file names a Redis. `models` None if some of them have problems."""
    items = (section.items('a list of limits such as {for: {tenant: "*"}, requests_per_minute: 600}') if section else None) or []
    found: list[tuple[Limit, Field | None]] = []
    for place, item in enumerate(items):
        record = item.record(KNOWN, hints=HINTS | _instead_of(item), wanted='a mapping such as {for: {tenant: "*"}, requests_per_minute: 600}')
        if record is None:
            continue
        by = _by(record.get("for"), models, who)
        amounts = {key: _amount(part) for key in AMOUNTS if (part := record.get(key)) is not None}
        if not amounts and not record.refused:
            item.fail("limits nothing", f"say one of {', '.join(AMOUNTS)}")
        shared = _shared(record, state=state)
        instead = _instead(record.get("instead"), models)
        key = f"limits[{place}]" + (":" + ",".join(f"{d}={name}" for d, name in by) if by else "")
        found.append((Limit(key, by, **amounts, instead=instead, shared=shared), record.get("instead")))
    if models is not None:
        _check_loops(found, models)
    return tuple(limit for limit, _ in found)


def _instead_of(item: Field) -> dict[str, str]:
    """Advice for the older `when_exceeded: {use_model: name}`, with the name that stands there."""
    node = item.node
    entry = node.entries.get("when_exceeded") if isinstance(node, MappingNode) else None
    if entry is None:
        return {}
    inner = entry.node.entries.get("use_model") if isinstance(entry.node, MappingNode) else None
    name = inner.node.text if inner is not None and isinstance(inner.node, Scalar) else ""
    return {"when_exceeded": f"use instead: {name if safe_model_name(name) and not looks_secret(name) else 'model'}"}


def _amount(field: Field) -> float | None:
    return within(field, f"a number above 0, at most {MOST:.0f}", 0, MOST, above=True)


def _by(field: Field | None, models: Mapping[str, Model] | None, who: Who) -> tuple[tuple[str, str], ...]:
    """In the order of `DIMENSIONS`; without a `for` everything is counted together."""
    record = field.record(DIMENSIONS, hints=_DIMENSION_HINTS, wanted='a mapping such as {tenant: "*"}') if field else None
    if record is None or field is None:
        return ()
    out: list[tuple[str, str]] = []
    for dimension in DIMENSIONS:
        part = record.get(dimension)
        if part is None:
            continue
        who.must_define(dimension, part, what="a limit for it")
        name = part.text('a name, its beginning with a *, or "*" for each by itself')
        if name is None:
            continue
        if "*" in name[:-1] or len(name) > MAX_VALUE or not name.isprintable():
            part.fail(f"{shown(name)} is no name: up to {MAX_VALUE} printable characters, with at most one * at the end")
        elif dimension == "model" and models is not None and not any(name in (m, "*") or matches(frozenset((name,)), m) for m in models):
            _unknown_model(part, name, models)
        out.append((dimension, name))
    if not out and not record.refused:
        field.fail("says nothing", 'such as {tenant: "*"}; leave it out to count everything together')
    return tuple(out)


def _unknown_model(field: Field, name: str, models: Mapping[str, Model]) -> None:
    owner = next((m.name for m in models.values() if name in m.aliases), None)
    if owner is not None:
        field.fail(f"{shown(name)} is an alias", f"write the model: {spelled([owner])}")
    elif name.endswith("*"):
        field.fail(f"{shown(name)} matches no model")
    else:
        field.fail(f"no model named {shown(name)}", field.problems.did_you_mean(name, models))


def _shared(record: Record, *, state: bool) -> bool:
    scope = record.get("scope")
    word = scope.choice(("process", "shared")) if scope else None
    if scope is not None and word == "shared" and not state:
        scope.fail("needs `state`, through which replicas share their counts", "for example state: redis://redis:6379/0")
    if word is None and scope is None and not state:
        for key in MONEY:
            part = record.get(key)
            if part is not None:
                part.fail(
                    "is a budget that every server process would spend by itself: nothing is shared without `state`",
                    "add state: redis://redis:6379/0, or say scope: process if that is meant",
                )
    return word != "process"


def _instead(field: Field | None, models: Mapping[str, Model] | None) -> str:
    name = field.text("the name of a model") if field else None
    if field is None or name is None or models is None:
        return name or ""
    if name not in models:
        _unknown_model(field, name, models)
    elif name.endswith("*"):
        field.fail(f"{shown(name)} is a wildcard: it serves the name that a client asks for", "name a model without a *")
    return name


def _check_loops(limits: list[tuple[Limit, Field | None]], models: Mapping[str, Model]) -> None:
    """Reports the `instead` that leads back. Only limits on models make a way: one on a tenant that has been passed is not asked again."""
    ways: dict[str, set[str]] = {}
    for limit, field in limits:
        pattern = dict(limit.by).get("model")
        if field is None or pattern is None or limit.instead not in models:
            continue
        if pattern == limit.instead:
            field.fail(f"is the very model that is over its limit, {shown(pattern)}", "name a cheaper one, or leave it out to refuse")
            continue
        # a pattern may cover the model that steps in: over its own limit that one is refused
        sources = [m for m in models if m != limit.instead and matches(frozenset((pattern,)), m)]
        back = next((m for m in sources if _leads(ways, limit.instead, m)), None)
        if back is not None:
            field.fail(f"leads back: {shown(limit.instead)} over its own limit gives way to {shown(back)} again", "let the chain end somewhere")
            continue
        for source in sources:
            ways.setdefault(source, set()).add(limit.instead)


def _leads(ways: Mapping[str, set[str]], start: str, end: str) -> bool:
    seen: set[str] = set()
    todo = [start]
    while todo:
        here = todo.pop()
        if here == end:
            return True
        if here not in seen:
            seen.add(here)
            todo += ways.get(here, ())
    return False
