"""What a client is told when nobody may serve its request: each target with what removed it, and whether it is worth trying again."""

from __future__ import annotations

from collections.abc import Iterable
from math import isinf

from extproc.core.errors import ApiError, ErrorKind
from extproc.registry.types import Model
from extproc.routing.decision import Excluded
from extproc.routing.health import Out

ACCESS = frozenset({"tenant_targets", "tenant_providers"})
GONE = frozenset({"drained", "inactive"})
"""Serve nobody, not even as a last resort."""
FULL = frozenset({"limited", "spent", "concurrency", "requests_per_minute", "tokens_per_minute"})
"""Would serve, and will again: a caller may wait for it."""
OUT = frozenset(reason.name.lower() for reason in Out)
MOMENTARY = GONE | FULL | OUT
"""All that has to do with the moment, not with what was asked."""
_NAMED = 12


def refusal(model: Model, excluded: Iterable[Excluded]) -> ApiError:
    """Why nobody serves the request: each target with what removed it.

    CONTEXT_LENGTH where the prompt's length is all that stands in the way somewhere: that is the client's to mend, and clients know how.
    """
    # a target that a rule leaves out was never asked for
    asked = [e for e in excluded if e.code != "rule"]
    codes = {e.code for e in asked}
    # a limit that the request alone is more than does not pass with time
    away = [e for e in asked if e.code in MOMENTARY and not isinf(e.seconds)]
    serving = [e for e in away if e.code not in GONE]
    named = _named(asked)
    where = f"model {model.name!r}"
    if serving and all(e.code in FULL for e in serving):
        # nobody knows when one of the requests under way ends, but it is soon
        wait = min(e.seconds or 1.0 for e in serving)
        return ApiError(ErrorKind.RATE_LIMITED, f"every target of {where} that could serve this is at a limit: {named}", retry_after=wait)
    if away or not asked:
        known = [e.seconds for e in away if e.seconds > 0]
        # an operator drained what is drained: nobody knows until when
        soon = min(known) if known else None if codes & MOMENTARY <= {"drained"} else 1.0
        return ApiError(ErrorKind.UNAVAILABLE, f"no target of {where} can serve this just now: {named or 'it has none'}", retry_after=soon)
    if "context_window" in codes:
        return ApiError(ErrorKind.CONTEXT_LENGTH, f"the prompt is longer than any target of {where} takes: {named}")
    if any(isinf(e.seconds) for e in asked):
        text = f"this request alone is more than any target of {where} that could serve it takes in a minute: {named}"
        return ApiError(ErrorKind.TOO_LARGE, text, code="limit_exceeded")
    if codes <= ACCESS:
        return ApiError(ErrorKind.PERMISSION, f"this tenant may not use the targets of {where}: {named}")
    return ApiError(ErrorKind.UNPROCESSABLE, f"no target of {where} can carry what this request needs: {named}")


def _named(excluded: Iterable[Excluded]) -> str:
    """`a (reason); b (reason)`. The keys of a target are one where the reason is the same."""
    reasons: dict[str, list[str]] = {}
    for e in excluded:
        said = reasons.setdefault(e.cluster.partition("@")[0], [])
        if e.detail not in said:
            said.append(e.detail)
    shown = [f"{target} ({', '.join(said)})" for target, said in list(reasons.items())[:_NAMED]]
    if len(reasons) > _NAMED:
        shown.append(f"and {len(reasons) - _NAMED} more")
    return "; ".join(shown)
