"""Listens for the admin API: uvicorn on a Unix socket, and on loopback TCP where that is asked for. In the loop of the server.

In the same loop, because swapping the registry belongs there, and what takes long (parsing, rendering, explaining) runs in threads anyway. Signals
are the server's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from extproc.admin.api import Api
from extproc.admin.application import PEER, application
from extproc.admin.door import DoorError, Token, loopback

AT_ONCE = 64
"""Connections of each door."""
ASK_WITHIN = 10.0
"""Seconds in which a connection must bring a request, the first as well as the next."""
LAST_WORDS = 2
"""Seconds that requests under way get at the end."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Bounded(H11Protocol):
    """So many connections and no more, and one on which no request comes for a while ends, however it drips: who has no token, and only keeps
    connections open, must not keep others out. The connection that has waited longest makes room for a new one."""

    _since: float
    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        waiting = [c for c in self.connections if isinstance(c, _Bounded) and c._end is not None]
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > AT_ONCE:
            min(waiting, key=lambda c: c._since, default=self)._break_off()

    def connection_lost(self, exc: Exception | None) -> None:
        self._busy()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._busy()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # of requests that came together the next has begun by now
        if self.cycle.response_complete:
            self._wait()

    def _wait(self) -> None:
        self._busy()
        self._since = self.loop.time()
        self._end = self.loop.call_later(ASK_WITHIN, self._break_off)

    def _busy(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def _break_off(self) -> None:
        self._busy()
        self.connections.discard(self)
        self.transport.abort()


class _FromUnix(_Bounded):
    """Says who is at the other end: the kernel does (SO_PEERCRED)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if transport.is_closing():
            return
        credentials = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        self.client = (PEER, struct.unpack("3i", credentials)[1])


@contextlib.asynccontextmanager
async def listening(api: Api, path: Path, tcp: tuple[str, int] | None = None, token_file: Path | None = None) -> AsyncIterator[None]:
    """Answers while the block runs, on a socket at `path` that is its user's alone, and on `tcp`. Raises `DoorError`."""
    if tcp is not None and token_file is None:
        raise DoorError("--admin-listen needs --admin-token-file: over TCP anybody on this machine could ask")
    doors: list[tuple[Starlette, socket.socket, bool]] = []
    if tcp is not None and token_file is not None:
        doors.append((application(api, Token(token_file)), _tcp(*tcp), False))
    try:
        doors.append((application(api), _unix(path), True))
        ours = os.stat(path).st_ino  # noqa: PTH116
    except (DoorError, OSError):
        for _, sock, _ in doors:
            sock.close()
        raise
    servers = [_server(app, private=private) for app, _, private in doors]
    # that it starts and ends goes with the server's own start and end
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    tasks = [asyncio.create_task(server.serve(sockets=[sock])) for server, (_, sock, _) in zip(servers, doors, strict=True)]
    try:
        yield
    finally:
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            # a server that has taken our place since listens on a file of its own
            if os.stat(path).st_ino == ours:  # noqa: PTH116
                os.unlink(path)  # noqa: PTH108


def _server(app: Starlette, *, private: bool) -> _Server:
    config = uvicorn.Config(
        app,
        http=_FromUnix if private else _Bounded,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        # what a client says of where it comes from is not believed
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_WORDS,
    )
    return _Server(config)


def _unix(path: Path) -> socket.socket:
    """Nobody can connect before the mode is set: that takes `listen`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        sock.bind(str(path))
        os.chmod(path, 0o600)  # noqa: PTH101
        sock.listen(AT_ONCE)
    except OSError as error:
        sock.close()
        raise DoorError(f"the admin API cannot listen on {path}: {error.strerror or error}") from error
    sock.setblocking(False)
    return sock


def _tcp(host: str, port: int) -> socket.socket:
    address = loopback(host)
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(AT_ONCE)
    except OSError as error:
        sock.close()
        raise DoorError(f"the admin API cannot listen on {host}:{port}: {error.strerror or error}") from error
    sock.setblocking(False)
    return sock
