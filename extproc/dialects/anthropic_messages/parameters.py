"""Everything of a request but its history: limits, sampling, tools, output format, thinking, metadata.

Thinking is decided last, because it constrains the rest: manual thinking forbids forced tools and must fit under `max_tokens`, any thinking
forbids sampling parameters. A parameter for tuning gives way to one that the application depends on: a forced tool switches thinking off, and
thinking switches the temperature off. Each time that is a loss.
Source: https://platform.claude.com/docs/en/build-with-claude/extended-thinking (feature compatibility), recorded 400s.
"""

from __future__ import annotations

from extproc.core import claude
from extproc.core.closed_schema import closed
from extproc.core.dialect import Facts
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import JSON, ForeignTool, Reasoning, Request, Tool
from extproc.core.losses import Losses
from extproc.dialects.anthropic_messages.blocks import encode_text
from extproc.dialects.anthropic_messages.turns import continues_signed
from extproc.dialects.anthropic_messages.wire import NAME, cache_control, tool_name

DEFAULT_MAX_TOKENS = 4096
_JSON_ONLY = "Respond with a single valid JSON object and nothing else: no prose, no code fence."
_NEUTRAL: dict[str, tuple[JSON, ...]] = {
    "n": (1,),
    "store": (False,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "metadata": ({},),
    "modalities": (["text"],),
    "verbosity": ("medium",),
}
"""Values that ask for what happens anyway: leaving them out loses nothing."""
_TIERS = {"auto": "auto", "default": "standard_only"}


def encode_parameters(request: Request, facts: Facts, out: dict[str, JSON], losses: Losses) -> None:
    """Adds to `out`, which holds `messages` and perhaps `system`, every other member. Raises `BadRequestError` and `UntranslatableError`."""
    own = request.extra_from == NAME
    out["max_tokens"] = _max_tokens(request, facts, losses)
    if request.stream:
        out["stream"] = True
    stop = [s for s in request.stop if s.strip()]
    if len(stop) < len(request.stop):
        losses.add("dropped:stop", "blank stop sequences are refused")
    if stop:
        out["stop_sequences"] = stop
    _tools(request, out, losses)
    _output(request, out, losses)
    _knobs(request, out, losses)
    known = claude.model(facts.model)
    thinking = _thinking(request, out, known, facts, losses, own=own)
    _sampling(request, out, known, losses, thinking=thinking)
    for name, value in request.extra.items():
        if not own:
            losses.add("dropped:unknown_member", name[:64])
        elif name not in out:
            out[name] = value
        elif isinstance(value, dict) and isinstance(out[name], dict):
            out[name] = {**value, **out[name]}


def _max_tokens(request: Request, facts: Facts, losses: Losses) -> int:
    most = facts.max_output_tokens
    if request.max_tokens is None:
        if most is None:
            losses.add("defaulted:max_tokens", "the format requires a limit, and the model's is not known")
        # the model's own limit, which there is anyway, loses nothing
        return most or DEFAULT_MAX_TOKENS
    if most is not None and request.max_tokens > most:
        losses.add("coerced:max_tokens", f"the model writes at most {most} tokens")
        return most
    return request.max_tokens


def _tool(tool: Tool, losses: Losses) -> JSON:
    if not tool.name:
        raise BadRequestError("a tool must have a name", param="tools")
    schema = tool.parameters
    if schema is None:
        schema = {"type": "object", "properties": {}}
    elif not isinstance(schema, dict):
        raise BadRequestError("a tool's parameters must be a JSON schema object", param="tools")
    elif schema.get("type") != "object":
        losses.add("coerced:tool_schema", "a tool's input is always an object")
        schema = {**schema, "type": "object"}
    out: dict[str, JSON] = {"name": tool_name(tool.name)}
    if tool.description is not None:
        out["description"] = tool.description
    out["input_schema"] = schema
    if tool.strict:
        out["strict"] = True
        out["input_schema"] = closed(schema)
        if out["input_schema"] is not schema:
            losses.add("coerced:tool_schema", "objects were closed, and assertions that are refused were put into descriptions")
    if tool.cache is not None:
        out["cache_control"] = cache_control(tool.cache)
    return out


def _tools(request: Request, out: dict[str, JSON], losses: Losses) -> None:
    tools: list[JSON] = []
    choice = request.tool_choice
    allowed = set(choice.allowed) if choice is not None and choice.allowed else None
    for tool in request.tools:
        if isinstance(tool, ForeignTool):
            if tool.dialect != NAME:
                raise UntranslatableError(f"the tool type {tool.kind[:64]!r} runs at another provider", param="tools")
            tools.append(tool.raw)
        elif allowed is None or tool.name in allowed:
            tools.append(_tool(tool, losses))
        else:
            losses.add("coerced:allowed_tools", "tools that the request does not allow were left out")
    if tools:
        out["tools"] = tools
    elif choice is not None and choice.mode in {"required", "tool"}:
        raise BadRequestError("tool_choice asks for a tool, but there are no tools", param="tool_choice")
    if not tools or (choice is None and request.parallel_tool_calls is not False):
        return
    mode = "auto" if choice is None else choice.mode
    wanted: dict[str, JSON] = {"type": "any" if mode == "required" else mode}
    if mode == "tool" and choice is not None:
        wanted["name"] = tool_name(choice.name or "")
    if request.parallel_tool_calls is False and mode != "none":
        wanted["disable_parallel_tool_use"] = True
    out["tool_choice"] = wanted


def _output(request: Request, out: dict[str, JSON], losses: Losses) -> None:
    wanted = request.output
    if wanted is None:
        return
    if wanted.kind == "json":
        losses.add("coerced:json_object", "there is no JSON mode: an instruction asks for JSON")
        out["system"] = [*out.get("system", ()), encode_text(_JSON_ONLY, None)]
        return
    schema = closed(wanted.schema)
    if not isinstance(schema, dict):
        raise BadRequestError("the output schema must be an object", param="response_format")
    if schema is not wanted.schema:
        losses.add("coerced:json_schema", "objects were closed, and assertions that are refused were put into descriptions")
    if wanted.description and "description" not in schema:
        schema = {**schema, "description": wanted.description}
    out["output_config"] = {"format": {"type": "json_schema", "schema": schema}}


def _knobs(request: Request, out: dict[str, JSON], losses: Losses) -> None:
    knobs = request.knobs
    user = knobs.get("user") or knobs.get("safety_identifier")
    if isinstance(user, str):
        out["metadata"] = {"user_id": user}
    for name, value in knobs.items():
        if value is None or value in _NEUTRAL.get(name, ()) or (name in {"user", "safety_identifier"} and value == user):
            continue
        if name == "n" and isinstance(value, int) and value > 1:
            raise UntranslatableError("the Messages format gives one answer per request", param="n")
        if name == "modalities" and isinstance(value, list) and ("audio" in value or "image" in value):
            raise UntranslatableError("the Messages format answers in text only", param="modalities")
        if name == "service_tier" and isinstance(value, str) and value in _TIERS:
            out["service_tier"] = _TIERS[value]
        elif name == "service_tier" and value == "priority":
            losses.add("coerced:service_tier", "priority capacity is used where the account has it")
            out["service_tier"] = "auto"
        else:
            losses.add(f"dropped:{name}", "the Messages format has no such parameter")


def _thinking(request: Request, out: dict[str, JSON], known: claude.Model, facts: Facts, losses: Losses, *, own: bool) -> bool:
    """Writes `thinking` and the effort; says whether thinking is on."""
    wanted = request.reasoning
    if wanted is None:
        return False
    thinking: dict[str, JSON] | None
    effort: str | None
    if own:
        thinking, effort = _as_said(wanted)
    elif wanted.enabled is False or wanted.effort == "none" or wanted.budget == 0:
        # older models think only when told to
        thinking, effort = {"type": "disabled"} if known.adaptive else None, None
    elif not (known.adaptive or known.budget):
        losses.add("dropped:reasoning", "the model does not think")
        thinking, effort = None, None
    elif known.adaptive and (wanted.budget in (None, -1) or not known.budget):
        thinking, effort = {"type": "adaptive"}, claude.effort(wanted, known, losses)
    elif wanted.enabled is None and wanted.effort is None and wanted.budget is None:
        thinking, effort = None, None
    else:
        thinking, effort = {"type": "enabled", "budget_tokens": claude.budget(wanted, losses)}, None
    if thinking is not None and thinking["type"] == "enabled":
        thinking = fitted(thinking, request, out, facts, losses)
    if thinking is not None:
        if wanted.show is not None and thinking["type"] != "disabled":
            thinking["display"] = "summarized" if wanted.show else "omitted"
        out["thinking"] = thinking
    if effort is not None:
        out["output_config"] = {**out.get("output_config", {}), "effort": effort}
    return thinking is not None and thinking["type"] != "disabled"


def _as_said(wanted: Reasoning) -> tuple[dict[str, JSON] | None, str | None]:
    """A request of this dialect says itself which kind of thinking its model takes."""
    if wanted.enabled is False:
        return {"type": "disabled"}, wanted.effort
    if wanted.adaptive:
        return {"type": "adaptive"}, wanted.effort
    return None if wanted.budget is None else {"type": "enabled", "budget_tokens": wanted.budget}, wanted.effort


def fitted(thinking: dict[str, JSON], request: Request, out: dict[str, JSON], facts: Facts, losses: Losses) -> dict[str, JSON] | None:
    """Manual thinking that the request allows; None where it must be off. `out` holds `messages`, `max_tokens` and perhaps `tool_choice`."""
    if out.get("tool_choice", {}).get("type") in ("any", "tool"):
        losses.add("coerced:thinking", "off: a tool is forced, which manual thinking forbids")
        return None
    if out["messages"][-1].get("role") == "assistant" or not continues_signed(out["messages"]):
        losses.add("coerced:thinking", "off: the turn that goes on has no signed thinking in front")
        return None
    budget, most = thinking["budget_tokens"], out["max_tokens"]
    if budget >= most and request.max_tokens is None:
        most = out["max_tokens"] = min(budget + DEFAULT_MAX_TOKENS, facts.max_output_tokens or budget + DEFAULT_MAX_TOKENS)
    tokens = max(claude.MIN_BUDGET, budget if budget < most else most // 2)
    if tokens >= most:
        losses.add("coerced:thinking", f"off: it needs {claude.MIN_BUDGET} tokens, and max_tokens is {most}")
        return None
    if tokens != budget:
        losses.add("coerced:thinking_budget", "the budget must be at least 1024 tokens and less than max_tokens")
    return {**thinking, "budget_tokens": tokens}


def _sampling(request: Request, out: dict[str, JSON], known: claude.Model, losses: Losses, *, thinking: bool) -> None:
    """1 is the default of temperature and top_p: where they are not allowed, leaving it out loses nothing."""
    why = "thinking does not allow it" if known.sampling else "the model takes none"
    temperature, top_p, top_k = request.temperature, request.top_p, request.top_k
    if temperature is not None:
        if known.sampling and (not thinking or temperature == 1):
            out["temperature"] = min(max(temperature, 0.0), 1.0)
            if out["temperature"] != temperature:
                losses.add("coerced:temperature", "the range is 0 to 1")
        elif temperature != 1:
            losses.add("dropped:temperature", why)
    if top_p is not None:
        if known.sampling and (known.both or temperature is None) and (not thinking or 0.95 <= top_p <= 1):
            out["top_p"] = min(max(top_p, 0.0), 1.0)
            if out["top_p"] != top_p:
                losses.add("coerced:top_p", "the range is 0 to 1")
        elif top_p != 1:
            losses.add("dropped:top_p", "the model takes temperature or top_p" if known.sampling and not thinking else why)
    if top_k is not None:
        if known.sampling and not thinking and top_k >= 0:
            out["top_k"] = top_k
        else:
            losses.add("dropped:top_k", why if top_k >= 0 else "it cannot be negative")
