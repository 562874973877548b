"""Content blocks of requests and answers to canonical ones.

A block is an object with one member, which names its kind. A kind that the canonical form lacks (search results, S3 locations, server tools) becomes
`Foreign` and is replayed to this dialect whole; an unknown member of a known block is a loss. A cache point marks the block in front of it.
Source: `ContentBlock`, `ToolResultContentBlock` and `SystemContentBlock` of the service model.
"""

from __future__ import annotations

from typing import Any

from extproc.core import carrier
from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON, Audio, Block, Document, Foreign, Image, Source, Text, Thinking, ToolCall, ToolResult, Video
from extproc.core.losses import Losses
from extproc.core.raw_json import raw_json
from extproc.dialects.bedrock_converse.media import AUDIO, DOCUMENTS, IMAGES, VIDEOS
from extproc.dialects.bedrock_converse.wire import NAME, VENDOR, cache_mark, original_id, redacted_in

_KNOWN: dict[str, frozenset[str]] = {
    "image": frozenset({"format", "source"}),
    "video": frozenset({"format", "source"}),
    "audio": frozenset({"format", "source"}),
    "document": frozenset({"format", "name", "source", "context", "citations"}),
    "toolUse": frozenset({"toolUseId", "name", "input", "type"}),
    "toolResult": frozenset({"toolUseId", "content", "status", "type"}),
    "reasoningText": frozenset({"text", "signature"}),
    "citationsContent": frozenset({"content", "citations"}),
}
_MEDIA: dict[str, tuple[type[Image | Video | Audio], dict[str, str]]] = {"image": (Image, IMAGES), "video": (Video, VIDEOS), "audio": (Audio, AUDIO)}


def decode_content(content: JSON, where: str, losses: Losses) -> list[Block]:
    """A message's, system's or tool result's blocks. Raises `BadRequestError` for what is no list of objects."""
    if content is None:
        return []
    if not isinstance(content, list):
        raise BadRequestError("content must be a list of content blocks", param=where)
    blocks: list[Block] = []
    for place, raw in enumerate(content):
        if not isinstance(raw, dict):
            raise BadRequestError("a content block must be an object", param=f"{where}.{place}")
        if "cachePoint" in raw:
            last = blocks[-1] if blocks else None
            if last is None or isinstance(last, Thinking):
                losses.add("dropped:cache_control", "a cache point with nothing in front that can be marked")
            else:
                last.cache = cache_mark(raw["cachePoint"])
            continue
        blocks.append(decode_block(raw, f"{where}.{place}", losses))
    return blocks


def decode_block(raw: dict[str, JSON], where: str, losses: Losses) -> Block:
    """One block of a request or of an answer, no cache point."""
    if "text" in raw:
        return Text(_string(raw, "text", where))
    kind = next(iter(raw), "")
    inner = raw.get(kind)
    if kind == "json":
        return Text(raw_json(inner))
    if not isinstance(inner, dict):
        return Foreign(NAME, kind, raw)
    known = _KNOWN.get(kind)
    if known is not None:
        _unknown(inner, known, kind, losses)
    if kind == "toolUse":
        return _tool_use(raw, inner, where)
    if kind == "toolResult":
        return _tool_result(raw, inner, where, losses)
    if kind in _MEDIA:
        return _media(raw, kind, inner)
    if kind == "document":
        return _document(raw, inner, losses)
    if kind == "reasoningContent":
        return _reasoning(raw, inner, where, losses)
    if kind == "citationsContent":
        citations = inner.get("citations")
        text = "".join(piece["text"] for piece in _objects(inner.get("content")) if isinstance(piece.get("text"), str))
        cited = citations if isinstance(citations, list) and citations else None
        return Text(text, citations=cited, citations_from=NAME if cited else None)
    if kind == "guardContent":
        return _guarded(raw, inner, losses)
    return Foreign(NAME, kind, raw)


def _unknown(inner: dict[str, JSON], known: frozenset[str], kind: str, losses: Losses) -> None:
    for name in inner:
        if name not in known and inner[name] is not None:
            losses.member(name, kind)


def _objects(value: JSON) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _string(inner: dict[str, JSON], name: str, where: str) -> str:
    value = inner.get(name)
    if not isinstance(value, str):
        raise BadRequestError(f"{name} must be a string", param=f"{where}.{name}")
    return value


def _tool_use(raw: dict[str, JSON], inner: dict[str, JSON], where: str) -> Block:
    if inner.get("type") not in (None, "tool_use"):
        return Foreign(NAME, str(inner["type"]), raw)
    carried, sealed, _ = carrier.split(_string(inner, "toolUseId", f"{where}.toolUse"))
    given = inner.get("input")
    name = _string(inner, "name", f"{where}.toolUse")
    return ToolCall(original_id(carried), name, "" if given in (None, {}) else raw_json(given), sealed)


def _tool_result(raw: dict[str, JSON], inner: dict[str, JSON], where: str, losses: Losses) -> Block:
    if inner.get("type") not in (None, "tool_result"):
        return Foreign(NAME, str(inner["type"]), raw)
    carried, _, _ = carrier.split(_string(inner, "toolUseId", f"{where}.toolResult"))
    content = decode_content(inner.get("content"), f"{where}.toolResult.content", losses)
    return ToolResult(original_id(carried), content, is_error=inner.get("status") == "error")


def _bytes(source: JSON) -> str | None:
    data = source.get("bytes") if isinstance(source, dict) else None
    return data if isinstance(data, str) else None


def _named(formats: dict[str, str], stated: JSON) -> str | None:
    """The media type of a format; a format that AWS does not list may be a media type itself."""
    return formats.get(stated, stated if "/" in stated else None) if isinstance(stated, str) else None


def _media(raw: dict[str, JSON], kind: str, inner: dict[str, JSON]) -> Block:
    data = _bytes(inner.get("source"))
    if data is None:
        return Foreign(NAME, kind, raw)
    block, formats = _MEDIA[kind]
    return block(Source(_named(formats, inner.get("format")), data=data))


def _document(raw: dict[str, JSON], inner: dict[str, JSON], losses: Losses) -> Block:
    source = inner.get("source")
    media_type = _named(DOCUMENTS, inner.get("format"))
    data = _bytes(source)
    text = source.get("text") if isinstance(source, dict) else None
    pieces = source.get("content") if isinstance(source, dict) else None
    if data is not None:
        found = Source(media_type, data=data)
    elif isinstance(text, str):
        found = Source(media_type or "text/plain", text=text)
    elif pieces is not None and all(isinstance(piece.get("text"), str) for piece in _objects(pieces)):
        losses.add("coerced:document_content", "a document of content blocks became plain text")
        found = Source("text/plain", text="\n".join(piece["text"] for piece in _objects(pieces)))
    else:
        return Foreign(NAME, "document", raw)
    title, context, citations = inner.get("name"), inner.get("context"), inner.get("citations")
    return Document(
        found,
        title if isinstance(title, str) else None,
        context if isinstance(context, str) else None,
        isinstance(citations, dict) and citations.get("enabled") is True,
    )


def _reasoning(raw: dict[str, JSON], inner: dict[str, JSON], where: str, losses: Losses) -> Block:
    shown = inner.get("reasoningText")
    if isinstance(shown, dict):
        _unknown(shown, _KNOWN["reasoningText"], "reasoningText", losses)
        return Thinking(_string(shown, "text", f"{where}.reasoningText"), carrier.from_slot(shown.get("signature"), VENDOR))
    hidden = redacted_in(inner.get("redactedContent"))
    return Foreign(NAME, "reasoningContent", raw) if hidden is None else Thinking("", hidden, redacted=True)


def _guarded(raw: dict[str, JSON], inner: dict[str, JSON], losses: Losses) -> Block:
    """Text or an image that a guardrail looks at: it is part of the conversation like any other."""
    text, image = inner.get("text"), inner.get("image")
    if isinstance(text, dict) and isinstance(text.get("text"), str):
        losses.add("dropped:guard_content", "the mark of content that a guardrail looks at")
        return Text(text["text"])
    if isinstance(image, dict) and _bytes(image.get("source")) is not None:
        losses.add("dropped:guard_content", "the mark of content that a guardrail looks at")
        return _media(raw, "image", image)
    return Foreign(NAME, "guardContent", raw)
