"""Content parts of messages and tool results, both ways: text, images, files.

Reference: https://platform.openai.com/docs/api-reference/responses/create, `input[].content`.
"""

from __future__ import annotations

from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import JSON, Audio, Block, Document, Foreign, Image, Refusal, Source, Text
from extproc.core.losses import Losses
from extproc.dialects.openai_responses.wire import NAME

_TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")
PLAIN = frozenset({*_TEXTS, "refusal"})
"""Parts that every dialect has."""

_MARKS = frozenset({"type", "prompt_cache_breakpoint"})
_KNOWN = {
    **dict.fromkeys(_TEXTS, _MARKS | {"text", "annotations", "logprobs"}),
    "refusal": _MARKS | {"refusal"},
    "input_image": _MARKS | {"image_url", "file_id", "detail"},
    "input_file": _MARKS | {"file_data", "file_id", "file_url", "filename"},
    "input_audio": _MARKS | {"input_audio"},
}
_FILE_NAMES = {"application/pdf": "document.pdf", "text/plain": "document.txt", "text/markdown": "document.md", "text/csv": "document.csv"}


def data_url(url: str) -> Source:
    """A data URL as base64 and its media type; any other URL as it is."""
    head, comma, data = url.partition(",") if url.startswith("data:") else ("", "", "")
    media_type, _, coding = head[5:].partition(";")
    if not comma or "base64" not in coding:
        return Source(url=url)
    return Source(media_type=media_type or None, data=data)


def decode_content(content: JSON, where: str, losses: Losses) -> list[Block]:
    """Blocks of a message's `content` or of a tool's `output`. Raises `BadRequestError`."""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        raise BadRequestError("content must be a string or a list of parts", param=where)
    return [_part(part, f"{where}[{i}]", losses) for i, part in enumerate(content)]


def _part(part: JSON, where: str, losses: Losses) -> Block:
    if isinstance(part, str):
        return Text(part)
    if not isinstance(part, dict):
        raise BadRequestError("a content part must be an object", param=where)
    kind = part.get("type")
    known = _KNOWN.get(kind) if isinstance(kind, str) else None
    if known is None:
        return Foreign(NAME, str(kind), part)
    if len(part) > 2:
        losses.unknown("content", part, known)
    cache = "default" if isinstance(part.get("prompt_cache_breakpoint"), dict) else None
    match kind:
        case "refusal":
            return Refusal(_string(part, "refusal", where), cache)
        case "input_image":
            return _image(part, where, cache)
        case "input_file":
            return _file(part, where, cache)
        case "input_audio":
            audio = part.get("input_audio")
            audio = audio if isinstance(audio, dict) else {}
            coding = str(audio.get("format"))
            return Audio(Source("audio/mpeg" if coding == "mp3" else f"audio/{coding}", _string(audio, "data", f"{where}.input_audio")), cache)
        case _:
            text = Text(_string(part, "text", where), cache)
            if part.get("annotations"):
                text.citations, text.citations_from = part["annotations"], NAME
            return text


def _image(part: dict[str, JSON], where: str, cache: str | None) -> Image:
    detail, file_id = part.get("detail"), part.get("file_id")
    source = Source(file_id=file_id) if isinstance(file_id, str) and file_id else data_url(_string(part, "image_url", where))
    return Image(source, detail if isinstance(detail, str) else None, cache)


def _file(part: dict[str, JSON], where: str, cache: str | None) -> Document:
    title, file_id, url = part.get("filename"), part.get("file_id"), part.get("file_url")
    if isinstance(file_id, str) and file_id:
        source = Source(file_id=file_id)
    elif isinstance(url, str) and url:
        source = data_url(url)
    else:
        data = _string(part, "file_data", where)
        source = data_url(data) if data.startswith("data:") else Source("application/pdf", data)
    return Document(source, title=title if isinstance(title, str) else None, cache=cache)


def _string(value: dict[str, JSON], name: str, where: str) -> str:
    text = value.get(name)
    if not isinstance(text, str):
        raise BadRequestError(f"{name} must be a string", param=f"{where}.{name}")
    return text


def _inline(source: Source, fallback: str) -> str:
    return f"data:{source.media_type or fallback};base64,{source.data}"


def image_part(image: Image) -> dict[str, JSON]:
    """Raises `UntranslatableError` for an image that is in another vendor's account."""
    source = image.source
    if source.data is not None:
        url: str | None = _inline(source, "image/png")
    else:
        url = source.url
    if url is None:
        raise UntranslatableError("an image given by file id cannot be sent to another provider", param="input")
    detail = image.detail if image.detail in {"low", "high", "auto", "original"} else "auto"
    return {"type": "input_image", "image_url": url, "detail": detail}


def document_part(document: Document, losses: Losses) -> dict[str, JSON]:
    """A file, or text for a document that is text. Raises `UntranslatableError` for one in another vendor's account."""
    source = document.source
    if document.citations:
        losses.add("dropped:document_citations", "citations cannot be asked for")
    if source.text is not None:
        losses.add("coerced:document", "sent as text")
        head = [part for part in (document.title, document.context) if part]
        return {"type": "input_text", "text": "\n\n".join([*head, source.text])}
    if document.context:
        losses.add("dropped:document_context")
    if source.url is not None:
        if document.title:
            losses.add("dropped:document_title", "a file behind a URL has its own name")
        return {"type": "input_file", "file_url": source.url}
    if source.data is None:
        raise UntranslatableError("a document given by file id cannot be sent to another provider", param="input")
    media_type = source.media_type or "application/pdf"
    name = document.title or _FILE_NAMES.get(media_type, "document")
    return {"type": "input_file", "filename": name, "file_data": _inline(source, media_type)}
