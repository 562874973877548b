"""What OpenAI's Responses API accepts, and the 400 it answers otherwise.

Wire format: https://platform.openai.com/docs/api-reference/responses/create; texts of errors as the API sends them.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from extproc.simulator.openai.chat_messages import bad, name_of, wrong_type
from extproc.simulator.openai.chat_requests import reasons, strict_schema
from extproc.simulator.openai.responses_input import read_input
from extproc.simulator.replies import tokens
from extproc.simulator.shapes import is_int, is_number, unknown
from extproc.simulator.wire import JSON, Ask, Tool

_MEMBERS = frozenset(
    {
        *("background", "context_management", "conversation", "include", "input", "instructions", "max_output_tokens", "max_tool_calls", "metadata"),
        *("model", "moderation", "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options"),
        *("prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "stream", "stream_options", "temperature", "text"),
        *("tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user"),
    }
)
_REASONING = frozenset({"effort", "summary", "generate_summary", "context", "mode"})
_EFFORT = {"none": 0, "minimal": 0, "low": 32, "medium": 64, "high": 128, "xhigh": 192, "max": 256}
_INCLUDABLE = frozenset(
    {
        *("file_search_call.results", "web_search_call.results", "web_search_call.action.sources", "message.input_image.image_url"),
        *("computer_call_output.output.image_url", "code_interpreter_call.outputs", "reasoning.encrypted_content", "message.output_text.logprobs"),
    }
)
_FUNCTION = frozenset({"type", "name", "description", "parameters", "strict", "defer_loading", "allowed_callers", "output_schema", "output_type"})
_SERVER_TOOLS = (
    *("web_search", "web_search_preview", "file_search", "computer", "computer_use_preview", "code_interpreter", "image_generation", "mcp"),
    *("local_shell", "shell", "apply_patch", "namespace", "tool_search", "programmatic_tool_calling"),
)


def read(body: JSON, stored: list[JSON]) -> Ask:
    """The request as the answer needs it; `stored` are the items of the responses that it goes on from. Raises `Rejected`."""
    stray = unknown(body, _MEMBERS)
    if stray is not None:
        raise bad(f"Unknown parameter: '{stray}'.", stray, "unknown_parameter")
    model = body.get("model")
    if model is None and body.get("prompt") is not None:
        # a stored prompt names its own
        model = "gpt-4o"
    if not isinstance(model, str) or not model:
        raise bad("Missing required parameter: 'model'.", "model", "missing_required_parameter")
    given = body.get("input", "" if body.get("prompt") is not None else None)
    if given is None:
        raise bad("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    if not isinstance(given, (str, list)):
        raise wrong_type("input", "one of a string or array of objects", given)
    if given == [] and not body.get("previous_response_id"):
        raise bad("Invalid 'input': empty array. Expected an array with minimum length 1, but got an empty array instead.", "input", "empty_array")
    instructions = body.get("instructions")
    if instructions is not None and not isinstance(instructions, str):
        raise wrong_type("instructions", "a string", instructions)
    _numbers(body, model)
    for name in ("stream", "store", "background", "parallel_tool_calls"):
        if body.get(name) is not None and not isinstance(body[name], bool):
            raise wrong_type(name, "a boolean", body[name])
    _options(body)
    ask = Ask(model, stream=body.get("stream") is True, max_tokens=body.get("max_output_tokens"))
    items = [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else given
    read_input(items, ask, stored)
    _tools(body, ask)
    _output(body, ask)
    _reasoning(body, ask, model)
    include = body.get("include") or []
    if wrong := next((n for n in include if n not in _INCLUDABLE), None):
        names = ", ".join(f"'{n}'" for n in sorted(_INCLUDABLE))
        raise bad(f"Invalid value: '{wrong}'. Supported values are: {names}.", "include[0]", "invalid_value")
    if "reasoning.encrypted_content" in include and not reasons(model):
        raise bad("Encrypted content is not supported with this model.", "include")
    ask.prompt = f"{instructions or ''}\n{orjson.dumps(stored).decode() if stored else ''}\n{ask.prompt}"
    ask.prompt_tokens = tokens(ask.prompt) + 4 * len(items) + tokens(orjson.dumps(body.get("tools")).decode()) + 85 * len(ask.media)
    ask.cache_prefix = ask.prompt[:4096] if ask.prompt_tokens >= 1024 else ""
    ask.extra = {"body": body, "items": [*stored, *items], "encrypted": "reasoning.encrypted_content" in include}
    return ask


def _always_reasons(model: str) -> bool:
    """gpt-5.1 and later do not reason unless told to, and then take a temperature, as recorded."""
    return reasons(model) and not re.match(r"gpt-5\.\d", model)


def _options(body: JSON) -> None:
    options = body.get("stream_options") or {}
    if options and body.get("stream") is not True:
        raise bad("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    if stray := unknown(options, frozenset({"include_obfuscation"})):
        raise bad(f"Unknown parameter: 'stream_options.{stray}'.", f"stream_options.{stray}", "unknown_parameter")
    metadata = body.get("metadata") or {}
    if not isinstance(metadata, dict) or len(metadata) > 16 or not all(isinstance(v, str) for v in metadata.values()):
        raise bad("Invalid type for 'metadata': expected a map of up to 16 strings.", "metadata", "invalid_type")


def _numbers(body: JSON, model: str) -> None:
    for name, high in (("temperature", 2), ("top_p", 1)):
        value = body.get(name)
        if value is None:
            continue
        if not is_number(value):
            raise wrong_type(name, "a decimal", value)
        if not 0 <= value <= high:
            side = "above maximum value. Expected a value <= " + str(high) if value > high else "below minimum value. Expected a value >= 0"
            raise bad(f"Invalid '{name}': decimal {side}, but got {value} instead.", name, "decimal_out_of_range")
        if _always_reasons(model) and value != 1:
            raise bad(f"Unsupported parameter: '{name}' is not supported with this model.", name)
    for name, least in (("max_output_tokens", 16), ("max_tool_calls", 1), ("top_logprobs", 0)):
        value = body.get(name)
        if value is None:
            continue
        if not is_int(value):
            raise wrong_type(name, "an integer", value)
        if value < least:
            raise bad(
                f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} instead.",
                name,
                "integer_below_min_value",
            )


def _tools(body: JSON, ask: Ask) -> None:
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise wrong_type("tools", "an array of objects", tools)
    names: list[str] = []
    for i, tool in enumerate(tools or []):
        at = f"tools[{i}]"
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind in _SERVER_TOOLS:
            continue
        if kind not in ("function", "custom"):
            listed = ", ".join(f"'{k}'" for k in ("function", "custom", *_SERVER_TOOLS))
            raise bad(f"Invalid value: '{kind}'. Supported values are: {listed}.", f"{at}.type", "invalid_value")
        name = name_of(tool.get("name"), f"{at}.name")
        names.append(name)
        if kind == "custom":
            continue
        if stray := unknown(tool, _FUNCTION):
            raise bad(f"Unknown parameter: '{at}.{stray}'.", f"{at}.{stray}", "unknown_parameter")
        schema = tool.get("parameters")
        if schema is not None and (not isinstance(schema, dict) or schema.get("type", "object") != "object"):
            got = schema.get("type") if isinstance(schema, dict) else type(schema).__name__
            raise bad(
                f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{got}\"'.",
                f"{at}.parameters",
                "invalid_function_parameters",
            )
        if tool.get("strict"):
            strict_schema(schema or {}, f"Invalid schema for function '{name}'", f"{at}.parameters", "invalid_function_parameters")
        ask.tools.append(Tool(name, schema or {"type": "object", "properties": {}}))
    ask.parallel = body.get("parallel_tool_calls") is not False
    _choice(body.get("tool_choice"), names, ask)


def _choice(choice: Any, names: list[str], ask: Ask) -> None:
    if choice is None:
        return
    if isinstance(choice, str):
        if choice not in ("none", "auto", "required"):
            raise bad(f"Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'.", "tool_choice", "invalid_value")
        if choice == "required" and not ask.tools:
            raise bad("Tool choice 'required' must be specified with 'tools' parameter.", "tool_choice")
        ask.tool_choice = "any" if choice == "required" else choice
        return
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "allowed_tools":
        ask.tool_choice = "any" if choice.get("mode") == "required" else "auto"
        allowed = [t.get("name") for t in choice.get("tools") or []]
        ask.tools = [t for t in ask.tools if t.name in allowed]
        return
    if kind in _SERVER_TOOLS:
        return
    if kind not in ("function", "custom") or choice.get("name") not in names:
        raise bad(f"Tool choice '{choice.get('name') if isinstance(choice, dict) else choice}' not found in 'tools' parameter.", "tool_choice")
    ask.tool_choice, ask.forced = choice["name"], True


def _output(body: JSON, ask: Ask) -> None:
    text = body.get("text") or {}
    if not isinstance(text, dict):
        raise wrong_type("text", "an object", text)
    if stray := unknown(text, frozenset({"format", "verbosity"})):
        raise bad(f"Unknown parameter: 'text.{stray}'.", f"text.{stray}", "unknown_parameter")
    wanted = text.get("format") or {"type": "text"}
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind not in ("text", "json_object", "json_schema"):
        raise bad(f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'.", "text.format.type", "invalid_value")
    if kind == "json_object":
        if "json" not in ask.prompt.lower():
            said = "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'."
            raise bad(said, "input")
        ask.schema = {}
    if kind == "json_schema":
        if stray := unknown(wanted, frozenset({"type", "name", "description", "schema", "strict"})):
            raise bad(f"Unknown parameter: 'text.format.{stray}'.", f"text.format.{stray}", "unknown_parameter")
        name = name_of(wanted.get("name"), "text.format.name")
        schema = wanted.get("schema")
        if not isinstance(schema, dict):
            raise bad("Missing required parameter: 'text.format.schema'.", "text.format.schema", "missing_required_parameter")
        if wanted.get("strict"):
            strict_schema(schema, f"Invalid schema for response_format '{name}'", "text.format.schema", "invalid_json_schema")
        ask.schema = schema


def _reasoning(body: JSON, ask: Ask, model: str) -> None:
    wanted = body.get("reasoning") or {}
    if not isinstance(wanted, dict):
        raise wrong_type("reasoning", "an object", wanted)
    if stray := unknown(wanted, _REASONING):
        raise bad(f"Unknown parameter: 'reasoning.{stray}'.", f"reasoning.{stray}", "unknown_parameter")
    effort, summary = wanted.get("effort"), wanted.get("summary")
    if effort is not None and effort not in _EFFORT:
        names = "'none', 'minimal', 'low', 'medium', 'high', 'xhigh', and 'max'"
        raise bad(f"Invalid value: '{effort}'. Supported values are: {names}.", "reasoning.effort", "invalid_value")
    if summary not in (None, "auto", "concise", "detailed"):
        raise bad(f"Invalid value: '{summary}'. Supported values are: 'auto', 'concise', and 'detailed'.", "reasoning.summary", "invalid_value")
    if not reasons(model):
        if effort is not None:
            raise bad("Unsupported parameter: 'reasoning.effort' is not supported with this model.", "reasoning.effort", "unsupported_parameter")
        if summary is not None:
            raise bad("Unsupported parameter: 'reasoning.summary' is not supported with this model.", "reasoning.summary", "unsupported_parameter")
        return
    ask.thinking = _EFFORT[effort or ("medium" if _always_reasons(model) else "none")]
    ask.show_thinking = summary is not None
