"""What the handlers of the admin API share: what they are handed, and what every answer says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from extproc.admin import hidden
from extproc.admin.agree import Sharing
from extproc.admin.live import LiveRegistry
from extproc.admin.overlay import Entry
from extproc.admin.revise import Done, Reviser
from extproc.admin.tree import ABSENT, Difference, value_at
from extproc.registry.problems import render
from extproc.stages.services import Services

Explain = Callable[[bytes, str | None, Mapping[str, str], str], dict[str, Any]]
"""(body, path or None to guess it, headers in lower case, method) → what would happen to that request now. May block. Raises `Refused`."""


@dataclass(slots=True)
class Api:
    """`answering()` tells whether Envoy's admin socket answers, None if it is not asked. `draining` is set when the server is about to end."""

    live: LiveRegistry
    revise: Reviser
    services: Services
    explain: Explain
    version: str
    answering: Callable[[], bool | None]
    started: float
    draining: bool = False

    @property
    def sharing(self) -> Sharing | None:
        """With the other replicas."""
        return self.revise.sharing

    def said(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """`body` with what every answer says: the digest in force, and the overlay's state."""
        return {"registry": self.live.registry.digest, "overlay": self.live.overlay.state, **body}

    def changed(self, done: Done, path: tuple[str, ...] = ()) -> dict[str, Any]:
        """The answer to a change of what stands at `path`."""
        body: dict[str, Any] = {
            "registry": done.registry.digest,
            "overlay": done.overlay.state,
            "changed": bool(done.id),
            "dry_run": done.dry,
            "difference": differences_said(done.differences),
            "reaches": done.reaches,
        }
        if done.id:
            body["id"] = done.id
        if done.waiting:
            body["waiting_for_workers"] = list(done.waiting)
        if done.unshared:
            body["not_shared"] = done.unshared
        value = value_at(done.tree, path) if path else ABSENT
        return body if value is ABSENT else body | {"value": hidden.shown(value)}


def differences_said(found: Iterable[Difference]) -> list[dict[str, Any]]:
    """Without secrets; no `before` is nothing there, likewise `after`."""
    out = []
    for one in found:
        said: dict[str, Any] = {"path": render(one.path)}
        if one.before is not ABSENT:
            said["before"] = hidden.shown(one.before, one.path)
        if one.after is not ABSENT:
            said["after"] = hidden.shown(one.after, one.path)
        out.append(said)
    return out


def entry_said(entry: Entry) -> dict[str, Any]:
    """One change of the overlay, for a reader."""
    said = entry.said() | {"path": render(entry.path), "at": time_said(entry.at)}
    for side in ("before", "value"):
        if side in said:
            said[side] = hidden.shown(said[side], entry.path)
    if entry.expires is not None:
        said["expires"] = time_said(entry.expires)
    return said


def time_said(unix: float) -> str:
    """RFC 3339, UTC, to the millisecond."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
