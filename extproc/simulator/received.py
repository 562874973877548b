"""What arrived at a simulator, kept within bounds: the last requests, with their bodies while those are small.

`headers` holds the raw key, for tests in the same process. Everything that leaves the process (`view`, the log line) has a hash in its place.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from dataclasses import dataclass
from typing import Any

from extproc.simulator.http1 import Request

KEEP_REQUESTS = 200
KEEP_BODY = 1 << 20
"""Bytes. A larger body is kept as length and hash only."""
KEEP_BODIES = 32 << 20
"""Bytes of all bodies together; the oldest go first."""
_SECRET = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie", "proxy-authorization"})
_QUERY_KEY = re.compile(r"((?:^|[?&])key=)[^&]*")


def fingerprint(secret: str) -> str:
    """What stands for a key wherever it is shown: the first 12 hex digits of its SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()[:12]


@dataclass(slots=True)
class Received:
    """One request and what became of it.

    `problem` says what the provider would refuse in it, even where a fault decided the answer. `fault` is the kind that was applied. `status` is
    None when no status was sent. `seconds` is the time to the end of the answer. `body` is None past `KEEP_BODY`; `sha256` is then set.
    """

    method: str
    target: str
    headers: dict[str, str]
    length: int
    body: bytes | None
    sha256: str | None = None
    key: str | None = None
    model: str = ""
    stream: bool = False
    problem: str | None = None
    fault: str | None = None
    status: int | None = None
    seconds: float | None = None
    left: bool = False
    """The client went away before the end of the answer."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def key_sha256(self) -> str | None:
        """Hash of the key that arrived, as `fingerprint` makes it."""
        return fingerprint(self.key) if self.key else None

    def view(self) -> dict[str, Any]:
        """As JSON for GET /_sim/requests: keys as hashes, the body as text if it is short enough."""
        return {
            "method": self.method,
            "target": _QUERY_KEY.sub(r"\1…", self.target),
            "headers": {k: f"sha256:{fingerprint(v)}" if k in _SECRET else v for k, v in self.headers.items()},
            "key_sha256": self.key_sha256,
            "length": self.length,
            "sha256": self.sha256,
            "body": self.body.decode("utf-8", "replace") if self.body is not None else None,
            "model": self.model,
            "stream": self.stream,
            "problem": self.problem,
            "fault": self.fault,
            "status": self.status,
            "seconds": self.seconds,
            "client_left": self.left,
        }


class ReceivedLog(deque[Received]):
    """The last requests, oldest first."""

    def __init__(self, keep: int = KEEP_REQUESTS) -> None:
        super().__init__(maxlen=keep)
        self._bytes = 0
        self.total = 0
        """Requests since the start or the last `clear`."""

    def note(self, request: Request, *, with_body: bool = True) -> Received:
        """Adds `request`. `with_body` False keeps neither body nor hash (the benchmark's fast path)."""
        body: bytes | None = request.body if with_body else None
        digest = None
        if body is not None and len(body) > KEEP_BODY:
            digest = hashlib.sha256(body).hexdigest()
            body = None
        if self.maxlen is not None and len(self) == self.maxlen and self:
            self._bytes -= len(self[0].body or b"")
        entry = Received(request.method, request.target, request.headers, len(request.body), body, digest)
        self.append(entry)
        self._bytes += len(body or b"")
        self.total += 1
        if self._bytes > KEEP_BODIES:
            self._shed()
        return entry

    def _shed(self) -> None:
        for old in self:
            if self._bytes <= KEEP_BODIES:
                return
            if old.body is not None:
                old.sha256 = hashlib.sha256(old.body).hexdigest()
                self._bytes -= len(old.body)
                old.body = None

    def clear(self) -> None:
        super().clear()
        self._bytes = 0
        self.total = 0
