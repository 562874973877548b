"""OpenAI's `POST /v1/responses/input_tokens`: https://platform.openai.com/docs/api-reference/responses/input-tokens."""

from __future__ import annotations

from typing import Any

from extproc.core.dialect import Ask, Dialect, Encoded, Facts
from extproc.core.ir import JSON
from extproc.core.losses import Losses
from extproc.dialects.count_tokens.counting import CountTokens, only

_COUNTED = (
    *("model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text", "truncation"),
    *("conversation", "previous_response_id", "personality"),
)


class OpenAICountTokens(CountTokens):
    """The `Dialect`, around OpenAI Responses."""

    name = "openai_count_tokens"

    def __init__(self, chat: Dialect) -> None:
        super().__init__(chat)
        self.exact_member = chat.exact_member

    def wrapped(self, encoded: Encoded, facts: Facts, losses: Losses) -> Encoded:  # noqa: ARG002 - the chat dialect names the model
        return Encoded(only(encoded.body, _COUNTED), f"{encoded.path}/input_tokens", encoded.headers, losses)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        encoded = self.chat.splice_request(raw, body, facts, ask)
        encoded.path += "/input_tokens"
        return encoded

    def count_of(self, answer: dict[str, Any]) -> object:
        return answer.get("input_tokens")

    def answer(self, tokens: int) -> dict[str, JSON]:
        return {"object": "response.input_tokens", "input_tokens": tokens}
