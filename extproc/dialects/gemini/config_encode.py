"""Everything of a Gemini request but the conversation: tools, tool choice, `generationConfig`, and members that only Gemini clients send."""

from __future__ import annotations

from typing import Any

import orjson

from extproc.core.dialect import Facts
from extproc.core.errors import UntranslatableError
from extproc.core.ir import JSON, ForeignTool, OutputFormat, Request, Tool
from extproc.core.losses import Losses
from extproc.dialects.gemini.thinking import generation, thinking_config
from extproc.dialects.gemini.wire import NAME, function_name

_MAX_STOPS = 5
_JSON_ONLY = "When you are not calling a function, respond with a single valid JSON object and nothing else"
_MODALITIES = {"text": "TEXT", "image": "IMAGE", "audio": "AUDIO"}
_SERVICE_TIERS = {"default": "standard", "flex": "flex", "priority": "priority"}


def add_config(body: dict[str, Any], request: Request, facts: Facts, losses: Losses) -> None:
    """Adds to `body` what `request` asks for beside its messages. Raises `UntranslatableError` for another vendor's own tools."""
    own = request.extra if request.extra_from == NAME else {}
    tools = _tools(request, own, losses)
    if tools:
        body["tools"] = tools
    tool_config = _tool_config(request, losses)
    if tool_config:
        body["toolConfig"] = tool_config
    config = _generation_config(request, facts, body, losses)
    tier = request.knobs.get("service_tier")
    if isinstance(tier, str) and tier in _SERVICE_TIERS:
        body["serviceTier"] = _SERVICE_TIERS[tier]
    elif tier not in (None, "auto"):
        losses.add("dropped:service_tier", "no such service tier")
    if config:
        body["generationConfig"] = config
    for name, value in request.extra.items():
        if not own:
            losses.add("dropped:unknown_member", name[:64])
        elif name in ("generationConfig", "toolConfig"):
            body[name] = _merged(body.get(name, {}), value)
        elif name != "functionDeclarations":
            body[name] = value


def _merged(known: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """`known` with the members of `extra`, one level of objects deep."""
    out = dict(known)
    for name, value in extra.items():
        before = out.get(name)
        out[name] = before | value if isinstance(before, dict) and isinstance(value, dict) else value
    return out


def _tools(request: Request, own: dict[str, JSON], losses: Losses) -> list[dict[str, Any]]:
    functions: list[dict[str, Any]] = []
    tools: list[dict[str, Any]] = []
    more = own.get("functionDeclarations", {})
    for tool in request.tools:
        if isinstance(tool, ForeignTool):
            if tool.dialect != NAME:
                raise UntranslatableError(f"Gemini has no {tool.kind} tool", param="tools")
            tools.append(tool.raw)
            continue
        if not functions:
            tools.append({"functionDeclarations": functions})
        functions.append(_declaration(tool, losses) | more.get(tool.name, {}))
    return tools


def _declaration(tool: Tool, losses: Losses) -> dict[str, Any]:
    out: dict[str, Any] = {"name": function_name(tool.name)}
    if tool.description is not None:
        out["description"] = tool.description
    if tool.parameters:
        out["parametersJsonSchema"] = tool.parameters
    if tool.strict:
        losses.add("dropped:strict", "tools cannot be made strict")
    if tool.cache is not None:
        losses.add("dropped:cache_control", "Gemini caches by itself; marks have no place")
    return out


def _tool_config(request: Request, losses: Losses) -> dict[str, Any]:
    if request.parallel_tool_calls is False:
        losses.add("dropped:parallel_tool_calls", "parallel calls cannot be switched off")
    choice = request.tool_choice
    if choice is None:
        return {}
    if not any(isinstance(tool, Tool) for tool in request.tools):
        # the API refuses a function calling configuration without functions
        if choice.mode in ("required", "tool"):
            losses.add("dropped:tool_choice", "there are no function tools to choose from")
        return {}
    names = [function_name(name) for name in choice.allowed or ()]
    if choice.mode == "tool":
        return {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [function_name(choice.name or "")]}}
    if choice.mode == "none":
        return {"functionCallingConfig": {"mode": "NONE"}}
    if choice.mode == "required":
        return {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": names} if names else {"mode": "ANY"}}
    # AUTO takes no list of names; VALIDATED is "these functions or text"
    return {"functionCallingConfig": {"mode": "VALIDATED", "allowedFunctionNames": names} if names else {"mode": "AUTO"}}


def _clamped(value: float, low: float, high: float, name: str, losses: Losses) -> float:
    if low <= value <= high:
        return value
    nearest = min(max(value, low), high)
    losses.add(f"coerced:{name}", f"Gemini takes {low:g} to {high:g}: sent as {nearest:g}")
    return nearest


def _generation_config(request: Request, facts: Facts, body: dict[str, Any], losses: Losses) -> dict[str, Any]:
    model = facts.model.rpartition("/")[2]
    own = request.extra_from == NAME
    out: dict[str, Any] = {}
    if request.temperature is not None:
        out["temperature"] = _clamped(request.temperature, 0, 2, "temperature", losses)
    if request.top_p is not None:
        out["topP"] = _clamped(request.top_p, 0, 1, "top_p", losses)
    if request.top_k is not None:
        if request.top_k > 0:
            out["topK"] = request.top_k
        else:
            losses.add("dropped:top_k", "zero and less mean nothing to Gemini")
    if request.max_tokens is not None:
        out["maxOutputTokens"] = request.max_tokens
        if facts.max_output_tokens is not None and request.max_tokens > facts.max_output_tokens:
            out["maxOutputTokens"] = facts.max_output_tokens
            losses.add("coerced:max_tokens", f"{model} writes at most {facts.max_output_tokens} tokens")
    stops = [stop for stop in request.stop if stop]
    if stops:
        out["stopSequences"] = stops[:_MAX_STOPS]
    if len(stops) > _MAX_STOPS or len(stops) < len(request.stop):
        losses.add("coerced:stop", f"Gemini takes at most {_MAX_STOPS} stop sequences, none empty")
    _knobs(request.knobs, model, out, losses, own=own)
    if request.output is not None:
        _output(request.output, model, body, out, losses)
    if request.reasoning is not None:
        # vendors that are told to think show their thoughts; Gemini only where it is asked to
        shown = True if request.reasoning.enabled and not own else None
        thinking = thinking_config(request.reasoning, model, losses, shown=shown)
        if thinking:
            out["thinkingConfig"] = thinking
    return out


def _output(output: OutputFormat, model: str, body: dict[str, Any], out: dict[str, Any], losses: Losses) -> None:
    if output.description:
        losses.add("dropped:response_format_description", "a schema has no description beside itself")
    series = generation(model)
    if series is not None and series < 3 and any("functionDeclarations" in tool for tool in body.get("tools", ())):
        # "Function calling with a response mime type: 'application/json' is unsupported", says the API with status 400
        losses.add("coerced:response_format", f"{model} has functions or JSON, not both: an instruction asks for JSON")
        schema = f" that fits this JSON schema: {orjson.dumps(output.schema).decode()}" if output.kind == "schema" and output.schema else ""
        system = body.get("systemInstruction", {"parts": []})
        body["systemInstruction"] = {"parts": [*system["parts"], {"text": _JSON_ONLY + schema}]}
        return
    out["responseMimeType"] = "application/json"
    if output.kind == "schema":
        out["responseJsonSchema"] = output.schema if output.schema is not None else {}


def _is_number(value: JSON) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _knobs(knobs: dict[str, JSON], model: str, out: dict[str, Any], losses: Losses, *, own: bool) -> None:
    for name, value in knobs.items():
        if value is None or name == "service_tier":
            continue
        if name in ("logprobs", "top_logprobs") and value and not own:
            # answers lose them on the way to other dialects, and models that have none answer 400
            losses.add(f"dropped:{name}", "log probabilities are not carried")
            continue
        if name == "n" and isinstance(value, int) and value >= 1:
            if value > 1:
                out["candidateCount"] = value
        elif name == "seed" and isinstance(value, int):
            out["seed"] = value if abs(value) < 1 << 31 else value & 0x7FFFFFFF
            if out["seed"] != value:
                losses.add("coerced:seed", "seeds have 32 bits")
        elif name in ("presence_penalty", "frequency_penalty") and _is_number(value):
            _penalty(name, value, model, out, losses)
        elif name == "logprobs" and isinstance(value, bool):
            if value:
                out["responseLogprobs"] = True
        elif name == "top_logprobs" and isinstance(value, int):
            if knobs.get("logprobs") is True:
                out["logprobs"] = value
        elif name == "modalities" and isinstance(value, list) and value and all(isinstance(m, str) and m in _MODALITIES for m in value):
            if "audio" in value and not own:
                raise UntranslatableError("audio answers are not translated", param="modalities")
            out["responseModalities"] = [_MODALITIES[m] for m in value]
        else:
            losses.add(f"dropped:{name}", "Gemini has no such parameter")


def _penalty(name: str, value: float, model: str, out: dict[str, Any], losses: Losses) -> None:
    """Models since 2.5 answer 400 "Penalty is not enabled for this model" to any value but zero."""
    if value == 0:
        return
    series = generation(model)
    if series is None or series >= 2.5:
        losses.add(f"dropped:{name}", f"{model} refuses penalties")
        return
    out["presencePenalty" if name == "presence_penalty" else "frequencyPenalty"] = _clamped(value, -2, 1.99, name, losses)
