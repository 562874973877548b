"""Typed reading of the tree: each read gives the value or records a problem with its path and line, so that one pass finds all mistakes.

A read that fails returns None; callers skip what is missing and go on. Nothing is converted silently: a number where a name belongs is a
mistake that the author should see.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from extproc.registry.problems import Path, Problems, shown
from extproc.registry.yaml_marks import Mapping as MappingNode
from extproc.registry.yaml_marks import Node, Scalar, Sequence

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h)\Z")
_LOOSE_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(ms|millis(?:econds?)?|s|secs?|seconds?|m|mins?|minutes?|h|hours?)?\Z", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
MAX_DURATION = 86400.0


def seconds(value: float) -> str:
    """A duration for a message: 20s."""
    return f"{value:g}s"


class Field:
    """One value of the file: its node, its path, and where its problems go.

    `line` and `column` are where a message should point: the value, or for a collection the key that it belongs to.
    """

    __slots__ = ("column", "line", "node", "path", "problems")

    def __init__(self, node: Node, path: Path, problems: Problems, key: tuple[int, int] | None = None) -> None:
        self.node = node
        self.path = path
        self.problems = problems
        self.line, self.column = (node.line, node.column) if key is None or isinstance(node, Scalar) else key

    def fail(self, message: str, suggestion: str | None = None) -> None:
        self.problems.add(self.path, self.line, self.column, message, suggestion)

    def wrong(self, wanted: str, suggestion: str | None = None) -> None:
        """The problem that something else stands here."""
        node = self.node
        match node:
            case Scalar():
                is_ = "is empty" if node.kind == "null" else f"is {shown(node.text)}"
            case Sequence():
                is_ = "is a list"
            case _:
                is_ = "is a mapping"
        self.fail(f"must be {wanted}, {is_}", suggestion)

    def text(self, wanted: str = "text") -> str | None:
        node = self.node
        if not isinstance(node, Scalar) or node.kind == "null" or node.text == "":
            self.wrong(wanted)
        elif node.kind == "text":
            return node.text
        elif node.kind == "ambiguous":
            self.fail(f"{shown(node.text)} {node.ambiguity}", f"quote it: '{node.text[:40]}'")
        else:
            self.wrong(wanted, f"quote it: '{node.text[:40]}'")
        return None

    def boolean(self) -> bool | None:
        node = self.node
        if isinstance(node, Scalar) and node.kind == "boolean":
            return node.value() is True
        self.wrong("true or false")
        return None

    def integer(self, low: int, high: int, unit: str = "") -> int | None:
        """A whole number with low <= value <= high."""
        node = self.node
        wanted = f"a whole number{unit} from {low} to {high}"
        if isinstance(node, Scalar) and node.kind == "integer" and isinstance(value := node.value(), int) and low <= value <= high:
            return value
        self.wrong(wanted)
        return None

    def number(self, wanted: str) -> float | None:
        """A finite number; the caller checks its range."""
        node = self.node
        if (
            isinstance(node, Scalar)
            and node.kind in ("integer", "number")
            and isinstance(value := node.value(), int | float)
            and math.isfinite(value)
        ):
            return float(value)
        self.wrong(wanted)
        return None

    def duration(self, *, zero: bool = False) -> float | None:
        """Seconds. `zero` allows 0s."""
        node = self.node
        wanted = "a duration with its unit, such as 20s, 500ms or 2m"
        if not isinstance(node, Scalar) or node.kind == "null":
            self.wrong(wanted)
            return None
        found = _DURATION.match(node.text)
        if found is None:
            loose = _LOOSE_DURATION.match(node.text)
            self.wrong(wanted, None if loose is None else f"write {loose[1]}{_unit(loose[2])}")
            return None
        value = float(found[1]) * _SECONDS[found[2]]
        if value > MAX_DURATION or (value == 0 and not zero):
            self.fail(f"must be more than 0s and at most 24h, is {node.text}" if not zero else f"must be at most 24h, is {node.text}")
            return None
        return value

    def choice(self, options: Collection[str]) -> str | None:
        value = self.text("one of " + ", ".join(options))
        if value is None or value in options:
            return value
        self.fail(f"must be one of {', '.join(options)}, is {shown(value)}", self.problems.did_you_mean(value, options))
        return None

    def items(self, wanted: str = "a list") -> list[Field] | None:
        """The members of a list that is not empty."""
        node = self.node
        if not isinstance(node, Sequence):
            self.wrong(wanted)
            return None
        if not node.items:
            self.fail(f"must be {wanted}, is an empty list")
            return None
        return [Field(item, (*self.path, i), self.problems) for i, item in enumerate(node.items)]

    def entries(self, wanted: str = "a mapping") -> dict[str, Field] | None:
        """The members of a mapping that is not empty."""
        found = self._members(wanted)
        if found is not None and not found:
            self.fail(f"must be {wanted}, is an empty mapping")
            return None
        return found

    def _members(self, wanted: str) -> dict[str, Field] | None:
        node = self.node
        if not isinstance(node, MappingNode):
            self.wrong(wanted)
            return None
        return {k: Field(e.node, (*self.path, k), self.problems, (e.line, e.column)) for k, e in node.entries.items()}

    def key_fail(self, key: str, message: str, suggestion: str | None = None) -> None:
        """A problem with a member's key."""
        if isinstance(self.node, MappingNode):
            entry = self.node.entries[key]
            self.problems.add((*self.path, key), entry.line, entry.column, message, suggestion)

    def record(
        self, known: Collection[str], *, later: Mapping[str, str] | None = None, hints: Mapping[str, str] | None = None, wanted: str = "a mapping"
    ) -> Record | None:
        """A mapping with fixed keys. `later` are keys of coming versions with what they are, `hints` advice for keys that people try."""
        found = self._members(wanted)
        if found is None:
            return None
        for key in found:
            if key in known:
                continue
            if later and key in later:
                self.key_fail(key, f"{later[key]} is not supported by this version yet", "remove it")
            elif hints and key in hints:
                self.key_fail(key, "is not a known key", hints[key])
            else:
                self.key_fail(key, f"is not a known key; known here: {', '.join(known)}", self.problems.did_you_mean(key, known))
        fields = {k: f for k, f in found.items() if k in known}
        return Record(self, fields, refused=len(fields) < len(found))

    def data(self) -> Any:
        """The value as plain Python data, for a block whose schema is somebody else's (Envoy's). Ambiguous scalars are problems."""
        node = self.node
        match node:
            case MappingNode():
                return {k: Field(e.node, (*self.path, k), self.problems, (e.line, e.column)).data() for k, e in node.entries.items()}
            case Sequence():
                return [Field(item, (*self.path, i), self.problems).data() for i, item in enumerate(node.items)]
            case Scalar():
                if node.kind == "ambiguous":
                    self.fail(f"{shown(node.text)} {node.ambiguity}", f"write true, false or a decimal number, or quote it: '{node.text[:40]}'")
                return node.value()
            case _:
                return None


def _unit(word: str | None) -> str:
    word = (word or "s").lower()
    return "ms" if word.startswith(("ms", "mil")) else word[0]


class Record:
    """A mapping with fixed keys, after its unknown keys were reported; `refused` tells that there were some."""

    __slots__ = ("_fields", "field", "refused")

    def __init__(self, field: Field, fields: dict[str, Field], *, refused: bool) -> None:
        self.field = field
        self.refused = refused
        self._fields = fields

    def get(self, key: str) -> Field | None:
        return self._fields.get(key)

    def only(self, *keys: str) -> tuple[str, Field] | None:
        """The one of `keys` that stands here, and its value; None with the problem that none or several do."""
        written = [(key, found) for key in keys if (found := self._fields.get(key)) is not None]
        if len(written) == 1:
            return written[0]
        if not self.refused:
            *others, last = (f"`{key}`" for key in keys)
            self.field.fail(f"needs exactly one of {', '.join(others)} and {last}")
        return None

    def need(self, key: str, example: str) -> Field | None:
        """The member, or None with the problem that it is missing."""
        found = self._fields.get(key)
        if found is None:
            self.field.fail(f"needs `{key}`", f"for example {key}: {example}")
        return found
