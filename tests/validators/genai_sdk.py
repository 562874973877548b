"""What Gemini clients get, read by google-genai itself: its client over a transport that answers with given bytes, its types, its chat sessions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import httpx
import orjson
from google import genai
from google.genai import errors, types

from tests.validators.gemini_discovery import check_answer

Answer = Callable[[httpx.Request], httpx.Response]


def client(answer: Answer) -> genai.Client:
    """The SDK's own client; `answer` is the server."""
    transport = httpx.Client(transport=httpx.MockTransport(answer))
    options = types.HttpOptions(base_url="http://llm.internal", httpx_client=transport)
    return genai.Client(api_key="unused", http_options=options)


_QUESTION: Any = "q"


class _Canned:
    """One client for all answers: making one costs more than reading one."""

    body = b""
    status = 200
    request = b""

    @functools.cached_property
    def client(self) -> genai.Client:
        return client(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.request = request.content
        return httpx.Response(self.status, content=self.body, headers={"content-type": "text/event-stream"})


_CANNED = _Canned()


def parse_answer(body: bytes, status: int = 200) -> types.GenerateContentResponse:
    """As `generate_content` gives it. Raises `errors.APIError` and pydantic's `ValidationError`."""
    _CANNED.body, _CANNED.status = body, status
    return _CANNED.client.models.generate_content(model="m", contents=_QUESTION)


def parse_stream(raw: bytes) -> list[types.GenerateContentResponse]:
    """As `generate_content_stream` gives it. Raises as `parse_answer` does."""
    _CANNED.body, _CANNED.status = raw, 200
    return list(_CANNED.client.models.generate_content_stream(model="m", contents=_QUESTION))


def next_request(body: bytes, ask: str) -> bytes:
    """What the client sends when it goes on with a tool loop: the answer as the SDK keeps it, and a result without an id for every call."""
    answer = parse_answer(body).candidates
    assert answer
    content = answer[0].content
    assert content is not None
    calls = [part.function_call for part in content.parts or () if part.function_call is not None]
    results = [types.Part.from_function_response(name=call.name or "", response={"result": f"result {n}"}) for n, call in enumerate(calls)]
    _CANNED.body = b"{}"
    turns: Any = [types.UserContent(ask), content, types.UserContent(list(results))]
    _CANNED.client.models.generate_content(model="m", contents=turns)
    return _CANNED.request


def check_gemini_answer(body: bytes) -> None:
    """Raises `AssertionError`, pydantic's `ValidationError`."""
    check_answer(orjson.loads(body))
    answer = parse_answer(body)
    assert answer.candidates or answer.prompt_feedback
    for candidate in answer.candidates or ():
        assert candidate.content is not None
        assert candidate.finish_reason is not None
        for part in candidate.content.parts or ():
            assert part.function_call is None or part.function_call.name


def check_gemini_stream(raw: bytes) -> dict[str, Any] | None:
    """The whole answer: the last chunk with the parts of all, text and thoughts joined; None for one that ends in an error."""
    try:
        chunks = parse_stream(raw)
    except errors.APIError as error:
        return None if error.message else {}
    for line in raw.split(b"\n\n")[:-1]:
        check_answer(orjson.loads(line.removeprefix(b"data: ")))
    last = chunks[-1]
    assert last.prompt_feedback or (last.candidates and last.candidates[0].finish_reason is not None)
    assert not any(c.finish_reason for chunk in chunks[:-1] for c in chunk.candidates or ())
    folded = orjson.loads(last.model_dump_json(by_alias=True, exclude_none=True, exclude={"sdk_http_response"}))
    parts: list[dict[str, Any]] = []
    for chunk in chunks:
        for candidate in (chunk.candidates or ())[:1]:
            assert candidate.content is not None
            for part in candidate.content.parts or ():
                _add(parts, orjson.loads(part.model_dump_json(by_alias=True, exclude_none=True)))
    if "candidates" in folded:
        folded["candidates"][0]["content"] = {"role": "model", "parts": parts}
    return folded  # type: ignore[no-any-return]


def _add(parts: list[dict[str, Any]], part: dict[str, Any]) -> None:
    before = parts[-1] if parts else {}
    if "text" in part and "text" in before and part.get("thought") == before.get("thought") and "thoughtSignature" not in before:
        before |= part | {"text": before["text"] + part["text"]}
    elif part != {"text": ""}:
        parts.append(part)
