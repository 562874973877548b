"""Replicas that share one overlay. The shared state counts; a change that it has not seen yet waits for it, and yields to one that came first."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import orjson

from extproc.admin.files import overlay_of
from extproc.admin.live import RETRY, LiveRegistry
from extproc.admin.overlay import Overlay
from extproc.admin.refusal import Refused
from extproc.admin.sharing import SharedOverlay

log = logging.getLogger(__name__)


class Sharing:
    """Keeps `live`, the first worker's, and the shared state together, as long as the registry names one."""

    def __init__(self, live: LiveRegistry, shared: SharedOverlay) -> None:
        self._live = live
        self._shared = shared
        self.reached: bool | None = None
        """Did the shared state answer last time? None: not asked yet."""
        self._unreadable = ""

    @property
    def on(self) -> bool:
        """Does the registry in force name a shared state?"""
        return self._live.registry.state is not None

    async def put(self, overlay: Overlay) -> tuple[Overlay, str]:
        """The overlay with the version that it got, or marked as unshared, and why. Raises `Refused` where somebody else was faster, or another
        version of this program has written what only that can read."""
        if self._unreadable:
            raise Refused(503, "not_shared", f"the overlay in the shared state cannot be read ({self._unreadable}); take it out of there, or update")
        try:
            return await self._put(overlay, overlay.version), ""
        except OSError as error:
            self.reached = False
            return replace(overlay, unshared=True), f"the shared state does not answer ({type(error).__name__}); the change is shared once it does"

    async def run(self) -> None:
        """Until cancelled: hears of other replicas' changes, and shares what it could not share before."""
        while True:
            try:
                async with self._live.turn:
                    if self.on and self._live.leads:
                        await self._agree()
                await self._shared.changed()
            except (OSError, Refused, ValueError) as error:
                if self.reached is not False:
                    log.warning("the shared overlay is out of reach", extra={"why": str(error) or type(error).__name__})
                self.reached = False
                await asyncio.sleep(RETRY)
            except Exception:
                log.exception("a bug in the sharing of the overlay")
                await asyncio.sleep(RETRY)

    async def _agree(self) -> None:
        theirs = await self._shared.get()
        self.reached = True
        self._unreadable = ""
        live, ours = self._live, self._live.overlay
        version = theirs.version if theirs is not None else 0
        if theirs is None or (ours.unshared and version == ours.version):
            # nobody has changed it meanwhile, or the shared state has lost it
            agreed = await self._put(ours, version) if ours.entries or theirs is not None else replace(ours, version=0, unshared=False)
            if agreed != ours:
                new = live.state._replace(resolved=replace(live.state.resolved, overlay=agreed))
                await live.keep(live.state, new, "shared")
                live.use(new)
        elif version != ours.version:
            try:
                arrived = replace(overlay_of(theirs.document), version=version, unshared=False, suspended=None)
            except ValueError as error:
                self._unreadable = str(error)
                raise
            if ours.unshared:
                lost = [e.id for e in ours.entries if e not in arrived.entries]
                log.error("changes that the shared state never saw are dropped: others came first; the history has them", extra={"changes": lost})
            await live.again(arrived, "shared", arrived=True)

    async def _put(self, overlay: Overlay, expected: int) -> Overlay:
        version = await self._shared.put(orjson.dumps(replace(overlay, suspended=None, unshared=False).said()), expected)
        self.reached = True
        if version is None:
            raise Refused(409, "changed_elsewhere", "another replica has just changed the overlay; read again and repeat")
        return replace(overlay, version=version, unshared=False)
