"""Applications as anybody would write them: on the OpenAI SDK, on the Anthropic SDK, and on plain HTTP, all pointed at one address.

Nothing here knows of providers. The SDKs' own retries are off, because the demo shows the gateway's.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import anthropic
import openai
import orjson

from extproc.core.errors import UpstreamFormatError
from extproc.demo.spoken import BEDROCK, BEDROCK_STREAM, SPOKEN, BedrockStream, Spoken
from extproc.demo.traces import Traces

OPENAI_SDK, ANTHROPIC_SDK, HTTP = "OpenAI SDK", "Anthropic SDK", "plain HTTP"

_TIMEOUT = 30.0
_PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_ABOUT = "The weather in a city"
TOOL = "get_weather"


def weather(city: str) -> str:
    """The application's tool."""
    return f"18 degrees and sunny in {city}"


@dataclass(slots=True)
class Call:
    """One request as its application saw it. Times in seconds; `first_token` None: not streamed, or nothing came.

    `error` is the name of the exception that the SDK raised, `error_text` its text, `retry_after` the seconds that it says. `tool` is (name,
    arguments) of the tool call in the answer. `losses` are those of the header. `spoken` and `path`: the dialect and where it was sent, of one
    without an SDK. `vectors` are their lengths.
    """

    trace_id: str
    text: str = ""
    tool: tuple[str, dict[str, Any]] | None = None
    target: str = ""
    attempts: int = 0
    first_token: float | None = None
    seconds: float = 0.0
    error: str = ""
    error_text: str = ""
    losses: tuple[str, ...] = ()
    spoken: Spoken | None = None
    path: str = ""
    vectors: tuple[int, ...] = ()
    retry_after: float | None = None
    answer: Any = None
    """What the SDK returned, for the next turn of a conversation."""
    _started: float = field(default_factory=time.monotonic, repr=False)

    def served(self, headers: Mapping[str, str]) -> None:
        self.target = headers.get("x-llm-target", "")
        self.attempts = int(headers.get("x-llm-attempts", "0"))
        self.losses = tuple(filter(None, headers.get("x-llm-losses", "").split(",")))

    def said(self, piece: str) -> None:
        if self.first_token is None:
            self.first_token = time.monotonic() - self._started
        self.text += piece

    def ended(self) -> None:
        self.seconds = time.monotonic() - self._started


class Watcher(Protocol):
    """Who wants to see it happen."""

    def asked(self, sdk: str, model: str, text: str, *, stream: bool = False) -> None: ...
    def piece(self, text: str) -> None: ...
    def ran_tool(self, name: str, arguments: Mapping[str, Any], result: str) -> None: ...
    async def done(self, call: Call) -> None: ...


class Applications:
    """`url` is where Envoy listens: all that the SDKs are told."""

    def __init__(self, url: str, traces: Traces, watcher: Watcher) -> None:
        # a proxy of the environment is for the internet, not for a loopback address
        self._openai = openai.AsyncOpenAI(
            base_url=f"{url}/v1",
            api_key="not-needed",
            max_retries=0,
            timeout=_TIMEOUT,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
        )
        self._anthropic = anthropic.AsyncAnthropic(
            base_url=url, api_key="not-needed", max_retries=0, timeout=_TIMEOUT, http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False)
        )
        # the HTTP client below the SDKs, for what neither of them speaks
        self._http = openai.DefaultAsyncHttpxClient(base_url=url, timeout=_TIMEOUT, trust_env=False)
        self._traces = traces
        self._watcher = watcher

    async def close(self) -> None:
        await self._openai.close()
        await self._anthropic.close()
        await self._http.aclose()

    async def openai_asks(self, model: str, text: str, *, stream: bool = False, **more: Any) -> Call:
        """One user message, answered or refused; an error that the SDK raises is in the result."""
        self._watcher.asked(OPENAI_SDK, model, text, stream=stream)
        return await self._openai_call(model, [{"role": "user", "content": text}], stream=stream, **more)

    async def openai_asks_often(self, model: str, text: str, times: int) -> list[Call]:
        """The same question, `times` times, one after the other."""
        self._watcher.asked(OPENAI_SDK, model, f"{text}  × {times}")
        return [await self._openai_call(model, [{"role": "user", "content": text}]) for _ in range(times)]

    async def openai_uses_tool(self, model: str, text: str, **more: Any) -> list[Call]:
        """The whole loop: question, tool call, the tool's result, answer."""
        tools = [{"type": "function", "function": {"name": TOOL, "description": _ABOUT, "parameters": _PARAMETERS}}]
        self._watcher.asked(OPENAI_SDK, model, text)
        messages: list[Any] = [{"role": "user", "content": text}]
        first = await self._openai_call(model, messages, tools=tools, **more)
        if first.tool is None:
            return [first]
        result = weather(**first.tool[1])
        self._watcher.ran_tool(*first.tool, result)
        message = first.answer.choices[0].message
        messages += [
            message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": result},
        ]
        return [first, await self._openai_call(model, messages, tools=tools, **more)]

    async def anthropic_asks(self, model: str, text: str, *, stream: bool = False, **more: Any) -> Call:
        """As `openai_asks`."""
        self._watcher.asked(ANTHROPIC_SDK, model, text, stream=stream)
        return await self._anthropic_call(model, [{"role": "user", "content": text}], stream=stream, **more)

    async def anthropic_uses_tool(self, model: str, text: str, **more: Any) -> list[Call]:
        """As `openai_uses_tool`."""
        tools = [{"name": TOOL, "description": _ABOUT, "input_schema": _PARAMETERS}]
        self._watcher.asked(ANTHROPIC_SDK, model, text)
        messages: list[Any] = [{"role": "user", "content": text}]
        first = await self._anthropic_call(model, messages, tools=tools, **more)
        if first.tool is None:
            return [first]
        result = weather(**first.tool[1])
        self._watcher.ran_tool(*first.tool, result)
        content = first.answer.content
        used = next(block.id for block in content if block.type == "tool_use")
        messages += [
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in content]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": used, "content": result}]},
        ]
        return [first, await self._anthropic_call(model, messages, tools=tools, **more)]

    async def every_dialect_asks(self, models: Mapping[str, str], text: str) -> list[Call]:
        """The same question in each dialect, all at once, in its own shape and without an SDK. `models`: which one each dialect asks for."""
        self._watcher.asked(HTTP, "", text)
        calls = await asyncio.gather(*(self._plain_call(spoken, models[spoken.name], text) for spoken in SPOKEN))
        for call in calls:
            await self._watcher.done(call)
        return calls

    async def bedrock_streams(self, model: str, text: str) -> Call:
        """The binary stream of Bedrock's ConverseStream."""
        self._watcher.asked(HTTP, model, text, stream=True)
        trace_id, traceparent = self._traces.expect()
        call = Call(trace_id, spoken=BEDROCK, path=BEDROCK_STREAM.format(model=model))
        stream = BedrockStream()
        async with self._http.stream("POST", call.path, json=BEDROCK.body(model, text), headers={"traceparent": traceparent}) as answer:
            call.served(answer.headers)
            try:
                async for data in answer.aiter_bytes():
                    for piece in stream.feed(data):
                        call.said(piece)
                        self._watcher.piece(piece)
                stream.close()
            except UpstreamFormatError as error:
                call.error, call.error_text = type(error).__name__, str(error)
        call.answer = {"content-type": answer.headers.get("content-type", ""), "events": stream.events}
        call.ended()
        await self._watcher.done(call)
        return call

    async def openai_embeds(self, model: str, texts: list[str]) -> Call:
        """Vectors by the OpenAI SDK, which asks for them in base64."""
        self._watcher.asked(OPENAI_SDK, model, " / ".join(texts))
        trace_id, traceparent = self._traces.expect()
        call = Call(trace_id)
        try:
            raw = await self._openai.embeddings.with_raw_response.create(model=model, input=texts, extra_headers={"traceparent": traceparent})
            call.served(raw.headers)
            call.answer = raw.parse()
            call.vectors = tuple(len(item.embedding) for item in call.answer.data)
        except openai.APIError as error:
            _failed(call, error)
        call.ended()
        await self._watcher.done(call)
        return call

    async def _plain_call(self, spoken: Spoken, model: str, text: str) -> Call:
        trace_id, traceparent = self._traces.expect()
        call = Call(trace_id, spoken=spoken, path=spoken.path.format(model=model))
        answer = await self._http.post(call.path, json=spoken.body(model, text), headers={"traceparent": traceparent, **spoken.headers})
        call.served(answer.headers)
        try:
            call.text = spoken.text_of(orjson.loads(answer.content))
        except (orjson.JSONDecodeError, LookupError, TypeError):
            call.error, call.error_text = f"HTTP {answer.status_code}", answer.text[:500]
        call.ended()
        return call

    async def _openai_call(self, model: str, messages: list[Any], *, stream: bool = False, **more: Any) -> Call:
        trace_id, traceparent = self._traces.expect()
        call = Call(trace_id)
        create = self._openai.chat.completions
        common: dict[str, Any] = {"model": model, "messages": messages, "extra_headers": {"traceparent": traceparent}, **more}
        try:
            if stream:
                events = await create.create(stream=True, **common)
                call.served(events.response.headers)
                async for chunk in events:
                    if chunk.choices and chunk.choices[0].delta.content:
                        call.said(chunk.choices[0].delta.content)
                        self._watcher.piece(chunk.choices[0].delta.content)
            else:
                raw = await create.with_raw_response.create(**common)
                call.served(raw.headers)
                call.answer = raw.parse()
                message = call.answer.choices[0].message
                call.text = message.content or ""
                if message.tool_calls:
                    function = message.tool_calls[0].function
                    call.tool = function.name, json.loads(function.arguments)
        except openai.APIError as error:
            _failed(call, error)
        call.ended()
        await self._watcher.done(call)
        return call

    async def _anthropic_call(self, model: str, messages: list[Any], *, stream: bool = False, **more: Any) -> Call:
        trace_id, traceparent = self._traces.expect()
        call = Call(trace_id)
        create = self._anthropic.messages
        common: dict[str, Any] = {"model": model, "max_tokens": 200, "messages": messages, "extra_headers": {"traceparent": traceparent}, **more}
        try:
            if stream:
                events = await create.create(stream=True, **common)
                call.served(events.response.headers)
                async for event in events:
                    if event.type == "content_block_delta" and event.delta.type == "text_delta":
                        call.said(event.delta.text)
                        self._watcher.piece(event.delta.text)
            else:
                raw = await create.with_raw_response.create(**common)
                call.served(raw.headers)
                call.answer = await raw.parse()
                for block in call.answer.content:
                    if block.type == "tool_use":
                        call.tool = block.name, dict(block.input)
                    elif block.type == "text":
                        call.text += block.text
        except anthropic.APIError as error:
            _failed(call, error)
        call.ended()
        await self._watcher.done(call)
        return call


def _failed(call: Call, error: openai.APIError | anthropic.APIError) -> None:
    module = type(error).__module__.partition(".")[0]
    call.error, call.error_text = f"{module}.{type(error).__name__}", str(error)
    if isinstance(error, openai.APIStatusError | anthropic.APIStatusError):
        call.served(error.response.headers)
        wait = error.response.headers.get("retry-after")
        call.retry_after = float(wait) if wait is not None else None
