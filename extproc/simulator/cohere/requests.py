"""What Cohere's chat accepts, and the 400 or 422 it answers otherwise.

Wire format: https://docs.cohere.com/v2/reference/chat
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from extproc.simulator.cohere.host import check_fields
from extproc.simulator.replies import tokens
from extproc.simulator.shapes import base64_size, is_int, is_number
from extproc.simulator.wire import JSON, Ask, Media, Rejected, Tool

_MEMBERS = frozenset(
    {
        *("model", "messages", "stream", "tools", "strict_tools", "documents", "citation_options", "response_format", "safety_mode", "max_tokens"),
        *("stop_sequences", "temperature", "seed", "frequency_penalty", "presence_penalty", "k", "p", "logprobs", "tool_choice", "thinking"),
        *("priority", "raw_prompting", "return_prompt"),
    }
)
_ROLES: dict[str, frozenset[str]] = {
    "system": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset({"role", "content", "tool_calls", "tool_plan", "citations"}),
    "tool": frozenset({"role", "content", "tool_call_id"}),
}
_PARTS: dict[str, frozenset[str]] = {
    "system": frozenset({"text"}),
    "user": frozenset({"text", "image_url"}),
    "assistant": frozenset({"text", "thinking"}),
    "tool": frozenset({"text", "document"}),
}
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,", re.ASCII)
_NAME = re.compile(r"[a-zA-Z0-9_-]+")


def bad(message: str) -> Rejected:
    """Cohere's 400."""
    return Rejected(400, f"invalid request: {message}")


def read(body: JSON) -> Ask:
    """The request as the answer needs it. Raises `Rejected`."""
    check_fields(body, _MEMBERS)
    model, messages = body.get("model"), body.get("messages")
    if not isinstance(model, str) or not model:
        raise bad("model is required.")
    if not isinstance(messages, list) or not messages:
        raise bad("messages must be a non-empty list of messages.")
    stream = body.get("stream") or False
    if not isinstance(stream, bool):
        raise bad("stream must be a boolean.")
    ask = Ask(model, stream=stream)
    _numbers(body, ask)
    _tools(body, ask)
    _messages(messages, ask)
    _output(body, ask)
    _thinking(body.get("thinking"), ask)
    documents = body.get("documents")
    if documents is not None and not (isinstance(documents, list) and all(isinstance(d, (str, dict)) for d in documents)):
        raise bad("documents must be a list of strings or objects.")
    shown = orjson.dumps([body.get("tools"), documents]).decode()
    ask.prompt_tokens = tokens(ask.prompt) + 4 * len(messages) + tokens(shown) + 500 * len(ask.media)
    return ask


def _numbers(body: JSON, ask: Ask) -> None:
    for name, low, high in (
        ("temperature", 0, 1),
        ("p", 0.01, 0.99),
        ("k", 0, 500),
        ("frequency_penalty", 0, 1),
        ("presence_penalty", 0, 1),
        ("seed", 0, 2**64),
        ("priority", 0, 999),
    ):
        value = body.get(name)
        if value is None:
            continue
        if not is_number(value) or (name in ("k", "seed", "priority") and not is_int(value)):
            raise bad(f"{name} must be a number.")
        if not low <= value <= high:
            raise bad(f"{name} must be between {low} and {high} inclusive.")
    limit = body.get("max_tokens")
    if limit is not None and (not is_int(limit) or limit < 1):
        raise bad("max_tokens must be greater than or equal to 1.")
    ask.max_tokens = limit
    stops = body.get("stop_sequences") or []
    if not isinstance(stops, list) or not all(isinstance(s, str) for s in stops):
        raise bad("stop_sequences must be a list of strings.")
    if len(stops) > 5:
        raise bad("stop_sequences cannot contain more than 5 strings.")
    ask.stops = stops
    mode = body.get("safety_mode")
    if mode not in (None, "CONTEXTUAL", "STRICT", "OFF", "NONE"):
        raise bad("safety_mode must be one of CONTEXTUAL, STRICT, OFF.")


def _tools(body: JSON, ask: Ask) -> None:
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise bad("tools must be a list.")
    for i, tool in enumerate(tools or []):
        if not isinstance(tool, dict) or tool.get("type") != "function" or not isinstance(tool.get("function"), dict):
            raise bad(f"tools[{i}] must be of type function.")
        check_fields(tool, frozenset({"type", "function"}), f"tools[{i}].")
        function = tool["function"]
        check_fields(function, frozenset({"name", "description", "parameters"}), f"tools[{i}].function.")
        name, schema = function.get("name"), function.get("parameters")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise bad(f"tools[{i}].function.name must match [a-zA-Z0-9_-]+.")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise bad(f"tools[{i}].function.parameters must be a JSON schema of type object.")
        if body.get("strict_tools") and not schema.get("required"):
            raise bad("with strict_tools each tool must have at least one required parameter.")
        ask.tools.append(Tool(name, schema))
    choice = body.get("tool_choice")
    if choice is None:
        return
    if choice not in ("REQUIRED", "NONE"):
        raise bad("tool_choice must be one of REQUIRED, NONE.")
    if choice == "REQUIRED" and not ask.tools:
        raise bad("tool_choice can only be specified if tools are provided.")
    ask.tool_choice = {"REQUIRED": "any", "NONE": "none"}[choice]


def _messages(messages: list[Any], ask: Ask) -> None:
    prompt: list[str] = []
    waiting: list[str] = []
    for i, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in _ROLES:
            raise bad(f"messages[{i}].role must be one of system, user, assistant, tool.")
        check_fields(message, _ROLES[role], f"messages[{i}].")
        if role == "tool":
            if message.get("tool_call_id") not in waiting:
                raise bad(f"messages[{i}]: tool_call_id {message.get('tool_call_id')} is not that of a tool call before it.")
            waiting.remove(message["tool_call_id"])
        elif waiting:
            raise bad(f"messages[{i}]: tool calls without results: {', '.join(waiting)}.")
        text = _content(message, role, f"messages[{i}].content", ask)
        prompt.append(text)
        if role == "user":
            ask.text = text
        waiting += [_call(call, f"messages[{i}].tool_calls[{j}]", prompt) for j, call in enumerate(message.get("tool_calls") or [])]
    if waiting:
        raise bad(f"tool calls without results: {', '.join(waiting)}.")
    ask.prompt = "\n".join(prompt)
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        ask.results.insert(0, _plain(message.get("content")))


def _call(call: Any, at: str, prompt: list[str]) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.get("type") != "function" or not isinstance(call.get("id"), str):
        raise bad(f"{at} must have an id, the type function and a function.")
    check_fields(call, frozenset({"id", "type", "function"}), f"{at}.")
    check_fields(function, frozenset({"name", "arguments"}), f"{at}.function.")
    if not isinstance(function.get("name"), str) or not isinstance(function.get("arguments"), str):
        raise bad(f"{at}.function must have a name and arguments as a string.")
    try:
        orjson.loads(function["arguments"])
    except orjson.JSONDecodeError:
        raise bad(f"{at}.function.arguments must be JSON.") from None
    prompt.append(f"{function['name']} {function['arguments']}")
    return str(call["id"])


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for part in content or []:
        data = part.get("document", {}).get("data") if part.get("type") == "document" else part.get("text", "")
        texts.append(data if isinstance(data, str) else orjson.dumps(data).decode())
    return "".join(texts)


def _content(message: JSON, role: str, at: str, ask: Ask) -> str:
    content = message.get("content")
    if content is None:
        if role == "assistant" and (message.get("tool_calls") or message.get("tool_plan")):
            return ""
        raise bad(f"{at} is required.")
    if isinstance(content, str):
        if not content and role in ("user", "system"):
            raise bad(f"{at} must be at least 1 token long.")
        return content
    if not isinstance(content, list) or not content:
        raise bad(f"{at} must be a string or a non-empty list.")
    texts = []
    for j, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _PARTS[role]:
            raise bad(f"{at}[{j}].type must be one of {', '.join(sorted(_PARTS[role]))}.")
        check_fields(part, frozenset({"type", kind}), f"{at}[{j}].")
        if kind in ("text", "thinking"):
            if not isinstance(part.get(kind), str):
                raise bad(f"{at}[{j}].{kind} must be a string.")
            texts.append(part["text"] if kind == "text" else "")
        elif not isinstance(part.get(kind), dict):
            raise bad(f"{at}[{j}].{kind} must be an object.")
        elif kind == "image_url":
            ask.media.append(_image(part[kind], f"{at}[{j}].image_url"))
        elif "data" not in part[kind]:
            raise bad(f"{at}[{j}].document.data is required.")
    return " ".join(t for t in texts if t)


def _image(image: JSON, at: str) -> Media:
    check_fields(image, frozenset({"url", "detail"}), f"{at}.")
    url = str(image.get("url"))
    if url.startswith("https://"):
        return Media("image", "URL", None)
    head = _DATA_URL.match(url)
    size = base64_size(url[head.end() :]) if head else None
    if head is None or size is None:
        raise bad(f"{at}.url must be an https URL or a base64 data URL.")
    return Media("image", head[1], size)


def _output(body: JSON, ask: Ask) -> None:
    wanted = body.get("response_format")
    if wanted is None:
        return
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind not in ("text", "json_object"):
        raise bad("response_format.type must be one of text, json_object.")
    check_fields(wanted, frozenset({"type", "json_schema", "schema"}), "response_format.")
    schema = wanted.get("json_schema", wanted.get("schema"))
    if kind == "text":
        return
    if ask.tools:
        raise bad("response_format is not supported with tools.")
    if schema is None:
        ask.schema = {}
        return
    if not isinstance(schema, dict) or schema.get("type") != "object" or not schema.get("required"):
        raise bad("response_format.json_schema must be of type object, with at least one required field.")
    ask.schema = schema


def _thinking(config: Any, ask: Ask) -> None:
    if config is None:
        if "reasoning" in ask.model:
            ask.thinking, ask.show_thinking = 24, True
        return
    kind = config.get("type") if isinstance(config, dict) else None
    if kind not in ("enabled", "disabled"):
        raise bad("thinking.type must be one of enabled, disabled.")
    check_fields(config, frozenset({"type", "token_budget"}), "thinking.")
    if "reasoning" not in ask.model:
        raise bad(f"thinking is not supported by {ask.model}.")
    if kind == "enabled":
        ask.thinking, ask.show_thinking = 24, True
