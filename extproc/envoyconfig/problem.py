"""One reason why a configuration is refused, with its place."""

from __future__ import annotations

from dataclasses import dataclass

from extproc.registry.problems import Path, render


@dataclass(frozen=True, slots=True)
class Problem:
    """`file` as the user named it (or "options"), `path` of the member in it, `line` from 1 or None, and why it is refused."""

    file: str
    path: Path
    line: int | None
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {render(self.path)}: {self.message}" if self.path else f"{place}: {self.message}"
