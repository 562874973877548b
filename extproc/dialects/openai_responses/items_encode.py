"""Canonical messages to `input` items.

An assistant's message becomes one item for each of its blocks, in their order. A reasoning item must be followed by what it led to (a recorded
400), and OpenAI knows it by its encrypted content, so calls and messages go without item ids: an id would be looked up, and nothing is stored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from extproc.core.dialect import Facts
from extproc.core.errors import UntranslatableError
from extproc.core.ir import JSON, Block, Document, Foreign, Image, Message, Refusal, Role, Text, Thinking, ToolCall, ToolResult, plain_text
from extproc.core.losses import Losses
from extproc.core.tool_names import wire_name
from extproc.dialects.openai_responses.content import document_part, image_part
from extproc.dialects.openai_responses.wire import NAME, minted_id, state

_USER, _ASSISTANT = Role.USER, Role.ASSISTANT  # a member looked up on its enumeration costs four times as much
_MAX_ID = 64
"""Characters of a call id that OpenAI takes."""


def encode_items(messages: list[Message], facts: Facts, losses: Losses) -> list[JSON]:
    """Raises `UntranslatableError` for content that the format cannot hold."""
    encoder = _Encoder(facts, losses)
    for message in messages:
        if message.name:
            losses.add("dropped:name", "messages carry no name")
        role, blocks = message.role, message.blocks
        text = plain_text(blocks)
        if text and role is _ASSISTANT:
            # most turns of most histories, as the ways below would write them
            encoder.out.append({"role": "assistant", "content": text})
        elif text and role is _USER and not encoder.moved:
            encoder.flush()
            encoder.out.append({"role": "user", "content": text})
        elif role is _ASSISTANT:
            encoder.assistant(blocks)
        elif role is _USER:
            encoder.user(blocks)
        else:
            developer = role is Role.DEVELOPER and "no_developer_role" not in facts.quirks
            encoder.said("developer" if developer else "system", blocks)
    encoder.flush()
    return encoder.out


def call_id(original: str) -> str:
    """The id as the API takes it. Calls and results map alike, and the client never sees the mapped one, so nothing has to map back."""
    return original if len(original) <= _MAX_ID else "call_" + hashlib.sha256(original.encode("utf-8", "replace")).hexdigest()[:24]


@dataclass(slots=True)
class _Encoder:
    facts: Facts
    losses: Losses
    out: list[JSON] = field(default_factory=list)
    moved: list[JSON] = field(default_factory=list)
    """Parts that wait for the next user message: media of an assistant's."""

    def flush(self) -> None:
        """The assistant's side is over: reasoning that nothing followed goes, and media that it cannot hold comes."""
        while self.out and self.out[-1].get("type") == "reasoning":
            self.out.pop()
            self.losses.add("dropped:thinking", "reasoning that led to nothing is refused")
        if self.moved:
            self.out.append({"role": "user", "content": self.moved})
            self.moved = []

    def said(self, role: str, blocks: list[Block]) -> None:
        """One message of the application's."""
        moved, self.moved = (self.moved, []) if role == "user" else ([], self.moved)
        self.flush()
        self.out.append({"role": role, "content": self.content([*moved, *self.parts(blocks)])})

    def user(self, blocks: list[Block]) -> None:
        rest: list[Block] = []
        results = False
        for block in blocks:
            if not isinstance(block, ToolResult):
                rest.append(block)
                continue
            if rest:
                self.said("user", rest)
                rest = []
            results = True
            self.result(block)
        if rest or not results:
            self.said("user", rest)

    def result(self, block: ToolResult) -> None:
        if block.is_error:
            self.losses.add("dropped:tool_error_flag", "tool outputs have no error flag; the text stands for itself")
        if block.cache is not None:
            self.losses.add("dropped:cache_control", "tool results")
        moved, self.moved = self.moved, []
        self.flush()
        self.moved = moved
        output = self.content(self.parts(block.content))
        self.out.append({"type": "function_call_output", "call_id": call_id(block.id), "output": output})

    def assistant(self, blocks: list[Block]) -> None:
        silent = True
        for block in blocks:
            match block:
                case Text(text=text):
                    self.marks(block)
                    if not text:
                        continue
                    self.out.append({"role": "assistant", "content": text})
                case Refusal(text=text):
                    part = {"type": "refusal", "refusal": text}
                    own = minted_id("msg", len(self.out), text)
                    self.out.append({"type": "message", "id": own, "role": "assistant", "status": "completed", "content": [part]})
                case Thinking():
                    self.thinking(block)
                    continue
                case ToolCall():
                    self.call(block)
                case Foreign() if block.dialect == NAME:
                    self.out.append(block.raw)
                case Image() | Document():
                    self.losses.add("coerced:assistant_media", "it follows in a user message")
                    self.moved += [{"type": "input_text", "text": "From the previous assistant message:"}, *self.parts([block])]
                case _:
                    raise _untranslatable(block, "an assistant's message")
            silent = False
        if silent and not any(isinstance(block, Thinking) for block in blocks):
            self.out.append({"role": "assistant", "content": ""})

    def thinking(self, block: Thinking) -> None:
        """State goes back to the vendor that minted it; bare text only to vendors that take it."""
        own = state(block.opaque) if block.opaque is not None and block.opaque.vendor == self.facts.vendor else None
        if own is not None:
            item_id, encrypted = own
            summary = [{"type": "summary_text", "text": block.text}] if block.text else []
            known = item_id or minted_id("rs", encrypted)
            self.out.append({"type": "reasoning", "id": known, "summary": summary, "encrypted_content": encrypted})
            return
        if block.opaque is not None:
            self.losses.add("signature:foreign", f"minted by {block.opaque.vendor[:64]}")
        if block.text and "reasoning_content_history" in self.facts.quirks:
            part = {"type": "reasoning_text", "text": block.text}
            self.out.append({"type": "reasoning", "id": minted_id("rs", block.text), "summary": [], "content": [part]})
        elif block.text:
            self.losses.add("dropped:thinking", "reasoning without its encrypted content is refused")

    def call(self, block: ToolCall) -> None:
        if block.opaque is not None:
            self.losses.add("signature:foreign", f"minted by {block.opaque.vendor[:64]}")
        if block.cache is not None:
            self.losses.add("dropped:cache_control", "tool calls")
        self.out.append({"type": "function_call", "call_id": call_id(block.id), "name": wire_name(block.name), "arguments": block.arguments or "{}"})

    def marks(self, block: Text) -> None:
        """What a text block carries besides its text."""
        if block.opaque is not None:
            self.losses.add("signature:foreign", f"minted by {block.opaque.vendor[:64]}")
        if block.citations:
            self.losses.add("dropped:citations", "in the history")
        if block.cache is not None:
            self.losses.add("dropped:cache_control", "the provider caches by itself")

    def parts(self, blocks: list[Block]) -> list[JSON]:
        """Blocks as content parts of a user message or a tool output."""
        out: list[JSON] = []
        for block in blocks:
            match block:
                case Text(text=text):
                    self.marks(block)
                    if text or len(blocks) == 1:
                        out.append({"type": "input_text", "text": text})
                case Refusal(text=text):
                    out.append({"type": "input_text", "text": text})
                case Image():
                    out.append(image_part(block))
                case Document():
                    out.append(document_part(block, self.losses))
                case Thinking():
                    self.losses.add("dropped:thinking", "in a user message")
                case _:
                    raise _untranslatable(block, "a user message")
            if isinstance(block, Image | Document) and block.cache is not None:
                self.losses.add("dropped:cache_control", "the provider caches by itself")
        return out

    def content(self, parts: list[JSON]) -> JSON:
        """One plain text as a string, which every vendor takes; nothing as the empty string."""
        if not parts:
            return ""
        if len(parts) == 1 and parts[0]["type"] == "input_text":
            return parts[0]["text"]
        if "no_content_parts" in self.facts.quirks and all(part["type"] == "input_text" for part in parts):
            self.losses.add("coerced:content_parts", "joined to one text")
            return "\n\n".join(part["text"] for part in parts)
        return parts


def _untranslatable(block: Block, where: str) -> UntranslatableError:
    kind = block.kind if isinstance(block, Foreign) else type(block).__name__.lower()
    return UntranslatableError(f"the Responses format has no {kind[:64]} in {where}", param="input")
