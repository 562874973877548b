"""Content blocks both ways: text, images, documents, thinking, tool use and tool results.

The decoder takes what clients and providers really send: a block of a kind that the canonical form lacks becomes `Foreign` and is replayed to
this dialect whole; an unknown member of a known block is a loss. The encoder writes only what the published schema allows.
Source: https://platform.claude.com/docs/en/api/messages, the SDK's `ContentBlockParam` and `ContentBlock` types.
"""

from __future__ import annotations

import base64
import binascii

from extproc.core import carrier
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import JSON, Block, Document, Foreign, Image, Source, Text, Thinking, ToolCall, ToolResult
from extproc.core.losses import Losses
from extproc.core.raw_json import raw_json
from extproc.dialects.anthropic_messages.wire import NAME, cache_control, cache_mark, opaque, original_id, signature

_KNOWN: dict[str, frozenset[str]] = {
    "text": frozenset({"type", "text", "cache_control", "citations"}),
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
    "tool_use": frozenset({"type", "id", "name", "input", "cache_control"}),
    "tool_result": frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"}),
    "image": frozenset({"type", "source", "cache_control"}),
    "document": frozenset({"type", "source", "title", "context", "citations", "cache_control"}),
}
_DIRECT = {"type": "direct"}
"""`caller` of an ordinary tool call: it says nothing."""

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_MAGIC = (("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp"), ("JVBERi0", "application/pdf"))
"""How the base64 of each format begins, for sources that do not say what they are."""


def plain_text(content: JSON) -> str | None:
    """The text of content that is one text and nothing else, no mark, as most is. None for any other."""
    if type(content) is list and len(content) == 1:
        block = content[0]
        if type(block) is dict and len(block) == 2 and block.get("type") == "text":
            content = block.get("text")
    return content if type(content) is str else None


def decode_content(content: JSON, where: str, losses: Losses) -> list[Block]:
    """A message's or tool result's `content`. Raises `BadRequestError` for what is neither text nor a list of blocks."""
    if isinstance(content, str):
        return [Text(content)] if content else []
    if content is None:
        return []
    if not isinstance(content, list):
        raise BadRequestError("content must be a string or a list of content blocks", param=where)
    blocks: list[Block] = []
    for place, block in enumerate(content):
        if not isinstance(block, dict):
            raise BadRequestError("a content block must be an object", param=f"{where}.{place}")
        blocks.append(decode_block(block, f"{where}.{place}", losses))
    return blocks


def decode_block(block: dict[str, JSON], where: str, losses: Losses) -> Block:
    """One block of a request or of an answer."""
    kind = block.get("type")
    known = _KNOWN.get(kind) if isinstance(kind, str) else None
    if known is None:
        return Foreign(NAME, str(kind), block, cache_mark(block))
    for name in (m for m in block if m not in known):
        if block[name] is not None and not (name == "caller" and block[name] == _DIRECT):
            losses.member(name, str(kind))
    if kind == "text":
        citations = block.get("citations")
        cited = citations if isinstance(citations, list) and citations else None
        return Text(_string(block, "text", where), cache_mark(block), citations=cited, citations_from=NAME if cited else None)
    if kind == "tool_use":
        return _tool_use(block, where)
    if kind == "tool_result":
        return _tool_result(block, where, losses)
    if kind == "thinking":
        return Thinking(_string(block, "thinking", where), opaque(block.get("signature")))
    if kind == "redacted_thinking":
        return Thinking("", opaque(block.get("data")), redacted=True)
    if kind == "image":
        source = _source(block.get("source"), losses)
        return Foreign(NAME, "image", block, cache_mark(block)) if source is None else Image(source, cache=cache_mark(block))
    return _document(block, losses)


def _string(block: dict[str, JSON], name: str, where: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        raise BadRequestError(f"{name} must be a string", param=f"{where}.{name}")
    return value


def _tool_use(block: dict[str, JSON], where: str) -> ToolCall:
    carried, sealed, _ = carrier.split(_string(block, "id", where))
    given = block.get("input")
    return ToolCall(original_id(carried), _string(block, "name", where), "" if given in (None, {}) else raw_json(given), sealed, cache_mark(block))


def _tool_result(block: dict[str, JSON], where: str, losses: Losses) -> ToolResult:
    carried, _, _ = carrier.split(_string(block, "tool_use_id", where))
    return ToolResult(
        original_id(carried),
        decode_content(block.get("content"), f"{where}.content", losses),
        is_error=block.get("is_error") is True,
        cache=cache_mark(block),
    )


def _source(source: JSON, losses: Losses) -> Source | None:
    """A source of bytes; None for one of a kind that the canonical form lacks."""
    if not isinstance(source, dict):
        return None
    kind = source.get("type")
    data, url, file_id = source.get("data"), source.get("url"), source.get("file_id")
    media_type = source.get("media_type")
    if kind == "base64" and isinstance(data, str):
        return Source(media_type if isinstance(media_type, str) else None, data=data)
    if kind == "url" and isinstance(url, str):
        return Source(url=url)
    if kind == "file" and isinstance(file_id, str):
        return Source(file_id=file_id)
    if kind == "text" and isinstance(data, str):
        return Source("text/plain", text=data)
    if kind == "content":
        return _inline(source.get("content"), losses)
    return None


def _inline(content: JSON, losses: Losses) -> Source | None:
    """A document given as text or text blocks; with anything else in it, it stays foreign."""
    if isinstance(content, list) and all(isinstance(b, dict) and b.get("type") == "text" and isinstance(b.get("text"), str) for b in content):
        content = "\n".join(b["text"] for b in content)
    if not isinstance(content, str):
        return None
    losses.add("coerced:document_content", "a document of content blocks became plain text")
    return Source("text/plain", text=content)


def _document(block: dict[str, JSON], losses: Losses) -> Block:
    source = _source(block.get("source"), losses)
    if source is None:
        return Foreign(NAME, "document", block, cache_mark(block))
    title, context, citations = block.get("title"), block.get("context"), block.get("citations")
    return Document(
        source,
        title if isinstance(title, str) else None,
        context if isinstance(context, str) else None,
        isinstance(citations, dict) and citations.get("enabled") is True,
        cache_mark(block),
    )


def encode_text(text: str, cache: str | None) -> dict[str, JSON]:
    """A text block, with a cache mark behind it if `cache` is one."""
    block: dict[str, JSON] = {"type": "text", "text": text}
    if cache is not None:
        block["cache_control"] = cache_control(cache)
    return block


def encode_media(block: Image | Document, losses: Losses, *, own: bool) -> dict[str, JSON]:
    """An image or document of a request. `own`: it came from a client of this dialect, so a file id is this vendor's.

    Raises `UntranslatableError` for what the format has no word for.
    """
    if isinstance(block, Image):
        out: dict[str, JSON] = {"type": "image", "source": _image_source(block.source, own=own)}
        if block.detail not in (None, "auto"):
            losses.add("dropped:image_detail", "images have no detail hint")
    else:
        out = {"type": "document", "source": _document_source(block.source, own=own)}
        if block.title:
            out["title"] = block.title
        if block.context:
            out["context"] = block.context
        if block.citations:
            out["citations"] = {"enabled": True}
    if block.cache is not None:
        out["cache_control"] = cache_control(block.cache)
    return out


def _reference(source: Source, *, own: bool) -> dict[str, JSON] | None:
    """A source that is not bytes."""
    if source.url is not None:
        if source.url.startswith("data:"):
            raise BadRequestError("a data URL must hold base64", param="messages")
        if not source.url.startswith(("https://", "http://")):
            raise UntranslatableError("images and documents must be given inline or as an http(s) URL")
        return {"type": "url", "url": source.url}
    if source.file_id is not None:
        if not own:
            raise UntranslatableError("a file id is only known to the provider that issued it")
        return {"type": "file", "file_id": source.file_id}
    return None


def _image_source(source: Source, *, own: bool) -> dict[str, JSON]:
    reference = _reference(source, own=own)
    if reference is not None:
        return reference
    data = source.data or ""
    media_type = _media_type(source, data)
    if media_type not in IMAGE_TYPES:
        raise UntranslatableError(f"images of type {str(media_type)[:64]} are not supported: use JPEG, PNG, GIF or WebP")
    return {"type": "base64", "media_type": media_type, "data": data}


def _document_source(source: Source, *, own: bool) -> dict[str, JSON]:
    reference = _reference(source, own=own)
    if reference is not None:
        return reference
    if source.text is not None:
        return {"type": "text", "media_type": "text/plain", "data": source.text}
    data = source.data or ""
    media_type = _media_type(source, data)
    if media_type == "application/pdf":
        return {"type": "base64", "media_type": media_type, "data": data}
    if media_type and media_type.startswith("text/"):
        # only plain text has a slot, and it is not base64
        try:
            return {"type": "text", "media_type": "text/plain", "data": base64.b64decode(data, validate=True).decode()}
        except (binascii.Error, ValueError):
            raise UntranslatableError("a text document must be UTF-8 in base64") from None
    raise UntranslatableError(f"documents of type {str(media_type)[:64]} are not supported: use PDF or plain text")


def _media_type(source: Source, data: str) -> str | None:
    stated = source.media_type.partition(";")[0].strip().lower() if source.media_type else None
    if stated == "image/jpg":
        return "image/jpeg"
    if stated in (None, "application/octet-stream"):
        return next((media_type for magic, media_type in _MAGIC if data.startswith(magic)), stated)
    return stated


def encode_thinking(block: Thinking) -> dict[str, JSON]:
    """Thinking in an answer: every vendor's signature fits the native slot."""
    if block.redacted:
        return {"type": "redacted_thinking", "data": signature(block.opaque)}
    return {"type": "thinking", "thinking": block.text, "signature": signature(block.opaque)}
