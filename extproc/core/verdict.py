"""What the response of one attempt means for the chain: a table from error kind to action, and the rewriting of the chain it asks for.

The attempt stage decides, Envoy carries out: a verdict becomes `x-llm-retry` (or not), a pause, and when the failure picks another successor
than the one that already stands in the chain, a new list of clusters. Silence and resets never get here: Envoy retries those by itself,
with the default successor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from extproc.core.errors import ApiError, ErrorKind


class Action(Enum):
    """What to do after a failed attempt."""

    STOP = "stop"
    """The client's own mistake, or the provider's refusal: no target would answer otherwise."""
    SAME = "same"
    """Transient: the same target again, as often as the policy allows, then the next."""
    WAIT = "wait"
    """Limited: the sibling key first; else the same target after its Retry-After if that is short; else the next."""
    NEXT = "next"
    """This target does not serve this request; another may."""
    KEY = "key"
    """The provider refuses our configuration (key, permission, model name): sibling key or next target, and an alarm."""
    LARGER = "larger"
    """Too long for this target: one with a larger window, else the error."""


ACTION: dict[ErrorKind, Action] = {
    ErrorKind.INVALID_REQUEST: Action.STOP,
    ErrorKind.CONTEXT_LENGTH: Action.LARGER,
    ErrorKind.CONTENT_FILTER: Action.STOP,
    ErrorKind.AUTHENTICATION: Action.KEY,
    ErrorKind.PERMISSION: Action.KEY,
    ErrorKind.NOT_FOUND: Action.KEY,
    ErrorKind.METHOD_NOT_ALLOWED: Action.KEY,
    ErrorKind.CONFLICT: Action.SAME,
    ErrorKind.TOO_LARGE: Action.NEXT,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: Action.STOP,
    ErrorKind.UNPROCESSABLE: Action.STOP,
    ErrorKind.RATE_LIMITED: Action.WAIT,
    ErrorKind.QUOTA: Action.KEY,
    ErrorKind.INTERNAL: Action.SAME,
    ErrorKind.NOT_IMPLEMENTED: Action.NEXT,
    ErrorKind.UPSTREAM: Action.SAME,
    ErrorKind.UNAVAILABLE: Action.SAME,
    ErrorKind.OVERLOADED: Action.SAME,
    ErrorKind.TIMEOUT: Action.NEXT,
}
"""Design section 5. Every kind has an entry (a test holds it to that)."""


def about_request(kind: ErrorKind) -> bool:
    """Does the failure lie in the request itself, so that its reason is the client's to read and mend?"""
    return ACTION[kind] in (Action.STOP, Action.LARGER)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on one failed attempt.

    `successors` is None when the default successor stands, else the new list of clusters behind the attempts already made. `backoff` is
    whole seconds to pause. `cool_down` is how many seconds this cluster should be left out of new chains (0: not at all). `alarm`: our
    configuration is at fault.
    """

    action: Action
    retry: bool
    successors: list[str] | None = None
    backoff: int = 0
    cool_down: float = 0.0
    alarm: bool = False


KEY_COOL_DOWN = 30.0
"""Seconds that a cluster whose key was refused is left out: long enough not to hammer, short enough to notice a mended key."""


def decide(
    error: ApiError,
    *,
    made: Sequence[str],
    standing: Sequence[str],
    total: int,
    same: int,
    wait: float,
    siblings: Callable[[str], bool],
    larger: Callable[[str], bool],
) -> Verdict:
    """The verdict on the attempt at `made[-1]`.

    `made` are the clusters tried so far, this one included; `standing` the successors that the chain holds now; `total` attempts in all;
    `wait` the longest pause in seconds that is worth it. `siblings(cluster)`: another key of the same target? `larger(cluster)`: does it take
    longer prompts than this target?
    """
    here = made[-1]
    action = ACTION[error.kind]
    left = total - len(made)
    retry_after = error.retry_after or 0.0
    if action is Action.STOP:
        return Verdict(action, retry=False)
    if action is Action.LARGER:
        fitting = [c for c in standing if larger(c)]
        return Verdict(action, retry=bool(fitting) and left > 0, successors=fitting)

    repeats = sum(1 for c in made if c == here) - 1
    others = [c for c in standing if c != here and not siblings(c)]
    keys = [c for c in standing if siblings(c) and c not in made]
    cool_down, alarm, backoff = 0.0, False, 0
    if action is Action.KEY:
        order = keys + others
        cool_down, alarm = max(KEY_COOL_DOWN, retry_after), True
    elif action is Action.WAIT:
        order = keys + others
        pause = max(1, -int(-retry_after // 1))
        if not keys and pause <= wait and repeats < same and left > 0 and (retry_after > 0 or not others):
            order = [here, *others]
            backoff = pause
        else:
            cool_down = retry_after
    elif action is Action.SAME and repeats < same and left > 0:
        order = [here, *others, *keys]
    else:
        order = others + keys
        if action is Action.SAME and retry_after > 0:
            cool_down = retry_after
    retry = bool(order) and left > 0
    successors = order if order != list(standing) else None
    return Verdict(action, retry, successors if retry else None, backoff if retry else 0, cool_down, alarm)
