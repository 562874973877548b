"""The parts of the registry that the API reads and changes, each at its place in the document: models, targets, providers, tenants, limits and
defaults. A value is what the registry file would say there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from extproc.admin import hidden
from extproc.admin.api import Api
from extproc.admin.ask import Answer, Ask, etag_of
from extproc.admin.live import LiveRegistry
from extproc.admin.refusal import Refused
from extproc.admin.tree import ABSENT, Path, Set, holds, merged, replaced, value_at
from extproc.registry.problems import render

COLLECTIONS = ("models", "targets", "providers", "tenants")
SECTIONS = ("limits", "defaults")


class Resource:
    """One section of the document (`name` is no parameter of its paths), or one entry of a collection."""

    def __init__(self, section: str) -> None:
        self.section = section

    def _path(self, ask: Ask) -> Path:
        if self.section in SECTIONS:
            return (self.section,)
        name = ask.path["name"]
        if not name or len(name) > 256:
            raise Refused(404, "unknown", f"there is no such name in {self.section}")
        return self.section, name

    async def all(self, api: Api, ask: Ask) -> Answer:  # noqa: ARG002
        """Every entry, with its ETag."""
        section = value_at(api.live.tree, (self.section,))
        entries = section if isinstance(section, dict) else {}
        return await asyncio.to_thread(self._all, api, section, entries)

    @staticmethod
    def _all(api: Api, section: Any, entries: dict[str, Any]) -> Answer:
        items = {name: {"value": hidden.shown(value), "etag": f'"{etag_of(value)}"'} for name, value in entries.items()}
        return Answer(api.said({"items": items}), headers={"etag": f'"{etag_of(section)}"'})

    async def get(self, api: Api, ask: Ask) -> Answer:
        path = self._path(ask)
        value = value_at(api.live.tree, path)
        etag = etag_of(value)
        if value is ABSENT:
            if len(path) > 1:
                raise _unknown(path)
            value = [] if self.section == "limits" else {}
        overlay = api.live.overlay
        changes = [] if overlay.suspended else [e.id for e in overlay.entries if holds(path, e.path) or holds(e.path, path)]
        body = {"path": render(path), "value": hidden.shown(value), "changes": changes}
        return Answer(api.said(body), headers={"etag": f'"{etag}"'})

    async def put(self, api: Api, ask: Ask) -> Answer:
        """The whole value."""
        value = await asyncio.to_thread(ask.json)
        # a file has no empty list of limits, and no empty defaults: it leaves them out
        wanted = ABSENT if self.section in SECTIONS and value in ([], {}) else value
        return await self._change(api, ask, lambda live, path: replaced(live.tree, path, self._restored(wanted, live, path)))

    async def patch(self, api: Api, ask: Ask) -> Answer:
        """A merge patch (RFC 7396)."""
        patch = await asyncio.to_thread(ask.object)
        return await self._change(api, ask, lambda live, path: merged(live.tree, path, self._restored(patch, live, path)), there=True)

    async def delete(self, api: Api, ask: Ask) -> Answer:
        return await self._change(api, ask, lambda live, path: replaced(live.tree, path, ABSENT), there=True)

    async def drain(self, api: Api, ask: Ask) -> Answer:
        """No new requests for a target."""
        return await self._set_drained(api, ask, drained=True)

    async def enable(self, api: Api, ask: Ask) -> Answer:
        """New requests for it again."""
        return await self._set_drained(api, ask, drained=False)

    async def _set_drained(self, api: Api, ask: Ask, *, drained: bool) -> Answer:
        def sets(live: LiveRegistry, path: Path) -> list[Set]:
            at = (*path, "drained")
            if not drained and value_at(live.tree, at) is ABSENT:
                return []
            # said again, it counts until when this time
            return [Set(at, ABSENT if not drained and value_at(live.base.tree, at) is ABSENT else drained)]

        return await self._change(api, ask, sets, there=True, asked=False)

    async def _change(
        self, api: Api, ask: Ask, sets: Callable[[LiveRegistry, Path], list[Set]], *, there: bool = False, asked: bool = True
    ) -> Answer:
        path = self._path(ask)

        def version(live: LiveRegistry) -> str | None:
            value = value_at(live.tree, path)
            if value is ABSENT and len(path) > 1:
                if there:
                    raise _unknown(path)
                return None
            return etag_of(value)

        done = await api.revise.change(lambda live: sets(live, path), ask.by(version, asked=asked))
        value = value_at(done.tree, path)
        etag = {"etag": f'"{etag_of(value)}"'} if value is not ABSENT and not done.dry else {}
        return Answer(api.changed(done, path), headers=etag)

    @staticmethod
    def _restored(value: Any, live: LiveRegistry, path: Path) -> Any:
        return value if value is ABSENT else hidden.restored(value, value_at(live.tree, path), path)


def _unknown(path: Path) -> Refused:
    return Refused(404, "unknown", f"there is no {render(path)}")
