"""Tools and the choice among them, and how names of tools survive dialects that have only functions.

Tools stand in `tools`, or in items of the conversation, `additional_tools` (Codex sends all of its so): elsewhere they are there from the start.
Two kinds of tools that the application runs itself exist only here. A `custom` tool takes free text: elsewhere it is a function with one
parameter, `input`. A `namespace` groups tools (Codex sends its MCP servers so): elsewhere each of them is a function whose name begins with the
namespace's. `called` finds from a request's own tools what a function's name means to the client, so calls come back as the client knows them.
Reference: https://platform.openai.com/docs/api-reference/responses/create, `tools`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import orjson

from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON, ForeignTool, Tool, ToolChoice
from extproc.core.losses import Losses
from extproc.core.tool_names import wire_name
from extproc.dialects.openai_responses.wire import NAME

_FUNCTION = frozenset({"type", "name", "description", "parameters", "strict"})
_CUSTOM = frozenset({"type", "name", "description", "format"})
_NAMESPACE = frozenset({"type", "name", "description", "tools"})
_ADDITIONAL = frozenset({"type", "id", "role", "tools"})
_OWN = ("function", "custom")
ADDITIONAL = "additional_tools"
_MODES: dict[str, Literal["auto", "none", "required"]] = {"auto": "auto", "none": "none", "required": "required"}
_INPUT: JSON = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"], "additionalProperties": False}


def flat_name(namespace: JSON, name: str) -> str:
    """The name of a namespace's tool where there are no namespaces. OpenAI calls a function's own the namespace of one that was found by a search."""
    if not isinstance(namespace, str) or namespace in ("", name):
        return name
    return wire_name(f"{namespace}{'' if namespace.endswith('__') else '__'}{name}")


class Called(NamedTuple):
    """What the client calls a tool."""

    name: str
    namespace: str | None = None
    custom: bool = False


def called(tools: JSON) -> dict[str, Called]:
    """The tools of a request that are not plain functions, by the name that other dialects know them under. Total."""
    found: dict[str, Called] = {}
    for tool in tools if isinstance(tools, list) else ():
        kind, name = (tool.get("type"), tool.get("name")) if isinstance(tool, dict) else (None, None)
        if not isinstance(name, str):
            continue
        if kind == "custom":
            found[name] = Called(name, custom=True)
        elif kind == "namespace":
            for inner in tool["tools"] if isinstance(tool.get("tools"), list) else ():
                if isinstance(inner, dict) and isinstance(inner.get("name"), str):
                    found[flat_name(name, inner["name"])] = Called(inner["name"], name, inner.get("type") == "custom")
    return found


def is_own(tool: JSON) -> bool:
    """Does the application run it itself, so that every dialect with functions has it?"""
    if not isinstance(tool, dict):
        return False
    if tool.get("type") != "namespace":
        return tool.get("type", "function") in _OWN
    inner = tool.get("tools")
    return isinstance(inner, list) and all(isinstance(t, dict) and t.get("type") in _OWN for t in inner)


def listed(body: JSON) -> list[JSON]:
    """The tools of a request, those of its items behind its own. Total."""
    if not isinstance(body, dict):
        return []
    items = body.get("input")
    added = [item for item in items if isinstance(item, dict) and item.get("type") == ADDITIONAL] if isinstance(items, list) else []
    return [tool for holder in (body, *added) if isinstance(holder.get("tools"), list) for tool in holder["tools"]]


def is_spare(tool: JSON) -> bool:
    """Is it the search that Codex puts beside its own tools for models that it does not know, and that may not even reach the web?

    Its user has not asked for it, and with it no other vendor could serve Codex at all.
    """
    return isinstance(tool, dict) and tool.get("type") == "web_search" and tool.get("external_web_access") is False


def own_names(body: JSON) -> list[JSON]:
    """The names of the application's own tools outside namespaces. Total."""
    return [tool.get("name") for tool in listed(body) if isinstance(tool, dict) and is_own(tool)]


def decode_additional(items: JSON, losses: Losses) -> list[Tool | ForeignTool]:
    """The tools of items. Raises `BadRequestError`."""
    tools: list[Tool | ForeignTool] = []
    for i, item in enumerate(items if isinstance(items, list) else ()):
        if not isinstance(item, dict) or item.get("type") != ADDITIONAL:
            continue
        losses.unknown("input[]", item, _ADDITIONAL)
        if i:
            losses.add("coerced:additional_tools", "they are there from the start")
        raw = item.get("tools")
        if not isinstance(raw, list):
            raise BadRequestError("tools must be a list", param=f"input[{i}].tools")
        tools += decode_tools(raw, losses, f"input[{i}].tools")
    return tools


def decode_tools(raw: list[JSON], losses: Losses, at: str = "tools") -> list[Tool | ForeignTool]:
    """Raises `BadRequestError` for a function without a name."""
    tools: list[Tool | ForeignTool] = []
    for i, tool in enumerate(raw):
        if not isinstance(tool, dict):
            raise BadRequestError("a tool must be an object", param=f"{at}[{i}]")
        if is_spare(tool):
            losses.add("dropped:web_search", "a search that may not reach the web")
        elif not is_own(tool):
            tools.append(ForeignTool(NAME, str(tool.get("type")), tool))
        elif tool.get("type") == "namespace":
            losses.unknown("tools[]", tool, _NAMESPACE)
            losses.add("coerced:tool_namespace", "its tools have its name in front of theirs")
            tools += [_tool(inner, f"{at}[{i}].tools[{j}]", losses, tool) for j, inner in enumerate(tool["tools"])]
        else:
            tools.append(_tool(tool, f"{at}[{i}]", losses))
    return tools


def _tool(tool: dict[str, JSON], where: str, losses: Losses, namespace: dict[str, JSON] | None = None) -> Tool:
    name, description, strict = tool.get("name"), tool.get("description"), tool.get("strict")
    if not isinstance(name, str):
        raise BadRequestError("a tool must have a name", param=f"{where}.name")
    description = description if isinstance(description, str) else None
    if namespace is not None:
        name = flat_name(namespace.get("name"), name)
        about = namespace.get("description")
        description = "\n\n".join(text for text in (about, description) if isinstance(text, str) and text) or None
    if tool.get("type") == "custom":
        losses.unknown("tools[]", tool, _CUSTOM)
        losses.add("coerced:custom_tool", "a function with one parameter, `input`")
        return Tool(name, _with_grammar(description, tool.get("format")), _INPUT)
    losses.unknown("tools[]", tool, _FUNCTION)
    return Tool(name, description, tool.get("parameters"), strict if isinstance(strict, bool) else None)


def _with_grammar(description: str | None, wanted: JSON) -> str | None:
    """The description, and the grammar that the free text must follow: elsewhere nothing enforces it."""
    if not isinstance(wanted, dict) or not isinstance(wanted.get("definition"), str):
        return description
    grammar = f"`input` must follow this {wanted.get('syntax', '')} grammar:\n{wanted['definition']}".replace("  ", " ")
    return f"{description}\n\n{grammar}" if description else grammar


def custom_arguments(text: JSON) -> str:
    """The input of a custom tool's call as arguments of the function that stands for it."""
    return orjson.dumps({"input": text if isinstance(text, str) else ""}).decode()


def custom_input(arguments: str) -> str:
    """The inverse. Arguments of any other shape are the input themselves."""
    try:
        parsed = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    return parsed["input"] if isinstance(parsed, dict) and isinstance(parsed.get("input"), str) else arguments


def decode_choice(choice: JSON) -> ToolChoice | None:
    """None too for a choice of a tool that the vendor runs. Raises `BadRequestError`."""
    if isinstance(choice, str) and choice in _MODES:
        return ToolChoice(_MODES[choice])
    if isinstance(choice, dict):
        kind, name = choice.get("type"), choice.get("name")
        if kind == "allowed_tools":
            mode, tools = _MODES.get(str(choice.get("mode"))), choice.get("tools")
            if mode is not None and isinstance(tools, list):
                named = [(t.get("namespace"), t.get("name")) for t in tools if isinstance(t, dict) and t.get("type", "function") in _OWN]
                return ToolChoice(mode, allowed=[flat_name(space, name) for space, name in named if isinstance(name, str)])
        elif kind in _OWN and isinstance(name, str):
            return ToolChoice("tool", flat_name(choice.get("namespace"), name))
        elif isinstance(kind, str) and kind not in _OWN:
            return None
    raise BadRequestError("tool_choice must be auto, none, required or name a tool", param="tool_choice")
