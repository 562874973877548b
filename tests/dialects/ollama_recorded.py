"""Recorded exchanges with Ollama's own API."""

from __future__ import annotations

import functools
import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings" / "ollama.jsonl.gz"


@dataclass(frozen=True)
class Exchange:
    name: str
    path: str
    model: str
    request: Any
    status: int
    response: bytes
    stream: bool


@functools.cache
def exchanges() -> list[Exchange]:
    """`/api/chat` and `/api/generate`. Skips the test where the recordings are absent."""
    if not RECORDINGS.exists():
        pytest.skip("the recorded traffic is not here")
    found = []
    with gzip.open(RECORDINGS, "rt") as lines:
        for line in lines:
            record = json.loads(line)
            path = "/api/" + record["url"].rpartition("/api/")[2]
            if path not in ("/api/chat", "/api/generate"):
                continue
            request, answer = record["request_body"], record["response_body"]
            request = json.loads(request) if isinstance(request, str) else request
            found.append(
                Exchange(
                    record["name"],
                    path,
                    record["model"],
                    request,
                    record["status"],
                    answer.encode() if isinstance(answer, str) else json.dumps(answer).encode(),
                    request.get("stream") is not False,
                )
            )
    return found
