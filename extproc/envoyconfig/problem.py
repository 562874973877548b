"""One reason why a configuration is refused, with its place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """`file` as the user named it, `path` of the member in it (names and list indexes), `line` from 1 or None, and why it is refused."""

    file: str
    path: tuple[str | int, ...]
    line: int | None
    message: str

    @property
    def where(self) -> str:
        """`both.retry_policy.retry_on`, `thresholds[0].max_retries`."""
        text = ""
        for part in self.path:
            if isinstance(part, int) or "." in part:
                text += f"[{part}]"
            else:
                text += f".{part}" if text else part
        return text

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.where}: {self.message}" if self.path else f"{place}: {self.message}"
