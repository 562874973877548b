"""AWS Bedrock's `POST /model/{id}/count-tokens`: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html.

A Converse request under `input.converse`, or a model's own request as base64 under `input.invokeModel`, which only Bedrock can count.
"""

from __future__ import annotations

from typing import Any

from extproc.core import jsonedit
from extproc.core.dialect import NO_ASK, Ask, Dialect, Encoded, Facts, Need
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import JSON, Request
from extproc.core.losses import Losses
from extproc.dialects.count_tokens.counting import CountTokens, member_of, only

_COUNTED = ("messages", "system", "toolConfig", "additionalModelRequestFields")


class BedrockCountTokens(CountTokens):
    """The `Dialect`, around Bedrock Converse."""

    name = "bedrock_count_tokens"

    def __init__(self, chat: Dialect) -> None:
        super().__init__(chat)
        self.exact_member = "input" if chat.exact_member is not None else None

    def inner(self, body: JSON) -> JSON:
        given = body.get("input") if isinstance(body, dict) else None
        return given.get("converse") if isinstance(given, dict) else None

    def needs(self, body: JSON) -> frozenset[str]:
        return frozenset({Need.RAW_PROMPT}) if _is_raw(body) else super().needs(body)

    def decode_request(self, body: JSON, ask: Ask = NO_ASK) -> Request:
        if _is_raw(body):
            raise UntranslatableError("a model's own request can be counted by Bedrock only", param="input.invokeModel")
        if not isinstance(self.inner(body), dict):
            raise BadRequestError("`input` must hold `converse` or `invokeModel`", param="input")
        return super().decode_request(body, ask)

    def wrapped(self, encoded: Encoded, facts: Facts, losses: Losses) -> Encoded:  # noqa: ARG002 - the chat dialect names the model
        return Encoded(_wrapped(only(encoded.body, _COUNTED)), _path(encoded.path), encoded.headers, losses)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        inner = self.inner(body)
        given = member_of(raw, "input") if isinstance(inner, dict) else None
        converse = member_of(given, "converse") if given is not None else None
        if given is None or converse is None:
            encoded = self.chat.splice_request(b"{}", {}, facts, ask)
            encoded.body = raw
        else:
            encoded = self.chat.splice_request(converse, inner, facts, ask)
            if encoded.body != converse:
                encoded.body = jsonedit.splice(raw, {"input": jsonedit.splice(given, {"converse": encoded.body})})
            else:
                encoded.body = raw
        encoded.path = _path(encoded.path)
        return encoded

    def count_of(self, answer: dict[str, Any]) -> object:
        return answer.get("inputTokens")

    def answer(self, tokens: int) -> dict[str, JSON]:
        return {"inputTokens": tokens}


def _is_raw(body: JSON) -> bool:
    given = body.get("input") if isinstance(body, dict) else None
    return isinstance(given, dict) and given.get("invokeModel") is not None


def _path(chat_path: str) -> str:
    """From `/model/{id}/converse`."""
    return chat_path.rpartition("/")[0] + "/count-tokens"


def _wrapped(converse: bytes) -> bytes:
    return b'{"input":{"converse":%b}}' % converse
