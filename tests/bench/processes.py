"""Child processes with their CPU time and memory, read from /proc. Each is ended by the id that it was started with."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_TICK = os.sysconf("SC_CLK_TCK")
_STOP = 10.0
"""Seconds between SIGTERM and SIGKILL."""


class Child:
    """One process. Its standard input is a pipe of ours, so a child that reads it ends with us; its standard error goes to `errors`."""

    def __init__(self, argv: Sequence[str], errors: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None, talks: bool = False) -> None:
        self._errors = errors
        with errors.open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if talks else subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, **(env or {})},
                cwd=cwd,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def out(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def check(self) -> None:
        """Raises with what it had to say if the process has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.returncode}:\n{self._errors.read_text()[-3000:]}")

    def cpu(self) -> float:
        """Seconds of user and system time so far, all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def memory(self) -> int:
        """Bytes resident now."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """Bytes resident at most since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status(self, name: str) -> int:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def own_cpu() -> float:
    """Seconds of CPU of this process: the load generator."""
    times = os.times()
    return times.user + times.system
