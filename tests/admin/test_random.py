"""Whatever is sent, in whatever order: no internal error, and what is in force always loads, on disk, too."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extproc.admin.overlay import Overlay, Stamp, added, affirmed, checked
from extproc.admin.tree import ABSENT, Set, differences, laid_over, merged, replaced, same, value_at, without_nulls
from extproc.registry.changes import Change
from extproc.registry.load import RegistryError, document, parse_registry
from tests.admin.api_rig import ApiRig
from tests.admin.live_rig import FILE, Rig

NAMES = st.sampled_from(["chat", "other", "a", "b", "p", "q", "new", "gpt-*", "x/y", "acme", "*", "é", " "])
KEYS = st.sampled_from(
    [
        *("targets", "strict", "aliases", "timeouts", "rank_by", "rules", "require", "commit", "attempts", "last_resort", "sticky_by", "shadow"),
        *("provider", "model", "drained", "concurrency", "quality", "capabilities", "envoy", "usd_per_million_tokens", "url", "kind", "credential"),
        *("models", "allow", "deny", "for", "when", "prefer", "first_token", "deadline", "a", "b", "tenant", "requests_per_minute", "nonsense", ""),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["a", "b", "chat", "2s", "order", "latency", "openai", "gpt-4o", "eu", "*", "", "yes", "0123", "\x00", "first_token", "complete"]
    ),
    st.text(max_size=5),
)
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)), max_leaves=8)
SENSIBLE = st.one_of(
    st.fixed_dictionaries({"targets": st.lists(st.sampled_from(["a", "b", "new"]), min_size=1, max_size=2, unique=True)}),
    st.fixed_dictionaries({"strict": st.one_of(st.none(), st.booleans())}),
    st.fixed_dictionaries({"drained": st.one_of(st.none(), st.booleans())}),
    st.fixed_dictionaries({"provider": st.sampled_from(["p", "q"]), "model": st.just("gpt-4o")}),
    st.fixed_dictionaries({"timeouts": st.fixed_dictionaries({"first_token": st.sampled_from(["1s", "9s", None])})}),
)
PLACES = st.tuples(st.sampled_from(["models", "targets", "providers", "tenants"]), NAMES)
STEPS = st.one_of(
    st.tuples(
        st.sampled_from(["PATCH", "PUT"]), PLACES, st.one_of(SENSIBLE, SENSIBLE, VALUES), st.sampled_from(["", "?expires=60s", "?dry_run=true"])
    ),
    st.tuples(st.just("DELETE"), PLACES, st.none(), st.just("")),
    st.tuples(st.just("PUT"), st.sampled_from([("limits",), ("defaults",)]), VALUES, st.just("")),
    st.tuples(
        st.just("POST"), st.sampled_from([("targets", "a", "drain"), ("targets", "b", "enable"), ("overlay", "resume")]), st.none(), st.just("")
    ),
    st.tuples(st.just("DELETE"), st.just(("overlay",)), st.none(), st.just("")),
    st.tuples(st.just("time"), st.just(()), st.none(), st.just("")),
    st.tuples(st.just("file"), st.just(()), st.sampled_from([("strict: false", "strict: true"), ("[a, b]", "[a]"), ("[a]", "[a, b]")]), st.just("")),
)


def loads(rig: Rig) -> None:
    """What is in force is what the file and the overlay make, read anew."""
    overlay = rig.live.overlay
    registry = parse_registry(rig.file.read_bytes(), str(rig.file), changes=overlay.changes)
    assert registry.digest == rig.current.digest == rig.live.registry.digest
    assert same(document(rig.file.read_bytes(), str(rig.file), overlay.changes), rig.live.tree)
    # entries that have expired meanwhile are pruned when it is their turn; the disk has them until then
    assert rig.files.read_overlay().entries == overlay.entries


async def steps(directory: Path, taken: list[Any]) -> None:
    rig = ApiRig(directory)
    for method, place, body, query in taken:
        if method == "time":
            rig.now += 61
            async with rig.live.turn:
                await rig.live.again(rig.live.overlay, "expire")
        elif method == "file":
            rig.file.write_text(rig.file.read_text().replace(*body))
            await rig.live.look()
        else:
            path = "/v1/" + "/".join(part.replace("/", "%2F") for part in place) + query
            response = await rig.ask(method, path, body if method not in ("DELETE", "POST") else None, if_match="*")
            if response.status_code == 412:
                response = await rig.ask(method, path, body, if_none_match="*")
            assert response.status_code < 500, f"{method} {path} {body}: {response.text}"
        loads(rig)
    again = Rig(directory, now=rig.now)
    assert again.current.digest == rig.current.digest


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=8))
def test_random_changes(taken: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(steps(Path(directory), taken))


# the laws of trees and overlays

TREES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)), max_leaves=8
)
ROOTS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)
PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(tuple)


def patched(tree: Any, patch: Any) -> Any:
    """RFC 7396, section 2, as it is written there."""
    if not isinstance(patch, dict):
        return patch
    out = dict(tree) if isinstance(tree, dict) else {}
    for name, value in patch.items():
        if value is None:
            out.pop(name, None)
        else:
            out[name] = patched(out.get(name), value)
    return out


@settings(deadline=None)
@given(ROOTS, PATHS, st.one_of(st.just(ABSENT), TREES))
def test_what_is_put_stands_there(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    after = laid_over(tree, replaced(tree, path, value))
    assert value_at(after, path) is ABSENT if value is ABSENT else same(value_at(after, path), value)


@settings(deadline=None)
@given(ROOTS, st.dictionaries(st.sampled_from("abc"), TREES, max_size=3))
def test_a_merge_patch_is_rfc_7396s(tree: dict[str, Any], patch: dict[str, Any]) -> None:
    tree = {"root": tree}
    after = laid_over(tree, merged(tree, ("root",), patch))
    assert same(after["root"], patched(tree["root"], patch))
    assert same(without_nulls(patch), patched({}, patch))


@settings(deadline=None)
@given(ROOTS, ROOTS)
def test_differences_lead_from_one_to_the_other(one: dict[str, Any], other: dict[str, Any]) -> None:
    found = list(differences(one, other))
    assert same(laid_over(one, [Set(d.path, d.after) for d in found]), other)
    assert bool(found) != same(one, other)


@settings(deadline=None)
@example({}, [(("a",), 1, None), (("a",), 2, 1), (("a",), 1, 3)])
@given(ROOTS, st.lists(st.tuples(PATHS, st.one_of(st.just(ABSENT), TREES), st.one_of(st.none(), st.integers(1, 5))), max_size=6))
def test_at_any_time_the_newest_change_that_lasts_counts(base: dict[str, Any], changes: list[tuple[tuple[str, ...], Any, int | None]]) -> None:
    """Dropping what is hidden changes nothing, now or later."""
    entries: tuple[Any, ...] = ()
    everything: list[tuple[Set, float | None]] = []
    for number, (path, value, expires) in enumerate(changes):
        now = laid_over(base, [Set(e.path, e.value) for e in entries])
        for one in replaced(now, path, value):
            everything.append((one, expires))
            entries = added(entries, [one], base, Stamp(str(number), 0.0, "ann", "d", expires))
        for later in range(6):
            left = [Set(e.path, e.value) for e in Overlay(entries=entries).at(later).entries]
            all_left = [one for one, end in everything if end is None or end > later]
            assert same(laid_over(base, left), laid_over(base, all_left))
    found = checked(entries, base, "d")
    assert (found.entries, found.conflicts) == (entries, ())
    assert checked(affirmed(entries, {}, "e"), {}, "f").conflicts == ()


@settings(deadline=None)
@given(st.lists(st.tuples(PLACES, st.one_of(SENSIBLE, st.none())), max_size=4))
def test_the_document_is_the_registrys_own(changes: list[tuple[tuple[str, str], Mapping[str, Any] | None]]) -> None:
    """Laying changes over plain data gives what the registry's reader makes of them, where it takes them."""
    tree = yaml.safe_load(FILE)
    sets: list[Set] = []
    for path, value in changes:
        sets += replaced(laid_over(tree, sets), path, ABSENT if value is None else value)
    as_changes = [Change(s.path, removed=True) if s.value is ABSENT else Change(s.path, s.value) for s in sets]
    try:
        said = document(FILE.encode(), "r.yaml", as_changes)
    except RegistryError:
        return
    assert same(said, laid_over(tree, sets))
