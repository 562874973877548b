"""What a request depends on, from a cheap look at its parsed body. Total: any shape, no exception."""

from __future__ import annotations

from extproc.core.dialect import Need
from extproc.core.ir import JSON

_PLAIN = frozenset({"text", "cachePoint", "reasoningContent", "citationsContent", "json"})
_MEDIA = {"image": Need.VISION, "document": Need.DOCUMENTS, "video": Need.VIDEO, "audio": Need.AUDIO}
_OFFICE = ("doc", "docx", "xls", "xlsx")
_SERVER_MEMBERS = ("guardrailConfig", "promptVariables")
"""Top-level members that ask AWS's servers to do something the answer depends on. Nobody else can apply an account's guardrail."""


def needs(body: JSON) -> frozenset[str]:
    """The needs of a Converse request."""
    found: set[str] = set()
    if not isinstance(body, dict):
        return frozenset()
    if any(body.get(name) for name in _SERVER_MEMBERS):
        found.add(Need.SERVER_TOOLS)
    config = body.get("toolConfig")
    tools = config.get("tools") if isinstance(config, dict) else None
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and "cachePoint" not in tool:
            found.add(Need.TOOLS if "toolSpec" in tool else Need.SERVER_TOOLS)
    output = body.get("outputConfig")
    if isinstance(output, dict) and output.get("textFormat"):
        found.add(Need.JSON_SCHEMA)
    messages = body.get("messages")
    role: JSON = None
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            role = message.get("role")
            _content(message.get("content"), found, 0)
    _content(body.get("system"), found, 1)
    if role == "assistant":
        found.add(Need.PREFILL)
    return frozenset(found)


def _content(content: JSON, found: set[str], depth: int) -> None:
    for block in content if isinstance(content, list) else ():
        kind = next(iter(block), "") if isinstance(block, dict) else ""
        if kind in _PLAIN or not isinstance(block, dict):
            if kind == "reasoningContent":
                _reasoning(block[kind], found)
            continue
        inner = block[kind] if kind else None
        if not isinstance(inner, dict):
            found.add(Need.SERVER_TOOLS)
        elif kind in _MEDIA:
            _media(kind, inner, found)
        elif kind == "guardContent":
            _guarded(inner, found)
        elif kind == "toolUse":
            found.add(Need.TOOLS if inner.get("type") in (None, "tool_use") else Need.SERVER_TOOLS)
        elif kind == "toolResult" and depth == 0:
            found.add(Need.TOOLS if inner.get("type") in (None, "tool_result") else Need.SERVER_TOOLS)
            _content(inner.get("content"), found, 1)
        else:
            found.add(Need.SERVER_TOOLS)


def _media(kind: str, inner: dict[str, JSON], found: set[str]) -> None:
    found.add(_MEDIA[kind])
    if kind == "document" and inner.get("format") in _OFFICE:
        found.add(Need.OTHER_DOCUMENTS)
    source = inner.get("source")
    if isinstance(source, dict) and "s3Location" in source:
        # only this account may read it
        found.add(Need.FILE_ID)
    elif not isinstance(source, dict) or not (set(source) & {"bytes", "text", "content"}):
        found.add(Need.SERVER_TOOLS)


def _guarded(inner: dict[str, JSON], found: set[str]) -> None:
    image = inner.get("image")
    if isinstance(image, dict):
        _media("image", image, found)
    elif not isinstance(inner.get("text"), dict):
        found.add(Need.SERVER_TOOLS)


def _reasoning(inner: JSON, found: set[str]) -> None:
    if not isinstance(inner, dict) or not (isinstance(inner.get("reasoningText"), dict) or isinstance(inner.get("redactedContent"), str)):
        found.add(Need.SERVER_TOOLS)
