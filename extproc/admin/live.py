"""The registry in force: the file, with the overlay over it. Whatever changes either (an editor, a ConfigMap, the API, an expiry, another replica)
leads to one registry at a time, taken into service through the reloader, or refused with everything as it was.

The first worker leads: it makes changes (`admin.revise`), keeps them in the state directory and shares them (`admin.agree`). The others follow the
overlay that it writes there.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from extproc.admin.aside import aside
from extproc.admin.files import Mark, Record, StateFiles
from extproc.admin.overlay import Overlay, Suspension
from extproc.admin.refusal import Refused
from extproc.admin.resolve import Base, Resolved, digest_of, read_base, resolved
from extproc.admin.tree import ABSENT, Difference, differences
from extproc.edge.reload import Reloader
from extproc.registry.problems import Problem, RegistryError
from extproc.registry.types import Registry
from extproc.registry.yaml_marks import MAX_BYTES

log = logging.getLogger(__name__)

FILE_POLL = 1.0
"""Seconds between two looks at the registry file. It is compared by content: a ConfigMap changes by swapping a symbolic link, which file
notifications miss."""
OVERLAY_POLL = 0.1
"""Seconds between two looks at the overlay's inode, by the workers that follow."""
RETRY = 5.0
"""Seconds until something that was prevented is tried again."""
NOBODY = "extproc"
"""The author of what happens by itself."""


class State(NamedTuple):
    """What is in force."""

    base: Base
    resolved: Resolved


class LiveRegistry:
    """`files` holds what outlives the process. `wall` gives Unix seconds. Worker 0 of `workers` leads. Before anything but `open` a reloader must be
    attached."""

    def __init__(self, path: Path, files: StateFiles, wall: Callable[[], float], *, worker: int = 0, workers: int = 1) -> None:
        self.path = path
        self.files = files
        self.wall = wall
        self.worker = worker
        self.workers = workers
        self.turn = asyncio.Lock()
        """Held by whoever changes what is in force."""
        self.last_error: str | None = None
        """Why the file as it is now is not in force."""
        self.from_last_good = False
        self.loaded_at = wall()
        self.reloader: Reloader
        self.state: State
        self._seen = ""
        self._mark: Mark | None = None

    # at the start

    def open(self) -> Registry:
        """The registry to begin with; blocks. Raises `RegistryError` if the file does not load and none has before."""
        try:
            self.files.prepare()
        except OSError as error:
            log.error("the state directory cannot be used: no change can be made", extra={"why": str(error)})  # noqa: TRY400
        overlay = self._begin()
        if self.leads:
            self._settle(overlay)
            self._keep_last_good(self.base)
        elif self.worker == 0:
            log.error("another server uses this state directory: changes are made there and followed here", extra={"path": str(self.files.directory)})
        self._tell_leader()
        return self.registry

    def _begin(self) -> Overlay:
        """Reads all and writes nothing. The overlay as it was kept."""
        base = self._first_base()
        self._mark = self._marked()
        overlay = self._kept_overlay(base)
        self.state = State(base, resolved(base, str(self.path), overlay, self.wall()))
        self._say_if_suspended(Overlay())
        return overlay

    @staticmethod
    def about_to_open(path: Path, files: StateFiles, wall: Callable[[], float]) -> Registry:
        """What a server would begin with, for who prepares its start; writes nothing. Blocks. Raises `RegistryError` as `open` does."""
        live = LiveRegistry(path, files, wall)
        live._begin()
        return live.registry

    def attach(self, reloader: Reloader) -> None:
        """What takes a registry into service."""
        self.reloader = reloader

    def _first_base(self) -> Base:
        try:
            raw = self._read()
            self._seen = digest_of(raw)
            return read_base(raw, str(self.path))
        except RegistryError as error:
            base = self._last_good()
            if base is None:
                raise
            self.last_error, self.from_last_good = str(error), True
            log.error("the registry file does not load; the last good one serves", extra={"why": str(error), "registry": base.digest})  # noqa: TRY400
            return base

    def _last_good(self) -> Base | None:
        try:
            last = self.files.read_last_good()
            return read_base(last, str(self.path)) if last is not None else None
        except (OSError, RegistryError) as error:
            log.error("the last good registry cannot be read", extra={"why": str(error)})  # noqa: TRY400
            return None

    def _kept_overlay(self, base: Base) -> Overlay:
        try:
            return self.files.read_overlay()
        except (OSError, ValueError) as error:
            why = f"the overlay in the state directory cannot be read: {error}"
        problem = {"path": "", "message": why, "suggestion": "DELETE /v1/overlay begins anew; the file is kept as overlay.unreadable"}
        return Overlay(suspended=Suspension(self.wall(), "unreadable", base.digest, (problem,)))

    def _read(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise RegistryError(str(self.path), [Problem("", 0, 0, f"cannot be read: {reason or error}")]) from error

    # what is in force

    @property
    def registry(self) -> Registry:
        return self.state.resolved.registry

    @property
    def tree(self) -> dict[str, Any]:
        """The document in force."""
        return self.state.resolved.tree

    @property
    def base(self) -> Base:
        return self.state.base

    @property
    def overlay(self) -> Overlay:
        return self.state.resolved.overlay

    @property
    def leads(self) -> bool:
        """Is this the one that writes? Also the first worker follows while another server writes in its state directory."""
        return self.worker == 0 and self.files.own()

    async def lead(self) -> None:
        """Before a change that somebody asks for, in turn. Raises `Refused` if this is not the one that makes it."""
        if not self.leads:
            raise Refused(503, "not_kept", "another server process uses this state directory; changes are made there, and followed here")
        if self._marked() != self._mark:
            # written by another one, which has ended since
            await self._follow()

    def use(self, new: State) -> None:
        """What the reloader has just taken into service."""
        before = self.overlay
        if new.resolved.registry is not self.registry:
            self.loaded_at = self.wall()
        self.state = new
        self._say_if_suspended(before)
        self._tell_leader()

    # watching

    async def run(self) -> None:
        """Until cancelled: follows the file, the overlay and the clock."""
        loop = asyncio.get_running_loop()
        look_at = loop.time() + FILE_POLL
        try_at = 0.0
        try:
            await self._guarded(self._align)
            while True:
                pause = look_at - loop.time()
                leads = self.leads
                pause = min(pause, self.overlay.next_end - self.wall()) if leads else min(pause, OVERLAY_POLL)
                await asyncio.sleep(max(pause, 0.001 if loop.time() >= try_at else OVERLAY_POLL))
                if loop.time() >= look_at:
                    look_at = loop.time() + FILE_POLL
                    await self.look()
                due = self.overlay.next_end <= self.wall() if leads else self._marked() != self._mark
                if due and loop.time() >= try_at and not await self._guarded(self._expire if leads else self._follow):
                    try_at = loop.time() + RETRY
        finally:
            self.reloader.stop()

    async def look(self) -> None:
        """Take the file if it has changed."""
        try:
            raw = await asyncio.to_thread(self._read)
            seen = digest_of(raw)
        except RegistryError as error:
            raw, seen = None, str(error)
        if seen != self._seen:
            self._seen = seen
            await self._guarded(lambda: self._take_file(raw, seen))

    async def again(self, overlay: Overlay, action: str, *, arrived: bool = False) -> None:
        """The same file with another overlay, or at another time; in turn. `arrived`: from another replica."""
        old = self.state
        new = old._replace(resolved=await aside(resolved, old.base, str(self.path), overlay, self.wall(), arrived=arrived))

        async def commit() -> None:
            if self.leads:
                await self.keep(old, new, action)

        why = await self.reloader.take(new.resolved.registry, commit, others=self.others)
        if why is not None:
            raise Refused(503, "envoy", why)
        self.use(new)

    @property
    def others(self) -> float:
        """Seconds in which the other workers learn of an overlay."""
        return 3 * OVERLAY_POLL if self.workers > 1 else 0.0

    async def keep(self, old: State, new: State, action: str, author: str = NOBODY, id_: str = "") -> None:
        """On disk, with a record in the history. Whoever was asked for it (`id_`) is told where that fails (`Refused`); for what happens by itself
        it is no reason not to."""
        try:
            await asyncio.to_thread(self._write, old, new, action, author, id_ or secrets.token_hex(4))
        except OSError as error:
            if id_:
                raise Refused(503, "not_kept", f"the change cannot be kept on disk, so it is not made: {error.strerror}") from error
            log.error("the overlay could not be written", extra={"why": error.strerror})  # noqa: TRY400

    async def _align(self) -> None:
        why = await self.reloader.align()
        if why is not None:
            log.error("envoy's files cannot be written for this registry", extra={"why": why})

    async def _take_file(self, raw: bytes | None, seen: str) -> None:
        old = self.state
        if raw is None:
            self._refuse_file(seen)
            return
        try:
            base = await aside(read_base, raw, str(self.path))
        except RegistryError as error:
            self._refuse_file(str(error))
            return
        if base.digest == old.base.digest:
            self.last_error, self.from_last_good = None, False
            return
        new = State(base, await aside(resolved, base, str(self.path), self.overlay, self.wall()))
        suspends = new.resolved.overlay.suspended is not None and self.overlay.suspended is None

        async def commit() -> None:
            if self.leads:
                await asyncio.to_thread(self._keep_last_good, base)
                await self.keep(old, new, "suspend" if suspends else "adopt" if new.resolved.adopted else "file")

        why = await self.reloader.take(new.resolved.registry, commit, others=2 * FILE_POLL if self.workers > 1 else 0.0)
        if why is not None:
            self._refuse_file(why)
            return
        self.last_error, self.from_last_good = None, False
        self.use(new)

    def _refuse_file(self, why: str) -> None:
        self.last_error = why
        log.error("the changed registry is refused; the old one keeps serving", extra={"why": why})

    async def _expire(self) -> None:
        await self.again(self.overlay, "expire")

    async def _follow(self) -> None:
        """The first worker has written the overlay."""
        mark = self._marked()
        await self.again(await asyncio.to_thread(self._kept_overlay, self.base), "change")
        self._mark = mark

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> bool:
        """In turn, and whatever happens, the next change must find somebody who looks at it. Was it done?"""
        try:
            async with self.turn:
                await work()
        except Refused as refused:
            log.error("a change of the overlay is not in force yet", extra={"why": refused.message})  # noqa: TRY400
            return False
        except Exception as bug:
            log.exception("a bug in the reload of the registry")
            self.last_error = f"internal error: {type(bug).__name__}"
            return False
        return True

    # on disk

    def _write(self, old: State, new: State, action: str, author: str, id_: str) -> None:
        before, after = old.resolved, new.resolved
        changes = tuple(_said(d) for d in differences(before.tree, after.tree))
        record = Record(id_, self.wall(), author, action, new.base.digest, changes, before.overlay.entries, after.overlay.entries)
        if self.overlay.suspended is not None and self.overlay.suspended.reason == "unreadable" and self.files.overlay_mark() is not None:
            self.files.put_aside()
        self.files.write(after.overlay, record)
        self._mark = self.files.overlay_mark()

    def _settle(self, overlay: Overlay) -> None:
        try:
            self.files.settle(overlay)
        except OSError as error:
            log.error("the history cannot be read", extra={"why": error.strerror})  # noqa: TRY400

    def _marked(self) -> Mark | None:
        try:
            return self.files.overlay_mark()
        except OSError:
            return self._mark

    def _tell_leader(self) -> None:
        if self.leads:
            return
        try:
            self.files.write_in_force(self.worker, self.registry.digest)
        except OSError as error:
            log.error("the state directory cannot be written", extra={"why": error.strerror})  # noqa: TRY400

    def _keep_last_good(self, base: Base) -> None:
        try:
            self.files.write_last_good(base.raw)
        except OSError as error:
            log.error("the last good registry cannot be kept", extra={"why": error.strerror})  # noqa: TRY400

    def _say_if_suspended(self, before: Overlay) -> None:
        now = self.overlay.suspended
        if now is not None and before.suspended is None:
            why = "\n".join(f"{p['path']}: {p['message']}" for p in now.problems)
            log.error("the overlay of the registry is suspended: the file alone serves", extra={"reason": now.reason, "why": why})


def _said(found: Difference) -> dict[str, Any]:
    out: dict[str, Any] = {"path": list(found.path)}
    if found.before is not ABSENT:
        out["before"] = found.before
    return out if found.after is ABSENT else out | {"after": found.after}
