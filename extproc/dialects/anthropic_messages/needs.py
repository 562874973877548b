"""What a request depends on, from a cheap look at its parsed body. Total: any shape, no exception."""

from __future__ import annotations

from extproc.core.dialect import Need
from extproc.core.ir import JSON

_PLAIN = ("text", "thinking", "redacted_thinking")
_SERVER_MEMBERS = ("mcp_servers", "container", "compaction", "thread")
"""Top-level members that ask the vendor's servers to do something the answer depends on."""


def needs(body: JSON) -> frozenset[str]:
    """The needs of a Messages request."""
    found: set[str] = set()
    if not isinstance(body, dict):
        return frozenset()
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, dict) else None
        found.add(Need.TOOLS if kind in (None, "custom") else Need.SERVER_TOOLS)
    config = body.get("output_config")
    if body.get("output_format") or (isinstance(config, dict) and config.get("format")):
        found.add(Need.JSON_SCHEMA)
    if any(body.get(name) for name in _SERVER_MEMBERS):
        found.add(Need.SERVER_TOOLS)
    messages = body.get("messages")
    role: JSON = None
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        role = message.get("role")
        content = message.get("content")
        if type(content) is list:
            _content(content, found, 0)
    if role == "assistant":
        found.add(Need.PREFILL)
    return frozenset(found)


def _content(content: list[JSON], found: set[str], depth: int) -> None:
    for block in content:
        if not isinstance(block, dict):
            continue
        kind = block.get("type")
        if kind in _PLAIN:
            continue
        if kind in ("image", "document"):
            found.add(Need.VISION if kind == "image" else Need.DOCUMENTS)
            _source(block.get("source"), str(kind), found)
        elif kind == "tool_use":
            found.add(Need.TOOLS)
        elif kind == "tool_result" and depth == 0:
            found.add(Need.TOOLS)
            inner = block.get("content")
            if isinstance(inner, list):
                _content(inner, found, 1)
        else:
            found.add(Need.SERVER_TOOLS)


def _source(source: JSON, kind: str, found: set[str]) -> None:
    of = source.get("type") if isinstance(source, dict) else None
    if of == "url":
        found.add(Need.IMAGE_URL if kind == "image" else Need.DOCUMENT_URL)
    elif of == "file":
        found.add(Need.FILE_ID)
    elif of == "content" and isinstance(source, dict):
        inner = source.get("content")
        if isinstance(inner, list) and any(not isinstance(b, dict) or b.get("type") != "text" for b in inner):
            found.add(Need.SERVER_TOOLS)
