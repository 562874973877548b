"""The seven chat dialects as plain HTTP, for an application without an SDK: where a request goes, what it holds, where its answer has the words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from extproc.core.eventstream import EventStreamParser

_MOST = 200
"""Tokens of an answer."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """`path` may hold `{model}`; `where` leads from the answer's JSON to its text; `body(model, text)` asks one question."""

    name: str
    path: str
    where: tuple[str | int, ...]
    body: Callable[[str, str], dict[str, Any]]
    headers: Mapping[str, str]

    @property
    def place(self) -> str:
        """`where` as people write it: choices[0].message.content."""
        return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.where).removeprefix(".")

    def text_of(self, answer: Any) -> str:
        """Raises LookupError or TypeError where `answer` has another shape."""
        for step in self.where:
            answer = answer[step]
        return str(answer)


def _said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


SPOKEN: tuple[Spoken, ...] = (
    Spoken(
        "OpenAI Chat",
        "/v1/chat/completions",
        ("choices", 0, "message", "content"),
        lambda model, text: {"model": model, "messages": _said(text), "max_completion_tokens": _MOST, "seed": 7},
        {},
    ),
    Spoken(
        "OpenAI Responses",
        "/v1/responses",
        ("output", 0, "content", 0, "text"),
        lambda model, text: {"model": model, "input": text, "max_output_tokens": _MOST, "store": False},
        {},
    ),
    Spoken(
        "Anthropic",
        "/v1/messages",
        ("content", 0, "text"),
        lambda model, text: {"model": model, "messages": _said(text), "max_tokens": _MOST, "top_k": 40},
        {"anthropic-version": "2023-06-01"},
    ),
    Spoken(
        "Gemini",
        "/v1beta/models/{model}:generateContent",
        ("candidates", 0, "content", "parts", 0, "text"),
        lambda _, text: {"contents": [{"role": "user", "parts": [{"text": text}]}], "generationConfig": {"maxOutputTokens": _MOST, "topK": 40}},
        {},
    ),
    Spoken(
        "Bedrock Converse",
        "/model/{model}/converse",
        ("output", "message", "content", 0, "text"),
        lambda _, text: {"messages": [{"role": "user", "content": [{"text": text}]}], "inferenceConfig": {"maxTokens": _MOST}},
        {},
    ),
    Spoken(
        "Cohere",
        "/v2/chat",
        ("message", "content", 0, "text"),
        lambda model, text: {"model": model, "messages": _said(text), "max_tokens": _MOST, "seed": 7},
        {},
    ),
    Spoken(
        "Ollama",
        "/api/chat",
        ("message", "content"),
        lambda model, text: {"model": model, "messages": _said(text), "stream": False, "options": {"num_predict": _MOST}},
        {},
    ),
)
BEDROCK = next(s for s in SPOKEN if s.name == "Bedrock Converse")
BEDROCK_STREAM = "/model/{model}/converse-stream"


class BedrockStream:
    """Reads Bedrock's binary stream as AWS's SDKs do. `events` counts its messages."""

    def __init__(self) -> None:
        self.events = 0
        self._parser = EventStreamParser()

    def feed(self, data: bytes) -> Iterator[str]:
        """The pieces of text in `data`. Raises `core.errors.UpstreamFormatError` where a length or a checksum is wrong."""
        for message in self._parser.feed(data):
            self.events += 1
            if message.text(":event-type") == "contentBlockDelta":
                yield orjson.loads(message.payload)["delta"].get("text", "")

    def close(self) -> None:
        """Raises as `feed` where the end is not the end of a message."""
        self._parser.close()
