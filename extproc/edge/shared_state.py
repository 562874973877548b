"""Replicas share limits, budgets and statistics through Redis, in the background: no request ever waits for it, and losing it costs only sharing.

A round is one pipelined round trip: tell what this process used itself, hear what the others told. Each process only ever writes its own keys, with
whole amounts and not with differences (a grow-only counter for each process and period), so nothing is lost by a repeated or a lost message, and a
Redis that forgot everything is told again. A request is measured against its own process's counts and the sum of what was last heard of the others.

How exact that is: there are two rounds in every sync interval, so what one process used is told after half an interval at most, and heard by
everybody after another half. Until then the others let requests through as if there was that much more room. Together they overshoot a limit by at
most rate x sync interval x replicas (requests or tokens per second that one replica lets through, seconds, number), plus what is under way.
`tests/routing/test_limits_shared.py` holds that.

When Redis is lost: minutes that others told of fade out within 62 seconds; the money of a day or month that others spent stays as it was last heard;
statistics of others decay. Connecting is tried again with growing pauses. A process that ends leaves its day and month behind, so its successor,
which has another id, does not start a budget anew. Clocks of replicas must agree within a minute, as NTP makes them.

Keys, all below `{prefix}:1:`: `processes` (ids by the time of their last round), `minute:ID`, `statistics:ID` (for a minute), `day:DATE:ID`,
`month:MONTH:ID` (until it is over, and a while), `overlay` (`edge.shared_overlay`). Values are JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.exceptions import TimeoutError as NoAnswerError

from extproc.edge.redis_client import PasswordFileError, connect, key
from extproc.edge.shared_overlay import NAME, SharedOverlay
from extproc.registry.policy import State
from extproc.routing.decision import Random
from extproc.routing.limits import REQUESTS, TOKENS, Limits, Windows
from extproc.routing.statistics import Statistics

log = logging.getLogger(__name__)

INTERVAL = 0.5
"""Seconds within which everybody knows what one used."""
TIMEOUT = 1.0
"""Seconds that Redis gets to answer."""
LONGEST_PAUSE = 5.0
"""Seconds between two tries to connect."""
ALIVE = 65
"""Seconds for which a process counts as running after its last round: as long as its minute lasts."""
REMEMBERED = 33 * 86400
"""Seconds for which the money of a process that has ended is looked for: a month and a bit."""
CATCH_UP = 60.0
"""Seconds after which everything is told again, and processes that have ended are read again."""
LARGEST = 8 << 20
"""Bytes of one value of another process; more is not read."""
MANY = 2000
"""Counters from which the sums are made in a thread."""
REASONS = 5
"""Different reasons of one outage that are logged, each once."""
_LIFE = {"day": 2 * 86400, "month": 35 * 86400}


@dataclass(slots=True)
class _Other:
    """What another process told last, by the name of its key: (the bytes, what they say)."""

    told: dict[str, tuple[bytes, dict[str, Any]]] = field(default_factory=dict)

    def windows(self, periods: Iterable[str]) -> Windows:
        minute = self.told.get("minute", (b"", {}))[1]
        found = {name: minute[name] for name in (REQUESTS, TOKENS) if isinstance(minute.get(name), dict)}
        for name in periods:
            if name in self.told:
                found[name] = self.told[name][1]
        return found


class SharedState:
    """`state` gives the registry's, of this moment: one that a reload changes is followed. `process` is a random name that no other process has."""

    def __init__(
        self,
        state: Callable[[], State | None],
        limits: Limits,
        statistics: Statistics,
        *,
        process: str,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        random: Random,
        interval: float = INTERVAL,
        timeout: float = TIMEOUT,
    ) -> None:
        self.overlay = SharedOverlay(state, timeout)
        self.connected = False
        self._state = state
        self._limits = limits
        self._statistics = statistics
        self._process = process
        self._wall = wall
        self._monotonic = monotonic
        self._random = random
        self._interval = interval
        self._timeout = timeout
        self._redis: Redis | None = None
        self._at: State | None = None
        self._others: dict[str, _Other] = {}
        self._alive: list[str] = []
        self._told: dict[str, bytes] = {}
        self._caught_up = float("-inf")
        self._news = False
        self._rounds = 0
        self._failures = 0
        self._why: set[str] = set()

    async def run(self) -> None:
        """Until cancelled; then the others are told the last of it."""
        try:
            while True:
                pause = await self.step()
                await asyncio.sleep(pause)
        finally:
            if self.connected:
                await self.step()
            await self.close()

    async def step(self) -> float:
        """One round, if there is a Redis to talk to. Returns the seconds to wait until the next; never raises but for a cancellation."""
        state = self._state()
        if state != self._at:
            await self._leave(state)
        if state is None:
            return self._interval
        try:
            if self._redis is None:
                self._redis = connect(state, self._timeout)
            async with asyncio.timeout(2 * self._timeout):
                await self._round(state, self._redis)
        except (RedisError, OSError, ValueError) as error:
            await self._lost(state, error)
        except Exception as bug:
            # sharing may fail, serving must not
            log.exception("a bug in the sharing of limits and statistics")
            await self._lost(state, bug)
        else:
            return self._interval / 2 * (0.8 + 0.2 * self._random.random())
        pause = min(self._interval * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE)
        return pause * (0.5 + 0.5 * self._random.random())

    # one round

    async def _round(self, state: State, redis: Redis) -> None:
        wall = self._wall()
        mine = await self._mine(wall)
        periods = [name for name in mine if name.partition(":")[0] in _LIFE]
        due = self._monotonic() - self._caught_up >= CATCH_UP
        wanted = ["minute", *periods, *(["statistics"] if "statistics" in mine else [])]
        asked = [(other, name) for other in self._alive for name in wanted]
        batch = redis.pipeline(transaction=False)
        batch.hget(key(state, NAME), "version")
        batch.zrangebyscore(key(state, "processes"), wall - ALIVE, "+inf")
        batch.zrange(key(state, "processes"), 0, -1 if due else 0)
        if asked:
            batch.mget([key(state, f"{name}:{other}") for other, name in asked])
        for name, value in mine.items():
            kind = name.partition(":")[0]
            if kind not in _LIFE or due or self._told.get(name) != value:
                batch.set(key(state, f"{name}:{self._process}"), value, ex=_LIFE.get(kind, ALIVE))
        batch.zadd(key(state, "processes"), {self._process: wall})
        if due:
            batch.zremrangebyscore(key(state, "processes"), "-inf", wall - REMEMBERED)
        version, alive, known, *more = await batch.execute()
        alive, known = self._names(alive), self._names(known)
        if asked:
            self._heard(asked, more[0])
        # processes that have ended are read now and then, and those that are new at once
        await self._catch_up(state, redis, known if due else alive, wanted)
        self._alive = alive
        self._told = mine
        if due:
            self._caught_up = self._monotonic()
        self._forget(alive, periods)
        await self._sum_up(periods)
        self._rounds += 1
        self._is_back(state, int(version or 0))

    async def _mine(self, wall: float) -> dict[str, bytes]:
        """What this process tells, by the name of its key."""
        used = await asyncio.to_thread(self._limits.export, wall) if len(self._limits) > MANY else self._limits.export(wall)
        said: dict[str, Any] = {"minute": {REQUESTS: used.pop(REQUESTS), TOKENS: used.pop(TOKENS)}, **used}
        if self._rounds % 2 == 0:
            # decayed sums of minutes: once an interval is often enough
            said["statistics"] = self._statistics.export(self._monotonic())
        return {name: orjson.dumps(value) for name, value in said.items()}

    async def _catch_up(self, state: State, redis: Redis, known: list[str], wanted: list[str]) -> None:
        """Read those of `known` that are not read in every round yet."""
        asked = [(other, name) for other in known if other not in self._alive for name in wanted]
        for start in range(0, len(asked), 200):
            some = asked[start : start + 200]
            self._heard(some, await redis.mget([key(state, f"{name}:{other}") for other, name in some]))

    def _heard(self, asked: list[tuple[str, str]], values: list[Any]) -> None:
        for (other, name), raw in zip(asked, values, strict=True):
            told = self._others.setdefault(other, _Other()).told
            if raw is None:
                if name.partition(":")[0] not in _LIFE and told.pop(name, None) is not None:
                    self._news = True
                # money that was spent stays spent, also if Redis has forgotten it
                continue
            before = told.get(name)
            if before is not None and before[0] == raw:
                continue
            said = _read(raw)
            told[name] = (raw, said)
            self._news = True
            if name == "statistics":
                self._statistics.absorb(other, said, self._monotonic())

    def _names(self, members: list[Any]) -> list[str]:
        names = (m.decode("utf-8", "replace") if isinstance(m, bytes) else str(m) for m in members)
        return [name for name in names if name != self._process]

    def _forget(self, alive: list[str], periods: list[str]) -> None:
        for other, has in list(self._others.items()):
            for name in [name for name in has.told if name.partition(":")[0] in _LIFE and name not in periods]:
                del has.told[name]
                self._news = True
            if other not in alive:
                if has.told.pop("statistics", None) is not None:
                    self._statistics.absorb(other, {}, self._monotonic())
                if has.told.pop("minute", None) is not None:
                    self._news = True
            if not has.told:
                del self._others[other]

    async def _sum_up(self, periods: list[str]) -> None:
        wall = self._wall()
        if not self._news:
            self._limits.still(wall)
            return
        windows = {other: has.windows(periods) for other, has in self._others.items()}
        if sum(len(amounts) for told in windows.values() for amounts in told.values()) > MANY:
            await asyncio.to_thread(self._limits.absorb, windows, wall)
        else:
            self._limits.absorb(windows, wall)
        self._news = False

    # coming and going

    def _is_back(self, state: State, version: int) -> None:
        if not self.connected:
            log.info("limits, budgets and statistics are shared", extra={"redis": state.url, "id": self._process, "failures": self._failures})
        self.overlay.seen(version, back=not self.connected)
        self.connected, self._failures = True, 0
        self._why.clear()

    async def _lost(self, state: State, error: BaseException) -> None:
        why = _reason(error)
        if why not in self._why and len(self._why) < REASONS:
            self._why.add(why)
            log.warning(
                "the shared state cannot be used: limits and statistics are this process's own, with what was last heard of the others",
                extra={"redis": state.url, "why": why},
            )
        self.connected = False
        self._failures += 1
        self._caught_up = float("-inf")
        self._told = {}
        await self.close()

    async def _leave(self, state: State | None) -> None:
        """The registry names another Redis now, or none: what was heard in the old one does not hold any more."""
        await self.close()
        if self._at is not None:
            self._forget([], [])
            self._limits.absorb({}, self._wall())
        self._at, self._alive, self._told = state, [], {}
        self.connected, self._failures, self._caught_up = False, 0, float("-inf")
        self._why.clear()

    async def close(self) -> None:
        """Let go of the connection."""
        redis, self._redis = self._redis, None
        if redis is not None:
            with contextlib.suppress(RedisError, OSError):
                async with asyncio.timeout(self._timeout):
                    await redis.aclose()


def _read(raw: bytes) -> dict[str, Any]:
    """{} for what is too large or no object: a replica of another kind."""
    if len(raw) > LARGEST:
        return {}
    try:
        said = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _reason(error: BaseException) -> str:
    """For the log; no text of Redis or of ours holds a password."""
    if isinstance(error.__cause__, AuthenticationError):
        # the client wraps what goes wrong while it connects
        error = error.__cause__
    if isinstance(error, PasswordFileError):
        return str(error)
    if isinstance(error, AuthenticationError | NoPermissionError):
        return f"Redis refuses the user or its password: {error}"
    if isinstance(error, TimeoutError | NoAnswerError):
        return "it does not answer in time"
    return f"{type(error).__name__}: {error}"
