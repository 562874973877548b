"""What a Responses request must leave out or say otherwise, because its client named another of OpenAI's models than the one that gets it.

Reasoning models refuse sampling parameters, the others refuse settings of reasoning and its encrypted state, and efforts and verbosities differ by
model (`core.openai_models` has the rules).
"""

from __future__ import annotations

from extproc.core import openai_models as models
from extproc.core.dialect import Facts
from extproc.core.ir import JSON
from extproc.core.losses import Losses
from extproc.dialects.openai_responses.request_decode import ENCRYPTED, LOGPROBS


def fit_to_model(body: dict[str, JSON], facts: Facts, losses: Losses) -> dict[str, JSON]:
    """Top-level members with their new values, None for those that must go. Total: members of a wrong shape are the provider's to refuse."""
    edits: dict[str, JSON] = {}
    effort = _reasoning(body, facts, edits, losses)
    _sampling(body, facts, effort, edits, losses)
    limit, most = body.get("max_output_tokens"), facts.max_output_tokens
    if isinstance(limit, int) and most is not None and limit > most:
        edits["max_output_tokens"] = most
        losses.add("coerced:max_tokens", f"the model writes at most {most} tokens")
    text = body.get("text")
    if isinstance(text, dict) and text.get("verbosity") not in (None, "medium") and not models.verbose(facts):
        edits["text"] = {name: value for name, value in text.items() if name != "verbosity"} or None
        losses.add("dropped:verbosity", "the model has one")
    if body.get("parallel_tool_calls") is not None and models.one_call_at_a_time(facts):
        edits["parallel_tool_calls"] = None
        if body["parallel_tool_calls"] is False:
            losses.add("dropped:parallel_tool_calls", "the model refuses it")
    return edits


def _reasoning(body: dict[str, JSON], facts: Facts, edits: dict[str, JSON], losses: Losses) -> str | None:
    """Fits `reasoning`; gives the effort that is asked for then."""
    reasoning = body.get("reasoning")
    said = reasoning.get("effort") if isinstance(reasoning, dict) else None
    known = models.efforts(facts)
    if not isinstance(reasoning, dict):
        return None
    if not known:
        edits["reasoning"] = None
        if said not in (None, "none") or reasoning.get("summary") is not None:
            losses.add("dropped:reasoning", "the model does not reason, or takes no effort")
        return None
    if not isinstance(said, str) or said in known:
        return said if isinstance(said, str) else None
    effort = models.nearest(said, known)
    rest = {name: value for name, value in reasoning.items() if name != "effort"}
    edits["reasoning"] = (rest if effort is None else {**rest, "effort": effort}) or None
    if effort is None:
        losses.add("dropped:reasoning_effort", "not an effort that the model takes")
    else:
        losses.add("coerced:reasoning_effort", f"{said[:16]} to {effort}")
    return effort


def _sampling(body: dict[str, JSON], facts: Facts, effort: str | None, edits: dict[str, JSON], losses: Losses) -> None:
    gone = set()
    if not models.samples(facts, effort):
        gone.add(LOGPROBS)
        for name, neutral in (("temperature", 1), ("top_p", 1), ("top_logprobs", 0)):
            if body.get(name) is not None:
                edits[name] = None
                if body[name] != neutral:
                    losses.add(f"dropped:{name}", "reasoning models refuse it")
    if not models.efforts(facts):
        gone.add(ENCRYPTED)
    include = body.get("include")
    if isinstance(include, list) and any(isinstance(name, str) and name in gone for name in include):
        edits["include"] = [name for name in include if not isinstance(name, str) or name not in gone]
        if LOGPROBS in gone and LOGPROBS in include:
            losses.add("dropped:logprobs", "reasoning models refuse it")
