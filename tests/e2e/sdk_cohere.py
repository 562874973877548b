"""Cohere's SDK, version 2 of the API."""

from __future__ import annotations

import json
import uuid
from typing import Any, ClassVar

import cohere
from cohere.core.api_error import ApiError

from tests.e2e.sdks import CLIENT_KEY, TIMEOUT, Answer, Sdk, UnfinishedError, base64_of, functions


class Cohere(Sdk):
    name = "cohere"
    errors = cohere
    finishes: ClassVar[dict[str, str]] = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tools": "TOOL_CALL", "filtered": "COMPLETE"}
    documents = False

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = cohere.ClientV2(api_key=CLIENT_KEY, base_url=url, timeout=TIMEOUT)

    def ask(self, model: str, text: str = "hello", /, *, stream: bool = False, request_id: str = "", **more: Any) -> Answer:
        more.setdefault("messages", self.user(text))
        more["request_options"] = {"additional_headers": {"x-request-id": request_id or str(uuid.uuid4())}, "max_retries": 0}
        if stream:
            with self.client.with_raw_response.chat_stream(model=model, **more) as response:
                return _collected(response.data, {k.lower(): v for k, v in response.headers.items()})
        raw = self.client.with_raw_response.chat(model=model, **more)
        message = raw.data.message
        return Answer(
            text="".join(getattr(c, "text", "") or "" for c in message.content or ()),
            thinking="".join(getattr(c, "thinking", "") or "" for c in message.content or ()),
            calls=[(c.id or "", c.function.name, json.loads(c.function.arguments or "{}")) for c in message.tool_calls or ()],
            finish=raw.data.finish_reason,
            usage=_usage(raw.data.usage),
            headers={k.lower(): v for k, v in raw.headers.items()},
            raw=message.tool_plan,
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
            # it cannot force one tool by its name: the application offers that one alone
            out["tools"] = [f for f in functions() if choice in (None, "any", "none", f["function"]["name"])]
        if choice is not None:
            out["tool_choice"] = "NONE" if choice == "none" else "REQUIRED"
        if schema is not None:
            out["response_format"] = {"type": "json_object", "json_schema": schema}
        if stop is not None:
            out["stop_sequences"] = [stop]
        if limit is not None:
            out["max_tokens"] = limit
        if think:
            out["thinking"] = {"type": "enabled", "token_budget": 2000}
            out["max_tokens"] = 4000
        if system is not None:
            out["messages"] = [{"role": "system", "content": system}, *self.user("hello")]
        return out

    def user(self, text: str, *, png: bytes | None = None, pdf: bytes | None = None) -> list[Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": text}]
        if png is not None:
            content.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64_of(png)}"}})
        return [{"role": "user", "content": content}]

    def turn(self, answer: Answer) -> list[Any]:
        calls = [{"id": i, "type": "function", "function": {"name": n, "arguments": json.dumps(a)}} for i, n, a in answer.calls]
        message: dict[str, Any] = {"role": "assistant"}
        content = [{"type": kind, kind: said} for kind, said in (("thinking", answer.thinking), ("text", answer.text)) if said]
        if content:
            message["content"] = content
        if calls:
            message["tool_calls"] = calls
        if answer.raw:
            message["tool_plan"] = answer.raw
        return [message]

    def results(self, answer: Answer, said: str) -> list[Any]:
        return [{"role": "tool", "tool_call_id": i, "content": f"{said} {n}"} for i, n, _ in answer.calls]

    def status(self, error: Exception) -> int | None:
        return error.status_code if isinstance(error, ApiError) else None


def _usage(usage: Any) -> tuple[int, int] | None:
    if usage is None or usage.tokens is None:
        return None
    return int(usage.tokens.input_tokens), int(usage.tokens.output_tokens)


def _collected(events: Any, headers: dict[str, str]) -> Answer:
    answer = Answer(headers=headers, raw="")
    arguments: list[str] = []
    for event in events:
        match event.type:
            case "content-delta":
                content = event.delta.message.content
                answer.text += getattr(content, "text", None) or ""
                answer.thinking += getattr(content, "thinking", None) or ""
                answer.pieces += bool(getattr(content, "text", None))
            case "tool-plan-delta":
                answer.raw += event.delta.message.tool_plan or ""
            case "tool-call-start":
                call = event.delta.message.tool_calls
                answer.calls.append((call.id, call.function.name, None))
                arguments.append(call.function.arguments or "")
            case "tool-call-delta":
                arguments[-1] += event.delta.message.tool_calls.function.arguments or ""
            case "message-end":
                answer.finish = event.delta.finish_reason
                answer.usage = _usage(event.delta.usage)
                if getattr(event.delta, "error", None):
                    raise UnfinishedError(event.delta.error)
            case _:
                pass
    if answer.finish is None:
        raise UnfinishedError
    answer.calls = [(i, n, json.loads(a or "{}")) for (i, n, _), a in zip(answer.calls, arguments, strict=True)]
    return answer
