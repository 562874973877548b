"""Prompts and answers on spans: off unless switched on, and then without media, without opaque state, cut to a limit.

The switch is the standard variable OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT. The shape is that of the GenAI conventions v1.41
(`gen_ai-input-messages.json`, `gen_ai-output-messages.json`): messages with `role` and `parts`. Work and output are bounded by the limit,
however large the conversation is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from urllib.parse import urlsplit

import orjson

from extproc.core import ir
from extproc.core.ir import JSON
from extproc.telemetry.text import clip

VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
DEFAULT_LIMIT = 16_384
"""Characters of one attribute, approximately: text and keys count, brackets and notes on what was left out do not."""

_MAX_DEPTH = 16
_MAX_ITEMS = 256
_OPAQUE_KEYS = frozenset({"signature", "thoughtSignature", "thought_signature", "encrypted_content", "redacted_content"})
_MEDIA_KEYS = frozenset({"data", "file_data", "fileData", "b64_json", "bytes"})


class Capture(Enum):
    """What goes on spans."""

    NO_CONTENT = "NO_CONTENT"
    SPAN_ONLY = "SPAN_ONLY"


def capture_from(environ: Mapping[str, str]) -> Capture:
    """The switch. Raises ValueError on a value that we do not carry out: a prompt must never land where nobody asked for it, or be missed."""
    value = environ.get(VARIABLE, "").strip()
    if not value:
        return Capture.NO_CONTENT
    try:
        return Capture(value.upper())
    except ValueError:
        raise ValueError(f"{VARIABLE}={clip(value, 40)!r}: use NO_CONTENT or SPAN_ONLY") from None


def messages_json(value: Sequence[ir.Message] | ir.Response | JSON, limit: int = DEFAULT_LIMIT) -> str:
    """The attribute's value: of canonical messages or an answer in the conventions' shape, of any other parsed JSON as it stands, redacted.

    Always valid JSON. Strings behind the limit become a note of their length, list items behind it a note of their number.
    """
    if isinstance(value, ir.Response):
        value = [{"role": "assistant", "parts": value.blocks, "finish_reason": value.finish.value}]
    return orjson.dumps(_Redactor(limit).value(value, "", 0)).decode()


def _part(block: ir.Block) -> JSON:
    """One block in the conventions' vocabulary. Media and opaque state are replaced by what they were."""
    match block:
        case ir.Text():
            return {"type": "text", "content": block.text}
        case ir.Refusal():
            return {"type": "text", "content": block.text, "refusal": True}
        case ir.Thinking():
            return {"type": "reasoning", "content": "[redacted by the provider]" if block.redacted else block.text}
        case ir.ToolCall():
            return {"type": "tool_call", "id": block.id, "name": block.name, "arguments": block.arguments}
        case ir.ToolResult():
            return {"type": "tool_call_response", "id": block.id, "response": block.content}
        case ir.Image():
            return _media("image", block.source)
        case ir.Audio():
            return _media("audio", block.source)
        case ir.Video():
            return _media("video", block.source)
        case ir.Document():
            return _media("document", block.source)
        case ir.Foreign():
            return {"type": block.kind, "dialect": block.dialect, "content": block.raw}


def _media(modality: str, source: ir.Source) -> JSON:
    part: dict[str, JSON] = {"type": "blob", "modality": modality}
    if source.media_type:
        part["mime_type"] = source.media_type
    if source.url is not None:
        return part | {"type": "uri", "uri": _bare_url(source.url)}
    if source.file_id is not None:
        return part | {"type": "file", "file_id": source.file_id}
    if source.text is not None:
        return part | {"type": "text", "content": source.text}
    return part | {"content": f"[media, {len(source.data or '')} characters]"}


def _bare_url(url: str) -> str:
    """Scheme, host and path: a signed URL's query is a credential, a data URL is media."""
    if url[:5].lower() == "data:":
        return f"[media, {len(url)} characters]"
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"[URL, {len(url)} characters]"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class _Redactor:
    """One walk over a value with one budget of characters. Messages and blocks become JSON when the walk reaches them, not before."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def value(self, value: JSON, key: str, depth: int) -> JSON:
        if isinstance(value, str):
            return self._text(value, key)
        if isinstance(value, ir.Message):
            value = {"role": value.role.value, "parts": value.blocks}
        elif isinstance(value, ir.Block):
            value = _part(value)
        if isinstance(value, dict | list | tuple) and depth >= _MAX_DEPTH:
            return "[deeper]"
        if isinstance(value, dict):
            out: dict[str, JSON] = {}
            for name, item in value.items():
                if self._left <= 0 or len(out) >= _MAX_ITEMS:
                    out["…"] = f"[{len(value) - len(out)} more]"
                    break
                self._left -= len(name)
                out[clip(name)] = self.value(item, name, depth + 1)
            return out
        if isinstance(value, list | tuple):
            items: list[JSON] = []
            for item in value:
                if self._left <= 0 or len(items) >= _MAX_ITEMS:
                    items.append(f"[{len(value) - len(items)} more]")
                    break
                items.append(self.value(item, key, depth + 1))
            return items
        self._left -= 8
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            return value if -(2**63) <= value < 2**64 else clip(str(value), 80)
        return f"[{type(value).__name__}]"

    def _text(self, text: str, key: str) -> str:
        if key in _OPAQUE_KEYS:
            out = f"[opaque, {len(text)} characters]"
        elif (key in _MEDIA_KEYS and len(text) > 64) or text[:5].lower() == "data:":
            out = f"[media, {len(text)} characters]"
        elif key in {"url", "uri", "image_url", "file_uri", "fileUri"} and "://" in text[:12]:
            out = clip(_bare_url(text), 1024)
        elif len(text) > self._left:
            shown = max(self._left, 0)
            out = clip(text[:shown], shown + 1) + f"…[{len(text) - shown} more characters]"
        else:
            out = clip(text, len(text) + 1)
        self._left -= len(out)
        return out
