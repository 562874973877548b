"""Changes that somebody asks for: made whole, in force when they are answered and kept, or refused with nothing changed anywhere.

The order: the new registry is built and checked, also for the time after each change that expires; Envoy has what it needs; then the change is put
into the shared state and on disk; then it is used. A kill leaves it whole or undone.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import orjson

from extproc.admin.agree import Sharing
from extproc.admin.aside import aside
from extproc.admin.files import OVERLAY_BYTES, Record
from extproc.admin.live import OVERLAY_POLL, LiveRegistry, State
from extproc.admin.overlay import MAX_ENTRIES, Entry, Overlay, Stamp, added, affirmed, checked
from extproc.admin.refusal import Refused, problems_said
from extproc.admin.resolve import Resolved, after_each_end, conflicts_said, with_changes
from extproc.admin.tree import Difference, Set, differences, laid_over
from extproc.registry.problems import RegistryError, render
from extproc.registry.types import Registry

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_ENDS = 50
"""The registry is read once for each time at which a change expires, at every change."""
FOLLOW_WITHIN = 2.0
"""Seconds that an answer waits for the other workers to use the change."""

Edit = Callable[[LiveRegistry], Sequence[Set]]
"""From what is in force to what shall stand there; called in turn. Raises `Refused`."""
Condition = Callable[[LiveRegistry], None]
"""Called in turn. Raises `Refused` where what is in force is not what the caller has seen."""
Guard = Callable[[Sequence[Difference]], None]
"""Raises `Refused` for what the caller may not change."""


class By(NamedTuple):
    """Who asks, from where (`guard`), and on what condition. `lasts`: seconds until it expires, None for good. `dry`: only say what would happen."""

    author: str
    guard: Guard
    condition: Condition
    lasts: float | None = None
    dry: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """What a change did, or would do (`dry`). `id` is "" where there was nothing to do. `waiting`: workers that have not said yet that they use it.
    `unshared`: why it did not reach the other replicas."""

    id: str
    registry: Registry
    tree: dict[str, Any]
    differences: tuple[Difference, ...]
    overlay: Overlay
    reaches: str
    dry: bool = False
    waiting: tuple[int, ...] = ()
    unshared: str = ""


class Reviser:
    """Makes changes of `live`. `sharing` None: no other replica hears of them."""

    def __init__(self, live: LiveRegistry, sharing: Sharing | None = None) -> None:
        self.live = live
        self.sharing = sharing
        self._under_way: set[asyncio.Task[Done]] = set()

    def reaches(self, *, shared: bool = True) -> str:
        """Whom a change reaches."""
        if shared and self.sharing is not None and self.sharing.on and self.sharing.reached is not False:
            return "every replica"
        return "this pod" if self.live.workers > 1 else "this process"

    async def change(self, edit: Edit, by: By) -> Done:
        """Make what `edit` says stand in the document."""

        def entries(stamp: Stamp) -> tuple[Entry, ...]:
            self._not_suspended()
            overlay = self.live.overlay
            sets = edit(self.live)
            if len(sets) > MAX_ENTRIES:
                raise _too_many()
            return added(overlay.entries, sets, self.live.base.tree, stamp) if sets else overlay.entries

        return await self._shielded(entries, by, "change")

    async def drop(self, by: By, which: str = "") -> Done:
        """Drop the overlay, or one change of it."""

        def entries(_: Stamp) -> tuple[Entry, ...]:
            if not which:
                return ()
            self._not_suspended()
            left = tuple(e for e in self.live.overlay.entries if e.id != which and e.id.partition(".")[0] != which)
            if len(left) == len(self.live.overlay.entries):
                raise Refused(404, "unknown_change", f"the overlay has no change {which!r}")
            return left

        return await self._shielded(entries, by, "drop")

    async def resume(self, by: By) -> Done:
        """Affirm a suspended overlay over the file as it is now."""

        def entries(_: Stamp) -> tuple[Entry, ...]:
            suspended = self.live.overlay.suspended
            if suspended is None:
                raise Refused(409, "not_suspended", "the overlay is not suspended")
            if suspended.reason == "unreadable":
                raise Refused(409, "unreadable", "the overlay cannot be read, so it cannot be resumed; DELETE /v1/overlay begins anew")
            return affirmed(self.live.overlay.entries, self.live.base.tree, self.live.base.digest)

        return await self._shielded(entries, by, "resume")

    async def roll_back(self, which: str, side: str, by: By) -> Done:
        """The overlay as it was before the change `which`, or (`side` "after") directly after it. What has expired since does not come back."""
        found = await self._read(lambda: next((r for r in self.live.files.newest() if r.id == which), None))
        if found is None:
            raise Refused(404, "unknown_change", f"the history has no change {which!r}")
        then = found.before if side == "before" else found.after

        def entries(stamp: Stamp) -> tuple[Entry, ...]:
            self._not_suspended()
            base = self.live.base
            fits = checked(then, base.tree, base.digest)
            if fits.conflicts:
                said = conflicts_said(fits.conflicts, base)
                raise Refused(409, "conflict", "the file has changed since then, at the same places", said)
            return tuple(e for e in fits.entries if e.expires is None or e.expires > stamp.at)

        return await self._shielded(entries, by, "rollback")

    async def history(self, most: int) -> list[Record]:
        """The newest first."""
        return await self._read(lambda: list(islice(self.live.files.newest(), most)))

    @staticmethod
    async def _read(read: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(read)
        except OSError as error:
            raise Refused(503, "not_kept", f"the history cannot be read: {error.strerror}") from error

    def _not_suspended(self) -> None:
        if self.live.overlay.suspended is not None:
            raise Refused(409, "suspended", "the overlay is suspended; POST /v1/overlay/resume or DELETE /v1/overlay first")

    async def _shielded(self, entries: Callable[[Stamp], tuple[Entry, ...]], by: By, action: str) -> Done:
        """A caller who leaves does not leave a change half made."""
        task = asyncio.create_task(self._make(entries, by, action))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Done]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # also where nobody waits for it any more
            task.exception()

    async def _make(self, entries: Callable[[Stamp], tuple[Entry, ...]], by: By, action: str) -> Done:
        live = self.live
        async with live.turn:
            await live.lead()
            by.condition(live)
            old, now = live.state, live.wall()
            stamp = Stamp(secrets.token_hex(4), now, by.author, old.base.digest, None if by.lasts is None else now + by.lasts)
            before = old.resolved.overlay
            overlay = replace(before, entries=await asyncio.to_thread(entries, stamp), suspended=None).at(now)
            if overlay == before:
                return Done("", live.registry, live.tree, (), before, self.reaches(), by.dry)
            if len(overlay.entries) > MAX_ENTRIES:
                raise _too_many()
            registry, tree, found, later = await aside(_built, old, str(live.path), overlay)
            by.guard((*found, *later))
            if by.dry:
                why = await live.reloader.check(registry)
                if why is not None:
                    raise Refused(422, "envoy", "Envoy cannot be configured for it", _lines(why))
                return Done(stamp.id, registry, tree, found, overlay, self.reaches(), dry=True)
            new = old._replace(resolved=Resolved(registry, tree, overlay))
            unshared = ""

            async def commit() -> None:
                nonlocal new, unshared
                sharing = self.sharing if self.sharing is not None and self.sharing.on else None
                if sharing is None:
                    agreed = replace(overlay, unshared=bool(overlay.entries))
                else:
                    agreed, unshared = await sharing.put(overlay)
                new = old._replace(resolved=Resolved(registry, tree, agreed))
                # what every replica has heard of is made, whatever this one's disk says
                asked = stamp.id if sharing is None or unshared else ""
                await live.keep(old, new, action, by.author, asked)

            why = await live.reloader.take(registry, commit, others=live.others)
            if why is not None:
                raise Refused(422, "envoy", "Envoy does not take it; nothing has changed", _lines(why))
            live.use(new)
            log.info(
                "the registry is changed", extra={"change": stamp.id, "action": action, "author": by.author, "paths": [render(d.path) for d in found]}
            )
            waiting = await self._followers(registry.digest)
            return Done(stamp.id, registry, tree, found, live.overlay, self.reaches(shared=not unshared), waiting=waiting, unshared=unshared)

    async def _followers(self, digest: str) -> tuple[int, ...]:
        """The workers that do not use it in time."""
        waiting = range(1, self.live.workers)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + FOLLOW_WITHIN
        while True:
            waiting_now = tuple(n for n in waiting if self.live.files.read_in_force(n) != digest)
            if not waiting_now or loop.time() > deadline:
                return waiting_now
            await asyncio.sleep(OVERLAY_POLL / 4)


class _Built(NamedTuple):
    """`later`: what would differ once changes have expired from what would have been in force then."""

    registry: Registry
    tree: dict[str, Any]
    found: tuple[Difference, ...]
    later: tuple[Difference, ...]


def _built(old: State, path: str, overlay: Overlay) -> _Built:
    base, before = old.base, old.resolved.overlay
    if len(orjson.dumps(overlay.said())) > OVERLAY_BYTES:
        raise Refused(422, "too_large", f"the overlay would be larger than {OVERLAY_BYTES >> 20} MiB; write some of its changes into the file")
    if len({e.expires for e in overlay.entries}) > MAX_ENDS:
        raise Refused(422, "too_many_changes", f"changes would expire at more than {MAX_ENDS} different times; give some of them the same end")
    try:
        registry, tree = with_changes(base, path, overlay)
    except RegistryError as error:
        raise Refused(422, "invalid", "the registry would not load with this change", problems_said(error.problems)) from error
    bad = after_each_end(base, path, overlay)
    if bad is not None:
        message = f"the registry would not load any more when the change {bad[0].id} expires; give what depends on it the same end"
        raise Refused(422, "invalid_later", message, problems_said(bad[1].problems)) from bad[1]
    ends = {e.expires for e in (*before.entries, *overlay.entries) if e.expires is not None}
    later = [d for end in ends for d in differences(laid_over(base.tree, before.at(end).sets), laid_over(base.tree, overlay.at(end).sets))]
    return _Built(registry, tree, tuple(differences(old.resolved.tree, tree)), tuple(later))


def _too_many() -> Refused:
    return Refused(422, "too_many_changes", f"the overlay would hold more than {MAX_ENTRIES} changes; write some of them into the file")


def _lines(why: str) -> list[dict[str, Any]]:
    return [{"path": "", "message": line} for line in why.splitlines()]
