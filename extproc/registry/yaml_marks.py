"""YAML to a tree that remembers where everything stood, strictly: what two readers could take for different things is refused, not guessed.

Built on PyYAML's events instead of its constructor, because the constructor drops lines, keeps the last of two equal keys, turns `no` into
False, and expands aliases without a limit. Work and memory are bounded by `MAX_BYTES`, `MAX_DEPTH` and `MAX_NODES`; depth is checked as
the events come, since both of PyYAML's scanners take quadratic time over nested brackets. Scalars follow the YAML 1.2 core schema; a plain
scalar that YAML 1.1 reads differently (`no`, `0123`) is ambiguous and must be quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from extproc.registry.problems import Path, Problems, shown

MAX_BYTES = 1 << 20
"""Bytes of a file. A target takes about 150."""
MAX_DEPTH = 32
MAX_NODES = 100_000
"""Values in a file, each alias counted with all that it stands for."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRING_TAGS = ("!", "tag:yaml.org,2002:str")
_COLLECTION_TAGS = ("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")

_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOLEAN = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_BOOLEAN_1_1 = re.compile(r"(?:yes|no|on|off)\Z", re.IGNORECASE)
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,17})\Z")
_OTHER_BASE = re.compile(r"[-+]?0(?:[0-9_]+|[xob][0-9a-fA-F_]+)\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18}|[0-9]{1,18}(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?\Z")
_NOT_FINITE = re.compile(r"(?:[-+]?\.inf|\.nan)\Z", re.IGNORECASE)

ScalarKind = Literal["text", "boolean", "integer", "number", "null", "ambiguous"]


@dataclass(slots=True)
class Node:
    """A value and where it starts, counted from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Scalar(Node):
    """`text` as written; `plain` if nothing (quotes, a block, a tag) says that it is a string."""

    text: str
    plain: bool

    @property
    def kind(self) -> ScalarKind:
        text = self.text
        if not self.plain:
            return "text"
        if _NULL.match(text):
            return "null"
        if _BOOLEAN.match(text):
            return "boolean"
        if _BOOLEAN_1_1.match(text) or _OTHER_BASE.match(text):
            return "ambiguous"
        if _INTEGER.match(text):
            return "integer"
        if _FLOAT.match(text) or _NOT_FINITE.match(text):
            return "number"
        return "text"

    @property
    def ambiguity(self) -> str:
        """Why `kind` is "ambiguous", as the end of a sentence that starts with the text."""
        return "is a boolean to YAML 1.1 and a word to YAML 1.2" if _BOOLEAN_1_1.match(self.text) else "is a different number to YAML 1.1 and 1.2"

    def value(self) -> str | int | float | bool | None:
        """The value by the core schema; ambiguous text stays text."""
        match self.kind:
            case "null":
                return None
            case "boolean":
                return self.text.lower() == "true"
            case "integer":
                return int(self.text.replace("_", ""))
            case "number":
                return float(self.text.lower().replace(".inf", "inf").replace(".nan", "nan"))
            case _:
                return self.text


@dataclass(slots=True)
class Sequence(Node):
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class Entry:
    """One member of a mapping: where its key stood, and its value."""

    line: int
    column: int
    node: Node


@dataclass(slots=True)
class Mapping(Node):
    entries: dict[str, Entry] = field(default_factory=dict)


class _UnreadableError(Exception):
    """Nothing sensible can be read past this point."""


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    node: Sequence | Mapping
    anchor: str | None
    count: int
    key: Scalar | None = None
    at_value: bool = False


def read_yaml(raw: bytes, problems: Problems) -> Node | None:
    """The tree of the one document in `raw`, or None. Everything wrong goes to `problems`; a tree may come with problems."""
    text = _decode(raw, problems)
    if text is None:
        return None
    builder = _Builder(problems)
    try:
        root = builder.build(yaml.parse(text, Loader=_LOADER))
    except _UnreadableError:
        return None
    except yaml.MarkedYAMLError as error:
        _syntax_error(error, text, problems)
        return None
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)
        before = text[: position if isinstance(position, int) else 0]
        problems.add((), before.count("\n") + 1, len(before) - before.rfind("\n"), "holds a character that YAML does not allow", "remove it")
        return None
    if root is None and not problems:
        problems.add((), 1, 1, "the file is empty")
    return root


def _decode(raw: bytes, problems: Problems) -> str | None:
    if len(raw) > MAX_BYTES:
        problems.add((), 0, 0, f"is larger than {MAX_BYTES >> 20} MiB")
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        problems.add((), before.count(b"\n") + 1, error.start - before.rfind(b"\n"), "is not UTF-8 text", "save the file as UTF-8")
        return None


def _syntax_error(error: yaml.MarkedYAMLError, text: str, problems: Problems) -> None:
    """Without a path: where the scanner gives up is often not where the mistake is, only the line is sure."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.splitlines()
    here = lines[line] if line < len(lines) else ""
    indent = here[: len(here) - len(here.lstrip())]
    if "\t" in indent or "tab" in (error.problem or ""):
        problems.add((), line + 1, column + 1, "a tab cannot indent YAML", "use spaces")
        return
    message = f"is not valid YAML: {error.problem}"
    if error.context and error.context_mark:
        message += f", {error.context} that starts in line {error.context_mark.line + 1}"
    problems.add((), line + 1, column + 1, message)


class _Builder:
    """Events to nodes, without recursion."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.stack: list[_Open] = []
        self.root: Node | None = None
        self.count = 0
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.documents = 0

    @property
    def path(self) -> Path:
        """Where the next value will stand."""
        out: list[str | int] = []
        for open_ in self.stack:
            if isinstance(open_.node, Sequence):
                out.append(len(open_.node.items))
            elif open_.at_value:
                out.append(open_.key.text if open_.key else "?")
        return tuple(out)

    def build(self, events: Iterator[Any]) -> Node | None:
        for event in events:
            mark = event.start_mark
            line, column = mark.line + 1, mark.column + 1
            match event:
                case yaml.DocumentStartEvent():
                    self.documents += 1
                    if self.documents > 1:
                        self._stop(line, column, "holds a second YAML document", "one file is one registry; remove the ---")
                case yaml.AliasEvent():
                    self._alias(event.anchor or "", line, column)
                case yaml.ScalarEvent():
                    self._tag(event.tag, _STRING_TAGS, line, column)
                    node = Scalar(line, column, event.value, plain=not event.style and event.tag is None)
                    self._grow(1, line, column)
                    if event.anchor:
                        self.anchors[event.anchor] = (node, 1)
                    self._attach(node)
                case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                    self._tag(event.tag, _COLLECTION_TAGS, line, column)
                    self._open(event, line, column)
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    done = self.stack.pop()
                    if done.anchor:
                        self.anchors[done.anchor] = (done.node, self.count - done.count)
                    self._attach(done.node)
                case _:
                    pass
        return self.root

    def _open(self, event: Any, line: int, column: int) -> None:
        self._grow(1, line, column)
        if len(self.stack) >= MAX_DEPTH:
            self._stop(line, column, f"is nested more than {MAX_DEPTH} levels deep")
        if event.anchor:
            self.anchors.pop(event.anchor, None)
        kind = Mapping if isinstance(event, yaml.MappingStartEvent) else Sequence
        self.stack.append(_Open(kind(line, column), event.anchor, self.count - 1))

    def _alias(self, name: str, line: int, column: int) -> None:
        if name not in self.anchors:
            inside = any(o.anchor == name for o in self.stack)
            what = "stands inside its own anchor" if inside else "has no anchor before it"
            self._stop(line, column, f"the alias {shown(name)} {what}")
        node, size = self.anchors[name]
        self._grow(size, line, column)
        self._attach(node, line, column)

    def _attach(self, node: Node, line: int = 0, column: int = 0) -> None:
        """`line`, `column` where an alias stands for the node."""
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        if isinstance(top.node, Sequence):
            top.node.items.append(node)
        elif not top.at_value:
            top.key = self._key(node, line or node.line, column or node.column)
            top.at_value = True
        else:
            self._member(top, top.node, node)
            top.key, top.at_value = None, False

    def _member(self, top: _Open, mapping: Mapping, node: Node) -> None:
        key = top.key
        if key is None:
            return
        if key.text in mapping.entries:
            first = mapping.entries[key.text].line
            self.problems.add(self.path, key.line, key.column, f"is set twice, first in line {first}", "remove one of them")
        else:
            mapping.entries[key.text] = Entry(key.line, key.column, node)

    def _key(self, node: Node, line: int, column: int) -> Scalar | None:
        """The key as text, or None with a problem: the member is then left out."""
        if not isinstance(node, Scalar):
            self.problems.add(self.path, line, column, "a key must be text, not a list or a mapping")
            return None
        if node.plain and node.text == "<<":
            self.problems.add(self.path, line, column, "merge keys (<<) are not read", "write the members out, or put them under defaults")
            return None
        quote = f"quote it: '{node.text[:40]}'"
        match node.kind:
            case "text":
                return Scalar(line, column, node.text, plain=False)
            case "boolean" | "ambiguous" if not _OTHER_BASE.match(node.text):
                self.problems.add(self.path, line, column, f"the key {shown(node.text)} is a boolean to YAML 1.1, not text", quote)
            case "null":
                self.problems.add(self.path, line, column, "a key must be text, not empty")
            case _:
                self.problems.add(self.path, line, column, f"the key {shown(node.text)} is a number to YAML, not text", quote)
        return None

    def _tag(self, tag: str | None, allowed: tuple[str, ...], line: int, column: int) -> None:
        if tag is not None and tag not in allowed:
            self.problems.add(self.path, line, column, "YAML tags (!name) are not read", "remove the tag")

    def _grow(self, by: int, line: int, column: int) -> None:
        self.count += by
        if self.count > MAX_NODES:
            self._stop(line, column, f"holds more than {MAX_NODES} values, aliases expanded")

    def _stop(self, line: int, column: int, message: str, suggestion: str | None = None) -> None:
        self.problems.add(self.path, line, column, message, suggestion)
        raise _UnreadableError
