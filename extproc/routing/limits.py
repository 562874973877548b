"""Limits and budgets: what tenants, applications, users and models may use, and what a target takes. Enforced before a request on what is known
then, corrected by what it really used.

Requests and tokens are counted in a sliding minute (`routing.windows`: its algorithm and its error), money in calendar days and months of UTC.
Times are Unix seconds: replicas share windows.

- A request is counted by every limit that concerns it or by none. It counts even if it fails; its tokens are reserved by the estimate of its prompt
  and corrected when it is over, down to nothing if it failed. More tokens than reserved count from the moment that they are known.
- What a request costs is only known at its end, so a budget is overspent by at most what was under way when it was used up.
- The pattern "*", and one that ends with `*`, count each value apart. Requests without a value share one counter with "*", so anonymity is no way
  around a limit; other patterns do not concern them.
- Counters belong to what is counted (`tenant:*` of acme), not to a limit's place in the file or its amount: a limit may move and change, and two
  limits on the same thing share one.
- Shared: the view is this process's own counts and what `absorb` was last told of the others. A minute that others told of counts for a minute, and
  money until its day or month is over, so a lost connection loosens nothing at once.
- Bounded: see `windows`. Values are cut and hashed where they are long, so a key has at most 100 characters for each of them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from extproc.registry.policy import Limit
from extproc.registry.types import Target
from extproc.routing.windows import MINUTE, SLOT, Minute, Minutes, Period, slot_of

Windows = dict[str, dict[str, float]]
"""What one process used: {"requests": {counter: amount}, "tokens": {…}, "day:2026-01-05": {…}, "month:2026-01": {…}}, minutes as they are now."""

REQUESTS, TOKENS = "requests", "tokens"
LONGEST_VALUE = 64
"""Characters of a value that stand in a key as they are."""
_OWN = "process "
"""Begins the keys of limits that are not shared."""
_MOST_AMOUNT = 1e15


@dataclass(frozen=True, slots=True)
class Counted:
    """One or more limits on the same thing, made when they are first seen: how its keys are built and what is counted for it."""

    name: str
    by: tuple[tuple[str, str], ...]
    requests: bool
    tokens: bool
    money: bool


@dataclass(slots=True)
class Admitted:
    """A request that was counted: what `settle` corrects. `counters` are internal keys, `slot` when it was counted."""

    counters: list[tuple[Counted, str]]
    tokens: float = 0.0
    slot: int = 0
    settled: bool = False


@dataclass(slots=True)
class Exceeded:
    """The limit that stands in the way, what of it is used up ("600 requests per minute"), for whom, and the seconds after which a repeat may
    pass; infinite where none ever will, because the request alone is more than the limit."""

    limit: Limit
    what: str
    whose: str
    retry_after: float


@dataclass(slots=True)
class Full:
    """A target that takes no more just now: `code` is concurrency, requests_per_minute or tokens_per_minute. `seconds` until it may, 0 if nobody
    knows."""

    code: str
    detail: str
    seconds: float


@dataclass(slots=True)
class _Rule:
    """A limit, ready to be checked. `first`: of the limits on the same thing, the one that counts."""

    limit: Limit
    counted: Counted
    dimension: str
    pattern: str
    first: bool
    prefix: str = ""

    def key(self, who: Mapping[str, str], model: str) -> str | None:
        """The counter of a request, None if the limit does not concern it."""
        dimension = self.dimension
        if not dimension:
            return self._compound(who, model)
        value = model if dimension == "model" else who.get(dimension, "")
        pattern = self.pattern
        if pattern != "*" and pattern != value and not _begins(value, pattern):
            return None
        return self.prefix + (value if value.isalnum() and len(value) <= LONGEST_VALUE else _short(value))

    def _compound(self, who: Mapping[str, str], model: str) -> str | None:
        values = []
        for dimension, pattern in self.counted.by:
            value = model if dimension == "model" else who.get(dimension, "")
            if pattern != "*" and pattern != value and not _begins(value, pattern):
                return None
            values.append(_short(value))
        return self.prefix + "|".join(values)


@dataclass(slots=True)
class _Plan:
    limits: Sequence[Limit]
    rules: list[_Rule] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Others:
    """Sums of what other processes used; minutes count until `until`."""

    requests: Mapping[str, float] = field(default_factory=dict)
    tokens: Mapping[str, float] = field(default_factory=dict)
    money: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    until: float = 0.0


_NOBODY = _Others()
_NOTHING: dict[str, float] = {}


class Limits:
    """The counters of this process, and what it knows of other replicas'."""

    def __init__(self) -> None:
        self._requests = Minutes()
        self._tokens = Minutes()
        self._day = Period(month=False)
        self._month = Period(month=True)
        self._others = _NOBODY
        self._plan = _Plan(())

    def __len__(self) -> int:
        return len(self._requests) + len(self._tokens)

    def admit(
        self,
        limits: Sequence[Limit],
        who: Mapping[str, str],
        model: str,
        tokens: Callable[[], float],
        wall: float,
        passed: Collection[str] = (),
    ) -> Admitted | Exceeded:
        """Count a request against every limit that concerns it, or say which one is used up (then nothing was counted). `tokens` estimates the
        prompt; it is only called if a limit on tokens concerns the request. `passed`: keys of limits that are only counted, not enforced."""
        plan = self._plan
        if plan.limits is not limits:
            plan = self._plan = _plan(limits)
        slot = slot_of(wall)
        admitted = Admitted([], slot=slot)
        estimate = -1.0
        others, fresh = self._others, wall < self._others.until
        for rule in plan.rules:
            key = rule.key(who, model)
            if key is None:
                continue
            limit = rule.limit
            if rule.first:
                admitted.counters.append((rule.counted, key))
            if estimate < 0 and limit.tokens_per_minute is not None:
                estimate = max(tokens(), 0.0)
            if passed and limit.key in passed:
                continue
            if limit.requests_per_minute is not None:
                more = others.requests.get(key, 0.0) if fresh else 0.0
                wait = _wait(self._requests.find(key, slot), 1.0, limit.requests_per_minute, more, slot, wall)
                if wait is not None:
                    return Exceeded(limit, _per_minute(limit.requests_per_minute, "request"), whose(rule.counted.by, who, model), wait)
            if limit.tokens_per_minute is not None:
                more = others.tokens.get(key, 0.0) if fresh else 0.0
                wait = _wait(self._tokens.find(key, slot), estimate, limit.tokens_per_minute, more, slot, wall)
                if wait is not None:
                    return Exceeded(limit, _per_minute(limit.tokens_per_minute, "token"), whose(rule.counted.by, who, model), wait)
            if limit.usd_per_day is not None and self._spent(self._day, key, wall) >= limit.usd_per_day:
                what = f"{number(limit.usd_per_day)} US dollars per day"
                return Exceeded(limit, what, whose(rule.counted.by, who, model), self._day.left(wall))
            if limit.usd_per_month is not None and self._spent(self._month, key, wall) >= limit.usd_per_month:
                what = f"{number(limit.usd_per_month)} US dollars per month"
                return Exceeded(limit, what, whose(rule.counted.by, who, model), self._month.left(wall))
        if estimate > 0:
            admitted.tokens = estimate
        for counted, key in admitted.counters:
            if counted.requests:
                self._requests.add(key, 1.0, slot)
            if counted.tokens and estimate > 0:
                self._tokens.add(key, estimate, slot)
        return admitted

    def settle(self, admitted: Admitted, tokens: float, usd: float, wall: float) -> None:
        """The request is over: it took `tokens` in all (0: none, it failed) and cost `usd`. Only the first call counts."""
        if admitted.settled:
            return
        admitted.settled = True
        slot = slot_of(wall)
        for counted, key in admitted.counters:
            if counted.tokens:
                self._correct(key, admitted.tokens, tokens, admitted.slot, slot)
            if counted.money and usd > 0:
                self._day.add(key, usd, wall)
                self._month.add(key, usd, wall)

    def withdraw(self, admitted: Admitted, wall: float) -> None:
        """The request was never meant to be sent (somebody asked what would happen to it): as if it had not been counted."""
        self.settle(admitted, 0.0, 0.0, wall)
        slot = slot_of(wall)
        for counted, key in admitted.counters:
            minute = self._requests.find(key, slot) if counted.requests else None
            if minute is not None:
                minute.give_back(1.0, admitted.slot, slot)

    def full(self, target: Target, cluster: str, in_flight: int, tokens: float, wall: float) -> Full | None:
        """Does `cluster` take a request of about `tokens` now, by the registry's limits for its target?"""
        most = target.concurrency
        if most is not None and in_flight >= most:
            return Full("concurrency", f"{in_flight} of {most} requests under way", 0.0)
        most_requests, most_tokens = target.requests_per_minute, target.tokens_per_minute
        if most_requests is None and most_tokens is None:
            return None
        key, slot = "target|" + cluster, slot_of(wall)
        others, fresh = self._others, wall < self._others.until
        if most_requests is not None:
            more = others.requests.get(key, 0.0) if fresh else 0.0
            wait = _wait(self._requests.find(key, slot), 1.0, most_requests, more, slot, wall)
            if wait is not None:
                return Full("requests_per_minute", f"its {number(most_requests)} requests per minute are used up", wait)
        if most_tokens is not None:
            more = others.tokens.get(key, 0.0) if fresh else 0.0
            wait = _wait(self._tokens.find(key, slot), tokens, most_tokens, more, slot, wall)
            if wait is not None:
                return Full("tokens_per_minute", f"its {number(most_tokens)} tokens per minute leave no room for about {number(round(tokens))}", wait)
        return None

    def sent(self, target: Target, cluster: str, tokens: float, wall: float) -> None:
        """An attempt went to `cluster`, with a prompt of about `tokens`."""
        if target.requests_per_minute is not None:
            self._requests.add("target|" + cluster, 1.0, slot_of(wall))
        if target.tokens_per_minute is not None and tokens > 0:
            self._tokens.add("target|" + cluster, tokens, slot_of(wall))

    def took(self, target: Target, cluster: str, estimated: float, tokens: float, sent: float, wall: float) -> None:
        """That attempt, told of at the time `sent` with `estimated`, is over and took `tokens` in all (0: it failed)."""
        if target.tokens_per_minute is not None:
            self._correct("target|" + cluster, estimated, tokens, slot_of(sent), slot_of(wall))

    def export(self, wall: float) -> Windows:
        """What this process used, of all that is shared. The same again while nothing is used: to be told as often as one likes."""
        slot = slot_of(wall)
        windows = {REQUESTS: self._requests.used(slot), TOKENS: self._tokens.used(slot)}
        for period in (self._day, self._month):
            amounts = period.at(wall).copy()
            windows[period.name] = amounts
        return {name: {key: round(amount, 9) for key, amount in amounts.items() if not key.startswith(_OWN)} for name, amounts in windows.items()}

    def usage(self, wall: float) -> Windows:
        """All that is used as far as this process knows, also what others told of and what is not shared. For readers."""
        slot = slot_of(wall)
        windows: Windows = {REQUESTS: self._requests.used(slot), TOKENS: self._tokens.used(slot)}
        windows |= {period.name: period.at(wall).copy() for period in (self._day, self._month)}
        others = self._others
        minutes = {REQUESTS: others.requests, TOKENS: others.tokens} if wall < others.until else {}
        for name, amounts in {**minutes, **others.money}.items():
            into = windows.setdefault(name, {})
            for key, amount in amounts.items():
                into[key] = into.get(key, 0.0) + amount
        return windows

    def absorb(self, others: Mapping[str, Windows], wall: float) -> None:
        """All that is known of the other processes, by any name of theirs: replaces what was known before. What is no amount is left out."""
        sums: dict[str, dict[str, float]] = {REQUESTS: {}, TOKENS: {}}
        for windows in others.values():
            for name, amounts in windows.items():
                into = sums.setdefault(name, {})
                for key, amount in amounts.items():
                    if isinstance(amount, int | float) and 0 < amount < _MOST_AMOUNT:
                        into[key] = into.get(key, 0.0) + amount
        requests, tokens = sums.pop(REQUESTS), sums.pop(TOKENS)
        self._others = _Others(requests, tokens, sums, wall + MINUTE + SLOT)

    def still(self, wall: float) -> None:
        """What `absorb` was told last still holds."""
        self._others = replace(self._others, until=wall + MINUTE + SLOT)

    def dump(self, wall: float) -> Windows:
        """Money that no other process knows of (`scope: process`), for a restart."""
        return {
            period.name: {key: amount for key, amount in period.at(wall).copy().items() if key.startswith(_OWN)}
            for period in (self._day, self._month)
        }

    def load(self, dumped: Mapping[str, Mapping[str, float]], wall: float) -> None:
        """Take over what `dump` gave; periods that are over are left out, and what is no amount."""
        for name, amounts in dumped.items():
            sound = {key: amount for key, amount in amounts.items() if isinstance(amount, int | float) and 0 < amount < _MOST_AMOUNT}
            for period in (self._day, self._month):
                period.take_over(name, sound, wall)

    def _spent(self, period: Period, key: str, wall: float) -> float:
        own = period.at(wall).get(key, 0.0)
        others = self._others.money
        return own + others.get(period.name, _NOTHING).get(key, 0.0) if others else own

    def _correct(self, key: str, estimated: float, tokens: float, counted: int, slot: int) -> None:
        if tokens > estimated:
            self._tokens.add(key, tokens - estimated, slot)
        elif tokens < estimated:
            minute = self._tokens.find(key, slot)
            if minute is not None:
                minute.give_back(estimated - tokens, counted, slot)


def _wait(minute: Minute | None, amount: float, limit: float, others: float, slot: int, wall: float) -> float | None:
    """None: there is room for `amount`. Else the seconds until there is."""
    used = others if minute is None else minute.used(slot) + others
    if used + amount <= limit + 1e-6:
        return None
    if amount > limit:
        return math.inf
    excess = used + amount - limit
    if minute is None:
        return min(excess * MINUTE / others, MINUTE)
    return minute.room_in(excess, others, wall)


def _plan(limits: Sequence[Limit]) -> _Plan:
    """The limits in the order of the file; of those on the same thing the first counts for all."""
    groups: dict[str, list[Limit]] = {}
    for limit in limits:
        groups.setdefault(_name(limit), []).append(limit)
    counted = {
        name: Counted(
            name,
            group[0].by,
            requests=any(limit.requests_per_minute is not None for limit in group),
            tokens=any(limit.tokens_per_minute is not None for limit in group),
            money=any(limit.usd_per_day is not None or limit.usd_per_month is not None for limit in group),
        )
        for name, group in groups.items()
    }
    rules = []
    for limit in limits:
        name = _name(limit)
        dimension, pattern = limit.by[0] if len(limit.by) == 1 else ("", "")
        rules.append(_Rule(limit, counted[name], dimension, pattern, limit is groups[name][0], name + "|"))
    return _Plan(limits, rules)


def _name(limit: Limit) -> str:
    by = ",".join(f"{dimension}:{_short(pattern)}" for dimension, pattern in limit.by)
    return by if limit.shared else _OWN + by


def _begins(value: str, pattern: str) -> bool:
    return pattern.endswith("*") and value.startswith(pattern[:-1]) and bool(value)


def _short(value: str) -> str:
    """`value` as a part of a key: no longer than it may be, without the mark between two parts, and different for different values."""
    if len(value) <= LONGEST_VALUE and "|" not in value and "#" not in value:
        return value
    digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    return f"{value[:32].replace('|', '/')}#{digest}"


def number(amount: float) -> str:
    """As people write it: 200,000 or 0.5."""
    return f"{amount:,.10g}" if amount < 1e9 else f"{amount:,.0f}"


def _per_minute(amount: float, what: str) -> str:
    """1 request per minute, 600 requests per minute."""
    return f"{number(amount)} {what}{'s' * (amount != 1)} per minute"


def whose(by: Sequence[tuple[str, str]], who: Mapping[str, str], model: str) -> str:
    """Whom a limit concerns, for a message: "tenant 'acme' and model 'chat'"."""
    parts = []
    for dimension, _ in by:
        value = model if dimension == "model" else who.get(dimension, "")
        parts.append(f"{dimension} {value[:80]!r}" if value else f"requests without a {dimension}")
    return " and ".join(parts) or "all requests"
