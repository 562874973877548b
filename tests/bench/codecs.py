"""The translations alone, in this process: µs to decode and encode a request, and one event of a stream, per pair of dialects.

Beside each stands what `orjson` takes to load and dump the same bytes. "splice" is the same dialect on both sides: parsed, edited in place.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

import orjson

from extproc.core.dialect import NO_ASK, Dialect, Facts, Reply
from extproc.core.framing import SSEParser
from extproc.core.ir import BlockDelta, BlockStart, BlockStop, End, Event, Finish, FinishReason, MessageStart, Text, UsageUpdate
from extproc.core.usage import Usage
from extproc.dialects.catalog import DIALECTS
from tests.bench.report import table
from tests.bench.requests import chat, image, messages

CLIENTS = ("openai_chat", "anthropic_messages")
FACTS = {name: Facts("a-model", vendor) for name, vendor in (("openai_chat", "openai"), ("anthropic_messages", "anthropic"), ("gemini", "google"))}
_REPLY = Reply("chatcmpl-1", 1_700_000_000, "a-model")
_EVENTS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=0.4, metavar="S", help="per figure (default: %(default)s)")


def best(work: Callable[[], object], seconds: float) -> float:
    """µs of the quickest of many runs: what disturbs a run only ever makes it slower."""
    least = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - began)
    return least * 1e6


def _in(client: Dialect, openai: bytes) -> bytes:
    """An OpenAI request in the dialect of `client`."""
    decoded = DIALECTS["openai_chat"].decode_request(orjson.loads(openai))
    raw = client.encode_request(decoded, FACTS[client.name]).body
    return raw if client.name == "openai_chat" else orjson.dumps({**orjson.loads(raw), "model": "a-model"})


def _request(client: Dialect, upstream: Dialect, raw: bytes) -> Callable[[], object]:
    facts = FACTS[upstream.name]
    if client.name == upstream.name:
        return lambda: client.splice_request(raw, orjson.loads(raw), facts, NO_ASK)
    return lambda: upstream.encode_request(client.decode_request(orjson.loads(raw)), facts)


def _pieces(upstream: Dialect) -> list[bytes]:
    """A streamed text of `_EVENTS` pieces as `upstream` would send it."""
    encoder = upstream.stream_encoder(_REPLY)
    events: list[Event] = [MessageStart("id-1", "a-model", 1_700_000_000), BlockStart(0, Text(""))]
    events += [BlockDelta(0, f" word{n}") for n in range(_EVENTS)]
    events += [BlockStop(0), UsageUpdate(Usage(20, _EVENTS)), Finish(FinishReason.STOP), End()]
    return [piece for event in events if (piece := encoder.encode(event))]


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


def _reparse(documents: list[bytes]) -> None:
    for document in documents:
        orjson.dumps(orjson.loads(document))


def run(args: argparse.Namespace) -> dict[str, Any]:
    # the server collects cycles far more rarely than the interpreter would by itself, and translations make none
    gc.disable()
    rows = []
    figures: dict[str, Any] = {}
    for name in CLIENTS:
        client = DIALECTS[name]
        bodies = [_in(client, raw) for raw in (chat("a-model"), messages("a-model", 1_000_000), image("a-model", 1_000_000))]
        for upstream in (DIALECTS[known] for known in FACTS):
            row: list[object] = [f"{name} -> {upstream.name}" + (" (splice)" if name == upstream.name else "")]
            for raw in bodies:
                row += [best(_request(client, upstream, raw), args.seconds), best(lambda raw=raw: orjson.dumps(orjson.loads(raw)), args.seconds)]  # type: ignore[misc]
            pieces = _pieces(upstream)
            parser = SSEParser()
            documents = [e.data for piece in pieces for e in parser.feed(piece) if e.data != b"[DONE]"]
            row += [
                best(_stream(client, upstream, pieces), args.seconds) / len(pieces),
                best(lambda documents=documents: _reparse(documents), args.seconds) / len(documents),  # type: ignore[misc]
            ]
            rows.append(row)
            keys = ("1_kb", "1_kb_orjson", "1_mb_messages", "1_mb_messages_orjson", "1_mb_image", "1_mb_image_orjson", "event", "event_orjson")
            figures[str(row[0])] = dict(zip(keys, row[1:], strict=True))
    table(["µs", "1 KB request", "orjson", "1 MB, messages", "orjson", "1 MB, image", "orjson", "per event", "orjson"], rows)
    return {"us": figures}
