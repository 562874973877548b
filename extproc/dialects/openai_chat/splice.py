"""A Chat Completions request for a provider of the same format: the client's bytes with only the members edited that must change.

Vendors of the format differ, and so do OpenAI's own models. What the target's vendor refuses is removed or renamed always; what its model refuses
only where the client asked for another name: a client that names the very model knows what that takes. Members that nobody documents pass.
"""

from __future__ import annotations

import orjson

from extproc.core import carrier, jsonedit
from extproc.core import openai_models as models
from extproc.core.dialect import Encoded, Facts
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import JSON
from extproc.core.losses import PARAMETERS, Losses
from extproc.dialects.openai_chat import members, reasoning
from extproc.dialects.openai_chat.request_decode import DEFAULTS, wants_usage
from extproc.dialects.openai_chat.request_encode import PATH
from extproc.dialects.openai_chat.splice_messages import replays_state, splice_messages, splice_tools

Edits = dict[str, bytes | None]


def splice_request(raw: bytes, body: JSON, facts: Facts) -> Encoded:
    """`body` is `raw` parsed. Raises what `jsonedit.scan` raises, and `UntranslatableError` for tools in a form that the target lacks."""
    if body.get("functions") and "no_functions" in facts.quirks:
        # the answer could not be turned back
        raise UntranslatableError("this provider has tools, but not in the older form of functions", param="functions")
    losses = Losses()
    own_state = replays_state(facts) and carrier.marked(raw)
    if not own_state:
        raw = _stripped(raw, losses)
    layout = jsonedit.scan(raw)
    edits: Edits = {}
    asked = body.get("model")
    exact = asked in (facts.model, facts.wire_model) or facts.model == "*"
    if facts.wire_model not in ("*", asked):
        edits["model"] = orjson.dumps(facts.wire_model)
    gone = members.refused(facts, exact=exact)
    _stream_options(body, gone, edits, losses)
    _limit(raw, layout, body, facts, edits)
    _seed(raw, layout, body, facts, edits, exact=exact)
    if not exact:
        _thoughts(body, facts, edits, losses)
        gone |= _unsampled(body, facts, edits)
        tier = body.get("service_tier")
        if members.taken(facts) is not None and isinstance(tier, str) and tier not in members.tiers(facts):
            gone |= {"service_tier"}
        if body.get("tool_choice") == "any" and "mistral_members" not in facts.quirks:
            edits["tool_choice"] = b'"required"'
    _limits(body, facts, edits, losses, exact=exact)
    for name in layout.members:
        if name in gone and name not in edits and not (name == "n" and body.get(name) == 1):
            edits[name] = None
            _lost(name, body.get(name), losses)
    if "messages" in layout.members:
        _set(edits, "messages", splice_messages(raw, layout.members["messages"], body, facts, losses, exact=exact, own_state=own_state))
    if "tools" in layout.members and "tools" not in edits:
        _set(edits, "tools", splice_tools(raw, layout.members["tools"], body, facts, losses, exact=exact))
    out = jsonedit.splice(raw, edits, layout)
    # what the messages could take back they have; results still have the state in their ids
    return Encoded(carrier.strip(out) if own_state else out, PATH, losses=losses)


def _stripped(raw: bytes, losses: Losses) -> bytes:
    stripped = carrier.strip(raw)
    if stripped is not raw:
        losses.add("signature:foreign", "state that another vendor's answers left in tool call ids")
    return stripped


def _set(edits: Edits, name: str, value: bytes | None) -> None:
    if value is not None:
        edits[name] = value


def _lost(name: str, value: JSON, losses: Losses) -> None:
    """Reports a member that is left out, unless it said only what is so anyway."""
    if value is None or (name in DEFAULTS and value == DEFAULTS[name]):
        return
    if name in PARAMETERS:
        losses.add(f"dropped:{name}", "the target refuses it")
    else:
        losses.member(name, "")


def _stream_options(body: dict[str, JSON], gone: frozenset[str], edits: Edits, losses: Losses) -> None:
    if "stream_options" in gone:
        if body.get("stream_options") is not None:
            edits["stream_options"] = None
            losses.add("dropped:stream_options", "the provider refuses it")
    elif body.get("stream") is True and not wants_usage(body):
        options = body.get("stream_options")
        edits["stream_options"] = orjson.dumps((options if isinstance(options, dict) else {}) | {"include_usage": True})


def _limit(raw: bytes, layout: jsonedit.Layout, body: dict[str, JSON], facts: Facts, edits: Edits) -> None:
    """The limit of output tokens has two names, and some targets take only one of them."""
    if "max_tokens" in facts.quirks:
        _rename("max_completion_tokens", "max_tokens", raw, layout, body, edits)
    elif models.reasons(facts):
        _rename("max_tokens", "max_completion_tokens", raw, layout, body, edits)


def _seed(raw: bytes, layout: jsonedit.Layout, body: dict[str, JSON], facts: Facts, edits: Edits, *, exact: bool) -> None:
    """So has the seed: Mistral's is `random_seed`."""
    own = "random_seed" in (members.taken(facts) or ())
    if own and "seed" in layout.members:
        _rename("seed", "random_seed", raw, layout, body, edits)
    elif not own and not exact and "seed" not in members.refused(facts, exact=False):
        _rename("random_seed", "seed", raw, layout, body, edits)


def _rename(wrong: str, right: str, raw: bytes, layout: jsonedit.Layout, body: dict[str, JSON], edits: Edits) -> None:
    if wrong in layout.members:
        edits[wrong] = None
        if body.get(right) is None and body.get(wrong) is not None:
            member = layout.members[wrong]
            edits[right] = raw[member.start : member.end]


def _thoughts(body: dict[str, JSON], facts: Facts, edits: Edits, losses: Losses) -> None:
    """How to think, in the words of the target, where the client used another vendor's or an effort that the model lacks."""
    said = {name for name in reasoning.MEMBERS if body.get(name) is not None}
    if not said:
        return
    effort = body.get("reasoning_effort")
    judged = facts.vendor == "openai" or bool(facts.quirks & {"efforts_by_model", "no_reasoning_effort"})
    unfit = judged and effort is not None and effort not in (*members.efforts(facts), "default")
    if said <= reasoning.native(facts) and not unfit:
        return
    wanted: dict[str, JSON] = {}
    try:
        reasoning.encode_reasoning(wanted, reasoning.decode_reasoning(body, losses), facts, losses)
    except BadRequestError:
        return
    for name in said | wanted.keys():
        if name not in wanted:
            edits[name] = None
        elif body.get(name) != wanted[name]:
            edits[name] = orjson.dumps(wanted[name])


def _unsampled(body: dict[str, JSON], facts: Facts, edits: Edits) -> frozenset[str]:
    """What the model refuses because it will reason."""
    set_effort = edits.get("reasoning_effort", b"")
    effort = body.get("reasoning_effort") if set_effort == b"" else orjson.loads(set_effort) if set_effort else None
    if models.samples(facts, effort if isinstance(effort, str) else None):
        return frozenset()
    # 1 is what it is anyway
    return frozenset(name for name in members.SAMPLING if name in body and not (name in ("temperature", "top_p") and body[name] == 1))


def _limits(body: dict[str, JSON], facts: Facts, edits: Edits, losses: Losses, *, exact: bool) -> None:
    """Numbers that are larger than the target takes."""
    if exact and facts.vendor == "openai":
        return
    stops, most = body.get("stop"), members.max_stops(facts)
    if isinstance(stops, list) and most is not None and len(stops) > most:
        edits["stop"] = orjson.dumps(stops[:most])
        losses.add("coerced:stop", f"the first {most} of {len(stops)}")
    temperature, limit = body.get("temperature"), members.max_temperature(facts)
    if isinstance(temperature, int | float) and temperature > limit and limit < 2:
        edits["temperature"] = orjson.dumps(limit)
        losses.add("coerced:temperature", f"at most {limit}")
