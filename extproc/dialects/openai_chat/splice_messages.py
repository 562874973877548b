"""Messages and tools of a Chat Completions request for another vendor of the format, each edited only where the target refuses it as it is.

Clients echo what they were answered, and a conversation moves from vendor to vendor: thoughts under another name, ids of another length, parts
that only their maker knows. A member is edited alone. A message whose parts must change is decoded and encoded again, alone too.
"""

from __future__ import annotations

import orjson

from extproc.core import carrier, jsonedit
from extproc.core.dialect import Facts
from extproc.core.errors import ApiError
from extproc.core.ir import JSON
from extproc.core.losses import Losses
from extproc.dialects.openai_chat import details, members
from extproc.dialects.openai_chat.messages_encode import BLANK, BRIDGE, TEXT_SLOTS, call_id, encode_messages
from extproc.dialects.openai_chat.request_decode import decode_request

Edits = dict[str, bytes | None]
_ON_CALLS = ("extra_content", "cache_control")
"""Members of vendors that stand on tool calls too."""
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details")


def replays_state(facts: Facts) -> bool:
    """Has the target a slot for state that it, or another way to the same models, left in tool call ids?"""
    return bool(facts.quirks & {"reasoning_details", "extra_content", "thinking_parts"})


def splice_messages(
    raw: bytes, array: jsonedit.Member, body: dict[str, JSON], facts: Facts, losses: Losses, *, exact: bool, own_state: bool
) -> bytes | None:
    """The edited array; None if nothing must change. `exact`: the client named the target's model. `own_state`: ids in `raw` carry state, and
    the target may be its vendor."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return None
    one = _One(body, facts, losses, exact=exact, own_state=own_state)
    bridged = "no_user_after_tool" in facts.quirks
    spans: list[tuple[int, int]] | None = None
    pieces: list[bytes] = []
    at = array.start
    before = ""
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            continue
        role = message.get("role")
        between = bridged and before == "tool" and role == "user"
        before = role if isinstance(role, str) else ""
        changed = one.must_change(message, last=place == len(messages) - 1)
        if not changed and not between:
            continue
        if spans is None:
            spans = jsonedit.elements(raw, array)
        if place >= len(spans):
            break
        start, end = spans[place]
        new = one.change(message, raw[start:end], last=place == len(messages) - 1) if changed else raw[start:end]
        if between:
            losses.add("coerced:turn_order", "tool results before a user's message")
            new = orjson.dumps(BRIDGE) + b"," + new
        pieces += (raw[at:start], new)
        at = end
    if not pieces:
        return None
    pieces.append(raw[at : array.end])
    return b"".join(pieces)


class _One:
    """What one message needs to suit the target."""

    __slots__ = ("blank", "body", "facts", "foreign", "losses", "marks", "names", "own_state", "parts", "short_ids", "slot")

    def __init__(self, body: dict[str, JSON], facts: Facts, losses: Losses, *, exact: bool, own_state: bool) -> None:
        quirks = facts.quirks
        self.body = body
        self.facts = facts
        self.losses = losses
        self.own_state = own_state
        self.foreign = members.refused_in_messages(facts, exact=exact)
        self.marks = self.foreign & {"cache_control"} | ({"prompt_cache_breakpoint"} if "strict_messages" in quirks else frozenset())
        self.names = "no_names" in quirks
        self.short_ids = facts.vendor == "openai" or "short_tool_ids" in quirks
        self.slot = next((slot for quirk, slot in TEXT_SLOTS.items() if quirk in quirks), "")
        thinking = body.get("thinking")
        off = isinstance(thinking, dict) and thinking.get("type") == "disabled"
        self.blank = "reasoning_content_required" in quirks and not exact and not off
        self.parts = _foreign_parts(facts, exact=exact)

    def must_change(self, message: dict[str, JSON], *, last: bool) -> bool:
        """Cheap: most messages of most requests suit every vendor."""
        role = message.get("role")
        if role == "developer" and "no_developer_role" in self.facts.quirks:
            return True
        if self.foreign and not self.foreign.isdisjoint(message):
            return True
        if self.names and message.get("name") is not None and role not in ("tool", "function"):
            return True
        content = message.get("content")
        if isinstance(content, list) and (self._unfit(content) or self._marked(content)):
            return True
        if role == "assistant":
            return self._assistant(message, last=last)
        ident = message.get("tool_call_id")
        return self.short_ids and isinstance(ident, str) and self._short(ident) is not None

    def _assistant(self, message: dict[str, JSON], *, last: bool) -> bool:
        calls = message.get("tool_calls")
        if self.slot and self.slot not in message and any(message.get(name) for name in _THOUGHTS):
            return True
        if last and not calls and "prefix" in self.facts.quirks and not message.get("prefix"):
            return True
        if not isinstance(calls, list) or not calls:
            return False
        if self.blank and not message.get("reasoning_content"):
            return True
        return any(isinstance(call, dict) and self._call_unfit(call) for call in calls)

    def _call_unfit(self, call: dict[str, JSON]) -> bool:
        ident = call.get("id")
        if isinstance(ident, str):
            if self.own_state and carrier.MARK in ident:
                return True
            if self.short_ids and self._short(ident) is not None:
                return True
        return any(name in self.foreign and name in call for name in _ON_CALLS)

    def _short(self, ident: str) -> str | None:
        """The id as the target takes it, if it does not as it is. State in it is none of the id's, and no longer in the raw bytes."""
        own = ident.partition(carrier.MARK)[0]
        short = call_id(own, self.facts)
        return short if short != own else None

    def _unfit(self, content: list[JSON]) -> bool:
        """Is there a part in a form that the target refuses?"""
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str) and kind in self.parts and (self.parts[kind] is None or isinstance(part.get(kind), self.parts[kind] or ())):
                return True
        return False

    def _marked(self, content: list[JSON]) -> bool:
        return bool(self.marks) and any(isinstance(part, dict) and not self.marks.isdisjoint(part) for part in content)

    def change(self, message: dict[str, JSON], raw: bytes, *, last: bool) -> bytes:
        """The message, or the messages, that take its place."""
        again = self._again(message, last=last)
        if again is not None:
            return again
        edits: Edits = {}
        role = message.get("role")
        if role == "developer" and "no_developer_role" in self.facts.quirks:
            edits["role"] = b'"system"'
        if role == "assistant":
            self._thoughts(message, edits)
            if last and not message.get("tool_calls") and "prefix" in self.facts.quirks and not message.get("prefix"):
                edits["prefix"] = b"true"
        for name in self.foreign:
            if name in message and name not in edits:
                edits[name] = None
                self._lost(name, message[name])
        if self.names and message.get("name") is not None and role not in ("tool", "function"):
            edits["name"] = None
            self.losses.add("dropped:name", "messages[]")
        self._ids(message, edits)
        content = message.get("content")
        if isinstance(content, list) and self._marked(content):
            self.losses.add("dropped:cache_control", "the provider caches by itself")
            bare = [{k: v for k, v in part.items() if k not in self.marks} if isinstance(part, dict) else part for part in content]
            edits["content"] = orjson.dumps(bare)
        return jsonedit.splice(raw, edits)

    def _again(self, message: dict[str, JSON], *, last: bool) -> bytes | None:
        """The message decoded and encoded, if its parts, its state or a refusal must take another form, and can."""
        content, calls = message.get("content"), message.get("tool_calls")
        carried = self.own_state and isinstance(calls, list) and any(carrier.MARK in str(c.get("id")) for c in calls if isinstance(c, dict))
        refusal = "refusal" in self.foreign and bool(message.get("refusal"))
        thoughts = "thinking_parts" in self.facts.quirks and any(message.get(name) for name in _THOUGHTS)
        if not (carried or refusal or thoughts or (isinstance(content, list) and self._unfit(content))):
            return None
        losses = Losses()
        try:
            request = decode_request({"model": "-", "messages": [message]})
            encoded = encode_messages(request.messages, self.facts, losses)
        except ApiError:
            # what cannot be said in another way goes as it is: the provider judges it
            if carried:
                self.losses.add("signature:foreign", "in the ids of tool calls of a message that cannot be read")
            return None
        for loss in (*request.losses, *losses):
            self.losses.add(loss.code, loss.detail)
        if not last:
            for new in encoded:
                new.pop("prefix", None)
        return b",".join(map(orjson.dumps, encoded))

    def _thoughts(self, message: dict[str, JSON], edits: Edits) -> None:
        """Thoughts under the target's name for them. The members that it refuses go with all others."""
        if self.slot and not message.get(self.slot):
            text = details.plain(message) or "\n\n".join(thought.text for thought in details.decode(message) if thought.text)
            if not text and self.blank and message.get("tool_calls"):
                text = BLANK
                self.losses.add("defaulted:thinking", "turns with tool calls")
            if text:
                edits[self.slot] = orjson.dumps(text)
                for name in _THOUGHTS:
                    if name in message and name != self.slot:
                        edits[name] = None

    def _lost(self, name: str, value: JSON) -> None:
        if value in (None, [], {}, "", False):
            return
        if name in _THOUGHTS:
            self.losses.add("dropped:thinking", "the format takes no thoughts back")
        elif name == "annotations":
            self.losses.add("dropped:citations", "in the history")
        elif name in ("extra_content", "thought_signature"):
            self.losses.add("signature:foreign", "minted by gemini")
        else:
            self.losses.member(name, "messages[]")

    def _ids(self, message: dict[str, JSON], edits: Edits) -> None:
        ident, calls = message.get("tool_call_id"), message.get("tool_calls")
        if self.short_ids and isinstance(ident, str):
            short = self._short(ident)
            if short is not None:
                edits["tool_call_id"] = orjson.dumps(short)
        if not isinstance(calls, list) or not any(isinstance(call, dict) and self._call_unfit(call) for call in calls):
            return
        out: list[JSON] = []
        for call in calls:
            new = call
            if isinstance(call, dict) and self._call_unfit(call):
                new = dict(call)
                if self.short_ids and isinstance(call.get("id"), str):
                    own = call["id"].partition(carrier.MARK)[0]
                    new["id"] = self._short(own) or own
                for name in self.foreign.intersection(_ON_CALLS):
                    self._lost(name, new.pop(name, None))
            out.append(new)
        edits["tool_calls"] = orjson.dumps(out)


def _foreign_parts(facts: Facts, *, exact: bool) -> dict[str, type | None]:
    """{type of a part: the shape of its value that the target refuses, None for any}."""
    quirks = facts.quirks
    strict = members.taken(facts) is not None
    parts: dict[str, type | None] = {}
    if exact and not strict:
        return parts
    if "thinking_parts" not in quirks:
        parts["thinking"] = None
    if exact and facts.vendor == "openai":
        return parts
    if "document_url" in quirks:
        parts["file"] = dict
    else:
        parts["document_url"] = None
    if "bare_audio" in quirks:
        parts["input_audio"] = dict
    else:
        parts["input_audio"] = str
        parts["image_url"] = str
    if facts.vendor != "openai":
        parts["refusal"] = None
    return parts


def splice_tools(raw: bytes, array: jsonedit.Member, body: dict[str, JSON], facts: Facts, losses: Losses, *, exact: bool) -> bytes | None:
    """Tools without `strict` or cache marks, and with parameters, where the target wants that; None if nothing must change."""
    tools = body.get("tools")
    loose, required = "no_strict_tools" in facts.quirks, "tool_parameters" in facts.quirks
    marks = "cache_control" in members.refused_in_messages(facts, exact=exact)
    if not isinstance(tools, list) or not (loose or required or marks):
        return None
    out: list[bytes | None] = []
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        new: dict[str, JSON] = {}
        if marks and isinstance(tool, dict) and "cache_control" in tool:
            losses.add("dropped:cache_control", "tools")
            new = {name: value for name, value in tool.items() if name != "cache_control"}
        if isinstance(function, dict):
            if loose and "strict" in function:
                if function["strict"]:
                    losses.add("dropped:strict", "tools")
                function = {name: value for name, value in function.items() if name != "strict"}
            if required and function.get("parameters") is None:
                function = function | {"parameters": {"type": "object", "properties": {}}}
            if function is not tool["function"]:
                new = (new or tool) | {"function": function}
        out.append(orjson.dumps(new) if new else None)
    if not any(out):
        return None
    pieces: list[bytes] = []
    at = array.start
    for changed, (start, end) in zip(out, jsonedit.elements(raw, array), strict=False):
        if changed is not None:
            pieces += (raw[at:start], changed)
            at = end
    pieces.append(raw[at : array.end])
    return b"".join(pieces)
