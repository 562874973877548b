"""The state directory: what of the live registry outlives the process.

`overlay.json` holds the changes in force, `history.jsonl` what was changed when and by whom (written ahead of the overlay), `last-good.yaml` the
bytes of the registry file that last loaded, `in-force-N` the digest that worker N routes with. Every file is replaced whole and synced, or
appended to and synced, so that a kill at any moment leaves the old or the new. The first worker writes, the others read.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from extproc.admin.overlay import Entry, Overlay
from extproc.registry.yaml_marks import MAX_BYTES

HISTORY_BYTES = 16 << 20
"""Of the history's file; beyond it, its older half goes."""
OVERLAY_BYTES = 1 << 20
"""An overlay that is larger is refused, as a larger registry file is."""

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
            return Record(str(said["id"]), said["at"], said["author"], said["action"], said["base"], tuple(said["difference"]), before, after)
        except (KeyError, TypeError) as error:
            raise ValueError("a line of the history is not written as this version writes it") from error


class StateFiles:
    """All of it blocks, and raises OSError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._overlay = directory / "overlay.json"
        self._history = directory / "history.jsonl"
        self._last_good = directory / "last-good.yaml"

    def prepare(self) -> None:
        """Private to the user."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

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
            raw = self._overlay.read_bytes()
        except _MISSING:
            return Overlay()
        return overlay_of(raw)

    def put_aside(self) -> Path:
        """Moves an overlay that cannot be read out of the way, where somebody can look at it."""
        return self._overlay.rename(self._overlay.with_suffix(".unreadable"))

    def write(self, overlay: Overlay, record: Record | None = None) -> None:
        """The record first; if the overlay cannot be written, neither is."""
        size = self._append(record) if record is not None else None
        try:
            replace_file(self._overlay, orjson.dumps(overlay.said()))
        except OSError:
            if size is not None:
                os.truncate(self._history, size)
            raise

    def note(self, record: Record) -> None:
        """A record without a change of the overlay."""
        self._append(record)

    def history(self) -> list[Record]:
        """The oldest first. What a kill has left half written is not among them."""
        out: list[Record] = []
        try:
            lines = self._history.read_bytes().splitlines()
        except _MISSING:
            return out
        for line in lines:
            try:
                out.append(Record.read(orjson.loads(line)))
            except ValueError:
                continue
        return out

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
        for line in reversed(self._history.read_bytes().splitlines(keepends=True)):
            room -= len(line)
            if room < 0:
                break
            kept.append(line)
        whole = b"".join(reversed(kept))
        replace_file(self._history, whole)
        return len(whole)

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
    if len(raw) > OVERLAY_BYTES:
        raise ValueError(f"the overlay is larger than {OVERLAY_BYTES >> 20} MiB")
    return Overlay.read(orjson.loads(raw))


def replace_file(target: Path, content: bytes, *, sync: bool = True) -> None:
    """By rename, readable for the user alone."""
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if sync:
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
