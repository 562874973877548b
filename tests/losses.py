"""`python -m tests.losses --write`: the table of loss codes for people, `extproc/core/losses.md`, from the one in `core/losses.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from extproc.core.losses import CODES, MEMBERS, PARAMETERS, meaning

PAGE = Path(__file__).parents[1] / "extproc" / "core" / "losses.md"


def text() -> str:
    """The page."""
    codes = sorted({*CODES, *(f"dropped:{name}" for name in (*PARAMETERS, *MEMBERS))})
    return "\n".join(
        [
            "# What a translation can lose",
            "",
            "Every code that logs, spans, `x-llm-losses`, `extproc explain` and a `strict` model's 422 can name. `dropped`: it was left out.",
            "`coerced`: it was sent, but not as it was said. `defaulted`: nobody said it, and the format requires it. `signature`: opaque state",
            "stayed with the vendor that minted it. Written by `python -m tests.losses --write`.",
            "",
            "| code | what it means |",
            "|---|---|",
            *(f"| `{code}` | {meaning(code)} |" for code in codes),
            "",
        ]
    )


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(text())
    else:
        sys.exit(int(PAGE.read_text() != text()))
