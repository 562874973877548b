"""What a day's outcomes amount to: one row per router, and how soon each noticed what happened to a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.days.scenario import HOUR, Day, Event
from tests.days.simulation import Outcome

USED = 0.1
"""The share of the requests above which a target counts as used."""
NEXT = 40
"""A share at a moment is that of so many requests from it on."""


@dataclass(frozen=True, slots=True)
class Row:
    """Of one router. Cost in US dollars, times in seconds; `first` and `total` are (median, 95th percentile) of the requests that were answered;
    `attempts` per request; `regret` summed. `noticed` and `returned` per event: seconds, infinite for never, None where the question does not
    arise (the target was hardly used before; or it was never left)."""

    name: str
    usd: float
    first: tuple[float, float]
    total: tuple[float, float]
    failures: int
    attempts: float
    regret: float
    noticed: tuple[float | None, ...]
    returned: tuple[float | None, ...]


def row(name: str, day: Day, outcomes: Sequence[Outcome]) -> Row:
    answered = [o for o in outcomes if o.ok]
    noticed = tuple(notice(outcomes, event, day) for event in day.events)
    return Row(
        name,
        sum(o.usd for o in outcomes),
        _percentiles([o.first for o in answered]),
        _percentiles([o.total for o in answered]),
        len(outcomes) - len(answered),
        sum(len(o.clusters) for o in outcomes) / len(outcomes),
        sum(o.regret for o in outcomes),
        noticed,
        tuple(
            None if after is None or after == float("inf") else returning(outcomes, event, day)
            for event, after in zip(day.events, noticed, strict=True)
        ),
    )


def notice(outcomes: Sequence[Outcome], event: Event, day: Day) -> float | None:
    """Seconds from the event's start until less than `USED` of the requests go to its target."""
    if share_before(outcomes, event, day) < USED:
        return None
    for i in range(_first(outcomes, event.start), _first(outcomes, event.end)):
        if _share(outcomes[i : i + NEXT], event.target) < USED:
            return outcomes[i].asked.at - event.start
    return float("inf")


def returning(outcomes: Sequence[Outcome], event: Event, day: Day) -> float:
    """Seconds from the event's end until the target has at least half of the share that it had before."""
    enough = share_before(outcomes, event, day) / 2.0
    for i in range(_first(outcomes, event.end), len(outcomes)):
        following = outcomes[i : i + NEXT]
        if len(following) == NEXT and _share(following, event.target) >= enough:
            return outcomes[i].asked.at - event.end
    return float("inf")


def share_before(outcomes: Sequence[Outcome], event: Event, day: Day) -> float:
    """In the hour before the event (of a day of 24)."""
    hour = HOUR * day.hours / 24.0
    return _share(outcomes[_first(outcomes, event.start - hour) : _first(outcomes, event.start)], event.target)


def _share(outcomes: Sequence[Outcome], target: str) -> float:
    return sum(o.chosen == target for o in outcomes) / len(outcomes) if outcomes else 0.0


def _first(outcomes: Sequence[Outcome], at: float) -> int:
    """The place of the first request that came at `at` or later."""
    low, high = 0, len(outcomes)
    while low < high:
        middle = (low + high) // 2
        if outcomes[middle].asked.at < at:
            low = middle + 1
        else:
            high = middle
    return low


def _percentiles(values: list[float]) -> tuple[float, float]:
    values.sort()
    return (values[len(values) // 2], values[int(len(values) * 0.95)]) if values else (float("nan"), float("nan"))
