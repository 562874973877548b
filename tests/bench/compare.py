"""Two checkouts of the server side by side: CPU and latency of this one as a ratio of the other's, in interleaved rounds.

    git worktree add ../before HEAD~1 && python -m tests.bench compare ../before

Only the server's code differs: Envoy's configuration, the providers and the load are this checkout's.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.report import middle, table
from tests.bench.stand import Stand, stand
from tests.bench.throughput import UPSTREAMS, Case, cases, measure, overall, sound

CASES = ("unary: same dialect", "unary: to Anthropic", "stream, paced: same dialect", "stream, paced: to Anthropic")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("other", type=Path, metavar="DIR", help="the other checkout")
    parser.add_argument("--connections", type=int, default=16, metavar="N", help="connections at once (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="rounds (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="of one case in one round (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the cases whose names contain this")


async def _pairs(here: Stand, there: Stand, todo: list[Case], args: argparse.Namespace) -> dict[str, list[tuple[dict[str, float], dict[str, float]]]]:
    pairs: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = {case.label: [] for case in todo}
    for case in todo:
        for stood in (here, there):
            await measure(stood, case, args.connections, 0.5)
    for n in range(args.rounds):
        for case in todo:
            order = (here, there) if n % 2 == 0 else (there, here)
            one, two = [await measure(stood, case, args.connections, args.seconds) for stood in order]
            pairs[case.label].append((one, two) if n % 2 == 0 else (two, one))
    return pairs


def run(args: argparse.Namespace) -> dict[str, Any]:
    todo = [c for c in cases() if c.label in CASES and args.only in c.label]
    with ExitStack() as stack:
        here = stack.enter_context(stand(UPSTREAMS))
        there = stack.enter_context(stand(UPSTREAMS, tree=args.other.absolute()))
        for case in todo:
            sound(here, case)
            sound(there, case)
        pairs = uvloop.run(_pairs(here, there, todo, args))
    rows = []
    figures: dict[str, Any] = {}
    for label, rounds in pairs.items():
        ratios = {key: [a[key] / b[key] for a, b in rounds] for key in ("server", "envoy", "rate", "p50")}
        figures[label] = {key: {"median": statistics.median(v), "min": min(v), "max": max(v)} for key, v in ratios.items()}
        cost = [overall([r[i] for r in rounds], "server") for i in (0, 1)]
        rows.append([label, *cost, *(middle(ratios[key]) for key in ("server", "envoy", "rate", "p50"))])
    print(f"this checkout / {args.other}: median of {args.rounds} pairs (range); {args.connections} connections")
    table(["", "server µs here", "there", "server CPU", "Envoy CPU", "requests/s", "p50"], rows)
    return {"ratios": figures}
