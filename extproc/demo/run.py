"""The demo from its first line to its last: start, scenes, the invitation to try, and an end that leaves no process, whenever it comes."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from extproc.commands.called import called
from extproc.commands.stopping import on_stop
from extproc.commands.supervisor import StartError
from extproc.demo.providers import PROVIDERS
from extproc.demo.sandbox import Sandbox
from extproc.demo.screen import Screen
from extproc.demo.traces import Traces, facts_of
from extproc.demo.try_it import parts
from extproc.telemetry.text import printable
from extproc.telemetry.tree import SpanView

PAUSE = 1.5
"""Seconds between two scenes on a terminal."""
INTERRUPTED = 130
_LONGEST_DIRECTORY = 70
"""Bytes. The names of Unix sockets have room for about a hundred."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`binary`, `version`: of Envoy. `pause` in seconds, None for what suits the output. `once`: end after the scenes. `verbose`: show the log."""

    binary: Path
    version: str
    port: int
    once: bool = False
    pause: float | None = None
    plain: bool = False
    quiet: bool = False
    verbose: bool = False


def demo(settings: Settings) -> int:
    """The exit code: 0 good (or stopped while it stayed up), 1 not, 130 interrupted before."""
    for stream in (sys.stdout, sys.stderr):
        # a terminal that cannot show a character must not end the demo
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    temporary = tempfile.gettempdir()
    short = temporary if len(temporary) <= _LONGEST_DIRECTORY else "/tmp"  # noqa: S108 - the directory made in it is private
    with (
        tempfile.NamedTemporaryFile("w", prefix="extproc-demo-", suffix=".log", delete=False) as log,
        tempfile.TemporaryDirectory(prefix="extproc-", dir=short) as directory,
    ):
        return asyncio.run(_Demo(settings, Path(directory), log.file).run())


class _Demo:
    def __init__(self, settings: Settings, directory: Path, log: IO[str]) -> None:
        self._settings = settings
        self._log = log
        self._screen = Screen(plain=settings.plain, quiet=settings.quiet)
        self._traces = Traces()
        self._sandbox = Sandbox(settings.binary, directory, settings.port, self._traces, self._logged)
        self._staying = False
        handler = logging.StreamHandler(log)
        handler.setFormatter(logging.Formatter("demo: %(levelname)s %(name)s: %(message)s"))
        logging.basicConfig(level=logging.WARNING, handlers=[handler])

    async def run(self) -> int:
        whole = asyncio.create_task(self._play())
        # later signals find the task done: what ends is not interrupted
        on_stop(whole.cancel)
        try:
            await asyncio.wait([whole])
            return self._code(whole)
        finally:
            try:
                if whole.cancelled():
                    self._screen.line()
                    self._screen.busy("stopping Envoy and the server")
            finally:  # also where the terminal is gone
                await self._sandbox.stop()
            self._screen.close()
            if whole.cancelled():
                self._screen.line("Stopped; nothing is left running.", indent="")

    def _code(self, whole: asyncio.Task[bool]) -> int:
        if whole.cancelled():
            return 0 if self._staying else INTERRUPTED
        error = whole.exception()
        if isinstance(error, StartError):
            self._screen.line(f"✗ {str(error).splitlines()[0]}", "bold red", hanging="  ", always=True)
            for line in str(error).splitlines()[1:]:
                self._screen.line(line, always=True)
            self._say_log()
            return 1
        if isinstance(error, BrokenPipeError):
            return 1
        if not whole.result():
            self._say_log()
            return 1
        return 0

    def _say_log(self) -> None:
        self._screen.line(f"What Envoy and the server logged: {self._log.name}", always=True)

    def _logged(self, process: str, line: str) -> None:
        self._log.write(f"{process}: {line}\n")
        self._log.flush()
        if self._settings.verbose:
            print(f"{process}: {printable(line)}", file=sys.stderr, flush=True)  # noqa: T201

    async def _play(self) -> bool:
        screen, settings = self._screen, self._settings
        screen.title()
        await self._start()
        from extproc.demo.show import Show

        pause = settings.pause if settings.pause is not None else PAUSE if screen.live and not settings.once else 0.0
        good = await Show(self._sandbox, self._traces, screen, pause).play()
        if not settings.once:
            self._invite()
            self._staying = True
            await asyncio.Event().wait()
        return good

    async def _start(self) -> None:
        """With a line for each part. The SDKs are imported meanwhile: they take longest."""
        screen, sandbox = self._screen, self._sandbox
        screen.busy("starting the simulated providers")
        await sandbox.start_simulators()
        kinds = dict.fromkeys(PROVIDERS[name].name for name in sandbox.simulators)
        screen.ready("Providers", f"{len(sandbox.simulators)} simulated: {', '.join(kinds)}")
        screen.busy("starting Envoy and the server, loading the SDKs")
        importing = asyncio.create_task(asyncio.to_thread(importlib.import_module, "extproc.demo.show"))
        await sandbox.start()
        await importing
        screen.ready("Server", "ext_proc, in a process of its own")
        screen.ready("Envoy", f"{self._settings.version}, listening on {sandbox.url}")
        screen.ready("Log", self._log.name)

    def _invite(self) -> None:
        screen, sandbox = self._screen, self._sandbox

        def show(spans: list[SpanView]) -> None:
            facts = facts_of(spans)
            if facts is not None:
                screen.request(facts, spans)

        self._traces.on_other = show
        screen.heading("It stays up. Try it from another terminal:")
        for heading, commands in parts(sandbox.url, sys.executable, called(), str(sandbox.run_dir), sandbox.simulators["openai"].url, os.environ):
            screen.heading(heading)
            screen.command(commands)
        screen.heading("Look")
        screen.line(f"registry  {sandbox.registry_file} (edit it: it is loaded again)", indent="", always=True)
        screen.line(f"log       {self._log.name}", indent="", always=True)
        screen.line()
        screen.line("Requests that you send appear below. Ctrl-C stops everything.", "bold", indent="", always=True)
