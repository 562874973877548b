"""What the counting APIs of all vendors have in common.

Each counts what a chat request of its vendor would cost to read: the same messages, tools and settings, in a wrapping of its own and without
what only concerns the answer. So a counting dialect stands on the chat dialect of the same vendor, which it is given: that reads and writes the
conversation, and this adds and takes off the wrapping. The canonical request is the chat request, the answer a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from extproc.core import jsonedit
from extproc.core.dialect import NO_ASK, Ask, Dialect, Encoded, Facts, Need, Reply
from extproc.core.errors import UpstreamFormatError
from extproc.core.ir import JSON, FinishReason, Loss, Request
from extproc.core.losses import Losses
from extproc.core.operation import Operation
from extproc.core.unstreamed import Unstreamed
from extproc.core.usage import Usage

_OF_ANSWERS = frozenset({Need.CHOICES, Need.OUTPUT_AUDIO, Need.OUTPUT_IMAGE})
"""Needs that only the answer would have."""


@dataclass(slots=True)
class TokenCount:
    """The answer: `usage.input_tokens`, with what is cached. Nothing was generated, so there is neither an id nor an end."""

    usage: Usage
    id: str = ""
    model: str = ""
    finish: FinishReason | None = None
    losses: list[Loss] = field(default_factory=list)


class CountTokens(Unstreamed):
    """The members of a `Dialect` that all of them share. A subclass says how its vendor wraps request and answer."""

    operation = Operation.COUNT_TOKENS
    name: str

    def __init__(self, chat: Dialect) -> None:
        super().__init__(chat)
        self.chat = chat
        self.carries = chat.carries

    # the wrapping

    def inner(self, body: JSON) -> JSON:
        """The chat request inside a client's counting request. Total."""
        return body

    def wrapped(self, encoded: Encoded, facts: Facts, losses: Losses) -> Encoded:
        """The counting request for what the chat dialect encoded."""
        raise NotImplementedError

    def count_of(self, answer: dict[str, Any]) -> object:
        """The number in a provider's answer."""
        raise NotImplementedError

    def answer(self, tokens: int) -> dict[str, JSON]:
        """A client's answer."""
        raise NotImplementedError

    # the dialect

    def needs(self, body: JSON) -> frozenset[str]:
        return self.chat.needs(self.inner(body)) - _OF_ANSWERS

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> Request:
        request: Request = self.chat.decode_request(self.inner(body), ask)
        _leave_out_the_answer(request)
        return request

    def encode_request(self, request: Request, facts: Facts) -> Encoded:
        encoded = self.chat.encode_request(request, facts)
        losses = Losses()
        # a limit that the chat format requires is not sent here
        losses.extend(loss for loss in encoded.losses if loss.code != "defaulted:max_tokens")
        return self.wrapped(encoded, facts, losses)

    def decode_response(self, body: bytes) -> TokenCount:
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise UpstreamFormatError("the provider's answer is not JSON") from None
        if not isinstance(answer, dict):
            raise UpstreamFormatError("the provider's answer is not an object")
        tokens = self.count_of(answer)
        if type(tokens) is int and tokens >= 0:
            return TokenCount(Usage(input_tokens=tokens))
        if answer.keys() & {"error", "message"}:
            raise self.decode_error(200, {}, body)
        raise UpstreamFormatError("the provider's answer has no token count")

    def encode_response(self, response: TokenCount, reply: Reply) -> tuple[bytes, list[Loss]]:  # noqa: ARG002 - a number has neither id nor model
        return orjson.dumps(self.answer(response.usage.input_tokens)), []


def _leave_out_the_answer(request: Request) -> None:
    """Settings of the answer do not count, and no counting API takes them: they are no losses either."""
    request.stream = request.include_usage = False
    request.max_tokens = request.temperature = request.top_p = request.top_k = None
    request.stop = []
    request.knobs = {}


def only(raw: bytes, members: Iterable[str]) -> bytes:
    """The JSON object `raw` with no other than these members, each byte for byte."""
    layout = jsonedit.scan(raw)
    return jsonedit.splice(raw, dict.fromkeys(layout.members.keys() - set(members)), layout)


def member_of(raw: bytes, name: str) -> bytes | None:
    """The raw value of a member of the JSON object `raw`."""
    place = jsonedit.scan(raw).members.get(name)
    return None if place is None else raw[place.start : place.end]
