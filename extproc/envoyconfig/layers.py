"""Blocks of configuration that lie over each other, and which of them is to blame for a member of the result."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from extproc.envoyconfig.merge import merge_all
from extproc.envoyconfig.problem import Problem
from extproc.envoyconfig.sources import Lines, Source
from extproc.registry.problems import Path

_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")


@dataclass(frozen=True, slots=True)
class Block:
    """A mapping in a file. `at` is where it stands there, `file` and `lines` are for messages."""

    file: str
    at: Path
    data: Any
    lines: Lines = field(default_factory=dict)

    @staticmethod
    def of(source: Source, *at: str) -> Block:
        return Block(source.file, at, member(source.data, at) if at else source.data, source.lines)

    def problem(self, path: Path, message: str) -> Problem:
        """`path` counts from the block."""
        whole = (*self.at, *path)
        line = next((self.lines[whole[:end]] for end in range(len(whole), 0, -1) if whole[:end] in self.lines), None)
        return Problem(self.file, whole, line, message)


@dataclass(frozen=True, slots=True)
class Layers:
    """Later blocks lie over earlier ones."""

    blocks: tuple[Block, ...]
    merged: dict[str, Any]

    @staticmethod
    def of(*blocks: Block) -> Layers:
        return Layers(blocks, merge_all(*(block.data for block in blocks if isinstance(block.data, dict))))

    def get(self, *path: str | int) -> Any:
        """The member of the merged result, None if there is none."""
        return member(self.merged, path)

    def seconds(self, *path: str | int) -> float | None:
        """A duration of the merged result; None if it is absent or no duration, which Envoy itself refuses."""
        return seconds(self.get(*path))

    def blame(self, path: Path, message: str) -> Problem:
        """A problem in the uppermost block that says anything about `path`, else in the lowest. A list is its author's as a whole."""
        whole = next((index for index, part in enumerate(path) if isinstance(part, int)), len(path))
        for end in range(whole, 0, -1):
            for block in reversed(self.blocks):
                if member(block.data, path[:end]) is not None:
                    return block.problem(path, message)
        return self.blocks[0].problem(path, message)


def member(value: Any, path: Path) -> Any:
    """The member at `path`, None where there is none or the shape is another."""
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value


def seconds(value: Any) -> float | None:
    """`"1.5s"` → 1.5, the only form of a duration that Envoy reads."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) if match else None


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every member below `value` with its path."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*path, name), inner
        yield from walk(inner, (*path, name))
