"""A registry's document as plain data (what JSON holds): values at paths, laid over it, said by a merge patch, or different in two documents.

A path is the keys of mappings from the root. A list has no path into it: it is one value. Nothing here changes its arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

Path = tuple[str, ...]


class Absent(Enum):
    """The value of what is not there: null is a value of its own."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


class Set(NamedTuple):
    """At `path` stands `value`; `ABSENT`: nothing does."""

    path: Path
    value: Any


class Difference(NamedTuple):
    """What stood at `path`, and what stands there now; either may be `ABSENT`, not both."""

    path: Path
    before: Any
    after: Any


def value_at(tree: Any, path: Path) -> Any:
    """What stands there, or `ABSENT`."""
    for key in path:
        if not isinstance(tree, dict) or key not in tree:
            return ABSENT
        tree = tree[key]
    return tree


def laid_over(tree: dict[str, Any], sets: Sequence[Set]) -> dict[str, Any]:
    """`tree` with `sets` in their order. One whose parent is no mapping is left out, and so is the removal of what is not there: the registry's own
    reader refuses such a change with its path."""
    for one in sets:
        tree = _laid(tree, one.path, one.value)
    return tree


def _laid(tree: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    key, rest = path[0], path[1:]
    if rest:
        inner = tree.get(key)
        return {**tree, key: _laid(inner, rest, value)} if isinstance(inner, dict) else tree
    if value is ABSENT:
        return {k: v for k, v in tree.items() if k != key}
    return {**tree, key: value}


def replaced(tree: dict[str, Any], path: Path, value: Any) -> list[Set]:
    """What makes `value` stand at `path`, although the mappings on the way there may be missing, or be left empty by a removal; nothing where it
    stands there already."""
    if same(value_at(tree, path), value):
        return []
    if value is ABSENT:
        # a mapping that held only this would stay behind empty, which no section of a registry may be
        while len(path) > 1 and len(value_at(tree, path[:-1])) == 1:
            path = path[:-1]
        return [Set(path, ABSENT)]
    depth = next((n for n in range(1, len(path)) if not isinstance(value_at(tree, path[:n]), dict)), len(path))
    for key in reversed(path[depth:]):
        value = {key: value}
    return [Set(path[:depth], value)]


def merged(tree: dict[str, Any], path: Path, patch: Any) -> list[Set]:
    """What a merge patch (RFC 7396) of the value at `path` says, member by member, so that two changes of one mapping need not be one."""
    here = value_at(tree, path)
    if not isinstance(patch, dict):
        return replaced(tree, path, patch)
    if not isinstance(here, dict):
        return replaced(tree, path, without_nulls(patch))
    sets: list[Set] = []
    for key, value in patch.items():
        at = (*path, key)
        if value is not None:
            sets += merged(tree, at, value)
        elif key in here:
            sets.append(Set(at, ABSENT))
    return sets


def without_nulls(patch: Any) -> Any:
    """The result of a merge patch over nothing."""
    return {key: without_nulls(value) for key, value in patch.items() if value is not None} if isinstance(patch, dict) else patch


def differences(before: Any, after: Any, path: Path = ()) -> Iterator[Difference]:
    """What differs, as deep as both have mappings, in the order of the documents."""
    if before is after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in (*before, *(k for k in after if k not in before)):
            yield from differences(before.get(key, ABSENT), after.get(key, ABSENT), (*path, key))
    elif not same(before, after):
        yield Difference(path, before, after)


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1. The order of a mapping's members counts nowhere, that of lists does."""
    if one is other:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def holds(outer: Path, inner: Path) -> bool:
    """Does `inner` lie in `outer`, or is it the same?"""
    return inner[: len(outer)] == outer
