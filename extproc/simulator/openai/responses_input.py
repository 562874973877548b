"""The input of a Responses request: messages, calls and their outputs, reasoning, checked as OpenAI checks them.

Encrypted reasoning is sealed with a key of the simulator, so that an invented or damaged one is found out in any process. Items may come back
without their ids, as recorded.
Wire format: https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Any

from extproc.simulator.openai.chat_messages import bad, check_length, name_of, wrong_type
from extproc.simulator.shapes import base64_size, unknown
from extproc.simulator.wire import JSON, Ask, Media, Rejected

_ITEMS = {
    "message": frozenset({"type", "id", "role", "content", "status", "phase"}),
    "function_call": frozenset({"type", "id", "call_id", "name", "arguments", "status", "namespace", "caller"}),
    "function_call_output": frozenset({"type", "id", "call_id", "output", "status", "caller"}),
    "custom_tool_call": frozenset({"type", "id", "call_id", "name", "input", "status", "namespace", "caller"}),
    "custom_tool_call_output": frozenset({"type", "id", "call_id", "output", "status", "caller"}),
    "reasoning": frozenset({"type", "id", "summary", "content", "encrypted_content", "status"}),
    "item_reference": frozenset({"type", "id"}),
}
_SERVER_ITEM = re.compile(
    r"(web_search|file_search|computer|code_interpreter|local_shell|shell|apply_patch|image_generation|mcp|tool_search|program)_\w+|compaction\w*|program|additional_tools"
)
_PARTS = {
    "input": {
        "input_text": frozenset({"type", "text", "prompt_cache_breakpoint"}),
        "input_image": frozenset({"type", "image_url", "file_id", "detail", "prompt_cache_breakpoint"}),
        "input_file": frozenset({"type", "file_id", "file_data", "file_url", "filename", "detail", "prompt_cache_breakpoint"}),
        "input_audio": frozenset({"type", "input_audio"}),
    },
    "output": {
        "output_text": frozenset({"type", "text", "annotations", "logprobs"}),
        "refusal": frozenset({"type", "refusal"}),
    },
}
_PREFIX = {"message": "msg", "function_call": "fc", "reasoning": "rs", "custom_tool_call": "ctc"}
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,", re.ASCII)
_SEALING_KEY = b"extproc simulator: openai reasoning"
_ITEM_ID = re.compile(r"[a-zA-Z0-9_-]+")
_MAX_ID = 64


def seal(nonce: bytes) -> str:
    """Encrypted reasoning. `nonce` is 16 bytes."""
    mac = hmac.new(_SEALING_KEY, nonce, hashlib.sha512).digest()
    return base64.urlsafe_b64encode(b"\x80\x00\x00\x00\x00" + nonce + mac).decode()


def _check_sealed(item: JSON, at: str) -> None:
    sealed = item["encrypted_content"]
    try:
        raw = base64.b64decode(str(sealed).replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    wanted = hmac.new(_SEALING_KEY, raw[5:21], hashlib.sha512).digest()
    if not hmac.compare_digest(raw[21:], wanted):
        shown = f"{str(sealed)[:4]}...{str(sealed)[-4:]}"
        raise bad(
            f"The encrypted content {shown} could not be verified. Reason: Encrypted content could not be decrypted or parsed.",
            None,
            "invalid_encrypted_content",
        )
    if not isinstance(item.get("summary"), list):
        raise bad(f"Missing required parameter: '{at}.summary'.", f"{at}.summary", "missing_required_parameter")


def read_input(items: list[Any], ask: Ask, stored: list[JSON]) -> None:
    """Checks every item and fills in the last user text, media, tool results and the prompt's text. `stored` are the items of earlier responses."""
    prompt: list[str] = []
    known = {item.get("id") for item in stored}
    for i, item in enumerate(items):
        at = f"input[{i}]"
        if not isinstance(item, dict):
            raise wrong_type(at, "an object", item)
        kind = item.get("type", "message" if "role" in item else None)
        if kind not in _ITEMS:
            if isinstance(kind, str) and _SERVER_ITEM.fullmatch(kind):
                continue
            names = ", ".join(f"'{k}'" for k in _ITEMS)
            raise bad(f"Invalid value: '{kind}'. Supported values are: {names}.", at, "invalid_value")
        if stray := unknown(item, _ITEMS[kind]):
            raise bad(f"Unknown parameter: '{at}.{stray}'.", f"{at}.{stray}", "unknown_parameter")
        _check_id(item, kind, at)
        match kind:
            case "message":
                prompt.append(_message(item, at, ask))
            case "function_call" | "custom_tool_call":
                prompt.append(_call(item, at))
            case "function_call_output" | "custom_tool_call_output":
                prompt.append(_output(item, at, ask))
            case "reasoning" if item.get("encrypted_content") is not None:
                _check_sealed(item, at)
            case "item_reference" | "reasoning" if item.get("id") not in known:
                raise Rejected(
                    404,
                    f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set to false. "
                    "Try again with `store` set to true, or remove this item from your input.",
                    "invalid_request_error",
                    param="input",
                )
    ask.prompt = "\n".join(prompt)
    everything = [*stored, *items]
    _check_pairing(everything)
    _check_reasoning(items)
    for item in reversed(items):
        if item.get("type") not in ("function_call_output", "custom_tool_call_output"):
            break
        ask.results.insert(0, _plain(item.get("output")))


def _check_id(item: JSON, kind: str, at: str) -> None:
    own = item.get("id")
    if own is None:
        return
    if not isinstance(own, str):
        raise wrong_type(f"{at}.id", "a string", own)
    check_length(own, f"{at}.id", _MAX_ID)
    if not _ITEM_ID.fullmatch(own):
        raise bad(
            f"Invalid '{at}.id': '{own}'. Expected an ID that contains letters, numbers, underscores, or dashes, but this value contained "
            "additional characters.",
            f"{at}.id",
            "invalid_value",
        )
    prefix = _PREFIX.get(kind)
    if prefix is not None and not own.startswith(prefix):
        raise bad(f"Invalid '{at}.id': '{own}'. Expected an ID that begins with '{prefix}'.", f"{at}.id", "invalid_value")


def _message(item: JSON, at: str, ask: Ask) -> str:
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise bad(f"Invalid value: '{role}'. Supported values are: 'assistant', 'system', 'developer', and 'user'.", f"{at}.role", "invalid_value")
    content = item.get("content")
    if content is None:
        raise bad(f"Missing required parameter: '{at}.content'.", f"{at}.content", "missing_required_parameter")
    text = content if isinstance(content, str) else _parts(content, "output" if role == "assistant" else "input", f"{at}.content", ask)
    if role == "user":
        ask.text = text
    return text


def _parts(content: Any, side: str, at: str, ask: Ask) -> str:
    if not isinstance(content, list):
        raise wrong_type(at, "one of a string or an array of objects", content)
    texts = []
    for j, part in enumerate(content):
        where = f"{at}[{j}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _PARTS[side]:
            names = ", ".join(f"'{k}'" for k in _PARTS[side])
            raise bad(f"Invalid value: '{kind}'. Supported values are: {names}.", where, "invalid_value")
        if stray := unknown(part, _PARTS[side][kind]):
            raise bad(f"Unknown parameter: '{where}.{stray}'.", f"{where}.{stray}", "unknown_parameter")
        if kind in ("input_text", "output_text", "refusal"):
            name = "refusal" if kind == "refusal" else "text"
            if not isinstance(part.get(name), str):
                raise bad(f"Missing required parameter: '{where}.{name}'.", f"{where}.{name}", "missing_required_parameter")
            texts.append(part[name])
        else:
            ask.media.append(_media(part, kind, where))
    return " ".join(t for t in texts if t)


def _media(part: JSON, kind: str, at: str) -> Media:
    if part.get("file_id") is not None:
        return Media("image" if kind == "input_image" else "document", "file id", None)
    if kind == "input_audio":
        inner = part.get("input_audio") or {}
        return Media("audio", f"audio/{inner.get('format')}", base64_size(str(inner.get("data", ""))))
    url = part.get("image_url") if kind == "input_image" else part.get("file_url", part.get("file_data"))
    if not isinstance(url, str):
        missing = f"{at}.{'image_url' if kind == 'input_image' else 'file_id'}"
        raise bad(f"Missing required parameter: '{missing}'.", missing, "missing_required_parameter")
    kind_of = "image" if kind == "input_image" else "document"
    if url.startswith(("http://", "https://")):
        return Media(kind_of, "URL", None)
    head = _DATA_URL.match(url)
    size = base64_size(url[head.end() :]) if head else None
    if head is None or size is None:
        raise bad(f"Invalid '{at}.{'image_url' if kind == 'input_image' else 'file_data'}'. Expected a base64-encoded data URL.", at, "invalid_value")
    if kind == "input_image" and head[1] not in ("image/png", "image/jpeg", "image/gif", "image/webp"):
        raise bad("The image data you provided does not represent a valid image.", "input", "invalid_image_format")
    if kind == "input_file" and not isinstance(part.get("filename"), str):
        raise bad(f"Missing required parameter: '{at}.filename'.", f"{at}.filename", "missing_required_parameter")
    return Media(kind_of, head[1], size)


def _call(item: JSON, at: str) -> str:
    if not isinstance(item.get("call_id"), str):
        raise bad(f"Missing required parameter: '{at}.call_id'.", f"{at}.call_id", "missing_required_parameter")
    check_length(item["call_id"], f"{at}.call_id", _MAX_ID)
    name = name_of(item.get("name"), f"{at}.name")
    said = "arguments" if item["type"] == "function_call" else "input"
    if not isinstance(item.get(said), str):
        raise wrong_type(f"{at}.{said}", "a string", item.get(said))
    return f"{name} {item[said]}"


def _output(item: JSON, at: str, ask: Ask) -> str:
    if not isinstance(item.get("call_id"), str):
        raise bad(f"Missing required parameter: '{at}.call_id'.", f"{at}.call_id", "missing_required_parameter")
    output = item.get("output")
    if output is None:
        raise bad(f"Missing required parameter: '{at}.output'.", f"{at}.output", "missing_required_parameter")
    return output if isinstance(output, str) else _parts(output, "input", f"{at}.output", ask)


def _plain(output: Any) -> str:
    return output if isinstance(output, str) else "".join(str(p.get("text", "")) for p in output)


def _check_pairing(items: list[Any]) -> None:
    """Every call has its output somewhere behind it, and every output its call before it."""
    waiting: list[str] = []
    # calls of the provider's own tools may be answered by the client too
    answered = {item.get("call_id") for item in items if item.get("type", "message") not in _ITEMS}
    for item in items:
        kind = item.get("type")
        if kind in ("function_call", "custom_tool_call"):
            waiting.append(item["call_id"])
        elif kind in ("function_call_output", "custom_tool_call_output"):
            if item["call_id"] not in waiting and item["call_id"] not in answered:
                raise bad(f"No tool call found for function call output with call_id {item['call_id']}.", "input")
            if item["call_id"] in waiting:
                waiting.remove(item["call_id"])
            answered.add(item["call_id"])
    if waiting:
        raise bad(f"No tool output found for function call {waiting[0]}.", "input")


def _check_reasoning(items: list[Any]) -> None:
    """Reasoning is followed by what it led to."""
    for item, behind in zip(items, [*items[1:], None], strict=True):
        if item.get("type") != "reasoning":
            continue
        kind = behind.get("type", "message") if isinstance(behind, dict) else None
        if kind is None or kind.endswith("_output") or (kind == "message" and behind.get("role") != "assistant"):
            raise bad(f"Item '{item.get('id')}' of type 'reasoning' was provided without its required following item.", "input")
