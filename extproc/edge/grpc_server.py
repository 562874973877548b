"""A gRPC server on Unix sockets, over our own HTTP/2: listening, connections, and their end.

It takes the place of `grpc.aio.server`, which costs several times the processor time of everything else that a request needs, and keeps a few
bytes of memory for each call. What is left out is what Envoy does not ask for: TLS, compression (refused by name), and deadlines on this side: a
client whose deadline has passed resets its call, and Envoy does.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from extproc.edge.grpc_call import HEADERS, Method, Rpc, Status, trailers
from extproc.edge.hpack import Headers, encode
from extproc.edge.http2 import Connection
from extproc.edge.http2_stream import Stream

BACKLOG = 1024
LINGER = 5.0
"""Seconds for a peer to fetch the last bytes of a connection that we have closed."""
LAST_TURNS = 0.2
"""Seconds at the end of a stop for the statuses of cancelled calls to be sent."""


class _Protocol(asyncio.Protocol):
    """One connection: bytes between its transport and its HTTP/2, and its calls."""

    def __init__(self, server: GrpcServer) -> None:
        self._server = server
        self._connection = Connection(self._accept, self._wake)
        self._transport: asyncio.Transport | None = None
        self._linger: asyncio.TimerHandle | None = None
        self.calls = server.calls
        self.max_message = server.max_message
        self.loop = asyncio.get_running_loop()
        self.paused = False
        self.gone = self.loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # other loops' transports are none by inheritance
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)
        self._connection.begin()
        if self._server.stopping:
            # it came with the last turn of the loop in which we listened
            self._connection.go_away()

    def data_received(self, data: bytes) -> None:
        self._connection.receive(data)
        if self._connection.over:
            self._wake()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        for stream in tuple(self._connection.streams.values()):
            if stream.receiver is not None:
                stream.receiver.writable()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._connection.lost()
        self._server.connections.discard(self)
        self._transport = None
        if self._linger is not None:
            self._linger.cancel()
        self.gone.set_result(None)

    def go_away(self) -> None:
        self._connection.go_away()

    def abort(self) -> None:
        """Leave at once, whatever waits to be sent."""
        if self._transport is not None:
            self._transport.abort()

    def _wake(self) -> None:
        # once per turn of the loop: what several calls say in one turn is one system call
        self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        transport, connection = self._transport, self._connection
        if transport is None:
            return
        data = connection.take(fetched=not self.paused)
        if data:
            transport.write(data)
        if connection.over and self._linger is None:
            transport.close()
            self._linger = self.loop.call_later(LINGER, transport.abort)

    def _accept(self, stream: Stream, headers: Headers) -> None:
        fields = dict(headers)
        if fields.get(b":method") != b"POST":
            stream.end(encode([(b":status", b"405")]))
            return
        if not fields.get(b"content-type", b"").startswith(b"application/grpc"):
            stream.end(encode([(b":status", b"415")]))
            return
        method = self._server.methods.get(fields.get(b":path", b"").decode("latin-1"))
        if method is None:
            stream.end(HEADERS + trailers(Status.UNIMPLEMENTED, "no such method"))
            return
        rpc = stream.receiver = Rpc(self, stream, fields, method)
        rpc.start()


class GrpcServer:
    """Serves `methods`, by their paths. Messages of more than `max_message` bytes end their calls."""

    def __init__(self, methods: Mapping[str, Method], max_message: int) -> None:
        self.methods = methods
        self.max_message = max_message
        self.connections: set[_Protocol] = set()
        self.calls: dict[asyncio.Task[None], Rpc] = {}
        self.stopping = False
        self._listening: list[tuple[asyncio.AbstractServer, Path, int | None]] = []

    async def listen(self, path: Path) -> None:
        """On a Unix socket. A socket that is there is replaced: it is of a process that is gone. Raises OSError."""
        _remove(path, _inode(path))
        server = await asyncio.get_running_loop().create_unix_server(lambda: _Protocol(self), str(path), backlog=BACKLOG)
        self._listening.append((server, path, _inode(path)))

    async def stop(self, grace: float) -> None:
        """Take no new calls; wait up to `grace` seconds for those under way; cancel the rest, and close every connection."""
        self.stopping = True
        self._deafen()
        for connection in self.connections:
            connection.go_away()
        await self._until_gone(grace)
        for call in tuple(self.calls.values()):
            call.cancel()
        await self._until_gone(LAST_TURNS)
        for connection in tuple(self.connections):
            connection.abort()
        await self._until_gone(None)
        if self.calls:
            await asyncio.wait(tuple(self.calls))

    def _deafen(self) -> None:
        for server, path, inode in self._listening:
            server.close()
            _remove(path, inode)
        self._listening.clear()

    async def _until_gone(self, patience: float | None) -> None:
        gone = [connection.gone for connection in self.connections]
        if gone:
            await asyncio.wait(gone, timeout=patience)


def _inode(path: Path) -> int | None:
    """Which socket is at `path`, if there is one."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino if stat.S_ISSOCK(found.st_mode) else None


def _remove(path: Path, inode: int | None) -> None:
    """Unless it is another one by now: a successor may listen on the same path."""
    if inode is not None and _inode(path) == inode:
        path.unlink()
