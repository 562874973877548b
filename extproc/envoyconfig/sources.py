"""Reads the YAML files that SREs edit, with the line of every member, so that a refusal can name it.

YAML 1.1, as Envoy reads it. A mapping that names a member twice is an error, and so is a missing file or one that is not a mapping.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from extproc.envoyconfig.problem import Problem

NAMES: tuple[str, ...] = ("bootstrap", "listener", "routes", "cluster", "ext_proc")

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its name for messages, its value, and the line of each member by its path."""

    file: str
    data: dict[str, Any]
    lines: dict[Path_, int] = field(default_factory=dict)

    def line(self, path: Path_) -> int | None:
        """The line of the member, or of the nearest one around it that is in the file."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


@dataclass(frozen=True, slots=True)
class Sources:
    """The five files."""

    bootstrap: Source
    listener: Source
    routes: Source
    cluster: Source
    ext_proc: Source


class SourceError(Exception):
    """The files cannot be read; `problems` has one for each reason."""

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
        if not file.exists():
            file = defaults / f"{name}.yaml"
        loaded[name] = _read(file, problems)
    if directory is not None:
        known = {f"{name}.yaml" for name in NAMES}
        problems += [
            Problem(str(file), (), None, f"not one of {', '.join(sorted(known))}: nothing would read it")
            for file in sorted(directory.iterdir())
            if file.suffix in {".yaml", ".yml"} and file.name not in known
        ]
    if problems:
        raise SourceError(problems)
    return Sources(**loaded)


def _read(file: Path, problems: list[Problem]) -> Source:
    try:
        text = file.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text) if root is not None else {}
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(str(file), (), None, f"cannot be read: {error}"))
        return Source(str(file), {})
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problems.append(Problem(str(file), (), mark.line + 1 if mark else None, f"not YAML: {error.problem or error.context}"))
        return Source(str(file), {})
    except yaml.YAMLError as error:
        problems.append(Problem(str(file), (), None, f"not YAML: {error}"))
        return Source(str(file), {})
    if not isinstance(data, dict):
        problems.append(Problem(str(file), (), 1, "must be a mapping"))
        return Source(str(file), {})
    lines: dict[Path_, int] = {}
    for path, line, twice in _walk(root, ()):
        if twice:
            problems.append(Problem(str(file), path, line, "named twice"))
        lines[path] = line
    return Source(str(file), data, lines)


def _walk(node: yaml.Node | None, path: Path_) -> Iterator[tuple[Path_, int, bool]]:
    """(path, line, whether it repeats a sibling) of every member below `node`."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            yield (*path, name), key.start_mark.line + 1, name in seen
            seen.add(name)
            yield from _walk(value, (*path, name))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*path, index), value.start_mark.line + 1, False
            yield from _walk(value, (*path, index))
