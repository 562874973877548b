"""Real SDKs behind one face, so that a test can be said once for all: what was asked, and what came back or was raised. Two are here, the others in
`sdk_*.py`; `every_sdk.py` has them all.

No retries of the SDK's own: every one would hide something. `Answer` is what an application would read from the SDK's objects.
"""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass, field
from typing import Any, ClassVar

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


class UnfinishedError(Exception):
    """The stream ended, or said that it failed, without a finish: where an SDK raises nothing itself, an application concludes as much."""


NAMES = ("get_weather", "get_time")
CITY: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}


class Sdk:
    """`errors` is the SDK's module with its exception classes. `finishes` are its words for stop, length, tools and filtered.

    `ask` takes the SDK's own arguments; `options`, `user`, `turn` and `results` make them from what a test means.
    """

    name: str
    errors: Any
    finishes: ClassVar[dict[str, str]]
    documents = True
    """Can it send a PDF?"""
    stops = True
    """Can it ask for stop sequences?"""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, model: str, text: str = "hello", /, *, stream: bool = False, request_id: str = "", **more: Any) -> Answer:
        """`messages` replace `text`."""
        raise NotImplementedError

    def options(
        self,
        *,
        tools: bool = False,
        choice: str | None = None,
        schema: dict[str, Any] | None = None,
        stop: str | None = None,
        limit: int | None = None,
        think: bool = False,
        system: str | None = None,
    ) -> dict[str, Any]:
        """Arguments of `ask`: the two tools of `NAMES`; `choice` is any, none or a tool's name; `limit` in tokens of output."""
        raise NotImplementedError

    def user(self, text: str, *, png: bytes | None = None, pdf: bytes | None = None) -> list[Any]:
        """A turn of the user."""
        raise NotImplementedError

    def turn(self, answer: Answer) -> list[Any]:
        """The assistant's turn as an application repeats it: what the SDK gave, nothing more."""
        raise NotImplementedError

    def results(self, answer: Answer, said: str) -> list[Any]:
        """A result for each call: `said` and the tool's name."""
        raise NotImplementedError

    def status(self, error: Exception) -> int | None:
        """The HTTP status that an exception of the SDK tells; None where the answer broke off instead."""
        return getattr(error, "status_code", None)


def functions() -> list[dict[str, Any]]:
    """The tools as OpenAI and those who imitate it write them."""
    return [{"type": "function", "function": {"name": n, "description": f"tells {n}", "parameters": CITY}} for n in NAMES]


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


class OpenAI(Sdk):
    name = "openai"
    errors = openai
    finishes: ClassVar[dict[str, str]] = {"stop": "stop", "length": "length", "tools": "tool_calls", "filtered": "content_filter"}

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=CLIENT_KEY, max_retries=0, timeout=TIMEOUT)

    def ask(self, model: str, text: str = "hello", /, *, stream: bool = False, request_id: str = "", **more: Any) -> Answer:
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
        if answer.finish is None:
            raise UnfinishedError
        return answer

    def options(
        self,
        *,
        tools: bool = False,
        choice: str | None = None,
        schema: dict[str, Any] | None = None,
        stop: str | None = None,
        limit: int | None = None,
        think: bool = False,
        system: str | None = None,
    ) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if tools:
            out["tools"] = functions()
        if choice is not None:
            out["tool_choice"] = {"any": "required", "none": "none"}.get(choice) or {"type": "function", "function": {"name": choice}}
        if schema is not None:
            out["response_format"] = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": True}}
        if stop is not None:
            out["stop"] = [stop]
        if limit is not None:
            out["max_completion_tokens"] = limit
        if think:
            out["reasoning_effort"] = "high"
        if system is not None:
            out["messages"] = [{"role": "system", "content": system}, *self.user("hello")]
        return out

    def user(self, text: str, *, png: bytes | None = None, pdf: bytes | None = None) -> list[Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": text}]
        if png is not None:
            content.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64_of(png)}"}})
        if pdf is not None:
            content.append({"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{base64_of(pdf)}"}})
        return [{"role": "user", "content": content}]

    def turn(self, answer: Answer) -> list[Any]:
        if not isinstance(answer.raw, list):
            return [answer.raw.choices[0].message.model_dump(mode="json", exclude_none=True)]
        calls = [{"id": i, "type": "function", "function": {"name": n, "arguments": json.dumps(a)}} for i, n, a in answer.calls]
        return [{"role": "assistant", "content": answer.text or None, **({"tool_calls": calls} if calls else {})}]

    def results(self, answer: Answer, said: str) -> list[Any]:
        return [{"role": "tool", "tool_call_id": i, "content": f"{said} {n}"} for i, n, _ in answer.calls]


class Anthropic(Sdk):
    name = "anthropic"
    errors = anthropic
    finishes: ClassVar[dict[str, str]] = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use", "filtered": "refusal"}

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = anthropic.Anthropic(base_url=url, api_key=CLIENT_KEY, max_retries=0, timeout=TIMEOUT)

    def ask(self, model: str, text: str = "hello", /, *, stream: bool = False, request_id: str = "", **more: Any) -> Answer:
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

    def options(
        self,
        *,
        tools: bool = False,
        choice: str | None = None,
        schema: dict[str, Any] | None = None,
        stop: str | None = None,
        limit: int | None = None,
        think: bool = False,
        system: str | None = None,
    ) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if tools:
            out["tools"] = [{"name": n, "description": f"tells {n}", "input_schema": CITY} for n in NAMES]
        if choice is not None:
            out["tool_choice"] = {"type": choice} if choice in ("any", "none") else {"type": "tool", "name": choice}
        if schema is not None:
            out["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        if stop is not None:
            out["stop_sequences"] = [stop]
        if limit is not None:
            out["max_tokens"] = limit
        if think:
            # the SDK insists on max_tokens above the budget
            out |= {"thinking": {"type": "enabled", "budget_tokens": 2000, "display": "summarized"}, "max_tokens": 4000}
        if system is not None:
            out["system"] = [{"type": "text", "text": system}]
        return out

    def user(self, text: str, *, png: bytes | None = None, pdf: bytes | None = None) -> list[Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": text}]
        for kind, mime, data in (("image", "image/png", png), ("document", "application/pdf", pdf)):
            if data is not None:
                content.append({"type": kind, "source": {"type": "base64", "media_type": mime, "data": base64_of(data)}})
        return [{"role": "user", "content": content}]

    def turn(self, answer: Answer) -> list[Any]:
        return [{"role": "assistant", "content": [b.model_dump(mode="json", exclude_none=True) for b in answer.raw.content]}]

    def results(self, answer: Answer, said: str) -> list[Any]:
        return [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": i, "content": f"{said} {n}"} for i, n, _ in answer.calls]}]
