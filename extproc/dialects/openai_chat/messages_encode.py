"""Canonical messages to Chat Completions messages.

Tool results become messages of their own, which must stand directly behind the assistant's calls and hold only text; whatever else they and
assistant messages hold (images, files) moves into the next user message, behind a line that says where it came from.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field

from extproc.core.dialect import Facts
from extproc.core.errors import UntranslatableError
from extproc.core.ir import (
    JSON,
    Audio,
    Block,
    Document,
    Foreign,
    Image,
    Message,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
    plain_text,
)
from extproc.core.losses import Losses
from extproc.core.tool_names import wire_name
from extproc.dialects.openai_chat import details
from extproc.dialects.openai_chat.content import NAME, VENDOR, audio_part, document_parts, image_part, thinking_part, video_part

_MAX_ID = 40
"""Characters of a tool call id that OpenAI takes; longer ones are a recorded 400 (`string_above_max_length`)."""

BRIDGE = {"role": "assistant", "content": "OK."}
"""Stands between tool results and a user's message for targets that refuse them in a row."""
BLANK = " "
"""Thoughts of another vendor's turn for targets that want some with every tool call."""
TEXT_SLOTS = {"reasoning_content_history": "reasoning_content", "reasoning_history": "reasoning"}
"""By quirk: the member of assistant messages that takes thoughts back as text."""
_USER, _ASSISTANT = Role.USER, Role.ASSISTANT  # a member looked up on its enumeration costs four times as much
_NAMES = {Role.SYSTEM: "system", Role.DEVELOPER: "developer", Role.USER: "user", Role.ASSISTANT: "assistant"}
_COMMON_DETAILS = frozenset({"auto", "low", "high"})
_NINE = re.compile(r"[A-Za-z0-9]{9}")


def encode_messages(messages: list[Message], facts: Facts, losses: Losses) -> list[JSON]:
    """Raises `UntranslatableError` for content that the format cannot hold."""
    encoder = _Encoder(facts, losses)
    last = encoder.last = messages[-1] if messages else None
    names = _NAMES | ({Role.DEVELOPER: "system"} if "no_developer_role" in facts.quirks else {})
    bridged = "no_user_after_tool" in facts.quirks
    for message in _joined(messages):
        role = message.role
        text = plain_text(message.blocks)
        if text is not None and not message.name and message is not last and not encoder.moved and not (bridged and role is _USER):
            # most messages of most histories, at a fifth of what they cost below
            encoder.out.append({"role": names[role], "content": text})
        elif role is _ASSISTANT:
            encoder.assistant(message)
        elif role is _USER:
            encoder.user(message)
        else:
            encoder.system(message)
    encoder.flush()
    return encoder.out


def _joined(messages: list[Message]) -> list[Message]:
    """User messages that bring results of the same turn as one: nothing may stand between a turn's tool messages."""
    out: list[Message] = []
    before: Message | None = None
    for message in messages:
        if message.role is not _USER:
            before = None
        elif before is not None and _brings_result(message) and _brings_result(before):
            before = out[-1] = Message(_USER, [*before.blocks, *message.blocks], message.name)
            continue
        else:
            before = message
        out.append(message)
    return out


def _brings_result(message: Message) -> bool:
    return any(isinstance(block, ToolResult) for block in message.blocks)


def call_id(original: str, facts: Facts) -> str:
    """The id as the target takes it. Calls and results map alike, and the client never sees the mapped one, so nothing has to map back."""
    if "short_tool_ids" in facts.quirks:
        if _NINE.fullmatch(original):
            return original
        digest = base64.b64encode(hashlib.sha256(original.encode()).digest(), b"00").decode()
        return digest[:9]
    if facts.vendor == "openai" and len(original) > _MAX_ID:
        return "call_" + hashlib.sha256(original.encode()).hexdigest()[:24]
    return original


@dataclass(slots=True)
class _Encoder:
    facts: Facts
    losses: Losses
    out: list[JSON] = field(default_factory=list)
    moved: list[JSON] = field(default_factory=list)
    """Parts that wait for the next user message."""
    last: Message | None = None
    """The message at the end, which some vendors go on with."""

    def flush(self) -> None:
        if self.moved:
            self.bridge()
            self.out.append({"role": "user", "content": self.moved})
            self.moved = []

    def system(self, message: Message) -> None:
        self.flush()
        role = "system" if message.role is Role.SYSTEM or "no_developer_role" in self.facts.quirks else "developer"
        self.out.append(self._named({"role": role, "content": self.content(self.texts(message.blocks, role))}, message))

    def user(self, message: Message) -> None:
        results = [block for block in message.blocks if isinstance(block, ToolResult)]
        for result in results:
            self.tool(result)
        parts = self.moved
        self.moved = []
        for block in message.blocks:
            if not isinstance(block, ToolResult):
                parts += self.parts(block)
        if parts or not results:
            self.bridge()
            self.out.append(self._named({"role": "user", "content": _short(parts)}, message))

    def bridge(self) -> None:
        """A turn of the assistant between tool results and a user's message, where the target refuses them in a row."""
        if "no_user_after_tool" in self.facts.quirks and self.out and self.out[-1]["role"] == "tool":
            self.losses.add("coerced:turn_order", "tool results before a user's message")
            self.out.append(dict(BRIDGE))

    def tool(self, result: ToolResult) -> None:
        if result.is_error:
            self.losses.add("dropped:tool_error_flag", "tool messages have no error flag; the text stands for itself")
        if result.cache is not None:
            self.losses.add("dropped:cache_control", "tool results")
        texts: list[Block] = [block for block in result.content if isinstance(block, Text)]
        others = [block for block in result.content if not isinstance(block, Text)]
        ident = call_id(result.id, self.facts)
        if others:
            self.losses.add("coerced:tool_result_media", "tool messages hold only text: it follows in a user message")
            self.moved.append({"type": "text", "text": f"Attached to the result of tool call {ident}:"})
            for block in others:
                self.moved += self.parts(block)
        content = self.content(self.texts(texts, "tool"))
        if others and not texts:
            content = "The result is attached to the next user message."
        self.out.append({"role": "tool", "tool_call_id": ident, "content": content})

    def assistant(self, message: Message) -> None:
        self.flush()
        texts: list[Block] = []
        calls: list[JSON] = []
        thoughts: list[Thinking] = []
        encoded: dict[str, JSON] = {"role": "assistant", "content": None}
        for block in message.blocks:
            if isinstance(block, ToolCall):
                calls.append(self.call(block))
            elif isinstance(block, Thinking):
                thoughts.append(block)
            elif isinstance(block, Text | Refusal):
                texts.append(block)
            elif isinstance(block, Foreign) and block.dialect == NAME and block.kind == "audio":
                encoded["audio"] = block.raw
            elif isinstance(block, Foreign) and block.dialect == NAME and block.kind.endswith("_tool_call"):
                calls.append(block.raw)
            else:
                self.losses.add("coerced:assistant_media", "assistant messages hold only text: it follows in a user message")
                self.moved.append({"type": "text", "text": "From the previous assistant message:"})
                self.moved += self.parts(block)
        if len(texts) == 1 and isinstance(texts[0], Refusal) and self.facts.vendor == "openai":
            encoded["refusal"] = texts[0].text
        elif texts:
            encoded["content"] = self.content(self.texts(texts, "assistant"))
        elif not calls and "audio" not in encoded:
            encoded["content"] = ""
        if calls:
            encoded["tool_calls"] = calls
        self.thoughts(encoded, thoughts, [block for block in message.blocks if isinstance(block, ToolCall)])
        if message is self.last and not calls and "prefix" in self.facts.quirks:
            encoded["prefix"] = True
        self.out.append(self._named(encoded, message))

    def call(self, block: ToolCall) -> JSON:
        call: dict[str, JSON] = {
            "id": call_id(block.id, self.facts),
            "type": "function",
            "function": {"name": wire_name(block.name), "arguments": block.arguments or "{}"},
        }
        opaque = block.opaque
        if opaque is not None and opaque.vendor == "gemini" and "extra_content" in self.facts.quirks:
            call["extra_content"] = {"google": {"thought_signature": opaque.data}}
        elif opaque is not None and not ("reasoning_details" in self.facts.quirks and opaque.vendor == details.mints(self.facts.model) == "gemini"):
            self.losses.add("signature:foreign", f"minted by {opaque.vendor}")
        if block.cache is not None:
            self.losses.add("dropped:cache_control", "tool calls")
        return call

    def thoughts(self, encoded: dict[str, JSON], thoughts: list[Thinking], calls: list[ToolCall]) -> None:
        """Thoughts of the history go only to vendors that take them back, in the form that they take; OpenAI's chat has no slot for them."""
        quirks = self.facts.quirks
        if "reasoning_details" in quirks:
            found = details.encode(thoughts, calls, self.facts.model)
            if found:
                encoded["reasoning_details"] = found
            kept = {details.VENDOR, details.mints(self.facts.model)}
        else:
            kept = {VENDOR} if "thinking_parts" in quirks else set()
        for thought in thoughts:
            if thought.opaque is not None and thought.opaque.vendor not in kept:
                self.losses.add("signature:foreign", f"minted by {thought.opaque.vendor}")
        shown = [thought for thought in thoughts if thought.text]
        if calls and not shown and "reasoning_content_required" in quirks:
            self.losses.add("defaulted:thinking", "turns with tool calls")
            encoded["reasoning_content"] = BLANK
        if not thoughts or "reasoning_details" in quirks:
            return
        if "thinking_parts" in quirks:
            rest = encoded["content"]
            parts = [{"type": "text", "text": rest}] if isinstance(rest, str) and rest else rest or []
            encoded["content"] = [*map(thinking_part, shown), *parts] if shown else rest
        elif quirks & TEXT_SLOTS.keys():
            if shown:
                slot = next(slot for quirk, slot in TEXT_SLOTS.items() if quirk in quirks)
                encoded[slot] = "\n\n".join(thought.text for thought in shown)
        else:
            self.losses.add("dropped:thinking", "the format takes no thoughts back")

    def texts(self, blocks: list[Block], role: str) -> list[JSON]:
        """Parts of a message that may hold nothing but text, and refusals in an assistant's."""
        parts: list[JSON] = []
        for block in blocks:
            if isinstance(block, Refusal) and role == "assistant" and self.facts.vendor == "openai":
                parts.append({"type": "refusal", "refusal": block.text})
            elif isinstance(block, Refusal) and role == "assistant":
                self.losses.add("coerced:refusal", "sent as text")
                parts.append({"type": "text", "text": block.text})
            elif isinstance(block, Text):
                parts += self.parts(block)
            elif isinstance(block, Thinking):
                self.losses.add("dropped:thinking", role)
            else:
                raise UntranslatableError(f"a {role} message can hold only text", param="messages")
        return parts

    def content(self, parts: list[JSON]) -> JSON:
        if len(parts) > 1 and "no_content_parts" in self.facts.quirks:
            self.losses.add("coerced:content_parts", "joined to one text")
            return "\n\n".join(part.get("text") or part.get("refusal") or "" for part in parts)
        return _short(parts)

    def parts(self, block: Block) -> list[JSON]:
        """One block as content parts of a user message."""
        match block:
            case Text():
                if block.opaque is not None:
                    self.losses.add("signature:foreign", f"minted by {block.opaque.vendor}")
                if block.citations:
                    self.losses.add("dropped:citations", "in the history")
                parts: list[JSON] = [{"type": "text", "text": block.text}]
            case Image() if "mistral_members" in self.facts.quirks:
                parts = [image_part(block, _COMMON_DETAILS)]
            case Image():
                parts = [image_part(block)]
            case Audio() | Document() if self._unread(block):
                raise UntranslatableError(f"this provider takes no {type(block).__name__.lower()}", param="messages")
            case Audio():
                parts = [audio_part(block, bare="bare_audio" in self.facts.quirks)]
            case Document():
                parts = document_parts(block, self.facts.quirks)
                if block.source.text is not None:
                    self.losses.add("coerced:document", "sent as text")
                elif block.context:
                    self.losses.add("dropped:document_context")
                if block.citations:
                    self.losses.add("dropped:document_citations", "citations cannot be asked for")
            case Refusal():
                parts = [{"type": "text", "text": block.text}]
            case Thinking():
                self.losses.add("dropped:thinking", "in a user message")
                return []
            case Foreign() if block.dialect == NAME and self.facts.vendor != "openai":
                return [block.raw]
            case Foreign():
                raise UntranslatableError(f"a {block.kind} block cannot be sent to another provider", param="messages")
            case Video() if "video_url" in self.facts.quirks:
                parts = [video_part(block)]
            case Video():
                raise UntranslatableError("video cannot be sent to this provider", param="messages")
            case ToolCall() | ToolResult():
                raise UntranslatableError("tool calls and results must be in messages of their own", param="messages")
        if block.cache is not None:
            if "cache_control" in self.facts.quirks:
                ttl = {"ttl": block.cache} if block.cache != "default" else {}
                parts[-1]["cache_control"] = {"type": "ephemeral"} | ttl
            else:
                self.losses.add("dropped:cache_control", "the provider caches by itself")
        return parts

    def _unread(self, block: Audio | Document) -> bool:
        return ("no_audio" if isinstance(block, Audio) else "no_documents") in self.facts.quirks and block.source.text is None

    def _named(self, encoded: dict[str, JSON], message: Message) -> dict[str, JSON]:
        if message.name and "no_names" in self.facts.quirks:
            self.losses.add("dropped:name", message.role.value)
        elif message.name:
            encoded["name"] = message.name
        return encoded


def _short(parts: list[JSON]) -> JSON:
    """One plain text as a string, which every vendor takes; nothing as the empty string."""
    if not parts:
        return ""
    if len(parts) == 1 and parts[0].keys() == {"type", "text"}:
        return parts[0]["text"]
    return parts
