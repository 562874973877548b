"""The canonical conversation to a Chat Completions request that the published schema allows, for OpenAI and for vendors of its format.

What the format or the target lacks is a loss; content, tools and output formats that it lacks are an `UntranslatableError`.
Reference: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import hashlib

from extproc.core import openai_models as models
from extproc.core.dialect import Encoded, Facts
from extproc.core.errors import UntranslatableError
from extproc.core.ir import JSON, ForeignTool, OutputFormat, Request, Tool, ToolChoice
from extproc.core.losses import Losses
from extproc.core.raw_json import dumps
from extproc.core.tool_names import wire_name
from extproc.dialects.openai_chat import members
from extproc.dialects.openai_chat.content import NAME
from extproc.dialects.openai_chat.messages_encode import encode_messages
from extproc.dialects.openai_chat.reasoning import encode_reasoning
from extproc.dialects.openai_chat.request_decode import KNOBS

PATH = "/chat/completions"

_COMMON_KNOBS = frozenset({"frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "seed", "user", "n"})
"""Knobs that vendors of the format take too; many answer 400 to the others of OpenAI's."""

_DOCUMENTED_KNOBS = frozenset({"prompt_cache_key", "prediction", "metadata"})
"""Knobs for vendors that document them."""
_MAX_USER = 64
"""Characters of `user` that OpenAI takes. Claude Code's user ids have 150."""


def encode_request(request: Request, facts: Facts) -> Encoded:
    """The same request and facts give the same bytes. Raises `UntranslatableError`."""
    losses = Losses()
    body: dict[str, JSON] = {"model": facts.wire_model if facts.model != "*" else request.model}
    body["messages"] = encode_messages(request.messages, facts, losses)
    _tools(body, request, facts, losses)
    if request.output is not None:
        body["response_format"] = _format(request.output, facts)
    effort = encode_reasoning(body, request.reasoning, facts, losses)
    _forced(body, request, facts, losses)
    _sampling(body, request, facts, effort, losses)
    if request.max_tokens is not None:
        own = facts.vendor == "openai" and "max_tokens" not in facts.quirks
        most = facts.max_output_tokens or request.max_tokens
        if request.max_tokens > most:
            losses.add("coerced:max_tokens", f"the model writes at most {most} tokens")
        body["max_completion_tokens" if own else "max_tokens"] = min(request.max_tokens, most)
    _knobs(body, request, facts, effort, losses)
    if request.stream:
        body["stream"] = True
        if "stream_options" not in members.refused(facts, exact=False):
            body["stream_options"] = {"include_usage": True}
    for name in request.extra:
        losses.member(name, "")
    return Encoded(dumps(body), PATH, losses=losses)


def _tools(body: dict[str, JSON], request: Request, facts: Facts, losses: Losses) -> None:
    if request.tools and "no_tools" in facts.quirks:
        raise UntranslatableError("this provider has no tools", param="tools")
    tools = [_tool(tool, facts, losses) for tool in request.tools]
    if not tools:
        # both are refused without tools
        if request.tool_choice is not None and request.tool_choice.mode in ("required", "tool"):
            losses.add("dropped:tool_choice", "there are no tools")
        return
    body["tools"] = tools
    if request.tool_choice is not None:
        body["tool_choice"] = _choice(request.tool_choice, facts, body, losses)
    if request.parallel_tool_calls is not None:
        if "parallel_tool_calls" in members.refused(facts, exact=False):
            if not request.parallel_tool_calls:
                losses.add("dropped:parallel_tool_calls")
        else:
            body["parallel_tool_calls"] = request.parallel_tool_calls


def _tool(tool: Tool | ForeignTool, facts: Facts, losses: Losses) -> JSON:
    if isinstance(tool, ForeignTool):
        if tool.dialect == NAME and (tool.kind == "custom" or facts.vendor != "openai"):
            return tool.raw
        raise UntranslatableError(f"a {tool.kind} tool runs at its own provider only", param="tools")
    function: dict[str, JSON] = {"name": wire_name(tool.name)}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    elif "tool_parameters" in facts.quirks:
        function["parameters"] = {"type": "object", "properties": {}}
    if tool.strict is not None:
        if "no_strict_tools" not in facts.quirks:
            function["strict"] = tool.strict
        elif tool.strict:
            losses.add("dropped:strict", "tools")
    if tool.cache is not None:
        losses.add("dropped:cache_control", "tools")
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice, facts: Facts, body: dict[str, JSON], losses: Losses) -> JSON:
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": wire_name(choice.name or "")}}
    if choice.allowed is None or choice.mode == "none":
        return choice.mode
    allowed = [wire_name(name) for name in choice.allowed]
    if facts.vendor == "openai":
        tools = [{"type": "function", "function": {"name": name}} for name in allowed]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": tools}}
    # the same to the model: it sees only the tools that it may call
    only = set(allowed)
    kept = [tool for tool in body["tools"] if tool.get("function", {}).get("name") in only] or body["tools"]
    if len(kept) < len(body["tools"]):
        losses.add("coerced:allowed_tools", "the other tools are left out")
    body["tools"] = kept
    return choice.mode


def _format(output: OutputFormat, facts: Facts) -> JSON:
    if output.kind == "json":
        return {"type": "json_object"}
    if "no_json_schema" in facts.quirks:
        raise UntranslatableError("this provider has no output by JSON schema", param="response_format")
    schema: dict[str, JSON] = {"name": output.name or "response", "schema": output.schema or {}}
    if output.description is not None:
        schema["description"] = output.description
    if output.strict is not None:
        schema["strict"] = output.strict
    return {"type": "json_schema", "json_schema": schema}


def _forced(body: dict[str, JSON], request: Request, facts: Facts, losses: Losses) -> None:
    """DeepSeek refuses a forced tool while it thinks, which most of its models do unasked."""
    choice = body.get("tool_choice")
    if "thinking_switch" not in facts.quirks or choice in (None, "auto", "none") or body.get("thinking") == {"type": "disabled"}:
        return
    if request.reasoning is not None or members.always_thinks(facts):
        del body["tool_choice"]
        losses.add("dropped:tool_choice", "a tool cannot be forced while the model thinks")
    else:
        body["thinking"] = {"type": "disabled"}


def _sampling(body: dict[str, JSON], request: Request, facts: Facts, effort: str | None, losses: Losses) -> None:
    allowed = models.samples(facts, effort)
    for name, value in (("temperature", request.temperature), ("top_p", request.top_p)):
        if value is None:
            continue
        if allowed or (name == "temperature" and value == 1):
            body[name] = value
        elif value != 1:
            losses.add(f"dropped:{name}", "reasoning models refuse it")
    limit = members.max_temperature(facts)
    if body.get("temperature", 0) > limit:
        body["temperature"] = limit
        losses.add("coerced:temperature", f"at most {limit}")
    if request.top_k is not None:
        if "top_k" in facts.quirks:
            body["top_k"] = request.top_k
        else:
            losses.add("dropped:top_k")
    if request.stop:
        if not allowed or "stop" in members.refused(facts, exact=False):
            losses.add("dropped:stop", "the model refuses it")
            return
        most = members.max_stops(facts)
        if most is not None and len(request.stop) > most:
            losses.add("coerced:stop", f"the first {most} of {len(request.stop)}")
        body["stop"] = request.stop[:most]


def _knobs(body: dict[str, JSON], request: Request, facts: Facts, effort: str | None, losses: Losses) -> None:
    documented = members.taken(facts) or frozenset()
    allowed = KNOBS if facts.vendor == "openai" else _COMMON_KNOBS | (_DOCUMENTED_KNOBS & documented)
    refused = members.refused(facts, exact=False)
    if not models.samples(facts, effort):
        refused |= members.SAMPLING
    for name, value in request.knobs.items():
        if name == "modalities" and isinstance(value, list) and ("audio" in value or "image" in value):
            raise UntranslatableError("answers other than text are not translated", param="modalities")
        if name == "seed" and "random_seed" in documented:
            body["random_seed"] = value
        elif name not in allowed or name in refused or not _fits(name, value, facts):
            losses.add(f"dropped:{name}")
        elif name == "user" and isinstance(value, str) and len(value) > _MAX_USER:
            # the same for every request of one user, which is all that it is for
            body["user"] = hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()
            losses.add("coerced:user", f"longer than {_MAX_USER} characters: sent as its hash")
        else:
            body[name] = value


def _fits(name: str, value: JSON, facts: Facts) -> bool:
    """Does a knob that dialects share have the value that this one takes?"""
    if name == "service_tier":
        return isinstance(value, str) and value in members.tiers(facts)
    if name == "metadata":
        return isinstance(value, dict) and len(value) <= 16 and all(isinstance(v, str) for v in value.values())
    return True
