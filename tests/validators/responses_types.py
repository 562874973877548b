"""The types of the openai SDK as strict validators of the Responses requests, answers and stream events that we write.

One member of a stream's `error` event is no part of its type: OpenAI's error object, which is what makes the SDK raise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import orjson
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming, ResponseCreateParamsStreaming
from pydantic import TypeAdapter

from extproc.core.framing import SSEParser
from tests.validators.typed import strict_validator


@cache
def _request(stream: bool) -> Callable[[bytes], None]:
    return strict_validator(ResponseCreateParamsStreaming if stream else ResponseCreateParamsNonStreaming)


@cache
def _answer() -> Callable[[bytes], None]:
    return strict_validator(list[Response])  # of a model alone pydantic gives a schema that is not built yet


@cache
def _event() -> Callable[[bytes], None]:
    return strict_validator(ResponseStreamEvent)


@cache
def _parsed() -> TypeAdapter[Any]:
    return TypeAdapter(ResponseStreamEvent)


def check_responses_request(body: bytes) -> None:
    """Raises `pydantic_core.ValidationError` or `AssertionError` for a body that the published types, or the API, do not allow."""
    parsed = orjson.loads(body)
    _request(parsed.get("stream") is True)(body)
    items = parsed["input"]
    for item, following in zip(items, [*items[1:], {}], strict=True):
        if item.get("type") == "reasoning":
            assert following.get("type") in {"reasoning", "function_call", "message"} or following.get("role") == "assistant"
    assert all(len(item.get("call_id", "")) <= 64 for item in items)


def check_responses_answer(body: bytes) -> None:
    """Raises `pydantic_core.ValidationError` or `AssertionError` for an answer that the published types do not allow."""
    _answer()(b"[%b]" % body)
    parsed = orjson.loads(body)
    usage = parsed["usage"]
    assert usage is None or "cache_write_tokens" in usage["input_tokens_details"]
    ids = [item["id"] for item in parsed["output"]]
    assert len(set(ids)) == len(ids)
    assert (parsed["status"] == "incomplete") == (parsed["incomplete_details"] is not None)


def check_responses_stream(raw: bytes) -> dict[str, Any] | None:
    """The whole answer as the SDK folds it, None for one that ends in an error. Raises `ValidationError` or `AssertionError`."""
    parser = SSEParser()
    pieces = [(event.event, event.data) for event in (*parser.feed(raw), *parser.close())]
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    open_items: dict[int, dict[str, Any]] = {}
    folded: dict[str, Any] = {}
    for number, (name, data) in enumerate(pieces):
        said = orjson.loads(data)
        assert said["type"] == name
        if name == "error":
            assert said.pop("error")["message"]
            _event()(orjson.dumps(said))
            assert number == len(pieces) - 1
            return None
        _event()(data)
        assert said["sequence_number"] == number
        state.handle_event(_parsed().validate_python(said))
        _follow(said, open_items)
        folded = said.get("response", folded)
    assert pieces[-1][0] in ("response.completed", "response.incomplete")
    check_responses_answer(orjson.dumps(folded))
    assert [open_items[place]["done"] for place in range(len(open_items))] == folded["output"]
    return folded


def _follow(said: dict[str, Any], items: dict[int, dict[str, Any]]) -> None:
    """Items are added in order, and done once, with exactly what their deltas said."""
    kind, place = said["type"], said.get("output_index")
    if place is None:
        return
    if kind == "response.output_item.added":
        assert place == len(items)
        items[place] = {"id": said["item"]["id"], "text": {}}
    elif kind == "response.output_item.done":
        item, known = said["item"], items[place]
        assert "done" not in known
        assert item["id"] == known["id"]
        known["done"] = item
        parts = {"message": item.get("content"), "reasoning": item.get("summary")}.get(item["type"]) or []
        texts = [part.get("text", part.get("refusal")) for part in parts]
        texts += [item[name] for name in ("arguments", "input") if name in item]
        if known["text"]:
            assert ["".join(known["text"][part]) for part in sorted(known["text"])] == texts
    else:
        assert said["item_id"] == items[place]["id"]
        if kind.endswith(".delta"):
            items[place]["text"].setdefault(said.get("content_index", said.get("summary_index", 0)), []).append(said["delta"])
