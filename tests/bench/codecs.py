"""The translations alone, in this process: every pair of chat dialects and every envelope, requests and streams, beside `orjson` loads and dumps.

A request is parsed, asked what it needs and translated; in the same dialect it is edited in place instead. A stream event is read and written; in
the same dialect it is watched. What misses its target is listed at the end. `memory` is the
peak of a 10 MB session's translation, in times the body.
"""

from __future__ import annotations

import argparse
import base64
import gc
import time
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from extproc.core import eventstream
from extproc.core.dialect import Ask, Dialect, Facts, Reply
from extproc.core.framing import SSEParser
from extproc.core.ir import BlockDelta, BlockStart, BlockStop, End, Event, Finish, FinishReason, MessageStart, Text, ToolCall, UsageUpdate
from extproc.core.usage import Usage
from extproc.dialects.catalog import DIALECTS
from extproc.stages.upstream import encode
from tests.bench.report import table
from tests.bench.requests import chat, image, messages, session
from tests.golden.matrix import CLIENTS, TARGETS

MODELS = {name: TARGETS[name].facts for name in CLIENTS} | {
    "anthropic_messages@bedrock": Facts("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic", 64000),
    "anthropic_messages@vertex": Facts("claude-sonnet-4-5@20250929", "anthropic", 64000),
}
"""The upstream formats, each with a model that it is the format of."""
BODIES: dict[str, Callable[[], bytes]] = {
    "1 KB": lambda: chat("a-model"),
    "1 MB, 500 turns": lambda: session("a-model", 500),
    "1 MB, 8700 turns": lambda: messages("a-model", 1_000_000),
    "1 MB, image": lambda: image("a-model", 1_000_000),
}
SAME = " (splice)"
LIMITS = {"1 KB": 60, "1 MB, 500 turns": 15_000, "1 MB, 8700 turns": 15_000, "1 MB, image": 15_000, "text event": 15, "tool event": 15}
"""µs."""
_LARGE = 5_000
"""Turns of the body whose memory is measured: 10 MB."""
_REPLY = Reply("chatcmpl-1", 1_700_000_000, "a-model")
_ASK = Ask("a-model", stream=True)
_EVENTS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=0.12, metavar="S", help="per figure (default: %(default)s)")
    parser.add_argument("--client", choices=CLIENTS, action="append", help="only these client dialects")
    parser.add_argument("--upstream", choices=MODELS, action="append", help="only these upstream formats")
    parser.add_argument("--no-memory", action="store_true", help="leave out the slowest column")


def best(work: Callable[[], object], seconds: float) -> float:
    """µs of CPU of the quickest of many runs, three at least: what disturbs a run only ever makes it slower."""
    began = time.process_time()
    work()
    # reading the clock takes a µs, and what takes a few is run often between two looks at it
    times = max(1, min(100, int(0.001 / (time.process_time() - began + 1e-9))))
    least = float("inf")
    end = time.perf_counter() + seconds
    runs = 0
    while runs < 3 or time.perf_counter() < end:
        began = time.process_time()
        for _ in range(times):
            work()
        least = min(least, time.process_time() - began)
        runs += 1
    return least / times * 1e6


def _in(client: Dialect, openai: bytes) -> bytes:
    """An OpenAI request in the dialect of `client`."""
    decoded = DIALECTS["openai_chat"].decode_request(orjson.loads(openai))
    raw = client.encode_request(decoded, MODELS[client.name]).body
    return openai if client.name == "openai_chat" else orjson.dumps({**orjson.loads(raw), "model": "a-model"})


def _request(client: Dialect, upstream: Dialect, facts: Facts, raw: bytes) -> Callable[[Any], object]:
    def work(body: Any) -> None:
        client.needs(body)
        client.wishes(body)
        encode(raw, body, client, upstream, facts, _ASK)

    return work


def _parsed(raw: bytes, work: Callable[[Any], object]) -> Callable[[], object]:
    return lambda: work(orjson.loads(raw))


def _peak(raw: bytes, work: Callable[[Any], object]) -> float:
    """Bytes held at once by the parsed body and what is made of it, for each byte of the body.

    What the parser takes for itself is left out: it reserves twelve times the body, touches little of that, and frees it at once.
    """
    tracemalloc.start()
    body = orjson.loads(raw)
    tracemalloc.reset_peak()
    work(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / len(raw)


def _text() -> Iterable[Event]:
    yield BlockStart(0, Text(""))
    for n in range(_EVENTS):
        yield BlockDelta(0, f" word{n}")
    yield BlockStop(0)


def _tools() -> Iterable[Event]:
    """Calls with ten pieces of arguments each."""
    for n in range(_EVENTS // 10):
        yield BlockStart(n, ToolCall(f"call_{n}", "write"))
        yield BlockDelta(n, '{"path": "')
        for _ in range(8):
            yield BlockDelta(n, "src/module/")
        yield BlockDelta(n, '"}')
        yield BlockStop(n)


def _pieces(key: str, events: Iterable[Event], reason: FinishReason) -> list[bytes]:
    """A stream as the upstream format `key` would send it."""
    upstream = DIALECTS[key]
    encoder = upstream.stream_encoder(_REPLY)
    whole: list[Event] = [MessageStart("id-1", "a-model", 1_700_000_000), *events, UsageUpdate(Usage(20, _EVENTS)), Finish(reason), End()]
    pieces = [piece for event in whole if (piece := encoder.encode(event))]
    if not key.endswith("@bedrock"):
        return pieces
    parser = SSEParser()
    datas = [event.data for piece in pieces for event in parser.feed(piece)]
    return [eventstream.event("chunk", orjson.dumps({"bytes": base64.b64encode(data).decode()})) for data in datas]


def _stream(client: Dialect, upstream: Dialect, pieces: list[bytes]) -> Callable[[], object]:
    def watch() -> None:
        observer = upstream.stream_observer(hide_usage=False)
        for piece in pieces:
            observer.feed(piece)

    def translate() -> None:
        decoder, encoder = upstream.stream_decoder(), client.stream_encoder(_REPLY)
        for piece in pieces:
            for event in decoder.feed(piece):
                encoder.encode(event)

    return watch if client.name == upstream.name else translate


def run(args: argparse.Namespace) -> dict[str, Any]:
    # the server collects cycles far more rarely than the interpreter would by itself, and translations make none
    gc.disable()
    upstreams = args.upstream or list(MODELS)
    streams = {key: (_pieces(key, _text(), FinishReason.STOP), _pieces(key, _tools(), FinishReason.TOOL_CALLS)) for key in upstreams}
    figures: dict[str, dict[str, float]] = {}
    for name in args.client or CLIENTS:
        client = DIALECTS[name]
        bodies = {what: _in(client, make()) for what, make in BODIES.items()}
        large = b"" if args.no_memory else _in(client, session("a-model", _LARGE))
        figures[f"{name}: orjson"] = {what: best(_parsed(raw, orjson.dumps), args.seconds) for what, raw in bodies.items()}
        if large:
            figures[f"{name}: orjson"]["memory"] = _peak(large, orjson.dumps)
        for key in upstreams:
            upstream = DIALECTS[key]
            row = figures[f"{name} -> {key}" + (SAME if name == upstream.name else "")] = {
                what: best(_parsed(raw, _request(client, upstream, MODELS[key], raw)), args.seconds) for what, raw in bodies.items()
            }
            for what, pieces in zip(("text event", "tool event"), streams[key], strict=True):
                row[what] = best(_stream(client, upstream, pieces), args.seconds) / len(pieces)
            if large:
                row["memory"] = _peak(large, _request(client, upstream, MODELS[key], large))
    head = [*BODIES, "text event", "tool event", *([] if args.no_memory else ["memory"])]
    table(["µs", *head], [[pair, *(row.get(what, "") for what in head)] for pair, row in figures.items()])
    groups: dict[str, list[dict[str, float]]] = {}
    for pair, row in figures.items():
        groups.setdefault(_group(pair), []).append(row)
    table(["µs", *head], [[group, *(_range([row[what] for row in rows if what in row]) for what in head)] for group, rows in groups.items()])
    for what, limit in LIMITS.items():
        late = [f"{pair} {row[what]:.0f}" for pair, row in figures.items() if row.get(what, 0.0) > limit]
        print(f"{what}: {limit} µs " + (f"is missed by {', '.join(late)}" if late else "holds"), flush=True)
    return {"figures": figures}


def _group(pair: str) -> str:
    if "->" not in pair:
        return "orjson"
    return ("same dialect" if pair.endswith(SAME) else "translated") + (", into an envelope" if "@" in pair else "")


def _range(values: list[float]) -> str:
    least, most = ([f"{value:.0f}" if value >= 10 else f"{value:.1f}" for value in (min(values), max(values))]) if values else ("", "")
    return least if least == most else f"{least} to {most}"
