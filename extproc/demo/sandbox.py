"""Everything that the demo runs: simulators and the receiver of spans in this process, Envoy and the server as its children."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from extproc.commands.arguments import otlp_of
from extproc.commands.supervisor import Supervisor
from extproc.commands.terminal_traces import receiving, towards, with_prompt_spans
from extproc.demo.providers import KEY_VARIABLE, registry_yaml, simulators
from extproc.demo.traces import Traces
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.render import render
from extproc.envoyconfig.sources import load_sources
from extproc.envoyconfig.write import write
from extproc.registry.load import load_registry
from extproc.simulator.faults import Fault
from extproc.simulator.server import Simulator

_GRACE = 2.0
"""Seconds that requests under way are given at the end."""


class Sandbox:
    """`directory` is an empty one, for files and sockets. `on_line(process, line)` gets what Envoy and the server print."""

    def __init__(self, binary: Path, directory: Path, port: int, traces: Traces, on_line: Callable[[str, str], None]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.run_dir = directory
        self.registry_file = directory / "registry.yaml"
        self.simulators: dict[str, Simulator] = {}
        self._binary = binary
        self._port = port
        self._traces = traces
        self._on_line = on_line
        self._key = f"demo-{secrets.token_hex(8)}"
        self._stack = AsyncExitStack()

    async def start_simulators(self) -> None:
        """Each on a free port; then the registry that names them is written."""
        for name, simulator in simulators(self._key).items():
            await simulator.start()
            self._stack.push_async_callback(simulator.stop)
            self.simulators[name] = simulator
        self.registry_file.write_text(registry_yaml(self.simulators))

    async def start(self) -> None:
        """Envoy and the server. Raises `StartError`."""
        spans_to = await self._stack.enter_async_context(receiving(self._traces))
        environ = towards(os.environ, spans_to) | {KEY_VARIABLE: self._key}
        out = self.run_dir / "envoy"
        options = Options(
            out_dir=str(out),
            run_dir=str(self.run_dir),
            port=self._port,
            access_log="",
            otlp=otlp_of(environ),
            service_name="envoy",
        )
        registry = load_registry(self.registry_file)
        write(render(registry, options, with_prompt_spans(load_sources())), out)
        arguments = [
            *("--registry", str(self.registry_file), "--out", str(out), "--run-dir", str(self.run_dir)),
            *("--listen", f"127.0.0.1:{self._port}", "--envoy", str(self._binary), "--expose-losses", "--grace", str(_GRACE)),
        ]
        supervisor = Supervisor(self._binary, out, options, registry, arguments, quiet=True, environ=environ, on_line=self._on_line)
        self._stack.push_async_callback(supervisor.stop, _GRACE)
        await supervisor.start()

    def break_providers(self, faults: Mapping[str, Fault]) -> None:
        """From now on, until `mend_providers`."""
        for name, fault in faults.items():
            self.simulators[name].fault(fault, times=None)

    def mend_providers(self) -> None:
        for simulator in self.simulators.values():
            simulator.clear_faults()

    async def stop(self) -> None:
        """In the reverse order, whatever of it had started."""
        await self._stack.aclose()
