"""Words of the Gemini wire format that both directions share: member names, enums, function names, ids, media, token counts.

Wire format: https://ai.google.dev/api/generate-content. It is proto3 JSON, so a client may write `inlineData` or `inline_data`, one object
where a list is meant, and numbers as strings; answers may carry enums as numbers (`$alt=json;enum-encoding=int`).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from typing import Any

import orjson

from extproc.core.errors import ApiError, BadRequestError, UntranslatableError
from extproc.core.ir import JSON, Audio, Document, FinishReason, Image, Source, Video
from extproc.core.losses import Losses
from extproc.core.tool_names import wire_name
from extproc.core.usage import Usage

NAME = "gemini"
ARRAY = "array"
"""The form (`Ask.form`) of a client that did not say `alt=sse`: its streams are one JSON array."""
VENDOR = "gemini"
"""Who mints thought signatures, whichever of Google's endpoints served them."""

FINISH: dict[str, FinishReason] = {
    "FINISH_REASON_UNSPECIFIED": FinishReason.OTHER,
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "OTHER": FinishReason.OTHER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "MALFORMED_FUNCTION_CALL": FinishReason.MALFORMED_TOOL_CALL,
    "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
    "IMAGE_SAFETY": FinishReason.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "IMAGE_RECITATION": FinishReason.CONTENT_FILTER,
    "IMAGE_OTHER": FinishReason.OTHER,
    "UNEXPECTED_TOOL_CALL": FinishReason.MALFORMED_TOOL_CALL,
    "NO_IMAGE": FinishReason.OTHER,
    "MALFORMED_RESPONSE": FinishReason.OTHER,
    "CONTINUATION": FinishReason.PAUSE,
    "TOO_MANY_TOOL_CALLS": FinishReason.OTHER,
    "LANGUAGE": FinishReason.CONTENT_FILTER,
    "ESCALATION": FinishReason.CONTENT_FILTER,
    "PUP_LIMITED_DISABLED": FinishReason.CONTENT_FILTER,
    "MISSING_THOUGHT_SIGNATURE": FinishReason.OTHER,
}
"""The first twenty in the order of Vertex's enum, whose numbers are the ones seen on the wire."""
_FINISH_BY_NUMBER = tuple(FINISH)[:20]

FINISH_OUT: dict[FinishReason, str] = {
    FinishReason.STOP: "STOP",
    FinishReason.STOP_SEQUENCE: "STOP",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.TOOL_CALLS: "STOP",
    FinishReason.CONTENT_FILTER: "SAFETY",
    FinishReason.REFUSAL: "SAFETY",
    FinishReason.PAUSE: "OTHER",
    FinishReason.CONTEXT_WINDOW: "MAX_TOKENS",
    FinishReason.MALFORMED_TOOL_CALL: "MALFORMED_FUNCTION_CALL",
    FinishReason.OTHER: "OTHER",
}

BLOCK_REASONS = frozenset(
    {"BLOCKED_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK"}
)
_BLOCK_BY_NUMBER = ("BLOCKED_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "MODEL_ARMOR", "IMAGE_SAFETY", "JAILBREAK")
BLOCKED = "PROMPT_BLOCKED"
"""First word of `finish_detail` when the prompt, not the answer, was blocked."""


def finish_name(value: JSON) -> str:
    """The enum's name, from a name or a number; unknown numbers become FINISH_REASON_UNSPECIFIED."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and 0 <= value < len(_FINISH_BY_NUMBER):
        return _FINISH_BY_NUMBER[value]
    return "FINISH_REASON_UNSPECIFIED"


def block_name(value: JSON) -> str:
    """The blockReason's name, from a name or a number."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and 0 <= value < len(_BLOCK_BY_NUMBER):
        return _BLOCK_BY_NUMBER[value]
    return "BLOCKED_REASON_UNSPECIFIED"


ENUM_OUTPUT = "text/x.enum"
"""The media type of answers that are one bare word of the schema's `enum`."""
CALLING_MODES = ("", "AUTO", "ANY", "NONE", "VALIDATED")
MODALITIES = ("", "TEXT", "IMAGE", "AUDIO")
"""Enums of requests in the order of their numbers: clients built on Google's REST transport (`$alt=json;enum-encoding=int`) write those."""


def enum_name(value: JSON, names: tuple[str, ...]) -> str:
    """The enum's name in upper case, from a name or a number; "" for the unspecified one and for what is no enum."""
    if isinstance(value, str):
        return "" if value.upper().endswith("_UNSPECIFIED") else value.upper()
    return names[value] if type(value) is int and 0 <= value < len(names) else ""


def camel(message: dict[str, Any]) -> dict[str, Any]:
    """`message` with its member names in lowerCamelCase; proto3 JSON allows both spellings. Values are not touched."""
    for key in message:
        if "_" in key:
            return {_camel(k): v for k, v in message.items()}
    return message


def _camel(key: str) -> str:
    head, *rest = key.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


# Function names. Gemini allows letters, digits and _ . : - after a letter or underscore, at most 128. Others are escaped so that the answer can
# be mapped back without the request: `llm1_` and then the name with every other character as .<hex>.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_ESCAPED = "llm1_"
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_ESCAPE = re.compile(r"\.([0-9a-f]{1,6})\.")


def function_name(name: str) -> str:
    """`name` as Gemini allows it: written out reversibly, or in the form that fits every format where that is too long. Raises
    `UntranslatableError` where neither will do: it is empty, or both long and begun with a digit."""
    if _NAME.fullmatch(name) and not name.startswith(_ESCAPED):
        return name
    escaped = _ESCAPED + _UNSAFE.sub(lambda m: f".{ord(m.group()):x}.", name)
    if len(escaped) > 128:
        escaped = wire_name(name)
    if not name or not _NAME.fullmatch(escaped):
        raise UntranslatableError("a tool name cannot be expressed in Gemini's alphabet and length", param="tools")
    return escaped


def original_name(name: str) -> str:
    """The name that the client gave the tool: the inverse of `function_name`."""
    if not name.startswith(_ESCAPED):
        return name
    return _ESCAPE.sub(lambda m: chr(int(m.group(1), 16)) if int(m.group(1), 16) < 0x110000 else m.group(), name[len(_ESCAPED) :])


_SYNTHETIC = "call_g"
"""Ids that we made for calls that came without one; such calls go back to Gemini without one."""
_NOT_ID = re.compile(r"[^A-Za-z0-9_-]")


def synthetic_id(seed: str, n: int) -> str:
    """An id for call `n` of the answer `seed` (its responseId): the same answer gives the same ids, two answers never share one."""
    return f"{_SYNTHETIC}_{_NOT_ID.sub('-', seed)}_{n}"


def is_synthetic(call_id: str) -> bool:
    """Did `synthetic_id` make it?"""
    return call_id.startswith(_SYNTHETIC + "_")


def digest(data: bytes) -> str:
    """A seed for ids of an answer that has no responseId. The token counts in it keep two turns of one conversation apart."""
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def raw_json(value: JSON, error: Callable[[str], ApiError]) -> str:
    """JSON text of a parsed value. Raises `error` where it is nested deeper than JSON writers go."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        raise error("tool arguments or results are nested too deep") from None


def json_object(text: str) -> orjson.Fragment | None:
    """`text` as raw JSON when it is one JSON object, so that key order and big numbers survive; else None."""
    if text.lstrip()[:1] != "{":
        return None
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return orjson.Fragment(text)


def arguments(text: str, losses: Losses) -> orjson.Fragment | dict[str, str]:
    """Tool arguments as the object that Gemini wants. What a client sent as something else is kept under one member and reported."""
    if not text or text.isspace():
        return {}
    found = json_object(text)
    if found is None:
        losses.add("coerced:tool_arguments", "tool arguments that are not a JSON object were wrapped as {arguments: text}")
        return {"arguments": text}
    return found


_FILES = re.compile(r"(?:gs://|files/|https://(?:[a-z0-9-]+\.)?generativelanguage\.googleapis\.com/)")
"""URIs that only Google can read: its Files API and Cloud Storage."""

Media = Image | Document | Audio | Video
_KINDS: dict[str, type[Image | Audio | Video]] = {"image": Image, "audio": Audio, "video": Video}
_DEFAULT_TYPE: dict[type[Media], str] = {Image: "image/png", Document: "application/pdf", Audio: "audio/wav", Video: "video/mp4"}
_MAGIC = (
    ("iVBORw", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
    ("JVBERi", "application/pdf"),
)


_BY_EXTENSION = {
    extension: f"{family}/{subtype}"
    for family, names in {
        "image": "png jpeg jpg=jpeg gif webp heic heif bmp tiff",
        "audio": "mp3=mpeg wav ogg flac aac m4a=mp4 aiff opus",
        "video": "mp4 mpeg mpg=mpeg mov=quicktime avi=x-msvideo webm mkv=x-matroska wmv flv=x-flv 3gp=3gpp",
        "text": "txt=plain md=markdown html htm=html csv css xml rtf",
        "application": "pdf json",
    }.items()
    for extension, _, subtype in ((name.partition("=")[0], "", name.rpartition("=")[2]) for name in names.split())
}
"""What Gemini reads, by extension. Not `mimetypes`: that reads files of the machine it runs on."""


def is_google_file(uri: str) -> bool:
    """Can only Google read it?"""
    return _FILES.match(uri) is not None


_URL_SAFE = str.maketrans("-_", "+/")


def _plain_base64(data: str) -> str:
    """proto3 JSON takes both alphabets of base64, and google-genai writes the one for URLs; nobody else reads it."""
    return data.translate(_URL_SAFE) if "-" in data or "_" in data else data


def media_block(media_type: str | None, data: str | None, uri: str | None) -> Media:
    """An Image, Audio, Video or Document by its media type."""
    if uri is None:
        source = Source(media_type=media_type, data=_plain_base64(data or ""))
    elif is_google_file(uri):
        source = Source(media_type=media_type, file_id=uri)
    else:
        source = Source(media_type=media_type, url=uri)
    return _KINDS.get((media_type or "").partition("/")[0], Document)(source)


def media_type_of(block: Media) -> str | None:
    """The media type as given, else from the data's first bytes or the URL's extension; None if nothing tells."""
    source = block.source
    if source.media_type:
        return "image/jpeg" if source.media_type == "image/jpg" else source.media_type
    if source.data:
        return next((kind for magic, kind in _MAGIC if source.data.startswith(magic)), None)
    if source.url:
        path = source.url.partition("?")[0].partition("#")[0]
        return _BY_EXTENSION.get(path.rpartition(".")[2].lower())
    return None


def media_part(block: Media, losses: Losses) -> dict[str, Any]:
    """The `inlineData` or `fileData` part. Raises `UntranslatableError` for a file id of another vendor."""
    source = block.source
    if source.text is not None:
        return {"inlineData": {"mimeType": "text/plain", "data": _base64(source.text)}}
    if source.url is not None and source.url.startswith("data:"):
        raise BadRequestError("a data URL must hold base64", param="messages")
    media_type = media_type_of(block)
    if source.file_id is not None:
        if not is_google_file(source.file_id):
            raise UntranslatableError("a file id lives in the account of the vendor that gave it", param="messages")
        return {"fileData": {"mimeType": media_type, "fileUri": source.file_id} if media_type else {"fileUri": source.file_id}}
    if media_type is None:
        media_type = _DEFAULT_TYPE[type(block)]
        losses.add("coerced:media_type", f"no media type given: sent as {media_type}")
    if source.url is not None:
        return {"fileData": {"mimeType": media_type, "fileUri": source.url}}
    return {"inlineData": {"mimeType": media_type, "data": source.data or ""}}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) else 0


def usage_in(usage: dict[str, Any]) -> Usage | None:
    """Counts in our convention: `candidatesTokenCount` leaves out thoughts, tool use is counted beside the prompt. None: nothing counted yet."""
    prompt = usage.get("promptTokenCount")
    answer = usage.get("candidatesTokenCount")
    thoughts = _count(usage, "thoughtsTokenCount")
    if prompt is None and answer is None and not thoughts:
        return None
    return Usage(
        input_tokens=_count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount"),
        output_tokens=_count(usage, "candidatesTokenCount") + thoughts,
        cache_read=_count(usage, "cachedContentTokenCount"),
        reasoning=thoughts,
    )


def usage_out(usage: Usage) -> dict[str, int]:
    """`usageMetadata` from our convention."""
    out = {"promptTokenCount": usage.input_tokens, "candidatesTokenCount": max(usage.output_tokens - usage.reasoning, 0)}
    if usage.reasoning:
        out["thoughtsTokenCount"] = usage.reasoning
    if usage.cache_read:
        out["cachedContentTokenCount"] = usage.cache_read
    out["totalTokenCount"] = usage.total
    return out
