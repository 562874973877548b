"""What a scene is: who asks what while which provider fails, and what must come of it.

Expectations are part of a scene: the demo is a check as well (`--once`), and a demo that would show something else than it says is worse than none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

from extproc.demo.applications import Applications, Call
from extproc.demo.traces import Facts, is_whole
from extproc.simulator.faults import Fault
from extproc.telemetry.tree import SpanView


@dataclass(frozen=True, slots=True)
class Expected:
    """Of one request. `target` None is any. `says` are parts of the text, or of the error's text; `error` is the SDK's exception; `losses` are loss
    codes; `vectors` are their lengths. `rule` and `rank_by` are the decision's. `limited`: a limit handed it over to another model. `waits`: the
    error says how long to wait."""

    target: str | None
    attempts: int = 1
    says: tuple[str, ...] = ()
    tool: str | None = None
    streamed: bool = False
    error: str = ""
    losses: tuple[str, ...] = ()
    vectors: tuple[int, ...] = ()
    rule: str = ""
    rank_by: str = "order"
    limited: bool = False
    waits: bool = False


@dataclass(slots=True)
class Seen:
    """One request: what the application saw, its spans, and what these say."""

    call: Call
    spans: list[SpanView]
    facts: Facts | None


class OtherwiseError(Exception):
    """A scene found something else than it should; the text says what."""


class Stage(Protocol):
    """What happens in a scene beside applications that ask: what an operator does and sees."""

    async def command(self, *arguments: str) -> Any:
        """`extproc` with `arguments`, for the server that runs here: shown, and done. Returns the server's answer. Raises what the command raises."""

    def requests_to(self, provider: str) -> int:
        """Requests that have arrived at a simulated provider since the scene began."""

    def slow(self, provider: str, seconds: float) -> None:
        """From now until the end of the scene this provider takes that long."""

    def note(self, text: str) -> None:
        """Shows what the simulated providers saw, or begin to do."""

    def split(self, phases: Mapping[str, Sequence[Call]]) -> None:
        """Shows who served how many of each phase's requests."""


class View(Enum):
    """How the requests of a scene are shown: each by itself and the last one's trace, all side by side, or only counted."""

    EACH = auto()
    SIDE_BY_SIDE = auto()
    COUNTED = auto()


@dataclass(frozen=True, slots=True)
class Scene:
    """`faults` are in force while it plays: by provider. `story` is one or two short sentences. `excerpt` names entries of the registry that are
    shown with it."""

    title: str
    sdk: str
    story: str
    play: Callable[[Applications, Stage], Awaitable[object]]
    expected: tuple[Expected, ...]
    faults: Mapping[str, Fault] = field(default_factory=dict)
    view: View = View.EACH
    excerpt: tuple[str, ...] = ()


def problems(expected: Sequence[Expected], seen: Sequence[Seen]) -> list[str]:
    """How a scene went otherwise than expected; empty if it went well."""
    found = []
    if len(seen) != len(expected):
        found.append(f"expected {len(expected)} requests, saw {len(seen)}")
    for want, got in zip(expected, seen, strict=False):
        found += _differences(want, got)
    return found


def _differences(want: Expected, got: Seen) -> list[str]:
    call, facts = got.call, got.facts
    found = []

    def compare(what: str, wanted: object, had: object) -> None:
        if wanted != had:
            found.append(f"expected {what} {wanted or 'none'}, got {had or 'none'}")

    compare("error", want.error, call.error)
    compare("attempts", want.attempts, call.attempts)
    if not want.error:
        if want.target is not None:
            compare("target", want.target, call.target)
        compare("a first token before the end:", want.streamed, call.first_token is not None and call.first_token < call.seconds)
    compare("a time to wait", want.waits, call.retry_after is not None)
    compare("lengths of vectors", want.vectors, call.vectors)
    compare("tool call", want.tool, call.tool[0] if call.tool else None)
    found += [f"expected {part!r} in {(call.error_text or call.text)!r}" for part in want.says if part not in (call.error_text or call.text)]
    if facts is None or not is_whole(got.spans, want.attempts):
        return [*found, "the trace is incomplete"]
    compare("target in the trace", call.target if want.target is None else want.target, facts.target)
    if not want.error:
        compare("rule", want.rule, facts.rule)
        compare("policy", want.rank_by, facts.rank_by)
        compare("a limit that handed it over:", want.limited, bool(facts.limited))
        compare("losses", want.losses, facts.losses)
        compare("losses in the header", want.losses, call.losses)
        if facts.cost is None or facts.tokens is None:
            found.append("the trace has no tokens or no cost")
    return found
