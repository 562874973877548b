"""Large bodies: CPU and latency by size, the slope in ms per MB, memory peaks, and how long others wait meanwhile.

Sizes in MB (10^6 bytes). One request at a time, so latency is the cost of the whole path. The wait of others is the slowest of small requests
that go to another provider, every 10 ms on each of two connections, while bodies of one size follow each other.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

import uvloop

from tests.bench.load import request
from tests.bench.report import line_through, percentile, table
from tests.bench.requests import SHAPES, chat
from tests.bench.stand import Stand, Upstream, stand
from tests.bench.throughput import PATH

MB = 1_000_000
UPSTREAMS = {"openai": Upstream("openai"), "anthropic": Upstream("anthropic"), "small": Upstream("openai", process="upstream-small")}
WAYS = {"same dialect": "openai", "translated": "anthropic"}
_PROBES = 2
_PAUSE = 0.01
_TIMES = {0.1: 40, 1.0: 20, 10.0: 6, 40.0: 4}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", default="0.1,1,10,40", metavar="MB,MB", help="(default: %(default)s)")
    parser.add_argument("--repeat", type=float, default=1.0, metavar="X", help="times the usual number of requests (default: %(default)s)")


class _Unix(http.client.HTTPConnection):
    """HTTP over the Unix socket `path`."""

    def __init__(self, path: str) -> None:
        super().__init__("llm.internal", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _post(path: str, body: bytes, times: int) -> list[float]:
    """Latencies in seconds. Blocking, so that sending 40 MB does not hold up the event loop that times the others."""
    connection = _Unix(path)
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        connection.request("POST", PATH, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        taken.append(time.perf_counter() - began)
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {text[:300]!r}")
    connection.close()
    return taken


async def _probe(path: str, data: bytes, go_on: Callable[[], bool]) -> list[float]:
    reader, writer = await asyncio.open_unix_connection(path)
    waits = []
    while go_on():
        began = time.perf_counter()
        writer.write(data)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b" 200 " not in head[:20]:
            raise RuntimeError("a small request failed beside a large one")
        _, found, length = head.partition(b"content-length: ")
        if not found:
            raise RuntimeError("a small answer that passes unchanged lost its length")
        await reader.readexactly(int(length.partition(b"\r")[0]))
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(_PAUSE)
    writer.close()
    return waits


async def _beside(stood: Stand, work: Callable[[], Any]) -> tuple[Any, list[float]]:
    """(what `work` gives, the waits of small requests beside it)."""
    busy = True
    data = request(PATH, chat("small"))
    probes = [asyncio.create_task(_probe(stood.ours, data, lambda: busy)) for _ in range(_PROBES)]
    await asyncio.sleep(0.2)
    try:
        given = await asyncio.to_thread(work)
    finally:
        busy = False
        waits = await asyncio.gather(*probes)
    return given, [w for one in waits for w in one]


def _measure(stood: Stand, body: bytes, times: int) -> dict[str, Any]:
    server, envoy = stood.children["server"], stood.children["envoy"]
    _post(stood.ours, body, 1)
    for child in (server, envoy):
        child.forget_peak()
    before = (server.cpu(), envoy.cpu())
    taken = _post(stood.ours, body, times)
    after = (server.cpu(), envoy.cpu())
    peaks = server.peak() / 2**20, envoy.peak() / 2**20
    _, waits = uvloop.run(_beside(stood, lambda: _post(stood.ours, body, times)))
    return {
        "latency_ms": statistics.median(taken) * 1000,
        "server_ms": (after[0] - before[0]) * 1000 / times,
        "envoy_ms": (after[1] - before[1]) * 1000 / times,
        "server_peak_mib": peaks[0],
        "envoy_peak_mib": peaks[1],
        "wait_p50_ms": percentile(waits, 50) * 1000,
        "wait_max_ms": max(waits) * 1000,
    }


def run(args: argparse.Namespace) -> dict[str, Any]:
    sizes = [float(s) for s in args.sizes.split(",")]
    figures: dict[str, Any] = {}
    slopes, rows = [], []
    with stand(UPSTREAMS) as stood:
        for model in ("openai", "anthropic", "small"):
            _post(stood.ours, chat(model), 1)
        _, idle = uvloop.run(_beside(stood, lambda: time.sleep(2)))
        figures["wait of small requests alone, max ms"] = max(idle) * 1000
        for shape, make in SHAPES.items():
            for way, model in WAYS.items():
                got = {s: _measure(stood, make(model, int(s * MB)), max(1, round(_TIMES.get(s, 5) * args.repeat))) for s in sizes}
                figures[f"{shape}, {way}"] = {str(size): values for size, values in got.items()}
                rows += [[f"{shape}, {way}, {size:g} MB", *values.values()] for size, values in got.items()]
                line = [shape + ", " + way]
                for key in ("server_ms", "envoy_ms", "latency_ms"):
                    slope, _, fit = line_through([(s, got[s][key]) for s in sizes])
                    figures[f"{shape}, {way}"][f"{key} per MB"] = {"slope": slope, "r2": fit}
                    line += [f"{slope:.2f}", f"{fit:.4f}"]
                slopes.append(line)
    table(["", "latency ms", "server ms CPU", "Envoy ms CPU", "server peak MiB", "Envoy peak MiB", "others p50 ms", "others max ms"], rows)
    table(["ms per MB", "server CPU", "R²", "Envoy CPU", "R²", "latency", "R²"], slopes)
    print(f"small requests alone: at most {max(idle) * 1000:.1f} ms")
    return figures
