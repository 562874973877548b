"""The scenes about choosing: rules, requirements that hold through fallback, limits, changes while it runs, what is measured."""

from __future__ import annotations

from collections import Counter

from extproc.demo.applications import ANTHROPIC_SDK, OPENAI_SDK, Applications
from extproc.demo.scene import Expected, OtherwiseError, Scene, Stage, View
from extproc.simulator.faults import Fault, FaultKind

_SHORT = "Translate: good morning"
_LONG = "Compare the three offers by price, by delivery time and by their terms, and say which one you would take and why."
_CLAUDE = "anthropic (claude-sonnet-4-5)"

_INSIDE, _OUTSIDE = ("bedrock-frankfurt", "gemini-paris"), ("openai", "anthropic")

_TIMES = 20
_LATELY = 5
_SLOW = 0.3
_STILL = 3
"""Requests that may still meet the slow target: the first, and what explores."""


async def _by_length(applications: Applications, _: Stage) -> None:
    await applications.openai_asks("assistant", _LONG)
    await applications.openai_asks("assistant", _SHORT)


async def _stays_inside(applications: Applications, stage: Stage) -> None:
    for _ in range(2):
        await applications.openai_asks("eu-only", "Who was ill in March?")
    told = {name: stage.requests_to(name) for name in (*_INSIDE, *_OUTSIDE)}
    stage.note("arrived: " + " · ".join(f"{name} {count}" for name, count in told.items()))
    leaked = [name for name in _OUTSIDE if told[name]]
    if leaked:
        raise OtherwiseError(f"{' and '.join(leaked)} got a request that must stay in the EU")
    if not all(told[name] for name in _INSIDE):
        raise OtherwiseError("a target in the EU was not asked")


async def _used_up(applications: Applications, _: Stage) -> None:
    for _number in range(4):
        await applications.anthropic_asks("metered", "The next one, please")


async def _changed(applications: Applications, stage: Stage) -> None:
    await applications.openai_asks("support", "Who answers me?")
    change = await stage.command("routes", "set", "support", "targets=[gemini, openai]")
    await applications.openai_asks("support", "And now?")
    await stage.command("routes", "rollback", change["id"])
    await applications.openai_asks("support", "And now?")


async def _slowed(applications: Applications, stage: Stage) -> None:
    before = await applications.openai_asks_often("quickest", "Quick!", _TIMES)
    favourite = Counter(call.target for call in before[-_LATELY:]).most_common(1)[0][0]
    stage.slow(favourite, _SLOW)
    stage.note(f"from here on {favourite} takes {_SLOW:g} s for an answer")
    after = await applications.openai_asks_often("quickest", "Quick!", _TIMES)
    stage.split({"before": before, f"{favourite} is slow": after})
    still = sum(call.target == favourite for call in after)
    if still > _STILL:
        raise OtherwiseError(f"{favourite} is slow and still got {still} of {_TIMES} requests")


CHOICES: tuple[Scene, ...] = (
    Scene(
        "A rule: short is cheap",
        OPENAI_SDK,
        "The strong model answers, but a short prompt goes where it costs least.",
        _by_length,
        (
            Expected("anthropic", says=(_CLAUDE,)),
            Expected("gpt-4o-mini", says=("openai (gpt-4o-mini)", _SHORT), rule="short", rank_by="cost"),
        ),
        excerpt=("assistant",),
    ),
    Scene(
        "Data stays in the EU",
        OPENAI_SDK,
        "Both targets in the EU are down. The others would answer, but may not be asked: an error, not a leak.",
        _stays_inside,
        (
            Expected("gemini-paris", 4, error="openai.InternalServerError", says=("4 attempts",)),
            Expected("", 0, error="openai.InternalServerError", says=("bedrock-frankfurt (", "openai (its data"), waits=True),
        ),
        {name: Fault(FaultKind.STATUS, status=503) for name in _INSIDE},
        excerpt=("eu-only",),
    ),
    Scene(
        "A limit, and what is left",
        ANTHROPIC_SDK,
        "Two requests a minute, then one of a cheaper model, then the SDK's own error with the time to wait.",
        _used_up,
        (
            *(Expected("anthropic", says=(_CLAUDE,)) for _ in range(2)),
            Expected("ollama", says=("ollama (llama3.2)",), limited=True),
            Expected("", 0, error="anthropic.RateLimitError", waits=True),
        ),
        excerpt=("limits",),
    ),
    Scene(
        "Changed while it runs",
        OPENAI_SDK,
        "The admin API changes a model for the next request, without a restart, and takes it back.",
        _changed,
        (
            Expected("openai", says=("openai (gpt-4o)",)),
            Expected("gemini", says=("gemini (gemini-2.5-flash)",)),
            Expected("openai", says=("openai (gpt-4o)",)),
        ),
        excerpt=("support",),
    ),
    Scene(
        "A slow one loses its traffic",
        OPENAI_SDK,
        "Three targets, ranked by what is measured of them. The one that answers most just now becomes slow.",
        _slowed,
        (Expected(None, says=("Quick!",), rank_by="latency"),) * (2 * _TIMES),
        view=View.COUNTED,
        excerpt=("quickest",),
    ),
)
