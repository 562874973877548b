"""A provider that says what a test tells it to, byte for byte: for APIs that the simulators lack, and for answers that no provider should give."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Call:
    """One request as it arrived; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Said:
    """An answer: its body in pieces, each flushed by itself. `length` False: chunked."""

    status: int = 200
    pieces: Sequence[bytes] = ()
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    length: bool = False


Answer = Callable[[Call], Said]


class Bare:
    """`answer` may be changed at any time; `calls` are all requests so far."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answer: Answer = lambda call: Said(pieces=[b"{}"])
        bare = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", "0")))
                call = Call(self.command, self.path, headers, body)
                bare.calls.append(call)
                said = bare.answer(call)
                self.send_response(said.status)
                if said.content_type:
                    self.send_header("content-type", said.content_type)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                if said.status == 204:
                    self.end_headers()
                    return
                chunked = not said.length
                self.send_header(*(("transfer-encoding", "chunked") if chunked else ("content-length", str(sum(map(len, said.pieces))))))
                self.end_headers()
                for piece in said.pieces:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                if chunked:
                    self.wfile.write(b"0\r\n\r\n")

            do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _serve  # noqa: N815 - the names are the base class's

            def log_message(self, *args: object) -> None:
                """A test's output is its own."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def last(self) -> Call:
        return self.calls[-1]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def running_bare() -> Iterator[Bare]:
    bare = Bare()
    try:
        yield bare
    finally:
        bare.close()
