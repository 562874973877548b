"""Parts that are not text: what they are and how much of them there is, from the few members that say so. Base64 is never read."""

from __future__ import annotations

from typing import Any

from extproc.core.prompt.found import Media, Prompt

HEAD = 64
"""Characters of base64 that `Media.head` keeps: an image's size stands in them, in most formats."""
_FORMS = ("media_type", "mimeType", "mime_type", "format")
_SOURCES = ("data", "bytes", "url", "file_data", "fileUri", "file_uri", "file_id", "uri", "id")
_ELSEWHERE = ("http://", "https://", "gs://", "s3://", "file-", "file_")


def medium(found: Prompt, kind: str, value: Any, part: dict[str, Any]) -> list[Any] | None:
    """Adds what `value`, which stands in `part`, holds. A document that is made of parts is given back, for it is no medium itself."""
    form, data = "", value
    if type(value) is dict:
        inner = value.get("source")
        if type(inner) is dict:
            # Bedrock: {format, source: {bytes}}
            part, value = value, inner
        if type(value.get("content")) is list:
            return list(value["content"])
        text = value.get("text", value.get("data") if value.get("type") == "text" else None)
        if type(text) is str:
            found.texts.append(text)
            return None
        form, data = first(value, _FORMS), first(value, _SOURCES)
    if type(data) is not str:
        return None
    detail = first(value if type(value) is dict and "detail" in value else part, ("detail",))
    one = Media(kind, 0, "", form or first(part, _FORMS), detail)
    if data.startswith("data:"):
        comma = data.find(",", 0, 256)
        one.form = one.form or data[5 : max(data.find(";", 0, 256), 5)]
        one.size, one.head = len(data) - comma - 1, data[comma + 1 : comma + 1 + HEAD]
    elif len(data) > HEAD and not data.startswith(_ELSEWHERE):
        one.size, one.head = len(data), data[:HEAD]
    found.media.append(one)
    return None


def first(value: dict[str, Any], names: tuple[str, ...]) -> str:
    """The first of the members that is text."""
    for name in names:
        member = value.get(name)
        if type(member) is str:
            return member
    return ""


def by_form(value: Any) -> str:
    """Gemini's media say by their type what they are. The same name holds a file's base64 in OpenAI's formats."""
    kind = first(value, _FORMS).partition("/")[0] if type(value) is dict else ""
    return kind if kind in ("image", "audio", "video") else "document"
