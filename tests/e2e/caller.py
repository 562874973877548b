"""The face that every SDK shows to tests that ask many of them: a question goes out, and what the SDK made of the answer comes back in words that
can be compared between dialects, and with what our decoders say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL, TOOL_SAYS = "get_weather", "tells the weather"

_FILTERED = ("content_filter", "refusal", "content_filtered", "guardrail_intervened", "ERROR_TOXIC", "SAFETY", "RECITATION", "PROHIBITED_CONTENT")
_LENGTH = ("length", "model_length", "max_output_tokens", "max_tokens", "MAX_TOKENS", "model_context_window_exceeded", "ERROR_LIMIT")
_TOOLS = ("tool_calls", "function_call", "tool_use", "TOOL_CALL")
_WORDS = dict.fromkeys(_FILTERED, "filtered") | dict.fromkeys(_LENGTH, "length") | dict.fromkeys(_TOOLS, "tools")
"""What all formats say, less what means that the model stopped. No two use one word for two things."""


@dataclass
class Heard:
    """What an application has of an answer. `finish`: stop, length, tools or filtered; "" where the answer never ended. `usage` is (input, output)
    with cached and reasoning tokens counted in. `headers` are the answer's, where the SDK shows them."""

    text: str = ""
    thoughts: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    finish: str = ""
    usage: tuple[int, int] | None = None
    pieces: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """`tool`: one tool is offered and must be called. `shape`: the answer must be JSON of `SCHEMA`. `more` are parameters in the SDK's own words."""

    text: str = "hello"
    stream: bool = False
    max_tokens: int | None = None
    tool: bool = False
    shape: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)


class UnfinishedError(Exception):
    """The SDK gave a stream back that never said why it ended, or that ended in an error which this SDK hands on as an event."""


class Caller:
    """`name` is the SDK, `dialect` the catalog's name of what it speaks. `errors` are its exceptions for answers with an error's status."""

    name: str
    dialect: str
    errors: tuple[type[Exception], ...]

    sdk: Any

    def __init__(self, url: str) -> None:
        self.url = url

    def close(self) -> None:
        self.sdk.close()

    def ask(self, model: str, question: Question, request_id: str) -> Heard:
        """Raises the SDK's exception, or `UnfinishedError`."""
        raise NotImplementedError

    def status(self, error: Exception) -> int:
        """The status that the SDK says an answer had."""
        return int(getattr(error, "status_code", 0))


def finished(heard: Heard) -> Heard:
    if not heard.finish:
        raise UnfinishedError(heard.text)
    return heard


def finish(word: Any, calls: object) -> str:
    """In the four words of `Heard.finish`; formats without a word for tool calls say that the model stopped."""
    if not word:
        return ""
    found = _WORDS.get(str(getattr(word, "value", word)), "stop")
    return "tools" if found == "stop" and calls else found


def arguments_of(text: str) -> Any:
    return json.loads(text or "{}")
