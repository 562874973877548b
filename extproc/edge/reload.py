"""Takes a changed registry into service without a restart and without a dropped stream, or refuses it and says why.

The order is what makes it safe. A chain may only name clusters that Envoy has: so clusters are added first, the new registry is used once
Envoy reports them active, and clusters that nobody names any more are removed last, after the longest chain has ended.

The file is polled by content (a ConfigMap changes by swapping a symbolic link, which file notifications miss).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from extproc.registry.load import RegistryError, parse_registry
from extproc.registry.types import Registry
from extproc.stages.services import Snapshots

log = logging.getLogger(__name__)

POLL = 1.0
"""Seconds between two looks at the file."""
ACTIVE_WITHIN = 30.0
"""Seconds that Envoy gets to make new clusters active; afterwards the new registry is refused."""

Write = Callable[[Registry], Awaitable[str | None]]
"""Renders and writes Envoy's files for a registry. Returns why they were refused, or None."""
Active = Callable[[], Awaitable[frozenset[str] | None]]
"""The clusters that Envoy reports now; None if it cannot be asked."""


def merged(old: Registry, new: Registry) -> Registry:
    """Both registries' targets: what Envoy must know while requests of both are under way. The new definition wins."""
    return replace(new, targets={**old.targets, **new.targets}, providers={**old.providers, **new.providers})


class Reloader:
    """`write` None: Envoy's files are somebody else's; then new targets are only waited for."""

    def __init__(self, path: Path, snapshots: Snapshots, write: Write | None, active: Active, settle: float) -> None:
        self._path = path
        self._snapshots = snapshots
        self._write = write
        self._active = active
        self._settle = settle
        self._seen = self._digest()
        self._removal: asyncio.Task[None] | None = None
        self.last_error: str | None = None
        self.reloads = 0

    def _digest(self) -> str:
        try:
            return hashlib.sha256(self._path.read_bytes()).hexdigest()
        except OSError as error:
            return f"unreadable: {error.strerror}"

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(POLL)
            digest = await asyncio.to_thread(self._digest)
            if digest != self._seen:
                self._seen = digest
                await self.reload()

    async def reload(self) -> bool:
        """Take the file as it is now. False if it was refused; the old registry then keeps serving."""
        try:
            raw = await asyncio.to_thread(self._path.read_bytes)
            new = await asyncio.to_thread(parse_registry, raw, str(self._path))
        except (OSError, RegistryError) as error:
            return self._refused(str(error))
        old = self._snapshots.current
        if self._removal is not None:
            self._removal.cancel()
        if self._write is not None:
            refusal = await self._write(merged(old, new))
            if refusal is not None:
                await self._write(old)
                return self._refused(refusal)
        missing = await self._wait_for({c for t in new.targets.values() for c in t.clusters})
        if missing:
            if self._write is not None:
                await self._write(old)
            return self._refused(f"envoy did not make these clusters active within {ACTIVE_WITHIN:g} s: {', '.join(sorted(missing))}")
        self._snapshots.swap(new)
        self.last_error = None
        self.reloads += 1
        log.info("registry reloaded", extra={"registry": new.digest, "models": len(new.models), "targets": len(new.targets)})
        if self._write is not None and set(old.targets) - set(new.targets):
            self._removal = asyncio.create_task(self._remove_later(new))
        return True

    async def _wait_for(self, clusters: set[str]) -> set[str]:
        """The clusters that are still missing when the time is up; empty at once if Envoy cannot be asked."""
        deadline = asyncio.get_running_loop().time() + ACTIVE_WITHIN
        while True:
            active = await self._active()
            missing = clusters - active if active is not None else set()
            if not missing or asyncio.get_running_loop().time() > deadline:
                return missing
            await asyncio.sleep(0.1)

    async def _remove_later(self, registry: Registry) -> None:
        """Take out what no new chain names, once no chain under way can name it either."""
        await asyncio.sleep(self._settle)
        if self._write is not None:
            await self._write(registry)

    def _refused(self, why: str) -> bool:
        self.last_error = why
        log.error("the changed registry is refused; the old one keeps serving", extra={"why": why})
        return False
