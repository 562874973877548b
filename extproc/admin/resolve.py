"""A registry file and an overlay to the registry in force: whether the overlay may lie over this file, and what both make. Pure, and slow for a
large file: milliseconds to some hundreds of them, so it runs in a thread."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from extproc.admin import hidden
from extproc.admin.overlay import Entry, Overlay, Suspension, checked
from extproc.admin.refusal import problems_said
from extproc.admin.tree import ABSENT, Path, laid_over, value_at
from extproc.registry.load import RegistryError, document, parse_registry
from extproc.registry.problems import render, shown
from extproc.registry.types import Registry

WAYS_OUT = "POST /v1/overlay/resume keeps the changes over this file, DELETE /v1/overlay drops them"


@dataclass(frozen=True, slots=True)
class Base:
    """A registry file that loads: its bytes, their digest, what they say, and the registry that they make alone."""

    raw: bytes
    digest: str
    tree: dict[str, Any]
    registry: Registry


@dataclass(frozen=True, slots=True)
class Resolved:
    """`registry` and `tree` are in force; `overlay` is what is left of it: without what has expired, or what the file says itself by now
    (`adopted`), and perhaps suspended."""

    registry: Registry
    tree: dict[str, Any]
    overlay: Overlay
    adopted: tuple[Entry, ...] = ()


def digest_of(raw: bytes) -> str:
    """As `Registry.digest` of the file alone."""
    return hashlib.sha256(raw).hexdigest()[:12]


def read_base(raw: bytes, path: str) -> Base:
    """Raises `RegistryError`."""
    registry = parse_registry(raw, path)
    return Base(raw, registry.digest, document(raw, path), registry)


def with_changes(base: Base, path: str, overlay: Overlay) -> tuple[Registry, dict[str, Any]]:
    """The registry and the document with the overlay's changes. Raises `RegistryError`."""
    changes = overlay.changes
    if not changes:
        return base.registry, base.tree
    return parse_registry(base.raw, path, changes=changes), laid_over(base.tree, overlay.sets)


def resolved(base: Base, path: str, overlay: Overlay, wall: float, *, arrived: bool = False) -> Resolved:
    """`arrived`: the overlay is another replica's, made over that one's file."""
    overlay = overlay.at(wall)
    if overlay.suspended is not None and (overlay.suspended.reason == "unreadable" or (overlay.entries and not overlay.suspended.lagging)):
        return Resolved(base.registry, base.tree, overlay)
    lagging = arrived or overlay.suspended is not None
    overlay = replace(overlay, suspended=None)
    found = checked(overlay.entries, base.tree, base.digest)
    if found.conflicts:
        problems = tuple(_conflict(entry, base) for entry in found.conflicts)
        return Resolved(base.registry, base.tree, replace(overlay, suspended=Suspension(wall, "conflict", base.digest, problems, lagging)))
    overlay = replace(overlay, entries=found.entries)
    try:
        registry, tree = with_changes(base, path, overlay)
    except RegistryError as error:
        suspended = Suspension(wall, "does_not_load", base.digest, tuple(problems_said(error.problems)), lagging)
        return Resolved(base.registry, base.tree, replace(overlay, suspended=suspended))
    return Resolved(registry, tree, overlay, found.adopted)


def after_each_end(base: Base, path: str, overlay: Overlay) -> tuple[Entry, RegistryError] | None:
    """Would the registry still load whenever one of the changes has expired? If not, the first that must not, and what would be wrong then."""
    ends = sorted({e.expires: e for e in overlay.entries if e.expires is not None}.items())
    for end, entry in ends:
        try:
            with_changes(base, path, overlay.at(end))
        except RegistryError as error:
            return entry, error
    return None


def conflicts_said(entries: Iterable[Entry], base: Base) -> list[dict[str, Any]]:
    """As problems."""
    return [_conflict(entry, base) for entry in entries]


def _conflict(entry: Entry, base: Base) -> dict[str, Any]:
    then, now = (_quoted(value, entry.path) for value in (entry.before, value_at(base.tree, entry.path)))
    return {
        "path": render(entry.path),
        "message": f"the file said {then} when {entry.author} changed it ({entry.id}), and says {now} now",
        "suggestion": WAYS_OUT,
    }


def _quoted(value: Any, path: Path) -> str:
    if value is ABSENT:
        return "nothing"
    value = hidden.shown(value, path)
    return shown(value) if isinstance(value, str) else shown(orjson.dumps(value).decode())
