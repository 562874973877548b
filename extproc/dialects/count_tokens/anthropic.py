"""Anthropic's `POST /v1/messages/count_tokens`: https://platform.claude.com/docs/en/api/messages-count-tokens.

On Vertex AI one path counts for every model, with the model's name in the body, as the SDK's `AnthropicVertex` has it.
"""

from __future__ import annotations

from typing import Any

import orjson

from extproc.core import jsonedit
from extproc.core.dialect import Ask, Dialect, Encoded, Facts
from extproc.core.ir import JSON
from extproc.core.losses import Losses
from extproc.dialects.count_tokens.counting import CountTokens, only

_COUNTED = ("anthropic_version", "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control")
_VERTEX_PATH = "/models/count-tokens:rawPredict"


class AnthropicCountTokens(CountTokens):
    """The `Dialect`, around Anthropic Messages; with `vertex`, around those in Vertex AI's envelope."""

    name = "anthropic_count_tokens"

    def __init__(self, chat: Dialect, *, vertex: bool = False) -> None:
        super().__init__(chat)
        self.exact_member = chat.exact_member
        self._vertex = vertex

    def wrapped(self, encoded: Encoded, facts: Facts, losses: Losses) -> Encoded:
        return self._sent(Encoded(only(encoded.body, _COUNTED), encoded.path, encoded.headers, losses), facts)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        return self._sent(self.chat.splice_request(raw, body, facts, ask), facts)

    def _sent(self, encoded: Encoded, facts: Facts) -> Encoded:
        if self._vertex:
            encoded.path = _VERTEX_PATH
            encoded.body = jsonedit.splice(encoded.body, {"model": orjson.dumps(facts.wire_model)})
        else:
            encoded.path += "/count_tokens"
        return encoded

    def count_of(self, answer: dict[str, Any]) -> object:
        return answer.get("input_tokens")

    def answer(self, tokens: int) -> dict[str, JSON]:
        return {"input_tokens": tokens}
