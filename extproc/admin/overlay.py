"""The overlay: changes over the registry file, each with its author, its end and what the file said when it was made.

Entries apply in their order. A newer one takes the place of those that it hides for as long as they last; what outlives it stays below it and
holds again when it ends. An entry conflicts with another file if that says something else at its path than it did when the change was made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from extproc.admin.tree import ABSENT, Path, Set, holds, laid_over, same, value_at
from extproc.registry.changes import Change

FORMAT = 1
MAX_ENTRIES = 500
"""Each one is laid over the file at every load."""
_LATEST = 2e11
"""Unix seconds: no clock says more, and no calendar goes much further."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. `at` and `expires` are Unix seconds, `base` the digest of the file that it was made over, `before` what that said at `path`."""

    id: str
    at: float
    author: str
    base: str
    path: Path
    before: Any
    value: Any
    expires: float | None = None

    def said(self) -> dict[str, Any]:
        """As JSON, on disk and on the wire: no `before` is nothing there, `removed` takes the place of `value`."""
        out: dict[str, Any] = {"id": self.id, "at": self.at, "author": self.author, "base": self.base, "path": list(self.path)}
        if self.expires is not None:
            out["expires"] = self.expires
        if self.before is not ABSENT:
            out["before"] = self.before
        return out | ({"removed": True} if self.value is ABSENT else {"value": self.value})

    @staticmethod
    def read(said: Any) -> Entry:
        """Raises ValueError for what `said` never returns."""
        match said:
            case {"id": str(id_), "at": at, "author": str(author), "base": str(base), "path": [str(), *_] as path}:
                before, value, expires = said.get("before", ABSENT), said.get("value", ABSENT), said.get("expires")
                whole = ("removed" in said) == (value is ABSENT) and all(isinstance(key, str) for key in path)
                if whole and is_time(at) and (expires is None or is_time(expires)):
                    return Entry(id_, at, author, base, tuple(path), before, value, expires)
        raise ValueError("a change of the overlay is not written as this version writes it")


@dataclass(frozen=True, slots=True)
class Suspension:
    """Why the file alone serves: `reason` is conflict, does_not_load or unreadable, `base` the digest of the file that it came with, `problems` as
    the API says them. `lagging`: the overlay came from a replica whose file is another one, and counts again once this replica has that too."""

    at: float
    reason: str
    base: str
    problems: tuple[dict[str, Any], ...]
    lagging: bool = False

    def said(self) -> dict[str, Any]:
        """As JSON."""
        lagging = {"lagging": True} if self.lagging else {}
        return {"at": self.at, "reason": self.reason, "base": self.base, "problems": list(self.problems), **lagging}

    @staticmethod
    def read(said: Any) -> Suspension:
        """Raises ValueError."""
        match said:
            case {"at": at, "reason": "conflict" | "does_not_load" | "unreadable", "base": str(), "problems": list(problems)} if is_time(at) and all(
                isinstance(p, dict) and all(isinstance(p.get(key), str) for key in ("path", "message")) for p in problems
            ):
                return Suspension(said["at"], said["reason"], said["base"], tuple(said["problems"]), bool(said.get("lagging")))
            case _:
                raise ValueError("the suspension of the overlay is not written as this version writes it")


@dataclass(frozen=True, slots=True)
class Overlay:
    """`version` counts the writings that others know of. `unshared`: it holds changes made while the shared state did not answer."""

    version: int = 0
    entries: tuple[Entry, ...] = ()
    suspended: Suspension | None = None
    unshared: bool = False

    @property
    def state(self) -> str:
        """none, active or suspended."""
        return "suspended" if self.suspended else "active" if self.entries else "none"

    @property
    def sets(self) -> list[Set]:
        """What it lays over the file; nothing while it is suspended."""
        return [] if self.suspended else [Set(e.path, e.value) for e in self.entries]

    @property
    def changes(self) -> list[Change]:
        """The same for the registry's reader."""
        return [Change(path, removed=True) if value is ABSENT else Change(path, value) for path, value in self.sets]

    @property
    def next_end(self) -> float:
        """Unix seconds until the first entry expires; infinite if none does."""
        return min((e.expires for e in self.entries if e.expires is not None), default=math.inf)

    def at(self, wall: float) -> Overlay:
        """Without what has expired by then."""
        left = tuple(e for e in self.entries if e.expires is None or e.expires > wall)
        return self if len(left) == len(self.entries) else replace(self, entries=left)

    def said(self) -> dict[str, Any]:
        """As JSON."""
        out: dict[str, Any] = {"format": FORMAT, "version": self.version, "changes": [e.said() for e in self.entries]}
        if self.suspended is not None:
            out["suspended"] = self.suspended.said()
        return out | ({"unshared": True} if self.unshared else {})

    @staticmethod
    def read(said: Any) -> Overlay:
        """Raises ValueError."""
        match said:
            case {"format": 1, "version": int(version), "changes": list(changes)} if 0 <= version < 1 << 53:
                suspended = Suspension.read(said["suspended"]) if "suspended" in said else None
                return Overlay(version, tuple(Entry.read(c) for c in changes), suspended, bool(said.get("unshared")))
            case {"format": int(number)} if number != FORMAT:
                raise ValueError(f"the overlay is in format {number}; this version reads format {FORMAT}")
            case _:
                raise ValueError("the overlay is not written as this version writes it")


def is_time(value: Any) -> bool:
    """Unix seconds, as JSON holds them."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LATEST


class Stamp(NamedTuple):
    """Who makes a change, when, over which file, until when."""

    id: str
    at: float
    author: str
    base: str
    expires: float | None = None


def added(entries: Sequence[Entry], sets: Sequence[Set], base: dict[str, Any], stamp: Stamp) -> tuple[Entry, ...]:
    """`entries` with `sets` on top. What they hide for good goes, and so does one that says what stands there anyway."""
    out = list(entries)
    for number, (path, value) in enumerate(sets, 1):
        new = Entry(
            stamp.id if len(sets) == 1 else f"{stamp.id}.{number}",
            stamp.at,
            stamp.author,
            stamp.base,
            path,
            value_at(base, path),
            value,
            stamp.expires,
        )
        # said again: what counts is until when this time
        last = next((e for e in reversed(out) if holds(e.path, path) or holds(path, e.path)), None)
        again = last if last is not None and last.path == path and same(last.value, value) else None
        out = [e for e in out if e is not again and not _hidden(e, new)]
        near = [e for e in out if holds(e.path, path) or holds(path, e.path)]
        below = value_at(laid_over(base, [Set(e.path, e.value) for e in near]), path)
        if any(e.expires is not None for e in near) or not same(below, value):
            out.append(new)
    return tuple(out)


def _hidden(old: Entry, new: Entry) -> bool:
    outlived = new.expires is None or (old.expires is not None and old.expires <= new.expires)
    return outlived and holds(new.path, old.path)


class Checked(NamedTuple):
    """Entries against a file: those that it makes superfluous, because it now says the same, and those that it contradicts."""

    entries: tuple[Entry, ...]
    adopted: tuple[Entry, ...]
    conflicts: tuple[Entry, ...]


def checked(entries: Sequence[Entry], base: dict[str, Any], digest: str) -> Checked:
    """`digest` is the file's: what was made or affirmed over this very file does not conflict with it."""
    whole = laid_over(base, [Set(e.path, e.value) for e in entries])
    kept, adopted, conflicts = [], [], []
    for entry in entries:
        now = value_at(base, entry.path)
        if entry.base == digest or same(now, entry.before):
            kept.append(entry)
        elif same(now, value_at(whole, entry.path)) and not _among_temporary(entry, entries):
            adopted.append(entry)
        else:
            conflicts.append(entry)
    return Checked(tuple(kept), tuple(adopted), tuple(conflicts))


def _among_temporary(entry: Entry, entries: Sequence[Entry]) -> bool:
    """Is another one above or below it that ends? Then it may say something later that it does not say now."""
    return any(
        other is not entry and other.expires is not None and (holds(entry.path, other.path) or holds(other.path, entry.path)) for other in entries
    )


def affirmed(entries: Sequence[Entry], base: dict[str, Any], digest: str) -> tuple[Entry, ...]:
    """The same changes, made over this file."""
    return tuple(replace(e, base=digest, before=value_at(base, e.path)) for e in entries)
