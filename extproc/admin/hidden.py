"""What no answer of the API shows: text that looks like a key, and the members of Envoy's blocks that hold secrets inline.

A registry names keys by where they are and never holds one, but people paste things, and Envoy's own blocks may hold anything. What is hidden comes
back as `HIDDEN`, and whoever sends that back means what stands there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from extproc.admin.refusal import Refused
from extproc.registry.problems import looks_secret, render

HIDDEN = "(not shown: it looks like a key)"
_SECRET = frozenset({"private_key", "inline_string", "inline_bytes", "password", "private_key_provider", "token", "secret"})
"""Members of Envoy's blocks."""


def shown(value: Any, path: Sequence[str] = ()) -> Any:
    """`value`, which stands at `path` (the keys from any mapping around it), without secrets."""
    if isinstance(value, dict):
        return {key: shown(inner, (key,)) for key, inner in value.items()}
    if isinstance(value, list):
        return [shown(item, path) for item in value]
    return HIDDEN if isinstance(value, str) and (looks_secret(value) or (path and path[-1] in _SECRET)) else value


def restored(value: Any, current: Any, path: tuple[str | int, ...] = ()) -> Any:
    """`value` with what stands in `current` wherever it says `HIDDEN`. Raises `Refused` where nothing stands there."""
    if isinstance(value, dict):
        here = current if isinstance(current, dict) else {}
        return {key: restored(inner, here.get(key), (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        there = current if isinstance(current, list) else []
        return [restored(item, there[n] if n < len(there) else None, (*path, n)) for n, item in enumerate(value)]
    if value != HIDDEN:
        return value
    if not isinstance(current, str):
        problem = {"path": render(path), "message": "is what the API shows in place of something hidden, and nothing stands there"}
        raise Refused(422, "invalid", "the value holds a placeholder", [problem])
    return current
