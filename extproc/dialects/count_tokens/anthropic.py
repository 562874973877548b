"""Anthropic's `POST /v1/messages/count_tokens`: https://platform.claude.com/docs/en/api/messages-count-tokens.

On Vertex AI one path counts for every model, and the version stands in the body, as in the SDK's `AnthropicVertex`.
"""

from __future__ import annotations

from typing import Any

from extproc.core import jsonedit
from extproc.core.dialect import Ask, Dialect, Encoded, Facts
from extproc.core.ir import JSON
from extproc.core.losses import Losses
from extproc.core.unstreamed import ErrorFormat
from extproc.dialects.count_tokens.counting import CountTokens, only

_COUNTED = ("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control")
_VERTEX_PATH = "/models/count-tokens:rawPredict"
_VERTEX_VERSION = b'"vertex-2023-10-16"'


class AnthropicCountTokens(CountTokens):
    """The `Dialect`, around Anthropic Messages. `vertex` is how Vertex AI says errors, where requests go there."""

    name = "anthropic_count_tokens"

    def __init__(self, chat: Dialect, *, vertex: ErrorFormat | None = None) -> None:
        super().__init__(chat, vertex)
        self.exact_member = chat.exact_member
        self._vertex = vertex is not None

    def wrapped(self, encoded: Encoded, facts: Facts, losses: Losses) -> Encoded:  # noqa: ARG002 - the chat dialect names the model
        return self._sent(Encoded(only(encoded.body, _COUNTED), encoded.path, encoded.headers, losses))

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        return self._sent(self.chat.splice_request(raw, body, facts, ask))

    def _sent(self, encoded: Encoded) -> Encoded:
        if not self._vertex:
            encoded.path += "/count_tokens"
            return encoded
        encoded.path = _VERTEX_PATH
        encoded.headers.pop("anthropic-version", None)
        encoded.body = jsonedit.splice(encoded.body, {"anthropic_version": _VERTEX_VERSION})
        return encoded

    def count_of(self, answer: dict[str, Any]) -> object:
        return answer.get("input_tokens")

    def answer(self, tokens: int) -> dict[str, JSON]:
        return {"input_tokens": tokens}
