"""Runs Envoy and the server processes together: starts them, waits until they serve, restarts what dies, stops them drained.

The order matters. Start: server sockets first, then Envoy, so that the first request finds everything. Stop: Envoy stops taking
connections and finishes what it has, and only when it has nothing left, or the grace is over, do Envoy and then the servers end.

Keys: Envoy's environment holds them where the registry names variables; the server processes get an environment without them. Access tokens: where
the registry needs any, `extproc tokens` runs beside the others, and only it has what they are fetched with.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from extproc.envoyconfig.binary import command
from extproc.envoyconfig.options import MIB, Options
from extproc.registry.types import Registry
from extproc.tokens.files import read_states
from extproc.tokens.keeper import wanted

log = logging.getLogger(__name__)

READY_WITHIN = 30.0
"""Seconds until everything must serve after the start."""
BACKOFF = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds before the first, second, … restart of a process that died soon after its start; the last one stays."""
STEADY = 30.0
"""Seconds after which a process counts as well started: its next death begins again with the first pause."""


TRIED_WITHIN = 10.0
"""Seconds that the first access tokens get before Envoy starts without them."""
_OF_AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
_OF_ENTRA = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_PASSWORD", "IDENTITY_HEADER")
"""Variables in which the default chains of Envoy and of azure-identity find what they need."""


class StartError(Exception):
    """Something did not come up; the text is for the terminal."""


def key_variables(registry: Registry) -> frozenset[str]:
    """The environment variables that hold keys: Envoy's alone."""
    credentials = [c for p in registry.providers.values() for c in p.credentials]
    aws = _OF_AWS if any(c.aws is not None and c.aws.file is None for c in credentials) else ()
    return frozenset(c.env for c in credentials if c.env is not None) | frozenset(aws)


def secret_variables(registry: Registry) -> frozenset[str]:
    """Those that hold what access tokens are fetched with: for `extproc tokens` alone."""
    tokens = [c.token for p in registry.providers.values() for c in p.credentials if c.token is not None]
    named = (dict(token.settings).get("env") for token in tokens)
    return frozenset(name for name in named if name) | frozenset(_OF_ENTRA if any(token.issuer == "entra" for token in tokens) else ())


@dataclass(slots=True)
class Child:
    """One supervised process. `output` takes its lines where they are not inherited."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    inherit_output: bool = True
    process: Process | None = None
    lines: list[str] = field(default_factory=list)
    restarts: int = 0


class Supervisor:
    """Envoy on `directory` and `options.workers` servers. `server_arguments` are the arguments of `extproc serve` without `--worker`.

    `quiet`: what they print is kept back, and handed to `on_line(child's name, line)` if that is given.
    """

    def __init__(
        self,
        binary: Path,
        directory: Path,
        options: Options,
        registry: Registry,
        server_arguments: Sequence[str],
        *,
        concurrency: int = 1,
        quiet: bool = False,
        environ: Mapping[str, str] | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> None:
        environ = dict(os.environ if environ is None else environ)
        keys, secrets = key_variables(registry), secret_variables(registry)
        without_keys = {name: value for name, value in environ.items() if name not in keys | secrets}
        self.options = options
        of_envoy = {name: value for name, value in environ.items() if name not in secrets - keys}
        self.envoy = Child("envoy", command(binary, directory, concurrency=concurrency), of_envoy, not quiet)
        # what Envoy's files depend on must be the same when a server writes them again
        heap = ["--envoy-heap", str(options.heap_bytes // MIB)] if options.heap_bytes is not None else []
        serve = [sys.executable, "-m", "extproc", "serve", *server_arguments, "--ca-file", options.ca_file, *heap]
        self.servers = [Child(f"server {n}", [*serve, "--worker", str(n)], without_keys, not quiet) for n in range(options.workers)]
        file = str(Path(registry.path).absolute())
        fetch = [sys.executable, "-m", "extproc", "tokens", "--registry", file, "--dir", options.tokens]
        of_tokens = {
            name: value for name, value in environ.items() if name not in {c.env for p in registry.providers.values() for c in p.credentials}
        }
        self.tokens = Child("tokens", fetch, of_tokens, not quiet)
        self._token_files = frozenset(name for names in wanted(registry).values() for name in names)
        self._admin = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=options.admin_socket), base_url="http://envoy", timeout=5.0)
        self._on_line = on_line
        self._stopping = False
        self._watchers: list[asyncio.Task[None]] = []

    @property
    def children(self) -> list[Child]:
        """In the order of their start. The process that fetches tokens is one of them once it runs."""
        return [*self.servers, *([self.tokens] if self.tokens.process is not None else []), self.envoy]

    async def start(self, progress: Callable[[str], None] = lambda _: None) -> None:
        """Until requests can be served. Raises `StartError` with what the process that failed had to say."""
        os.makedirs(self.options.run_dir, mode=0o700, exist_ok=True)  # noqa: PTH103 - pathlib's would be flagged as blocking, as this is
        for child in self.servers:
            await self._spawn(child)
        for n, child in enumerate(self.servers):
            await self._until(lambda n=n: Path(self.options.server_sockets[n]).is_socket(), child)  # type: ignore[misc]
        progress(f"{len(self.servers)} server process{'es' * (len(self.servers) != 1)} up")
        if self._token_files:
            await self._spawn(self.tokens)
            missing = await self._first_tokens()
            progress(f"no access token yet for {', '.join(missing)}" if missing else "access tokens are there")
        await self._spawn(self.envoy)
        await self._until(self._envoy_ready, self.envoy)
        await self._until(self._servers_healthy, self.envoy)
        progress("Envoy up")
        self._watchers = [asyncio.create_task(self._watch(child)) for child in self.children]

    async def start_tokens(self) -> None:
        """For a registry that needs access tokens since it was changed."""
        if self.tokens.process is None and not self._stopping:
            await self._spawn(self.tokens)
            self._watchers.append(asyncio.create_task(self._watch(self.tokens)))

    async def _first_tokens(self) -> list[str]:
        """Waits until each token was fetched or could not be; the files that are not there then."""
        directory = Path(self.options.tokens)
        deadline = asyncio.get_running_loop().time() + TRIED_WITHIN
        process = self.tokens.process
        while set(read_states(directory)) < self._token_files and asyncio.get_running_loop().time() < deadline:
            if process is not None and process.returncode is not None:
                raise StartError(f"tokens ended at once with exit code {process.returncode}\n" + "\n".join(self.tokens.lines[-20:]))
            await asyncio.sleep(0.05)
        return sorted(name for name in self._token_files if not (directory / name).is_file())

    async def stop(self, grace: float = 30.0) -> None:
        """Drain and end everything; at most `grace` seconds for requests under way, and some for the ends themselves."""
        self._stopping = True
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        with suppress(httpx.HTTPError, OSError):
            await self._admin.post("/drain_listeners?graceful&skip_exit")
            await self._admin.post("/healthcheck/fail")
            deadline = asyncio.get_running_loop().time() + grace
            while await self._requests_under_way() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - Envoy tells no other way
                await asyncio.sleep(0.1)
        await self._end(self.envoy, 5.0)
        await self._end(self.tokens, 5.0)
        await asyncio.gather(*(self._end(child, grace + 5.0) for child in self.servers))
        await self._admin.aclose()

    async def _requests_under_way(self) -> int:
        response = await self._admin.get("/stats", params={"filter": "^http\\.llm\\.downstream_rq_active$", "format": "json"})
        stats = [s for s in response.json()["stats"] if "value" in s]
        return int(stats[0]["value"]) if stats else 0

    async def _spawn(self, child: Child) -> None:
        pipe = None if child.inherit_output else asyncio.subprocess.PIPE
        child.process = await asyncio.create_subprocess_exec(
            *child.argv,
            env=dict(child.env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
            preexec_fn=_end_with_parent if _LIBC is not None else None,
        )
        for stream in (child.process.stdout, child.process.stderr):
            if stream is not None:
                self._watch_output(child, stream)

    def _watch_output(self, child: Child, stream: asyncio.StreamReader) -> None:
        async def read() -> None:
            while line := await stream.readline():
                text = line.decode("utf-8", "replace").rstrip()
                child.lines.append(text)
                del child.lines[:-500]
                if self._on_line is not None:
                    self._on_line(child.name, text)

        task = asyncio.create_task(read())
        _READERS.add(task)
        task.add_done_callback(_READERS.discard)

    async def _until(self, ready: Callable[[], object], child: Child) -> None:
        deadline = asyncio.get_running_loop().time() + READY_WITHIN
        while True:
            outcome = ready()
            if asyncio.iscoroutine(outcome):
                outcome = await outcome
            if outcome:
                return
            process = child.process
            if process is not None and process.returncode is not None:
                raise StartError(f"{child.name} ended at once with exit code {process.returncode}\n" + "\n".join(child.lines[-20:]))
            if asyncio.get_running_loop().time() > deadline:
                raise StartError(f"{child.name} is not ready after {READY_WITHIN:g} s\n" + "\n".join(child.lines[-20:]))
            await asyncio.sleep(0.02)

    async def _envoy_ready(self) -> bool:
        try:
            return (await self._admin.get("/ready")).status_code == httpx.codes.OK
        except (httpx.HTTPError, OSError):
            return False

    async def _servers_healthy(self) -> bool:
        """Does Envoy see every server as healthy? Before that a first request could find none."""
        response = await self._admin.get("/clusters")
        return "ext_proc::" in response.text and "/failed_active_hc" not in response.text

    async def _watch(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        while child.process is not None:
            started = loop.time()
            code = await child.process.wait()
            if self._stopping:
                return
            child.restarts = 0 if loop.time() - started > STEADY else child.restarts
            pause = BACKOFF[min(child.restarts, len(BACKOFF) - 1)]
            log.error("%s ended with exit code %s; starting it again in %g s", child.name, code, pause)
            child.restarts += 1
            await asyncio.sleep(pause)
            await self._spawn(child)

    async def _end(self, child: Child, seconds: float) -> None:
        process = child.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            log.warning("%s did not end within %g s; killing it", child.name, seconds)
            process.kill()
            await process.wait()


_READERS: set[asyncio.Task[None]] = set()

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """In the child, before it starts: a supervisor that is killed outright takes its children with it (prctl(2), Linux only)."""
    assert _LIBC is not None
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
