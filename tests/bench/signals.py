"""Signals of a request alone, in this process: the walk over its prompt and each signal, for a chat of 1 KB and an agent's session of 1 MB.

Each signal is asked of a request that has been asked nothing before, so those that need the prompt have the walk in them.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from typing import Any

import orjson

from extproc.core import prompt
from extproc.core.dialect import Ask
from extproc.dialects.catalog import DIALECTS
from extproc.registry.policy import SIGNALS
from extproc.routing.signals import RequestSignals
from tests.bench.report import table

LIMITS = {"chat, 1 KB": 10.0, "agent, 1 MB": 3000.0, "agent, 1 MB, Anthropic": 3000.0}
"""µs of the walk."""
_DRAW = random.Random(7)
_WORDS = ["".join(_DRAW.choices("etaoinshrdlucmfw", k=_DRAW.randint(2, 9))) for _ in range(3000)]


def _text(size: int) -> str:
    return " ".join(_DRAW.choices(_WORDS, k=size * 2 // 13)) + ".\n"


def _tools(count: int) -> list[dict[str, Any]]:
    properties = {f"p{n}": {"type": "string", "description": _text(60)} for n in range(6)}
    return [{"name": f"t{n}", "description": _text(600), "schema": {"type": "object", "properties": properties}} for n in range(count)]


def _chat() -> dict[str, Any]:
    return {"messages": [{"role": role, "content": _text(220)} for role in ("system", "user", "assistant", "user")]}


def _agent() -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": _text(12_000)}]
    for n in range(330):
        call = {"id": f"c{n}", "type": "function", "function": {"name": "read", "arguments": '{"path":"src/main.py"}'}}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"c{n}", "content": _text(2500)},
            {"role": "user", "content": [{"type": "text", "text": _text(200)}]},
        ]
    tools = [{"type": "function", "function": {"name": t["name"], "description": t["description"], "parameters": t["schema"]}} for t in _tools(30)]
    return {"messages": messages, "tools": tools}


def _claude() -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for n in range(330):
        call = {"type": "tool_use", "id": f"c{n}", "name": "read", "input": {"path": "src/main.py"}}
        result = {"type": "tool_result", "tool_use_id": f"c{n}", "content": [{"type": "text", "text": _text(2600)}]}
        messages += [{"role": "assistant", "content": [{"type": "text", "text": _text(100)}, call]}, {"role": "user", "content": [result]}]
    messages.append({"role": "user", "content": [{"type": "text", "text": _text(200)}]})
    tools = [{"name": t["name"], "description": t["description"], "input_schema": t["schema"]} for t in _tools(30)]
    return {"system": [{"type": "text", "text": _text(12_000)}], "messages": messages, "tools": tools}


BODIES: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "chat, 1 KB": ("openai_chat", _chat),
    "agent, 1 MB": ("openai_chat", _agent),
    "agent, 1 MB, Anthropic": ("anthropic_messages", _claude),
}


def _cpu(work: Callable[[], object], seconds: float) -> float:
    """µs of processor time, the best of several runs."""
    times, spent, best = 1, 0.0, float("inf")
    while spent < seconds:
        began = time.process_time()
        for _ in range(times):
            work()
        took = time.process_time() - began
        spent += took
        if took < 0.02:
            times *= 2
        else:
            best = min(best, took / times)
    return best * 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=0.3, metavar="S", help="per figure (default: %(default)s)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, dict[str, float]] = {}
    for name, (dialect, make) in BODIES.items():
        raw = orjson.dumps(make())
        body, client = orjson.loads(raw), DIALECTS[dialect]
        needs, ask = client.needs(body), Ask("gpt-4o", True)

        def made(client: Any = client, body: Any = body, needs: Any = needs, ask: Ask = ask) -> RequestSignals:
            return RequestSignals(client, body, ask, needs, {}, {}, 1.7e9)

        row = figures[name] = {"bytes": float(len(raw)), "walk": _cpu(lambda d=dialect, b=body: prompt.read(d, b), args.seconds)}  # type: ignore[misc]
        for signal in SIGNALS:
            row[signal] = _cpu(lambda m=made, s=signal: m().get(s), args.seconds)  # type: ignore[misc]
    names = ["bytes", "walk", *SIGNALS]
    table(["µs of processor time", *figures], [[what, *(row[what] for row in figures.values())] for what in names])
    for name, limit in LIMITS.items():
        print(f"{name}: {limit:.0f} µs for the walk " + ("holds" if figures[name]["walk"] <= limit else f"is missed: {figures[name]['walk']:.1f}"))
    return {"figures": figures}
