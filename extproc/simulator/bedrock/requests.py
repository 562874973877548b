"""What Bedrock's Converse accepts, and the ValidationException it answers otherwise.

Wire format: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

from typing import Any

import orjson

from extproc.simulator.anthropic.requests import ONE_SAMPLER
from extproc.simulator.bedrock.messages import TOOL_NAME, bad, cache_point, check_turns, one_of, read_messages, structure
from extproc.simulator.replies import tokens
from extproc.simulator.shapes import is_int, is_number
from extproc.simulator.wire import JSON, Ask, Call, Tool

_MEMBERS = frozenset(
    {
        *("messages", "system", "inferenceConfig", "toolConfig", "guardrailConfig", "additionalModelRequestFields", "promptVariables"),
        *("additionalModelResponseFieldPaths", "requestMetadata", "performanceConfig", "serviceTier", "outputConfig"),
    }
)
_CLAUDE_FIELDS = frozenset(
    {"thinking", "top_k", "anthropic_beta", "anthropic_version", "tool_choice", "tools", "output_config", "metadata", "betas", "context_management"}
)


def read(call: Call, body: JSON) -> Ask:
    """The request as the answer needs it. Raises `Rejected`."""
    structure(body, _MEMBERS, "")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise bad("1 validation error detected: Value at 'messages' failed to satisfy constraint: Member must not be null")
    ask = Ask(call.model, stream=call.stream)
    system = _system(body.get("system"))
    _limits(body.get("inferenceConfig"), ask)
    turned = read_messages(messages, ask)
    _tools(body.get("toolConfig"), ask, turned)
    thinking = _fields(body.get("additionalModelRequestFields"), body, ask)
    check_turns(turned, thinking=thinking)
    _output(body.get("outputConfig"), ask)
    _tier(body)
    tools_text = orjson.dumps(body["toolConfig"]).decode() if ask.tools else ""
    ask.prompt = f"{tools_text}\n{system}\n{ask.prompt}"
    ask.prompt_tokens = tokens(ask.prompt) + 4 * len(messages) + 1500 * len(ask.media)
    marked = b'"cachePoint"' in orjson.dumps(body)
    ask.cache_prefix = ask.prompt[:4096] if marked and len(ask.prompt) >= 4096 else ""
    ask.extra = {"cache_writes": True}
    return ask


def _system(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, list):
        raise bad("Value at 'system' failed to satisfy constraint: Member must be a list")
    texts = []
    for i, block in enumerate(value):
        kind = one_of(block, frozenset({"text", "guardContent", "cachePoint"}), f"system.{i}")
        if kind == "text" and (not isinstance(block["text"], str) or not block["text"].strip()):
            raise bad(f"The text field in the SystemContentBlock object at system.{i} is blank. Add text to the text field, and try again.")
        if kind == "cachePoint":
            cache_point(block[kind], f"system.{i}.cachePoint")
        texts.append(str(block.get("text", "")))
    return "\n".join(texts)


def _limits(value: Any, ask: Ask) -> None:
    config = structure(value if value is not None else {}, frozenset({"maxTokens", "temperature", "topP", "stopSequences"}), "inferenceConfig")
    limit = config.get("maxTokens")
    if limit is not None and (not is_int(limit) or limit < 1):
        raise bad(f"Value '{limit}' at 'inferenceConfig.maxTokens' failed to satisfy constraint: Member must have value greater than or equal to 1")
    ask.max_tokens = limit
    for name in ("temperature", "topP"):
        number = config.get(name)
        if number is not None and (not is_number(number) or not 0 <= number <= 1):
            raise bad(f"Value '{number}' at 'inferenceConfig.{name}' failed to satisfy constraint: Member must have value less than or equal to 1")
    if ONE_SAMPLER.match(ask.model.partition("anthropic.")[2]) and config.get("temperature") is not None and config.get("topP") is not None:
        raise bad("The model returned the following errors: `temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    stops = config.get("stopSequences") or []
    if not isinstance(stops, list) or not all(isinstance(s, str) and s for s in stops):
        raise bad("Value at 'inferenceConfig.stopSequences' failed to satisfy constraint: Member must have length greater than or equal to 1")
    ask.stops = stops


def _tools(value: Any, ask: Ask, turned: list[JSON]) -> None:
    if value is None:
        if any(b["type"] in ("tool_use", "tool_result") for turn in turned for b in turn["content"]):
            raise bad("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
        return
    config = structure(value, frozenset({"tools", "toolChoice"}), "toolConfig")
    tools = config.get("tools")
    if not isinstance(tools, list) or not tools:
        raise bad("Value at 'toolConfig.tools' failed to satisfy constraint: Member must have length greater than or equal to 1")
    names: set[str] = set()
    for i, tool in enumerate(tools):
        at = f"toolConfig.tools.{i}"
        kind = one_of(tool, frozenset({"toolSpec", "systemTool", "cachePoint"}), at)
        if kind == "cachePoint":
            cache_point(tool[kind], at)
        if kind != "toolSpec":
            continue
        spec = structure(tool[kind], frozenset({"name", "description", "inputSchema", "strict"}), f"{at}.toolSpec")
        name = spec.get("name")
        if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
            raise bad(f"Value '{name}' at '{at}.toolSpec.name' failed to satisfy regular expression pattern: [a-zA-Z0-9_-]+")
        if spec.get("description") == "":
            raise bad(f"Value at '{at}.toolSpec.description' failed to satisfy constraint: Member must have length greater than or equal to 1")
        if name in names:
            raise bad(f"The tool {name} is already defined at toolConfig.tools.{sorted(names).index(name)}.")
        names.add(name)
        one_of(spec.get("inputSchema"), frozenset({"json"}), f"{at}.toolSpec.inputSchema")
        given: Any = spec["inputSchema"]
        schema = given["json"]
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise bad(f"The value at {at}.toolSpec.inputSchema.json.type must be one of the following: object.")
        ask.tools.append(Tool(name, schema))
    choice = config.get("toolChoice")
    if choice is None:
        return
    kind = one_of(choice, frozenset({"auto", "any", "tool"}), "toolConfig.toolChoice")
    ask.tool_choice = kind
    if kind == "tool":
        name = structure(choice["tool"], frozenset({"name"}), "toolConfig.toolChoice.tool").get("name")
        if name not in names:
            raise bad(f"The tool {name} in toolConfig.toolChoice is not defined.")
        ask.tool_choice, ask.forced = str(name), True


def _fields(value: Any, body: JSON, ask: Ask) -> bool:
    """What the model gets beside Converse's own members. Returns whether Claude thinks."""
    if value is None:
        return False
    if not isinstance(value, dict):
        raise bad("Value at 'additionalModelRequestFields' failed to satisfy constraint: Member must be a structure")
    if "anthropic.claude" not in ask.model:
        return False
    if stray := next((k for k in value if k not in _CLAUDE_FIELDS), None):
        raise bad(f"The model returned the following errors: {stray}: Extra inputs are not permitted")
    choice = value.get("tool_choice") or {}
    if isinstance(choice, dict):
        ask.parallel = choice.get("disable_parallel_tool_use") is not True
    config: Any = value.get("thinking")
    kind = config.get("type") if isinstance(config, dict) else None
    if kind not in ("enabled", "adaptive"):
        return False
    limits = body.get("inferenceConfig") or {}
    if kind == "enabled":
        budget = config["budget_tokens"]
        if not is_int(budget) or budget < 1024:
            raise bad("The model returned the following errors: thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if budget >= (ask.max_tokens or 4096):
            raise bad("The model returned the following errors: `max_tokens` must be greater than `thinking.budget_tokens`.")
        if ask.forced or ask.tool_choice == "any":
            raise bad("The model returned the following errors: Thinking may not be enabled when tool_choice forces tool use.")
    if limits.get("temperature") not in (None, 1, 1.0) or value.get("top_k") is not None:
        raise bad("The model returned the following errors: `temperature` may only be set to 1 when thinking is enabled.")
    ask.thinking, ask.show_thinking = 24, True
    return True


def _output(value: Any, ask: Ask) -> None:
    config = structure(value if value is not None else {}, frozenset({"textFormat", "effort"}), "outputConfig")
    if config.get("textFormat") is None:
        return
    wanted = structure(config["textFormat"], frozenset({"type", "structure"}), "outputConfig.textFormat")
    if wanted.get("type") != "json_schema":
        raise bad("Value at 'outputConfig.textFormat.type' failed to satisfy constraint: Member must satisfy enum value set: [json_schema]")
    form: Any = wanted.get("structure")
    one_of(form, frozenset({"jsonSchema"}), "outputConfig.textFormat.structure")
    described = structure(form["jsonSchema"], frozenset({"schema", "name", "description"}), "outputConfig.textFormat.structure.jsonSchema")
    if not isinstance(described.get("schema"), str):
        raise bad("Value at 'outputConfig.textFormat.structure.jsonSchema.schema' failed to satisfy constraint: Member must be a string")
    try:
        ask.schema = orjson.loads(described["schema"])
    except orjson.JSONDecodeError:
        raise bad("The value at outputConfig.textFormat.structure.jsonSchema.schema is not a valid JSON schema.") from None


def _tier(body: JSON) -> None:
    tier = structure(body.get("serviceTier") or {"type": "default"}, frozenset({"type"}), "serviceTier")
    if tier.get("type") not in ("priority", "default", "flex", "reserved"):
        raise bad("Value at 'serviceTier.type' failed to satisfy constraint: Member must satisfy enum value set: [priority, default, flex, reserved]")
    speed = structure(body.get("performanceConfig") or {}, frozenset({"latency"}), "performanceConfig")
    if speed.get("latency", "standard") not in ("standard", "optimized"):
        raise bad("Value at 'performanceConfig.latency' failed to satisfy constraint: Member must satisfy enum value set: [standard, optimized]")
    metadata = body.get("requestMetadata") or {}
    if not isinstance(metadata, dict) or len(metadata) > 16 or not all(isinstance(v, str) and len(v) <= 256 for v in metadata.values()):
        raise bad("Value at 'requestMetadata' failed to satisfy constraint: Map must have at most 16 strings of at most 256 characters")
