"""A live registry over a file in a temporary directory, with a reloader whose Envoy takes everything, and a clock that the test moves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from extproc.admin.agree import Sharing
from extproc.admin.files import StateFiles
from extproc.admin.live import LiveRegistry
from extproc.admin.revise import By, Done, Reviser
from extproc.admin.sharing import SharedOverlay
from extproc.admin.tree import Difference, Set, merged
from extproc.edge.reload import Reloader, Written
from extproc.registry.types import Registry
from extproc.stages.services import Snapshots

FILE = """\
version: 1
providers:
  p: {kind: openai-compatible, url: "http://one.test/v1", credential: {env: KEY_OF_P}}
  q: {kind: openai-compatible, url: "http://two.test/v1"}
targets:
  a: {provider: p, model: gpt-4o}
  b: {provider: q, model: gpt-4o}
models:
  chat: {targets: [a, b], strict: false}
  other: {targets: [b]}
identity: {tenant: {header: x-tenant}}
"""


class Envoy:
    """Takes whatever it is given, at once, unless it is told to refuse. `written` are the clusters of every writing."""

    def __init__(self, registry: Registry) -> None:
        self.there = registry.clusters
        self.written: list[frozenset[str]] = []
        self.refusal: str | None = None

    async def check(self, registry: Registry) -> str | None:
        return self.refusal

    async def write(self, registry: Registry) -> Written:
        if self.refusal is not None:
            return Written(self.refusal)
        if registry.clusters == self.there:
            return Written(None)
        self.there = registry.clusters
        self.written.append(self.there)
        return Written(None, changed=True)

    async def active(self) -> frozenset[str] | None:
        return self.there


def anything(_: Sequence[Difference]) -> None:
    """A guard."""


def whenever(_: LiveRegistry) -> None:
    """A condition."""


def by(author: str = "ann", lasts: float | None = None, *, dry: bool = False) -> By:
    return By(author, anything, whenever, lasts, dry)


class Rig:
    """One worker's live registry. `now` is the clock's time."""

    def __init__(self, directory: Path, *, worker: int = 0, workers: int = 1, shared: SharedOverlay | None = None, now: float = 1_000_000.0) -> None:
        self.file = directory / "registry.yaml"
        if not self.file.exists():
            self.file.write_text(FILE)
        self.now = now
        self.files = StateFiles(directory / "state")
        self.live = LiveRegistry(self.file, self.files, lambda: self.now, worker=worker, workers=workers)
        self.snapshots = Snapshots(self.live.open())
        self.envoy = Envoy(self.snapshots.current)
        self.live.attach(Reloader(self.snapshots, self.envoy, self.envoy.active, 3600.0))
        self.sharing = Sharing(self.live, shared) if shared is not None else None
        self.revise = Reviser(self.live, self.sharing)

    @property
    def current(self) -> Registry:
        return self.snapshots.current

    @property
    def problems(self) -> str:
        """What the overlay is suspended for."""
        suspended = self.live.overlay.suspended
        assert suspended is not None
        return "\n".join(f"{p['path']}: {p['message']}" for p in suspended.problems)

    async def patch(self, path: str, value: Any, who: By | None = None) -> Done:
        """A merge patch of what stands at `path` (dots between keys)."""
        return await self.revise.change(lambda live: merged(live.tree, tuple(path.split(".")), value), who or by())

    async def put_sets(self, sets: Sequence[Set], who: By | None = None) -> Done:
        return await self.revise.change(lambda _: sets, who or by())

    def write(self, old: str, new: str) -> None:
        """The file is edited."""
        text = self.file.read_text()
        assert old in text
        beside = self.file.with_suffix(".new")
        beside.write_text(text.replace(old, new))
        beside.rename(self.file)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.live.run())]
        if self.sharing is not None:
            tasks.append(asyncio.create_task(self.sharing.run()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def eventually(holds: Callable[[], object]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


def go(test: Any) -> None:
    asyncio.run(asyncio.wait_for(test, 30.0))
