"""The messages of a Chat Completions request: roles, content parts, tool calls and their results, checked as OpenAI checks them.

Wire format: https://platform.openai.com/docs/api-reference/chat/create#chat_create-messages
"""

from __future__ import annotations

import re
from typing import Any

from extproc.simulator.shapes import base64_size, unknown
from extproc.simulator.wire import JSON, Ask, Media, Rejected

_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_MESSAGE_MEMBERS = {
    "system": frozenset({"role", "content", "name"}),
    "developer": frozenset({"role", "content", "name"}),
    "user": frozenset({"role", "content", "name"}),
    "assistant": frozenset({"role", "content", "name", "refusal", "tool_calls", "function_call", "audio", "annotations"}),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
    "function": frozenset({"role", "content", "name"}),
}
_PARTS = {
    "user": frozenset({"text", "image_url", "input_audio", "file"}),
    "assistant": frozenset({"text", "refusal"}),
    "system": frozenset({"text"}),
    "developer": frozenset({"text"}),
    "tool": frozenset({"text"}),
}
_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,", re.ASCII)
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_MAX_ID = 40


def bad(message: str, param: str | None = None, code: str | None = None) -> Rejected:
    """OpenAI's 400."""
    return Rejected(400, message, param=param, code=code)


def wrong_type(param: str, expected: str, value: Any) -> Rejected:
    """The 400 for a member of another type than `expected` (with its article)."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer", float: "a decimal", type(None): "null"}
    got = names.get(type(value), "something else")
    return bad(f"Invalid type for '{param}': expected {expected}, but got {got} instead.", param, "invalid_type")


def name_of(value: Any, param: str) -> str:
    """A function's or a schema's name, checked."""
    if not isinstance(value, str):
        raise bad(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")
    if not _NAME.fullmatch(value):
        raise bad(
            f"Invalid '{param}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
            param,
            "invalid_value",
        )
    check_length(value, param, 64)
    return value


def check_length(value: str, param: str, most: int) -> None:
    """`most` in characters."""
    if len(value) > most:
        raise bad(
            f"Invalid '{param}': string too long. Expected a string with maximum length {most}, but got a string with length {len(value)} instead.",
            param,
            "string_above_max_length",
        )


def read_messages(messages: list[Any], ask: Ask) -> None:
    """Checks every message and fills in the last user text, media, tool results and the prompt's text."""
    prompt: list[str] = []
    for i, message in enumerate(messages):
        at = f"messages[{i}]"
        if not isinstance(message, dict):
            raise wrong_type(at, "an object", message)
        role = message.get("role")
        if role not in _ROLES:
            if role is None:
                raise bad(f"Missing required parameter: '{at}.role'.", f"{at}.role", "missing_required_parameter")
            raise bad(
                f"Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.",
                f"{at}.role",
                "invalid_value",
            )
        if stray := unknown(message, _MESSAGE_MEMBERS[role]):
            raise bad(f"Unknown parameter: '{at}.{stray}'.", f"{at}.{stray}", "unknown_parameter")
        text = _content(message, role, at, ask)
        prompt.append(text)
        for j, call in enumerate(message.get("tool_calls") or []):
            prompt.append(_call(call, f"{at}.tool_calls[{j}]"))
        if role == "user":
            ask.text = text
    ask.prompt = "\n".join(prompt)
    for message in reversed(messages):
        if message["role"] not in ("tool", "function"):
            break
        ask.results.insert(0, _plain(message.get("content")))


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(p.get("text", "")) for p in content or [] if isinstance(p, dict))


def _content(message: JSON, role: str, at: str, ask: Ask) -> str:
    content = message.get("content")
    if content is None:
        if role == "assistant" and any(message.get(k) for k in ("tool_calls", "function_call", "refusal", "audio")):
            return ""
        raise bad("Invalid value for 'content': expected a string, got null.", f"messages.[{at[9:-1]}].content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise wrong_type(f"{at}.content", "one of a string or array of objects", content)
    if not content:
        raise bad(
            f"Invalid '{at}.content': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            f"{at}.content",
            "empty_array",
        )
    texts: list[str] = []
    for j, part in enumerate(content):
        where = f"{at}.content[{j}]"
        kind = part.get("type") if isinstance(part, dict) else None
        allowed = _PARTS.get(role, frozenset({"text"}))
        if kind not in allowed:
            names = ", ".join(f"'{k}'" for k in sorted(allowed))
            raise bad(f"Invalid value: '{kind}'. Supported values are: {names}.", f"{where}.type", "invalid_value")
        if stray := unknown(part, frozenset({"type", kind, "prompt_cache_breakpoint"})):
            raise bad(f"Unknown parameter: '{where}.{stray}'.", f"{where}.{stray}", "unknown_parameter")
        texts.append(_part(part, kind, where, ask))
    return " ".join(t for t in texts if t)


def _part(part: JSON, kind: str, at: str, ask: Ask) -> str:
    inner = part.get(kind)
    if kind in ("text", "refusal"):
        if not isinstance(inner, str):
            raise bad(f"Missing required parameter: '{at}.{kind}'.", f"{at}.{kind}", "missing_required_parameter")
        return inner
    if not isinstance(inner, dict):
        raise wrong_type(f"{at}.{kind}", "an object", inner)
    if kind == "image_url":
        url = inner.get("url")
        if stray := unknown(inner, frozenset({"url", "detail"})):
            raise bad(f"Unknown parameter: '{at}.image_url.{stray}'.", f"{at}.image_url.{stray}", "unknown_parameter")
        if not isinstance(url, str) or not url.startswith(("data:", "http://", "https://")):
            raise bad(
                f"Invalid '{at}.image_url.url'. Expected a base64-encoded data URL with an image MIME type, but got a value without it.",
                f"{at}.image_url.url",
                "invalid_value",
            )
        ask.media.append(_data(url, "image", at) if url.startswith("data:") else Media("image", "URL", None))
    elif kind == "file":
        if "file_id" in inner:
            ask.media.append(Media("document", "file id", None))
        elif isinstance(inner.get("file_data"), str) and isinstance(inner.get("filename"), str):
            ask.media.append(_data(inner["file_data"], "document", at))
        else:
            raise bad(f"Missing required parameter: '{at}.file.file_id'.", f"{at}.file.file_id", "missing_required_parameter")
    else:
        size = base64_size(str(inner.get("data", "")))
        if size is None or inner.get("format") not in ("wav", "mp3"):
            raise bad(f"Invalid value for '{at}.input_audio'.", f"{at}.input_audio", "invalid_value")
        ask.media.append(Media("audio", f"audio/{inner['format']}", size))
    return ""


def _data(url: str, kind: str, at: str) -> Media:
    head = _DATA_URL.match(url)
    size = base64_size(url[head.end() :]) if head else None
    if head is None or size is None:
        raise bad("Invalid base64 image_url." if kind == "image" else f"Invalid file data: '{at}.file.file_data'.", None, f"invalid_{kind}_url")
    if kind == "image" and head[1] not in _IMAGES:
        raise bad(
            "You uploaded an unsupported image. Please make sure your image has of one the following formats: ['png', 'jpeg', 'gif', 'webp'].",
            None,
            "invalid_image_format",
        )
    return Media(kind, head[1], size)


def _call(call: Any, at: str) -> str:
    if not isinstance(call, dict):
        raise wrong_type(at, "an object", call)
    if stray := unknown(call, frozenset({"id", "type", "function", "custom"})):
        raise bad(f"Unknown parameter: '{at}.{stray}'.", f"{at}.{stray}", "unknown_parameter")
    if not isinstance(call.get("id"), str):
        raise bad(f"Missing required parameter: '{at}.id'.", f"{at}.id", "missing_required_parameter")
    check_length(call["id"], f"{at}.id", _MAX_ID)
    if call.get("type") == "custom" and isinstance(call.get("custom"), dict):
        return f"{call['custom'].get('name')} {call['custom'].get('input')}"
    function = call.get("function")
    if call.get("type") != "function" or not isinstance(function, dict):
        raise bad(f"Missing required parameter: '{at}.type'.", f"{at}.type", "missing_required_parameter")
    if stray := unknown(function, frozenset({"name", "arguments"})):
        raise bad(f"Unknown parameter: '{at}.function.{stray}'.", f"{at}.function.{stray}", "unknown_parameter")
    name_of(function.get("name"), f"{at}.function.name")
    if not isinstance(function.get("arguments"), str):
        raise wrong_type(f"{at}.function.arguments", "a string", function.get("arguments"))
    return f"{function['name']} {function['arguments']}"


def check_pairing(messages: list[JSON]) -> None:
    """Every tool call is answered by the tool messages right behind it, and every tool message answers one."""
    waiting: list[str] = []
    for i, message in enumerate(messages):
        if message["role"] == "tool":
            call_id = message.get("tool_call_id")
            if not isinstance(call_id, str):
                raise bad(f"Missing required parameter: 'messages[{i}].tool_call_id'.", f"messages[{i}].tool_call_id", "missing_required_parameter")
            if call_id not in waiting:
                raise bad(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
                    f"messages.[{i}].role",
                )
            waiting.remove(call_id)
            continue
        if waiting:
            raise _unanswered(waiting)
        waiting = [c["id"] for c in message.get("tool_calls") or []]
    if waiting:
        raise _unanswered(waiting)


def _unanswered(ids: list[str]) -> Rejected:
    return bad(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(ids)}",
        "messages",
    )
