"""Answers of embeddings alone, in this process: ms to watch or to translate one, and the memory that it takes at its peak.

Beside them stands what `orjson` takes to load and dump the same bytes, which is what a gateway does that parses its vectors.
"""

from __future__ import annotations

import argparse
import base64
import gc
import random
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from extproc.core.dialect import Reply
from extproc.dialects.catalog import DIALECTS
from extproc.stages import pipes
from tests.bench.codecs import best
from tests.bench.report import table

_PIECE = 16_384
_STATUS = Path("/proc/self/status")
_VARIED = 64
"""Different vectors; an answer repeats them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--inputs", type=int, default=2048, metavar="N", help="vectors in the answer (default: %(default)s)")
    parser.add_argument("--dimensions", type=int, default=1536, metavar="N", help="numbers in each (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="per figure (default: %(default)s)")


def _answer(vectors: list[Any], inputs: int) -> bytes:
    data = [{"object": "embedding", "index": n, "embedding": vectors[n % len(vectors)]} for n in range(inputs)]
    return orjson.dumps({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 8, "total_tokens": 8}})


def _watch(raw: bytes) -> None:
    pipe = pipes.WatchedBody(DIALECTS["openai_embeddings"])
    for at in range(0, len(raw), _PIECE):
        pipe.feed(raw[at : at + _PIECE], end=at + _PIECE >= len(raw))
    assert pipe.seen.usage is not None


def _translate(raw: bytes, client: str, *encodings: str) -> None:
    reply = Reply("id", 1_700_000_000, "m", form="batch", encodings=encodings)
    pipes.translate_whole(raw, DIALECTS[client], DIALECTS["openai_embeddings"], reply, stream=False)


def _resident(name: str) -> float:
    """MB of this process: VmRSS now, VmHWM at its peak."""
    return int(next(line for line in _STATUS.read_text().splitlines() if line.startswith(name)).split()[1]) / 1000


def _peak(work: Callable[[], object]) -> float:
    """MB resident at once beyond what was there before."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _resident("VmRSS")
    work()
    return max(_resident("VmHWM") - before, 0)


def run(args: argparse.Namespace) -> dict[str, Any]:
    draw = random.Random(1)
    vectors = [[float(f"{draw.gauss(0, 0.03):.8g}") for _ in range(args.dimensions)] for _ in range(_VARIED)]
    floats = _answer(vectors, args.inputs)
    packed = _answer([base64.b64encode(array("f", vector).tobytes()).decode() for vector in vectors], args.inputs)
    works: list[tuple[str, bytes, Callable[[], object]]] = [
        ("watched, floats", floats, lambda: _watch(floats)),
        ("watched, base64", packed, lambda: _watch(packed)),
        ("floats to floats (Cohere)", floats, lambda: _translate(floats, "cohere_embeddings", "float")),
        ("floats to floats (Gemini)", floats, lambda: _translate(floats, "gemini_embeddings")),
        ("floats to base64 (Cohere)", floats, lambda: _translate(floats, "cohere_embeddings", "base64")),
        ("base64 to base64 (Cohere)", packed, lambda: _translate(packed, "cohere_embeddings", "base64")),
        ("base64 to floats (Gemini)", packed, lambda: _translate(packed, "gemini_embeddings")),
        ("orjson loads and dumps, floats", floats, lambda: orjson.dumps(orjson.loads(floats))),
    ]
    peaks = [_peak(work) for _, _, work in works]
    rows = [[name, len(raw) / 1e6, best(work, args.seconds) / 1000, peak] for (name, raw, work), peak in zip(works, peaks, strict=True)]
    table([f"{args.inputs} x {args.dimensions}", "MB", "ms", "peak MB"], rows)
    return {"answers": {str(row[0]): dict(zip(("mb", "ms", "peak_mb"), row[1:], strict=True)) for row in rows}}
