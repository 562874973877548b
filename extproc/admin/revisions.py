"""The overlay and the history through the API: what is changed over the file, by whom, and how to go back."""

from __future__ import annotations

import asyncio
from typing import Any

from extproc.admin import hidden
from extproc.admin.api import Api, differences_said, entry_said, time_said
from extproc.admin.ask import Answer, Ask, etag_of
from extproc.admin.files import Record
from extproc.admin.live import LiveRegistry
from extproc.admin.refusal import Refused
from extproc.admin.tree import differences
from extproc.registry.problems import render


def _version(live: LiveRegistry) -> str:
    overlay = live.overlay
    return etag_of([[e.said() for e in overlay.entries], overlay.suspended.said() if overlay.suspended else None])


async def overlay(api: Api, ask: Ask) -> Answer:  # noqa: ARG001
    """The changes over the file, the oldest first."""
    live = api.live
    body: dict[str, Any] = {"base": live.base.digest, "changes": [entry_said(e) for e in live.overlay.entries]}
    suspended = live.overlay.suspended
    if suspended is not None:
        body["suspended"] = suspended.said() | {"at": time_said(suspended.at)}
    return Answer(api.said(body), headers={"etag": f'"{_version(live)}"'})


async def drop(api: Api, ask: Ask) -> Answer:
    """The file alone serves."""
    return Answer(api.changed(await api.revise.drop(ask.by(_version))))


async def drop_one(api: Api, ask: Ask) -> Answer:
    """Without one change."""
    return Answer(api.changed(await api.revise.drop(ask.by(_version, asked=False), ask.path["id"])))


async def resume(api: Api, ask: Ask) -> Answer:
    """A suspended overlay counts again, over the file as it is now."""
    return Answer(api.changed(await api.revise.resume(ask.by(_version, asked=False))))


async def diff(api: Api, ask: Ask) -> Answer:  # noqa: ARG001
    """The file against what is in force."""
    live = api.live
    said, base, tree = api.said({"base": live.base.digest}), live.base.tree, live.tree
    return Answer(said | {"difference": await asyncio.to_thread(lambda: differences_said(differences(base, tree)))})


async def history(api: Api, ask: Ask) -> Answer:
    """The newest first."""
    limit = ask.number("limit", 50, 1000)
    records = await api.revise.history(limit)
    return Answer(api.said({"history": await asyncio.to_thread(lambda: [_said(r) for r in records])}))


async def roll_back(api: Api, ask: Ask) -> Answer:
    """The overlay as it was around a change."""
    side = ask.query.get("to", "before")
    if side not in ("before", "after"):
        raise Refused(400, "bad_parameter", "to must be before or after")
    return Answer(api.changed(await api.revise.roll_back(ask.path["id"], side, ask.by(_version, asked=False))))


def _said(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "at": time_said(record.at),
        "author": record.author,
        "action": record.action,
        "base": record.base,
        "difference": [
            {side: hidden.shown(d[side], d["path"]) for side in ("before", "after") if side in d} | {"path": render(tuple(d["path"]))}
            for d in record.differences
        ],
    }
