"""The canonical conversation to a Chat Completions request that the published schema allows, for OpenAI and for vendors of its format.

What the format or the target lacks is a loss; content, tools and output formats that it lacks are an `UntranslatableError`.
Reference: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import hashlib

import orjson

from extproc.core import openai_models as models
from extproc.core.dialect import Encoded, Facts
from extproc.core.errors import UntranslatableError
from extproc.core.ir import JSON, ForeignTool, OutputFormat, Reasoning, Request, Tool, ToolChoice
from extproc.core.losses import Losses
from extproc.dialects.openai_chat.content import NAME
from extproc.dialects.openai_chat.messages_encode import encode_messages
from extproc.dialects.openai_chat.request_decode import KNOBS

PATH = "/chat/completions"

_COMMON_KNOBS = frozenset({"frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "seed", "user", "n"})
"""Knobs that vendors of the format take too; many answer 400 to the others of OpenAI's."""

_SAMPLING_KNOBS = frozenset({"frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs"})
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})
_MAX_STOPS = 4
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
    effort = _reasoning(body, request.reasoning, facts, losses)
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
        if "no_stream_options" not in facts.quirks:
            body["stream_options"] = {"include_usage": True}
    for name in request.extra:
        losses.member(name, "")
    return Encoded(orjson.dumps(body), PATH, losses=losses)


def _tools(body: dict[str, JSON], request: Request, facts: Facts, losses: Losses) -> None:
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
        if "no_parallel_tool_calls" in facts.quirks or models.one_call_at_a_time(facts):
            losses.add("dropped:parallel_tool_calls")
        else:
            body["parallel_tool_calls"] = request.parallel_tool_calls


def _tool(tool: Tool | ForeignTool, facts: Facts, losses: Losses) -> JSON:
    if isinstance(tool, ForeignTool):
        if tool.dialect == NAME and (tool.kind == "custom" or facts.vendor != "openai"):
            return tool.raw
        raise UntranslatableError(f"a {tool.kind} tool runs at its own provider only", param="tools")
    function: dict[str, JSON] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
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
        return {"type": "function", "function": {"name": choice.name}}
    if choice.allowed is None or choice.mode == "none":
        return choice.mode
    if facts.vendor == "openai":
        tools = [{"type": "function", "function": {"name": name}} for name in choice.allowed]
        return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": tools}}
    # the same to the model: it sees only the tools that it may call
    body["tools"] = [tool for tool in body["tools"] if tool.get("function", {}).get("name") in choice.allowed] or body["tools"]
    losses.add("coerced:allowed_tools", "the other tools are left out")
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


def _reasoning(body: dict[str, JSON], reasoning: Reasoning | None, facts: Facts, losses: Losses) -> str | None:
    """Sets `reasoning_effort`; gives the effort that was set."""
    if reasoning is None:
        return None
    if reasoning.show is not None and reasoning.show is (facts.vendor == "openai"):
        # OpenAI's chat never shows thoughts, and vendors that show them do so unasked
        losses.add("dropped:reasoning_show")
    known = models.efforts(facts)
    wanted = "none" if reasoning.enabled is False else reasoning.effort
    if wanted is None and reasoning.budget is not None and reasoning.budget >= 0:
        wanted = models.budget_effort(reasoning.budget)
        losses.add("coerced:thinking_budget", f"effort {wanted}")
    if wanted is None:
        # "think as you see fit" is what a reasoning model does unasked
        if reasoning.enabled and not known:
            losses.add("dropped:reasoning", "the model does not reason")
        return None
    if not known:
        if wanted != "none":
            losses.add("dropped:reasoning", "the model does not take an effort")
        return None
    effort = models.nearest(wanted, known)
    if effort is None or (wanted == "none" and effort != "none" and facts.vendor != "openai"):
        losses.add("dropped:reasoning_effort", "not an effort that the model takes")
        return None
    if effort != wanted:
        losses.add("coerced:reasoning_effort", f"{wanted} to {effort}")
    body["reasoning_effort"] = effort
    return effort


def _sampling(body: dict[str, JSON], request: Request, facts: Facts, effort: str | None, losses: Losses) -> None:
    allowed = models.samples(facts, effort)
    for name, value in (("temperature", request.temperature), ("top_p", request.top_p)):
        if value is None:
            continue
        if allowed or (name == "temperature" and value == 1):
            body[name] = value
        elif value != 1:
            losses.add(f"dropped:{name}", "reasoning models refuse it")
    if request.top_k is not None:
        if "top_k" in facts.quirks:
            body["top_k"] = request.top_k
        else:
            losses.add("dropped:top_k")
    if request.stop:
        if not allowed:
            losses.add("dropped:stop", "reasoning models refuse it")
            return
        limit = _MAX_STOPS if facts.vendor == "openai" else len(request.stop)
        if len(request.stop) > limit:
            losses.add("coerced:stop", f"the first {limit} of {len(request.stop)}")
        body["stop"] = request.stop[:limit]


def _knobs(body: dict[str, JSON], request: Request, facts: Facts, effort: str | None, losses: Losses) -> None:
    allowed = KNOBS if facts.vendor == "openai" else _COMMON_KNOBS
    if not models.samples(facts, effort):
        allowed -= _SAMPLING_KNOBS
    for name, value in request.knobs.items():
        if name == "user" and isinstance(value, str) and len(value) > _MAX_USER:
            # the same for every request of one user, which is all that it is for
            body["user"] = hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()
            losses.add("coerced:user", f"longer than {_MAX_USER} characters: sent as its hash")
        elif name == "modalities" and isinstance(value, list) and ("audio" in value or "image" in value):
            raise UntranslatableError("answers other than text are not translated", param="modalities")
        elif name in allowed and _fits(name, value):
            body[name] = value
        else:
            losses.add(f"dropped:{name}")


def _fits(name: str, value: JSON) -> bool:
    """Does a knob that dialects share have the value that this one takes?"""
    if name == "service_tier":
        return value in _TIERS
    if name == "metadata":
        return isinstance(value, dict) and len(value) <= 16 and all(isinstance(v, str) for v in value.values())
    return True
