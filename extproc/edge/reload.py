"""Takes a changed registry into service without a restart and without a dropped stream, or refuses it and says why.

The order is what makes it safe. A chain may only name clusters that Envoy has: so clusters are added first, the new registry is used once
Envoy reports them active, and clusters that nobody names any more are removed last, after the longest chain has ended. A further change before that
keeps them too.

The file is polled by content (a ConfigMap changes by swapping a symbolic link, which file notifications miss).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from extproc.registry.load import RegistryError, load_registry
from extproc.registry.types import Registry, Target
from extproc.stages.services import Snapshots

log = logging.getLogger(__name__)

POLL = 1.0
"""Seconds between two looks at the file."""
READ_WITHIN = 1.0
"""Seconds that Envoy gets to read changed files. If none of its own changed (only models did), this is waited in vain."""
ACTIVE_WITHIN = 30.0
"""Seconds that Envoy gets to make new clusters active; afterwards the new registry is refused."""
_PAUSE = 0.1


class Updates(NamedTuple):
    """How many updates of its clusters Envoy has taken and refused so far."""

    taken: int
    refused: int


Write = Callable[[Registry], Awaitable[str | None]]
"""Renders and writes Envoy's files for a registry. Returns why they were refused, or None."""
Active = Callable[[], Awaitable[frozenset[str] | None]]
"""The clusters that Envoy reports now; None if it cannot be asked."""
CountUpdates = Callable[[], Awaitable[Updates | None]]
"""Envoy's counters now; None if it cannot be asked."""


def clusters_of(registry: Registry) -> frozenset[str]:
    """Every cluster that a chain of `registry` may name."""
    return frozenset(c for target in registry.targets.values() for c in target.clusters)


def merged(old: Registry, new: Registry) -> Registry:
    """Both registries' targets: what Envoy must know while requests of both are under way. The new definition wins."""
    both = {name: _with_old_keys(new.targets[name], target) if name in new.targets else target for name, target in old.targets.items()}
    return replace(new, targets={**new.targets, **both}, providers={**old.providers, **new.providers})


def _with_old_keys(new: Target, old: Target) -> Target:
    """`new` with the keys that its provider's pool has lost. Only for the same endpoint: no key may reach another one."""
    now, then = new.provider, old.provider
    if (now.kind, now.scheme, now.host, now.port) != (then.kind, then.scheme, then.host, then.port):
        return new
    names = {c.name for c in now.credentials}
    lost = tuple(c for c in then.credentials if c.name not in names)
    return replace(new, provider=replace(now, credentials=now.credentials + lost)) if lost else new


class Reloader:
    """`write` None: Envoy's files are somebody else's; then new targets are only waited for. `settle`: seconds beyond a registry's longest
    deadline until what only it names is removed. `count_updates` None: Envoy's own refusals are not looked for. `others`: seconds that
    other server processes get to know a registry before this one routes with it."""

    def __init__(
        self,
        path: Path,
        snapshots: Snapshots,
        write: Write | None,
        active: Active,
        settle: float,
        count_updates: CountUpdates | None = None,
        *,
        others: float = 0.0,
    ) -> None:
        self._path = path
        self._snapshots = snapshots
        self._write = write
        self._active = active
        self._settle = settle
        self._count_updates = count_updates
        self._others = others
        self._seen = self._digest()
        self._standing = snapshots.current
        """What Envoy's files hold: the registry in force, and what chains under way may still name."""
        self._longest = 0.0
        self._turn = asyncio.Lock()
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
        try:
            while True:
                await asyncio.sleep(POLL)
                digest = await asyncio.to_thread(self._digest)
                if digest != self._seen:
                    self._seen = digest
                    await self.reload()
        finally:
            if self._removal is not None:
                self._removal.cancel()

    async def reload(self) -> bool:
        """Take the file as it is now. False if it was refused; the old registry then keeps serving, and `last_error` says why."""
        async with self._turn:
            if self._removal is not None:
                self._removal.cancel()
            try:
                why = await self._take(await asyncio.to_thread(load_registry, self._path))
            except (OSError, RegistryError) as error:
                why = str(error)
            except Exception as bug:
                # the next change must find somebody who looks at it
                log.exception("a bug in the reload of the registry")
                why = f"internal error: {type(bug).__name__}"
            self._retire()
        self.last_error = why
        if why is not None:
            log.error("the changed registry is refused; the old one keeps serving", extra={"why": why})
        return why is None

    async def _take(self, new: Registry) -> str | None:
        """Why not, or None."""
        old = self._snapshots.current
        if new.digest == old.digest:
            return None
        together = merged(self._standing, new)
        if self._write is not None:
            why = await self._written(self._write, together, clusters_of(new))
        else:
            why = await self._missing(clusters_of(new))
        if why is not None:
            return why
        self._longest = max(self._longest, *(m.timeouts.deadline for m in old.models.values()))
        self._standing = together
        self._snapshots.learn(new)
        if self._others:
            await asyncio.sleep(self._others)
        self._snapshots.swap(new)
        self.reloads += 1
        log.info("registry reloaded", extra={"registry": new.digest, "models": len(new.models), "targets": len(new.targets)})
        return None

    async def _written(self, write: Write, together: Registry, needed: frozenset[str]) -> str | None:
        """Envoy has what is in `together`, the clusters `needed` active; or, with the reason why not, what it had before."""
        before = await self._count_updates() if self._count_updates is not None else None
        try:
            why = await write(together) or await self._refusal(before) or await self._missing(needed)
        except Exception:
            await write(self._standing)
            raise
        if why is not None:
            await write(self._standing)
        return why

    async def _refusal(self, before: Updates | None) -> str | None:
        """Has Envoy itself refused what was written? It keeps its old clusters then, which may have the same names."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READ_WITHIN
        while before is not None and self._count_updates is not None:
            now = await self._count_updates()
            if now is not None and now.refused > before.refused:
                return "envoy refuses the rendered clusters; its log says why"
            if (now is not None and now.taken > before.taken) or loop.time() > deadline:
                break
            await asyncio.sleep(_PAUSE)
        return None

    async def _missing(self, clusters: frozenset[str]) -> str | None:
        """Which clusters Envoy does not have when the time is up; None at once if it has all, or cannot be asked."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ACTIVE_WITHIN
        while True:
            active = await self._active()
            missing = clusters - active if active is not None else frozenset()
            if not missing:
                return None
            if loop.time() > deadline:
                return f"envoy did not make these clusters active within {ACTIVE_WITHIN:g} s: {', '.join(sorted(missing))}"
            await asyncio.sleep(_PAUSE)

    def _retire(self) -> None:
        """Take out what no new chain names, once no chain under way can name it either."""
        if self._write is not None and clusters_of(self._standing) != clusters_of(self._snapshots.current):
            self._removal = asyncio.create_task(self._remove_later(self._write, self._longest + self._settle))
        else:
            self._removal, self._longest = None, 0.0

    async def _remove_later(self, write: Write, seconds: float) -> None:
        await asyncio.sleep(seconds)
        async with self._turn:
            current = self._snapshots.current
            try:
                why = await write(current)
            except OSError as error:
                why = str(error)
            if why is not None:
                log.error("clusters that nobody names any more could not be removed", extra={"why": why})
                return
            self._standing, self._longest = current, 0.0
            log.info("clusters that nobody names any more are removed")
