"""Counts over time, bounded in memory: what was used in the last minute, and the money since a day or a month (UTC) began.

The minute is a sliding window of slots, each two seconds of Unix time. Slots that reach into the last 60 seconds count whole, the oldest too, so in
no 60 seconds whatsoever more is counted than the limit lets through: there is no double burst at the edge of a window. The price is that an amount
counts for up to 62 seconds: who uses a limit up evenly and without a pause gets 60/62 of it.

Threads: an operation is a run of single steps on numbers and lists, and CPython changes threads at calls and jumps only. Two threads that open
the same slot at once may both clear it; an amount may be off by one addition then, and no operation can raise.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

SLOT = 2.0
"""Seconds."""
MINUTE = 60.0
_SLOTS = 31
"""Those of a minute, and the one that reaches into it."""
MOST = 50_000
"""Counters that one store keeps."""
_EMPTY = (0.0,) * _SLOTS


def slot_of(wall: float) -> int:
    """The number of the slot at a Unix time."""
    return int(wall / SLOT)


class Minute:
    """One sliding minute."""

    __slots__ = ("_amounts", "_slot", "_total")

    def __init__(self, slot: int) -> None:
        self._amounts = list(_EMPTY)
        self._slot = slot
        self._total = 0.0

    def used(self, slot: int) -> float:
        """What the minute before the end of `slot` holds."""
        passed = slot - self._slot
        if passed:
            self._turn(slot, passed)
        return self._total

    def add(self, amount: float, slot: int) -> None:
        passed = slot - self._slot
        if passed:
            self._turn(slot, passed)
        self._amounts[self._slot % _SLOTS] += amount
        self._total += amount

    def give_back(self, amount: float, counted: int, slot: int) -> None:
        """Take `amount` off again, which was added in the slot `counted`; nothing if that has gone by."""
        self.used(slot)
        if self._slot - _SLOTS < counted <= self._slot:
            amount = min(amount, self._amounts[counted % _SLOTS])
            self._amounts[counted % _SLOTS] -= amount
            self._total -= amount

    def room_in(self, excess: float, others: float, wall: float) -> float:
        """The seconds until `excess` of what is used has gone by, if nothing more is used. When `others` (a total of other replicas that is counted
        on top) go by is not known in detail: they count as spread evenly over the minute."""
        slot, freed = self._slot, 0.0
        for number in range(slot - _SLOTS + 1, slot + 1):
            ends = (number + 1) * SLOT + MINUTE - wall
            if others and (excess - freed) * MINUTE / others <= ends:
                return max((excess - freed) * MINUTE / others, 0.0)
            freed += self._amounts[number % _SLOTS]
            if freed + others * min(ends / MINUTE, 1.0) >= excess - 1e-9:
                # the end of a slot as a difference of two large numbers may be a hair too early
                return max(ends, 0.0) + 0.001
        return MINUTE

    def _turn(self, slot: int, passed: int) -> None:
        if passed >= _SLOTS or passed <= -_SLOTS:
            # also a clock that was set back by more than what is kept: what was counted then would never go by
            self._amounts[:] = _EMPTY
        elif passed < 0:
            return
        else:
            for number in range(self._slot + 1, slot + 1):
                self._amounts[number % _SLOTS] = 0.0
        self._slot = slot
        # anew: thousands of additions and subtractions leave a rest
        self._total = sum(self._amounts)


class Minutes:
    """Sliding minutes by key. Two generations: a key that is used moves to the young one; when that is full, or 62 seconds old, it becomes the old
    one, and what that held is forgotten. What goes for its age is empty; what goes for want of room was not used for the longest time."""

    __slots__ = ("_old", "_since", "_young")

    def __init__(self) -> None:
        self._young: dict[str, Minute] = {}
        self._old: dict[str, Minute] = {}
        self._since = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, key: str, slot: int) -> Minute | None:
        """Never makes one: what is refused costs no memory."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self._place(key, found, slot)
        return found

    def add(self, key: str, amount: float, slot: int) -> None:
        found = self.find(key, slot)
        if found is None:
            found = self._place(key, Minute(slot), slot)
        found.add(amount, slot)

    def _place(self, key: str, minute: Minute, slot: int) -> Minute:
        if len(self._young) >= MOST // 2 or not 0 <= slot - self._since < _SLOTS:
            self._old, self._young, self._since = self._young, {}, slot
        return self._young.setdefault(key, minute)

    def used(self, slot: int) -> dict[str, float]:
        """Everything that is not nothing."""
        found = self._old.copy()
        found.update(self._young.copy())
        return {key: amount for key, minute in found.items() if (amount := minute.used(slot)) > 1e-9}


def _day(now: datetime) -> tuple[str, datetime, datetime]:
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return f"day:{start:%Y-%m-%d}", start, datetime.fromtimestamp(start.timestamp() + 86400, UTC)


def _month(now: datetime) -> tuple[str, datetime, datetime]:
    start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = start.replace(year=start.year + 1, month=1) if start.month == 12 else start.replace(month=start.month + 1)
    return f"month:{start:%Y-%m}", start, end


class Period:
    """Money by key in the calendar day or month (UTC) that it is: `name` says which, as `day:2026-01-05` or `month:2026-01`. A key is only made by
    money that was spent. When there are too many, those with the least are forgotten."""

    BACK = 3600.0
    """Seconds by which a clock may be set back over the end of a period without losing it."""

    __slots__ = ("_amounts", "_end", "_of", "_start", "name")

    def __init__(self, *, month: bool) -> None:
        self._of = _month if month else _day
        self._start = self._end = 0.0
        self._amounts: dict[str, float] = {}
        self.name = ""

    def at(self, wall: float) -> dict[str, float]:
        """The amounts of the period that `wall` is in: to be read only."""
        if not self._start <= wall < self._end:
            self._turn(wall)
        return self._amounts

    def left(self, wall: float) -> float:
        """Seconds until the period ends."""
        self.at(wall)
        return max(self._end - wall, 0.0)

    def add(self, key: str, amount: float, wall: float) -> None:
        amounts = self.at(wall)
        if key not in amounts and len(amounts) >= MOST:
            largest = sorted(amounts.copy().items(), key=lambda item: item[1], reverse=True)
            amounts = self._amounts = dict(largest[: MOST * 9 // 10])
        amounts[key] = amounts.get(key, 0.0) + amount

    def take_over(self, name: str, amounts: Mapping[str, float], wall: float) -> None:
        """Go on from what was saved of the period `name`, if it is still going on."""
        self.at(wall)
        if name == self.name:
            for key, amount in amounts.items():
                self.add(key, amount, wall)

    def _turn(self, wall: float) -> None:
        if self._start - self.BACK <= wall < self._start:
            return
        name, start, end = self._of(datetime.fromtimestamp(wall, UTC))
        if name != self.name:
            self.name, self._amounts = name, {}
        self._start, self._end = start.timestamp(), end.timestamp()
