"""What a Chat Completions request depends on, read from the parsed body without decoding it. Total over all shapes."""

from __future__ import annotations

from extproc.core.dialect import Need
from extproc.core.ir import JSON

CARRIES = frozenset(
    {
        Need.TOOLS,
        Need.VISION,
        Need.DOCUMENTS,
        Need.OTHER_DOCUMENTS,
        Need.AUDIO,
        Need.JSON_SCHEMA,
        Need.JSON_OBJECT,
        Need.IMAGE_URL,
        Need.CHOICES,
        Need.FUNCTIONS,
    }
)
"""What a request translated into this format can express. Server tools and file ids are another vendor's, it has no document URLs, and an
assistant message at the end is not continued."""

_SPEAKERS = ("user", "assistant", "system", "developer")
_PLAIN = {"text", "refusal", "thinking"}


def needs(body: JSON) -> frozenset[str]:
    """Values of `Need`. Content parts and tools of unknown types count as server tools: only this dialect can know what they mean."""
    if not isinstance(body, dict):
        return frozenset()
    found: set[str] = set()
    messages = body.get("messages")
    messages = messages if isinstance(messages, list) else []
    for message in messages:
        # a role and its text, as in most messages, need nothing
        if isinstance(message, dict) and (len(message) != 2 or type(message.get("content")) is not str or message.get("role") not in _SPEAKERS):
            _message(message, found)
    last = messages[-1] if messages else None
    if isinstance(last, dict) and last.get("role") == "assistant" and not last.get("tool_calls") and not last.get("function_call"):
        found.add(Need.PREFILL)
    tools = body.get("tools")
    if tools or body.get("functions"):
        found.add(Need.TOOLS)
        if not tools:
            found.add(Need.FUNCTIONS)
    if isinstance(tools, list) and any(isinstance(tool, dict) and tool.get("type", "function") != "function" for tool in tools):
        found.add(Need.SERVER_TOOLS)
    if body.get("web_search_options") is not None:
        found.add(Need.SERVER_TOOLS)
    output = body.get("response_format")
    kind = output.get("type") if isinstance(output, dict) else None
    if kind == "json_schema":
        found.add(Need.JSON_SCHEMA)
    elif kind == "json_object":
        found.add(Need.JSON_OBJECT)
    choices = body.get("n")
    if isinstance(choices, int) and choices > 1:
        found.add(Need.CHOICES)
    modalities = body.get("modalities")
    modalities = modalities if isinstance(modalities, list) else []
    if "audio" in modalities or body.get("audio") is not None:
        found.add(Need.OUTPUT_AUDIO)
    if "image" in modalities:
        found.add(Need.OUTPUT_IMAGE)
    return frozenset(found)


def _message(message: dict[str, JSON], found: set[str]) -> None:
    role = message.get("role")
    if role in ("tool", "function") or message.get("function_call"):
        found.add(Need.TOOLS)
    calls = message.get("tool_calls")
    if calls:
        found.add(Need.TOOLS)
        if isinstance(calls, list) and any(isinstance(call, dict) and call.get("type", "function") != "function" for call in calls):
            found.add(Need.SERVER_TOOLS)
    if role == "assistant" and isinstance(message.get("audio"), dict):
        found.add(Need.OUTPUT_AUDIO)
    content = message.get("content")
    if isinstance(content, list):
        for part in content:
            if isinstance(part, dict):
                _part(part, found)


def _part(part: dict[str, JSON], found: set[str]) -> None:
    kind = part.get("type", "text" if "text" in part else None)
    value = part.get(kind) if isinstance(kind, str) else None
    match kind:
        case "image_url":
            found.add(Need.VISION)
            if not _inline(value):
                found.add(Need.IMAGE_URL)
        case "input_audio":
            found.add(Need.AUDIO)
            if isinstance(value, str) and value.startswith(("http://", "https://")):
                found.add(Need.AUDIO_URL)
        case "video_url":
            found.add(Need.VIDEO)
        case "document_url":
            found |= {Need.DOCUMENTS} if _inline(value) else {Need.DOCUMENTS, Need.DOCUMENT_URL}
        case "file":
            found.add(Need.DOCUMENTS)
            file = value if isinstance(value, dict) else {}
            if file.get("file_id") is not None or part.get("file_id") is not None:
                found.add(Need.FILE_ID)
            elif str(file.get("file_data", ""))[:8].startswith(("http://", "https://")):
                found.add(Need.DOCUMENT_URL)
        case str() if kind not in _PLAIN:
            found.add(Need.SERVER_TOOLS)
        case _:
            pass


def _inline(value: JSON) -> bool:
    url = value.get("url") if isinstance(value, dict) else value
    return isinstance(url, str) and url.startswith("data:")
