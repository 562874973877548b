"""Random registries that are valid: providers, targets, models with policies, rules and requirements, tenants, limits, state. For property tests of
the loader and of everything that reads what it builds.

What makes a registry valid is built in, not filtered out: a requirement is made of what one of the targets has, `instead` only leads to models
further down, a dimension is used where `identity` defines it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import date
from typing import Any

import yaml
from hypothesis import strategies as st

from extproc.registry.conditions import VALUES
from extproc.registry.load import parse_registry
from extproc.registry.policy import SCORED, SIGNALS, WHO, Shape
from extproc.registry.types import Registry

DAY = date(2026, 10, 20)
REGIONS = ("eu", "us", "ch", "local")
PROMISES = ("no_training", "zero_retention", "audited")
KINDS = {
    "openai-compatible": ("m1", "m2", "*"),
    "openai": ("gpt-4o", "gpt-4o-mini", "*"),
    "anthropic": ("claude-sonnet-4-5", "claude-haiku-4-5", "*"),
    "gemini": ("gemini-2.5-flash", "gemini-2.5-pro"),
}
SOURCES = ({"jwt_claim": "org.id"}, {"header": "x-who"}, {"header": "X-Forwarded-User"}, {"certificate": "uri_san"}, {"certificate": "subject"})
PEOPLE = ("acme", "globex", "standard", "premium")
TASKS = ("code_generation", "summarization", "code*")
Draw = st.DrawFn


def dump(data: Any) -> bytes:
    """The registry as a file."""
    return yaml.dump(data, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False).encode()


def load(data: Any) -> Registry:
    return parse_registry(dump(data), "r.yaml", DAY)


@st.composite
def registries(draw: Draw) -> dict[str, Any]:
    """The data of a file that loads."""
    identity = draw(_identity())
    who = [d for d in WHO if d in identity or d in identity.get("otherwise", {})]
    providers = draw(st.dictionaries(_names("p"), _provider(), min_size=1, max_size=3))
    targets = {f"t{i}": draw(_target(providers)) for i in range(draw(st.integers(1, 6)))}
    champion = draw(st.sampled_from([None, *targets]))
    defaults: dict[str, Any] = draw(_ranking(who, ()))
    if champion is not None and draw(st.booleans()) and (require := draw(_require(providers, targets[champion]))):
        defaults["require"] = require
    strict = "require" in defaults
    models: dict[str, Any] = {}
    for i in range(draw(st.integers(1, 4))):
        name = "w-*" if i == 3 else f"m{i}"
        models[name] = draw(_model(providers, targets, who, champion if strict else None, demanding=strict))
        if i < 3 and draw(st.booleans()):
            models[name]["aliases"] = [f"alias{i}", f"family{i}-*"]
    data: dict[str, Any] = {"version": 1, "providers": providers, "targets": targets, "models": models}
    if defaults:
        data["defaults"] = defaults
    if identity:
        data["identity"] = identity
    if draw(st.booleans()):
        data["tenants"] = draw(_tenants(providers, targets, list(models), named="tenant" in who)) or {"*": {}}
    if draw(st.booleans()):
        data["state"] = draw(
            st.sampled_from(["redis://r:6379/0", "unix:///run/redis.sock", {"url": "rediss://r", "password_file": "/secrets/redis"}])
        )
    limits = draw(st.lists(_limit(who, list(models), state="state" in data), max_size=3))
    if limits:
        data["limits"] = limits
    # what was sampled is shared between examples, and callers change what they get
    return copy.deepcopy(data)


def loaded() -> st.SearchStrategy[Registry]:
    return registries().map(load)


def _names(prefix: str) -> st.SearchStrategy[str]:
    return st.integers(0, 9).map(lambda n: f"{prefix}{n}")


def _some(options: Sequence[Any], least: int = 1) -> st.SearchStrategy[list[Any]]:
    if not options:
        return st.just([])
    return st.lists(st.sampled_from(options), min_size=min(least, len(options)), max_size=len(options), unique=True)


def _identity() -> st.SearchStrategy[dict[str, Any]]:
    sources = st.dictionaries(st.sampled_from(WHO), st.sampled_from(SOURCES), max_size=3)
    constants = st.just({}) | st.dictionaries(st.sampled_from(WHO), st.sampled_from(PEOPLE), min_size=1, max_size=2).map(lambda c: {"otherwise": c})
    return st.tuples(sources, constants).map(lambda parts: parts[0] | parts[1])


@st.composite
def _provider(draw: Draw) -> dict[str, Any]:
    kind = draw(st.sampled_from(list(KINDS)))
    out: dict[str, Any] = {"kind": kind}
    if kind == "openai-compatible":
        out["url"] = "http://h:8000/v1"
    keys = {"credential": {"env": "K"}}
    out |= draw(st.sampled_from([keys, keys, {"credentials": {"a": {"env": "A"}, "b": {"file": "/secrets/b"}}}]))
    if draw(st.booleans()):
        out["data_stays_in"] = draw(_some(REGIONS))
    if draw(st.booleans()):
        out["data_policy"] = draw(_some(PROMISES))
    return out


@st.composite
def _target(draw: Draw, providers: dict[str, Any]) -> dict[str, Any]:
    provider = draw(st.sampled_from(list(providers)))
    kind = providers[provider]["kind"]
    out: dict[str, Any] = {"provider": provider, "model": draw(st.sampled_from(KINDS[kind]))}
    more: dict[str, st.SearchStrategy[Any]] = {
        "usd_per_million_tokens": st.fixed_dictionaries({"input": st.sampled_from([0, 0.5, 3]), "output": st.sampled_from([0, 2, 15.5])}),
        "capabilities": st.fixed_dictionaries({}, optional={"vision": st.booleans(), "tools": st.booleans(), "documents": st.booleans()}).filter(
            bool
        ),
        "concurrency": st.integers(1, 100),
        "requests_per_minute": st.sampled_from([0.5, 60, 1_000_000]),
        "tokens_per_minute": st.sampled_from([1, 90_000.0]),
        "quality": st.sampled_from([0, 0.3, 1]),
        "drained": st.booleans(),
    }
    if kind == "openai-compatible":
        more["context_window"] = st.sampled_from([2_000, 32_000, 1_000_000])
    for key in draw(_some(list(more), 0)):
        out[key] = draw(more[key])
    return out


@st.composite
def _require(draw: Draw, providers: dict[str, Any], target: dict[str, Any]) -> dict[str, Any]:
    """What `target` meets; may be empty."""
    provider = providers[target["provider"]]
    out: dict[str, Any] = {}
    if "data_stays_in" in provider and draw(st.booleans()):
        out["data_stays_in"] = sorted({*provider["data_stays_in"], *draw(_some(REGIONS, 0))})
    if "data_policy" in provider and draw(st.booleans()):
        out["data_policy"] = draw(_some(provider["data_policy"]))
    price = target.get("usd_per_million_tokens")
    if price and draw(st.booleans()):
        out["usd_per_million_tokens"] = {k: price[k] + draw(st.sampled_from([0, 1])) for k in draw(_some(["input", "output"]))}
    return out


def _rank_by(*, quality: bool) -> st.SearchStrategy[Any]:
    weighed = [s for s in SCORED if quality or s != "quality"]
    weights = st.dictionaries(st.sampled_from(weighed), st.sampled_from([0.1, 1, 2.5]), min_size=1)
    return st.sampled_from(["order", "cost", "latency", "bandit"]) | weights


@st.composite
def _ranking(draw: Draw, who: Sequence[str], listed: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The part that a model and `defaults` share; `listed` are the model's targets."""
    sticky = ["session", "header:X-Desk", *(d for d in who if d != "tier")]
    more: dict[str, st.SearchStrategy[Any]] = {
        "rank_by": _rank_by(quality=any("quality" in t for t in listed)),
        "objectives": st.sampled_from([{"first_token": "1s"}, {"per_token": "20ms", "usd_per_request": 0.1}]),
        "explore": st.sampled_from([0, 0.02, 0.5]),
        "sticky_by": st.sampled_from(sticky),
        "affinity": st.booleans() | st.sampled_from([{"usd": 0}, {"seconds": 0.5, "ttl": "1h"}]),
        "observe": st.just("bandit"),
        "last_resort": st.booleans(),
        "timeouts": st.just({"first_token": "5s", "deadline": "60s"}),
        "attempts": st.sampled_from([{"total": 2}, {"total": 6, "same_target": 0}]),
        "commit": st.sampled_from(["first_token", "complete"]),
        "strict": st.booleans(),
    }
    out = {key: draw(more[key]) for key in draw(_some(list(more), 0))}
    if out.get("rank_by") == "bandit":
        out.pop("observe", None)
    return out


@st.composite
def _model(draw: Draw, providers: Any, targets: dict[str, Any], who: Sequence[str], witness: str | None, *, demanding: bool) -> dict[str, Any]:
    """`witness` must be among its targets, and everything that it requires is what that one has; `demanding`: defaults require something."""
    names = draw(_some(list(targets)))
    if witness is not None and witness not in names:
        names.insert(draw(st.integers(0, len(names))), witness)
    witness = witness or names[0]
    ranks: list[Any] = []
    for name in names:
        if ranks and isinstance(ranks[-1], dict) and draw(st.booleans()):
            ranks[-1][name] = draw(st.sampled_from([0.5, 1, 90]))
        else:
            ranks.append(draw(st.sampled_from([name, {name: 10}])))
    out: dict[str, Any] = {"targets": ranks, **draw(_ranking(who, [targets[n] for n in names]))}
    if require := draw(_require(providers, targets[witness])):
        out["require"] = require
    # with a requirement a rule must name somebody who meets it
    sure = [witness] if require or demanding else []
    rules = draw(st.integers(0, 4))
    if rules:
        quality = any("quality" in targets[n] for n in names)
        out["rules"] = [draw(_rule(i, list(targets), who, sure, quality=quality, last=i == rules - 1)) for i in range(rules)]
    if draw(st.booleans()):
        out["shadow"] = {"target": sure[0] if sure else draw(st.sampled_from(list(targets))), "share": draw(st.sampled_from([0.01, 1]))}
    return out


@st.composite
def _rule(draw: Draw, place: int, targets: list[str], who: Sequence[str], sure: list[str], *, quality: bool, last: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"name": f"r{place}"} if draw(st.booleans()) else {}
    if not last or draw(st.booleans()):
        # `turns` tells a rule from those before it: of two equal ones the second would never be reached
        out["when"] = draw(whens(who)) | ({"turns": {"at_least": place}} if place else {})
    named = draw(st.sampled_from(["prefer", "only", None]))
    if named:
        out[named] = list(dict.fromkeys([*draw(_some(targets)), *sure]))
    if not named or draw(st.booleans()):
        out["rank_by"] = draw(_rank_by(quality=quality))
    return out


def whens(who: Sequence[str], depth: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    """A `when` over every signal but `turns`; `who` are the dimensions that identity defines."""
    signals = [s for s in SIGNALS if s != "turns" and (s not in WHO or s in who)]
    flat = st.lists(st.sampled_from(signals), min_size=1, max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: _condition(name) for name in names})
    )
    if not depth:
        return flat
    inner = whens(who, depth - 1)
    lists = st.lists(inner, min_size=1, max_size=2)
    return flat | st.fixed_dictionaries({}, optional={"all": lists, "any": lists, "not": inner}).filter(bool)


def _condition(signal: str) -> st.SearchStrategy[Any]:
    match SIGNALS[signal][0]:
        case Shape.FLAG:
            plain: st.SearchStrategy[Any] = st.booleans()
        case Shape.NUMBER:
            top = 1 if signal == "complexity" else 4000
            numbers = st.sampled_from([top / 4, top / 2])
            bounds = st.sampled_from([{"below": top / 2}, {"at_most": 0}, {"above": top / 4}, {"at_least": top}, {"at_least": 0, "below": top}])
            plain = numbers | st.lists(numbers, min_size=1, max_size=2) | bounds
        case Shape.TIME:
            hours = st.lists(st.sampled_from(["00:00", "06:30", "22:00", "23:59"]), min_size=2, max_size=2, unique=True)
            plain = hours.map(lambda pair: {"between": pair})
        case shape:
            words: Sequence[str] = VALUES.get(signal, ("de", "en", "*") if signal == "language" else ())
            words = words or (PEOPLE if signal in WHO else TASKS)
            plain = st.sampled_from(words) | _some(words)
            if shape is Shape.WORD and signal not in VALUES and signal != "language":
                plain |= st.just("*")
    return plain | plain.map(lambda c: {"not": c})


@st.composite
def _tenants(draw: Draw, providers: dict[str, Any], targets: dict[str, Any], models: list[str], *, named: bool) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name in draw(_some([*PEOPLE, "*"] if named else ["*"], 0)):
        entry: dict[str, Any] = {}
        if require := draw(_require(providers, targets[draw(st.sampled_from(list(targets)))])):
            entry["require"] = require
        for section, known in (("models", [*models, "m*"]), ("targets", [*targets, "t*"]), ("providers", [*providers, "*"])):
            chosen = draw(_some(known, 0))
            cut = draw(st.integers(0, len(chosen)))
            lists = {key: part for key, part in (("allow", chosen[:cut]), ("deny", chosen[cut:])) if part}
            if lists and draw(st.booleans()):
                entry[section] = lists
        out[name] = entry
    return out


@st.composite
def _limit(draw: Draw, who: Sequence[str], models: list[str], *, state: bool) -> dict[str, Any]:
    amounts: dict[str, st.SearchStrategy[Any]] = {
        "requests_per_minute": st.sampled_from([0.5, 1, 600]),
        "tokens_per_minute": st.sampled_from([100, 200_000]),
        "usd_per_day": st.sampled_from([0.01, 5]),
        "usd_per_month": st.sampled_from([0.5, 500]),
    }
    out: dict[str, Any] = {key: draw(amounts[key]) for key in draw(_some(list(amounts)))}
    if by := {d: draw(st.sampled_from(["*", "acme", "a*"])) for d in draw(_some(who, 0))}:
        out["for"] = by
    plain = [m for m in models if m != "w-*"]
    place = draw(st.sampled_from([None, *range(len(models))]))
    if place is not None:
        out.setdefault("for", {})["model"] = models[place]
    further = plain if place is None else plain[place + 1 :]
    if further and draw(st.booleans()):
        out["instead"] = draw(st.sampled_from(further))
    if not state or draw(st.booleans()):
        out["scope"] = "process"
    return out
