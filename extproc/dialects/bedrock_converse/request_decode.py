"""A client's Converse request to the canonical form. The model and the choice of a stream stand in its path, not in its body.

What Converse leaves to each model travels in `additionalModelRequestFields`: of these, thinking and top_k are read in every family's words.
Members that the canonical form lacks go to `Request.extra`, so that this dialect's encoder writes them again and every other one reports them.
Source: `ConverseRequest` of the service model; recorded requests.
"""

from __future__ import annotations

from typing import Any, TypeVar

import orjson

from extproc.core.dialect import NO_ASK, Ask
from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON, ForeignTool, Message, OutputFormat, Reasoning, Request, Role, Text, Tool, ToolChoice
from extproc.core.losses import Losses
from extproc.dialects.bedrock_converse.blocks import decode_content
from extproc.dialects.bedrock_converse.wire import NAME, cache_mark

_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
_TOOL = frozenset({"name", "description", "inputSchema", "strict"})
_NEUTRAL: dict[str, tuple[JSON, ...]] = {
    "performanceConfig": ({"latency": "standard"},),
    "additionalModelResponseFieldPaths": (["/stop_sequence"],),
}
"""Members that say nothing: another format reports which stop sequence matched unasked, where it knows."""

T = TypeVar("T")


def decode_request(body: JSON, ask: Ask = NO_ASK) -> Request:
    """Raises `BadRequestError` with the member's path where one that must be understood has the wrong shape."""
    if not isinstance(body, dict):
        raise BadRequestError("the request body must be an object")
    rest = dict(body)
    losses = Losses()
    out = Request(ask.model, _messages(rest, losses), ask.stream, extra_from=NAME, losses=losses)
    out.include_usage = True  # this format always reports it
    config = _take(rest, "inferenceConfig", dict) or {}
    out.max_tokens = _number(config, "maxTokens", int)
    out.temperature = _number(config, "temperature", float)
    out.top_p = _number(config, "topP", float)
    stops = config.get("stopSequences")
    out.stop = [s for s in stops if isinstance(s, str)] if isinstance(stops, list) else []
    left = {name: value for name, value in config.items() if name not in {"maxTokens", "temperature", "topP", "stopSequences"}}
    if left:
        rest["inferenceConfig"] = left
    _tools(_take(rest, "toolConfig", dict) or {}, out, losses)
    _output(_take(rest, "outputConfig", dict) or {}, out, losses)
    fields = _take(rest, "additionalModelRequestFields", dict)
    if fields:
        unread = _fields(dict(fields), out)
        if unread:
            rest["additionalModelRequestFields"] = unread
    metadata = _take(rest, "requestMetadata", dict)
    if metadata:
        out.knobs["metadata"] = metadata
    tier = rest.pop("serviceTier", None)
    if isinstance(tier, dict) and isinstance(tier.get("type"), str):
        out.knobs["service_tier"] = tier["type"]
    out.extra = {name: value for name, value in rest.items() if value not in (None, [], {}, "") and value not in _NEUTRAL.get(name, ())}
    return out


def _take(rest: dict[str, JSON], name: str, kind: type[T]) -> T | None:
    """The member, taken out of `rest`; null counts as absent. Raises `BadRequestError` if it is not of `kind`."""
    value = rest.pop(name, None)
    if value is None:
        return None
    if not isinstance(value, kind):
        raise BadRequestError(f"{name} has the wrong type", param=name)
    return value


def _number(config: dict[str, JSON], name: str, kind: type[T]) -> T | None:
    value = config.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or (kind is int and value != int(value)):
        raise BadRequestError(f"{name} must be a number", param=f"inferenceConfig.{name}")
    return kind(value)  # type: ignore[call-arg]


def _messages(rest: dict[str, JSON], losses: Losses) -> list[Message]:
    messages: list[Message] = []
    system = decode_content(rest.pop("system", None), "system", losses)
    if system:
        messages.append(Message(Role.SYSTEM, system))
    for place, message in enumerate(_take(rest, "messages", list) or []):
        named = message.get("role") if isinstance(message, dict) else None
        role = _ROLES.get(named) if isinstance(named, str) else None
        if role is None:
            raise BadRequestError("a message must be an object whose role is user or assistant", param=f"messages.{place}")
        content = message.get("content")
        if len(message) > 2 or content is None:
            for name in (m for m in message if m not in {"role", "content"}):
                losses.member(name, "message")
        first = content[0] if type(content) is list and len(content) == 1 else None
        if type(first) is dict and len(first) == 1 and type(first.get("text")) is str:
            # most messages of most histories are one text, at half of what the other way costs
            messages.append(Message(role, [Text(first["text"])]))
        else:
            messages.append(Message(role, decode_content(content, f"messages.{place}.content", losses)))
    return messages


def _tools(config: dict[str, JSON], out: Request, losses: Losses) -> None:
    tools = config.get("tools")
    for place, tool in enumerate(tools if isinstance(tools, list) else ()):
        if not isinstance(tool, dict):
            raise BadRequestError("a tool must be an object", param=f"toolConfig.tools.{place}")
        if "cachePoint" in tool:
            last = out.tools[-1] if out.tools else None
            if isinstance(last, Tool):
                last.cache = cache_mark(tool["cachePoint"])
            else:
                losses.add("dropped:cache_control", "a cache point with nothing in front that can be marked")
            continue
        spec = tool.get("toolSpec")
        if not isinstance(spec, dict):
            out.tools.append(ForeignTool(NAME, next(iter(tool), ""), tool))
            continue
        out.tools.append(_tool(spec, place, losses))
    choice = config.get("toolChoice")
    if isinstance(choice, dict) and choice:
        out.tool_choice = _choice(choice)


def _tool(spec: dict[str, JSON], place: int, losses: Losses) -> Tool:
    name, description, schema, strict = spec.get("name"), spec.get("description"), spec.get("inputSchema"), spec.get("strict")
    if not isinstance(name, str):
        raise BadRequestError("a tool must have a name", param=f"toolConfig.tools.{place}.toolSpec.name")
    for member in (m for m in spec if m not in _TOOL and spec[m] is not None):
        losses.member(member, "toolSpec")
    return Tool(
        name,
        description if isinstance(description, str) else None,
        schema.get("json") if isinstance(schema, dict) else None,
        strict if isinstance(strict, bool) else None,
    )


def _choice(choice: dict[str, JSON]) -> ToolChoice:
    named = choice.get("tool")
    if "auto" in choice:
        return ToolChoice("auto")
    if "any" in choice:
        return ToolChoice("required")
    if isinstance(named, dict) and isinstance(named.get("name"), str):
        return ToolChoice("tool", named["name"])
    raise BadRequestError("toolChoice must be auto, any, or tool with a name", param="toolConfig.toolChoice")


def _output(config: dict[str, JSON], out: Request, losses: Losses) -> None:
    effort = config.get("effort")
    if isinstance(effort, str) and effort:
        out.reasoning = Reasoning(effort=effort)
    wanted = config.get("textFormat")
    structure = wanted.get("structure") if isinstance(wanted, dict) else None
    schema = structure.get("jsonSchema") if isinstance(structure, dict) else None
    if wanted is None:
        return
    if not isinstance(schema, dict) or not isinstance(schema.get("schema"), str):
        raise BadRequestError("textFormat must hold a JSON schema as text", param="outputConfig.textFormat")
    try:
        parsed = orjson.loads(schema["schema"])
    except orjson.JSONDecodeError:
        raise BadRequestError("the output schema is not valid JSON", param="outputConfig.textFormat") from None
    name, description = schema.get("name"), schema.get("description")
    out.output = OutputFormat(
        "schema", name if isinstance(name, str) else None, parsed, strict=True, description=description if isinstance(description, str) else None
    )
    losses.unknown("outputConfig", config, frozenset({"textFormat", "effort"}))


def _fields(fields: dict[str, Any], out: Request) -> dict[str, Any]:
    """Reads thinking and top_k of every family; gives the fields that are left."""
    top_k = fields.get("top_k", fields.get("k"))
    if isinstance(top_k, int) and not isinstance(top_k, bool):
        out.top_k = top_k
        fields = {name: value for name, value in fields.items() if name not in {"top_k", "k"}}
    nova = fields.get("inferenceConfig")
    if isinstance(nova, dict) and isinstance(nova.get("topK"), int):
        out.top_k = nova["topK"]
        left = {name: value for name, value in nova.items() if name != "topK"}
        fields = {name: value for name, value in fields.items() if name != "inferenceConfig"} | ({"inferenceConfig": left} if left else {})
    for name in ("thinking", "reasoning_config", "reasoningConfig", "reasoning_effort", "output_config"):
        found = _reasoning(fields.get(name), out.reasoning or Reasoning())
        if found is not None:
            out.reasoning = found
            del fields[name]
    choice = fields.get("tool_choice")
    if isinstance(choice, dict) and isinstance(choice.get("disable_parallel_tool_use"), bool):
        out.parallel_tool_calls = not choice["disable_parallel_tool_use"]
        del fields["tool_choice"]
    return fields


def _reasoning(said: JSON, known: Reasoning) -> Reasoning | None:
    """`known` with what one of the members says: Anthropic's thinking and effort, Nova's and Qwen's configuration, OpenAI's effort."""
    if isinstance(said, str):
        known.effort = said
        return known
    if not isinstance(said, dict):
        return None
    kind, budget, display = said.get("type"), said.get("budget_tokens"), said.get("display")
    effort = said.get("maxReasoningEffort", said.get("effort"))
    if kind not in ("enabled", "adaptive", "disabled") and not isinstance(effort, str):
        return None
    if kind in ("enabled", "adaptive", "disabled"):
        known.enabled, known.adaptive = kind != "disabled", kind == "adaptive"
    if isinstance(budget, int) and not isinstance(budget, bool):
        known.budget = budget
    if display in ("summarized", "omitted"):
        known.show = display == "summarized"
    if isinstance(effort, str):
        known.effort = effort
    return known
