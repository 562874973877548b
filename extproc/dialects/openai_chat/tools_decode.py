"""The tools of a Chat Completions request, and the choice among them, in both forms: `tools` and the older `functions`."""

from __future__ import annotations

from typing import Literal

from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON, ForeignTool, Tool, ToolChoice
from extproc.core.losses import Losses
from extproc.dialects.openai_chat.content import NAME, cache_mark

_TOOL = frozenset({"type", "function", "cache_control"})
_FUNCTION = frozenset({"name", "description", "parameters", "strict"})
_MODES: dict[str, Literal["auto", "none", "required"]] = {"auto": "auto", "none": "none", "required": "required", "any": "required"}


def decode_tools(raw: list[JSON], functions: list[JSON], losses: Losses) -> list[Tool | ForeignTool]:
    """Raises `BadRequestError` for a function without a name."""
    tools: list[Tool | ForeignTool] = []
    for i, tool in enumerate(raw):
        if not isinstance(tool, dict):
            raise BadRequestError("a tool must be an object", param=f"tools[{i}]")
        if tool.get("type", "function") != "function":
            tools.append(ForeignTool(NAME, str(tool["type"]), tool))
            continue
        losses.unknown("tools[]", tool, _TOOL)
        tools.append(_function(tool.get("function"), f"tools[{i}].function", cache_mark(tool), losses))
    tools += [_function(function, f"functions[{i}]", None, losses) for i, function in enumerate(functions)]
    return tools


def _function(function: JSON, where: str, cache: str | None, losses: Losses) -> Tool:
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRequestError("a function must be an object with a name", param=where)
    losses.unknown("tools[].function", function, _FUNCTION)
    description, strict = function.get("description"), function.get("strict")
    return Tool(
        function["name"],
        description if isinstance(description, str) else None,
        function.get("parameters"),
        strict if isinstance(strict, bool) else None,
        cache,
    )


def decode_choice(body: dict[str, JSON]) -> ToolChoice | None:
    """`tool_choice`, or `function_call` of the older form; Mistral's "any" is "required". Raises `BadRequestError`."""
    choice = body.get("tool_choice")
    if choice is None:
        choice = body.get("function_call")
    if choice is None:
        return None
    if isinstance(choice, str):
        mode = _MODES.get(choice)
        if mode is not None:
            return ToolChoice(mode)
    elif isinstance(choice, dict):
        allowed = choice.get("allowed_tools")
        named = choice.get("function") or choice.get("custom") or choice
        if choice.get("type") == "allowed_tools" and isinstance(allowed, dict):
            tools = allowed.get("tools")
            names = [_name(tool) for tool in tools] if isinstance(tools, list) else []
            mode = _MODES.get(str(allowed.get("mode")))
            if mode is not None:
                return ToolChoice(mode, allowed=[name for name in names if isinstance(name, str)])
        elif isinstance(named, dict) and isinstance(named.get("name"), str):
            return ToolChoice("tool", named["name"])
    raise BadRequestError("tool_choice must be auto, none, required or name a tool", param="tool_choice")


def _name(tool: JSON) -> JSON:
    inner = (tool.get("function") or tool.get("custom") or tool) if isinstance(tool, dict) else None
    return inner.get("name") if isinstance(inner, dict) else None
