"""Reads the YAML files that SREs edit, with the line of every member, so that a refusal can name it.

Read by the same strict reader as the registry: a member that is named twice or a word that YAML versions disagree about is an error.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from extproc.envoyconfig.problem import Problem
from extproc.registry import problems as found_in
from extproc.registry.fields import Field
from extproc.registry.yaml_marks import Mapping, Node, Sequence, read_yaml

NAMES: tuple[str, ...] = ("bootstrap", "listener", "routes", "cluster", "ext_proc")

Lines = dict[found_in.Path, int]


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its name for messages, its value, and the line of each member by its path."""

    file: str
    data: dict[str, Any]
    lines: Lines = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sources:
    """The five files."""

    bootstrap: Source
    listener: Source
    routes: Source
    cluster: Source
    ext_proc: Source


class SourceError(Exception):
    """The files cannot be read; `problems` has one for each reason, `str` prints one per line."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def default_directory() -> Path:
    """The files of the installed package, or of the checkout it runs from."""
    packaged = Path(__file__).parent / "defaults"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "envoy"


def load_sources(directory: Path | None = None) -> Sources:
    """Reads `<name>.yaml` for each of `NAMES`; one that `directory` lacks is taken from the defaults. Raises `SourceError`."""
    defaults = default_directory()
    problems: list[Problem] = []
    if directory is not None and not directory.is_dir():
        raise SourceError([Problem(str(directory), (), None, "no such directory")])
    loaded = {}
    for name in NAMES:
        file = (directory or defaults) / f"{name}.yaml"
        loaded[name] = _read(file if file.exists() else defaults / f"{name}.yaml", problems)
    known = [f"{name}.yaml" for name in NAMES]
    for file in sorted((directory or defaults).iterdir()):
        meant = difflib.get_close_matches(file.name, known, n=1, cutoff=0.8)
        if meant and file.name not in known:
            problems.append(Problem(str(file), (), None, f"nothing reads this file; did you mean {meant[0]}?"))
    if problems:
        raise SourceError(problems)
    return Sources(**loaded)


def parse_source(raw: bytes, file: str, problems: list[Problem]) -> Source:
    """`file` names it in messages. Everything wrong is added to `problems`."""
    found = found_in.Problems()
    root = read_yaml(raw, found)
    data = Field(root, (), found).data() if root is not None else None
    if root is not None and not isinstance(root, Mapping):
        found.add((), 1, 1, "must be a mapping")
    problems += [Problem(file, (), p.line or None, " ".join(filter(None, (p.path and f"{p.path}:", p.message)))) for p in found.found]
    return Source(file, data if isinstance(data, dict) else {}, lines_of(root))


def lines_of(root: Node | None) -> Lines:
    """The line of every member below `root`, by its path."""
    return dict(_walk(root, ()))


def _read(file: Path, problems: list[Problem]) -> Source:
    try:
        raw = file.read_bytes()
    except OSError as error:
        problems.append(Problem(str(file), (), None, f"cannot be read: {error.strerror}"))
        return Source(str(file), {})
    return parse_source(raw, str(file), problems)


def _walk(node: Node | None, path: found_in.Path) -> Iterator[tuple[found_in.Path, int]]:
    if isinstance(node, Mapping):
        for name, entry in node.entries.items():
            yield (*path, name), entry.line
            yield from _walk(entry.node, (*path, name))
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield (*path, index), item.line
            yield from _walk(item, (*path, index))
