"""The canonical conversation to a Gemini request, strictly valid for https://generativelanguage.googleapis.com/v1beta.

Rules of the API that shape this file: contents alternate between `user` and `model`; the results of a turn's function calls stand in the next
user turn, in the order of the calls and before anything else; a result needs the function's name; Gemini 3 refuses a step whose first function
call has no thought signature. Tool schemas go through raw in `parametersJsonSchema` (`parameters` takes only a subset of OpenAPI).
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any

import orjson

from extproc.core.dialect import Encoded, Facts
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.headers import is_safe_segment
from extproc.core.ir import (
    Audio,
    Block,
    Document,
    Foreign,
    Image,
    Message,
    Opaque,
    Refusal,
    Request,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
    plain_text,
    tool_names,
)
from extproc.core.losses import Losses
from extproc.dialects.gemini.config_encode import add_config
from extproc.dialects.gemini.signature import STAND_IN
from extproc.dialects.gemini.thinking import wants_signatures
from extproc.dialects.gemini.wire import NAME, arguments, function_name, is_synthetic, json_object, media_part, media_type_of

_USER, _ASSISTANT = Role.USER, Role.ASSISTANT  # a member looked up on its enumeration costs four times as much
_OPENING = "(The conversation starts with the assistant's message.)"
HEADERS = {"content-type": "application/json"}
_RESULT_MEDIA = ("image/", "application/pdf", "text/")
"""Media types that Gemini 3 takes inside a function response."""


def request_path(model: str, *, stream: bool, sse: bool = True) -> str:
    """Path for `model` (`gemini-2.5-flash`, `models/…` or `tunedModels/…`). Raises `UntranslatableError` if it could mean another resource."""
    collection, slash, name = model.rpartition("/")
    if (slash and collection not in ("models", "tunedModels")) or not is_safe_segment(name) or ":" in name:
        raise UntranslatableError("the model name cannot be part of a Gemini path", param="model")
    method = "streamGenerateContent" + ("?alt=sse" if sse else "") if stream else "generateContent"
    return f"/{collection or 'models'}/{name}:{method}"


def encode_request(request: Request, facts: Facts) -> Encoded:
    """Raises `UntranslatableError`, and `BadRequestError` for what the API would refuse with a 400."""
    losses = Losses()
    path = request_path(facts.model, stream=request.stream)
    system, turns = _Contents(request.messages, facts, losses, own=request.extra_from == NAME).encode()
    if not turns and system:
        turns = [{"role": "user", "parts": system}]
        system = []
        losses.add("coerced:system_position", "there is nothing but system text: sent as the user's turn")
    if not turns:
        raise BadRequestError("at least one message with content is required", param="messages")
    body: dict[str, Any] = {}
    if system:
        body["systemInstruction"] = {"parts": system}
    body["contents"] = turns
    add_config(body, request, facts, losses)
    try:
        raw = orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise UntranslatableError("the request is nested too deep", param="tools") from None
    return Encoded(raw, path, dict(HEADERS), losses)


class _Contents:
    def __init__(self, messages: list[Message], facts: Facts, losses: Losses, *, own: bool) -> None:
        self._messages = messages
        self._losses = losses
        self._vendor = facts.vendor
        self._own = own
        self._gemini3 = wants_signatures(facts.model)
        self._turns: list[dict[str, Any]] = []
        self._system: list[dict[str, Any]] = []
        # what only some turns have, by the turn's place: the ids of its calls, results and media that go in front of its other parts
        self._calls: dict[int, list[str]] = {}
        self._results: dict[int, list[tuple[str, dict[str, Any]]]] = {}
        self._media: dict[int, list[dict[str, Any]]] = {}

    def encode(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """(system parts, contents)."""
        for message in self._messages:
            if message.name is not None:
                self._losses.add("dropped:name", "messages have no participant name")
            if message.role is not _USER and message.role is not _ASSISTANT:
                self._add_system(message)
                continue
            role = "model" if message.role is _ASSISTANT else "user"
            text = plain_text(message.blocks)
            if text:
                # most messages of most histories, at half of what they cost below
                self._parts(role).append({"text": text})
                continue
            for block in message.blocks:
                self._add(block, role)
        self._check_pairs()
        opens = 0 in self._calls and not self._own
        if opens:
            # "function call turn comes immediately after a user turn", says the API with status 400
            self._losses.add("coerced:first_turn", "a user turn was put in front of the assistant's")
        if self._gemini3:
            self._stand_in_signatures()
        self._place_results()
        return self._system, [{"role": "user", "parts": [{"text": _OPENING}]}, *self._turns] if opens else self._turns

    def _check_pairs(self) -> None:
        """As many responses as calls, or the API answers 400."""
        for place, calls in self._calls.items():
            results = self._results.get(place + 1, [])
            if place + 1 < len(self._turns) and Counter(calls) != Counter(call_id for call_id, _ in results):
                raise BadRequestError("every tool call needs exactly one tool result right behind it", param="messages")

    def _place_results(self) -> None:
        """Results go first in their turn, in the order of their calls, and what belongs to them behind them."""
        for place in self._results.keys() | self._media.keys():
            order = {call_id: n for n, call_id in enumerate(self._calls.get(place - 1, []))}
            results = sorted(self._results.get(place, []), key=lambda result: order.get(result[0], len(order)))
            self._turns[place]["parts"][:0] = [part for _, part in results] + self._media.get(place, [])

    def _parts(self, role: str) -> list[dict[str, Any]]:
        """Where the next part of `role` goes."""
        if not self._turns or self._turns[-1]["role"] != role:
            self._turns.append({"role": role, "parts": []})
        parts: list[dict[str, Any]] = self._turns[-1]["parts"]
        return parts

    @cached_property
    def _names(self) -> dict[str, str]:
        return tool_names(self._messages)

    def _add_system(self, message: Message) -> None:
        # a system message in the middle keeps its authority and loses its place: as a user's text it would be the other way round
        if self._turns:
            self._losses.add("coerced:system_position", "system text in mid conversation was moved to the system instruction")
        for block in message.blocks:
            if not isinstance(block, Text):
                self._losses.add("dropped:system_content", "the system instruction takes text only")
            elif block.text:
                self._marks(block)
                self._system.append({"text": block.text})
            else:
                self._losses.add("dropped:empty_text", "an empty text block")

    def _marks(self, block: Block) -> None:
        if not isinstance(block, Thinking) and block.cache is not None:
            self._losses.add("dropped:cache_control", "Gemini caches by itself; marks have no place")
        if isinstance(block, Text) and block.citations:
            self._losses.add("dropped:citations", "citations in the history have no place")

    def _signed(self, part: dict[str, Any], opaque: Opaque | None) -> dict[str, Any]:
        if opaque is not None:
            if opaque.vendor == self._vendor:
                part["thoughtSignature"] = opaque.data
            else:
                self._losses.add("signature:foreign", "opaque reasoning of another vendor")
        return part

    def _add(self, block: Block, role: str) -> None:
        self._marks(block)
        if isinstance(block, Text):
            part = self._signed({"text": block.text}, block.opaque)
            if block.text or "thoughtSignature" in part:
                self._parts(role).append(part)
            else:
                self._losses.add("dropped:empty_text", "an empty text block")
        elif isinstance(block, ToolCall):
            self._add_call(block)
        elif isinstance(block, ToolResult):
            self._add_result(block)
        elif isinstance(block, Thinking):
            part = self._signed({"text": block.text, "thought": True}, block.opaque)
            if block.text or "thoughtSignature" in part:
                self._parts("model").append(part)
        elif isinstance(block, Refusal):
            self._losses.add("coerced:refusal", "a refusal in the history was sent as text")
            if block.text:
                self._parts(role).append({"text": block.text})
        elif isinstance(block, Foreign):
            if block.dialect != NAME:
                raise UntranslatableError(f"Gemini has no {block.kind} blocks", param="messages")
            self._parts(role).append(block.raw)
        else:
            self._add_media(block, self._parts(role))

    def _add_media(self, block: Image | Document | Audio | Video, parts: list[dict[str, Any]]) -> None:
        if isinstance(block, Image) and block.detail not in (None, "auto"):
            self._losses.add("dropped:image_detail", "images have no detail hint")
        if isinstance(block, Document):
            if block.context:
                parts.append({"text": block.context})
                self._losses.add("coerced:document_context", "a document's context was sent as text before it")
            if block.title:
                self._losses.add("dropped:document_title", "inline documents have no title")
            if block.citations:
                self._losses.add("dropped:document_citations", "citations cannot be asked for")
        parts.append(media_part(block, self._losses))

    def _add_call(self, block: ToolCall) -> None:
        call: dict[str, Any] = {"name": function_name(block.name), "args": arguments(block.arguments, self._losses)}
        if block.id and not is_synthetic(block.id):
            call["id"] = block.id
        self._parts("model").append(self._signed({"functionCall": call}, block.opaque))
        self._calls.setdefault(len(self._turns) - 1, []).append(block.id)

    def _add_result(self, block: ToolResult) -> None:
        texts: list[str] = []
        media: list[Image | Document | Audio | Video] = []
        for item in block.content:
            if isinstance(item, Text | Refusal):
                texts.append(item.text)
            elif isinstance(item, Image | Document | Audio | Video):
                media.append(item)
            else:
                raise UntranslatableError("Gemini tool results hold text and media only", param="messages")
        name = self._names.get(block.id) or block.name
        parts = self._parts("user")
        place = len(self._turns) - 1
        if not name:
            # Gemini refuses a response without its call; the text still belongs to the conversation
            self._losses.add("coerced:orphan_tool_result", "a tool result without its call was sent as text")
            parts.append({"text": "\n".join(texts) or "(empty tool result)"})
        else:
            response: dict[str, Any] = {"name": function_name(name), "response": _response(texts, block.is_error)}
            if block.id and not is_synthetic(block.id):
                response["id"] = block.id
            self._results.setdefault(place, []).append((block.id, {"functionResponse": response}))
        if media:
            self._add_result_media(media, place, named=bool(name))

    def _add_result_media(self, media: list[Image | Document | Audio | Video], place: int, *, named: bool) -> None:
        """Media of the result that was added last: inside it where the model takes them there, else beside it."""
        beside = self._media.setdefault(place, [])
        inside = [m for m in media if named and self._gemini3 and (media_type_of(m) or "").startswith(_RESULT_MEDIA)]
        if inside:
            parts: list[dict[str, Any]] = []
            for item in inside:
                self._add_media(item, parts)
            self._results[place][-1][1]["functionResponse"]["parts"] = [p for p in parts if "text" not in p]
            beside += [p for p in parts if "text" in p]
        for item in media:
            if not any(item is other for other in inside):
                self._losses.add("coerced:tool_result_media", "media of a tool result was sent beside it")
                self._add_media(item, beside)

    def _stand_in_signatures(self) -> None:
        # every step of the history, not only the current turn's that the API checks: a prefix that changes later would miss the cache
        for place in self._calls:
            first = next(part for part in self._turns[place]["parts"] if "functionCall" in part)
            if "thoughtSignature" not in first:
                first["thoughtSignature"] = STAND_IN
                self._losses.add("coerced:thought_signature", "function calls of another model carry Google's stand-in for a signature")


def _response(texts: list[str], is_error: bool) -> orjson.Fragment | dict[str, Any]:
    """The result as the object that Gemini wants: a JSON object as it is, anything else under `result`, errors under `error`."""
    only = texts[0] if len(texts) == 1 else None
    found = json_object(only) if only is not None else None
    if is_error:
        return {"error": found or "\n".join(texts)}
    if found is not None:
        return found
    return {"result": only if only is not None else texts or ""}
