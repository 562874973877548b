"""The state directory: what of the live registry outlives the process.

`overlay.json` holds the changes in force, `history.jsonl` what was changed when and by whom (written ahead of the overlay), `last-good.yaml` the
bytes of the registry file that last loaded, `in-force-N` the digest that worker N routes with. Every file is replaced whole and synced, or
appended to and synced, so that a kill at any moment leaves the old or the new. The first worker writes, the others read; of several servers that
were given one directory, the one that holds `lock` writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from extproc.admin.overlay import Entry, Overlay, is_time
from extproc.envoyconfig.write import beside
from extproc.registry.yaml_marks import MAX_BYTES

HISTORY_BYTES = 16 << 20
"""Of the history's file; beyond it, its older half goes."""
OVERLAY_BYTES = 1 << 20
"""Changes that take more are refused, as a larger registry file is. The file may be larger by why they are suspended."""
UNREADABLE_KEPT = 10
"""Overlays that could not be read and were put aside; further ones take the place of the last."""

_MISSING = (FileNotFoundError, NotADirectoryError)

Mark = tuple[int, int, int]
"""Inode, time and size of a file: another one after every replacement."""


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the history. `action` is change, drop, resume, rollback, expire, suspend, adopt, file or shared; `differences` those of the
    document in force, as {path, before?, after?}; `before` and `after` the overlay's entries around it; `base` the file's digest."""

    id: str
    at: float
    author: str
    action: str
    base: str
    differences: tuple[dict[str, Any], ...]
    before: tuple[Entry, ...]
    after: tuple[Entry, ...]

    def said(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "id": self.id,
            "at": self.at,
            "author": self.author,
            "action": self.action,
            "base": self.base,
            "difference": list(self.differences),
            "overlay": {"before": [e.said() for e in self.before], "after": [e.said() for e in self.after]},
        }

    @staticmethod
    def read(said: Any) -> Record:
        """Raises ValueError."""
        try:
            before, after = (tuple(Entry.read(e) for e in said["overlay"][side]) for side in ("before", "after"))
            id_, author, action, base = words = [said[key] for key in ("id", "author", "action", "base")]
            found = tuple(said["difference"])
            whole = is_time(said["at"]) and all(isinstance(word, str) for word in words)
            if whole and all(all(isinstance(key, str) for key in one["path"]) for one in found):
                return Record(id_, said["at"], author, action, base, found, before, after)
        except (KeyError, TypeError):
            pass
        raise ValueError("a line of the history is not written as this version writes it")


class StateFiles:
    """All of it blocks, and raises OSError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._overlay = directory / "overlay.json"
        self._history = directory / "history.jsonl"
        self._last_good = directory / "last-good.yaml"
        self._lock: int | None = None

    def prepare(self) -> None:
        """Private to the user."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def own(self) -> bool:
        """Is this process the one that writes here? It is from when it was asked first and no other process was, until it ends however that may be.
        A directory that takes no lock has no other writer to fear."""
        if self._lock is None:
            try:
                handle = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError:
                return True
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(handle)
                return not isinstance(error, BlockingIOError | PermissionError)
            self._lock = handle
        return True

    def overlay_mark(self) -> Mark | None:
        """None where there is none."""
        try:
            found = self._overlay.stat()
        except _MISSING:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def read_overlay(self) -> Overlay:
        """An empty one where there is none. Raises ValueError for one that cannot be read."""
        try:
            with self._overlay.open("rb") as file:
                raw = file.read(2 * OVERLAY_BYTES + 1)
        except _MISSING:
            return Overlay()
        return overlay_of(raw)

    def put_aside(self) -> None:
        """Moves an overlay that cannot be read out of the way, where somebody can look at it; one that can be read stays."""
        with contextlib.suppress(OSError, ValueError):
            self.read_overlay()
            return
        names = ["overlay.unreadable", *(f"overlay.unreadable.{n}" for n in range(1, UNREADABLE_KEPT))]
        free = next((name for name in names if not (self.directory / name).exists()), names[-1])
        self._overlay.rename(self.directory / free)

    def settle(self, overlay: Overlay) -> None:
        """At the start: a kill between the history and the overlay has left a record of a change that never was."""
        for length, last in self._from_the_end():
            if last.before == overlay.entries != last.after:
                os.truncate(self._history, self._history.stat().st_size - length)
            return

    def write(self, overlay: Overlay, record: Record | None = None) -> None:
        """The record first; if the overlay cannot be written, neither is."""
        size = self._append(record) if record is not None else None
        try:
            replace_file(self._overlay, orjson.dumps(overlay.said()))
        except OSError:
            if size is not None:
                os.truncate(self._history, size)
            raise

    def history(self) -> list[Record]:
        """The oldest first."""
        return list(self.newest())[::-1]

    def newest(self) -> Iterator[Record]:
        """The newest first, read as they are asked for. What a kill has left half written is not among them."""
        return (record for _, record in self._from_the_end())

    def _from_the_end(self) -> Iterator[tuple[int, Record]]:
        """With the bytes from where each begins to the end of the file."""
        try:
            lines = self._newest(2 * HISTORY_BYTES).split(b"\n")
        except _MISSING:
            return
        length = -1
        for line in reversed(lines):
            length += len(line) + 1
            with contextlib.suppress(ValueError):
                yield length, Record.read(orjson.loads(line))

    def _append(self, record: Record) -> int:
        """The size of the history before."""
        size = self._history.stat().st_size if self._history.exists() else 0
        if size > HISTORY_BYTES:
            size = self._cut()
        handle = os.open(self._history, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "r+b") as file:
            torn = b""
            if size:
                file.seek(size - 1)
                torn = b"" if file.read(1) == b"\n" else b"\n"
            file.write(torn + orjson.dumps(record.said()) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return size

    def _cut(self) -> int:
        """To the newest records that fit into half of the bytes. The size afterwards."""
        kept: list[bytes] = []
        room = HISTORY_BYTES // 2
        for line in reversed(self._newest(HISTORY_BYTES).split(b"\n")):
            room -= len(line) + 1
            if room < 0:
                break
            kept.append(line)
        whole = b"\n".join(reversed(kept))
        replace_file(self._history, whole)
        return len(whole)

    def _newest(self, size: int) -> bytes:
        """At most so many bytes of the history."""
        with self._history.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read(size)

    def read_last_good(self) -> bytes | None:
        """None where no file has loaded yet."""
        try:
            with self._last_good.open("rb") as file:
                return file.read(MAX_BYTES + 1)
        except _MISSING:
            return None

    def write_last_good(self, raw: bytes) -> None:
        """Only what differs is written."""
        if self.read_last_good() != raw:
            replace_file(self._last_good, raw)

    def write_in_force(self, worker: int, digest: str) -> None:
        """For the first worker to see; not worth a sync."""
        replace_file(self.directory / f"in-force-{worker}", digest.encode(), sync=False)

    def read_in_force(self, worker: int) -> str:
        """ "" where that worker has not said it yet."""
        try:
            return (self.directory / f"in-force-{worker}").read_text()
        except _MISSING:
            return ""


def overlay_of(raw: bytes) -> Overlay:
    """Raises ValueError."""
    if len(raw) > 2 * OVERLAY_BYTES:
        raise ValueError(f"the overlay is larger than {OVERLAY_BYTES >> 19} MiB")
    return Overlay.read(orjson.loads(raw))


def replace_file(target: Path, content: bytes, *, sync: bool = True) -> None:
    """By rename, readable for the user alone. What a kill leaves beside it is taken again the next time; each file has one writer."""
    temporary = beside(target, content, sync=sync)
    try:
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
