"""What vendors of Chat Completions get, judged by their own SDK where they have one, else by OpenAI's types and a list of what they have besides.

Mistral's SDK is open on purpose: it takes parts and words that it does not know. Strict mode closes its words, and the unknown parts are looked
for. Groq's types lack `stream_options`, which its API takes. For the others no types are published: the lists say what they document.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import Any

import orjson
from groq.types.chat.completion_create_params import CompletionCreateParams
from mistralai.client.models import ChatCompletionRequest
from mistralai.client.models.contentchunk import UnknownContentChunk
from pydantic import BaseModel, TypeAdapter
from pydantic_core import SchemaValidator

from tests.validators.openai_types import check_chat_request
from tests.validators.typed import strict_schema, strict_validator


@cache
def _mistral() -> SchemaValidator:
    return SchemaValidator(strict_schema(TypeAdapter(ChatCompletionRequest).core_schema), _use_prebuilt=False)


def check_mistral_request(body: bytes) -> None:
    """Raises `pydantic_core.ValidationError` or `AssertionError`."""
    request = _mistral().validate_json(body, strict=True)
    assert not list(_unknown(request)), "a content part that Mistral does not know"
    for message in orjson.loads(body)["messages"]:
        for call in message.get("tool_calls") or ():
            assert len(call["id"]) == 9
            assert call["id"].isalnum()
        assert message["role"] != "tool" or len(message["tool_call_id"]) == 9
    _check_order(orjson.loads(body)["messages"])


def _check_order(messages: list[Any]) -> None:
    """Recorded and documented 400s: a user's message behind a tool's, an assistant's at the end that does not say `prefix`."""
    roles = [message["role"] for message in messages]
    assert ("tool", "user") not in set(pairwise(roles))
    assert not roles or roles[-1] != "assistant" or messages[-1].get("prefix") or messages[-1].get("tool_calls")


def _unknown(node: Any) -> Any:
    if isinstance(node, UnknownContentChunk):
        yield node
    elif isinstance(node, BaseModel):
        for _, value in node:
            yield from _unknown(value)
    elif isinstance(node, list):
        for value in node:
            yield from _unknown(value)


@cache
def _groq() -> Callable[[bytes], None]:
    return strict_validator(CompletionCreateParams)


def check_groq_request(body: bytes) -> None:
    """Raises `pydantic_core.ValidationError` or `AssertionError`."""
    parsed = orjson.loads(body)
    parsed.pop("stream_options", None)
    _groq()(orjson.dumps(parsed))
    assert not parsed.keys() & {"logprobs", "top_logprobs", "logit_bias"}, "documented 400s"
    assert parsed.get("n", 1) == 1
    assert not any("name" in message for message in parsed["messages"])


_EXTRA: dict[str, tuple[set[str], set[str], set[str]]] = {
    # (members of the request, members of assistant messages, types of parts) that the vendor has and OpenAI has not
    "deepseek": ({"thinking"}, {"reasoning_content"}, set()),
    "openrouter": ({"reasoning", "top_k"}, {"reasoning_details"}, {"video_url"}),
    "xai": (set(), {"reasoning_content"}, set()),
    "perplexity": ({"top_k"}, set(), set()),
    "cerebras": (set(), {"reasoning"}, set()),
    "gemini-openai": (set(), set(), set()),
    "vllm": ({"top_k"}, {"reasoning_content"}, {"video_url"}),
}
_REFUSED: dict[str, set[str]] = {
    "deepseek": {"max_completion_tokens", "seed", "logit_bias", "user", "parallel_tool_calls"},
    "openrouter": {"max_completion_tokens"},
    "xai": {"logit_bias"},
    "perplexity": {"tools", "stream_options", "stop", "seed", "logprobs", "top_logprobs", "logit_bias", "user", "parallel_tool_calls"},
    "cerebras": {"logit_bias"},
    "gemini-openai": {"logit_bias", "seed", "user", "logprobs", "top_logprobs", "store", "metadata", "service_tier"},
    "vllm": {"max_completion_tokens"},
}
_ONE_ANSWER = {"deepseek", "perplexity", "cerebras"}


def check_listed_request(vendor: str, body: bytes) -> None:
    """Raises `pydantic_core.ValidationError` or `AssertionError`."""
    parsed = orjson.loads(body)
    top, assistant, parts = _EXTRA[vendor]
    assert not parsed.keys() & _REFUSED[vendor]
    assert vendor not in _ONE_ANSWER or parsed.get("n", 1) == 1
    for name in top:
        parsed.pop(name, None)
    if vendor == "deepseek" and parsed.get("reasoning_effort") == "max":
        parsed["reasoning_effort"] = "high"
    for message in parsed["messages"]:
        for name in assistant if message["role"] == "assistant" else ():
            message.pop(name, None)
        if vendor in ("openrouter", "gemini-openai"):
            _without_slots(message)
        if isinstance(message.get("content"), list):
            message["content"] = [part for part in message["content"] if part["type"] not in parts]
    check_chat_request(orjson.dumps(parsed))


def _without_slots(message: dict[str, Any]) -> None:
    for part in message["content"] if isinstance(message.get("content"), list) else ():
        part.pop("cache_control", None)
    for call in message.get("tool_calls") or ():
        call.pop("extra_content", None)


VENDORS: dict[str, Callable[[bytes], None]] = {
    "mistral": check_mistral_request,
    "groq": check_groq_request,
    **{vendor: partial(check_listed_request, vendor) for vendor in _EXTRA},
}
"""By the kind of the provider."""
