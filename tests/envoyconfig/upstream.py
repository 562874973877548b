"""A provider for these tests: answers every POST with one status and remembers the headers that reached it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Upstream(ThreadingHTTPServer):
    """`status` and `answer_headers` of every answer; `requests` are (path, headers, body length)."""

    daemon_threads = True

    def __init__(self, status: int = 200, answer_headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.answer_headers = answer_headers or {}
        self.requests: list[tuple[str, dict[str, str], int]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> tuple[str, str, int]:
        return ("http", "127.0.0.1", self.server_port)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        self.server.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, len(body)))
        answer = b'{"ok":true}'
        self.send_response(self.server.status)
        for name, value in {"content-type": "application/json", "content-length": str(len(answer)), **self.server.answer_headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def handle(self) -> None:
        # A peer that does not like our certificate goes away in the handshake.
        with suppress(ssl.SSLError, ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent."""


@contextmanager
def upstream(status: int = 200, answer_headers: dict[str, str] | None = None, *, context: ssl.SSLContext | None = None) -> Iterator[Upstream]:
    """Over TLS with a `context`."""
    server = Upstream(status, answer_headers)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
