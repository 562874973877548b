"""What a Responses request depends on, read from the parsed body without decoding it. Total over all shapes."""

from __future__ import annotations

from extproc.core.dialect import Need
from extproc.core.ir import JSON
from extproc.dialects.openai_responses.content import PLAIN
from extproc.dialects.openai_responses.items_decode import CALLS, OUTPUTS, is_message
from extproc.dialects.openai_responses.tools import ADDITIONAL, is_own, is_spare, listed

CARRIES = frozenset(
    {
        Need.TOOLS,
        Need.VISION,
        Need.DOCUMENTS,
        Need.OTHER_DOCUMENTS,
        Need.JSON_SCHEMA,
        Need.JSON_OBJECT,
        Need.IMAGE_URL,
        Need.DOCUMENT_URL,
    }
)
"""What a request translated into this format can express. It has one answer per request and takes no audio, and an assistant message at the end
is not continued."""

_COMMON = ("application/pdf", "application/octet-stream", "text/")
"""Starts of the media types of documents that every dialect with documents takes."""

_STATE = ("previous_response_id", "conversation", "prompt", "background")
"""Members that name what is stored at the provider, or ask it to store an answer that is fetched later."""


def needs(body: JSON) -> frozenset[str]:
    """Values of `Need`. Items, parts and tools of unknown types count as server tools: only this dialect can know what they mean."""
    if not isinstance(body, dict):
        return frozenset()
    found: set[str] = set()
    if any(body.get(name) for name in _STATE):
        found.add(Need.STATE)
    items = body.get("input")
    items = items if isinstance(items, list) else []
    for item in items:
        # a role and its text need nothing
        if isinstance(item, dict) and not (len(item) == 2 and "role" in item and type(item.get("content")) is str):
            _item(item, found)
    last = items[-1] if items else None
    if isinstance(last, dict) and is_message(last) and last.get("role") == "assistant":
        found.add(Need.PREFILL)
    for tool in listed(body):
        if not is_spare(tool):
            found.add(Need.TOOLS if is_own(tool) else Need.SERVER_TOOLS)
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") not in ("function", "custom", "allowed_tools"):
        found.add(Need.SERVER_TOOLS)
    text = body.get("text")
    wanted = text.get("format") if isinstance(text, dict) else None
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema":
        found.add(Need.JSON_SCHEMA)
    elif kind == "json_object":
        found.add(Need.JSON_OBJECT)
    return frozenset(found)


def _item(item: dict[str, JSON], found: set[str]) -> None:
    kind = item.get("type")
    if is_message(item):
        _content(item.get("content"), found)
    elif kind in CALLS:
        found.add(Need.TOOLS)
    elif kind in OUTPUTS:
        found.add(Need.TOOLS)
        _content(item.get("output"), found)
    elif kind == "item_reference" or (kind is None and "id" in item):
        found.add(Need.STATE)
    elif kind == "image_generation_call" and item.get("result"):
        found.add(Need.VISION)
    elif kind not in ("reasoning", ADDITIONAL):
        found.add(Need.SERVER_TOOLS)


def _content(content: JSON, found: set[str]) -> None:
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, dict) else "text"
        if isinstance(kind, str) and kind in PLAIN:
            continue
        if kind == "input_audio":
            found.add(Need.AUDIO)
        elif kind not in ("input_image", "input_file"):
            found.add(Need.SERVER_TOOLS)
        else:
            found.add(Need.VISION if kind == "input_image" else Need.DOCUMENTS)
            url = part.get("image_url") if kind == "input_image" else part.get("file_url") or part.get("file_data")
            if part.get("file_id"):
                found.add(Need.FILE_ID)
            elif isinstance(url, str) and url.startswith("data:"):
                if kind == "input_file" and not url[5:].startswith(_COMMON):
                    found.add(Need.OTHER_DOCUMENTS)
            elif kind == "input_image" or part.get("file_url"):
                found.add(Need.IMAGE_URL if kind == "input_image" else Need.DOCUMENT_URL)
