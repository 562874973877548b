"""What is wrong with a registry file: problems with their place, all at once, in words that tell how to put it right.

No text of a problem may hold a secret, and people do paste keys where they do not belong: whatever is quoted from the file goes through `shown`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Where in the file: mapping keys and list indices from the root."""

CHANGED = -1
"""The line of what does not stand in the file: a change of the admin API put it there."""
MAX_SHOWN = 60
"""Characters of the file that a message quotes."""
MAX_CANDIDATES = 500
MAX_SUGGESTED = 100
"""A file with more mistakes than this gets no further did-you-mean: each one compares with every candidate."""

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_KEY_PREFIX = re.compile(
    r"(?:sk|pk|rk|gsk|hf|r8|ghp|xox[a-z])[-_]|github_pat_|xai-|pplx-|nvapi-|AIza|ya29\.|AKIA|ASIA|eyJ|(?:Bearer|Basic)\s",
    re.IGNORECASE,
)
_RUN = re.compile(r"[A-Za-z0-9_]{32,}")
_LOOKED_AT = 2048


def starts_like_a_key(text: str) -> bool:
    """True for the known beginnings of API keys and tokens."""
    return len(text) >= 12 and _KEY_PREFIX.match(text) is not None


def looks_secret(text: str) -> bool:
    """True for what may be a key: a known beginning, or a long run of mixed characters. Too eager is right, it only hides the text."""
    head = text[:_LOOKED_AT]
    return starts_like_a_key(head) or any(_random(run[0]) for run in _RUN.finditer(head))


def _random(run: str) -> bool:
    digits = any(c.isdigit() for c in run)
    mixed = any(c.isupper() for c in run) and any(c.islower() for c in run)
    return digits and (mixed or all(c in "0123456789abcdefABCDEF" for c in run))


def shown(text: str) -> str:
    """`text` in double quotes for a message: no control characters, not too long, and never a key."""
    if looks_secret(text):
        return "(not shown: it looks like a key)"
    cut = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    return '"' + "".join(c if c.isprintable() else "�" for c in cut) + '"'


def spelled(names: Iterable[str]) -> str:
    """Names without quotes for a message, in order and with commas; never a key."""
    return ", ".join(sorted("(not shown)" if looks_secret(n) else n for n in names))


def place(line: int) -> str:
    """Where something else stands, for a message."""
    return "a change of the admin API" if line == CHANGED else f"line {line}"


def render(path: Path) -> str:
    """models.chat.targets[1]; a key with other characters than letters, digits, _ and - stands in quotes."""
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            name = part if _BARE.match(part) and len(part) <= MAX_SHOWN and not looks_secret(part) else shown(part)
            out += f".{name}" if out else name
    return out


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `line` and `column` count from 1 (line 0: the file as a whole; `CHANGED`: a change over it). `suggestion` says what to do,
    without parentheses."""

    path: str
    line: int
    column: int
    message: str
    suggestion: str | None = None


class RegistryError(Exception):
    """The file is refused. `problems` holds everything that is wrong with it, in the order of the file; `str` prints one per line."""

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = sorted(set(problems), key=lambda p: (p.line, p.column, p.path, p.message))
        super().__init__(file, self.problems)

    def __str__(self) -> str:
        return "\n".join(self._line(p) for p in self.problems)

    def _line(self, problem: Problem) -> str:
        where = f"{self.file} (changed through the admin API)" if problem.line == CHANGED else self.file
        if problem.line > 0:
            where += f":{problem.line}"
        path = f" {problem.path}:" if problem.path else ""
        hint = f" ({problem.suggestion})" if problem.suggestion else ""
        return f"{where}:{path} {problem.message}{hint}"


class Problems:
    """Collects what a load finds."""

    __slots__ = ("found", "_suggested")  # noqa: RUF023 - what it is for comes first

    def __init__(self) -> None:
        self.found: list[Problem] = []
        self._suggested = 0

    def __len__(self) -> int:
        return len(self.found)

    def add(self, path: Path, line: int, column: int, message: str, suggestion: str | None = None) -> None:
        self.found.append(Problem(render(path), line, column, message, suggestion))

    def did_you_mean(self, word: str, candidates: Collection[str]) -> str | None:
        """A suggestion if a candidate is close. Bounded work: long words, long lists and hopeless files get none."""
        if len(word) > MAX_SHOWN or len(candidates) > MAX_CANDIDATES or self._suggested >= MAX_SUGGESTED:
            return None
        self._suggested += 1
        close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
        return f'did you mean "{close[0]}"?' if close and not looks_secret(close[0]) else None
