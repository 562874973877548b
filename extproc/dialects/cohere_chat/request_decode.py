"""A client's v2 chat request to the canonical form.

Members that it does not know are never a 400: at the top level they go to `extra`, inside messages and tools they are losses. `documents`, which
no other format has beside the messages, become text in front of what the user said last; so every target can be given them.
Source: https://docs.cohere.com/v2/reference/chat, the SDK's v2 types, recorded requests.
"""

from __future__ import annotations

from typing import TypeVar

from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON, Block, ForeignTool, Message, OutputFormat, Reasoning, Request, Role, Text, Tool, ToolChoice, ToolResult
from extproc.core.losses import Losses
from extproc.core.raw_json import raw_json
from extproc.dialects.cohere_chat.messages_decode import decode_messages
from extproc.dialects.cohere_chat.schema import complete
from extproc.dialects.cohere_chat.wire import NAME, original_name

_TOOL = frozenset({"type", "function"})
_FUNCTION = frozenset({"name", "description", "parameters"})
_CHOICES = {"REQUIRED": "required", "NONE": "none", "AUTO": "auto"}
_SCHEMAS = ("json_schema", "schema")
"""`schema` is the first API version's name, which Cohere's own examples still use."""
_DEFAULTS: dict[str, tuple[JSON, ...]] = {
    "safety_mode": ("CONTEXTUAL",),
    "priority": (0,),
    "citation_options": ({}, {"mode": "OFF"}, {"mode": "DISABLED"}),
}
"""What is so anyway at other vendors, or at Cohere itself: leaving it out loses nothing."""

T = TypeVar("T")


def decode_request(body: JSON) -> Request:
    """Raises `BadRequestError` with `param` when a member that must be understood has the wrong shape."""
    if not isinstance(body, dict):
        raise BadRequestError("the request body must be an object")
    rest = dict(body)
    losses = Losses()
    model = _take(rest, "model", str)
    if not model:
        raise BadRequestError("a model parameter is required for this endpoint", param="model")
    given = _take(rest, "messages", list)
    if given is None:
        raise BadRequestError("messages is required", param="messages")
    out = Request(model, decode_messages(given, losses), extra_from=NAME, losses=losses)
    _documents(rest, out, losses)
    out.stream = _take(rest, "stream", bool) is True
    out.include_usage = True  # this format always reports it
    out.max_tokens = _take(rest, "max_tokens", int)
    out.temperature = _number(rest, "temperature")
    out.top_p = _number(rest, "p")
    out.top_k = _take(rest, "k", int) or None  # 0 switches it off
    out.stop = [stop for stop in _take(rest, "stop_sequences", list) or [] if isinstance(stop, str)]
    for name in ("frequency_penalty", "presence_penalty"):
        penalty = _number(rest, name)
        if penalty:
            out.knobs[name] = penalty
    seed = _take(rest, "seed", int)
    if seed is not None:
        out.knobs["seed"] = seed
    if _take(rest, "logprobs", bool):
        out.knobs["logprobs"] = True
    out.tools = _tools(_take(rest, "tools", list) or [], losses)
    if _take(rest, "strict_tools", bool):
        for tool in out.tools:
            if isinstance(tool, Tool) and complete(tool.parameters):
                tool.strict = True
            else:
                losses.add("dropped:strict", "others take it only of closed schemas that require all they have")
    out.tool_choice = _choice(rest)
    out.output = _output(rest, losses)
    out.reasoning = _thinking(rest, losses)
    out.extra = {name: value for name, value in rest.items() if value is not None and value not in _DEFAULTS.get(name, ())}
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


def _tools(tools: list[JSON], losses: Losses) -> list[Tool | ForeignTool]:
    out: list[Tool | ForeignTool] = []
    for place, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise BadRequestError("a tool must be an object", param=f"tools[{place}]")
        if tool.get("type", "function") != "function":
            out.append(ForeignTool(NAME, str(tool["type"]), tool))
            continue
        losses.unknown("tools[]", tool, _TOOL)
        function = tool.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRequestError("a tool must have a function with a name", param=f"tools[{place}].function")
        losses.unknown("tools[].function", function, _FUNCTION)
        description = function.get("description")
        out.append(Tool(original_name(function["name"]), description if isinstance(description, str) else None, function.get("parameters")))
    return out


def _choice(rest: dict[str, JSON]) -> ToolChoice | None:
    choice = _take(rest, "tool_choice", str)
    match _CHOICES.get(choice) if choice else None:
        case "required":
            return ToolChoice("required")
        case "none":
            return ToolChoice("none")
        case None if choice:
            raise BadRequestError("tool_choice must be REQUIRED or NONE", param="tool_choice")
    return None


def _output(rest: dict[str, JSON], losses: Losses) -> OutputFormat | None:
    value = _take(rest, "response_format", dict)
    kind = value.get("type") if value else None
    if value is None or kind in (None, "text"):
        return None
    if kind != "json_object":
        raise BadRequestError("response_format must be of type text or json_object", param="response_format")
    losses.unknown("response_format", value, frozenset({"type", *_SCHEMAS}))
    schema = next((value[name] for name in _SCHEMAS if value.get(name) is not None), None)
    if schema is None:
        return OutputFormat("json")
    if not isinstance(schema, dict):
        raise BadRequestError("schema must be an object", param="response_format")
    return OutputFormat("schema", schema=schema)


def _thinking(rest: dict[str, JSON], losses: Losses) -> Reasoning | None:
    """Cohere's reasoning models think unless told not to, so a budget alone leaves it to the model too."""
    value = _take(rest, "thinking", dict)
    if not value:
        return None
    losses.unknown("thinking", value, frozenset({"type", "token_budget"}))
    budget = value.get("token_budget")
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 1):
        raise BadRequestError("thinking.token_budget must be a positive number of tokens", param="thinking.token_budget")
    return Reasoning(enabled=value.get("type") != "disabled", budget=budget)


# documents


def _documents(rest: dict[str, JSON], out: Request, losses: Losses) -> None:
    documents = _take(rest, "documents", list) or []
    texts: list[Block] = [Text(_document(document, place)) for place, document in enumerate(documents)]
    if not texts:
        return
    losses.add("coerced:document", "sent as text in front of what the user said last")
    options = rest.get("citation_options")
    if not isinstance(options, dict) or str(options.get("mode")).upper() not in ("OFF", "DISABLED"):
        losses.add("dropped:document_citations", "citations cannot be asked for")
    last = next((m for m in reversed(out.messages) if m.role is Role.USER and not all(isinstance(b, ToolResult) for b in m.blocks)), None)
    if last is None:
        out.messages.append(Message(Role.USER, texts))
        return
    place = next((i for i, block in enumerate(last.blocks) if not isinstance(block, ToolResult)), 0)
    last.blocks[place:place] = texts


def _document(document: JSON, place: int) -> str:
    """A document as text between tags, its fields a line each."""
    where = f"documents[{place}]"
    if isinstance(document, str):
        return f"<document>\n{document}\n</document>"
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(data, dict | str):
        raise BadRequestError("a document must be a string or an object with data", param=where)
    fields = {"id": document.get("id"), **data} if isinstance(data, dict) else {"id": document.get("id"), "data": data}
    lines = [f"{name}: {value if isinstance(value, str) else raw_json(value)}" for name, value in fields.items() if value is not None]
    return "\n".join(("<document>", *lines, "</document>"))
