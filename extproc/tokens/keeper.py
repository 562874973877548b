"""Keeps every token of a registry fresh: one task for each source, so that none waits for another's issuer, and none fails with it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from extproc.registry.types import Registry, TokenSource
from extproc.tokens.files import State, put, write_states
from extproc.tokens.issuers import IssuerError, Token
from extproc.tokens.redaction import safe_text
from extproc.tokens.schedule import pause_after, until_renewal

log = logging.getLogger(__name__)

Wanted = dict[TokenSource, tuple[str, ...]]
"""The names of the files that a source's token goes to."""
FETCH_WITHIN = 90.0
"""Seconds; then the try counts as failed, whatever the library is still doing."""


def wanted(registry: Registry) -> Wanted:
    """Every token that the providers of `registry` need. Providers that ask the same of the same issuer share one."""
    found: dict[TokenSource, list[str]] = {}
    for provider in registry.providers.values():
        for credential in provider.credentials:
            if credential.token is not None:
                found.setdefault(credential.token, []).append(provider.token_file(credential))
    return {source: tuple(names) for source, names in found.items()}


class Keeper:
    """`fetch` blocks and raises what it likes; it runs in threads. `wall` is Unix time, `random` in [0, 1), `sleep` waits seconds."""

    def __init__(
        self,
        directory: Path,
        fetch: Callable[[TokenSource], Token],
        *,
        wall: Callable[[], float],
        random: Callable[[], float],
        sleep: Callable[[float], asyncio.Future[None]] | None = None,
    ) -> None:
        self._directory = directory
        self._fetch = fetch
        self._wall = wall
        self._random = random
        self._sleep = sleep or (lambda seconds: asyncio.ensure_future(asyncio.sleep(seconds)))
        self._tasks: dict[tuple[TokenSource, tuple[str, ...]], asyncio.Task[None]] = {}
        self.states: dict[str, State] = {}

    async def once(self, sources: Mapping[TokenSource, tuple[str, ...]]) -> bool:
        """One try for each, all at the same time. True if each gave a token."""
        return all(await asyncio.gather(*(self._try(source, names) for source, names in sources.items())))

    def keep(self, sources: Mapping[TokenSource, tuple[str, ...]]) -> None:
        """From now on these, and no others. What stays is not fetched anew; files that nobody needs any more are removed."""
        keys = set(sources.items())
        for key in [key for key in self._tasks if key not in keys]:
            self._tasks.pop(key).cancel()
        for source, names in sources.items():
            if (source, names) not in self._tasks:
                self._tasks[source, names] = asyncio.create_task(self._renew(source, names))
        needed = {name for names in sources.values() for name in names}
        for name in [name for name in self.states if name not in needed]:
            del self.states[name]
            (self._directory / name).unlink(missing_ok=True)
        self._note({})

    async def stop(self) -> None:
        """Ends the tasks. The files stay: their tokens are good until they expire."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _renew(self, source: TokenSource, names: tuple[str, ...]) -> None:
        failures = 0
        while True:
            if await self._try(source, names):
                failures = 0
                lifetime = self.states[names[0]].expires_at - self._wall()
                await self._sleep(until_renewal(lifetime, self._random))
            else:
                failures += 1
                await self._sleep(pause_after(failures, self._random))

    async def _try(self, source: TokenSource, names: tuple[str, ...]) -> bool:
        """Fetches and writes. False if that failed, which is logged."""
        try:
            token = await asyncio.wait_for(in_thread(lambda: self._fetch(source), f"token {names[0]}"), FETCH_WITHIN)
            for name in names:
                put(self._directory, name, token.value.encode())
        except Exception as error:  # noqa: BLE001 - libraries raise much, and no failure may end this or another token's renewal
            why = safe_text(error)
            now = self._wall()
            left = max((self.states.get(name, State()).expires_at for name in names), default=0.0) - now
            log.warning("no access token", extra={"files": names, "issuer": source.issuer, "why": why, "old_one_good_for_s": max(0, round(left))})
            self._note({name: replace(self.states.get(name, State()), tried_at=now, error=why) for name in names})
            return False
        now = self._wall()
        log.info("access token", extra={"files": names, "issuer": source.issuer, "good_for_s": round(token.expires_at - now)})
        self._note(dict.fromkeys(names, State(token.expires_at, now)))
        return True

    def _note(self, changes: Mapping[str, State]) -> None:
        self.states.update(changes)
        try:
            write_states(self._directory, self.states)
        except OSError as error:
            # the tokens themselves go the same way, and say so when it matters
            log.warning("the state of the tokens cannot be written", extra={"why": safe_text(error)})


async def in_thread(work: Callable[[], Token], name: str) -> Token:
    """`work` in a thread of its own. A thread that hangs holds up neither other ones nor the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Token] = loop.create_future()

    def settle(token: Token | None, error: Exception) -> None:
        if done.done():
            return
        if token is not None:
            done.set_result(token)
        else:
            done.set_exception(error)

    def run() -> None:
        token: Token | None = None
        failure: Exception = IssuerError("the issuer's library gave no answer")
        try:
            token = work()
        except StopIteration as error:  # a future does not take it
            failure = IssuerError(safe_text(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever awaits
            failure = error
        except BaseException as error:  # noqa: BLE001 - the end of a process is not a library's to ask for
            failure = IssuerError(safe_text(error))
        with suppress(RuntimeError):  # the loop has ended, and with it the wish for a token
            loop.call_soon_threadsafe(settle, token, failure)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
