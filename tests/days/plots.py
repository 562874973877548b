"""The pictures. Deterministic (no dates, fixed ids), Agg, colours of Okabe and Ito's palette, which colour-blind people can tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator
from numpy.typing import NDArray

from tests.days.measures import Row
from tests.days.routers import BANDIT, CLAIRVOYANT, OURS, PEERS, STAYING
from tests.days.scenario import Day

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
TARGETS = (BLUE, ORANGE, GREEN, PURPLE, SKY)
LINES: dict[str, tuple[str, str]] = {
    BANDIT: (VERMILION, "-"),
    STAYING: (VERMILION, "--"),
    "last ten latencies": (BLUE, "-"),
    "lowest unit price": (ORANGE, "-"),
    "Thompson until 200": (GREEN, "-"),
    "round robin": (PURPLE, "-"),
}
GREY = "#8a8a8a"
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "days",
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}

Shares = Mapping[str, NDArray[np.float64]]
"""By router: [half hour, target], the share of the requests."""


def draw(out: Path, day: Day, rows: Mapping[str, Row], shares: Shares, regrets: Mapping[str, NDArray[np.float64]]) -> list[Path]:
    """All pictures, as SVG and as PNG, into `out`. `regrets`: by router, cumulated at the end of each half hour."""
    key = [n for n in (BANDIT, *PEERS, CLAIRVOYANT) if n in rows]
    with plt.rc_context(STYLE):
        found = [
            ("shares", _shares(day, {n: shares[n] for n in key}, 2)),
            ("shares-ours", _shares(day, {n: shares[n] for n in rows if n in OURS}, 3)),
            ("regret", _regret(day, regrets)),
            ("cost-and-latency", _bars(rows)),
        ]
        paths = []
        for name, figure in found:
            for kind in ("svg", "png"):
                paths.append(out / f"{name}.{kind}")
                figure.savefig(paths[-1], dpi=110, metadata={"Date": None} if kind == "svg" else {"Software": None})
            plt.close(figure)
    return paths


def _shares(day: Day, shares: Shares, columns: int) -> Figure:
    names = list(shares)
    lines = -(-len(names) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(5.0 * columns if columns == 2 else 3.9 * columns, 1.75 * lines + 0.6), sharex=True, sharey=True
    )
    flat: list[Axes] = list(np.asarray(axes).ravel())
    handles: list[Any] = []
    for ax, name in zip(flat, names, strict=False):
        share = shares[name]
        hours = (np.arange(len(share)) + 0.5) * 24.0 / len(share)
        handles = ax.stackplot(hours, share.T, colors=TARGETS, linewidth=0.3, edgecolor="white")
        ax.set_title(name, loc="left", pad=17, fontweight="bold" if name == BANDIT else "normal")
        ax.set_ylim(0.0, 1.0)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0%}"))
        ax.yaxis.set_major_locator(MultipleLocator(0.5))
        _hours(ax)
        _events_above(ax, day)
    for i, ax in enumerate(flat[len(names) :], len(names)):
        ax.set_visible(False)
        flat[i - columns].tick_params(labelbottom=True)
    figure.legend(
        handles,
        [o.name for o in day.offers],
        loc="outside lower center",
        ncols=len(day.offers),
        frameon=False,
        title="Share of the requests that were first sent to each target. Brackets: events, in the colour of the target that they concern.",
    )
    return figure


def _events_above(ax: Axes, day: Day) -> None:
    """A bracket above the picture in the colour of the target that it concerns, its edges drawn through."""
    names = [o.name for o in day.offers]
    for e in day.events:
        start, end = _hour(day, e.start), _hour(day, e.end)
        colour = TARGETS[names.index(e.target)]
        ax.plot([start, end], [1.03, 1.03], color=colour, linewidth=3.0, solid_capstyle="butt", clip_on=False)
        for at in (start, end):
            ax.axvline(at, color="black", linewidth=0.7, linestyle=(0, (2, 2)))
        ax.text((start + end) / 2.0, 1.07, e.label, ha="center", va="bottom", fontsize=8)


def _regret(day: Day, regrets: Mapping[str, NDArray[np.float64]]) -> Figure:
    figure, ax = plt.subplots(figsize=(9.0, 4.8))
    for e in day.events:
        start, end = _hour(day, e.start), _hour(day, e.end)
        ax.axvspan(start, end, color="#e9e9e9", linewidth=0)
        ax.text((start + end) / 2.0, 1.0, f"{e.target}\n{e.label}", transform=ax.get_xaxis_transform(), ha="center", va="bottom", fontsize=8)
    ends: list[tuple[float, str, str]] = []
    for name, values in regrets.items():
        if name == CLAIRVOYANT:
            continue
        colour, line = LINES.get(name, (GREY, "-"))
        hours = np.arange(len(values) + 1) * 24.0 / len(values)
        strong = name in LINES
        ax.plot(
            hours,
            np.concatenate([[0.0], values]),
            color=colour,
            linestyle=line,
            linewidth=2.6 if name in (BANDIT, STAYING) else 1.8 if strong else 0.8,
            zorder=3 if strong else 2,
        )
        ends.append((float(values[-1]), name, colour))
    _labels(ax, ends)
    ax.set_ylim(0.0)
    ax.set_ylabel("regret against the clairvoyant, cumulated")
    _hours(ax)
    ax.set_xlabel("time of the day")
    return figure


def _labels(ax: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Names at the ends of their lines, pushed apart where they would lie on each other."""
    highest = max(at for at, _, _ in ends)
    apart = highest / 24.0
    placed = -apart
    for at, name, colour in sorted(ends):
        y = max(at, placed + apart)
        placed = y
        x = 24.0
        ax.plot([x, x * 1.015], [at, y], color=colour, linewidth=1.2, clip_on=False)
        ax.text(
            x * 1.02,
            y,
            name,
            color="black" if name in LINES else "#606060",
            va="center",
            fontsize=8,
            fontweight="bold" if name in (BANDIT, STAYING) else "normal",
        )


def _bars(rows: Mapping[str, Row]) -> Figure:
    names = list(rows)
    places = np.arange(len(names))[::-1]
    colours = [VERMILION if n in (BANDIT, STAYING) else BLUE if n in OURS else ORANGE if n in PEERS else GREY for n in names]
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 0.29 * len(names) + 1.1), sharey=True)
    _bar(axes[0], places, [rows[n].usd for n in names], colours, "cost of the day, $", "{:.1f}")
    _spans(axes[1], places, [rows[n].first for n in names], colours, "first token, s: median and p95")
    _spans(axes[2], places, [rows[n].total for n in names], colours, "whole answer, s: median and p95")
    axes[0].set_yticks(places, names)
    kinds = [(VERMILION, "bandit"), (BLUE, "our other policies"), (ORANGE, "peers"), (GREY, "clairvoyant")]
    figure.legend([plt.Rectangle((0, 0), 1, 1, color=c) for c, _ in kinds], [k for _, k in kinds], loc="outside lower center", ncols=4, frameon=False)
    return figure


def _bar(ax: Axes, places: NDArray[np.int_], values: Sequence[float], colours: list[str], title: str, form: str) -> None:
    ax.barh(places, values, color=colours, height=0.66)
    for y, value in zip(places, values, strict=True):
        ax.text(value, y, " " + form.format(value), va="center", fontsize=8)
    ax.set_title(title, loc="left")
    ax.set_xlim(0.0, max(values) * 1.12)
    ax.tick_params(axis="y", length=0)


def _spans(ax: Axes, places: NDArray[np.int_], values: Sequence[tuple[float, float]], colours: list[str], title: str) -> None:
    """A bar to the median and a thin line from there to the 95th percentile."""
    ax.barh(places, [m for m, _ in values], color=colours, height=0.66)
    for y, (middle, high), colour in zip(places, values, colours, strict=True):
        ax.plot([middle, high], [y, y], color=colour, linewidth=1.4)
        ax.plot([high, high], [y - 0.2, y + 0.2], color=colour, linewidth=1.4)
        ax.text(high, y, f" {middle:.2g} / {high:.2g}", va="center", fontsize=8)
    ax.set_title(title, loc="left")
    ax.set_xlim(0.0, max(h for _, h in values) * 1.25)
    ax.tick_params(axis="y", length=0)


def _hour(day: Day, at: float) -> float:
    """Of a day of 24, also where the day is pressed into fewer."""
    return at / day.seconds * 24.0


def _hours(ax: Axes) -> None:
    ax.set_xlim(0.0, 24.0)
    ax.xaxis.set_major_locator(MultipleLocator(3.0))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0f}:00"))
