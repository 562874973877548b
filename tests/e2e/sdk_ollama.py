"""Ollama's SDK, and the same without it: plain JSON, as clients in other languages keep it. Only there do tool calls keep their ids."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any, ClassVar

import httpx
import ollama

from tests.e2e.sdks import CLIENT_KEY, TIMEOUT, Answer, Sdk, UnfinishedError, functions


class Ollama(Sdk):
    name = "ollama"
    errors = ollama
    finishes: ClassVar[dict[str, str]] = {"stop": "stop", "length": "length", "tools": "stop", "filtered": "stop"}
    documents = False

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._local = threading.local()
        self.client = ollama.Client(url, headers={"authorization": f"Bearer {CLIENT_KEY}"}, timeout=TIMEOUT)
        # the SDK shows no headers; the HTTP client that it stands on does
        self.client._client.event_hooks = {"request": [self._name_request], "response": [self._note]}

    def _name_request(self, request: httpx.Request) -> None:
        request.headers["x-request-id"] = getattr(self._local, "request_id", "unnamed")

    def _note(self, response: httpx.Response) -> None:
        self._local.headers = dict(response.headers)

    def ask(self, model: str, text: str = "hello", /, *, stream: bool = False, request_id: str = "", **more: Any) -> Answer:
        self._local.request_id = request_id or str(uuid.uuid4())
        more.setdefault("messages", self.user(text))
        lines: list[Any] = list(self.client.chat(model, stream=True, **more)) if stream else [self.client.chat(model, stream=False, **more)]
        if not lines or not lines[-1].done:
            raise UnfinishedError
        answer = Answer(headers=self._local.headers, finish=lines[-1].done_reason, raw=lines)
        for line in lines:
            answer.text += line.message.content or ""
            answer.thinking += line.message.thinking or ""
            answer.pieces += bool(line.message.content)
            answer.calls += [(getattr(c, "id", None) or "", c.function.name, dict(c.function.arguments)) for c in line.message.tool_calls or ()]
        if lines[-1].prompt_eval_count is not None:
            answer.usage = lines[-1].prompt_eval_count, lines[-1].eval_count
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
        assert choice is None, "Ollama has no tool choice"
        out: dict[str, Any] = {}
        settings: dict[str, Any] = {}
        if tools:
            out["tools"] = functions()
        if schema is not None:
            out["format"] = schema
        if stop is not None:
            settings["stop"] = [stop]
        if limit is not None:
            settings["num_predict"] = limit
        if think:
            out["think"] = True
            settings["num_predict"] = 4000
        if system is not None:
            out["messages"] = [{"role": "system", "content": system}, *self.user("hello")]
        if settings:
            out["options"] = settings
        return out

    def user(self, text: str, *, png: bytes | None = None, pdf: bytes | None = None) -> list[Any]:
        return [{"role": "user", "content": text, **({"images": [png]} if png is not None else {})}]

    def turn(self, answer: Answer) -> list[Any]:
        calls = [c.model_dump(exclude_none=True) for line in answer.raw for c in line.message.tool_calls or ()]
        message: dict[str, Any] = {"role": "assistant", "content": answer.text}
        if answer.thinking:
            message["thinking"] = answer.thinking
        if calls:
            message["tool_calls"] = calls
        return [message]

    def results(self, answer: Answer, said: str) -> list[Any]:
        return [{"role": "tool", "tool_name": n, "content": f"{said} {n}"} for _, n, _ in answer.calls]

    def status(self, error: Exception) -> int | None:
        return error.status_code if isinstance(error, ollama.ResponseError) and error.status_code > 0 else None


class PlainOllama(Ollama):
    """A client that gives messages back as they came."""

    name = "ollama-plain"

    def ask(self, model: str, text: str = "hello", /, *, stream: bool = False, request_id: str = "", **more: Any) -> Answer:
        body = {"model": model, "messages": self.user(text), "stream": stream, **more}
        got = httpx.post(f"{self.url}/api/chat", json=body, headers={"x-request-id": request_id or str(uuid.uuid4())}, timeout=TIMEOUT)
        got.raise_for_status()
        lines = [json.loads(line) for line in got.text.splitlines()]
        if not lines or not lines[-1]["done"]:
            raise UnfinishedError
        messages = [line["message"] for line in lines]
        answer = Answer(headers=dict(got.headers), finish=lines[-1].get("done_reason"), raw=messages)
        answer.text = "".join(m.get("content", "") for m in messages)
        answer.thinking = "".join(m.get("thinking", "") for m in messages)
        answer.calls = [(c["id"], c["function"]["name"], c["function"]["arguments"]) for m in messages for c in m.get("tool_calls", ())]
        return answer

    def turn(self, answer: Answer) -> list[Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text}
        if answer.thinking:
            message["thinking"] = answer.thinking
        message["tool_calls"] = [c for m in answer.raw for c in m.get("tool_calls", ())]
        return [message]

    def results(self, answer: Answer, said: str) -> list[Any]:
        return [{"role": "tool", "tool_name": n, "tool_call_id": i, "content": f"{said} {n}"} for i, n, _ in answer.calls]
