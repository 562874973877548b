"""What Anthropic's Messages API accepts, and the 400 it answers otherwise.

Wire format: https://platform.claude.com/docs/en/api/messages; texts of errors as the API sends them. Consecutive turns of one role count as
one, and the first may be the assistant's, as recorded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from extproc.simulator.anthropic.messages import bad, check_thinking, check_tool_turns, read_messages, text_of
from extproc.simulator.replies import tokens
from extproc.simulator.shapes import is_int, is_number, unknown
from extproc.simulator.wire import JSON, Ask, Rejected, Tool

_MEMBERS = frozenset(
    {
        *(
            "max_tokens",
            "messages",
            "model",
            "cache_control",
            "container",
            "diagnostics",
            "inference_geo",
            "metadata",
            "output_config",
            "service_tier",
        ),
        *("service_tier", "speed", "stop_sequences", "system", "thinking", "tool_choice", "tools", "stream", "temperature", "top_p", "top_k"),
    }
)
_BETA_MEMBERS = frozenset({"mcp_servers", "context_management", "output_format"})
_TOOL_MEMBERS = frozenset(
    {
        *("name", "description", "input_schema", "type", "cache_control", "strict"),
        *("allowed_callers", "defer_loading", "eager_input_streaming", "input_examples"),
    }
)
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
ONE_SAMPLER = re.compile(r"claude-(opus-4-[1-9]|(sonnet|haiku)-4-[5-9]|(opus|sonnet|haiku)-[5-9])")
_NO_PREFILL = re.compile(r"claude-((opus|sonnet)-4-[6-9]|(opus|sonnet|haiku)-[5-9])")
_MID_SYSTEM = re.compile(r"claude-(opus-4-[89]|(opus|sonnet|haiku)-[5-9])")
"""Models that take system messages within a conversation without a beta, as recorded at Bedrock."""
_OUTPUT_LIMITS = {"claude-3-opus": 4096, "claude-3-haiku": 4096, "claude-3-5": 8192}
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_DOCS = "https://docs.claude.com/en/docs/build-with-claude/extended-thinking"


def read(body: JSON, headers: Mapping[str, str]) -> Ask:
    """The request as the answer needs it. Raises `Rejected`."""
    beta = headers.get("anthropic-beta", "")
    stray = unknown(body, _MEMBERS | _BETA_MEMBERS if beta else _MEMBERS)
    if stray is not None:
        raise bad(f"{stray}: Extra inputs are not permitted")
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            raise bad(f"{name}: Field required")
    model = body["model"]
    if not isinstance(model, str) or not model:
        raise bad("model: Input should be a valid string")
    ask = Ask(model, stream=_bool(body, "stream"), max_tokens=_limits(body, model))
    _sampling(body, model)
    system = _system(body.get("system"))
    _tools(body, ask)
    messages = body["messages"]
    if not isinstance(messages, list):
        raise bad("messages: Input should be a valid list")
    if not messages:
        raise bad("messages: at least one message is required")
    told = "mid-conversation-system" in beta or headers.get("anthropic-version", "") >= "2026-10-21"
    may_system = told or _MID_SYSTEM.search(model) is not None
    read_messages(messages, ask, system_allowed=may_system)
    check_tool_turns(messages)
    if messages[-1]["role"] == "assistant":
        if _NO_PREFILL.match(model):
            raise bad("This model does not support assistant message prefill. The conversation must end with a user message.")
        if text_of(messages[-1]["content"]).rstrip() != text_of(messages[-1]["content"]):
            raise bad("messages: final assistant content cannot end with trailing whitespace")
    thinking = _thinking(body, ask)
    check_thinking(messages, thinking=thinking)
    _output(body, ask, model)
    ask.stops = _stops(body)
    tools_text = orjson.dumps(body["tools"]).decode() if ask.tools else ""
    ask.prompt = f"{tools_text}\n{system}\n{ask.prompt}"
    ask.prompt_tokens = tokens(ask.prompt) + 4 * len(messages) + 1500 * len(ask.media)
    ask.cache_prefix = _cache_prefix(body, ask)
    ask.extra["cache_writes"] = True
    return ask


def _bool(body: JSON, name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad(f"{name}: Input should be a valid boolean")
    return value is True


def _limits(body: JSON, model: str) -> int:
    limit = body["max_tokens"]
    if not is_int(limit):
        raise bad("max_tokens: Input should be a valid integer")
    if limit < 1:
        raise bad("max_tokens: Input should be greater than or equal to 1")
    most = next((n for prefix, n in _OUTPUT_LIMITS.items() if model.startswith(prefix)), None)
    if most is not None and limit > most:
        raise bad(f"max_tokens: {limit} > {most}, which is the maximum allowed number of output tokens for {model}")
    return int(limit)


def _sampling(body: JSON, model: str) -> None:
    for name, least, most in (("temperature", 0, 1), ("top_p", 0, 1), ("top_k", 0, None)):
        value = body.get(name)
        if value is None:
            continue
        if not is_number(value) or (name == "top_k" and not is_int(value)):
            raise bad(f"{name}: Input should be a valid {'integer' if name == 'top_k' else 'number'}")
        if value < least:
            raise bad(f"{name}: Input should be greater than or equal to {least}")
        if most is not None and value > most:
            raise bad(f"{name}: Input should be less than or equal to {most}")
    if ONE_SAMPLER.match(model) and body.get("temperature") is not None and body.get("top_p") is not None:
        raise bad("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    metadata = body.get("metadata")
    if metadata is not None and (not isinstance(metadata, dict) or set(metadata) - {"user_id"}):
        stray = unknown(metadata, frozenset({"user_id"})) if isinstance(metadata, dict) else None
        raise bad(f"metadata.{stray}: Extra inputs are not permitted" if stray else "metadata: Input should be a valid dictionary")


def _system(system: Any) -> str:
    if system is None or isinstance(system, str):
        return system or ""
    if not isinstance(system, list):
        raise bad("system: Input should be a valid list")
    for i, block in enumerate(system):
        if not isinstance(block, dict) or block.get("type") != "text" or not isinstance(block.get("text"), str):
            raise bad(f"system.{i}.type: Input should be 'text'")
        if stray := unknown(block, frozenset({"type", "text", "cache_control", "citations"})):
            raise bad(f"system.{i}.{stray}: Extra inputs are not permitted")
        if not block["text"]:
            raise bad("system: text content blocks must be non-empty")
    return text_of(system)


def _tools(body: JSON, ask: Ask) -> None:
    tools = body.get("tools")
    choice = body.get("tool_choice")
    if tools is not None and not isinstance(tools, list):
        raise bad("tools: Input should be a valid list")
    names: set[str] = set()
    for i, tool in enumerate(tools or []):
        if not isinstance(tool, dict):
            raise bad(f"tools.{i}: Input should be a valid dictionary")
        if tool.get("type") not in (None, "custom"):
            if not re.fullmatch(r"\w+_20\d{6}|tool_search_tool_\w+|mcp_toolset", str(tool["type"])):
                raise bad(f"tools.{i}: Input tag '{tool['type']}' found using 'type' does not match any of the expected tags")
            continue
        if stray := unknown(tool, _TOOL_MEMBERS):
            raise bad(f"tools.{i}.custom.{stray}: Extra inputs are not permitted")
        name = tool.get("name")
        if not isinstance(name, str):
            raise bad(f"tools.{i}.custom.name: Field required")
        if not _TOOL_NAME.fullmatch(name):
            raise bad(f"tools.{i}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        schema = tool.get("input_schema")
        if not isinstance(schema, dict):
            raise bad(f"tools.{i}.custom.input_schema: Field required")
        if schema.get("type") != "object":
            said = "Field required" if "type" not in schema else "Input should be 'object'"
            raise bad(f"tools.{i}.custom.input_schema.type: {said}")
        if any(k in schema for k in ("oneOf", "allOf", "anyOf")):
            raise bad(f"tools.{i}.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level")
        if name in names:
            raise bad("tools: Tool names must be unique.")
        names.add(name)
        ask.tools.append(Tool(name, schema))
    if choice is None:
        return
    if not tools:
        raise bad("tool_choice: tool_choice may only be specified while providing tools.")
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind not in ("auto", "any", "tool", "none"):
        raise bad(f"tool_choice: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'auto', 'any', 'tool', 'none'")
    known = {"tool": frozenset({"type", "name", "disable_parallel_tool_use"}), "none": frozenset({"type"})}
    if stray := unknown(choice, known.get(kind, frozenset({"type", "disable_parallel_tool_use"}))):
        raise bad(f"tool_choice.{kind}.{stray}: Extra inputs are not permitted")
    ask.parallel = choice.get("disable_parallel_tool_use") is not True
    ask.tool_choice = str(kind)
    if kind == "tool":
        if choice.get("name") not in names:
            raise bad(f"Tool '{choice.get('name')}' not found in provided tools")
        ask.tool_choice, ask.forced = choice["name"], True


def _thinking(body: JSON, ask: Ask) -> bool:
    config = body.get("thinking")
    if config is None:
        return False
    kind = config.get("type") if isinstance(config, dict) else None
    if kind not in ("enabled", "disabled", "adaptive", "between_tools"):
        raise bad(f"thinking: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'")
    allowed = {"enabled": {"budget_tokens", "display"}, "adaptive": {"display"}}.get(kind, set())
    if stray := unknown(config, frozenset({"type", *allowed})):
        raise bad(f"thinking.{kind}.{stray}: Extra inputs are not permitted")
    if kind == "disabled":
        return False
    if kind == "enabled":
        budget = config.get("budget_tokens")
        if not is_int(budget):
            raise bad("thinking.enabled.budget_tokens: Field required")
        if budget < 1024:
            raise bad("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
        if ask.max_tokens is not None and budget >= ask.max_tokens:
            raise bad(
                "`max_tokens` must be greater than `thinking.budget_tokens`. "
                f"Please consult our documentation at {_DOCS}#max-tokens-and-context-window-size"
            )
    if body.get("temperature") not in (None, 1, 1.0):
        raise bad(f"`temperature` may only be set to 1 when thinking is enabled. Please consult our documentation at {_DOCS}")
    if body.get("top_k") is not None:
        raise bad(f"`top_k` must be unset when thinking is enabled. Please consult our documentation at {_DOCS}")
    if kind == "enabled" and (ask.forced or ask.tool_choice == "any"):
        raise bad("Thinking may not be enabled when tool_choice forces tool use.")
    ask.thinking, ask.show_thinking = 24, True
    ask.extra["omitted"] = config.get("display") == "omitted"
    return True


def _output(body: JSON, ask: Ask, model: str) -> None:
    config = body.get("output_config") or {}
    if stray := unknown(config, frozenset({"effort", "format", "task_budget"})):
        raise bad(f"output_config.{stray}: Extra inputs are not permitted")
    effort = config.get("effort")
    if effort is not None and effort not in _EFFORTS:
        raise bad("output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'")
    if effort == "xhigh" and model.startswith("claude-opus-4-6"):
        raise bad("This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium.")
    wanted = config.get("format") or body.get("output_format")
    if wanted is None:
        return
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema" or not isinstance(wanted.get("schema"), dict):
        raise bad("output_config.format.schema: Field required")
    if stray := unknown(wanted, frozenset({"type", "schema"})):
        raise bad(f"output_config.format.{stray}: Extra inputs are not permitted")
    _closed(wanted["schema"], 0)
    ask.schema = wanted["schema"]


def _closed(schema: Any, depth: int) -> None:
    """Structured outputs take only objects that refuse further members."""
    if isinstance(schema, list):
        for item in schema:
            _closed(item, depth + 1)
    if not isinstance(schema, dict) or depth > 64:
        return
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        raise bad("output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false")
    for value in schema.values():
        _closed(value, depth + 1)


def _stops(body: JSON) -> list[str]:
    stops = body.get("stop_sequences") or []
    if not isinstance(stops, list) or not all(isinstance(s, str) for s in stops):
        raise bad("stop_sequences: Input should be a valid list")
    if any(not s.strip() for s in stops):
        raise bad("stop_sequences: each stop sequence must contain non-whitespace")
    return stops


def _cache_prefix(body: JSON, ask: Ask) -> str:
    """What a cache mark covers: approximately everything before the last one. "" without a mark or below the API's 1,024 tokens."""
    marks = 0
    covered = 0
    seen = 0
    for section in (body.get("tools"), body.get("system"), *(m.get("content") for m in body["messages"])):
        for block in section if isinstance(section, list) else [section]:
            seen += len(orjson.dumps(block)) if block is not None else 0
            if isinstance(block, dict) and block.get("cache_control"):
                marks += 1
                covered = seen
    if body.get("cache_control"):
        marks, covered = marks + 1, seen
    if marks > 4:
        raise Rejected(400, f"A maximum of 4 blocks with cache_control may be provided. Found {marks}.")
    return ask.prompt[:covered] if covered >= 4096 else ""
