"""Limits alone, in this process: what it costs to admit and to settle a request, with 1, 3 and 10 limits on it, and a round of sharing through Redis.

`admit` and `settle` are for tenants in turn, `hostile` for a new name each time. A round is what each of 10 replicas does twice in a sync interval,
with 1,000 tenants that all have asked since the last one; the Redis is a real one on a Unix socket. Times of requests are CPU time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from extproc.edge.shared_state import SharedState
from extproc.registry.policy import Limit, State
from extproc.routing.limits import Admitted, Limits
from extproc.routing.statistics import Statistics
from tests.bench.report import table
from tests.edge.redis_server import redis_server

_RUN = 20_000
TENANTS = 1_000
REPLICAS = 10


def limits(count: int) -> tuple[Limit, ...]:
    """As people write them: by tenant, by application, of one tenant and model in money, and more of the kind."""
    first = (
        Limit("limits[0]", (("tenant", "*"),), requests_per_minute=6e8, tokens_per_minute=2e12),
        Limit("limits[1]", (("application", "*"),), requests_per_minute=6e8),
        Limit("limits[2]", (("tenant", "*"), ("model", "chat")), usd_per_month=5e9),
    )
    more = tuple(Limit(f"limits[{n}]", (("user", f"somebody-{n}"),), requests_per_minute=10) for n in range(3, 10))
    return (*first, *more)[:count]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="of each measurement; the median counts (default 7)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    # the server collects cycles far more rarely than the interpreter would by itself, and this makes none
    gc.disable()
    rows, figures = [], {}
    for count in (1, 3, 10):
        found = {what: _median(args.repeats, work) for what, work in _works(limits(count)).items()}
        rows.append([f"{count}", *found.values()])
        figures[str(count)] = found
    table(["limits", "admit, µs", "settle, µs", "admit, hostile, µs"], rows)
    rounds = asyncio.run(_rounds(args.repeats))
    table(["a round of sharing", "ms"], [[what, value] for what, value in rounds.items()])
    return {"limits": figures, "round_ms": rounds}


def _works(rules: tuple[Limit, ...]) -> dict[str, Callable[[], float]]:
    kept = Limits()
    who = [{"tenant": f"tenant-{n}", "application": "bot", "user": "u"} for n in range(TENANTS)]
    now = time.time()
    admitted: list[Admitted] = []

    def admit() -> float:
        admitted.clear()
        start = time.thread_time()
        for n in range(_RUN):
            answer = kept.admit(rules, who[n % TENANTS], "chat", lambda: 100.0, now)
            admitted.append(answer)  # type: ignore[arg-type]  # the limits are far away
        return time.thread_time() - start

    def settle() -> float:
        start = time.thread_time()
        for answer in admitted:
            answer.settled = False
            kept.settle(answer, 150.0, 0.001, now)
        return time.thread_time() - start

    def hostile() -> float:
        names = [{"tenant": f"{random.random()}"} for _ in range(_RUN)]
        start = time.thread_time()
        for name in names:
            kept.admit(rules, name, "chat", lambda: 100.0, now)
        return time.thread_time() - start

    return {"admit": admit, "settle": settle, "hostile": hostile}


def _median(repeats: int, work: Callable[[], float]) -> float:
    return statistics.median(work() / _RUN * 1e6 for _ in range(repeats))


async def _rounds(repeats: int) -> dict[str, float]:
    rules = limits(3)
    with redis_server() as server:
        state = State(server.url)
        replicas = []
        for number in range(REPLICAS):
            kept = Limits()
            clocks: dict[str, Any] = {"wall": time.time, "monotonic": time.monotonic}
            replicas.append((kept, SharedState(lambda: state, kept, Statistics(), process=f"p{number}", random=random.Random(1), **clocks)))
        wall: list[float] = []
        cpu: list[float] = []
        for turn in range(repeats + 2):
            for kept, shared in replicas:
                for tenant in range(TENANTS):
                    who = {"tenant": f"tenant-{tenant}", "application": "bot"}
                    answer = kept.admit(rules, who, "chat", lambda: 10.0, time.time())
                    assert isinstance(answer, Admitted)
                    kept.settle(answer, 20.0, 0.01, time.time())
                start, before = time.perf_counter(), time.process_time()
                await shared.step()
                assert shared.connected
                if turn >= 2:
                    wall.append((time.perf_counter() - start) * 1000)
                    cpu.append((time.process_time() - before) * 1000)
        for _, shared in replicas:
            await shared.close()
    return {"time": statistics.median(wall), "CPU time of the server process": statistics.median(cpu)}
