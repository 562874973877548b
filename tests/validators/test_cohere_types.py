"""The validator must be able to say no: without that it would prove nothing."""

import copy
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from pydantic_core import ValidationError

from tests.validators.cohere_types import check_chat_answer, check_chat_request, check_event, check_rerank_answer, check_rerank_request

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"at": "all"}}, "required": ["a"]}}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
GOOD: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u", "detail": "low"}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t"}], "tool_plan": "p", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "document", "document": {"data": {"any": 1}}}]},
    ],
    "tools": [TOOL],
    "strict_tools": True,
    "tool_choice": "REQUIRED",
    "thinking": {"type": "enabled", "token_budget": 1},
    "temperature": 1,
    "p": 0.5,
    "stop_sequences": ["a"],
    "stream": True,
}


def test_takes_a_good_request() -> None:
    check_chat_request(orjson.dumps(GOOD))
    plain = {"model": "m", "messages": GOOD["messages"][:2], "documents": ["d", {"data": {}}]}
    check_chat_request(orjson.dumps(plain))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.update(unknown=1),
        lambda d: d.update(max_tokens="1"),
        lambda d: d.update(temperature=1.1),
        lambda d: d.update(p=1),
        lambda d: d.update(k=501),
        lambda d: d.update(seed=-1),
        lambda d: d.update(stop_sequences=[1]),
        lambda d: d.update(stop_sequences=list("abcdef")),
        lambda d: d.update(tool_choice="AUTO"),
        lambda d: d.update(safety_mode="LOOSE"),
        lambda d: d.update(response_format={"type": "json_object"}),
        lambda d: d.update(frequency_penalty=0.5, presence_penalty=0.5),
        lambda d: d.pop("tools"),
        lambda d: d.pop("model"),
        lambda d: d["thinking"].update(token_budget=0),
        lambda d: d["messages"][0].update(unknown=1),
        lambda d: d["messages"][0].update(role="developer"),
        lambda d: d["messages"][0].update(content=[{"type": "image_url", "image_url": {"url": "u"}}]),
        lambda d: d["messages"][1].update(content=""),
        lambda d: d["messages"][1]["content"][0].update(unknown=1),
        lambda d: d["messages"][1]["content"][1]["image_url"].update(detail="original"),
        lambda d: d["messages"][2]["tool_calls"][0]["function"].update(arguments={}),
        lambda d: d["messages"][3].update(tool_call_id="d"),
        lambda d: d["messages"].pop(),
        lambda d: d["tools"][0]["function"].update(strict=True),
        lambda d: d["tools"][0]["function"].update(name="a-b"),
        lambda d: d["tools"][0]["function"].pop("parameters"),
        lambda d: d["tools"][0]["function"]["parameters"].pop("required"),
    ],
)
def test_refuses_a_spoilt_one(spoil: Callable[[dict[str, Any]], object]) -> None:
    body = copy.deepcopy(GOOD)
    spoil(body)
    with pytest.raises((ValidationError, AssertionError, KeyError)):
        check_chat_request(orjson.dumps(body))


def test_refuses_spoilt_answers() -> None:
    usage = {"tokens": {"input_tokens": 1, "output_tokens": 1, "reasoning_tokens": 1}}
    good: dict[str, Any] = {"id": "i", "finish_reason": "COMPLETE", "message": {"role": "assistant", "content": []}, "usage": usage}
    check_chat_answer(orjson.dumps(good))
    spoilt = ({"finish_reason": "DONE"}, {"model": "m"}, {"message": {"role": "assistant", "content": "text"}}, {"finish_reason": "TOOL_CALL"})
    for change in spoilt:
        with pytest.raises((ValidationError, AssertionError)):
            check_chat_answer(orjson.dumps(good | change))
    check_event(b'{"type":"content-end","index":0}')
    for event in (b'{"type":"content-ended","index":0}', b'{"type":"content-end","index":"0"}', b'{"type":"content-end","index":0,"more":1}'):
        with pytest.raises(ValidationError):
            check_event(event)


def test_refuses_spoilt_reranks() -> None:
    good = {"model": "m", "query": "q", "documents": ["d"], "top_n": 1}
    check_rerank_request(orjson.dumps(good), first=False)
    check_rerank_request(orjson.dumps(good | {"documents": [{"text": "d"}], "rank_fields": ["text"]}), first=True)
    for change in ({"documents": [{"text": "d"}]}, {"return_documents": True}, {"top_n": 0}):
        with pytest.raises((ValidationError, AssertionError)):
            check_rerank_request(orjson.dumps(good | change), first=False)
    result = {"index": 0, "relevance_score": 0.5}
    check_rerank_answer(orjson.dumps({"results": [result | {"document": {"text": "d"}}], "model": "m"}), first=True)
    with pytest.raises(ValidationError):
        check_rerank_answer(orjson.dumps({"results": [result | {"document": {"text": "d"}}]}), first=False)
