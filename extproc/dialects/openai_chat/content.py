"""Content parts of Chat Completions messages, both ways: text, images, audio, files, and the parts that vendors add.

Reference: https://platform.openai.com/docs/api-reference/chat/create, `messages[].content`.
Vendors: OpenRouter and vLLM take `video_url`; Mistral has `document_url` and `thinking`; OpenRouter takes Anthropic's `cache_control`.
"""

from __future__ import annotations

from collections.abc import Callable

from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import JSON, Audio, Block, Document, Foreign, Image, Opaque, Refusal, Source, Text, Thinking, Video

NAME = "openai_chat"
MISTRAL = "mistral"
"""The form of `Ask` for clients of Mistral's SDK."""
VENDOR = "mistral"
"""Who signs `thinking` parts."""

_AUDIO_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg"}
_AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
_SOUNDS = {"UklGR": "audio/wav", "SUQz": "audio/mpeg", "//": "audio/mpeg", "T2dnU": "audio/ogg", "ZkxhQ": "audio/flac"}
"""How base64 of a kind of audio begins, for Mistral's parts, which do not say it."""
_FILE_NAMES = {"application/pdf": "document.pdf", "text/plain": "document.txt", "text/markdown": "document.md", "text/csv": "document.csv"}


def data_url(url: str) -> Source:
    """A data URL as base64 and its media type; any other URL as it is."""
    if not url.startswith("data:"):
        return Source(url=url)
    head, comma, data = url.partition(",")
    media_type, _, coding = head[5:].partition(";")
    if not comma or "base64" not in coding:
        return Source(url=url)
    return Source(media_type=media_type or None, data=data)


def cache_mark(part: dict[str, JSON]) -> str | None:
    """The cache mark on a part: OpenAI's `prompt_cache_breakpoint`, or Anthropic's `cache_control`, which OpenRouter takes."""
    control = part.get("cache_control")
    if isinstance(control, dict):
        ttl = control.get("ttl")
        return ttl if ttl in ("5m", "1h") else "default"
    return "default" if isinstance(part.get("prompt_cache_breakpoint"), dict) else None


def decode_content(content: JSON, where: str, unknown: Callable[[str, dict[str, JSON], frozenset[str]], None]) -> list[Block]:
    """Blocks of a message's `content`. `unknown(place, object, known names)` is told of every part. Raises `BadRequestError`."""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        raise BadRequestError("content must be a string or a list of parts", param=where)
    return [_decode_part(part, f"{where}[{i}]", unknown) for i, part in enumerate(content)]


_MARKS = frozenset({"type", "cache_control", "prompt_cache_breakpoint"})
_KNOWN = {
    "text": _MARKS | {"text"},
    "image_url": _MARKS | {"image_url"},
    "input_audio": _MARKS | {"input_audio"},
    "file": _MARKS | {"file", "file_id"},
    "refusal": _MARKS | {"refusal"},
    "video_url": _MARKS | {"video_url"},
    "document_url": _MARKS | {"document_url", "document_name"},
    "thinking": frozenset({"type", "thinking", "closed", "signature"}),
}


def _decode_part(part: JSON, where: str, unknown: Callable[[str, dict[str, JSON], frozenset[str]], None]) -> Block:
    if isinstance(part, str):
        return Text(part)
    if not isinstance(part, dict):
        raise BadRequestError("a content part must be an object", param=where)
    kind = part.get("type")
    if kind is None and "text" in part:
        kind = "text"
    known = _KNOWN.get(kind) if isinstance(kind, str) else None
    if known is None:
        return Foreign(NAME, str(kind), part)
    if len(part) > 2:
        unknown("messages[].content[]", part, known)
    cache = cache_mark(part) if len(part) > 2 else None
    value = part.get(kind)
    match kind:
        case "text":
            return Text(_string(value, where, "text"), cache)
        case "refusal":
            return Refusal(_string(value, where, "refusal"), cache)
        case "image_url":
            detail = value.get("detail") if isinstance(value, dict) else None
            return Image(data_url(_url(value, where, kind)), detail if isinstance(detail, str) else None, cache)
        case "video_url":
            return Video(data_url(_url(value, where, kind)), cache)
        case "document_url":
            name = part.get("document_name")
            return Document(data_url(_url(value, where, kind)), title=name if isinstance(name, str) else None, cache=cache)
        case "input_audio" if isinstance(value, str):
            return Audio(_sound(value), cache)
        case "input_audio":
            if not isinstance(value, dict):
                raise BadRequestError("input_audio must be an object", param=f"{where}.input_audio")
            coding = str(value.get("format"))
            return Audio(Source(_AUDIO_TYPES.get(coding, f"audio/{coding}"), _string(value.get("data"), where, "input_audio.data")), cache)
        case "file" if value is None and isinstance(part.get("file_id"), str):
            return Document(Source(file_id=part["file_id"]), cache=cache)
        case "file":
            return _decode_file(value, where, cache)
        case _:
            signature = part.get("signature")
            return Thinking(thinking_text(value), Opaque(VENDOR, signature) if isinstance(signature, str) and signature else None)


def _decode_file(value: JSON, where: str, cache: str | None) -> Document:
    if not isinstance(value, dict):
        raise BadRequestError("file must be an object", param=f"{where}.file")
    title = value.get("filename")
    title = title if isinstance(title, str) else None
    if isinstance(value.get("file_id"), str):
        return Document(Source(file_id=value["file_id"]), title=title, cache=cache)
    data = _string(value.get("file_data"), where, "file.file_data")
    if data.startswith(("data:", "http://", "https://")):
        return Document(data_url(data), title=title, cache=cache)
    return Document(Source("application/pdf", data), title=title, cache=cache)


def _sound(value: str) -> Source:
    """Mistral's audio: base64, a data URL or a URL."""
    if value.startswith(("data:", "http://", "https://")):
        return data_url(value)
    return Source(next((kind for start, kind in _SOUNDS.items() if value.startswith(start)), None), value)


def thinking_text(value: JSON) -> str:
    """The text of Mistral's `thinking` part: a string or a list of text parts."""
    if isinstance(value, str):
        return value
    parts = value if isinstance(value, list) else []
    return "".join(p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str))


def _string(value: JSON, where: str, name: str) -> str:
    if not isinstance(value, str):
        raise BadRequestError(f"{name} must be a string", param=f"{where}.{name}")
    return value


def _url(value: JSON, where: str, kind: str) -> str:
    return _string(value.get("url") if isinstance(value, dict) else value, where, f"{kind}.url" if isinstance(value, dict) else kind)


def _inline(source: Source, fallback: str) -> str:
    return f"data:{source.media_type or fallback};base64,{source.data}"


def image_part(image: Image, details: frozenset[str] = frozenset({"auto", "low", "high", "original"})) -> dict[str, JSON]:
    """Raises `UntranslatableError` for an image that is in another vendor's account."""
    source = image.source
    if source.data is not None:
        url = _inline(source, "image/png")
    elif source.url is not None:
        url = source.url
    else:
        raise UntranslatableError("an image given by file id cannot be sent to another provider", param="messages")
    value: dict[str, JSON] = {"url": url}
    if image.detail in details:
        value["detail"] = image.detail
    return {"type": "image_url", "image_url": value}


def audio_part(audio: Audio, *, bare: bool = False) -> dict[str, JSON]:
    """`bare` is Mistral's form, which may be a URL.

    Raises `UntranslatableError` for anything but inline audio, and for OpenAI's form anything but WAV and MP3.
    """
    source = audio.source
    heard = source.data if source.data is not None else source.url
    if bare and heard is not None:
        return {"type": "input_audio", "input_audio": heard}
    coding = _AUDIO_FORMATS.get((source.media_type or "").partition(";")[0])
    if source.data is None or coding is None:
        raise UntranslatableError(f"audio must be inline WAV or MP3, not {source.media_type}", param="messages")
    return {"type": "input_audio", "input_audio": {"data": source.data, "format": coding}}


def document_parts(document: Document, quirks: frozenset[str] = frozenset()) -> list[dict[str, JSON]]:
    """A part in the form that the target takes, or text for a document that is text. Raises `UntranslatableError` for one in another account,
    or behind a URL where the target reads none."""
    source = document.source
    if source.text is not None:
        head = [part for part in (document.title, document.context) if part]
        return [{"type": "text", "text": "\n\n".join([*head, source.text])}]
    media_type = source.media_type or "application/pdf"
    url = _inline(source, media_type) if source.data is not None else source.url
    if url is not None and "document_url" in quirks:
        part: dict[str, JSON] = {"type": "document_url", "document_url": url}
        return [part | {"document_name": document.title} if document.title else part]
    if url is None or (source.data is None and "file_url" not in quirks):
        raise UntranslatableError("a document given by URL or file id cannot be sent to this provider", param="messages")
    filename = document.title or _FILE_NAMES.get(media_type, "document")
    return [{"type": "file", "file": {"filename": filename, "file_data": url}}]


def video_part(video: Video) -> dict[str, JSON]:
    """The part that OpenRouter and vLLM take. Raises `UntranslatableError` for a video in another vendor's account."""
    source = video.source
    url = _inline(source, "video/mp4") if source.data is not None else source.url
    if url is None:
        raise UntranslatableError("a video given by file id cannot be sent to another provider", param="messages")
    return {"type": "video_url", "video_url": {"url": url}}


def thinking_part(thought: Thinking) -> dict[str, JSON]:
    """Mistral's part, with the signature that Mistral made."""
    part: dict[str, JSON] = {"type": "thinking", "thinking": [{"type": "text", "text": thought.text}]}
    if thought.opaque is not None and thought.opaque.vendor == VENDOR:
        part["signature"] = thought.opaque.data
    return part
