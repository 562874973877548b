"""The server as a process of its own, for tests that kill it, and `extproc up` with everything below it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from tests.e2e.stack import PATIENCE, until


class Command:
    """`python -m extproc …`, with its output as lines. JSON lines of its log are in `log`."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "extproc", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **environ},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def log(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in list(self.lines) if line.startswith("{")]

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def says(self, text: str) -> None:
        """Waits until its output holds `text`."""
        try:
            until(lambda: text in self.output or not self.running, f"{text!r} is said")
            assert text in self.output
        except AssertionError as error:
            error.add_note(self.output[-4000:])
            raise

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        code = self._process.wait(seconds)
        self._reader.join(PATIENCE)
        return code

    def end(self) -> None:
        """Whatever is left of it, at the end of a test."""
        if self.running:
            self.signal(signal.SIGTERM)
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._reader.join(PATIENCE)
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def server_process(registry: Path, run_dir: Path, worker: int = 0, workers: int = 1) -> Iterator[Command]:
    """`extproc serve`, ready when the block begins."""
    path = run_dir / f"extproc-{worker}.sock"
    path.unlink(missing_ok=True)
    command = Command(
        *("serve", "--registry", str(registry), "--run-dir", str(run_dir), "--workers", str(workers), "--worker", str(worker), "--grace", "5")
    )
    try:
        command.says('"serving"')
        yield command
    finally:
        command.end()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processes_that_name(text: str) -> dict[int, str]:
    """Command lines of running processes in which `text` occurs, by process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in line:
                found[int(entry.name)] = line
    return found
