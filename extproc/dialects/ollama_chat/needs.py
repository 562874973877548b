"""What an Ollama request depends on, read off the parsed body before anything is translated. Cheap, and total over every shape."""

from __future__ import annotations

from extproc.core.dialect import Need
from extproc.core.ir import JSON

CARRIES = frozenset({Need.TOOLS, Need.VISION, Need.JSON_SCHEMA, Need.JSON_OBJECT, Need.PREFILL, Need.RAW_PROMPT})


def needs(body: JSON) -> frozenset[str]:
    """Values of `Need`."""
    if not isinstance(body, dict):
        return frozenset()
    found: set[str] = set()
    messages = body.get("messages")
    role = None
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        role = message.get("role")
        if message.get("images"):
            found.add(Need.VISION)
        if message.get("tool_calls") or role == "tool":
            found.add(Need.TOOLS)
    if role == "assistant":
        found.add(Need.PREFILL)
    if body.get("tools"):
        found.add(Need.TOOLS)
    if body.get("images"):
        found.add(Need.VISION)
    if isinstance(body.get("format"), dict):
        found.add(Need.JSON_SCHEMA)
    elif body.get("format") == "json":
        found.add(Need.JSON_OBJECT)
    if "prompt" in body and (body.get("raw") or any(body.get(name) for name in ("template", "suffix", "context"))):
        found.add(Need.RAW_PROMPT)
    if any(isinstance(body.get(name), int) and body.get(name) for name in ("width", "height", "steps")):
        found.add(Need.OUTPUT_IMAGE)
    return frozenset(found)
