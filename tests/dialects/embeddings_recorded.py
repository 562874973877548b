"""Recorded embeddings exchanges of all vendors, each with the dialect and the form that its path says."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
needs_recordings = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recorded traffic is not beside the project")
PROVIDERS = ("openai", "azure", "openrouter", "mistral", "cohere", "gemini", "vertex", "ollama")

_PATHS = (
    (r"/models/([^/:]+):batchEmbedContents", "gemini_embeddings", "batch"),
    (r"/models/([^/:]+):embedContent", "gemini_embeddings", ""),
    (r"/models/([^/:]+):predict", "vertex_embeddings", ""),
    (r"/v2/embed$()", "cohere_embeddings", ""),
    (r"/api/embed$()", "ollama_embeddings", ""),
    (r"/api/embeddings$()", "ollama_embeddings", "legacy"),
    (r"/embeddings(?:\?|$)()", "openai_embeddings", ""),
)


@dataclass(frozen=True)
class Exchange:
    """`model` is the one that the path names, else the body's."""

    name: str
    provider: str
    dialect: str
    form: str
    model: str
    request: Any
    status: int
    headers: dict[str, str]
    response: bytes


def _bytes(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else orjson.dumps(body)


@cache
def exchanges() -> list[Exchange]:
    """All of them; none where there are no recordings."""
    found: list[Exchange] = []
    for provider in PROVIDERS if RECORDINGS.is_dir() else ():
        with gzip.open(RECORDINGS / f"{provider}.jsonl.gz", "rt") as lines:
            for line in lines:
                record = json.loads(line)
                if record["api"] != "embeddings":
                    continue
                request = record["request_body"]
                request = json.loads(request) if isinstance(request, str) else request
                dialect, form, model = next((d, f, m[1]) for p, d, f in _PATHS if (m := re.search(p, record["url"])))
                headers = {name.lower(): value for name, value in record["response_headers"].items()}
                answer = _bytes(record["response_body"])
                status = record["status"]
                found.append(Exchange(record["name"], provider, dialect, form, model or request["model"], request, status, headers, answer))
    return found


def answers() -> list[Exchange]:
    """Those whose answer was kept."""
    return [e for e in exchanges() if e.status == 200 and e.response]
