"""An egress proxy for these tests: takes CONNECT, notes for where, and passes bytes on."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class ConnectProxy(socketserver.ThreadingTCPServer):
    """`asked` are (authority, the CONNECT request's other headers). `leads_to`: where the tunnel ends, whatever was asked for; None takes that.
    `refuse`: answer 403."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, leads_to: tuple[str, int] | None = None) -> None:
        self.leads_to = leads_to
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.refuse = False
        super().__init__(("127.0.0.1", 0), _Tunnel)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Tunnel(socketserver.StreamRequestHandler):
    server: ConnectProxy

    def handle(self) -> None:
        method, authority, _ = self.rfile.readline().decode().split(" ", 2)
        headers = {}
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        self.server.asked.append((authority, headers))
        if method != "CONNECT" or self.server.refuse:
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            return
        host, _, port = authority.rpartition(":")
        with suppress(OSError), socket.create_connection(self.server.leads_to or (host, int(port)), 5) as there:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(there, self.connection), daemon=True)
            back.start()
            _pump(self.connection, there)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def connect_proxy(leads_to: tuple[str, int] | None = None) -> Iterator[ConnectProxy]:
    proxy = ConnectProxy(leads_to)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
