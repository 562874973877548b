"""When an answer was made, as providers of OpenAI's formats say it."""

from __future__ import annotations

from extproc.core.ir import JSON

_MOST = 253_402_300_800
"""The first second of the year 10000, which no date is written for."""


def unix_time(value: JSON) -> int | None:
    """Unix seconds; None for what is no time."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MOST else None
