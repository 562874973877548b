"""Recorded Cohere exchanges: chat of version 2, rerank of both versions, and a rerank of the same shape at OpenRouter."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

_FOLDER = Path(__file__).parents[3] / "shared" / "recordings"
needs_recordings = pytest.mark.skipif(not _FOLDER.is_dir(), reason="the recorded traffic is not beside the project")


@dataclass(frozen=True)
class Exchange:
    name: str
    url: str
    request: Any
    status: int
    response: bytes
    stream: bool


@cache
def _all() -> list[Exchange]:
    found: list[Exchange] = []
    for provider in ("cohere", "openrouter") if _FOLDER.is_dir() else ():
        with gzip.open(_FOLDER / f"{provider}.jsonl.gz") as lines:
            for line in lines:
                if b"/v2/chat" not in line and b"/rerank" not in line:
                    continue
                record = orjson.loads(line)
                body, answer = record["request_body"], record["response_body"]
                found.append(
                    Exchange(
                        record["name"],
                        record["url"],
                        orjson.loads(body) if isinstance(body, str) else body,
                        record["status"],
                        answer.encode() if isinstance(answer, str) else orjson.dumps(answer),
                        record["streaming"],
                    )
                )
    return found


def chats() -> list[Exchange]:
    """Every exchange with `/v2/chat`."""
    return [e for e in _all() if e.url.endswith("/v2/chat")]


def reranks() -> list[Exchange]:
    """Every exchange with a `/rerank` of either version."""
    return [e for e in _all() if e.url.endswith("/rerank")]
