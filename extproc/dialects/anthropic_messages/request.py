"""A client's request to the canonical form.

Takes what real clients send: system text as a string, as blocks and as messages of its own (Claude Code), manual and adaptive thinking, the
current `output_config.format` and the older `output_format`. Top-level members that the canonical form lacks go to `Request.extra`, so that
this dialect's encoder writes them again and every other one reports them.
Source: https://platform.claude.com/docs/en/api/messages; recorded requests.
"""

from __future__ import annotations

from typing import TypeVar

from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON, ForeignTool, Message, OutputFormat, Reasoning, Request, Role, Text, Tool, ToolChoice
from extproc.core.losses import Losses
from extproc.dialects.anthropic_messages.blocks import decode_content, plain_text
from extproc.dialects.anthropic_messages.wire import NAME, cache_mark

_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM, "developer": Role.DEVELOPER}
_TOOL = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})
_TIERS = {"auto": "auto", "standard_only": "default"}
"""Anthropic's service tiers under OpenAI's names."""

T = TypeVar("T")


def decode_request(body: JSON) -> Request:
    """Raises `BadRequestError` with the member's path where one that must be understood has the wrong shape."""
    if not isinstance(body, dict):
        raise BadRequestError("the request body must be an object")
    rest = dict(body)
    losses = Losses()
    model = _take(rest, "model", str)
    if not model:
        raise BadRequestError("model is required", param="model")
    out = Request(model, _messages(rest, losses), extra_from=NAME, losses=losses)
    out.stream = bool(_take(rest, "stream", bool))
    out.include_usage = True  # this format always reports it
    out.max_tokens = _take(rest, "max_tokens", int)
    out.temperature = _number(rest, "temperature")
    out.top_p = _number(rest, "top_p")
    out.top_k = _take(rest, "top_k", int)
    out.stop = [s for s in _take(rest, "stop_sequences", list) or [] if isinstance(s, str)]
    out.tools = _tools(_take(rest, "tools", list) or [], losses)
    _tool_choice(rest, out)
    _output(rest, out)
    _thinking(rest, out, losses)
    _metadata(rest, out)
    out.extra = {name: value for name, value in rest.items() if value is not None}
    return out


def _take(rest: dict[str, JSON], name: str, kind: type[T]) -> T | None:
    """The member, taken out of `rest`; null counts as absent. Raises `BadRequestError` if it is not of `kind`."""
    value = rest.pop(name, None)
    if value is None:
        return None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BadRequestError(f"{name} has the wrong type", param=name)
    return value


def _number(rest: dict[str, JSON], name: str) -> float | None:
    value = rest.pop(name, None)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequestError(f"{name} must be a number", param=name)
    return float(value)


def _messages(rest: dict[str, JSON], losses: Losses) -> list[Message]:
    messages: list[Message] = []
    system = decode_content(rest.pop("system", None), "system", losses)
    if system:
        messages.append(Message(Role.SYSTEM, system))
    given = _take(rest, "messages", list)
    if given is None:
        raise BadRequestError("messages is required", param="messages")
    for place, message in enumerate(given):
        named = message.get("role") if isinstance(message, dict) else None
        role = _ROLES.get(named) if isinstance(named, str) else None
        if role is None:
            raise BadRequestError("a message must be an object whose role is user, assistant or system", param=f"messages.{place}")
        content = message.get("content")
        if len(message) > 2 or content is None:
            for name in (m for m in message if m not in {"role", "content"}):
                losses.member(name, "message")
        # most messages of most histories are one text, at a quarter of what the other way costs
        text = plain_text(content)
        messages.append(Message(role, [Text(text)] if text else decode_content(content, f"messages.{place}.content", losses)))
    return messages


def _tools(tools: list[JSON], losses: Losses) -> list[Tool | ForeignTool]:
    out: list[Tool | ForeignTool] = []
    for place, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise BadRequestError("a tool must be an object", param=f"tools.{place}")
        kind = tool.get("type")
        if kind not in (None, "custom"):
            out.append(ForeignTool(NAME, str(kind), tool))
            continue
        name, description, schema = tool.get("name"), tool.get("description"), tool.get("input_schema")
        if not isinstance(name, str):
            raise BadRequestError("a tool must have a name", param=f"tools.{place}.name")
        for member in (m for m in tool if m not in _TOOL):
            if tool[member] is not None:
                losses.member(member, "tool")
        strict = tool.get("strict")
        out.append(
            Tool(name, description if isinstance(description, str) else None, schema, strict if isinstance(strict, bool) else None, cache_mark(tool))
        )
    return out


def _tool_choice(rest: dict[str, JSON], out: Request) -> None:
    choice = _take(rest, "tool_choice", dict)
    if choice is None:
        return
    name = choice.get("name")
    match choice.get("type"):
        case "auto":
            out.tool_choice = ToolChoice("auto")
        case "any":
            out.tool_choice = ToolChoice("required")
        case "none":
            out.tool_choice = ToolChoice("none")
        case "tool" if isinstance(name, str):
            out.tool_choice = ToolChoice("tool", name)
        case _:
            raise BadRequestError("tool_choice must be auto, any, none, or tool with a name", param="tool_choice")
    single = choice.get("disable_parallel_tool_use")
    if isinstance(single, bool):
        out.parallel_tool_calls = not single


def _output(rest: dict[str, JSON], out: Request) -> None:
    """`output_config: {effort, format}` and the beta's `output_format`; other members of the first stay extra."""
    config = dict(_take(rest, "output_config", dict) or {})
    wanted = config.pop("format", None) or rest.pop("output_format", None)
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        out.output = OutputFormat("schema", schema=wanted.get("schema"), strict=True)
    elif wanted is not None:
        raise BadRequestError("output_config.format must be of type json_schema", param="output_config.format")
    effort = config.pop("effort", None)
    if isinstance(effort, str):
        out.reasoning = Reasoning(effort=effort)
    if config:
        rest["output_config"] = config


def _thinking(rest: dict[str, JSON], out: Request, losses: Losses) -> None:
    thinking = rest.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if not isinstance(thinking, dict) or kind not in ("enabled", "adaptive", "disabled"):
        return  # a newer kind passes as extra
    del rest["thinking"]
    reasoning = out.reasoning = out.reasoning or Reasoning()
    reasoning.enabled = kind != "disabled"
    reasoning.adaptive = kind == "adaptive"
    budget = thinking.get("budget_tokens")
    if isinstance(budget, int) and not isinstance(budget, bool):
        reasoning.budget = budget
    elif kind == "enabled":
        raise BadRequestError("thinking.budget_tokens must be a number of tokens", param="thinking.budget_tokens")
    display = thinking.get("display")
    if display in ("summarized", "omitted"):
        reasoning.show = display == "summarized"
    for name in (m for m in thinking if m not in {"type", "budget_tokens", "display"}):
        if thinking[name] is not None:
            losses.member(name, "thinking")


def _metadata(rest: dict[str, JSON], out: Request) -> None:
    metadata = dict(_take(rest, "metadata", dict) or {})
    user = metadata.pop("user_id", None)
    if isinstance(user, str):
        out.knobs["user"] = user
    if metadata:
        rest["metadata"] = metadata
    tier = rest.get("service_tier")
    if isinstance(tier, str) and tier in _TIERS:
        del rest["service_tier"]
        if tier != "auto":  # which it is anyway
            out.knobs["service_tier"] = _TIERS[tier]
