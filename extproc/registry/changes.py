"""Changes over a registry file: what the admin API writes, applied to the file's tree before it is read, so that every rule of the file holds for
them too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Change:
    """At `path` (mapping keys from the root, such as ("models", "chat", "rank_by")) stands `value` (JSON) instead of what the file says;
    `removed`: nothing stands there."""

    path: tuple[str, ...]
    value: Any = None
    removed: bool = False
