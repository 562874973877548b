"""How a model's candidates are ranked: `rank_by`, what ranking is measured against, and what keeps a request where others went before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, replace
from typing import TypedDict, TypeVar

from extproc.registry.fields import Field, Record
from extproc.registry.identity import Who, header_name
from extproc.registry.policy import OBJECTIVES, ORDERED, SCORED, Affinity, Objectives, Policy, RankBy
from extproc.registry.problems import shown
from extproc.registry.types import Target
from extproc.registry.yaml_marks import Mapping, Scalar

WORDS = (Policy.ORDER, Policy.COST, Policy.LATENCY, Policy.BANDIT)
_USUAL = {
    **dict.fromkeys(("fallback", "ordered", "priority", "failover", "sequential"), "use order"),
    **dict.fromkeys(
        ("weighted", "weights", "loadbalance", "load_balance", "load-balance", "random", "simple-shuffle", "round-robin", "round_robin", "canary"),
        "use order, with weights in targets: [{gpt-4o: 90, sonnet: 10}]",
    ),
    **dict.fromkeys(("price", "cheapest", "cost-based-routing", "lowest-cost", "lowest_cost"), "use cost"),
    **dict.fromkeys(("speed", "fastest", "latency-based-routing", "lowest-latency", "lowest_latency", "ttft"), "use latency"),
    **dict.fromkeys(("load", "least-busy", "least_busy", "usage-based-routing", "usage-based-routing-v2"), "use {load: 1}"),
    **dict.fromkeys(("thompson", "ucb", "adaptive", "learned", "auto", "epsilon-greedy"), "use bandit"),
    **dict.fromkeys(("score", "balanced"), "use weights, such as {latency: 2, cost: 1}"),
    "quality": "use {quality: 1}",
    "reliability": "use {reliability: 1}",
}
_SCORE_HINTS = {
    **dict.fromkeys(("price", "usd"), "use cost"),
    **dict.fromkeys(("speed", "ttft", "first_token"), "use latency"),
    **dict.fromkeys(("success", "errors", "availability", "uptime"), "use reliability"),
    **dict.fromkeys(("busy", "in_flight", "usage", "concurrency"), "use load"),
}
STICKY = ("session", "tenant", "application", "user")
MAX_WEIGHT = 1_000_000
EXPLORE = 0.02
MOST_EXPLORED = 0.5
MAX_USD = 1_000_000.0


def read_rank_by(field: Field) -> RankBy | None:
    """A word, or the weights of a score."""
    wanted = f"{', '.join(WORDS)}, or weights such as {{latency: 2, cost: 1}}"
    if not isinstance(field.node, Mapping):
        word = field.text(wanted)
        if word in WORDS:
            return RankBy(Policy(word))
        if word is not None:
            guess = _USUAL.get(word.lower()) or field.problems.did_you_mean(word, WORDS)
            field.fail(f"must be {wanted}, is {shown(word)}", guess)
        return None
    record = field.record(SCORED, hints=_SCORE_HINTS, wanted=wanted)
    weights: list[tuple[str, float]] = []
    for name in SCORED:
        part = record.get(name) if record else None
        value = part.number("a weight, a number above 0") if part else None
        if part is not None and value is not None:
            if not 0 < value <= MAX_WEIGHT:
                part.fail(f"must be a weight above 0 and at most {MAX_WEIGHT}, is {value:g}", "leave out what does not count")
            weights.append((name, value))
    if record is not None and not record.refused and not any(record.get(name) for name in SCORED):
        field.fail(f"must be {wanted}, is an empty mapping")
    return RankBy(Policy.SCORE, tuple(weights)) if weights else None


def check_quality(rank_by: RankBy, where: Field, names: Iterable[str], targets: MappingOf[str, Target | None] | None) -> None:
    """Reports weights of a quality that no target has."""
    found = [targets.get(name) for name in names] if targets is not None else []
    if found and any(name == "quality" for name, _ in rank_by.weights) and all(t is not None and t.quality is None for t in found):
        where.fail("weighs quality, and no target of this model says its own", "write quality: 0.8 at its targets, from 0 to 1")


@dataclass(slots=True)
class Ranking:
    """What one block says; None is left out. `affinity` False is switched off."""

    rank_by: RankBy | None = None
    objectives: dict[str, float] | None = None
    explore: float | None = None
    sticky_by: str | None = None
    affinity: Affinity | bool | None = None
    observe: Policy | None = None
    last_resort: bool | None = None


KEYS = ("rank_by", "objectives", "explore", "sticky_by", "affinity", "observe", "last_resort")
"""Of a model and of `defaults`."""


def read_ranking(record: Record, who: Who) -> Ranking:
    """The keys of `KEYS` in a model or in `defaults`."""
    out = Ranking()
    if (field := record.get("rank_by")) is not None:
        out.rank_by = read_rank_by(field)
    if (field := record.get("objectives")) is not None:
        out.objectives = _objectives(field)
    if (field := record.get("explore")) is not None:
        wanted = f"a share from 0 to {MOST_EXPLORED:g}"
        out.explore = within(field, wanted, 0, MOST_EXPLORED)
    if (field := record.get("sticky_by")) is not None:
        out.sticky_by = _sticky(field, who)
    if (field := record.get("affinity")) is not None:
        out.affinity = _affinity(field)
    if (field := record.get("observe")) is not None:
        out.observe = _observe(field)
    if (field := record.get("last_resort")) is not None:
        out.last_resort = field.boolean()
    if out.observe is not None and out.rank_by is not None and out.rank_by.policy is out.observe and (field := record.get("observe")):
        field.fail("says nothing: the bandit ranks here already", "remove one of rank_by and observe")
    return out


class Settled(TypedDict):
    """The fields of a model that come from here."""

    rank_by: RankBy
    objectives: Objectives
    explore: float
    sticky_by: str
    affinity: Affinity | None
    observe: Policy | None
    last_resort: bool


def settled(own: Ranking, defaults: Ranking) -> Settled:
    """A model's own word, else that of the defaults, else the usual. Nothing is observed where the model ranks by just that."""
    rank_by = own.rank_by or defaults.rank_by or ORDERED
    observe = own.observe or defaults.observe
    affinity = _first(own.affinity, defaults.affinity, None)
    return Settled(
        rank_by=rank_by,
        objectives=replace(OBJECTIVES, **(defaults.objectives or {}) | (own.objectives or {})),
        explore=_first(own.explore, defaults.explore, EXPLORE),
        sticky_by=_first(own.sticky_by, defaults.sticky_by, ""),
        affinity=affinity if isinstance(affinity, Affinity) else None,
        observe=None if observe is rank_by.policy else observe,
        last_resort=_first(own.last_resort, defaults.last_resort, last=True),
    )


T = TypeVar("T")


def _first(own: T | None, default: T | None, last: T) -> T:
    return own if own is not None else default if default is not None else last


def within(field: Field, wanted: str, low: float, high: float, *, above: bool = False) -> float | None:
    """low <= number <= high, or low < number if `above`."""
    value = field.number(wanted)
    if value is None or (low <= value <= high and not (above and value == low)):
        return value
    field.fail(f"must be {wanted}, is {value:g}")
    return None


def _objectives(field: Field) -> dict[str, float]:
    hints = {
        **dict.fromkeys(("ttft", "time_to_first_token", "latency"), "use first_token: 2s"),
        **dict.fromkeys(("tpot", "inter_token", "per_output_token"), "use per_token: 50ms"),
        **dict.fromkeys(("cost", "usd", "price", "max_cost"), "use usd_per_request: 0.02"),
    }
    record = field.record(("first_token", "per_token", "usd_per_request"), hints=hints, wanted="a mapping such as {first_token: 2s}")
    reads: dict[str, Callable[[Field], float | None]] = {
        "first_token": Field.duration,
        "per_token": Field.duration,
        "usd_per_request": lambda f: within(f, f"US dollars above 0, at most {MAX_USD:.0f}", 0, MAX_USD, above=True),
    }
    out: dict[str, float] = {}
    for key, read in reads.items():
        part = record.get(key) if record else None
        value = read(part) if part else None
        if value is not None:
            out[key] = value
    if record is not None and not record.refused and not any(record.get(key) for key in reads):
        field.fail("says nothing", "such as {first_token: 2s, per_token: 50ms, usd_per_request: 0.02}")
    return out


def _sticky(field: Field, who: Who) -> str | None:
    wanted = f"one of {', '.join(STICKY)}, or header:NAME"
    text = field.text(wanted)
    if text is None:
        return None
    if text in STICKY:
        who.must_define(text, field, what=f"sticky_by: {text}")
        return text
    kind, colon, name = text.partition(":")
    if kind == "header" and colon:
        if name.strip().lower() == "x-llm-session":
            field.fail("the header x-llm-session is a request's session", "use session")
            return None
        node = field.node
        found = header_name(Field(Scalar(node.line, node.column, name.strip(), plain=False), field.path, field.problems))
        return f"header:{found}" if found else None
    usual = "use session" if text.lower() in ("conversation", "x-llm-session", "cookie") else None
    field.fail(f"must be {wanted}, is {shown(text)}", usual or field.problems.did_you_mean(text, STICKY))
    return None


def _affinity(field: Field) -> Affinity | bool | None:
    node = field.node
    if not isinstance(node, Mapping):
        wanted = "true, false, or a mapping such as {usd: 0.002, seconds: 1, ttl: 5m}"
        if isinstance(node, Scalar) and node.kind == "boolean":
            return Affinity() if node.value() is True else False
        field.wrong(wanted)
        return None
    record = field.record(("usd", "seconds", "ttl"), hints={"duration": "use ttl"}, wanted="a mapping such as {usd: 0.002, seconds: 1, ttl: 5m}")
    if record is None:
        return None
    values: dict[str, float | None] = {}
    if (part := record.get("usd")) is not None:
        values["usd"] = within(part, f"US dollars from 0 to {MAX_USD:.0f}", 0, MAX_USD)
    if (part := record.get("seconds")) is not None:
        values["seconds"] = within(part, "a number of seconds from 0 to 3600, without a unit", 0, 3600)
    if (part := record.get("ttl")) is not None:
        values["ttl"] = part.duration()
    if not values and not record.refused:
        field.fail("says nothing", "write true, or {usd: 0.002, seconds: 1, ttl: 5m}")
    return replace(Affinity(), **{k: v for k, v in values.items() if v is not None})


def _observe(field: Field) -> Policy | None:
    word = field.text("bandit")
    if word is None or word == Policy.BANDIT:
        return Policy.BANDIT if word else None
    field.fail(f"must be bandit, the only policy that can be observed, is {shown(word)}", field.problems.did_you_mean(word, [Policy.BANDIT]))
    return None
