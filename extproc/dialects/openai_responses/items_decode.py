"""`input` items to canonical messages.

A run of items that the model wrote (messages, reasoning, calls) is one assistant message, a run of tool outputs one user message, in the order
of the items: reasoning stands in front of what it led to. Items that only this format knows are `Foreign`, on the side that wrote them.
Reference: https://platform.openai.com/docs/api-reference/responses/create, `input`.
"""

from __future__ import annotations

from extproc.core import carrier
from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON, Block, Foreign, Image, Message, Role, Source, Text, ToolCall, ToolResult
from extproc.core.losses import Losses
from extproc.dialects.openai_responses.content import decode_content
from extproc.dialects.openai_responses.tools import ADDITIONAL, custom_arguments, flat_name
from extproc.dialects.openai_responses.wire import NAME, thinking_of

OUTPUTS = ("function_call_output", "custom_tool_call_output")
CALLS = ("function_call", "custom_tool_call")
_USERS = frozenset({"mcp_approval_response", "configuration_update", "compaction_trigger", "item_reference"})
"""Items of the application's besides messages and those whose type ends in `_output`."""

_ROLES = {"system": Role.SYSTEM, "developer": Role.DEVELOPER, "user": Role.USER, "assistant": Role.ASSISTANT}
_USER, _ASSISTANT = Role.USER, Role.ASSISTANT  # a member looked up on its enumeration costs four times as much
_ITEM = frozenset({"type", "id", "status"})
_MESSAGE = _ITEM | {"role", "content"}
_CALL = _ITEM | {"call_id", "name", "arguments", "input", "namespace"}
_OUTPUT = _ITEM | {"call_id", "name", "output", "namespace"}
_REASONING = _ITEM | {"summary", "content", "encrypted_content"}


def is_message(item: dict[str, JSON]) -> bool:
    """Messages are the one kind of item that may leave its type out."""
    return item.get("type") == "message" or (item.get("type") is None and "role" in item)


def decode_input(value: JSON, losses: Losses) -> list[Message]:
    """Raises `BadRequestError`."""
    if value is None:
        return []
    if isinstance(value, str):
        return [Message(Role.USER, decode_content(value, "input", losses))]
    if not isinstance(value, list):
        raise BadRequestError("input must be a string or a list of items", param="input")
    messages: list[Message] = []
    run: Message | None = None
    for i, item in enumerate(value):
        if type(item) is dict and len(item) == 2:
            role_name, text = item.get("role"), item.get("content")
            if type(text) is str and text and type(role_name) is str and role_name in _ROLES:
                # most items of most histories that are not an agent's, at a third of what they cost below
                if role_name != "assistant":
                    messages.append(Message(_ROLES[role_name], [Text(text)]))
                    run = None
                elif run is not None and run.role is _ASSISTANT:
                    run.blocks.append(Text(text))
                else:
                    run = Message(_ASSISTANT, [Text(text)])
                    messages.append(run)
                continue
        where = f"input[{i}]"
        if not isinstance(item, dict):
            raise BadRequestError("an item must be an object", param=where)
        if item.get("type") == ADDITIONAL:
            continue  # among the request's tools
        if is_message(item) and item.get("role") != "assistant":
            messages.append(_message(item, where, losses))
            run = None
            continue
        role = _USER if _applications(item) else _ASSISTANT
        if run is None or run.role is not role:
            run = Message(role, [])
            messages.append(run)
        run.blocks += _blocks(item, where, losses)
    return [m for m in messages if m.blocks or m.role is not _ASSISTANT]


def _applications(item: dict[str, JSON]) -> bool:
    kind = item.get("type")
    if kind is None and "id" in item:
        return not is_message(item)  # an item reference may leave its type out too
    return isinstance(kind, str) and (kind.endswith("_output") or kind in _USERS)


def _message(item: dict[str, JSON], where: str, losses: Losses) -> Message:
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise BadRequestError("role must be system, developer, user or assistant", param=f"{where}.role")
    if not item.keys() <= _MESSAGE:
        losses.unknown("input[]", item, _MESSAGE)
    return Message(_ROLES[role], decode_content(item.get("content"), f"{where}.content", losses))


def _blocks(item: dict[str, JSON], where: str, losses: Losses) -> list[Block]:
    """The blocks of one item that is no message of the application's."""
    kind = item.get("type")
    if is_message(item):
        if not item.keys() <= _MESSAGE:
            losses.unknown("input[]", item, _MESSAGE)
        return decode_content(item.get("content"), f"{where}.content", losses)
    if kind == "reasoning":
        losses.unknown("input[]", item, _REASONING)
        thought = thinking_of(item)
        if thought is None:
            losses.add("dropped:thinking", "a reasoning item that holds neither text nor state")
        return [thought] if thought is not None else []
    if kind in CALLS:
        return [*_call(item, where, losses)]
    if kind in OUTPUTS:
        losses.unknown("input[]", item, _OUTPUT)
        call_id = carrier.split(_string(item, "call_id", where))[0]
        output = item.get("output")
        name = item.get("name")
        return [ToolResult(call_id, decode_content(output, f"{where}.output", losses), name if isinstance(name, str) else "")]
    if kind == "image_generation_call" and isinstance(item.get("result"), str) and item["result"]:
        return [Image(Source(f"image/{item.get('output_format') or 'png'}", item["result"]))]
    return [Foreign(NAME, str(kind or "item_reference"), item)]


def _call(item: dict[str, JSON], where: str, losses: Losses) -> list[Block]:
    """A call, behind the thoughts that its id carries."""
    if not item.keys() <= _CALL:
        losses.unknown("input[]", item, _CALL)
    call_id, sealed, thoughts = carrier.split(_string(item, "call_id", where))
    name = flat_name(item.get("namespace"), _string(item, "name", where))
    if item["type"] == "custom_tool_call":
        arguments = custom_arguments(item.get("input"))
    else:
        given = item.get("arguments")
        arguments = given if isinstance(given, str) else ""
    return [*thoughts, ToolCall(call_id, name, arguments, sealed)]


def _string(item: dict[str, JSON], name: str, where: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise BadRequestError(f"{name} must be a string", param=f"{where}.{name}")
    return value
