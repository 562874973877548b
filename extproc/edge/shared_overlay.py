"""The admin API's overlay in Redis: one document with a version, replaced only by who knows the version that it replaces."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from extproc.edge.redis_client import connect, key
from extproc.registry.policy import State

# One step for Redis: compare the version, then set both.
_PUT = """
local version = redis.call('HGET', KEYS[1], 'version') or '0'
if version ~= ARGV[1] then return 0 end
local following = version == '0' and ARGV[3] or string.format('%.0f', version + 1)
redis.call('HSET', KEYS[1], 'version', following, 'document', ARGV[2])
return tonumber(following)
"""
NAME = "overlay"


class Shared(NamedTuple):
    """`version` grows by one with every document that is put. The first has a random one: a Redis that forgot everything must not come to a version
    that somebody knows as another document's."""

    version: int
    document: bytes


class SharedOverlay:
    """`get` and `put` make a connection of their own: they are rare, and must not wait behind anything. All raise OSError (TimeoutError,
    ConnectionError) where Redis cannot be reached or refuses."""

    def __init__(self, state: Callable[[], State | None], timeout: float) -> None:
        self._state = state
        self._timeout = timeout
        self._news = asyncio.Event()
        self._version: int | None = None

    async def get(self) -> Shared | None:
        """None where nothing was ever put, or all was lost."""
        state = self._given()
        version, document = await self._ask(state, lambda redis: redis.hmget(key(state, NAME), ["version", "document"]))
        return Shared(int(version), bytes(document)) if version is not None and document is not None else None

    async def put(self, document: bytes, expected: int) -> int | None:
        """Replaces the document if its version is `expected` (0: there is none). Returns the new version, or None if it is another one."""
        state, first = self._given(), str(1 + secrets.randbits(40))
        version = await self._ask(state, lambda redis: redis.eval(_PUT, 1, key(state, NAME), str(expected), document, first))
        return int(version) or None

    async def changed(self) -> None:
        """Returns when somebody may have put another document: its version changed, or the connection was lost and is back."""
        await self._news.wait()
        self._news.clear()

    def seen(self, version: int, *, back: bool) -> None:
        """What the last synchronisation found; `back`: it was the first after a while without a connection."""
        if version != self._version or back:
            self._version = version
            self._news.set()

    def _given(self) -> State:
        state = self._state()
        if state is None:
            raise ConnectionError("the registry has no state that is shared")
        return state

    async def _ask(self, state: State, command: Callable[[Redis], Any]) -> Any:
        redis = connect(state, self._timeout)
        try:
            async with asyncio.timeout(self._timeout):
                asked: Coroutine[Any, Any, Any] = command(redis)
                return await asked
        except RedisError as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from None
        finally:
            with contextlib.suppress(RedisError, OSError):
                await redis.aclose()
