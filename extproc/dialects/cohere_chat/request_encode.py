"""The canonical conversation to a v2 chat request that the published types allow.

What the format or the model lacks is a loss; content and output formats that it lacks are an `UntranslatableError`.
Source: https://docs.cohere.com/v2/reference/chat (ranges), https://docs.cohere.com/reference/errors (what else is refused).
"""

from __future__ import annotations

import orjson

from extproc.core.dialect import Encoded, Facts
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import JSON, ForeignTool, OutputFormat, Reasoning, Request, Tool
from extproc.core.losses import Losses
from extproc.core.raw_json import dumps
from extproc.dialects.cohere_chat import models
from extproc.dialects.cohere_chat.messages_encode import encode_messages
from extproc.dialects.cohere_chat.schema import enforceable, fitted
from extproc.dialects.cohere_chat.wire import tool_name

PATH = "/v2/chat"

_MAX_STOPS = 5
_MAX_K = 500
_MAX_SEED = (1 << 63) - 1
_BUDGETS = {"minimal": 512, "low": 2048, "medium": 8192}
"""Tokens for an effort. More than these is thinking without a limit, which Cohere recommends."""


def encode_request(request: Request, facts: Facts) -> Encoded:
    """The same request and facts give the same bytes. Raises `UntranslatableError`, and `BadRequestError` for what Cohere answers with a 400."""
    losses = Losses()
    model = facts.wire_model if facts.model != "*" else request.model
    body: dict[str, JSON] = {"model": model}
    body["messages"] = encode_messages(request.messages, losses, thinks=models.reasons(model))
    if request.stream:
        body["stream"] = True
    _tools(body, request, model, losses)
    if request.output is not None:
        _output(body, request.output, losses)
    if request.max_tokens is not None:
        most = facts.max_output_tokens or request.max_tokens
        if request.max_tokens > most:
            losses.add("coerced:max_tokens", f"the model writes at most {most} tokens")
        body["max_tokens"] = min(request.max_tokens, most)
    _sampling(body, request, losses)
    _knobs(body, request.knobs, losses)
    if request.reasoning is not None:
        _thinking(body, request.reasoning, model, losses)
    for name in request.extra:
        losses.member(name, "")
    return Encoded(dumps(body), PATH, losses=losses)


def _tools(body: dict[str, JSON], request: Request, model: str, losses: Losses) -> None:
    choice = request.tool_choice
    if request.parallel_tool_calls is False and request.tools:
        losses.add("dropped:parallel_tool_calls", "parallel calls cannot be switched off")
    tools: list[Tool] = []
    for tool in request.tools:
        if isinstance(tool, ForeignTool):
            raise UntranslatableError(f"a {tool.kind[:64]} tool runs at its own provider only", param="tools")
        tools.append(tool)
    allowed = None
    if choice is not None and choice.mode != "none":
        allowed = {choice.name} if choice.mode == "tool" else set(choice.allowed) if choice.allowed else None
    kept = [tool for tool in tools if allowed is None or tool.name in allowed] or tools
    if len(kept) < len(tools):
        losses.add("coerced:allowed_tools", "a tool cannot be named: those that may not be called are left out")
    if not kept:
        if choice is not None and choice.mode in ("required", "tool"):
            losses.add("dropped:tool_choice", "there are no tools")
        return
    if choice is not None and choice.mode == "none" and not models.chooses(model):
        return  # the same without `tool_choice`
    strict = all(tool.strict for tool in kept) and all(isinstance(t.parameters, dict) and t.parameters.get("required") for t in kept)
    if not strict and any(tool.strict for tool in kept):
        losses.add("dropped:strict", "tools are strict all together, and only where each requires a parameter")
    body["tools"] = [_tool(tool, losses, strict=strict) for tool in kept]
    if strict:
        body["strict_tools"] = True
    if choice is None or choice.mode == "auto":
        return
    if models.chooses(model):
        body["tool_choice"] = "NONE" if choice.mode == "none" else "REQUIRED"
    else:
        losses.add("dropped:tool_choice", f"{model} cannot be made to call a tool")


def _tool(tool: Tool, losses: Losses, *, strict: bool) -> JSON:
    schema = tool.parameters
    if schema is None:
        schema = {"type": "object", "properties": {}}
    elif not isinstance(schema, dict):
        raise BadRequestError("a tool's parameters must be a JSON schema object", param="tools")
    elif schema.get("type") != "object":
        losses.add("coerced:tool_schema", "a tool's input is always an object")
        schema = {**schema, "type": "object"}
    if strict:
        enforced = fitted(schema)
        if enforced is not schema:
            losses.add("coerced:tool_schema", "assertions that are not enforced were put into descriptions")
            schema = enforced
    if tool.cache is not None:
        losses.add("dropped:cache_control", "tools")
    function: dict[str, JSON] = {"name": tool_name(tool.name)}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = schema
    return {"type": "function", "function": function}


def _output(body: dict[str, JSON], output: OutputFormat, losses: Losses) -> None:
    schema = output.schema if output.kind == "schema" else None
    if output.kind == "schema" and not isinstance(schema, dict):
        raise BadRequestError("schema must be an object", param="response_format")
    if schema is not None and output.description and "description" not in schema:
        schema = {**schema, "description": output.description}
    if "tools" in body:
        losses.add("coerced:response_format", "Cohere has tools or JSON output, not both: an instruction asks for JSON")
        _instruct(body, schema, "When you are not calling a tool, respond")
    elif schema is None:
        body["response_format"] = {"type": "json_object"}
    elif enforceable(schema):
        enforced = fitted(schema)
        if enforced is not schema:
            losses.add("coerced:json_schema", "assertions that are not enforced were put into descriptions")
        body["response_format"] = {"type": "json_object", "json_schema": enforced}
    else:
        losses.add("coerced:json_schema", "only objects that require something are enforced: an instruction holds the schema")
        if schema.get("type", "object") == "object":
            body["response_format"] = {"type": "json_object"}
            _instruct(body, schema, "Respond")
        else:
            _instruct(body, schema, "Respond", what="JSON value")


def _instruct(body: dict[str, JSON], schema: JSON, start: str, what: str = "JSON object") -> None:
    """A system message that asks for JSON, behind those that open the conversation."""
    text = f"{start} with a single valid {what} and nothing else"
    if schema is not None:
        text += f" that fits this JSON schema: {orjson.dumps(schema).decode()}"
    messages = body["messages"]
    place = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    messages.insert(place, {"role": "system", "content": text})


def _clamped(value: float, low: float, high: float, name: str, losses: Losses) -> float:
    if low <= value <= high:
        return value
    nearest = min(max(value, low), high)
    losses.add(f"coerced:{name}", f"the range is {low:g} to {high:g}: sent as {nearest:g}")
    return nearest


def _sampling(body: dict[str, JSON], request: Request, losses: Losses) -> None:
    if request.temperature is not None:
        body["temperature"] = _clamped(request.temperature, 0, 1, "temperature", losses)
    if request.top_p is not None:
        body["p"] = _clamped(request.top_p, 0.01, 0.99, "top_p", losses)
    if request.top_k is not None:
        if 0 <= request.top_k <= _MAX_K:
            body["k"] = request.top_k
        elif request.top_k > _MAX_K:
            body["k"] = _MAX_K
            losses.add("coerced:top_k", f"at most {_MAX_K}")
        else:
            losses.add("dropped:top_k", "it cannot be negative")
    stops = [stop for stop in request.stop if stop]
    if len(stops) > _MAX_STOPS or len(stops) < len(request.stop):
        losses.add("coerced:stop", f"at most {_MAX_STOPS} stop sequences, none empty")
    if stops:
        body["stop_sequences"] = stops[:_MAX_STOPS]


_NEUTRAL: dict[str, tuple[JSON, ...]] = {
    "n": (1,),
    "store": (False,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "metadata": ({},),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "service_tier": ("auto",),
}
"""Values that ask for what happens anyway: leaving them out loses nothing."""


def _knobs(body: dict[str, JSON], knobs: dict[str, JSON], losses: Losses) -> None:
    for name, value in knobs.items():
        if value is None or value in _NEUTRAL.get(name, ()):
            continue
        if name == "n" and isinstance(value, int) and value > 1:
            raise UntranslatableError("Cohere gives one answer per request", param="n")
        if name == "modalities" and isinstance(value, list) and ("audio" in value or "image" in value):
            raise UntranslatableError("Cohere answers in text only", param="modalities")
        if name == "seed" and isinstance(value, int) and not isinstance(value, bool):
            body["seed"] = value if 0 <= value <= _MAX_SEED else value & 0x7FFFFFFF
            if body["seed"] != value:
                losses.add("coerced:seed", "seeds are positive and have 64 bits")
        elif name in ("frequency_penalty", "presence_penalty") and isinstance(value, int | float) and not isinstance(value, bool):
            if value:
                body[name] = _clamped(value, 0, 1, name, losses)
        else:
            losses.add(f"dropped:{name}", "Cohere has no such parameter" if name != "logprobs" else "log probabilities are not carried")
    if body.get("frequency_penalty") and body.get("presence_penalty"):
        del body["presence_penalty"]
        losses.add("dropped:presence_penalty", "refused beside frequency_penalty")


def _thinking(body: dict[str, JSON], wanted: Reasoning, model: str, losses: Losses) -> None:
    off = wanted.enabled is False or wanted.effort == "none" or (wanted.budget == 0 and wanted.effort is None)
    if not models.reasons(model):
        if not off and (wanted.enabled or wanted.budget or wanted.effort):
            losses.add("dropped:reasoning", f"{model} does not reason")
        return
    if off:
        body["thinking"] = {"type": "disabled"}
        return
    if wanted.show is False:
        losses.add("dropped:reasoning_show", "thoughts are always shown")
    budget = wanted.budget if wanted.budget is not None and wanted.budget > 0 else None
    if budget is None and wanted.effort is not None:
        budget = _BUDGETS.get(wanted.effort)
        losses.add("coerced:reasoning_effort", "without a limit" if budget is None else f"a budget of {budget} tokens")
    most = body.get("max_tokens")
    if budget is not None and most is not None and budget >= most:
        budget = max(most // 2, 1)
        losses.add("coerced:thinking_budget", "it must leave room for the answer")
    if budget is not None:
        body["thinking"] = {"type": "enabled", "token_budget": budget}
    elif wanted.enabled or wanted.adaptive or wanted.effort is not None or wanted.budget is not None:
        body["thinking"] = {"type": "enabled"}
