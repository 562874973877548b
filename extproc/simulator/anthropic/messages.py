"""The messages of an Anthropic request: roles, content blocks, tool turns and signed thinking, checked as the API checks them.

A thinking block is signed over its text with a key of the simulator, so that a changed, cut or invented block is found out in any process.
Wire format: https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Any

import orjson

from extproc.simulator.shapes import base64_size, unknown
from extproc.simulator.wire import JSON, Ask, Media, Rejected

_CACHED = frozenset({"type", "cache_control"})
_BLOCKS = {
    "text": _CACHED | {"text", "citations"},
    "image": _CACHED | {"source"},
    "document": _CACHED | {"source", "title", "context", "citations"},
    "search_result": _CACHED | {"source", "title", "content", "citations"},
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
    "tool_use": _CACHED | {"id", "name", "input", "caller", "toolset_name"},
    "tool_result": _CACHED | {"tool_use_id", "content", "is_error", "toolset_name"},
}
_SERVER_BLOCK = re.compile(r"(server_tool_use|mcp_tool_use|[a-z_]+_tool_result|container_upload|compaction|tool_addition|tool_removal)")
_USER_BLOCKS = frozenset({"text", "image", "document", "search_result", "tool_result"})
_ASSISTANT_BLOCKS = frozenset({"text", "thinking", "redacted_thinking", "tool_use", "image", "document", "search_result"})
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_SIGNING_KEY = b"extproc simulator: anthropic thinking"


def bad(message: str) -> Rejected:
    """Anthropic's 400."""
    return Rejected(400, message)


def text_of(content: Any) -> str:
    """The text of a content member, blocks joined."""
    if isinstance(content, str):
        return content
    return "\n".join(b["text"] for b in content or [] if isinstance(b, dict) and isinstance(b.get("text"), str))


def sign(thinking: str, nonce: bytes) -> str:
    """The signature of a thinking block with this text; `nonce` is 16 bytes that make it look like no other."""
    mac = hmac.new(_SIGNING_KEY, nonce + thinking.encode(), hashlib.sha256).digest()
    return base64.b64encode(b"\x12\xa4\x01" + nonce + mac + hashlib.sha512(nonce + mac).digest()).decode()


def _signature(block: JSON) -> str | None:
    """What is wrong with a thinking block: "invalid" (no signature of ours), "modified" (ours, over another text), or None."""
    try:
        raw = base64.b64decode(str(block.get("signature")), validate=True)
    except (binascii.Error, ValueError):
        return "invalid"
    nonce, mac, tail = raw[3:19], raw[19:51], raw[51:]
    if len(raw) != 115 or tail != hashlib.sha512(nonce + mac).digest():
        return "invalid"
    wanted = hmac.new(_SIGNING_KEY, nonce + str(block.get("thinking")).encode(), hashlib.sha256).digest()
    return None if hmac.compare_digest(mac, wanted) else "modified"


def read_messages(messages: list[Any], ask: Ask, *, system_allowed: bool) -> None:
    """Checks every message and fills in the last user text, media, tool results and the prompt's text."""
    prompt: list[str] = []
    for i, message in enumerate(messages):
        if not isinstance(message, dict):
            raise bad(f"messages.{i}: Input does not match the expected shape.")
        role = message.get("role")
        if role == "system" and not system_allowed:
            raise bad(
                'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not "system" as an input message role.'
            )
        if role not in ("user", "assistant", "system"):
            raise bad(f'messages: Unexpected role "{role}". Allowed roles are "user" or "assistant"')
        if stray := unknown(message, frozenset({"role", "content"})):
            raise bad(f"messages.{i}.{stray}: Extra inputs are not permitted")
        content = message.get("content")
        if content is None:
            raise bad(f"messages.{i}.content: Field required")
        if not content and not (role == "assistant" and i == len(messages) - 1):
            raise bad(f"messages.{i}: all messages must have non-empty content except for the optional final assistant message")
        if isinstance(content, str):
            if content and not content.strip():
                raise bad("messages: text content blocks must contain non-whitespace text")
        elif isinstance(content, list):
            for j, block in enumerate(content):
                _block(block, role, f"messages.{i}.content.{j}", ask)
        else:
            raise bad(f"messages.{i}.content: Input should be a valid list")
        text = text_of(content)
        prompt.append(text)
        if role == "user" and text:
            ask.text = text
    ask.prompt = "\n".join(prompt)
    last = messages[-1]
    if last["role"] == "user" and isinstance(last["content"], list):
        results = [b for b in last["content"] if b["type"] == "tool_result"]
        # a text beside the results is a new question; the results are then history
        if results and not text_of(last["content"]).strip():
            ask.results = [text_of(b.get("content")) for b in results]


def _block(block: Any, role: str, at: str, ask: Ask) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind not in _BLOCKS:
        if isinstance(kind, str) and _SERVER_BLOCK.fullmatch(kind):
            return
        raise bad(f"{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {', '.join(map(repr, _BLOCKS))}")
    if kind not in (_ASSISTANT_BLOCKS if role == "assistant" else _USER_BLOCKS):
        raise bad(f"{at}: `{kind}` blocks can only be in `{'assistant' if role == 'user' else 'user'}` messages")
    if stray := unknown(block, _BLOCKS[kind]):
        raise bad(f"{at}.{kind}.{stray}: Extra inputs are not permitted")
    if kind == "text":
        if not isinstance(block.get("text"), str):
            raise bad(f"{at}.text.text: Field required")
        if not block["text"]:
            raise bad("messages: text content blocks must be non-empty")
        if not block["text"].strip() and role == "user":
            raise bad("messages: text content blocks must contain non-whitespace text")
    elif kind in ("image", "document"):
        ask.media.append(_source(block.get("source"), kind, at))
    elif kind == "thinking" and not (isinstance(block.get("thinking"), str) and isinstance(block.get("signature"), str)):
        raise bad(f"{at}.thinking.{'signature' if isinstance(block.get('thinking'), str) else 'thinking'}: Field required")
    elif kind == "tool_use":
        for name in ("id", "name", "input"):
            if name not in block:
                raise bad(f"{at}.tool_use.{name}: Field required")
        if not isinstance(block["id"], str) or not _TOOL_ID.fullmatch(block["id"]):
            raise bad(f"{at}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
        if not isinstance(block["name"], str) or not 1 <= len(block["name"]) <= 200:
            raise bad(f"{at}.tool_use.name: String should have at most 200 characters")
        if not isinstance(block["input"], dict):
            raise bad(f"{at}.tool_use.input: Input should be a valid dictionary")
    elif kind == "tool_result":
        _result(block, at, ask)


def _result(block: JSON, at: str, ask: Ask) -> None:
    if not isinstance(block.get("tool_use_id"), str) or not _TOOL_ID.fullmatch(block["tool_use_id"]):
        raise bad(f"{at}.tool_result.tool_use_id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    content = block.get("content")
    if not isinstance(block.get("is_error", False), bool):
        raise bad(f"{at}.tool_result.is_error: Input should be a valid boolean")
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise bad(f"{at}.tool_result.content: Input should be a valid list")
    for k, inner in enumerate(content):
        if not isinstance(inner, dict) or inner.get("type") not in ("text", "image", "document", "search_result", "tool_reference", "browser_state"):
            raise bad(f"{at}.tool_result.content.{k}.type: Input should be 'text', 'image', 'document' or 'search_result'")
        if inner["type"] in ("text", "image", "document"):
            _block(inner, "user", f"{at}.tool_result.content.{k}", ask)


def _source(source: Any, kind: str, at: str) -> Media:
    where = source.get("type") if isinstance(source, dict) else None
    if where == "url" and isinstance(source.get("url"), str):
        return Media(kind, "URL", None)
    if where == "file" and isinstance(source.get("file_id"), str):
        return Media(kind, "file id", None)
    if where == "text" and kind == "document" and isinstance(source.get("data"), str) and source.get("media_type") == "text/plain":
        return Media(kind, "text/plain", len(source["data"].encode()))
    if where == "content" and kind == "document":
        return Media(kind, "content", len(orjson.dumps(source.get("content"))))
    if where != "base64":
        raise bad(f"{at}.{kind}.source: Input tag '{where}' found using 'type' does not match any of the expected tags")
    if stray := unknown(source, frozenset({"type", "media_type", "data"})):
        raise bad(f"{at}.{kind}.source.base64.{stray}: Extra inputs are not permitted")
    mime = source.get("media_type")
    allowed = _IMAGES if kind == "image" else ("application/pdf",)
    if mime not in allowed:
        raise bad(f"{at}.{kind}.source.base64.media_type: Input should be {' or '.join(map(repr, allowed))}")
    size = base64_size(source["data"]) if isinstance(source.get("data"), str) else None
    if size is None:
        raise bad(f"{at}.{kind}.source.base64: invalid base64 data")
    return Media(kind, mime, size)


def _blocks(message: JSON) -> list[JSON]:
    return message["content"] if isinstance(message["content"], list) else []


def _turns(messages: list[JSON]) -> list[tuple[int, list[JSON]]]:
    """Consecutive messages of one role as one turn: (index of its last message, blocks)."""
    out: list[tuple[int, list[JSON]]] = []
    before = ""
    for i, message in enumerate(messages):
        blocks = _blocks(message) or [{"type": "text", "text": message["content"]}]
        if out and message["role"] == before:
            out[-1] = (i, out[-1][1] + blocks)
        else:
            out.append((i, list(blocks)))
        before = message["role"]
    return out


def check_tool_turns(messages: list[JSON]) -> None:
    """Each tool_use has its tool_result at the start of the next turn, and each tool_result its tool_use in the one before."""
    seen: set[str] = set()
    waiting: list[str] = []
    last = 0
    for i, blocks in _turns(messages):
        answered: list[str] = []
        for j, block in enumerate(blocks):
            if block["type"] != "tool_result":
                continue
            if block["tool_use_id"] not in waiting:
                raise bad(
                    f"messages.{i}.content.{j}: unexpected `tool_use_id` found in `tool_result` blocks: {block['tool_use_id']}. "
                    "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                )
            if block["tool_use_id"] in answered:
                raise bad(
                    f"messages.{i}.content.{j}: each tool_use must have a single result. "
                    f"Found multiple `tool_result` blocks with id: {block['tool_use_id']}"
                )
            # a result behind another kind of block does not answer
            if len(answered) == j:
                answered.append(block["tool_use_id"])
        _all_answered(last, [call for call in waiting if call not in answered])
        waiting, last = [b["id"] for b in blocks if b["type"] == "tool_use"], i
        if len(set(waiting)) < len(waiting) or seen.intersection(waiting):
            raise bad(f"messages.{i}.content: `tool_use` ids must be unique")
        seen.update(waiting)
    _all_answered(last, waiting)


def _all_answered(message: int, missing: list[str]) -> None:
    if missing:
        raise bad(
            f"messages.{message}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}. "
            "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        )


def check_thinking(messages: list[JSON], *, thinking: bool) -> None:
    """Signed thinking comes back as it went out, and while thinking is on, it leads the assistant turn of a tool loop that is under way."""
    for i, message in enumerate(messages):
        for j, block in enumerate(_blocks(message)):
            if block["type"] != "thinking":
                continue
            problem = _signature(block)
            if problem == "invalid":
                raise bad(f"messages.{i}.content.{j}: Invalid `signature` in `thinking` block")
            if problem == "modified":
                raise bad(
                    f"messages.{i}.content.{j}: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. "
                    "These blocks must remain as they were in the original response."
                )
    if not thinking or not any(b["type"] == "tool_result" for b in _blocks(messages[-1])):
        return
    # the loop starts behind the last user turn that holds anything but tool results
    start = 0
    for i, message in enumerate(messages):
        if message["role"] == "user" and not any(b["type"] == "tool_result" for b in _blocks(message)):
            start = i + 1
    first = messages[start] if start < len(messages) else messages[-1]
    kind = _blocks(first)[0]["type"] if _blocks(first) else "text"
    if first["role"] == "assistant" and kind not in ("thinking", "redacted_thinking"):
        raise bad(
            f"messages.{start}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{kind}`. When `thinking` is enabled, "
            "a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks). "
            "We recommend you include thinking blocks from previous turns. To avoid this requirement, disable `thinking`. "
            "Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
        )
