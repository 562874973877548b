"""Starts the real Envoy on a rendered registry, for tests that need one.

    with running_envoy(registry, workers=1) as envoy:
        httpx.get(envoy.url + "/v1/models")

Envoy picks its own free port and says on standard error when it is ready, so nothing waits for a clock. A failure in the block carries
the end of Envoy's log.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.envoyconfig import binary
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.render import render
from extproc.envoyconfig.sources import Sources, load_sources
from extproc.envoyconfig.write import write
from extproc.registry.types import Registry

READY = "starting workers"
STOP_SECONDS = 10.0


def envoy_binary() -> Path:
    """The Envoy that the tests use; skips the test where there is none."""
    try:
        return binary.find_envoy()
    except binary.EnvoyNotFoundError as error:
        pytest.skip(str(error))


@contextmanager
def short_directory() -> Iterator[Path]:
    """A temporary directory whose sockets' names fit into the 108 bytes that Unix allows."""
    path = Path(tempfile.mkdtemp(prefix="xp"))
    try:
        if len(str(path)) > 70:
            pytest.skip(f"the temporary directory {path} is too long for Unix sockets; set TMPDIR")
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class EnvoyProcess:
    """One Envoy. `log` is everything that it wrote to standard error; the access log is on standard output, in `out`."""

    def __init__(
        self, executable: Path, directory: Path, options: Options, *, env: Mapping[str, str] | None = None, log_level: str = "warning"
    ) -> None:
        self.options = options
        self._lines: dict[str, list[str]] = {"log": [], "out": []}
        self._ready = threading.Event()
        argv = binary.command(executable, directory, concurrency=1, longest_stream=1, log_level=log_level)
        if log_level == "warning":
            argv += ["--component-log-level", "config:info"]  # says READY
        self._process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **(env or {})}, text=True, errors="replace"
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream, name), daemon=True)
            for stream, name in ((self._process.stderr, "log"), (self._process.stdout, "out"))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, name: str) -> None:
        for line in stream:
            self._lines[name].append(line.rstrip("\n"))
            if READY in line:
                self._ready.set()
        # The end of the log is the end of the process: whoever waits must not wait on.
        self._ready.set()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return "\n".join(self._lines["log"])

    @property
    def out(self) -> str:
        return "\n".join(self._lines["out"])

    def wait_ready(self, seconds: float = 30.0) -> None:
        """Returns when the listener takes connections. Raises with the log if Envoy ends or takes too long."""
        in_time = self._ready.wait(seconds)
        if not in_time or self._process.poll() is not None or READY not in self.log:
            raise RuntimeError(f"Envoy is not ready (exit code {self._process.poll()}):\n{self.log[-4000:]}")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def port(self) -> int:
        found = re.search(r'"port_value": *(\d+)', self.admin("/listeners?format=json"))
        assert found is not None
        return int(found[1])

    def admin(self, path: str, method: str = "GET") -> str:
        """The body of an answer of Envoy's admin interface."""
        with httpx.Client(transport=httpx.HTTPTransport(uds=self.options.admin_socket), timeout=10) as client:
            return client.request(method, f"http://admin{path}").raise_for_status().text

    def stat(self, name: str) -> int:
        """The value of a counter or gauge; 0 if it does not exist."""
        found = re.search(rf"^{re.escape(name)}: (\d+)$", self.admin(f"/stats?filter=^{re.escape(name)}$"), re.MULTILINE)
        return int(found[1]) if found else 0

    def stop(self) -> int:
        """Ends this process, by SIGTERM and, if that does not help, by SIGKILL. Returns the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for reader in self._readers:
            reader.join(STOP_SECONDS)
        for stream in (self._process.stderr, self._process.stdout):
            if stream is not None:
                stream.close()
        return self._process.returncode


class RunningEnvoy(EnvoyProcess):
    """An Envoy with the directory that it watches: `update` renders another registry into it."""

    def __init__(self, directory: Path, options: Options, sources: Sources, registry: Registry, **started: Any) -> None:
        self.directory = directory
        self._sources = sources
        write(render(registry, options, sources), Path(options.out_dir))
        super().__init__(envoy_binary(), Path(options.out_dir), options, **started)
        try:
            self.wait_ready()
            self.url = f"http://127.0.0.1:{self.port}"
        except BaseException:
            self.stop()
            raise

    def update(self, registry: Registry) -> list[str]:
        return write(render(registry, self.options, self._sources), Path(self.options.out_dir))


@contextmanager
def running_envoy(
    registry: Registry,
    *,
    sources: Sources | None = None,
    env: Mapping[str, str] | None = None,
    log_level: str = "warning",
    directory: Path | None = None,
    **options: Any,
) -> Iterator[RunningEnvoy]:
    """Envoy on `registry`, stopped at the end. `options` are fields of `Options`; the port is free unless given.

    `directory` has the sockets (`run/`, so that an ext_proc server may be there before) and the rendered files (`out/`).
    """
    envoy_binary()
    with short_directory() as made:
        root = directory or made
        (root / "run").mkdir(exist_ok=True)
        chosen = Options(**{"out_dir": str(root / "out"), "run_dir": str(root / "run"), "port": 0, **options})
        envoy = RunningEnvoy(root, chosen, sources or load_sources(), registry, env=env, log_level=log_level)
        try:
            yield envoy
        except BaseException as error:
            error.add_note(f"Envoy's log:\n{envoy.log[-4000:]}\nIts access log:\n{envoy.out[-2000:]}")
            raise
        finally:
            envoy.stop()


def eventually(condition: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    """Waits for something that Envoy does by itself and announces nowhere, such as reading a file again."""
    waited = threading.Event()
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        waited.wait(0.02)
