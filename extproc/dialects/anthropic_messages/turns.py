"""A canonical history as `system` and `messages` that Anthropic accepts.

The format's rules, each a 400 when broken, and how they are met:

* turns alternate and the first is the user's: runs of one role merge, an opening assistant turn gets a user turn in front;
* system text stands in `system`, in front of everything: later system and developer messages become marked text of the user's turn;
* the results of all tool calls of one turn stand first in the next user turn, one each, and ids are unique in a request;
* text is never blank, and the last turn of an assistant (a prefill) does not end in white space;
* thinking is replayed to the vendor that signed it, unchanged; unsigned thinking is not accepted at all.

Repairs that change what the model reads are losses. What no repair can guess (a result without its call, a call without its result) is the
client's mistake and answered as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import JSON, Block, Document, Foreign, Image, Message, Refusal, Role, Text, Thinking, ToolCall, ToolResult, plain_text
from extproc.core.losses import Losses
from extproc.core.raw_json import arguments
from extproc.core.tool_ids import ToolIds
from extproc.dialects.anthropic_messages.blocks import encode_media, encode_text, encode_thinking
from extproc.dialects.anthropic_messages.wire import NAME, VENDOR, cache_control, safe_id, tool_name

_USER, _ASSISTANT = Role.USER, Role.ASSISTANT  # a member looked up on its enumeration costs four times as much
_OPENING = "(The conversation starts with the assistant's message.)"
_NO_CACHE = ("thinking", "redacted_thinking")
"""Blocks that take no cache mark."""


@dataclass(slots=True)
class Turns:
    """`system` blocks and `messages`, as JSON values."""

    system: list[JSON] = field(default_factory=list)
    messages: list[JSON] = field(default_factory=list)


_Turn = tuple[str, list[Block]]
"""A role and what it says."""


def encode_turns(messages: Sequence[Message], losses: Losses, *, own: bool) -> Turns:
    """The whole history. `own`: it was decoded from this dialect, whose own blocks may open it. Raises `BadRequestError`, `UntranslatableError`."""
    out = Turns()
    history = _merge(messages, out.system, losses)
    ids = ToolIds(safe_id)
    written = out.messages
    last = len(history) - 1
    for place, (role, blocks) in enumerate(history):
        text = plain_text(blocks)
        if text is not None and place < last and role != "system" and text.strip():
            # most turns of most histories, at a third of what they cost below
            content: list[JSON] = [{"type": "text", "text": text}]
            if role == "user":
                ids.settle()
        elif role == "assistant":
            content = _assistant(blocks, ids, losses, own=own)
            if place == last:
                _trim_end(content, losses)
        elif role == "user":
            content = _user(blocks, ids, losses, own=own)
        else:
            content = [_system_block(b) for b in blocks]
        if not content:
            continue
        if written and written[-1]["role"] == role:
            written[-1]["content"] += content
        else:
            written.append({"role": role, "content": content})
    ids.settle()
    if not out.messages:
        if not out.system:
            raise BadRequestError("at least one message with content is required", param="messages")
        losses.add("coerced:system_position", "the system text is the whole request, so it is sent as the user's turn")
        out.messages.append({"role": "user", "content": out.system})
        out.system = []
    elif out.messages[0]["role"] == "assistant" and not own:
        losses.add("coerced:first_turn", "a user turn was put in front of the assistant's")
        out.messages.insert(0, {"role": "user", "content": [encode_text(_OPENING, None)]})
    return out


def continues_signed(messages: JSON) -> bool:
    """False for a tool loop under way that does not begin with thinking: manual thinking is refused there.

    The loop is all turns since the user last spoke, tool results not counted. True if there is none. Total: `messages` may be a client's own.
    """
    if not isinstance(messages, list) or not messages or not _holds_result(messages[-1]):
        return True
    first: JSON = None
    for message in reversed(messages):
        if not isinstance(message, dict):
            return True
        role = message.get("role")
        if role == "assistant":
            first = message.get("content")
        elif role == "user" and not _holds_result(message):
            break
    if first is None:
        return True
    head = first[0] if isinstance(first, list) and first else None
    return isinstance(head, dict) and head.get("type") in _NO_CACHE


def _holds_result(message: JSON) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    return isinstance(content, list) and any(isinstance(b, dict) and b.get("type") == "tool_result" for b in content)


def _merge(messages: Sequence[Message], system: list[JSON], losses: Losses) -> list[_Turn]:
    """Runs of one role as one turn each; leading system text goes to `system`."""
    turns: list[_Turn] = []
    shared = False  # the last turn has its message's own list of blocks
    for message in messages:
        if message.name:
            losses.add("dropped:name", "messages carry no name")
        blocks = message.blocks
        if message.role is not _USER and message.role is not _ASSISTANT:
            if any(isinstance(b, Foreign) and b.dialect == NAME for b in blocks):
                # only a client of this dialect can have written it, and only a system message may hold it
                turns.append(("system", blocks))
                continue
            texts = _system_text(blocks, losses)
            if not turns:
                system += [encode_text(b.text, b.cache) for b in texts]
                continue
            if not texts:
                continue
            losses.add("coerced:system_position", "a later system message became part of the user's turn")
            blocks = [Text(f"<system>\n{b.text}\n</system>", b.cache) for b in texts]
        role = "assistant" if message.role is _ASSISTANT else "user"
        if not turns or turns[-1][0] != role:
            turns.append((role, blocks))
            shared = True
            continue
        if shared:
            turns[-1] = (role, list(turns[-1][1]))
            shared = False
        turns[-1][1].extend(blocks)
    return turns


def _system_text(blocks: list[Block], losses: Losses) -> list[Text]:
    texts: list[Text] = []
    for block in blocks:
        if not isinstance(block, Text):
            raise BadRequestError("system and developer messages hold text only", param="messages")
        if block.text.strip():
            texts.append(block)
        else:
            losses.add("dropped:empty_text", "system")
    return texts


def _system_block(block: Block) -> JSON:
    if isinstance(block, Foreign):
        return block.raw
    if isinstance(block, Text):
        return encode_text(block.text, block.cache)
    raise BadRequestError("system and developer messages hold text only", param="messages")


def _user(blocks: list[Block], ids: ToolIds, losses: Losses, *, own: bool) -> list[JSON]:
    results = [b for b in blocks if isinstance(b, ToolResult)]
    content: list[JSON] = [_tool_result(wire, b, losses, own=own) for wire, b in ids.results(results, losses)]
    if results and not all(isinstance(b, ToolResult) for b in blocks[: len(results)]):
        losses.add("coerced:tool_result_position", "tool results were moved to the front of their turn")
    for block in blocks:
        if not isinstance(block, ToolResult):
            _add(content, block, losses, own=own)
    return content


def _add(content: list[JSON], block: Block, losses: Losses, *, own: bool) -> None:
    """One block of a user's turn or of a tool result, unless it is blank."""
    if isinstance(block, Text):
        _add_text(content, block, losses, own=own)
    elif isinstance(block, Refusal):
        _add_text(content, Text(block.text, block.cache), losses, own=own)
    elif isinstance(block, Image | Document):
        content.append(encode_media(block, losses, own=own))
    elif isinstance(block, Foreign) and block.dialect == NAME:
        content.append(block.raw)
    elif isinstance(block, Thinking):
        losses.add("dropped:thinking", "thinking in a user's turn")
    else:
        kind = block.kind if isinstance(block, Foreign) else type(block).__name__.lower()
        raise UntranslatableError(f"the Messages format has no {kind[:64]} content for the user's turn", param="messages")


def _add_text(content: list[JSON], block: Text, losses: Losses, *, own: bool) -> None:
    if not block.text.strip():
        losses.add("dropped:empty_text", "blank text is refused")
        last = content[-1] if content else None
        if block.cache is not None and last is not None and last.get("type") not in _NO_CACHE:
            last.setdefault("cache_control", cache_control(block.cache))
        return
    out = encode_text(block.text, block.cache)
    if block.opaque is not None:
        losses.add("signature:foreign", "text has no slot for a signature")
    if block.citations:
        if own:
            out["citations"] = block.citations
        else:
            losses.add("dropped:citations", "citations are in another format's shape")
    content.append(out)


def _tool_result(wire: str, block: ToolResult, losses: Losses, *, own: bool) -> JSON:
    out: dict[str, JSON] = {"type": "tool_result", "tool_use_id": wire}
    content: list[JSON] = []
    for inner in block.content:
        if isinstance(inner, ToolCall | ToolResult):
            raise BadRequestError("a tool result holds text, images and documents", param="messages")
        _add(content, inner, losses, own=own)
    if content:
        out["content"] = content
    if block.is_error:
        # an error without a word is refused
        out["content"] = content or "error"
        out["is_error"] = True
    if block.cache is not None:
        out["cache_control"] = cache_control(block.cache)
    return out


def _assistant(blocks: list[Block], ids: ToolIds, losses: Losses, *, own: bool) -> list[JSON]:
    content: list[JSON] = []
    for block in blocks:
        if isinstance(block, Text):
            _add_text(content, block, losses, own=own)
        elif isinstance(block, ToolCall):
            content.append(_tool_use(block, ids, losses))
        elif isinstance(block, Thinking):
            if block.opaque is None:
                losses.add("dropped:thinking", "thinking without a signature is refused")
            elif block.opaque.vendor != VENDOR:
                losses.add("signature:foreign", f"thinking signed by {block.opaque.vendor[:64]} stays out")
            else:
                content.append(encode_thinking(block))
        elif isinstance(block, Refusal):
            losses.add("coerced:refusal", "a refusal became text")
            _add_text(content, Text(block.text, block.cache), losses, own=own)
        elif isinstance(block, Foreign) and block.dialect == NAME:
            content.append(block.raw)
        elif isinstance(block, ToolResult):
            raise BadRequestError("a tool result cannot stand in an assistant's turn", param="messages")
        else:
            kind = block.kind if isinstance(block, Foreign) else type(block).__name__.lower()
            losses.add("dropped:assistant_content", f"{kind[:64]} in an assistant's turn")
    return content


def _tool_use(block: ToolCall, ids: ToolIds, losses: Losses) -> JSON:
    given, wrapped = arguments(block.arguments)
    if wrapped:
        losses.add("coerced:tool_arguments", "arguments that are no JSON object were put into one")
    if block.opaque is not None and block.opaque.vendor != VENDOR:
        losses.add("signature:foreign", f"a tool call's signature by {block.opaque.vendor[:64]} stays out")
    out: dict[str, JSON] = {"type": "tool_use", "id": ids.call(block.id, losses), "name": tool_name(block.name), "input": given}
    if block.cache is not None:
        out["cache_control"] = cache_control(block.cache)
    return out


def _trim_end(content: list[JSON], losses: Losses) -> None:
    """A prefill that ends in white space is refused."""
    last = content[-1] if content else None
    if last is None or last.get("type") != "text":
        return
    trimmed = last["text"].rstrip()
    if trimmed != last["text"]:
        losses.add("coerced:trailing_white_space", "a prefill may not end in white space")
        last["text"] = trimmed
