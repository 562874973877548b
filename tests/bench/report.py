"""Tables for a terminal and for the README alike, and the line that says where they come from."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from extproc.envoyconfig import binary


def machine() -> str:
    """Processor, cores, memory, and the versions that matter."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    envoy = ".".join(map(str, binary.version(binary.find_envoy()) or ()))
    return (
        f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB; Envoy {envoy} with one worker thread, "
        f"one server process on Python {platform.python_version()}, uvloop {version('uvloop')}, orjson {version('orjson')}; "
        "client and simulated providers on the same cores"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a Markdown table: first column to the left, the others to the right."""
    cells = [list(head), *([_text(c) for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for n, row in enumerate(cells):
        print("| " + " | ".join(c.ljust(w) if not i else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))) + " |")
        if not n:
            print("|" + "|".join("-" * (w + 2) if not i else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|")
    print(flush=True)


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"
    return str(cell)


def middle(values: Sequence[float]) -> str:
    """Median and range: `412 (398 to 431)`."""
    return f"{_text(float(statistics.median(values)))} ({_text(float(min(values)))} to {_text(float(max(values)))})"


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of `values` do not exceed; they need not be sorted."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")


def line_through(points: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Least squares: (slope, value at zero, R²)."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    fit = statistics.linear_regression(xs, ys)
    spread = statistics.correlation(xs, ys) if len(set(ys)) > 1 else 1.0
    return fit.slope, fit.intercept, spread**2
