"""Rows of text in columns for a terminal, and numbers as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NOTHING = "-"


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """One line for the header and one for each row; the first `left` columns are flush left, the others flush right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    return [
        "  ".join(cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in (header, *rows)
    ]


def fitting(header: Sequence[str], rows: Sequence[Sequence[str]], width: int, least: Sequence[str], *, left: int = 1) -> list[str]:
    """`columns`, without what a terminal of `width` has no room for: first those that say nothing in any row, then those named `least`, in that
    order. Of two of the same name the last goes. The first two always stay."""
    lines = columns(header, rows, left=left)
    if max(map(len, lines)) <= width:
        return lines
    places = list(range(len(header)))
    silent = [i for i in places if all(row[i] == NOTHING for row in rows)]
    named = [i for name in least for i in reversed(places) if header[i] == name]
    for place in dict.fromkeys([*silent, *named]):
        if place < 2 or max(map(len, lines)) <= width:
            continue
        places.remove(place)
        flush = sum(i < left for i in places)
        lines = columns([header[i] for i in places], [[row[i] for i in places] for row in rows], left=flush)
    return lines


def number(value: Any, digits: int = 0, unit: str = "") -> str:
    """`value` rounded, `NOTHING` where there is none."""
    return f"{value:,.{digits}f}{unit}" if isinstance(value, int | float) else NOTHING


def share(value: Any) -> str:
    """A part of 1 in per cent."""
    return f"{value * 100:.1f}%" if isinstance(value, int | float) else NOTHING


def duration(seconds: Any) -> str:
    """340ms, 2.4s, 3m05s."""
    if not isinstance(seconds, int | float):
        return NOTHING
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 100:
        return f"{seconds:.1f}s"
    return f"{int(seconds) // 60}m{int(seconds) % 60:02d}s"


def usd(value: Any) -> str:
    """US dollars of one request, which are small."""
    if not isinstance(value, int | float):
        return NOTHING
    return f"${value:.4f}" if value < 1 else f"${value:,.2f}"
