"""What a request depends on, from a cheap look at its parsed body. Total: any shape, no exception."""

from __future__ import annotations

from extproc.core.dialect import Need
from extproc.core.ir import JSON

_PLAIN = frozenset({"text", "thinking", "document"})
"""Content that every dialect can carry: documents are text, and are sent as such."""


def needs(body: JSON) -> frozenset[str]:
    """The needs of a v2 chat request."""
    if not isinstance(body, dict):
        return frozenset()
    found: set[str] = set()
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, dict) else None
        found.add(Need.TOOLS if kind in (None, "function") else Need.SERVER_TOOLS)
    output = body.get("response_format")
    if isinstance(output, dict) and output.get("type") == "json_object":
        found.add(Need.JSON_SCHEMA if output.get("json_schema") or output.get("schema") else Need.JSON_OBJECT)
    messages = body.get("messages")
    last: JSON = None
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        last = message
        if message.get("role") == "tool" or message.get("tool_calls"):
            found.add(Need.TOOLS)
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict):
                _part(part, found)
    if isinstance(last, dict) and last.get("role") == "assistant" and not last.get("tool_calls"):
        found.add(Need.PREFILL)
    return frozenset(found)


def _part(part: dict[str, JSON], found: set[str]) -> None:
    kind = part.get("type", "text" if "text" in part else None)
    if kind == "image_url":
        found.add(Need.VISION)
        value = part.get("image_url")
        url = value.get("url") if isinstance(value, dict) else value
        if not isinstance(url, str) or not url.startswith("data:"):
            found.add(Need.IMAGE_URL)
    elif not isinstance(kind, str) or kind not in _PLAIN:
        found.add(Need.SERVER_TOOLS)
