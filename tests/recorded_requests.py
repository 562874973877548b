"""Every recorded request that one of our dialects speaks, with the input tokens that its provider counted."""

from __future__ import annotations

import base64
import gzip
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson
import pytest

from extproc.core.errors import ApiError
from extproc.core.ir import UsageUpdate
from extproc.dialects.catalog import DIALECTS

FOLDER = Path(__file__).parents[2] / "shared" / "recordings"
needs_recordings = pytest.mark.skipif(not FOLDER.is_dir(), reason="the recorded traffic is not beside the project")

_DIALECT = {
    "messages": "anthropic_messages",
    "rawpredict": "anthropic_messages",
    "chat": "openai_chat",
    "responses": "openai_responses",
    "converse": "bedrock_converse",
    "converse-stream": "bedrock_converse",
    "gemini": "gemini",
    "gemini-stream": "gemini",
    "completions": "openai_completions",
    "embeddings": "openai_embeddings",
}
_OWN = {("cohere", "chat"): "cohere_chat", ("ollama", "chat"): "ollama_chat"}
_OTHER_EMBEDDINGS = ("cohere", "gemini", "vertex", "bedrock", "ollama")


@dataclass(frozen=True)
class Recorded:
    """`tokens` 0: nobody counted."""

    name: str
    dialect: str
    model: str
    body: dict[str, Any]
    tokens: int


@cache
def recorded() -> list[Recorded]:
    found = []
    for file in sorted(FOLDER.glob("*.jsonl.gz")):
        provider = file.name.partition(".")[0]
        with gzip.open(file) as lines:
            for line in lines:
                one = _one(provider, orjson.loads(line))
                if one is not None:
                    found.append(one)
    return found


def _one(provider: str, record: dict[str, Any]) -> Recorded | None:
    api = record["api"]
    dialect = _OWN.get((provider, api)) or _DIALECT.get(api)
    if provider == "ollama" and "/api/" not in record["url"]:
        dialect = _DIALECT.get(api)
    if dialect is None or record["status"] != 200 or (api == "embeddings" and provider in _OTHER_EMBEDDINGS):
        return None
    body = record["request_body"]
    if isinstance(body, str):
        try:
            body = orjson.loads(body)
        except ValueError:
            return None
    if not isinstance(body, dict):
        return None
    in_path = re.search(r"/models?/([^/:?]+(?::\d)?)", record["url"])
    model = record["model"] or (unquote(in_path[1]) if in_path else "")
    return Recorded(record["name"], dialect, model, body, _tokens(dialect, record))


def _tokens(dialect: str, record: dict[str, Any]) -> int:
    raw = record["response_body"]
    raw = raw.encode() if isinstance(raw, str) else orjson.dumps(raw)
    if record["response_body_encoding"] == "base64":
        raw = base64.b64decode(raw)
    usage = None
    try:
        if record["streaming"]:
            decoder = DIALECTS[dialect].stream_decoder()
            for event in [*decoder.feed(raw), *decoder.close()]:
                usage = event.usage if isinstance(event, UsageUpdate) else usage
        else:
            usage = DIALECTS[dialect].decode_response(raw).usage
    except ApiError:
        return 0
    return usage.input_tokens if usage is not None else 0
