"""Over random registries: a valid one always loads and comes out as it was written; a damaged one is loaded, or refused with places."""

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from extproc.registry.changes import Change
from extproc.registry.load import RegistryError, document, parse_registry
from extproc.registry.policy import Policy
from extproc.registry.requirements import unmet
from tests.registry.strategies import DAY, dump, load, registries

KEY = "sk-ant-api03-" + "Zx9" * 12
SETTINGS = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@given(registries())
@SETTINGS
def test_a_valid_registry_loads(data: dict[str, Any]) -> None:
    try:
        registry = load(data)
    except RegistryError as error:
        note(dump(data).decode())
        raise AssertionError(str(error)) from error
    for name, model in registry.models.items():
        targets = [registry.targets[t] for rank in model.ranks for t, _ in rank.targets]
        assert any(not unmet(model.require, t) for t in targets), "a model that nobody may serve"
        written = data["models"][name]
        assert len(model.rules) == len(written.get("rules", ()))
        assert len({rule.name for rule in model.rules}) == len(model.rules)
        for part in (data.get("defaults", {}), written):
            for region in ("data_stays_in", "data_policy"):
                wanted = set(part.get("require", {}).get(region, ()))
                found = getattr(model.require, region)
                assert not wanted or (found and (found <= wanted if region == "data_stays_in" else found >= wanted)), "wider than was asked for"
        assert (model.rank_by.policy is Policy.SCORE) == bool(model.rank_by.weights)
    assert len(registry.limits) == len({limit.key for limit in registry.limits}) == len(data.get("limits", ()))
    assert registry.tenants.keys() == data.get("tenants", {}).keys()


@given(registries())
@settings(SETTINGS, max_examples=30)
def test_the_document_laid_over_its_own_file_changes_nothing_but_the_digest(data: dict[str, Any]) -> None:
    raw = dump(data)
    sections = document(raw, "r.yaml")
    changes = [Change((section,), value) for section, value in sections.items()]
    plain, changed = load(data), parse_registry(raw, "r.yaml", DAY, changes)
    assert replace(changed, digest=plain.digest, base="") == plain


def paths(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """To every value below the root."""
    members = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in members:
        yield (*path, key)
        yield from paths(value, (*path, key))


def holder(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        data = data[key]
    return data


def nested(depth: int) -> Any:
    out: Any = {"not": "x"}
    for i in range(depth):
        out = {"not": out} if i % 2 else [out]
    return out


weird = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([10**17, 10**40, -(10**25), 0.5, -0.1, 1e300, math.inf, -math.inf, math.nan])
    | st.text(max_size=8)
    | st.sampled_from(["*", "a*b", "x" * 5000, "order", "20s", "22:00", "t0", "m0", "p0", "no", "0x1f", "1e5", "~", "é", "a\tb", "\x00", KEY])
    | st.sampled_from([b"\xff", DAY, [], {}, [[]], [None], {"": None}, {"*": "*"}, {KEY: KEY}, nested(6), nested(60)])
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    data = draw(registries())
    for _ in range(draw(st.integers(1, 3))):
        places = list(paths(data))
        path = draw(st.sampled_from(places))
        inside = holder(data, path)
        match draw(st.sampled_from(["drop", "replace", "list", "mapping", "rename", "add", "move"])):
            case "drop":
                del inside[path[-1]]
            case "replace":
                inside[path[-1]] = copy.deepcopy(draw(weird))
            case "list":
                inside[path[-1]] = [inside[path[-1]]]
            case "mapping":
                inside[path[-1]] = {draw(st.sampled_from(["not", "all", "x", KEY])): inside[path[-1]]}
            case "rename" if isinstance(inside, dict):
                inside[draw(st.sampled_from(["x", "", "*", str(path[-1]) + "s", str(path[-1])[:-1], KEY, 7, None, True]))] = inside.pop(path[-1])
            case "add" if isinstance(inside, dict):
                inside[draw(st.sampled_from(["x", "when", "instead", "rank_by", "require", "for"]))] = copy.deepcopy(draw(weird))
            case _:
                inside[path[-1]] = copy.deepcopy(holder(data, draw(st.sampled_from(places))))
        if not data:
            break
    return data


@given(damaged())
@settings(SETTINGS, max_examples=250)
def test_a_damaged_registry_is_loaded_or_refused_with_places_and_no_key_is_told(data: Any) -> None:
    refused = None
    try:
        load(data)
    except RegistryError as error:
        refused = error
    if refused is not None:
        assert refused.problems
        assert all(p.line > 0 or p.path for p in refused.problems)
        assert all(p.message for p in refused.problems)
        text = str(refused) + repr(refused)
        assert KEY not in text
        assert KEY[3:20] not in text
