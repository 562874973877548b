"""The directory that Envoy watches: one file for each token, and one that says how each of them is.

A file is put in place whole, by rename, and only its owner may read it. The state holds no token; a probe reads it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

STATE = ".state.json"
"""No name of a token's file begins with a dot."""


@dataclass(frozen=True, slots=True)
class State:
    """Of one file. `expires_at` and `tried_at` are Unix times, 0 for never; `error` is why the last try failed, "" if it did not."""

    expires_at: float = 0.0
    tried_at: float = 0.0
    error: str = ""

    def good_at(self, now: float) -> bool:
        """Is there a token that is still good?"""
        return self.expires_at > now


def put(directory: Path, name: str, content: bytes) -> None:
    """Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".", suffix=".tmp")  # 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(directory / name)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_states(directory: Path, states: Mapping[str, State]) -> None:
    """Raises OSError."""
    put(directory, STATE, orjson.dumps({name: asdict(state) for name, state in states.items()}, option=orjson.OPT_INDENT_2))


def read_states(directory: Path) -> dict[str, State]:
    """By file name; empty where there is no state, or none that this version can read."""
    try:
        return {name: State(**state) for name, state in orjson.loads((directory / STATE).read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
