"""Why the admin API does not do what it was asked: what the caller is told, and nothing has changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from extproc.registry.problems import Problem

MOST_PROBLEMS = 100
"""That one answer lists."""


class Refused(Exception):  # noqa: N818 - a refusal is no error of ours
    """`status` is HTTP's, `code` one word for programs, `message` a sentence for people, `problems` as `problems_said` gives them."""

    def __init__(self, status: int, code: str, message: str, problems: Iterable[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.problems = list(problems)


def problems_said(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Problems of a registry as JSON: `line` only where the file is to blame."""
    out: list[dict[str, Any]] = []
    every = list(problems)
    for problem in every[:MOST_PROBLEMS]:
        said: dict[str, Any] = {"path": problem.path, "message": problem.message}
        if problem.suggestion is not None:
            said["suggestion"] = problem.suggestion
        if problem.line > 0:
            said["line"] = problem.line
        out.append(said)
    if len(every) > MOST_PROBLEMS:
        out.append({"path": "", "message": f"{len(every) - MOST_PROBLEMS} more problems"})
    return out
