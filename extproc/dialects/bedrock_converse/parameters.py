"""Everything of a request but its history: limits and sampling, metadata, and in files of their own tools, output format and thinking.

What Converse has no member for goes to `additionalModelRequestFields`, in the words of the model's family. Sampling comes last, because thinking
may forbid it.
Source: the service model; https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html and the models' own pages.
"""

from __future__ import annotations

import re

from extproc.core.errors import UntranslatableError
from extproc.core.ir import JSON, Request
from extproc.core.losses import Losses
from extproc.dialects.bedrock_converse.draft import Draft
from extproc.dialects.bedrock_converse.output import encode_output
from extproc.dialects.bedrock_converse.thinking import encode_thinking
from extproc.dialects.bedrock_converse.tools import encode_tools
from extproc.dialects.bedrock_converse.wire import NAME

_MAX_STOPS = 2500
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
    "service_tier": ("auto",),
}
"""Values that ask for what happens anyway: leaving them out loses nothing."""
_TIERS = {"default": "default", "standard": "default", "flex": "flex", "priority": "priority", "reserved": "reserved"}
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")


def encode_parameters(draft: Draft) -> None:
    """Every member of the body but `messages` and `system`; may add to both. Raises `BadRequestError` and `UntranslatableError`."""
    out, family = draft.members, draft.family
    _inference(draft)
    encode_tools(draft)
    encode_output(draft)
    _knobs(draft.request, out, draft.losses)
    thinking = encode_thinking(draft)
    _sampling(draft, thinking=thinking)
    if family.claude is not None and "stopSequences" in draft.inference:
        # which of them matched is told only to those who ask
        out["additionalModelResponseFieldPaths"] = ["/stop_sequence"]
    if draft.inference:
        out["inferenceConfig"] = draft.inference
    if draft.tools:
        out["toolConfig"] = draft.tools
    if draft.fields:
        out["additionalModelRequestFields"] = draft.fields
    _extra(draft.request, out, draft.losses)


def _inference(draft: Draft) -> None:
    request, out, losses = draft.request, draft.inference, draft.losses
    most = draft.facts.max_output_tokens
    if request.max_tokens is not None:
        out["maxTokens"] = max(request.max_tokens, 1)
        if most is not None and request.max_tokens > most:
            losses.add("coerced:max_tokens", f"the model writes at most {most} tokens")
            out["maxTokens"] = most
    stop = [s for s in request.stop if (s.strip() if draft.family.claude is not None else s)]
    if len(stop) < len(request.stop):
        losses.add("dropped:stop", "blank stop sequences are refused")
    if len(stop) > _MAX_STOPS:
        losses.add("coerced:stop", f"at most {_MAX_STOPS} stop sequences")
    if stop:
        out["stopSequences"] = stop[:_MAX_STOPS]


def _sampling(draft: Draft, *, thinking: bool) -> None:
    """1 is the default of temperature and top_p of Anthropic's models: where they are not allowed, leaving it out loses nothing."""
    request, family, out, fields, losses = draft.request, draft.family, draft.inference, draft.fields, draft.losses
    known = family.claude
    takes = known is None or known.sampling
    why = "thinking does not allow it" if takes else "the model takes none"
    if request.temperature is not None:
        if takes and (not thinking or request.temperature == 1):
            out["temperature"] = _in_range(request.temperature, "temperature", losses)
        elif request.temperature != 1:
            losses.add("dropped:temperature", why)
    if request.top_p is not None:
        both = known is None or known.both or request.temperature is None
        if takes and both and (not thinking or 0.95 <= request.top_p <= 1):
            out["topP"] = _in_range(request.top_p, "top_p", losses)
        elif request.top_p != 1:
            losses.add("dropped:top_p", why if both else "the model takes temperature or top_p")
    if request.top_k is not None:
        if not family.top_k or not takes or thinking or request.top_k < 0:
            losses.add("dropped:top_k", why if family.top_k and request.top_k >= 0 else "the model has no such parameter, or not with this value")
        elif family.top_k == "nova":
            fields["inferenceConfig"] = {"topK": request.top_k}
        else:
            fields[family.top_k] = request.top_k


def _in_range(value: float, name: str, losses: Losses) -> float:
    if 0 <= value <= 1:
        return value
    losses.add(f"coerced:{name}", "the range is 0 to 1")
    return min(max(value, 0.0), 1.0)


def _knobs(request: Request, out: dict[str, JSON], losses: Losses) -> None:
    for name, value in request.knobs.items():
        if value is None or value in _NEUTRAL.get(name, ()):
            continue
        if name == "n" and isinstance(value, int) and value > 1:
            raise UntranslatableError("Converse gives one answer per request", param="n")
        if name == "modalities" and isinstance(value, list) and ("audio" in value or "image" in value):
            raise UntranslatableError("Converse cannot be asked for other answers than text", param="modalities")
        if name == "service_tier" and isinstance(value, str) and value in _TIERS:
            out["serviceTier"] = {"type": _TIERS[value]}
        elif name == "metadata" and _is_metadata(value):
            out["requestMetadata"] = value
        else:
            losses.add(f"dropped:{name}", "Converse has no such parameter, or not with this value")


def _is_metadata(value: JSON) -> bool:
    return (
        isinstance(value, dict)
        and 1 <= len(value) <= 16
        and all(isinstance(v, str) and _METADATA.fullmatch(v) and k and _METADATA.fullmatch(k) for k, v in value.items())
    )


def _extra(request: Request, out: dict[str, JSON], losses: Losses) -> None:
    own = request.extra_from == NAME
    for name, value in request.extra.items():
        if not own:
            losses.add("dropped:unknown_member", name[:64])
        elif name not in out:
            out[name] = value
        elif isinstance(value, dict) and isinstance(out[name], dict):
            out[name] = {**value, **out[name]}
