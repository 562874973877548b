"""What routing has learned outlives the process: one JSON file, written every minute and on shutdown, read at the start.

It holds the statistics (with the ratios of real to estimated tokens), the bandit's beliefs, and the money that only this process counts. All of it
is aged by the time that the process was away. Every worker has a file of its own. A file that is broken, or of another version, is reported and
ignored: it costs some minutes of learning, and no start.

The same minute's work forgets clusters and models that the registry no longer has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from extproc.stages.services import Services

log = logging.getLogger(__name__)

VERSION = 1
EVERY = 60.0
"""Seconds between two writes."""
LARGEST = 64 << 20
"""Bytes that are read: some hundred times what a large registry makes."""


class Keeper:
    """`path` is the file; its directory is made, private to the user, where there is none."""

    def __init__(self, path: Path, services: Services) -> None:
        self._path = path
        self._services = services
        self._failing = False

    def load(self) -> None:
        """Take over what was saved. Before the first request; never raises for what is in the file."""
        self._tend()
        services = self._services
        with contextlib.suppress(OSError):
            # of a predecessor that was killed while it wrote
            for left in self._path.parent.glob(f".{self._path.name}-*"):
                left.unlink(missing_ok=True)
        try:
            saved = self._read()
        except FileNotFoundError:
            return
        except ValueError as error:
            self._ignored(str(error))
            return
        wall, now = services.wall(), services.monotonic()
        elapsed = max(wall - saved["saved_at"], 0.0)
        self._take("statistics", lambda part: services.statistics.load(part, now, elapsed), saved)
        self._take("bandit", lambda part: services.bandit.load(part, now, elapsed), saved)
        self._take("limits", lambda part: services.limits.load(part, wall), saved)
        log.info("statistics of the last run are in force", extra={"path": str(self._path), "age_s": round(elapsed, 1)})

    def save(self) -> None:
        """Write it all, whole or not at all. Blocks; a disk that does not take it is reported, once."""
        try:
            self._write(orjson.dumps(self._dump()))
        except OSError as error:
            self._report(error)
        else:
            self._failing = False

    async def run(self) -> None:
        """Save every minute, until cancelled. Saving on shutdown is the caller's, when the last request has ended."""
        while True:
            await asyncio.sleep(EVERY)
            self._tend()
            self._services.statistics.age(self._services.monotonic())
            # made here, where nobody writes meanwhile; only the disk is waited for elsewhere
            dumped = orjson.dumps(self._dump())
            try:
                await asyncio.to_thread(self._write, dumped)
            except OSError as error:
                self._report(error)
            else:
                self._failing = False

    def _tend(self) -> None:
        registry = self._services.snapshots.current
        clusters = registry.clusters
        self._services.statistics.keep(clusters, registry.models.keys())
        self._services.health.keep(clusters)

    def _dump(self) -> dict[str, Any]:
        services = self._services
        wall, now = services.wall(), services.monotonic()
        return {
            "version": VERSION,
            "saved_at": wall,
            "statistics": services.statistics.dump(now),
            "bandit": services.bandit.dump(now),
            "limits": services.limits.dump(wall),
        }

    def _write(self, raw: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=f".{self._path.name}-", dir=self._path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            Path(beside).replace(self._path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise

    def _read(self) -> dict[str, Any]:
        """Raises FileNotFoundError, or ValueError with what is wrong."""
        try:
            if self._path.stat().st_size > LARGEST:
                raise ValueError("it is too large to be one of ours")
            saved = orjson.loads(self._path.read_bytes())
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ValueError(error.strerror or type(error).__name__) from None
        except orjson.JSONDecodeError as error:
            raise ValueError(f"no JSON: {error}") from None
        if not isinstance(saved, dict) or saved.get("version") != VERSION:
            raise ValueError("another version wrote it")
        if not isinstance(saved.get("saved_at"), int | float):
            raise ValueError("saved_at: expected a time")  # noqa: TRY004 - a bad value in a file
        return saved

    def _take(self, name: str, load: Callable[[Any], None], saved: dict[str, Any]) -> None:
        part = saved.get(name)
        if not isinstance(part, dict):
            self._ignored(f"{name}: expected a mapping")
            return
        try:
            load(part)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            self._ignored(f"{name}: {error}")

    def _ignored(self, why: str) -> None:
        log.warning("statistics of the last run are ignored", extra={"path": str(self._path), "error": why})

    def _report(self, error: OSError) -> None:
        if not self._failing:
            log.error("statistics cannot be saved", extra={"path": str(self._path), "error": error.strerror or type(error).__name__})
        self._failing = True
