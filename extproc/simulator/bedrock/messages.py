"""The messages of a Converse request: roles, content blocks, tool turns and signed reasoning, checked as Bedrock checks them.

Claude's reasoning is signed and checked as at Anthropic's own API, by the same key. Bytes are base64 in JSON.
Wire format: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from extproc.simulator.anthropic.messages import check_thinking
from extproc.simulator.shapes import base64_size, unknown
from extproc.simulator.wire import JSON, Ask, Media, Rejected

_BLOCKS: dict[str, frozenset[str]] = {
    "text": frozenset(),
    "image": frozenset({"format", "source"}),
    "document": frozenset({"format", "name", "source", "context", "citations"}),
    "video": frozenset({"format", "source"}),
    "audio": frozenset({"format", "source"}),
    "toolUse": frozenset({"toolUseId", "name", "input", "type"}),
    "toolResult": frozenset({"toolUseId", "content", "status", "type"}),
    "guardContent": frozenset({"text", "image"}),
    "cachePoint": frozenset({"type", "ttl"}),
    "reasoningContent": frozenset({"reasoningText", "redactedContent"}),
    "citationsContent": frozenset({"content", "citations"}),
    "searchResult": frozenset({"source", "title", "content", "citations"}),
}
_USER = frozenset(_BLOCKS) - {"toolUse", "reasoningContent", "citationsContent"}
_ASSISTANT = frozenset({"text", "toolUse", "cachePoint", "reasoningContent", "citationsContent", "image", "video", "audio", "document"})
_RESULT = frozenset({"json", "text", "image", "document", "video", "searchResult"})
_FORMATS = {
    "image": ("png", "jpeg", "gif", "webp"),
    "document": ("pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"),
    "video": ("mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp", "video/mp4"),
    "audio": ("mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv"),
}
_MIMES = {"pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "html": "text/html", "csv": "text/csv"}
_TOOL_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_DOCUMENT_NAME = re.compile(r"[a-zA-Z0-9\s()\[\]._-]{1,200}")


def bad(message: str) -> Rejected:
    """Bedrock's 400, ValidationException."""
    return Rejected(400, message)


def one_of(value: Any, known: frozenset[str], at: str) -> str:
    """The name of the one member of a union. Raises `Rejected`."""
    if not isinstance(value, dict):
        raise bad(f"Value at '{at}' failed to satisfy constraint: Member must be a structure")
    if len(value) != 1:
        raise bad(f"Value at '{at}' failed to satisfy constraint: exactly one member of the union must be set")
    name = next(iter(value))
    if name not in known:
        raise bad(f"Value at '{at}' failed to satisfy constraint: extraneous key [{name}] is not permitted")
    return str(name)


def structure(value: Any, known: frozenset[str], at: str) -> JSON:
    """A structure without members that the API does not know."""
    if not isinstance(value, dict):
        raise bad(f"Value at '{at}' failed to satisfy constraint: Member must be a structure")
    if stray := unknown(value, known):
        raise bad(f"Value at '{at}' failed to satisfy constraint: extraneous key [{stray}] is not permitted")
    return value


def cache_point(value: Any, at: str) -> None:
    """Checks a mark of the prompt cache."""
    point = structure(value, _BLOCKS["cachePoint"], at)
    if point.get("type") != "default" or point.get("ttl", "5m") not in ("5m", "1h"):
        raise bad(f"Value at '{at}.type' failed to satisfy constraint: Member must satisfy enum value set: [default]")


def read_messages(messages: list[Any], ask: Ask) -> list[JSON]:
    """Checks every message; fills in the last user text, media, results and the prompt. The same as Anthropic would have them is returned."""
    prompt: list[str] = []
    turned: list[JSON] = []
    for i, message in enumerate(messages):
        at = f"messages.{i}"
        checked = structure(message, frozenset({"role", "content"}), at)
        role = checked.get("role")
        if role not in ("user", "assistant"):
            raise bad(f"Value '{role}' at '{at}.member.role' failed to satisfy constraint: Member must satisfy enum value set: [user, assistant]")
        content = checked.get("content")
        if not isinstance(content, list) or not content:
            raise bad(f"The content field in the Message object at {at} is empty. Add a ContentBlock object to the content field and try again.")
        texts: list[str] = []
        blocks = [_block(block, role, f"{at}.content.{j}", ask, texts, prompt) for j, block in enumerate(content)]
        turned.append({"role": role, "content": [b for b in blocks if b is not None]})
        prompt += texts
        if role == "user" and texts:
            ask.text = "\n".join(texts)
    ask.prompt = "\n".join(prompt)
    last = turned[-1]["content"]
    results = [b for b in last if b["type"] == "tool_result"]
    if results and not any(b["type"] == "text" for b in last):
        ask.results = [b["text"] for b in results]
    return turned


def _block(block: Any, role: str, at: str, ask: Ask, texts: list[str], prompt: list[str]) -> JSON | None:
    """Checks one block; Anthropic's form of it, as far as turns are checked by it."""
    kind = one_of(block, _ASSISTANT if role == "assistant" else _USER, at)
    inner = block[kind]
    if kind == "text":
        if not isinstance(inner, str) or not inner:
            raise bad(f"The text field in the ContentBlock object at {at} is blank. Add text to the text field, and try again.")
        texts.append(inner)
        return {"type": "text", "text": inner}
    if kind == "cachePoint":
        cache_point(inner, at)
        return None
    data = structure(inner, _BLOCKS[kind], f"{at}.{kind}")
    if kind in _FORMATS:
        ask.media.append(_media(data, kind, f"{at}.{kind}"))
    elif kind == "toolUse":
        _named(data, f"{at}.toolUse")
        if not TOOL_NAME.fullmatch(str(data.get("name"))):
            raise bad(f"Value '{data.get('name')}' at '{at}.toolUse.name' failed to satisfy regular expression pattern: [a-zA-Z0-9_-]+")
        if not isinstance(data.get("input"), dict):
            raise bad(f"The format of the value at {at}.toolUse.input is invalid. Provide a json object for the field and try again.")
        prompt.append(orjson.dumps(data).decode())
        return {"type": "tool_use", "id": data["toolUseId"]}
    elif kind == "toolResult":
        return _result(data, at, ask, prompt)
    elif kind == "reasoningContent":
        return _reasoning(data, at)
    return {"type": kind}


def _named(data: JSON, at: str) -> None:
    if not isinstance(data.get("toolUseId"), str) or not _TOOL_ID.fullmatch(data["toolUseId"]):
        raise bad(f"Value '{data.get('toolUseId')}' at '{at}.toolUseId' failed to satisfy regular expression pattern: [a-zA-Z0-9_.:-]+")


def _result(data: JSON, at: str, ask: Ask, prompt: list[str]) -> JSON:
    _named(data, f"{at}.toolResult")
    if data.get("status", "success") not in ("success", "error"):
        raise bad(f"Value at '{at}.toolResult.status' failed to satisfy constraint: Member must satisfy enum value set: [success, error]")
    if not isinstance(data.get("content"), list):
        raise bad(f"Value null at '{at}.toolResult.content' failed to satisfy constraint: Member must not be null")
    said = []
    for k, part in enumerate(data["content"]):
        where = f"{at}.toolResult.content.{k}"
        kind = one_of(part, _RESULT, where)
        if kind == "text":
            said.append(str(part["text"]))
        elif kind == "json":
            said.append(orjson.dumps(part["json"]).decode())
        elif kind in _FORMATS:
            ask.media.append(_media(structure(part[kind], _BLOCKS[kind], f"{where}.{kind}"), kind, f"{where}.{kind}"))
    text = "\n".join(said)
    prompt.append(text)
    return {"type": "tool_result", "id": data["toolUseId"], "text": text}


def _reasoning(data: JSON, at: str) -> JSON:
    where = f"{at}.reasoningContent"
    if one_of(data, _BLOCKS["reasoningContent"], where) == "redactedContent":
        if base64_size(str(data["redactedContent"])) is None:
            raise bad(f"Value at '{where}.redactedContent' is no base64")
        return {"type": "redacted_thinking"}
    said = structure(data["reasoningText"], frozenset({"text", "signature"}), f"{where}.reasoningText")
    if not isinstance(said.get("text"), str):
        raise bad(f"Value null at '{where}.reasoningText.text' failed to satisfy constraint: Member must not be null")
    return {"type": "thinking", "thinking": said["text"], "signature": said.get("signature")}


def _media(data: JSON, kind: str, at: str) -> Media:
    form = data.get("format")
    source: Any = data.get("source")
    if form not in _FORMATS[kind] and not (kind == "document" and form is None):
        names = ", ".join(_FORMATS[kind])
        raise bad(f"Value '{form}' at '{at}.format' failed to satisfy constraint: Member must satisfy enum value set: [{names}]")
    if kind == "document":
        name = data.get("name")
        if not isinstance(name, str) or not _DOCUMENT_NAME.fullmatch(name) or re.search(r"\s\s", name):
            raise bad(
                "The file name in the DocumentBlock object contains invalid characters. It can only contain alphanumeric characters, whitespace "
                "characters, hyphens, parentheses, and square brackets. The name can't contain more than one consecutive whitespace character."
            )
    mime = _MIMES.get(str(form), f"{kind}/{form}")
    match one_of(source or None, frozenset({"bytes", "s3Location", "text", "content"}), f"{at}.source"):
        case "bytes":
            size = base64_size(source["bytes"]) if isinstance(source["bytes"], str) else None
            if size is None:
                raise bad(f"Value at '{at}.source.bytes' is no base64")
            return Media(kind, mime, size)
        case "text" if kind == "document":
            return Media(kind, mime, len(str(source["text"]).encode()))
        case "s3Location":
            return Media(kind, "S3", None)
    return Media(kind, mime, None)


def check_turns(turned: list[JSON], *, thinking: bool) -> None:
    """Tool calls have their results in the next turn, and Claude's reasoning comes back as it went out. Any role may begin, as recorded."""
    waiting: list[str] = []
    for i, turn in enumerate(turned):
        answered = [b["id"] for b in turn["content"] if b["type"] == "tool_result"]
        missing = [one for one in waiting if one not in answered]
        if missing:
            raise bad(f"Expected toolResult blocks at messages.{i}.content for the following Ids: {', '.join(missing)}")
        if len(answered) > len(waiting) or any(one not in waiting for one in answered):
            raise bad(f"The number of toolResult blocks at messages.{i}.content exceeds the number of toolUse blocks of previous turn.")
        waiting = [b["id"] for b in turn["content"] if b["type"] == "tool_use"]
        if len(set(waiting)) < len(waiting):
            raise bad(f"The messages.{i}.content contains duplicate Ids at toolUse blocks: {waiting[0]}")
    if waiting:
        raise bad(f"Expected toolResult blocks at messages.{len(turned)}.content for the following Ids: {', '.join(waiting)}")
    try:
        check_thinking(turned, thinking=thinking)
    except Rejected as problem:
        raise bad(f"The model returned the following errors: {problem.message}") from None
