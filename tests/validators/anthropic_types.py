"""The types of the anthropic SDK as strict validators of the Messages requests, answers and stream events that we write.

The SDK's types describe version 2026-10-21, which no longer has temperature, top_p and top_k. Version 2023-06-01 has them, with the ranges
that are checked here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import orjson
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming

from tests.validators.typed import strict_validator

_OLDER = {"temperature": (0, 1), "top_p": (0, 1), "top_k": (0, float("inf"))}


@cache
def _request(stream: bool) -> Callable[[bytes], None]:
    return strict_validator(MessageCreateParamsStreaming if stream else MessageCreateParamsNonStreaming)


@cache
def _message() -> Callable[[bytes], None]:
    return strict_validator(list[Message])  # of a model alone pydantic gives a schema that is not built yet


@cache
def _event() -> Callable[[bytes], None]:
    return strict_validator(RawMessageStreamEvent)


def check_messages_request(body: bytes) -> None:
    """Raises `pydantic_core.ValidationError` or `AssertionError` for a body that the published types do not allow."""
    parsed = orjson.loads(body)
    for name, (least, most) in _OLDER.items():
        value = parsed.pop(name, least)
        assert least <= value <= most, (name, value)
    _request(parsed.get("stream") is True)(orjson.dumps(parsed))


def check_message(body: bytes) -> None:
    """Raises `pydantic_core.ValidationError` for an answer that the published types do not allow."""
    _message()(b"[%b]" % body)


def check_event(data: bytes) -> None:
    """Raises `pydantic_core.ValidationError` for a stream event that the published types do not allow."""
    _event()(data)
