"""Tools and their choice. Converse has `auto`, `any` and `tool`, not every model takes each, and tools must be named where the history holds calls.

So `none` leaves the tools out. Where the history holds calls they must stay, or stand-ins must be made for them, and an instruction takes the place
of `none`.
"""

from __future__ import annotations

from extproc.core.closed_schema import closed
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import JSON, ForeignTool, Request, Tool
from extproc.core.losses import Losses
from extproc.core.tool_names import wire_name
from extproc.dialects.bedrock_converse.draft import Draft
from extproc.dialects.bedrock_converse.families import Family
from extproc.dialects.bedrock_converse.wire import NAME, cache_point

_NO_TOOLS = "Do not call any tool now: answer in text."


def encode_tools(draft: Draft) -> None:
    """Writes `toolConfig`; may add to the system text. Raises `BadRequestError` and `UntranslatableError`."""
    request, turns, family, losses, out = draft.request, draft.turns, draft.family, draft.losses, draft.tools
    choice = request.tool_choice
    mode = choice.mode if choice is not None else None
    only = {choice.name} if choice is not None and mode == "tool" and "tool" not in family.choices else None
    allowed = set(choice.allowed) if choice is not None and choice.allowed else only
    tools: list[JSON] = []
    if mode != "none" or turns.called:
        for tool in request.tools:
            if isinstance(tool, ForeignTool):
                if tool.dialect != NAME:
                    raise UntranslatableError(f"the tool type {tool.kind[:64]!r} runs at another provider", param="tools")
                tools.append(tool.raw)
            elif allowed is None or tool.name in allowed:
                tools += _tool(tool, family, losses)
            else:
                losses.add("coerced:allowed_tools", "tools that the request does not allow were left out")
    elif any(isinstance(tool, ForeignTool) and tool.dialect != NAME for tool in request.tools):
        raise UntranslatableError("there are tools that run at another provider", param="tools")
    if not tools and mode in {"required", "tool"}:
        raise BadRequestError("tool_choice asks for a tool, but there are no tools", param="tool_choice")
    if turns.called and (mode == "none" or not tools):
        if not tools:
            losses.add("defaulted:tools", "the format requires the tools that the history calls: stand-ins without a schema")
            tools = [{"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}} for name in turns.called]
        losses.add("coerced:tool_choice", "an instruction asks for text: calls cannot be forbidden while the history holds some")
        turns.system.append({"text": _NO_TOOLS})
        out["tools"] = tools
        return
    if not tools:
        return
    out["tools"] = tools
    wanted = _choice(request, family, losses)
    if wanted:
        out["toolChoice"] = wanted
    if request.parallel_tool_calls is False:
        if family.single_calls:
            forced = bool(wanted) and "auto" not in wanted
            draft.fields["tool_choice"] = {"disable_parallel_tool_use": True} if forced else {"type": "auto", "disable_parallel_tool_use": True}
            if not forced:
                out.pop("toolChoice", None)
        else:
            losses.add("dropped:parallel_tool_calls", "parallel calls cannot be switched off")


def _choice(request: Request, family: Family, losses: Losses) -> dict[str, JSON]:
    choice = request.tool_choice
    if choice is None or choice.mode == "none":
        return {}
    if choice.mode == "tool" and "tool" not in family.choices:
        # the others were left out; that one is called cannot be said
        losses.add("dropped:tool_choice", "the model cannot be told to call one tool")
        return {"any": {}} if "required" in family.choices else {}
    if choice.mode not in family.choices:
        if choice.mode != "auto":
            losses.add("dropped:tool_choice", "the model takes no tool choice")
        return {}
    if choice.mode == "tool":
        return {"tool": {"name": wire_name(choice.name or "")}}
    return {"any": {}} if choice.mode == "required" else {"auto": {}}


def _tool(tool: Tool, family: Family, losses: Losses) -> list[JSON]:
    schema = tool.parameters
    if schema is None:
        schema = {"type": "object", "properties": {}}
    elif not isinstance(schema, dict):
        raise BadRequestError("a tool's parameters must be a JSON schema object", param="tools")
    elif schema.get("type") != "object":
        losses.add("coerced:tool_schema", "a tool's input is always an object")
        schema = {**schema, "type": "object"}
    spec: dict[str, JSON] = {"name": wire_name(tool.name)}
    if tool.description:
        spec["description"] = tool.description
    if tool.strict and family.structured:
        strict = closed(schema)
        if strict is not schema:
            losses.add("coerced:tool_schema", "objects were closed, and assertions that are refused were put into descriptions")
        spec |= {"inputSchema": {"json": strict}, "strict": True}
    else:
        if tool.strict:
            losses.add("dropped:strict", "the model has no strict tools")
        spec["inputSchema"] = {"json": schema}
    if tool.cache is None:
        return [{"toolSpec": spec}]
    if "tools" not in family.caches:
        losses.add("dropped:cache_control", "the model takes no cache points behind tools")
        return [{"toolSpec": spec}]
    return [{"toolSpec": spec}, cache_point(tool.cache, lifetimes=family.lifetimes)]
