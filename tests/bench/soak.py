"""Memory over many requests and over many streams at once: resident size of server and Envoy, and its slope.

The mix: unary and streamed, same dialect and translated, first targets that answer 503, 429, an error as their first event or a reset (the next
target answers), an unknown model and a body that is no JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from typing import Any

import uvloop

from tests.bench.load import Times, closed_loop, request
from tests.bench.report import line_through, table
from tests.bench.requests import chat
from tests.bench.stand import Stand, Upstream, stand
from tests.bench.throughput import KINDS, PATH

_FAULTS = {
    "down": {"kind": "status", "status": 503, "probability": 0.5},
    "limited": {"kind": "status", "status": 429, "retry_after": 1, "probability": 0.5},
    "spoiled": {"kind": "error_event", "after": 0, "probability": 0.5},
    "reset": {"kind": "reset", "probability": 0.5},
}
_SLOW = "slow"
_WORDS, _PACE = 40, 2.0
_SAMPLE = 5000
_WARM = 0.2
"""The share of the samples that does not count: caches fill, the allocator takes its arenas."""
UPSTREAMS = {
    **{kind: Upstream(kind) for kind in KINDS},
    **{name: Upstream("openai", {"words": 20, "fault": fault}) for name, fault in _FAULTS.items()},
    _SLOW: Upstream("anthropic", {"canned": True, "words": _WORDS, "tokens_per_second": _PACE}),
}
MODELS = {f"after-{name}": {"targets": [name, kind]} for name, kind in zip(_FAULTS, (*KINDS, "openai"), strict=True)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=int, default=100_000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--streams", type=int, default=1000, metavar="N", help="slow streams at once (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=32, metavar="N", help="connections at once, for the mix (default: %(default)s)")


def mix() -> list[bytes]:
    """One round of requests: 16 good ones, 8 with a fallback, 2 that are refused."""
    good = [request(PATH, chat(kind, stream=stream, usage=usage)) for kind in KINDS for stream, usage in ((False, True), (True, True), (True, False))]
    fallen = [request(PATH, chat(f"after-{name}", stream=stream)) for name in _FAULTS for stream in (False, True)]
    refused = [request(PATH, chat("no-such-model")), request(PATH, b'{"model": "openai", "messages": [')]
    return [*good, *fallen, *good, *refused]


def _sizes(stood: Stand) -> tuple[float, float]:
    return stood.children["server"].memory() / 2**20, stood.children["envoy"].memory() / 2**20


async def _mixed(stood: Stand, requests: int, connections: int) -> tuple[list[tuple[int, float, float]], Counter[str], float]:
    data = mix()
    samples = [(0, *_sizes(stood))]
    failed: Counter[str] = Counter()
    began = time.perf_counter()
    done = 0
    while done < requests:
        count = min(_SAMPLE, requests - done)
        outcome = await closed_loop(stood.ours, Times(data, count), connections)
        if outcome.done != count:
            raise RuntimeError(f"{outcome.done} of {count} requests ended: {outcome.failed}")
        failed += outcome.failed
        done += count
        samples.append((done, *_sizes(stood)))
        stood.check()
    return samples, failed, time.perf_counter() - began


async def _held(stood: Stand, streams: int) -> dict[str, Any]:
    """`streams` slow streams at once: sizes before, at most while they run, and a little after."""
    before = during = _sizes(stood)
    work = asyncio.create_task(closed_loop(stood.ours, Times([request(PATH, chat(_SLOW, stream=True))], streams), streams))
    while not work.done():
        await asyncio.wait([work], timeout=0.5)
        now = _sizes(stood)
        during = max(during[0], now[0]), max(during[1], now[1])
    outcome = await work
    await asyncio.sleep(1)
    return {
        "finished": len(outcome.latencies),
        "failed": dict(outcome.failed),
        "slowest_s": max(outcome.latencies, default=0.0),
        "before": before,
        "during": during,
        "after": _sizes(stood),
        "kib_per_stream": [(during[i] - before[i]) * 1024 / streams for i in (0, 1)],
    }


async def _soak(stood: Stand, args: argparse.Namespace) -> dict[str, Any]:
    await asyncio.sleep(2)
    idle = _sizes(stood)
    await closed_loop(stood.ours, Times(mix(), 200), 8)
    samples, failed, seconds = await _mixed(stood, args.requests, args.connections)
    held = await _held(stood, args.streams)
    return {"idle": idle, "samples": samples, "refused": dict(failed), "seconds": seconds, "streams": held}


def run(args: argparse.Namespace) -> dict[str, Any]:
    with stand(UPSTREAMS, MODELS) as stood:
        figures = uvloop.run(_soak(stood, args))
    samples, held, idle = figures["samples"], figures["streams"], figures["idle"]
    table(["requests", "server MiB", "Envoy MiB"], [["idle, after start", *idle], *samples])
    warm = samples[int(len(samples) * _WARM) :]
    if len(warm) > 2:
        slopes = [line_through([(s[0], s[i] * 2**20) for s in warm])[0] for i in (1, 2)]
        figures["bytes_per_request"] = slopes
        print(f"slope from request {warm[0][0]} on: server {slopes[0]:.1f}, Envoy {slopes[1]:.1f} bytes per request")
    print(f"{args.requests} requests in {figures['seconds']:.0f} s; answered with another status than 200: {figures['refused']}")
    print(
        f"{args.streams} streams at once: {held['finished']} finished, the slowest in {held['slowest_s']:.0f} s, failed: {held['failed']}; "
        f"server {held['before'][0]:.0f} -> {held['during'][0]:.0f} -> {held['after'][0]:.0f} MiB ({held['kib_per_stream'][0]:.0f} KiB per stream), "
        f"Envoy {held['before'][1]:.0f} -> {held['during'][1]:.0f} -> {held['after'][1]:.0f} MiB ({held['kib_per_stream'][1]:.0f} KiB per stream)"
    )
    return figures
