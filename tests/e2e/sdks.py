"""The two real SDKs behind one face, so that a test can be said once for both: what was asked, and what came back or was raised.

No retries of the SDK's own: every one would hide something. `Answer` is what an application would read from the SDK's objects.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
import orjson

TIMEOUT = 30.0
"""Seconds after which the SDK gives up: hang protection, never what is tested."""
CLIENT_KEY = "sk-the-applications-own-key"


@dataclass
class Answer:
    """`calls` are (id, name, arguments). `finish` in the SDK's own words. `usage` is (input, output, cached, reasoning)."""

    text: str = ""
    thinking: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    finish: str | None = None
    usage: tuple[int, int] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    pieces: int = 0
    raw: Any = None


class Sdk:
    """`errors` is the SDK's module with its exception classes."""

    name: str
    errors: Any

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, model: str, text: str = "hello", *, stream: bool = False, request_id: str = "", **more: Any) -> Answer:
        raise NotImplementedError


class OpenAI(Sdk):
    name = "openai"
    errors = openai

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=CLIENT_KEY, max_retries=0, timeout=TIMEOUT)

    def ask(self, model: str, text: str = "hello", *, stream: bool = False, request_id: str = "", **more: Any) -> Answer:
        more.setdefault("messages", [{"role": "user", "content": text}])
        headers = {"x-request-id": request_id or str(uuid.uuid4()), **more.pop("extra_headers", {})}
        if stream:
            more.setdefault("stream_options", {"include_usage": True})
        raw = self.client.chat.completions.with_raw_response.create(model=model, stream=stream, extra_headers=headers, **more)
        if not stream:
            completion = raw.parse()
            message = completion.choices[0].message
            usage = completion.usage
            return Answer(
                text=message.content or "",
                thinking=getattr(message, "reasoning_content", None) or "",
                calls=[(c.id, c.function.name, orjson.loads(c.function.arguments)) for c in message.tool_calls or ()],
                finish=completion.choices[0].finish_reason,
                usage=(usage.prompt_tokens, usage.completion_tokens) if usage else None,
                headers=dict(raw.headers),
                raw=completion,
            )
        answer = Answer(headers=dict(raw.headers), raw=[])
        arguments: dict[int, list[str]] = {}
        with raw.parse() as chunks:
            for chunk in chunks:
                answer.raw.append(chunk)
                if chunk.usage is not None:
                    answer.usage = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
                for choice in chunk.choices:
                    delta = choice.delta
                    answer.text += delta.content or ""
                    answer.pieces += bool(delta.content)
                    answer.thinking += getattr(delta, "reasoning_content", None) or ""
                    for call in delta.tool_calls or ():
                        if call.index not in arguments:
                            arguments[call.index] = []
                            answer.calls.append((call.id, call.function.name, None))
                        arguments[call.index].append(call.function.arguments or "")
                    answer.finish = choice.finish_reason or answer.finish
        answer.calls = [(i, name, orjson.loads("".join(arguments[n]) or "{}")) for n, (i, name, _) in enumerate(answer.calls)]
        return answer


class Anthropic(Sdk):
    name = "anthropic"
    errors = anthropic

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = anthropic.Anthropic(base_url=url, api_key=CLIENT_KEY, max_retries=0, timeout=TIMEOUT)

    def ask(self, model: str, text: str = "hello", *, stream: bool = False, request_id: str = "", **more: Any) -> Answer:
        more.setdefault("messages", [{"role": "user", "content": text}])
        more.setdefault("max_tokens", 500)
        headers = {"x-request-id": request_id or str(uuid.uuid4()), **more.pop("extra_headers", {})}
        if stream:
            pieces = 0
            with self.client.messages.stream(model=model, extra_headers=headers, **more) as events:
                for event in events:
                    pieces += event.type == "content_block_delta"
                message = events.get_final_message()
                got = dict(events.response.headers)
        else:
            raw = self.client.messages.with_raw_response.create(model=model, extra_headers=headers, **more)
            message, got, pieces = raw.parse(), dict(raw.headers), 0
        return Answer(
            text="".join(b.text for b in message.content if b.type == "text"),
            thinking="".join(b.thinking for b in message.content if b.type == "thinking"),
            calls=[(b.id, b.name, b.input) for b in message.content if b.type == "tool_use"],
            finish=message.stop_reason,
            usage=(message.usage.input_tokens, message.usage.output_tokens),
            headers=got,
            pieces=pieces,
            raw=message,
        )
