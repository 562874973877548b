"""A real Redis for tests, on a Unix socket of its own, with nothing on disk."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.envoy_process import short_directory

PATIENCE = 20.0


def redis_binary() -> str:
    """From PATH, or beside this Python; skips the test where there is none."""
    found = shutil.which("redis-server") or shutil.which("redis-server", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("needs redis-server")
    return found


class RedisServer:
    """`stop` kills it, as a failing machine would; `start` starts an empty one in the same place."""

    def __init__(self, directory: Path, password: str | None = None) -> None:
        self._binary = redis_binary()
        self._directory = directory
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = directory / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no", "--dir", str(self._directory)]
        if self._password is not None:
            options += ["--requirepass", self._password]
        self._process = subprocess.Popen([self._binary, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < end, "redis-server does not answer"
            time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(1) != b""
            except OSError:
                return False


@contextmanager
def redis_server(password: str | None = None) -> Iterator[RedisServer]:
    with short_directory() as directory:
        server = RedisServer(directory, password)
        server.start()
        try:
            yield server
        finally:
            server.stop()
