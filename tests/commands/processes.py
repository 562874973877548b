"""`extproc` as a process of its own, its output line by line, and what it leaves behind."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 60.0
"""Seconds until something that must happen counts as missing. On a good day nothing takes a tenth of it."""


def environment(**more: str) -> dict[str, str]:
    """This process's environment without its telemetry and proxies."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_") and not k.lower().endswith("_proxy")}
    return {**kept, "COLUMNS": "100", **more}


def running_in(directory: Path) -> list[str]:
    """Command lines that name `directory`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if str(directory) in line:
            found.append(line)
    return found


class Command:
    """A running `extproc ...`. Standard output and error come together, in `text`."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], argv: Sequence[str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *(argv or ("-m", "extproc")), *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            # whoever runs the tests under nohup has it ignored, and so would everything that they start
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._seen: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._seen.append(line)
            self._lines.put(line)
        self._lines.put(None)

    @property
    def text(self) -> str:
        return "".join(self._seen)

    def until(self, pattern: str) -> re.Match[str]:
        """Waits for a line of output."""
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError(f"the output ended without {pattern!r}:\n{self.text}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        """Waits for the exit code."""
        code = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._reader.join(PATIENCE)
            self._process.stdout.close()


@contextmanager
def extproc(*arguments: str, env: Mapping[str, str] | None = None, argv: Sequence[str] | None = None) -> Iterator[Command]:
    """`argv` replaces `-m extproc`."""
    command = Command(arguments, environment() if env is None else env, argv)
    try:
        yield command
    finally:
        command.close()
