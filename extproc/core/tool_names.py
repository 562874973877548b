"""Tool names in the form that every format takes: up to 64 letters, digits, underscores and dashes (OpenAI's rule, Bedrock's too).

Anthropic takes 128 characters and Gemini dots and colons, and tools of MCP servers use both. Another name is shortened and marked with a digest
of itself: the same name gives the same one every time, so a history stays what the model saw, and whoever knows the client's names can turn
an answer's back (`Wishes.tool_names`, `Reply.tool_names`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from extproc.core.ir import JSON, Block, BlockStart, Event, ToolCall

MAX_NAME = 64
_FITS = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST = 8


def wire_name(name: str) -> str:
    """`name` itself where it fits."""
    if _FITS.match(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:_DIGEST]
    return f"{_OTHER.sub('_', name)[: MAX_NAME - _DIGEST - 1]}_{digest}"


def misfits(names: Iterable[object]) -> tuple[str, ...]:
    """Those that `wire_name` changes."""
    return tuple(name for name in names if isinstance(name, str) and not _FITS.match(name))


def function_names(body: JSON) -> list[object]:
    """The names of the tools that a request declares as Chat Completions, Cohere and Ollama do, the older `functions` too. Total."""
    if not isinstance(body, dict):
        return []
    tools, functions = body.get("tools"), body.get("functions")
    found = [tool.get("function") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    found += functions if isinstance(functions, list) else []
    return [function.get("name") for function in found if isinstance(function, dict)]


class Restorer:
    """The client's own names in place of their wire names, in what an answer decodes to. Blocks are changed in place."""

    __slots__ = ("_names",)

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {wire_name(name): name for name in names}

    def blocks(self, blocks: Sequence[Block]) -> None:
        for block in blocks if self._names else ():
            if isinstance(block, ToolCall):
                block.name = self._names.get(block.name, block.name)

    def events(self, events: Sequence[Event]) -> None:
        if self._names:
            self.blocks([event.block for event in events if isinstance(event, BlockStart)])
