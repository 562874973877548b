"""Which members of a request a target takes, as data: by the quirks of its provider, and by the family of its model.

Only members that somebody documents are judged. One that nobody here knows is new, and passes.
Sources: openai.types.chat, mistralai.models.ChatCompletionRequest, groq.types.chat, and the references named in `providers.vendors`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from extproc.core import openai_models as models
from extproc.core.dialect import Facts


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SHARED = _names(
    "model messages stream temperature top_p stop tools tool_choice response_format n frequency_penalty presence_penalty reasoning_effort"
)
OPENAI = _SHARED | _names(
    "stream_options max_tokens max_completion_tokens functions function_call parallel_tool_calls audio logit_bias logprobs metadata modalities"
    " moderation prediction prompt_cache_key prompt_cache_options prompt_cache_retention safety_identifier seed service_tier store top_logprobs user"
    " verbosity web_search_options"
)
"""The published request of OpenAI."""

TAKES: dict[str, frozenset[str]] = {
    "mistral_members": _SHARED
    | _names(
        "max_tokens random_seed metadata min_tokens repetition_penalty top_k logprobs top_logprobs prompt_logprobs top_prompt_logprobs prediction"
        " parallel_tool_calls prompt_mode guardrails prompt_cache_key service_tier safe_prompt"
    ),
    "groq_members": _SHARED
    | _names(
        "stream_options max_tokens max_completion_tokens functions function_call parallel_tool_calls logit_bias logprobs top_logprobs seed"
        " service_tier user citation_options compound_custom disable_tool_validation documents exclude_domains include_domains"
        " include_reasoning reasoning_format search_settings"
    ),
    "gemini_members": _SHARED | _names("stream_options max_tokens max_completion_tokens parallel_tool_calls modalities extra_body"),
}
"""By quirk: all that the vendor takes, where it answers 400 or 422 to anything else."""

_VENDORS = _names(
    "top_k min_p top_a typical_p repetition_penalty min_tokens length_penalty best_of use_beam_search ignore_eos stop_token_ids random_seed"
    " safe_prompt prompt_mode guardrails prompt_logprobs top_prompt_logprobs thinking reasoning include_reasoning reasoning_format reasoning_budget"
    " clear_thinking enable_thinking chat_template_kwargs extra_body extra_content usage provider models route transforms plugins session_id trace"
    " citation_options compound_custom disable_tool_validation documents exclude_domains include_domains search_settings search_parameters"
    " search_mode search_domain_filter search_recency_filter return_images return_related_questions guided_json guided_regex guided_choice"
    " guided_grammar structured_outputs grammar json_schema cache_prompt context_length_exceeded_behavior safety_model echo deferred"
)
KNOWN = OPENAI.union(_VENDORS, *TAKES.values())
"""Every member that is documented somewhere."""

_REFUSED = {
    "no_stream_options": _names("stream_options"),
    "no_parallel_tool_calls": _names("parallel_tool_calls"),
    "no_penalties": _names("frequency_penalty presence_penalty"),
    "no_logit_bias": _names("logit_bias"),
    "no_logprobs": _names("logprobs top_logprobs"),
    "no_choices": _names("n"),
    "no_seed": _names("seed random_seed"),
    "no_stop": _names("stop"),
    "no_user": _names("user"),
    "no_reasoning_effort": _names("reasoning_effort"),
}
"""By quirk: what the vendor refuses or ignores."""

_TIERS = {
    "mistral_members": _names("auto standard_only"),
    "groq_members": _names("auto on_demand flex performance"),
}
"""By quirk: the vendor's own words for `service_tier`."""
_OPENAI_TIERS = _names("auto default flex scale priority fast")

SAMPLING = _names("temperature top_p frequency_penalty presence_penalty logit_bias logprobs top_logprobs stop")
"""What OpenAI's models refuse while they reason."""

_FAMILIES = tuple(
    (re.compile(pattern), refused)
    for pattern, refused in (
        (r"grok-(?!.*non-reasoning)(3-mini|[4-9]|code)", _names("frequency_penalty presence_penalty stop")),
        (r"deepseek-reasoner", _names("logprobs top_logprobs")),
    )
)
"""What the models of a family refuse wherever they are served."""

_EFFORTS = tuple(
    (re.compile(pattern), tuple(efforts.split()))
    for pattern, efforts in (
        (r"gpt-oss", "low medium high"),
        (r"grok-3-mini", "low high"),
        (r"grok-(4\.3|latest|3$|4-0709|4-(1-)?fast)", "none low medium high"),
        (r"grok-(4\.20-multi-agent|4\.[4-9](?!\d)|[5-9]|build-latest)", "low medium high"),
        (r"grok", ""),
        (r"magistral|mistral-(large|tiny|nemo)|ministral|codestral|devstral|pixtral|voxtral|open-mi", ""),
        (r"mistral-(small|medium)", "none high"),
        (r"qwen3\.[89]", "none low medium high"),
        (r"qwen-?3", "none"),
        (r"deepseek-(v4|chat|reasoner)", "low medium high xhigh max"),
        (r"gemini-2\.5-flash", "none minimal low medium high"),
        (r"gemini-(2\.5|[3-9])", "minimal low medium high"),
        (r"sonar-deep-research", "minimal low medium high"),
        (r"(zai-)?glm-4\.[67]", "none"),
    )
)
"""Words for `reasoning_effort` by the family of a model that is not OpenAI's own; "" is a family that takes none."""

_ECHOES = _names("reasoning reasoning_content reasoning_details extra_content thought_signature images executed_tools channel")
"""Members that vendors put into the messages of their answers, and that a client echoes to the next vendor."""
_OWN = _names("prefix cache_control")
"""Members of messages that clients of some vendors set."""
_SLOTS = {
    "reasoning_content_history": "reasoning_content",
    "reasoning_history": "reasoning",
    "reasoning_details": "reasoning_details",
    "prefix": "prefix",
    "extra_content": "extra_content",
    "cache_control": "cache_control",
}
"""By quirk: the one of them that the vendor takes."""


def _family(facts: Facts) -> str:
    """The model's name without its publisher: `openai/gpt-oss-120b`, `accounts/fireworks/models/gpt-oss-120b`."""
    return facts.model.rpartition("/")[2].lower()


@lru_cache(maxsize=1024)
def taken(facts: Facts) -> frozenset[str] | None:
    """All top-level members that the vendor takes, where it refuses others; None where it ignores what it does not know."""
    listed = next((names for quirk, names in TAKES.items() if quirk in facts.quirks), None)
    return OPENAI if listed is None and facts.vendor == "openai" and "max_tokens" not in facts.quirks else listed


@lru_cache(maxsize=1024)
def refused(facts: Facts, *, exact: bool) -> frozenset[str]:
    """Documented members that the target refuses. `exact`: the client named this very model, so it knows what the model takes, and only the
    vendor's quirks count."""
    names = frozenset[str]().union(*(names for quirk, names in _REFUSED.items() if quirk in facts.quirks))
    listed = taken(facts)
    if listed is not None and not (exact and facts.vendor == "openai"):
        names |= KNOWN - listed
    if exact:
        return names
    if facts.vendor == "openai":
        if models.one_call_at_a_time(facts):
            names |= {"parallel_tool_calls"}
        return names if models.verbose(facts) else names | {"verbosity"}
    family = _family(facts)
    return names.union(*(more for pattern, more in _FAMILIES if pattern.search(family)))


@lru_cache(maxsize=1024)
def refused_in_messages(facts: Facts, *, exact: bool) -> frozenset[str]:
    """The same of messages; `name` apart, which tool messages may always have."""
    if facts.vendor == "openai":
        return _ECHOES if exact else _ECHOES | _OWN
    if "strict_messages" not in facts.quirks:
        return frozenset()
    return (_ECHOES | _OWN | {"annotations", "audio", "refusal"}) - {member for quirk, member in _SLOTS.items() if quirk in facts.quirks}


@lru_cache(maxsize=1024)
def efforts(facts: Facts) -> tuple[str, ...]:
    """The efforts that the target takes in `reasoning_effort`, least first; () if it takes none."""
    if facts.vendor == "openai" or "no_reasoning_effort" in facts.quirks:
        return models.efforts(facts)
    family = _family(facts)
    known = next((efforts for pattern, efforts in _EFFORTS if pattern.search(family)), None)
    if known is None:
        return () if "efforts_by_model" in facts.quirks else models.efforts(facts)
    return known


def nearest(effort: str, known: tuple[str, ...]) -> str | None:
    """As `openai_models.nearest`, but a wish to think is never answered by not thinking."""
    return models.nearest(effort, known if effort == "none" else tuple(word for word in known if word != "none"))


def tiers(facts: Facts) -> frozenset[str]:
    """Words for `service_tier`."""
    return next((words for quirk, words in _TIERS.items() if quirk in facts.quirks), _OPENAI_TIERS)


def max_stops(facts: Facts) -> int | None:
    """How many stop sequences the target takes; None is any number."""
    return 4 if facts.vendor == "openai" or "four_stops" in facts.quirks else None


def max_temperature(facts: Facts) -> float:
    """The highest temperature that the target takes."""
    return 1.5 if "temperature_to_1_5" in facts.quirks else 2.0


def always_thinks(facts: Facts) -> bool:
    """Can thinking not be switched off, for all its switch?"""
    return "reasoner" in facts.model
