"""What OpenAI's Chat Completions accepts, and the 400 it answers otherwise.

Wire format: https://platform.openai.com/docs/api-reference/chat/create; texts of errors as the API sends them. Checked: members, roles, content
parts, pairing of tool calls with their results, id and name limits, strict schemas, and what reasoning models refuse.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from extproc.simulator.openai.chat_messages import bad, check_pairing, name_of, read_messages, wrong_type
from extproc.simulator.replies import tokens
from extproc.simulator.shapes import is_int, is_number, unknown
from extproc.simulator.wire import JSON, Ask, Tool

_MEMBERS = frozenset(
    {
        *("audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens"),
        *("max_tokens", "messages", "metadata", "modalities", "model", "moderation", "n", "parallel_tool_calls", "prediction"),
        *("presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort"),
        *("response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options", "temperature"),
        *("tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity", "web_search_options"),
    }
)
_EFFORT = {"none": 0, "minimal": 0, "low": 32, "medium": 64, "high": 128, "xhigh": 192, "max": 256}
_NO_STOP = re.compile(r"o3(?!-mini)|o4|gpt-5(?!.*chat)")
"""o3-mini takes stop sequences (recorded), later reasoning models do not."""
_MAX_CHOICES = 128
_MAX_TOOLS = 128


def reasons(model: str) -> bool:
    """Whether OpenAI's model of this name is a reasoning model (o-series, gpt-5 and later)."""
    return re.match(r"(o\d|gpt-5)", model) is not None and "chat" not in model


def read(body: JSON) -> Ask:
    """The request as the answer needs it. Raises `Rejected`."""
    stray = unknown(body, _MEMBERS)
    if stray is not None:
        raise bad(f"Unrecognized request argument supplied: {stray}")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise bad("you must provide a model parameter")
    messages = body.get("messages")
    if messages is None:
        raise bad("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    if not isinstance(messages, list):
        raise wrong_type("messages", "an array of objects", messages)
    if not messages:
        raise bad(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.", "messages", "empty_array"
        )
    _numbers(body, model)
    stream = body.get("stream") or False
    if not isinstance(stream, bool):
        raise wrong_type("stream", "a boolean", stream)
    options = body.get("stream_options") or {}
    if options and not stream:
        raise bad("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    if stray := unknown(options, frozenset({"include_usage", "include_obfuscation"})):
        raise bad(f"Unknown parameter: 'stream_options.{stray}'.", f"stream_options.{stray}", "unknown_parameter")
    ask = Ask(model, stream=stream, choices=body.get("n") or 1)
    _tools(body, ask)
    read_messages(messages, ask)
    check_pairing(messages)
    _output(body, ask)
    _stops(body, ask, model)
    ask.max_tokens = body.get("max_completion_tokens") or body.get("max_tokens")
    if reasons(model):
        effort = body.get("reasoning_effort") or "medium"
        ask.thinking = _EFFORT[effort]
    ask.extra = {
        "include_usage": options.get("include_usage") is True,
        "obfuscation": options.get("include_obfuscation") is not False,
        "functions": "functions" in body,
        "logprobs": body.get("logprobs") is True,
        "reasoning": reasons(model),
    }
    schema_text = orjson.dumps([body.get("tools"), body.get("functions"), body.get("response_format")]).decode()
    ask.prompt_tokens = tokens(ask.prompt) + 4 * len(messages) + tokens(schema_text) + 85 * len(ask.media)
    ask.cache_prefix = ask.prompt[:4096] if ask.prompt_tokens >= 1024 else ""
    return ask


def _numbers(body: JSON, model: str) -> None:
    for name, low, high in (("temperature", 0, 2), ("top_p", 0, 1), ("frequency_penalty", -2, 2), ("presence_penalty", -2, 2)):
        value = body.get(name)
        if value is None:
            continue
        if not is_number(value):
            raise wrong_type(name, "a decimal", value)
        if not low <= value <= high:
            side, bound = ("minimum", low) if value < low else ("maximum", high)
            below, sign = (True, ">=") if value < low else (False, "<=")
            raise bad(
                f"Invalid '{name}': decimal {'below' if below else 'above'} {side} value. Expected a value {sign} {bound}, but got {value} instead.",
                name,
                f"decimal_{'below_min' if below else 'above_max'}_value",
            )
        if reasons(model) and name in ("temperature", "top_p") and value != 1:
            raise bad(
                f"Unsupported value: '{name}' does not support {value} with this model. Only the default (1) value is supported.",
                name,
                "unsupported_value",
            )
    for name in ("max_tokens", "max_completion_tokens", "n", "seed", "top_logprobs"):
        value = body.get(name)
        if value is not None and not is_int(value):
            raise wrong_type(name, "an integer", value)
        if value is not None and name in ("max_tokens", "max_completion_tokens", "n") and value < 1:
            raise bad(
                f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {value} instead.", name, "integer_below_min_value"
            )
    if (body.get("n") or 1) > _MAX_CHOICES:
        raise bad(f"Invalid 'n': integer above maximum value. Expected a value <= 128, but got {body['n']} instead.", "n", "integer_above_max_value")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        raise bad(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", "max_tokens", "invalid_parameter_combination"
        )
    if reasons(model) and body.get("max_tokens") is not None:
        raise bad(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "max_tokens",
            "unsupported_parameter",
        )
    effort = body.get("reasoning_effort")
    if effort is not None:
        if not reasons(model):
            raise bad("Unrecognized request argument supplied: reasoning_effort")
        if effort not in _EFFORT:
            raise bad(
                f"Invalid value: '{effort}'. Supported values are: 'none', 'minimal', 'low', 'medium', 'high', 'xhigh', and 'max'.",
                "reasoning_effort",
                "invalid_value",
            )
    if body.get("web_search_options") is not None and "search" not in model:
        raise bad("Web search options not supported with this model.", "web_search_options")
    if body.get("top_logprobs") is not None and body.get("logprobs") is not True:
        raise bad("The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", "top_logprobs")


def _stops(body: JSON, ask: Ask, model: str) -> None:
    stop = body.get("stop")
    if stop is None:
        return
    if _NO_STOP.match(model):
        raise bad("Unsupported parameter: 'stop' is not supported with this model.", "stop", "unsupported_parameter")
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(s, str) for s in stops):
        raise wrong_type("stop", "a string or an array of strings", stop)
    if len(stops) > 4:
        raise bad(
            f"Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length {len(stops)} instead.",
            "stop",
            "array_above_max_length",
        )
    ask.stops = stops


def _tools(body: JSON, ask: Ask) -> None:
    tools, functions = body.get("tools"), body.get("functions")
    if tools is None and functions is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.get(name) is not None:
                raise bad(f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.", name)
        return
    listed = tools if tools is not None else functions
    param = "tools" if tools is not None else "functions"
    if not isinstance(listed, list):
        raise wrong_type(param, "an array of objects", listed)
    if not listed:
        raise bad(f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead.", param, "empty_array")
    if len(listed) > _MAX_TOOLS:
        raise bad(
            f"Invalid '{param}': array too long. Expected an array with maximum length 128, but got an array with length {len(listed)} instead.",
            param,
        )
    for i, tool in enumerate(listed):
        at = f"{param}[{i}]"
        if not isinstance(tool, dict):
            raise wrong_type(at, "an object", tool)
        function: Any = tool
        if tools is not None:
            if tool.get("type") not in ("function", "custom"):
                raise bad(f"Invalid value: '{tool.get('type')}'. Supported values are: 'function' and 'custom'.", f"{at}.type", "invalid_value")
            if stray := unknown(tool, frozenset({"type", tool["type"]})):
                raise bad(f"Unknown parameter: '{at}.{stray}'.", f"{at}.{stray}", "unknown_parameter")
            function = tool.get(tool["type"])
            at = f"{at}.{tool['type']}"
            if not isinstance(function, dict):
                raise bad(f"Missing required parameter: '{at}'.", at, "missing_required_parameter")
            if tool["type"] == "custom":
                name_of(function.get("name"), f"{at}.name")
                continue
        if stray := unknown(function, frozenset({"name", "description", "parameters", "strict"})):
            raise bad(f"Unknown parameter: '{at}.{stray}'.", f"{at}.{stray}", "unknown_parameter")
        name = name_of(function.get("name"), f"{at}.name")
        schema = function.get("parameters")
        if schema is not None and (not isinstance(schema, dict) or schema.get("type", "object") != "object"):
            got = schema.get("type") if isinstance(schema, dict) else type(schema).__name__
            raise bad(
                f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{got}\"'.",
                f"{at}.parameters",
                "invalid_function_parameters",
            )
        if function.get("strict"):
            strict_schema(schema or {}, f"Invalid schema for function '{name}'", f"{at}.parameters", "invalid_function_parameters")
        ask.tools.append(Tool(name, schema or {"type": "object", "properties": {}}))
    ask.parallel = body.get("parallel_tool_calls") is not False
    _choice(body.get("tool_choice") if tools is not None else body.get("function_call"), ask, param)


def _choice(choice: Any, ask: Ask, param: str) -> None:
    member = "tool_choice" if param == "tools" else "function_call"
    if choice is None:
        return
    if isinstance(choice, str):
        if choice not in ("none", "auto", "required"):
            raise bad(f"Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'.", member, "invalid_value")
        ask.tool_choice = "any" if choice == "required" else choice
        return
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        return
    named = choice.get("function", choice.get("custom")) if isinstance(choice, dict) and param == "tools" else choice
    name = named.get("name") if isinstance(named, dict) else None
    if not any(t.name == name for t in ask.tools):
        raise bad(f"Tool choice '{name}' not found in '{param}' parameter.", member)
    ask.tool_choice, ask.forced = str(name), True


def strict_schema(schema: Any, prefix: str, param: str, code: str, at: str = "()", depth: int = 0) -> None:
    """Structured outputs demand `additionalProperties: false` and every property required, all the way down."""
    if not isinstance(schema, dict) or depth > 32:
        return
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, dict):
        if schema.get("additionalProperties") is not False:
            raise bad(f"{prefix}: In context={at}, 'additionalProperties' is required to be supplied and to be false.", param, code)
        required = schema.get("required") or []
        for name in properties or {}:
            if name not in required:
                said = "'required' is required to be supplied and to be an array including every key in properties."
                raise bad(f"{prefix}: In context={at}, {said} Missing '{name}'.", param, code)
    for name, inner in [*(properties or {}).items(), *(schema.get("$defs") or {}).items()]:
        strict_schema(inner, prefix, param, code, f"('properties', '{name}')", depth + 1)
    for inner in [schema.get("items"), *(schema.get("anyOf") or [])]:
        strict_schema(inner, prefix, param, code, at, depth + 1)


def _output(body: JSON, ask: Ask) -> None:
    wanted = body.get("response_format")
    if wanted is None:
        return
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind not in ("text", "json_object", "json_schema"):
        raise bad(
            f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'.", "response_format.type", "invalid_value"
        )
    if kind == "json_object":
        if "json" not in ask.prompt.lower():
            raise bad("'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.", "messages")
        ask.schema = {}
    if kind == "json_schema":
        described = wanted.get("json_schema")
        at = "response_format.json_schema"
        if not isinstance(described, dict):
            raise bad(f"Missing required parameter: '{at}'.", at, "missing_required_parameter")
        if stray := unknown(described, frozenset({"name", "description", "schema", "strict"})):
            raise bad(f"Unknown parameter: '{at}.{stray}'.", f"{at}.{stray}", "unknown_parameter")
        name = name_of(described.get("name"), f"{at}.name")
        wanted_schema: JSON = described.get("schema") or {}
        if described.get("strict"):
            strict_schema(wanted_schema, f"Invalid schema for response_format '{name}'", "response_format", "invalid_json_schema")
        ask.schema = wanted_schema
