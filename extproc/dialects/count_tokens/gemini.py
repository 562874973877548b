"""Gemini's `POST /models/{model}:countTokens`: https://ai.google.dev/api/tokens.

A request has two forms: bare `contents`, or a whole request under `generateContentRequest`, with the model's name repeated in it. Vertex AI has
one, with some members of a whole request beside `contents`. Clients speak any of them; each target gets the one that it takes.
"""

from __future__ import annotations

from typing import Any

import orjson

from extproc.core import jsonedit
from extproc.core.dialect import Ask, Dialect, Encoded, Facts
from extproc.core.ir import JSON
from extproc.core.losses import Losses
from extproc.dialects.count_tokens.counting import CountTokens, member_of, only

_WHOLE = ("generateContentRequest", "generate_content_request")
_VERTEX = ("contents", "systemInstruction", "system_instruction", "tools", "generationConfig", "generation_config")
_BARE = frozenset({"contents", "model"})


class GeminiCountTokens(CountTokens):
    """The `Dialect`, around Gemini. `vertex`: as Vertex AI takes it."""

    name = "gemini_count_tokens"

    def __init__(self, chat: Dialect, *, vertex: bool = False) -> None:
        super().__init__(chat)
        self.exact_member = chat.exact_member
        self._vertex = vertex

    def inner(self, body: JSON) -> JSON:
        if isinstance(body, dict):
            return next((body[name] for name in _WHOLE if isinstance(body.get(name), dict)), body)
        return body

    def wrapped(self, encoded: Encoded, facts: Facts, losses: Losses) -> Encoded:  # noqa: ARG002 - the chat dialect names the model
        path, model = _path(encoded.path)
        return Encoded(self._form(encoded.body, model, losses), path, encoded.headers, losses)

    def splice_request(self, raw: bytes, body: JSON, facts: Facts, ask: Ask) -> Encoded:
        encoded = self.chat.splice_request(raw, body, facts, ask)
        losses = Losses(encoded.losses)
        path, model = _path(encoded.path)
        request = encoded.body
        whole = next((name for name in _WHOLE if isinstance(body.get(name), dict)), None)
        if whole is not None:
            inside = member_of(request, whole) or b"{}"
            request = self._form(inside, model, losses) if self._vertex else jsonedit.splice(request, {whole: _named(inside, model)})
        elif self._vertex or not body.keys() <= _BARE:
            request = self._form(request, model, losses)
        else:
            request = only(request, ("contents",))
        return Encoded(request, path, encoded.headers, losses)

    def _form(self, request: bytes, model: str, losses: Losses) -> bytes:
        """A whole request in the form that the target takes."""
        if not self._vertex:
            return b'{"generateContentRequest":%b}' % _named(request, model)
        for name in jsonedit.scan(request).members.keys() - {*_VERTEX, "model"}:
            losses.member(name, "")
        return only(request, _VERTEX)

    def count_of(self, answer: dict[str, Any]) -> object:
        return answer.get("totalTokens")

    def answer(self, tokens: int) -> dict[str, JSON]:
        return {"totalTokens": tokens}


def _path(chat_path: str) -> tuple[str, str]:
    """(path, the model's resource name) from the path of the chat request: `/models/{model}:generateContent`."""
    resource = chat_path.rpartition(":")[0]
    return f"{resource}:countTokens", resource.removeprefix("/")


def _named(request: bytes, model: str) -> bytes:
    return jsonedit.splice(request, {"model": orjson.dumps(model)})
