"""Recorded exchanges with Bedrock: Converse, ConverseStream, and InvokeModel with Anthropic's models."""

from __future__ import annotations

import base64
import functools
import gzip
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson

from extproc.core.dialect import Facts
from tests.dialects.anthropic_recorded import RECORDINGS, needs_recordings

__all__ = ["Recorded", "converse", "invoke", "needs_recordings", "rawpredict"]

_CUT = re.compile(rb'"(?:<[A-Z_]+>|[^"]*REDACTED[^"]*)"')
"""What the recordings put in place of media is no base64."""


@dataclass(frozen=True)
class Recorded:
    name: str
    model: str
    request: Any
    status: int
    headers: dict[str, str]
    response: bytes
    stream: bool

    @property
    def facts(self) -> Facts:
        return Facts(self.model, "anthropic" if "anthropic." in self.model or self.model.startswith("claude") else "bedrock")


def _records(file: str, marks: tuple[str, ...]) -> list[Recorded]:
    found: list[Recorded] = []
    path = RECORDINGS / f"{file}.jsonl.gz"
    with gzip.open(path) if path.exists() else gzip.open(_nothing(), "rb") as lines:
        for line in lines:
            record = orjson.loads(line)
            if not record["url"].endswith(marks) or not isinstance(record["request_body"], dict):
                continue
            body = record["response_body"]
            raw = base64.b64decode(body) if record["response_body_encoding"] == "base64" else body.encode()
            model = unquote(re.split(r"/models?/", record["url"])[1]).rpartition("/" if file == "bedrock" else ":")[0]
            headers = {name.lower(): value for name, value in record["response_headers"].items()}
            found.append(Recorded(record["name"], model, record["request_body"], record["status"], headers, raw, "stream" in record["url"].lower()))
    return found


def _nothing() -> Any:
    import io

    return io.BytesIO(gzip.compress(b""))


@functools.cache
def converse() -> list[Recorded]:
    """Every exchange with Converse and ConverseStream."""
    return _records("bedrock", ("/converse", "/converse-stream"))


@functools.cache
def invoke() -> list[Recorded]:
    """Every exchange with InvokeModel in Anthropic's Messages format."""
    found = _records("bedrock", ("/invoke", "/invoke-with-response-stream"))
    return [r for r in found if "anthropic." in r.model and "messages" in r.request]


@functools.cache
def rawpredict() -> list[Recorded]:
    """Every exchange with Anthropic's models on Vertex AI."""
    return _records("vertex", (":rawPredict", ":streamRawPredict"))
