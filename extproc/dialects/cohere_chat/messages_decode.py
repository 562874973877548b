"""The messages of a v2 chat request to canonical ones.

`tool_plan` is what the model says before it calls tools, so it is text in front of the calls. A tool result's documents are its JSON, as text.
The ids of tool calls may carry another vendor's signed thoughts (`core.carrier`), which go in front of their calls.
"""

from __future__ import annotations

from extproc.core import carrier
from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON, Block, Foreign, Image, Message, Role, Text, Thinking, ToolCall, ToolResult
from extproc.core.losses import Losses
from extproc.core.raw_json import raw_json
from extproc.dialects.cohere_chat.wire import NAME, data_url, original_name

_ROLES = {"system": Role.SYSTEM, "developer": Role.DEVELOPER, "user": Role.USER, "assistant": Role.ASSISTANT}
_MESSAGE = frozenset({"role", "content"})
_ASSISTANT = _MESSAGE | {"tool_calls", "tool_plan", "citations"}
_TOOL_MESSAGE = _MESSAGE | {"tool_call_id"}
_CALL = frozenset({"id", "type", "function"})
_KNOWN = {
    "text": frozenset({"type", "text"}),
    "thinking": frozenset({"type", "thinking"}),
    "image_url": frozenset({"type", "image_url"}),
    "document": frozenset({"type", "document"}),
}


def decode_messages(given: list[JSON], losses: Losses) -> list[Message]:
    """Raises `BadRequestError` with the place of what cannot be understood."""
    messages: list[Message] = []
    results: list[Block] | None = None
    for place, message in enumerate(given):
        if type(message) is dict and len(message) == 2:
            role, text = message.get("role"), message.get("content")
            if type(text) is str and text and type(role) is str and role in _ROLES:
                # most messages of most histories, at a third of what they cost below
                messages.append(Message(_ROLES[role], [Text(text)]))
                results = None
                continue
        where = f"messages[{place}]"
        if not isinstance(message, dict):
            raise BadRequestError("a message must be an object", param=where)
        role = message.get("role")
        if role == "tool":
            if results is None:
                results = []
                messages.append(Message(Role.USER, results))
            results.append(_tool_result(message, where, losses))
            continue
        results = None
        if role == "assistant":
            messages.append(_assistant(message, where, losses))
        elif isinstance(role, str) and role in _ROLES:
            losses.unknown("messages[]", message, _MESSAGE)
            messages.append(Message(_ROLES[role], _content(message.get("content"), where, losses)))
        else:
            raise BadRequestError("role must be user, assistant, system or tool", param=f"{where}.role")
    return messages


def _content(content: JSON, where: str, losses: Losses) -> list[Block]:
    """Blocks of `content`; text that is empty says nothing and is left out."""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        raise BadRequestError("content must be a string or a list of parts", param=f"{where}.content")
    blocks = [_part(part, f"{where}.content[{place}]", losses) for place, part in enumerate(content)]
    return [block for block in blocks if not isinstance(block, Text) or block.text]


def _part(part: JSON, where: str, losses: Losses) -> Block:
    if isinstance(part, str):
        return Text(part)
    if not isinstance(part, dict):
        raise BadRequestError("a content part must be an object", param=where)
    kind = part.get("type", "text" if "text" in part else None)
    known = _KNOWN.get(kind) if isinstance(kind, str) else None
    if known is None:
        return Foreign(NAME, str(kind)[:64], part)
    losses.unknown("messages[].content[]", part, known)
    value = part.get(str(kind))
    if kind == "image_url":
        url = value.get("url") if isinstance(value, dict) else value
        detail = value.get("detail") if isinstance(value, dict) else None
        return Image(data_url(_string(url, where, "image_url.url")), detail if isinstance(detail, str) else None)
    if kind == "document":
        return Text(_document(value, where, losses))
    return Text(_string(value, where, "text")) if kind == "text" else Thinking(_string(value, where, "thinking"))


def _string(value: JSON, where: str, name: str) -> str:
    if not isinstance(value, str):
        raise BadRequestError(f"{name} must be a string", param=f"{where}.{name}")
    return value


def _document(document: JSON, where: str, losses: Losses) -> str:
    """The data of a document part, whose id only Cohere's citations need."""
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(document, dict) or data is None:
        raise BadRequestError("a document must have data", param=f"{where}.document")
    losses.add("coerced:document", "the data of a tool result's document, without its id" if document.get("id") else "the data of a document")
    return data if isinstance(data, str) else raw_json(data)


def _tool_result(message: dict[str, JSON], where: str, losses: Losses) -> ToolResult:
    losses.unknown("messages[]", message, _TOOL_MESSAGE)
    carried = message.get("tool_call_id")
    if not isinstance(carried, str):
        raise BadRequestError("tool call id must be provided with tool message", param=f"{where}.tool_call_id")
    return ToolResult(carrier.split(carried)[0], _content(message.get("content"), where, losses))


def _assistant(message: dict[str, JSON], where: str, losses: Losses) -> Message:
    losses.unknown("messages[]", message, _ASSISTANT)
    content = _content(message.get("content"), where, losses)
    plan = message.get("tool_plan")
    if isinstance(plan, str) and plan:
        content.append(Text(plan))
    citations = message.get("citations")
    said = next((block for block in content if isinstance(block, Text)), None)
    if isinstance(citations, list) and citations and said is not None:
        said.citations, said.citations_from = citations, NAME
    calls, first = _tool_calls(message.get("tool_calls"), where, losses)
    if first:
        # the client echoes both our id and the readable copy of the thoughts in it
        carried = "".join(thought.text for thought in first)
        content = [block for block in content if not isinstance(block, Thinking) or block.text.strip() not in carried]
    # thoughts come first: a vendor that signs them refuses a turn that starts with anything else
    return Message(Role.ASSISTANT, [*first, *content, *calls])


def _tool_calls(raw: JSON, where: str, losses: Losses) -> tuple[list[Block], list[Thinking]]:
    """The calls, each behind the thoughts that its id carried, but those of the first, which are given apart."""
    if raw is None:
        return [], []
    if not isinstance(raw, list):
        raise BadRequestError("tool_calls must be a list", param=f"{where}.tool_calls")
    calls: list[Block] = []
    first: list[Thinking] = []
    for place, call in enumerate(raw):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(call, dict) or not isinstance(function, dict):
            raise BadRequestError("tool call must be of type function", param=f"{where}.tool_calls[{place}]")
        losses.unknown("messages[].tool_calls[]", call, _CALL)
        ident, name = call.get("id"), function.get("name")
        if not isinstance(ident, str) or not isinstance(name, str):
            raise BadRequestError("a tool call must have an id and a function name", param=f"{where}.tool_calls[{place}]")
        call_id, opaque, thoughts = carrier.split(ident)
        if calls:
            calls += thoughts
        else:
            first = thoughts
        calls.append(ToolCall(call_id, original_name(name), arguments(function.get("arguments")), opaque))
    return calls, first


def arguments(value: JSON) -> str:
    """Tool arguments as raw text. Some clients send an object where the format wants its text."""
    if isinstance(value, str):
        return value
    return "" if value is None else raw_json(value)
