"""Recorded Responses exchanges of all vendors: OpenAI, Azure, xAI, DeepSeek, OpenRouter, Bedrock."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from extproc.core.framing import SSEParser

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
needs_recordings = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recorded traffic is not beside the project")
PROVIDERS = ("openai", "azure", "xai", "deepseek", "openrouter", "bedrock")
_CREATES = re.compile(r"/responses(?:\?|$)")


@dataclass(frozen=True)
class Exchange:
    name: str
    provider: str
    model: str
    request: Any
    status: int
    headers: dict[str, str]
    response: bytes
    stream: bool


@cache
def exchanges() -> list[Exchange]:
    """Every one of `POST /responses`: not of what counts tokens or compacts."""
    found: list[Exchange] = []
    for provider in PROVIDERS:
        with gzip.open(RECORDINGS / f"{provider}.jsonl.gz", "rt") as lines:
            for line in lines:
                record = json.loads(line)
                if record["api"] != "responses" or not _CREATES.search(record["url"]):
                    continue
                request, body = record["request_body"], record["response_body"]
                if "model" not in request:  # a prompt stored at the provider names it: such a request must say it here
                    continue
                found.append(
                    Exchange(
                        record["name"],
                        record["provider"],
                        request["model"],
                        request,
                        record["status"],
                        {name.lower(): str(value) for name, value in record["response_headers"].items()},
                        body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode(),
                        record["streaming"],
                    )
                )
    return found


def answers() -> list[Exchange]:
    """Those with a whole answer."""
    return [e for e in exchanges() if e.status == 200 and not e.stream and e.response]


def streams() -> list[Exchange]:
    return [e for e in exchanges() if e.status == 200 and e.stream]


def events(raw: bytes) -> list[Any]:
    parser = SSEParser()
    return [json.loads(event.data) for event in parser.feed(raw) + parser.close() if event.data != b"[DONE]"]


def last_answer(raw: bytes) -> Any:
    """The `response` of a stream's last event, with its items as they were done: encrypted content is encrypted anew for every event."""
    found = events(raw)
    done = {event["output_index"]: event["item"] for event in found if event["type"] == "response.output_item.done"}
    answer = found[-1]["response"]
    return {**answer, "output": [done.get(place, item) for place, item in enumerate(answer["output"])]}
