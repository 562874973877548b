"""What Gemini's generateContent accepts, and the 400 it answers otherwise.

Members may be written in camelCase or in snake_case, as protobuf's JSON allows; unknown ones are refused with their path.
Wire format: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from extproc.simulator.gemini.contents import bad, check_turns, list_of, object_of, read_instruction, read_parts
from extproc.simulator.replies import tokens
from extproc.simulator.shapes import is_int, is_number
from extproc.simulator.wire import JSON, Ask, Call, Tool

MEMBERS = frozenset(
    {"model", "contents", "systemInstruction", "tools", "toolConfig", "safetySettings", "generationConfig", "cachedContent", "serviceTier", "store"}
)
_VERTEX_MEMBERS = frozenset({"labels", "modelArmorConfig"})
_CONFIG = frozenset(
    {
        *(
            "stopSequences",
            "responseMimeType",
            "responseSchema",
            "responseJsonSchema",
            "responseModalities",
            "candidateCount",
            "maxOutputTokens",
            "temperature",
        ),
        *(
            "topP",
            "topK",
            "seed",
            "presencePenalty",
            "frequencyPenalty",
            "responseLogprobs",
            "logprobs",
            "enableEnhancedCivicAnswers",
            "speechConfig",
        ),
        *("thinkingConfig", "imageConfig", "mediaResolution", "responseFormat"),
    }
)
_TOOL = frozenset(
    {
        "functionDeclarations",
        "googleSearch",
        "googleSearchRetrieval",
        "codeExecution",
        "computerUse",
        "urlContext",
        "fileSearch",
        "googleMaps",
        "mcpServers",
    }
)
_DECLARATION = frozenset({"name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "behavior"})
_SCHEMA = frozenset(
    {
        *(
            "type",
            "format",
            "title",
            "description",
            "nullable",
            "enum",
            "maxItems",
            "minItems",
            "properties",
            "required",
            "minProperties",
            "maxProperties",
        ),
        *("minLength", "maxLength", "pattern", "example", "anyOf", "propertyOrdering", "default", "items", "minimum", "maximum"),
    }
)
_SCHEMA_NUMBERS = ("TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL")
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_LEVELS = {"minimal": 8, "low": 16, "medium": 32, "high": 64}


def read(call: Call, body: JSON) -> Ask:
    """The request as the answer needs it. Raises `Rejected`."""
    data = object_of(body, MEMBERS | _VERTEX_MEMBERS if call.cloud else MEMBERS, "")
    ask = Ask(call.model, stream=call.stream)
    prompt = [read_instruction(data.get("systemInstruction"))]
    contents = [object_of(c, frozenset({"role", "parts"}), f"contents[{i}]") for i, c in enumerate(list_of(data.get("contents"), "contents"))]
    if not contents:
        raise bad("* GenerateContentRequest.contents: contents is not specified\n")
    parts = [read_parts(c, i, ask, prompt) for i, c in enumerate(contents)]
    check_turns(contents, parts, call.model)
    _tools(data, ask)
    _config(data.get("generationConfig"), ask, call.model)
    last = parts[-1]
    if contents[-1].get("role") in ("user", "function", None):
        results = [p["functionResponse"] for p in last if "functionResponse" in p]
        if results and not any(str(p.get("text", "")).strip() for p in last):
            ask.results = [orjson.dumps(r.get("response")).decode() for r in results]
    ask.prompt = "\n".join(prompt)
    ask.prompt_tokens = tokens(ask.prompt) + tokens(orjson.dumps(data.get("tools")).decode()) + 258 * len(ask.media) + len(contents)
    ask.cache_prefix = ask.prompt[:4096] if ask.prompt_tokens >= 1024 else ""
    ask.extra["array"] = call.array
    return ask


def _tools(data: JSON, ask: Ask) -> None:
    names: set[str] = set()
    for i, raw in enumerate(list_of(data.get("tools"), "tools")):
        tool = object_of(raw, _TOOL, f"tools[{i}]")
        for j, declared in enumerate(list_of(tool.get("functionDeclarations"), f"tools[{i}].function_declarations")):
            at = f"tools[{i}].function_declarations[{j}]"
            function = object_of(declared, _DECLARATION, at)
            name = function.get("name")
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise bad(
                    f"* GenerateContentRequest.{at}.name: Invalid function name. Must start with a letter or an underscore. Must be alphanumeric "
                    "(a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128.\n"
                )
            if name in names:
                raise bad(f"Duplicate function declaration found: {name}")
            names.add(name)
            if "parameters" in function and "parametersJsonSchema" in function:
                raise bad(f"* GenerateContentRequest.{at}: parameters and parameters_json_schema must not both be set.\n")
            if "parameters" in function:
                check_schema(function["parameters"], f"{at}.parameters")
            ask.tools.append(Tool(name, function.get("parametersJsonSchema", function.get("parameters", {"type": "object"}))))
    config = data.get("toolConfig")
    if config is None:
        return
    wanted = object_of(config, frozenset({"functionCallingConfig", "retrievalConfig", "includeServerSideToolInvocations"}), "tool_config")
    calling = object_of(
        wanted.get("functionCallingConfig") or {},
        frozenset({"mode", "allowedFunctionNames", "streamFunctionCallArguments"}),
        "tool_config.function_calling_config",
    )
    mode = str(calling.get("mode", "AUTO")).upper()
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED"):
        raise bad(f"Invalid value at 'tool_config.function_calling_config.mode' (FunctionCallingConfig.Mode), \"{mode}\"")
    if mode == "ANY" and not ask.tools:
        raise bad("Function calling mode is set to ANY but no function declarations are provided.")
    allowed = calling.get("allowedFunctionNames") or []
    if allowed:
        if mode not in ("ANY", "VALIDATED"):
            raise bad("allowed_function_names should only be set when mode is ANY or VALIDATED.")
        if stray := next((n for n in allowed if n not in names), None):
            raise bad(f"allowed_function_names contains a name that is not declared: {stray}")
        ask.tools = [t for t in ask.tools if t.name in allowed]
    ask.tool_choice = {"ANY": "any", "NONE": "none"}.get(mode, "auto")
    if mode == "ANY" and len(allowed) == 1:
        ask.tool_choice, ask.forced = allowed[0], True


def check_schema(schema: Any, at: str, depth: int = 0) -> None:
    """Gemini's own schema type: a closed list of members, upper- or lower-case types, no empty objects."""
    data = object_of(schema, _SCHEMA, at)
    kind: Any = data.get("type")
    if is_int(kind) and 0 <= kind < len(_SCHEMA_NUMBERS):
        # protobuf's JSON reader takes a number for the name of a constant
        kind = _SCHEMA_NUMBERS[kind]
    if not isinstance(kind, (str, type(None))) or (kind is not None and kind.upper() not in _SCHEMA_NUMBERS):
        raise bad(f"Invalid value at '{at}.type' (type.googleapis.com/google.ai.generativelanguage.v1beta.Type), {orjson.dumps(kind).decode()}")
    if any(not isinstance(e, str) for e in data.get("enum") or []):
        raise bad(f"Invalid value at '{at}.enum[0]' (TYPE_STRING)")
    properties = data.get("properties") or {}
    if kind is not None and kind.upper() == "OBJECT" and depth and not properties:
        raise bad(f"* GenerateContentRequest.{at}.properties: should be non-empty for OBJECT type\n")
    if missing := next((n for n in data.get("required") or [] if n not in properties), None):
        raise bad(f"* GenerateContentRequest.{at}.required: property is not defined: {missing}\n")
    if depth > 32:
        raise bad(f"* GenerateContentRequest.{at}: too much recursion in the schema\n")
    if kind is not None and kind.upper() == "ARRAY" and "items" not in data:
        raise bad(f"* GenerateContentRequest.{at}.items: missing field.\n")
    for name, inner in properties.items():
        check_schema(inner, f"{at}.properties[{name}]", depth + 1)
    if "items" in data:
        check_schema(data["items"], f"{at}.items", depth + 1)
    for k, inner in enumerate(data.get("anyOf") or []):
        check_schema(inner, f"{at}.any_of[{k}]", depth + 1)


def _config(value: Any, ask: Ask, model: str) -> None:
    config = object_of(value or {}, _CONFIG, "generation_config")
    for name, low, high in (("temperature", 0.0, 2.0), ("topP", 0.0, 1.0)):
        number = config.get(name)
        if number is not None and (not is_number(number) or not low <= number <= high):
            snake = {"topP": "top_p"}.get(name, name)
            raise bad(f"* GenerateContentRequest.generation_config.{snake}: {snake} must be in the range [{low}, {high}].\n")
    limit = config.get("maxOutputTokens")
    if limit is not None and (not is_int(limit) or limit < 1):
        raise bad("* GenerateContentRequest.generation_config.max_output_tokens: max_output_tokens must be positive.\n")
    ask.max_tokens = limit
    count = config.get("candidateCount") or 1
    if not is_int(count) or not 1 <= count <= 8:
        raise bad("* GenerateContentRequest.generation_config.candidate_count: candidate_count must be in the range [1, 8].\n")
    ask.choices = count
    stops = config.get("stopSequences") or []
    if not isinstance(stops, list) or len(stops) > 5 or not all(isinstance(s, str) and s for s in stops):
        raise bad("* GenerateContentRequest.generation_config.stop_sequences: must be at most 5 non-empty strings.\n")
    ask.stops = stops
    _output(config, ask)
    _thinking(config.get("thinkingConfig"), ask, model)


def _output(config: JSON, ask: Ask) -> None:
    mime = config.get("responseMimeType") or "text/plain"
    if mime not in ("text/plain", "application/json", "text/x.enum"):
        raise bad(
            f"* GenerateContentRequest.generation_config.response_mime_type: allowed mimetypes are `text/plain`, `application/json`, not `{mime}`.\n"
        )
    schemas = [k for k in ("responseSchema", "responseJsonSchema") if config.get(k) is not None]
    if len(schemas) > 1:
        raise bad("* GenerateContentRequest.generation_config: response_schema and response_json_schema must not both be set.\n")
    if schemas and mime == "text/plain":
        raise bad("* GenerateContentRequest.generation_config.response_schema: only allowed for response_mime_type `application/json`.\n")
    if schemas == ["responseSchema"]:
        check_schema(config["responseSchema"], "generation_config.response_schema")
    if mime == "application/json":
        ask.schema = config[schemas[0]] if schemas else {}


def _thinking(value: Any, ask: Ask, model: str) -> None:
    config = object_of(value or {}, frozenset({"includeThoughts", "thinkingBudget", "thinkingLevel"}), "generation_config.thinking_config")
    budget, level = config.get("thinkingBudget"), config.get("thinkingLevel")
    if budget is not None and level is not None:
        raise bad("You can only set only one of thinking budget and thinking level.")
    if value and re.match(r"gemini-(1|2\.0)", model):
        raise bad("Thinking is not enabled for this model. Please remove thinking_config from the request.")
    if level is not None and str(level).lower() not in _LEVELS:
        raise bad(f"Invalid value at 'generation_config.thinking_config.thinking_level', \"{level}\"")
    if budget is not None and (not is_int(budget) or budget < -1):
        raise bad("The thinking budget is invalid. Please choose a value between 0 and 24576, or -1.")
    if level is not None:
        ask.thinking = _LEVELS[str(level).lower()]
    elif budget or config.get("includeThoughts") or re.match(r"gemini-[3-9]", model):
        ask.thinking = 16
    ask.show_thinking = config.get("includeThoughts") is True
