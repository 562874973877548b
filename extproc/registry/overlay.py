"""Changes over the tree of a registry file, before anything of it is read: so every rule of the file holds for them, and one message tells both.

The file's tree is never written to: what lies on the way to a change is copied, since a YAML alias may stand for the same node elsewhere. Values
of changes are bounded like a file's (depth, number of values), because they come over a network.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from extproc.registry.changes import Change
from extproc.registry.problems import CHANGED, Path, Problems, render
from extproc.registry.yaml_marks import MAX_DEPTH, MAX_NODES, Entry, Mapping, Node, Scalar
from extproc.registry.yaml_marks import Sequence as SequenceNode

_LONGEST_INTEGER = 10**18
"""Longer ones are not integers to the reader of the file either."""


def apply(root: Node, changes: Sequence[Change], problems: Problems) -> Node:
    """The tree with `changes` in their order. One that cannot be made is a problem with its path, and left out.

    A change may add to a mapping that is there, or replace or remove a member; lists are replaced whole.
    """
    budget = _Budget(problems)
    for change in changes:
        if not change.path:
            problems.add((), CHANGED, 0, "a change needs a path", "such as models.chat.rank_by")
            continue
        value = None if change.removed else budget.node(change.value, change.path)
        if change.removed or value is not None:
            root = _changed(root, change.path, 0, value, problems)
    return root


def canonical(changes: Sequence[Change]) -> bytes:
    """The same bytes for the same changes, for a digest."""
    return json.dumps(
        [{"path": c.path, "removed": True} if c.removed else {"path": c.path, "value": c.value} for c in changes],
        sort_keys=True,
        separators=(",", ":"),
        default=str,  # what JSON cannot say is refused when it is applied
    ).encode()


def plain(node: Node) -> Any:
    """The tree as JSON can hold it: what is not finite, or ambiguous, is its text."""
    match node:
        case Mapping():
            return {key: plain(entry.node) for key, entry in node.entries.items()}
        case SequenceNode():
            return [plain(item) for item in node.items]
        case Scalar():
            value = node.value()
            return node.text if isinstance(value, float) and not math.isfinite(value) else value
        case _:
            return None


def _changed(node: Node, path: Path, depth: int, value: Node | None, problems: Problems) -> Node:
    """`node`, which stands at `path[:depth]`, with `value` at `path`; None removes. Bounded by the tree's own depth."""
    key = str(path[depth])
    if not isinstance(node, Mapping):
        is_ = "a list, which is replaced whole" if isinstance(node, SequenceNode) else "no mapping"
        problems.add(path, CHANGED, 0, f"cannot be changed: what it would stand in is {is_}", "change what holds it")
        return node
    entry = node.entries.get(key)
    entries = dict(node.entries)
    if depth < len(path) - 1:
        if entry is None:
            problems.add(path, CHANGED, 0, "cannot be changed: there is nothing that it could stand in", f"add {render(path[: depth + 1])}")
            return node
        inner = _changed(entry.node, path, depth + 1, value, problems)
        # what is wrong with a mapping as a whole is told at its key
        last = depth == len(path) - 2
        entries[key] = Entry(CHANGED, 0, inner) if last else Entry(entry.line, entry.column, inner)
    elif value is not None:
        entries[key] = Entry(CHANGED, 0, value)
    elif entry is None:
        problems.add(path, CHANGED, 0, "cannot be removed: it is not there")
        return node
    else:
        del entries[key]
    return Mapping(node.line, node.column, entries)


class _Budget:
    """Plain data to nodes; all changes together may hold as many values as a file."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.left = MAX_NODES

    def node(self, data: Any, path: Path) -> Node | None:
        """None with a problem for what JSON or a registry cannot hold."""
        if len(path) > MAX_DEPTH:
            return self._refuse(path[: MAX_DEPTH + 1], f"is nested more than {MAX_DEPTH} levels deep")
        self.left -= 1
        if self.left < 0:
            return self._refuse(path, f"is one of more than {MAX_NODES} values in the changes")
        if isinstance(data, str) or data is None or isinstance(data, int | float):
            return self._scalar(data, path)
        if isinstance(data, dict):
            mapping = Mapping(CHANGED, 0)
            for key, value in data.items():
                if not isinstance(key, str) or not key.isprintable():
                    return self._refuse(path, "holds a key that is not printable text")
                inner = self.node(value, (*path, key))
                if inner is None:
                    return None
                mapping.entries[key] = Entry(CHANGED, 0, inner)
            return mapping
        if isinstance(data, list | tuple):
            sequence = SequenceNode(CHANGED, 0)
            for index, value in enumerate(data):
                inner = self.node(value, (*path, index))
                if inner is None:
                    return None
                sequence.items.append(inner)
            return sequence
        return self._refuse(path, "is no JSON value")

    def _scalar(self, data: str | float | bool | None, path: Path) -> Node | None:
        if isinstance(data, str):
            if not data.isascii() and any("\ud800" <= c <= "\udfff" for c in data):
                return self._refuse(path, "holds half of a surrogate pair, which is no character")
            return Scalar(CHANGED, 0, data, plain=False)
        if data is None:
            text = "null"
        elif isinstance(data, bool):
            text = "true" if data else "false"
        elif isinstance(data, int) and -_LONGEST_INTEGER < data < _LONGEST_INTEGER:
            text = str(data)
        else:
            text = _decimal(data)
        return Scalar(CHANGED, 0, text, plain=True)

    def _refuse(self, path: Path, message: str) -> Node | None:
        self.problems.add(path, CHANGED, 0, message)
        return None


def _decimal(number: float) -> str:
    try:
        value = float(number)
    except OverflowError:
        value = math.inf
    return repr(value) if math.isfinite(value) else ".nan" if math.isnan(value) else ".inf"
