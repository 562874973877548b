"""What learning costs, in this process: a sample into the statistics, an answer's rate-limit headers, and health asked about a cluster.

The samples are of 20 clusters in turn, each a stream with usage and price; the headers are OpenAI's six among twenty others. Also a round with ten
replicas: what `export` and ten `absorb` take. CPU time; the median counts.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

from extproc.core import rate_limits
from extproc.core.usage import Usage
from extproc.routing.health import Health
from extproc.routing.statistics import OK, Sample, Statistics
from tests.bench.report import table

_RUN = 20_000
CLUSTERS = [f"target-{n}" for n in range(20)]
REPLICAS = 10
HEADERS = {f"x-header-{n}": "value" for n in range(20)} | {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-reset-requests": "120ms",
    "x-ratelimit-limit-tokens": "30000",
    "x-ratelimit-remaining-tokens": "29984",
    "x-ratelimit-reset-tokens": "32ms",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="of each measurement; the median counts (default 7)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    # the server collects cycles far more rarely than the interpreter would by itself, and this makes none
    gc.disable()
    found = {what: _median(args.repeats, work) for what, work in _works().items()}
    table(["what", "µs"], [[what, value] for what, value in found.items()])
    return {"us": found}


def _works() -> dict[str, Callable[[int], object]]:
    kept, health = Statistics(), Health(time.monotonic)
    samples = [Sample(c, "chat", OK, 3.0, stream=True, first_token=0.5, per_token=0.01, usage=Usage(1000, 200, 300), usd=0.01) for c in CLUSTERS]
    failing = Statistics()
    failures = [Sample(c, "chat", "overloaded", 0.3) for c in CLUSTERS]
    for cluster in CLUSTERS:
        health.failed(cluster, health.now)
    words = [Statistics() for _ in range(REPLICAS)]
    for one in words:
        for sample in samples:
            one.record(sample, 1.0)
    said = [one.export(1.0) for one in words]

    def headers(_: int) -> None:
        picked = rate_limits.said(HEADERS)
        if rate_limits.may_be_spent(picked):
            rate_limits.spent(rate_limits.read(picked, 1e9), 60.0)

    def shared(n: int) -> None:
        if n % 100 == 0:
            kept.export(1.0 + n)
            for replica, word in enumerate(said):
                kept.absorb(f"r{replica}", word, 1.0 + n)

    return {
        "a sample": lambda n: kept.record(samples[n % 20], 1.0 + n / 100),
        "a failed attempt's sample": lambda n: failing.record(failures[n % 20], 1.0 + n / 100),
        "rate-limit headers": headers,
        "is a cluster left out?": lambda n: health.why(CLUSTERS[n % 20]),
        "a round with ten replicas, by a hundred requests": shared,
        "a sample, with ten replicas": lambda n: kept.record(samples[n % 20], 1e6 + n / 100),
    }


def _median(repeats: int, work: Callable[[int], object]) -> float:
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        for n in range(_RUN):
            work(n)
        times.append((time.thread_time() - start) / _RUN * 1e6)
    return statistics.median(times)
