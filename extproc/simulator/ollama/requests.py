"""What Ollama's chat and generate accept, and the 400 it answers otherwise.

Ollama passes over members that it does not know; here they are refused, so that nothing is sent that it would not read.
Wire format: https://github.com/ollama/ollama/blob/main/docs/api.md, and `api/types.go` beside it.
"""

from __future__ import annotations

from typing import Any

import orjson

from extproc.simulator.replies import tokens
from extproc.simulator.shapes import base64_size, is_int, is_number, unknown
from extproc.simulator.wire import JSON, Ask, Media, Rejected, Tool

_COMMON = frozenset({"model", "stream", "format", "options", "keep_alive", "think", "truncate", "shift", "logprobs", "top_logprobs"})
_CHAT = _COMMON | {"messages", "tools"}
_GENERATE = _COMMON | {"prompt", "suffix", "images", "system", "template", "context", "raw", "width", "height", "steps"}
_MESSAGE = frozenset({"role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id"})
_OPTIONS = frozenset(
    {
        *("num_keep", "seed", "num_predict", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n", "temperature", "repeat_penalty"),
        *("presence_penalty", "frequency_penalty", "stop", "num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "mirostat"),
        *("mirostat_tau", "mirostat_eta", "penalize_newline", "numa", "tfs_z", "draft_num_predict"),
    }
)


def bad(message: str) -> Rejected:
    """Ollama's 400."""
    return Rejected(400, message)


def read_chat(body: JSON) -> Ask:
    """The request as the answer needs it. Raises `Rejected`."""
    ask = _common(body, _CHAT)
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise bad("json: cannot unmarshal into Go struct field ChatRequest.messages of type []api.Message")
    _tools(body.get("tools"), ask)
    prompt = []
    for i, message in enumerate(messages):
        prompt.append(_message(message, f"messages[{i}]", ask))
    ask.prompt = "\n".join(prompt)
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        ask.results.insert(0, message["content"])
    ask.prompt_tokens = tokens(ask.prompt) + 4 * len(messages) + tokens(orjson.dumps(body.get("tools")).decode()) + 256 * len(ask.media)
    return ask


def read_generate(body: JSON) -> Ask:
    """The same for a prompt without turns."""
    ask = _common(body, _GENERATE)
    for name in ("prompt", "system", "suffix", "template"):
        if not isinstance(body.get(name, ""), str):
            raise bad(f"json: cannot unmarshal into Go struct field GenerateRequest.{name} of type string")
    ask.text = body.get("prompt", "")
    _images(body.get("images"), "images", ask)
    ask.prompt = f"{body.get('system', '')}\n{ask.text}"
    ask.prompt_tokens = tokens(ask.prompt) + 256 * len(ask.media)
    return ask


def _common(body: JSON, known: frozenset[str]) -> Ask:
    if stray := unknown(body, known):
        raise bad(f"json: unknown field {stray}")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise bad("model is required")
    stream = body.get("stream", True)
    if not isinstance(stream, bool):
        raise bad("json: cannot unmarshal into Go struct field ChatRequest.stream of type bool")
    ask = Ask(model, stream=stream)
    options = body.get("options") or {}
    if not isinstance(options, dict):
        raise bad("json: cannot unmarshal into Go struct field ChatRequest.options of type map[string]interface {}")
    if stray := unknown(options, _OPTIONS):
        raise bad(f"invalid option provided: {stray}")
    for name, value in options.items():
        if name in ("num_predict", "seed", "top_k", "num_ctx", "num_keep") and not is_int(value):
            raise bad(f'option "{name}" must be of type integer')
        if name in ("temperature", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty") and not is_number(value):
            raise bad(f'option "{name}" must be of type float32')
    stops = options.get("stop") or []
    if not isinstance(stops, list) or not all(isinstance(s, str) for s in stops):
        raise bad('option "stop" must be of an array')
    ask.stops = stops
    limit = options.get("num_predict", -1)
    ask.max_tokens = limit if limit > 0 else None
    _format(body.get("format"), ask)
    think = body.get("think")
    if not isinstance(think, (bool, type(None))) and think not in ("high", "medium", "low", "max"):
        raise bad(f'invalid think value: {think!r} (must be "high", "medium", "low", true, or false)')
    if think and not any(name in model for name in ("qwen3", "gpt-oss", "deepseek")):
        raise bad(f'"{model}" does not support thinking')
    if think:
        ask.thinking, ask.show_thinking = 24, True
    return ask


def _format(value: Any, ask: Ask) -> None:
    if value is None or value == "":
        return
    if value == "json":
        ask.schema = {}
    elif isinstance(value, dict):
        ask.schema = value
    else:
        raise bad(f'invalid format: {orjson.dumps(value).decode()}; expected "json" or a valid JSON Schema object')


def _tools(tools: Any, ask: Ask) -> None:
    if tools is not None and not isinstance(tools, list):
        raise bad("json: cannot unmarshal into Go struct field ChatRequest.tools of type api.Tools")
    for tool in tools or []:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise bad("json: cannot unmarshal into Go struct field ChatRequest.tools of type api.Tool")
        if stray := unknown(tool, frozenset({"type", "function", "items"})) or unknown(function, frozenset({"name", "description", "parameters"})):
            raise bad(f"json: unknown field {stray}")
        ask.tools.append(Tool(function["name"], function.get("parameters") or {"type": "object"}))


def _message(message: Any, at: str, ask: Ask) -> str:
    if not isinstance(message, dict):
        raise bad("json: cannot unmarshal into Go struct field ChatRequest.messages of type api.Message")
    if stray := unknown(message, _MESSAGE):
        raise bad(f"json: unknown field {at}.{stray}")
    if message.get("role") not in ("system", "user", "assistant", "tool"):
        raise bad(f'invalid role: {message.get("role")}; must be one of ["user" "assistant" "system" "tool"]')
    content = message.get("content", "")
    if not isinstance(content, str) or not isinstance(message.get("thinking") or "", str):
        raise bad("json: cannot unmarshal into Go struct field Message.messages.content of type string")
    _images(message.get("images"), at, ask)
    said = [content]
    for call in message.get("tool_calls") or []:
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not isinstance(function.get("arguments"), dict):
            raise bad("json: cannot unmarshal string into Go struct field ToolCallFunction.messages.tool_calls.function.arguments of type map")
        if stray := unknown(call, frozenset({"id", "type", "function"})) or unknown(function, frozenset({"name", "arguments", "index"})):
            raise bad(f"json: unknown field {at}.tool_calls.{stray}")
        said.append(orjson.dumps(function).decode())
    if message["role"] == "user":
        ask.text = content
    return "\n".join(said)


def _images(images: Any, at: str, ask: Ask) -> None:
    for image in images or []:
        size = base64_size(image) if isinstance(image, str) else None
        if size is None:
            raise bad(f"illegal base64 data in {at}.images")
        # the format is in the bytes
        ask.media.append(Media("image", "image/png" if image.startswith("iVBORw") else "image", size))
