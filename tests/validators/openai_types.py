"""The request types of the openai SDK as a strict validator of the Chat Completions bodies that we send.

The SDK drops members that are None before it sends, and OpenAI takes null there; its types say so only in part, so top-level nulls are dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import orjson
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming

from tests.validators.typed import strict_validator


@cache
def _validator(stream: bool) -> Callable[[bytes], None]:
    return strict_validator(CompletionCreateParamsStreaming if stream else CompletionCreateParamsNonStreaming)


def check_chat_request(body: bytes) -> None:
    """Raises `pydantic_core.ValidationError` for a body that the published types do not allow."""
    parsed = orjson.loads(body)
    _validator(parsed.get("stream") is True)(orjson.dumps({k: v for k, v in parsed.items() if v is not None}))
