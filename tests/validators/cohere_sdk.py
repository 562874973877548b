"""What Cohere clients get, read by the cohere SDK itself: its client over a transport that answers with given bytes."""

from __future__ import annotations

import functools
from typing import Any

import cohere
import httpx
import orjson

from extproc.core.framing import SSEParser
from tests.validators.cohere_types import check_chat_answer, check_event

_QUESTION: Any = [{"role": "user", "content": "q"}]


class Canned:
    """The SDK's client and its server. One for all answers: making one costs more than reading one."""

    def __init__(self) -> None:
        self.body = b""
        self.status = 200
        self.kind = "application/json"
        self.request = b""
        self.path = ""

    @functools.cached_property
    def client(self) -> cohere.ClientV2:
        transport = httpx.Client(transport=httpx.MockTransport(self._answer))
        return cohere.ClientV2(api_key="unused", base_url="http://llm.internal", httpx_client=transport, max_retries=0)

    @functools.cached_property
    def first(self) -> cohere.Client:
        """The client of the first API version."""
        transport = httpx.Client(transport=httpx.MockTransport(self._answer))
        return cohere.Client(api_key="unused", base_url="http://llm.internal", httpx_client=transport, max_retries=0)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.request, self.path = request.content, request.url.path
        return httpx.Response(self.status, content=self.body, headers={"content-type": self.kind})

    def gives(self, body: bytes, status: int = 200, kind: str = "application/json") -> Canned:
        self.body, self.status, self.kind = body, status, kind
        return self


CANNED = Canned()


def parse_answer(body: bytes, status: int = 200) -> Any:
    """As `chat` gives it. Raises `cohere.core.api_error.ApiError`."""
    return CANNED.gives(body, status).client.chat(model="m", messages=_QUESTION)


def parse_stream(raw: bytes) -> list[Any]:
    """As `chat_stream` gives it."""
    return list(CANNED.gives(raw, kind="text/event-stream").client.chat_stream(model="m", messages=_QUESTION))


def next_messages(body: bytes, ask: str) -> list[dict[str, Any]]:
    """What an application sends next: the SDK's own message of the answer, as Cohere's guide says, and a result of every call."""
    message = parse_answer(body).message
    turns: list[Any] = [{"role": "user", "content": ask}, message]
    turns += [{"role": "tool", "tool_call_id": call.id, "content": f"result {n}"} for n, call in enumerate(message.tool_calls or ())]
    CANNED.gives(b'{"id":"i","finish_reason":"COMPLETE","message":{"role":"assistant","content":[]}}').client.chat(model="m", messages=turns)
    sent: list[dict[str, Any]] = orjson.loads(CANNED.request)["messages"]
    return sent


def check_answer(body: bytes) -> None:
    """Raises pydantic's `ValidationError`, `AssertionError`."""
    check_chat_answer(body)
    answer, message = parse_answer(body), orjson.loads(body)["message"]
    assert [p.text if p.type == "text" else p.thinking for p in answer.message.content or ()] == [
        p.get("text", p.get("thinking")) for p in message.get("content", ())
    ]
    assert [c.id for c in answer.message.tool_calls or ()] == [c["id"] for c in message.get("tool_calls", ())]


def check_stream(raw: bytes) -> dict[str, Any] | None:
    """The whole answer that the SDK's events add up to, None for one that ends in an error. Raises as `check_answer` does."""
    parser = SSEParser()
    events = [*parser.feed(raw), *parser.close()]
    done = events[-1].data == b"[DONE]"
    for event in events[:-1] if done else events:
        check_event(event.data)
        assert event.event == orjson.loads(event.data)["type"]
    read = parse_stream(raw)
    assert len(read) == len(events) - done
    if not done:
        assert read[-1].type == "message-end"
        assert read[-1].delta.finish_reason in ("ERROR", "TIMEOUT")
        assert read[-1].delta.error
        return None
    return _folded(read)


def _folded(events: list[Any]) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    citations: list[Any] = []
    ended: set[tuple[str, int]] = set()
    out: dict[str, Any] = {"message": {"role": "assistant"}}
    assert events[0].type == "message-start"
    for event in events:
        kind = event.type
        assert "finish_reason" not in out
        if kind == "message-start":
            out["id"] = event.id
        elif kind == "content-start":
            assert event.index == len(content)
            part = event.delta.message.content
            content.append({"type": part.type, part.type: getattr(part, part.type)})
        elif kind == "content-delta":
            assert ("content", event.index) not in ended
            part = content[event.index]
            part[part["type"]] += getattr(event.delta.message.content, part["type"])
        elif kind == "tool-call-start":
            assert event.index == len(calls)
            calls.append(event.delta.message.tool_calls.model_dump(mode="json"))
        elif kind == "tool-call-delta":
            assert ("tool-call", event.index) not in ended
            calls[event.index]["function"]["arguments"] += event.delta.message.tool_calls.function.arguments
        elif kind in ("content-end", "tool-call-end"):
            ended.add((kind[:-4], event.index))
        elif kind == "citation-start":
            citations.append(event.delta.message.citations.model_dump(mode="json", exclude_none=True))
        elif kind == "message-end":
            out["finish_reason"] = event.delta.finish_reason
            if event.delta.usage is not None:
                out["usage"] = event.delta.usage.model_dump(mode="json")
    assert len(ended) == len(content) + len(calls), "something was begun and not ended"
    for name, value in (("content", content), ("tool_calls", calls), ("citations", citations)):
        if value:
            out["message"][name] = value
    return out
