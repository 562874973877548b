"""Takes another registry into service without a restart and without a dropped stream, or refuses it and says why.

The order is what makes it safe. A chain may only name clusters that Envoy has: so clusters are added first, the new registry is used once
Envoy reports them active, and clusters that nobody names any more are removed last, after the longest chain has ended. A further change before that
keeps them too. Where Envoy's files stay as they are there is nothing to wait for: the registry is in force for the next request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple, Protocol

from extproc.registry.types import Registry, Target
from extproc.stages.services import Snapshots

log = logging.getLogger(__name__)

READ_WITHIN = 1.0
"""Seconds that Envoy gets to read changed files. If no cluster is among them, this is waited in vain."""
ACTIVE_WITHIN = 30.0
"""Seconds that Envoy gets to make new clusters active; afterwards the new registry is refused."""
_PAUSE = 0.1


class Updates(NamedTuple):
    """How many updates of its clusters Envoy has taken and refused so far."""

    taken: int
    refused: int


class Written(NamedTuple):
    """Why a registry was refused, or None; has any file changed?"""

    refusal: str | None
    changed: bool = False


class EnvoyFiles(Protocol):
    """Envoy's files for a registry."""

    async def check(self, registry: Registry) -> str | None:
        """Why `write` would refuse it, or None. Changes nothing."""
        ...

    async def write(self, registry: Registry) -> Written:
        """Renders and writes what differs."""
        ...


Active = Callable[[], Awaitable[frozenset[str] | None]]
"""The clusters that Envoy reports now; None if it cannot be asked."""
CountUpdates = Callable[[], Awaitable[Updates | None]]
"""Envoy's counters now; None if it cannot be asked."""
Commit = Callable[[], Awaitable[None]]
"""Makes a change last, just before it is used. What it raises refuses the change."""


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
    """`files` None: Envoy's files are somebody else's; then new targets are only waited for. `settle`: seconds beyond a registry's longest
    deadline until what only it names is removed. `count_updates` None: Envoy's own refusals are not looked for."""

    def __init__(
        self,
        snapshots: Snapshots,
        files: EnvoyFiles | None,
        active: Active,
        settle: float,
        count_updates: CountUpdates | None = None,
    ) -> None:
        self._snapshots = snapshots
        self._files = files
        self._active = active
        self._settle = settle
        self._count_updates = count_updates
        self._standing = snapshots.current
        """What Envoy's files hold: the registry in force, and what chains under way may still name."""
        self._left_over = False
        """Are there any of the latter?"""
        self._longest = 0.0
        self._turn = asyncio.Lock()
        self._removal: asyncio.Task[None] | None = None
        self.reloads = 0

    async def align(self) -> str | None:
        """Envoy's files as the registry in force needs them, at the start. Why not, or None."""
        if self._files is None:
            return None
        async with self._turn:
            return (await self._files.write(self._standing)).refusal

    async def check(self, new: Registry) -> str | None:
        """Why `take` would refuse it, as far as can be told without Envoy; or None. Changes nothing."""
        return await self._files.check(await asyncio.to_thread(merged, self._standing, new)) if self._files is not None else None

    async def take(self, new: Registry, commit: Commit | None = None, *, others: float = 0.0) -> str | None:
        """Use `new` from the next request on. Returns why not, or None; the old registry then keeps serving. `others`: seconds that other server
        processes get to know it before this one routes with it."""
        async with self._turn:
            # of thousands of targets this takes a while
            needed, there = await asyncio.to_thread(lambda: (new.clusters, self._snapshots.current.clusters))
            # what is to be removed was left by older chains: a change that names the same clusters as before does not put it off
            renewed = needed != there or self._removal is None or self._removal.done()
            if renewed and self._removal is not None:
                self._removal.cancel()
            try:
                return await self._take(new, commit, others, needed, there)
            finally:
                if renewed:
                    self._retire()

    def stop(self) -> None:
        """At the end of the process: what is still to be removed stays."""
        if self._removal is not None:
            self._removal.cancel()

    async def _take(self, new: Registry, commit: Commit | None, others: float, needed: frozenset[str], there: frozenset[str]) -> str | None:
        old = self._snapshots.current
        if new.digest == old.digest:
            if commit is not None:
                await commit()
            return None
        # attempts of older requests may meet the new clusters before the first new request does
        self._snapshots.learn(new)
        together = await asyncio.to_thread(merged, self._standing, new)
        left_over = await asyncio.to_thread(lambda: together.clusters) != needed if needed != there else self._left_over
        why, changed = await self._ready(together, needed, there)
        if why is not None:
            return why
        if commit is not None:
            try:
                await commit()
            except BaseException:
                await self._back(changed)
                raise
        self._longest = max(self._longest, *(m.timeouts.deadline for m in old.models.values()))
        self._standing, self._left_over = together, left_over
        self._snapshots.learn(new)
        if others:
            await asyncio.sleep(others)
        self._snapshots.swap(new)
        self.reloads += 1
        log.info("registry reloaded", extra={"registry": new.digest, "models": len(new.models), "targets": len(new.targets)})
        return None

    async def _ready(self, together: Registry, needed: frozenset[str], there: frozenset[str]) -> Written:
        """Envoy has what is in `together`, the clusters `needed` active; or, with the reason why not, what it had before. `there` are those of the
        registry in force."""
        changed = self._files is not None
        try:
            before = await self._count_updates() if self._files is not None and self._count_updates is not None else None
            why, changed = await self._files.write(together) if self._files is not None else Written(None)
            if why is None and changed:
                why = await self._refusal(before)
            if why is None and (changed or not needed <= there):
                why = await self._missing(needed)
        except OSError as error:
            why = str(error)
        except Exception as bug:
            log.exception("a bug in the reload of the registry")
            why = f"internal error: {type(bug).__name__}"
        except BaseException:
            await self._back(changed)
            raise
        if why is not None:
            await self._back(changed)
        return Written(why, changed)

    async def _back(self, changed: bool) -> None:
        """Envoy gets what it had."""
        if changed and self._files is not None:
            why = (await self._files.write(self._standing)).refusal
            if why is not None:
                log.error("envoy's files could not be put back", extra={"why": why})

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
        if self._files is not None and self._left_over:
            self._removal = asyncio.create_task(self._remove_later(self._files, self._longest + self._settle))
        else:
            self._removal, self._longest = None, 0.0

    async def _remove_later(self, files: EnvoyFiles, seconds: float) -> None:
        await asyncio.sleep(seconds)
        async with self._turn:
            current = self._snapshots.current
            try:
                why = (await files.write(current)).refusal
            except OSError as error:
                why = str(error)
            if why is not None:
                log.error("clusters that nobody names any more could not be removed", extra={"why": why})
                return
            self._standing, self._longest, self._left_over = current, 0.0, False
            log.info("clusters that nobody names any more are removed")
