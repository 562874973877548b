"""The canonical conversation to a Responses request that the published schema allows, for OpenAI and for vendors of its format.

Stateless: nothing is stored, the whole history goes each time, and reasoning models are asked for the encrypted state of their reasoning. What
the format or the target lacks is a loss; content, tools and output formats that it lacks are an `UntranslatableError`.
Reference: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import hashlib

from extproc.core import openai_models as models
from extproc.core.dialect import Encoded, Facts
from extproc.core.errors import UntranslatableError
from extproc.core.ir import JSON, ForeignTool, OutputFormat, Reasoning, Request, Tool, ToolChoice
from extproc.core.losses import Losses
from extproc.core.raw_json import dumps
from extproc.core.tool_names import wire_name
from extproc.dialects.openai_responses.items_encode import encode_items
from extproc.dialects.openai_responses.request_decode import ENCRYPTED, KNOBS
from extproc.dialects.openai_responses.wire import MINTING, NAME

PATH = "/responses"

_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast", "ultrafast"})
_VERBOSITIES = frozenset({"low", "medium", "high"})
_MIN_TOKENS = 16
"""The least `max_output_tokens` that OpenAI takes."""
_MAX_USER = 64
"""Characters of `user` and `safety_identifier` that OpenAI takes. Claude Code's user ids have 150."""
_OWN_KNOBS = KNOBS - {"context_management", "include", "max_tool_calls", "store", "top_logprobs"}
"""What is said of a request as a whole and not of the vendor's own tools. Log probabilities are not carried to other dialects."""
_SETTLED = frozenset({"store", "verbosity"})
"""Knobs that have a place of their own here."""


def encode_request(request: Request, facts: Facts) -> Encoded:
    """The same request and facts give the same bytes. Raises `UntranslatableError`."""
    losses = Losses()
    body: dict[str, JSON] = {"model": facts.wire_model if facts.model != "*" else request.model}
    body["input"] = encode_items(request.messages, facts, losses)
    _tools(body, request, facts, losses)
    text = _text(request, facts, losses)
    if text:
        body["text"] = text
    effort = _reasoning(body, request.reasoning, facts, losses)
    _sampling(body, request, facts, effort, losses)
    _limit(body, request, facts, losses)
    body["store"] = request.knobs.get("store") is True
    if (models.reasons(facts) and models.efforts(facts)) or (facts.vendor != "openai" and facts.vendor in MINTING):
        body["include"] = [ENCRYPTED]
    _knobs(body, request, facts, losses)
    if request.stream:
        body["stream"] = True
    for name in request.extra:
        losses.member(name, "")
    return Encoded(dumps(body), PATH, losses=losses)


def _tools(body: dict[str, JSON], request: Request, facts: Facts, losses: Losses) -> None:
    tools = [_tool(tool, facts, losses) for tool in request.tools]
    if not tools:
        if request.tool_choice is not None and request.tool_choice.mode in ("required", "tool"):
            losses.add("dropped:tool_choice", "there are no tools")
        return
    body["tools"] = tools
    if request.tool_choice is not None:
        body["tool_choice"] = _choice(request.tool_choice, facts, body, losses)
    if request.parallel_tool_calls is not None:
        if "no_parallel_tool_calls" in facts.quirks or models.one_call_at_a_time(facts):
            if not request.parallel_tool_calls:
                losses.add("dropped:parallel_tool_calls")
        else:
            body["parallel_tool_calls"] = request.parallel_tool_calls


def _tool(tool: Tool | ForeignTool, facts: Facts, losses: Losses) -> JSON:
    if isinstance(tool, ForeignTool):
        if tool.dialect == NAME:
            return tool.raw
        raise UntranslatableError(f"a {tool.kind[:64]} tool runs at its own provider only", param="tools")
    if tool.cache is not None:
        losses.add("dropped:cache_control", "tools")
    # a schema that is not said to be strict is made so by the API, which changes what the model may leave out
    out: dict[str, JSON] = {"type": "function", "name": wire_name(tool.name), "strict": tool.strict is True}
    if tool.strict and "no_strict_tools" in facts.quirks:
        losses.add("dropped:strict", "tools")
        out["strict"] = False
    if tool.description is not None:
        out["description"] = tool.description
    out["parameters"] = tool.parameters if isinstance(tool.parameters, dict) else {"type": "object", "properties": {}}
    return out


def _choice(choice: ToolChoice, facts: Facts, body: dict[str, JSON], losses: Losses) -> JSON:
    if choice.mode == "tool":
        return {"type": "function", "name": wire_name(choice.name or "")}
    if choice.allowed is None or choice.mode == "none":
        return choice.mode
    allowed = [wire_name(name) for name in choice.allowed]
    if facts.vendor == "openai":
        return {"type": "allowed_tools", "mode": choice.mode, "tools": [{"type": "function", "name": name} for name in allowed]}
    # the same to the model: it sees only the tools that it may call
    only = set(allowed)
    kept = [tool for tool in body["tools"] if tool.get("name") in only] or body["tools"]
    if len(kept) < len(body["tools"]):
        losses.add("coerced:allowed_tools", "the other tools are left out")
    body["tools"] = kept
    return choice.mode


def _text(request: Request, facts: Facts, losses: Losses) -> dict[str, JSON]:
    text: dict[str, JSON] = {}
    if request.output is not None:
        text["format"] = _format(request.output, facts)
    verbosity = request.knobs.get("verbosity")
    if facts.vendor == "openai" and isinstance(verbosity, str) and verbosity in _VERBOSITIES and (models.verbose(facts) or verbosity == "medium"):
        text["verbosity"] = verbosity
    elif verbosity not in (None, "medium"):
        losses.add("dropped:verbosity")
    return text


def _format(output: OutputFormat, facts: Facts) -> JSON:
    if output.kind == "json":
        return {"type": "json_object"}
    if "no_json_schema" in facts.quirks:
        raise UntranslatableError("this provider has no output by JSON schema", param="text.format")
    out: dict[str, JSON] = {"type": "json_schema", "name": output.name or "response", "schema": output.schema or {}}
    if output.description is not None:
        out["description"] = output.description
    if output.strict is not None:
        out["strict"] = output.strict
    return out


def _reasoning(body: dict[str, JSON], reasoning: Reasoning | None, facts: Facts, losses: Losses) -> str | None:
    """Sets `reasoning`; gives the effort that was set."""
    if reasoning is None:
        return None
    out: dict[str, JSON] = {}
    known = models.efforts(facts)
    wanted = "none" if reasoning.enabled is False else reasoning.effort
    if wanted is None and reasoning.budget is not None and reasoning.budget >= 0:
        wanted = models.budget_effort(reasoning.budget)
        losses.add("coerced:thinking_budget", f"effort {wanted}")
    effort = None
    if not known:
        if reasoning.enabled or wanted not in (None, "none"):
            losses.add("dropped:reasoning", "the model does not reason, or takes no effort")
    elif wanted is not None:
        effort = models.nearest(wanted, known)
        if effort is None or (wanted == "none" and effort != "none" and facts.vendor != "openai"):
            losses.add("dropped:reasoning_effort", "not an effort that the model takes")
            effort = None
        else:
            out["effort"] = effort
            if effort != wanted:
                losses.add("coerced:reasoning_effort", f"{wanted} to {effort}")
    if reasoning.show and known and effort != "none":
        out["summary"] = "auto"
    elif reasoning.show:
        losses.add("dropped:reasoning_show", "there is no reasoning to summarise")
    if out:
        body["reasoning"] = out
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
        losses.add("dropped:top_k")
    if request.stop:
        losses.add("dropped:stop", "the format has no stop sequences")


def _limit(body: dict[str, JSON], request: Request, facts: Facts, losses: Losses) -> None:
    if request.max_tokens is None:
        return
    limit = min(request.max_tokens, facts.max_output_tokens or request.max_tokens)
    if facts.vendor == "openai":
        limit = max(limit, _MIN_TOKENS)
    if limit != request.max_tokens:
        losses.add("coerced:max_tokens", f"{limit}: the model writes at most {facts.max_output_tokens}, and the least limit is {_MIN_TOKENS}")
    body["max_output_tokens"] = limit


def _knobs(body: dict[str, JSON], request: Request, facts: Facts, losses: Losses) -> None:
    allowed = _OWN_KNOBS if facts.vendor == "openai" else frozenset({"user"})
    for name, value in request.knobs.items():
        if name in _SETTLED:
            continue
        if name in ("user", "safety_identifier") and name in allowed and isinstance(value, str) and len(value) > _MAX_USER:
            # the same for every request of one user, which is all that it is for
            body[name] = hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()
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
        return isinstance(value, str) and value in _TIERS
    if name == "metadata":
        return isinstance(value, dict) and len(value) <= 16 and all(isinstance(v, str) for v in value.values())
    return True
