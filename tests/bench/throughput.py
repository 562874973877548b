"""Requests per second, latency and CPU per request: Envoy alone, with our server, translating; unary and streamed.

All cases take turns in every round, so that whatever else the machine does hits them alike. Rates and latencies are the median of the rounds, with
the range; CPU is that of all rounds over the requests of all rounds (the kernel counts it in steps of 10 ms, too coarse for a single round).
A stream has 100 pieces of text; the provider writes each by itself (`paced`) or all of them at once (`burst`).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvloop

from tests.bench.load import For, closed_loop, request
from tests.bench.processes import own_cpu
from tests.bench.report import middle, percentile, table
from tests.bench.requests import chat
from tests.bench.stand import Stand, Upstream, stand

PATH = "/v1/chat/completions"
KINDS = ("openai", "anthropic", "gemini")
PACE = 500.0
"""Events per second of one paced stream: 0.2 s for 100."""
UPSTREAMS = {
    **{kind: Upstream(kind) for kind in KINDS},
    **{f"paced-{kind}": Upstream(kind, {"canned": True, "words": 100, "tokens_per_second": PACE}) for kind in KINDS},
}
_WHAT = {"openai": "same dialect", "anthropic": "to Anthropic", "gemini": "to Gemini"}


@dataclass(slots=True)
class Case:
    """One thing to measure; `rounds` fill up."""

    label: str
    model: str
    plain: bool
    stream: bool
    rounds: dict[int, list[dict[str, float]]] = field(default_factory=dict)

    def headers(self) -> dict[str, str]:
        return {"authorization": "Bearer sk-application", "x-upstream": self.model}

    def data(self) -> bytes:
        return request(PATH, chat(self.model, stream=self.stream), self.headers())


def cases() -> list[Case]:
    """Unary first, then both ways of streaming."""
    made = [Case("unary: Envoy alone", "openai", True, False)]
    made += [Case(f"unary: {_WHAT[kind]}", kind, False, False) for kind in KINDS]
    for prefix, name in (("paced-", "stream, paced"), ("", "stream, burst")):
        made.append(Case(f"{name}: Envoy alone", f"{prefix}openai", True, True))
        made += [Case(f"{name}: {_WHAT[kind]}", f"{prefix}{kind}", False, True) for kind in KINDS]
    return made


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--connections", default="1,16,64", metavar="N,N", help="connections at once (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of all cases (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="of one case in one round (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the cases whose names contain this")


def sound(stood: Stand, case: Case) -> int:
    """Sends one request and looks at the answer. Raises if it is not whole; gives the number of events, 0 if not streamed."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=stood.plain if case.plain else stood.ours), timeout=10) as client:
        answer = client.post(f"http://llm{PATH}", content=chat(case.model, stream=case.stream), headers=case.headers())
    text = answer.text
    if answer.status_code != 200 or (case.stream and not text.rstrip().endswith("data: [DONE]")) or (not case.stream and "choices" not in text):
        raise RuntimeError(f"{case.label}: {answer.status_code} {text[:500]}")
    return text.count("data: ")


async def measure(stood: Stand, case: Case, connections: int, seconds: float) -> dict[str, float]:
    """One round of one case. CPU in µs per request, latencies in ms."""
    before, mine = stood.cpu(), own_cpu()
    outcome = await closed_loop(stood.plain if case.plain else stood.ours, For(case.data(), seconds), connections)
    after, mine = stood.cpu(), own_cpu() - mine
    if outcome.failed:
        raise RuntimeError(f"{case.label}: {outcome.failed}")
    n = len(outcome.latencies)
    spent = {name: (after[name] - before[name]) * 1e6 / n for name in after}
    return {
        "requests": n,
        "rate": n / outcome.seconds,
        "p50": percentile(outcome.latencies, 50) * 1000,
        "p99": percentile(outcome.latencies, 99) * 1000,
        "envoy": spent["plain" if case.plain else "envoy"],
        "server": spent["server"],
        "upstream": spent["upstream"],
        "client": mine * 1e6 / n,
    }


async def _rounds(stood: Stand, todo: Sequence[Case], connections: Sequence[int], rounds: int, seconds: float) -> None:
    for case in todo:
        await measure(stood, case, 8, min(seconds, 0.5))
    for n in range(rounds):
        for case in todo[:: 1 if n % 2 == 0 else -1]:
            for count in connections:
                case.rounds.setdefault(count, []).append(await measure(stood, case, count, seconds))


def run(args: argparse.Namespace) -> dict[str, Any]:
    todo = [c for c in cases() if args.only in c.label]
    connections = [int(n) for n in args.connections.split(",")]
    with stand(UPSTREAMS) as stood:
        events = {case.label: sound(stood, case) for case in todo}
        uvloop.run(_rounds(stood, todo, connections, args.rounds, args.seconds))
    figures: dict[str, Any] = {}
    for count in connections:
        print(f"{count} connection{'s' * (count != 1)}; {args.rounds} rounds of {args.seconds:g} s")
        rows = []
        for case in todo:
            rounds = case.rounds[count]
            spread = {key: [r[key] for r in rounds] for key in ("rate", "p50", "p99")}
            cpu = {key: overall(rounds, key) for key in ("envoy", "server", "upstream", "client")}
            figures[f"{case.label} x{count}"] = {
                "cpu_us": cpu,
                **{k: {"median": statistics.median(v), "range": [min(v), max(v)]} for k, v in spread.items()},
            }
            rows.append([case.label, *(middle(v) for v in spread.values()), *("-" if case.plain and k == "server" else v for k, v in cpu.items())])
        table(["", "requests/s", "p50 ms", "p99 ms", "Envoy µs CPU", "server µs CPU", "upstream µs", "client µs"], rows)
    return {"cases": figures, "events": events}


def overall(rounds: Sequence[dict[str, float]], key: str) -> float:
    """The mean of `key` over all requests of all rounds."""
    return sum(r[key] * r["requests"] for r in rounds) / sum(r["requests"] for r in rounds)
