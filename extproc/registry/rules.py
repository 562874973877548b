"""A model's `rules`: the first whose `when` holds decides. What can be seen to have no effect, or never to be reached, is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from extproc.registry.conditions import read_when
from extproc.registry.fields import Field, Record
from extproc.registry.identity import Who
from extproc.registry.policy import All, Condition, Require, Rule
from extproc.registry.problems import place, shown
from extproc.registry.ranking import check_quality, read_rank_by
from extproc.registry.requirements import none_left
from extproc.registry.types import Target
from extproc.registry.yaml_marks import Mapping as MappingNode

KNOWN = ("name", "when", "prefer", "only", "rank_by")
HINTS = {
    **dict.fromkeys(("if", "condition", "conditions", "match", "query", "where"), "use when: {prompt_tokens: {below: 50}}"),
    **dict.fromkeys(("then", "target", "targets", "use", "route", "route_to", "model", "use_model"), "use prefer: [target], or only: [target]"),
    **dict.fromkeys(("strategy", "routing", "policy", "sort", "order_by"), "use rank_by"),
    **dict.fromkeys(("weights", "weight"), "use rank_by: {latency: 2, cost: 1}"),
    **dict.fromkeys(("fallback", "fallbacks", "else"), "prefer: keeps the model's other targets as fallback"),
    **dict.fromkeys(("deny", "exclude", "avoid"), "use only: with those that are left"),
    "require": "it belongs to the model or to a tenant: requirements hold for every request",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
ALWAYS = All(())


def read_rules(
    section: Field | None, targets: Mapping[str, Target | None] | None, listed: Sequence[str], require: Require, who: Who
) -> tuple[Rule, ...]:
    """Those without problems, in the order of the file. `listed` are the model's own targets, `require` is its own with that of the defaults."""
    items = (section.items("a list of rules such as {when: {prompt_tokens: {below: 50}}, prefer: [gpt-4o-mini]}") if section else None) or []
    out: list[Rule] = []
    names: dict[str, Field] = {}
    before: dict[Condition, tuple[str, Field]] = {}
    for number, item in enumerate(items, 1):
        record = item.record(KNOWN, hints=HINTS, wanted="a mapping such as {when: {prompt_tokens: {below: 50}}, prefer: [gpt-4o-mini]}")
        if record is None:
            continue
        name = _name(record, number, names)
        when = _when(record, who, last=number == len(items))
        if when is not None:
            first = before.setdefault(when, (name, item))
            if first[1] is not item and when != ALWAYS:
                item.fail(f"is never reached: the rule {shown(first[0])}, {place(first[1].line)}, holds whenever it does", "remove one of them")
        prefer, only = (_named(record.get(key), targets, require) for key in ("prefer", "only"))
        ranking = read_rank_by(part) if (part := record.get("rank_by")) else None
        if part is not None and ranking is not None:
            check_quality(ranking, part, (*prefer, *only, *listed), targets)
        if record.get("prefer") is not None and (part := record.get("only")) is not None:
            part.fail("stands beside `prefer`", "keep one of them: only: tries no others")
        elif not record.refused and not any(record.get(k) for k in ("prefer", "only", "rank_by")):
            item.fail("has no effect", "say prefer: [target], only: [target] or rank_by: cost")
        if when is not None:
            out.append(Rule(name, when, prefer, only, ranking))
    return tuple(out)


def _name(record: Record, number: int, names: dict[str, Field]) -> str:
    field = record.get("name")
    name = field.text("a name") if field else f"rule{number}"
    if field is not None and name is not None and not _NAME.match(name):
        field.fail(f"{shown(name)} is no name for a rule: letters, digits, dots, dashes and underscores, up to 63")
    where = field or record.field
    if name is not None and (first := names.setdefault(name, where)) is not where:
        where.fail(f"there is another rule {shown(name)}, {place(first.line)}", "give each a name of its own; without one they are rule1, rule2, …")
    return name or f"rule{number}"


def _when(record: Record, who: Who, *, last: bool) -> Condition | None:
    field = record.get("when")
    if field is not None and not (isinstance(field.node, MappingNode) and not field.node.entries):
        return read_when(field, who)
    if not last and not record.refused:
        (field or record.field).fail("always holds, so no rule behind it is reached", "say when: {…}, or move it to the end")
    return ALWAYS


def _named(section: Field | None, targets: Mapping[str, Target | None] | None, require: Require) -> tuple[str, ...]:
    """Names of targets that are there."""
    items = (section.items("a list of targets such as [gpt-4o-mini]") if section else None) or []
    found: dict[str, Target] = {}
    for item in items:
        name = item.text("the name of a target")
        if name is None or targets is None:
            continue
        target = targets.get(name)
        if name not in targets:
            item.fail(f"no target named {shown(name)}", item.problems.did_you_mean(name, targets))
        elif name in found:
            item.fail(f"the target {shown(name)} is listed twice")
        elif target is not None:
            found[name] = target
    why = none_left(require, found.values())
    if section is not None and why and len(found) == len(items):
        section.fail(f"names no target that the model's require allows: {why}")
    return tuple(found)
