"""The `defaults` and `models` sections: the names that applications ask for, their targets in order, and how long and how often to try."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field
from typing import NamedTuple

from extproc.registry.fields import Field, Record, seconds
from extproc.registry.identity import Who
from extproc.registry.names import MAX_NAME, safe_model_name
from extproc.registry.policy import NO_REQUIRE, Require, Shadow
from extproc.registry.problems import place, shown, spelled
from extproc.registry.ranking import KEYS as RANKING
from extproc.registry.ranking import Ranking, check_quality, read_ranking, settled, within
from extproc.registry.requirements import narrowed, none_left, read_require, unmet
from extproc.registry.rules import read_rules
from extproc.registry.types import Attempts, Commit, Model, Provider, Rank, Target, Timeouts
from extproc.registry.yaml_marks import Mapping

TIMEOUTS = ("unary_attempt", "first_token", "stall", "deadline")
ATTEMPTS = ("total", "same_target", "wait_at_most")
SETTINGS = ("timeouts", "attempts", "commit", "strict", "require", *RANKING)
MODEL = ("aliases", "targets", "rules", "shadow", *SETTINGS)
HINTS = {
    **dict.fromkeys(("strategy", "routing", "routing_strategy", "policy", "load_balancing", "mode", "ranking", "sort"), "use rank_by"),
    **dict.fromkeys(
        ("weights", "weight"), "weights of targets stand in targets: [{gpt-4o: 90, sonnet: 10}], those of a score in rank_by: {latency: 2}"
    ),
    **dict.fromkeys(("canary", "ab_test", "split", "traffic"), "weights inside a rank: targets: [{gpt-4o: 90, sonnet: 10}]"),
    **dict.fromkeys(("residency", "region_lock", "data_stays_in", "region", "regions"), "use require: {data_stays_in: [eu]}"),
    **dict.fromkeys(("data_policy", "no_training", "zero_retention"), "use require: {data_policy: [no_training]}"),
    **dict.fromkeys(("usd_per_million_tokens", "max_price", "price_ceiling"), "use require: {usd_per_million_tokens: {input: 3, output: 15}}"),
    **dict.fromkeys(
        ("limits", "budget", "max_budget", "rate_limit", "rate_limits", "rpm", "tpm", "requests_per_minute", "tokens_per_minute", "usd_per_month"),
        "limits stand at the top of the file: limits: [{for: {model: chat}, requests_per_minute: 600}]",
    ),
    "identity": "it stands at the top of the file, for every model",
    **dict.fromkeys(("conditions", "when", "conditional", "if"), "use rules: [{when: {prompt_tokens: {below: 50}}, prefer: [gpt-4o-mini]}]"),
    **dict.fromkeys(("sticky", "stickiness", "session_affinity"), "use sticky_by: session"),
    **dict.fromkeys(("cache_affinity", "cache_aware", "prompt_cache"), "use affinity: true"),
    **dict.fromkeys(("mirror", "traffic_mirroring", "shadow_target"), "use shadow: {target: sonnet, share: 0.05}"),
    **dict.fromkeys(("exploration", "epsilon", "explore_rate"), "use explore: 0.02"),
    **dict.fromkeys(("slo", "slos", "latency_target", "objective"), "use objectives: {first_token: 2s}"),
    **dict.fromkeys(
        ("allow", "deny", "allowed", "access", "tenants"), "who may use it is said at the top: tenants: {acme: {models: {allow: [chat]}}}"
    ),
    **dict.fromkeys(("target", "chain", "fallback", "fallbacks", "providers"), "use targets"),
    **dict.fromkeys(("alias", "names"), "use aliases"),
    **dict.fromkeys(("timeout",), "use timeouts: {first_token: 20s, …}"),
    **dict.fromkeys(("retries", "retry"), "use attempts: {total: 4}"),
}
_MODELS_OWN = dict.fromkeys(("rules", "shadow", "targets", "aliases"), "it belongs to a model")
MAX_ATTEMPTS = 10
"""The plan of a request travels in Envoy's metadata, under 2 KB."""
MAX_WEIGHT = 1_000_000


class Written(NamedTuple):
    """A value of the file and the field that it came from."""

    value: float
    field: Field


@dataclass(slots=True)
class Settings:
    """What one block says; what it leaves out is not in it."""

    numbers: dict[str, Written] = field(default_factory=dict)
    commit: Commit | None = None
    strict: bool | None = None
    require: Require = NO_REQUIRE
    ranking: Ranking = field(default_factory=Ranking)


@dataclass(frozen=True, slots=True)
class Known:
    """What stands elsewhere in the file. A section that cannot be read is None, a member with problems is None in it."""

    providers: MappingOf[str, Provider | None] | None
    targets: MappingOf[str, Target | None] | None
    who: Who


def read_defaults(section: Field | None, known: Known) -> Settings:
    """What every model takes over unless it says otherwise; of `require`, what it adds to."""
    if section is None:
        return Settings()
    record = section.record(SETTINGS, hints=HINTS | _MODELS_OWN)
    if record is None:
        return Settings()
    settings = _settings(record, known)
    _check(settings, Settings())
    return settings


def read_models(section: Field, known: Known, defaults: Settings) -> dict[str, Model]:
    """The models without problems of their own; the caller refuses the file if there was any."""
    out: dict[str, Model] = {}
    names: dict[str, Field] = {}
    entries = section.entries("a mapping from names to models")
    for name, entry in (entries or {}).items():
        _claim(name, entry, names)
    for name, entry in (entries or {}).items():
        model = _model(name, entry, known, defaults, names)
        if model:
            out[name] = model
    return out


def _claim(name: str, where: Field, names: dict[str, Field]) -> None:
    """Reports a name that no client can ask for, or that two models claim."""
    if name != "*" and not safe_model_name(name[:-1].rstrip("/") + "x" if name.endswith("*") else name):
        rule = f"letters, digits and . _ : @ + - / up to {MAX_NAME} characters, with at most one * at the end"
        where.fail(f"{shown(name)} is no model name: {rule}")
        return
    first = names.setdefault(name, where)
    if first is not where:
        owner = f"models.{shown(str(first.path[1]))}"
        where.fail(f"{shown(name)} is already a name of {owner}, {place(first.line)}", "a tie cannot be decided; remove one of them")


def _model(name: str, entry: Field, known: Known, defaults: Settings, names: dict[str, Field]) -> Model | None:
    record = entry.record(MODEL, hints=HINTS, wanted="a mapping such as {targets: [gpt-4o]}")
    if record is None:
        return None
    aliases = _aliases(record.get("aliases"), names)
    ranks = _ranks(record.need("targets", "[gpt-4o, sonnet]"), known.targets)
    own = _settings(record, known)
    _check(own, defaults)
    listed = [target for rank in ranks for target, _ in rank.targets]
    require = narrowed(defaults.require, own.require, record.get("require"))
    _check_serves(record, listed, require, known.targets)
    if own.ranking.rank_by is not None and (written := record.get("rank_by")):
        check_quality(own.ranking.rank_by, written, listed, known.targets)
    return Model(
        name,
        aliases,
        ranks,
        _timeouts(own, defaults),
        _attempts(own, defaults),
        own.commit or defaults.commit or Commit.FIRST_TOKEN,
        own.strict if own.strict is not None else bool(defaults.strict),
        rules=read_rules(record.get("rules"), known.targets, listed, require, known.who),
        require=require,
        shadow=_shadow(record.get("shadow"), require, known.targets),
        **settled(own.ranking, defaults.ranking),
    )


def _check_serves(record: Record, listed: list[str], require: Require, targets: MappingOf[str, Target | None] | None) -> None:
    """Reports a model that nobody may serve. Its place is its own `require`, or its targets where it only has that of the defaults."""
    found = [targets.get(name) for name in listed] if targets is not None else []
    whole = [t for t in found if t is not None]
    why = none_left(require, whole) if len(whole) == len(found) else ""
    where = record.get("require") or record.get("targets")
    if why and where is not None:
        whose = "its require" if record.get("require") is not None else "the require of defaults"
        where.fail(f"{whose} leaves none of this model's targets: {why}")


def _shadow(field: Field | None, require: Require, targets: MappingOf[str, Target | None] | None) -> Shadow | None:
    hints = {"percent": "use share, from 0 to 1", "percentage": "use share, from 0 to 1", "model": "use target"}
    record = field.record(("target", "share"), hints=hints, wanted="a mapping such as {target: sonnet, share: 0.05}") if field else None
    if record is None:
        return None
    part, share = record.need("target", "sonnet"), record.need("share", "0.05")
    name = part.text("the name of a target") if part else None
    value = within(share, "a share above 0, at most 1", 0, 1, above=True) if share else None
    if part is not None and name is not None and targets is not None:
        target = targets.get(name)
        if name not in targets:
            part.fail(f"no target named {shown(name)}", part.problems.did_you_mean(name, targets))
        elif target is not None and (why := unmet(require, target)):
            part.fail(f"what is sent there is the same request, and the model's require does not allow {spelled([name])}: {why}")
    return Shadow(name, value) if name is not None and value is not None else None


def _aliases(section: Field | None, names: dict[str, Field]) -> tuple[str, ...]:
    out: list[str] = []
    for item in (section.items("a list of names") if section else None) or []:
        alias = item.text("a name that clients ask for")
        if alias is not None:
            _claim(alias, item, names)
            out.append(alias)
    return tuple(out)


def _ranks(section: Field | None, targets: MappingOf[str, Target | None] | None) -> tuple[Rank, ...]:
    out: list[Rank] = []
    seen: dict[str, int] = {}
    for item in (section.items("a list of targets, in the order of fallback") if section else None) or []:
        if isinstance(item.node, Mapping):
            weights = item.entries("a mapping from targets to weights") or {}
        else:
            name = item.text("a target, or a mapping from targets to weights")
            weights = {name: item} if name is not None else {}
        rank: list[tuple[str, float]] = []
        for name, weight in weights.items():
            _listed(name, weight, targets, seen)
            rank.append((name, 1.0 if weight is item else _weight(weight)))
        out.append(Rank(tuple(rank)))
    return tuple(out)


def _listed(name: str, where: Field, targets: MappingOf[str, Target | None] | None, seen: dict[str, int]) -> None:
    if targets is not None and name not in targets:
        where.fail(f"no target named {shown(name)}", where.problems.did_you_mean(name, targets))
    elif name in seen:
        where.fail(f"the target {shown(name)} is listed twice in this model, first in {place(seen[name])}", "a repeat is attempts.same_target")
    seen.setdefault(name, where.line)


def _weight(weight: Field) -> float:
    value = weight.number("a weight, a number above 0")
    if value is not None and not 0 < value <= MAX_WEIGHT:
        weight.fail(f"must be a weight above 0 and at most {MAX_WEIGHT}, is {value:g}", "remove the target to give it nothing")
    return value if value is not None else 1.0


def _settings(record: Record, known: Known) -> Settings:
    out = Settings(require=read_require(record.get("require"), known.providers), ranking=read_ranking(record, known.who))
    if timeouts := record.get("timeouts"):
        block = timeouts.record(TIMEOUTS, wanted="a mapping such as {first_token: 20s}")
        for key in TIMEOUTS:
            _note(out, block, key, Field.duration)
    if attempts := record.get("attempts"):
        block = attempts.record(ATTEMPTS, wanted="a mapping such as {total: 4}")
        _note(out, block, "total", lambda f: f.integer(1, MAX_ATTEMPTS))
        _note(out, block, "same_target", lambda f: f.integer(0, MAX_ATTEMPTS - 1))
        _note(out, block, "wait_at_most", lambda f: f.duration(zero=True))
    if commit := record.get("commit"):
        value = commit.choice([c.value for c in Commit])
        out.commit = Commit(value) if value else None
    if strict := record.get("strict"):
        out.strict = strict.boolean()
    return out


def _note(settings: Settings, block: Record | None, key: str, read: Callable[[Field], float | None]) -> None:
    part = block.get(key) if block else None
    value = read(part) if part else None
    if part is not None and value is not None:
        settings.numbers[key] = Written(value, part)


def _timeouts(own: Settings, defaults: Settings) -> Timeouts:
    """A first-token limit that nobody wrote is at most the deadline."""
    values = {k: w.value for k, w in (defaults.numbers | own.numbers).items() if k in TIMEOUTS}
    deadline = values.get("deadline", Timeouts().deadline)
    values.setdefault("first_token", min(Timeouts().first_token, deadline))
    return Timeouts(**values)


def _attempts(own: Settings, defaults: Settings) -> Attempts:
    """Likewise for the patience with Retry-After."""
    numbers = defaults.numbers | own.numbers
    deadline = numbers["deadline"].value if "deadline" in numbers else Timeouts().deadline
    standard = Attempts()
    total = int(numbers["total"].value) if "total" in numbers else standard.total
    same = int(numbers["same_target"].value) if "same_target" in numbers else standard.same_target
    wait = numbers["wait_at_most"].value if "wait_at_most" in numbers else min(standard.wait_at_most, deadline)
    return Attempts(total, same, wait)


def _check(own: Settings, defaults: Settings) -> None:
    """Settings that contradict each other. What `defaults` alone contradicts was reported there."""
    numbers = defaults.numbers | own.numbers
    deadline = numbers.get("deadline")
    limit = deadline.value if deadline else Timeouts().deadline
    for key, consequence in (("first_token", "no stream can take that long"), ("wait_at_most", "no pause can take that long")):
        value = numbers.get(key)
        if value is None or value.value <= limit or not (key in own.numbers or "deadline" in own.numbers):
            continue
        blamed = own.numbers.get(key) or own.numbers["deadline"]
        blamed.field.fail(f"{key} ({seconds(value.value)}) is longer than the deadline over the whole chain ({seconds(limit)}): {consequence}")
    total, same = own.numbers.get("total"), own.numbers.get("same_target")
    if total and same and same.value >= total.value:
        same.field.fail(f"{same.value:g} repeats of one target do not fit into {total.value:g} attempts", "same_target must be below total")
