"""`python -m tests.days`: simulated days of every policy and of naive peers, as tables and pictures.

The first seed's day is drawn and shown in full; the other seeds add to the comparison of regrets.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.days import report
from tests.days.measures import Row, row
from tests.days.routers import ALL, BANDIT, PEERS, STAYING
from tests.days.scenario import Day, day
from tests.days.simulation import Outcome, run

BINS = 48
HERE = Path(__file__).parent
SHOWN = ("shares.svg", "regret.svg")
"""The pictures that are kept with the report."""


@dataclass(frozen=True, slots=True)
class Lived:
    """One router's day. `shares[half hour, target]`, `regret[half hour]` cumulated; of a day of 24 hours."""

    seed: int
    name: str
    row: Row
    shares: NDArray[np.float64]
    regret: NDArray[np.float64]


def live(seed: int, hours: float, requests: int, name: str) -> Lived:
    this = day(seed, hours, requests)
    outcomes = run(this, ALL[name])
    return Lived(seed, name, row(name, this, outcomes), *_binned(this, outcomes))


def _binned(this: Day, outcomes: Sequence[Outcome]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    place = {o.name: i for i, o in enumerate(this.offers)}
    shares, regret = np.zeros((BINS, len(place))), np.zeros(BINS)
    for o in outcomes:
        at = min(int(o.asked.at / this.seconds * BINS), BINS - 1)
        regret[at] += o.regret
        if o.chosen:
            shares[at, place[o.chosen]] += 1.0
    return shares / np.maximum(shares.sum(axis=1, keepdims=True), 1.0), np.cumsum(regret)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.days", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the first day (default: 1)")
    parser.add_argument("--seeds", type=int, default=5, help="days to compare regrets on (default: 5)")
    parser.add_argument("--hours", type=float, default=24.0, help="into which the day is pressed (default: 24)")
    parser.add_argument("--requests", type=int, default=20_000, help="of a day (default: 20000)")
    parser.add_argument("--quick", action="store_true", help="8 hours, 5000 requests, two seeds")
    parser.add_argument("--out", type=Path, default=Path("build/days"), help="directory of the pictures (default: build/days)")
    parser.add_argument("--write", action="store_true", help="also write report.md and its pictures beside this module")
    args = parser.parse_args()
    if args.quick:
        args.hours, args.requests, args.seeds = 8.0, 5_000, 2
    compared = (BANDIT, STAYING, *PEERS)
    jobs = [(args.seed, name) for name in ALL] + [(args.seed + i, name) for i in range(1, args.seeds) for name in compared]
    lived = _live_all(jobs, args.hours, args.requests)

    this = day(args.seed, args.hours, args.requests)
    first = {name: lived[args.seed, name] for name in ALL}
    rows = {name: one.row for name, one in first.items()}
    regrets = {args.seed + i: {name: lived[args.seed + i, name].row.regret for name in compared} for i in range(args.seeds)}
    for table in (report.results(rows, len(this.asked)), report.reactions(rows, this), report.ratios(regrets)):
        print("\n" + report.text(table))
    print("\n" + report.summary(list(regrets.values())))

    from tests.days import plots

    args.out.mkdir(parents=True, exist_ok=True)
    paths = plots.draw(args.out, this, rows, {n: one.shares for n, one in first.items()}, {n: one.regret for n, one in first.items()})
    if args.write:
        given = [
            f"--{k} {v:g}"
            for k, v in (("seed", args.seed), ("seeds", args.seeds), ("hours", args.hours), ("requests", args.requests))
            if v != parser.get_default(k)
        ]
        command = " ".join(["python -m tests.days", *given, "--write"])
        (HERE / "report.md").write_text(report.whole(command, this, rows, regrets))
        for name in SHOWN:
            shutil.copyfile(args.out / name, HERE / name)
        paths.append(HERE / "report.md")
    print("\n" + "\n".join(str(path) for path in paths))
    return 0


def _live_all(jobs: list[tuple[int, str]], hours: float, requests: int) -> dict[tuple[int, str], Lived]:
    """All of them on all cores; what they find does not depend on the order."""
    found: dict[tuple[int, str], Lived] = {}
    began = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        waiting = [pool.submit(live, seed, hours, requests, name) for seed, name in jobs]
        for done in as_completed(waiting):
            one = done.result()
            found[one.seed, one.name] = one
            print(f"{time.monotonic() - began:5.0f} s  {len(found):3}/{len(jobs)}  seed {one.seed}  {one.name}", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
