"""The whole on one machine: simulated providers, our server, Envoy in front of it, and an Envoy that only forwards.

Every upstream is a provider, a target and a model of its own name. Listeners are Unix sockets in a temporary directory, so that nothing has to
look for a free port; the providers are on loopback ports, as they would be on a network.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson

from extproc.envoyconfig import binary
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.render import render
from extproc.envoyconfig.sources import load_sources
from extproc.envoyconfig.write import write
from extproc.registry.load import load_registry
from tests.bench.plain import plain_config
from tests.bench.processes import Child

ROOT = Path(__file__).parents[2]
_READY = 30.0
_DIALECTS = {"openai": ("openai_chat", "/v1"), "anthropic": ("anthropic_messages", "/v1"), "gemini": ("gemini", "/v1beta")}


@dataclass(frozen=True, slots=True)
class Upstream:
    """`kind` as in the registry; `settings` are arguments of `Simulator`; those of one `process` share one."""

    kind: str
    settings: Mapping[str, object] = field(default_factory=lambda: {"canned": True})
    process: str = "upstream"


@dataclass(slots=True)
class Stand:
    """`ours` and `plain` are the listeners' sockets. `children` by name: server, envoy, plain, and the upstream processes."""

    directory: Path
    ours: str
    plain: str
    children: dict[str, Child]

    def cpu(self) -> dict[str, float]:
        return {name: child.cpu() for name, child in self.children.items()}

    def check(self) -> None:
        for child in self.children.values():
            child.check()


def _until(ready: Callable[[], object], child: Child) -> None:
    deadline = time.monotonic() + _READY
    while not ready():
        child.check()
        if time.monotonic() > deadline:
            raise RuntimeError("not ready in time")
        time.sleep(0.02)


def _answers(socket: str, path: str, text: str = "") -> bool:
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=socket), timeout=5) as client:
            answer = client.get(f"http://local{path}")
            return answer.status_code == 200 and text in answer.text
    except httpx.HTTPError:
        return False


def _registry(upstreams: Mapping[str, Upstream], ports: Mapping[str, int], models: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "version": 1,
        "providers": {
            name: {"kind": u.kind, "url": f"http://127.0.0.1:{ports[name]}{_DIALECTS[u.kind][1]}", "credential": {"env": "BENCH_KEY"}}
            for name, u in upstreams.items()
        },
        "targets": {name: {"provider": name, "model": f"model-{name}"} for name in upstreams},
        "models": {**{name: {"targets": [name]} for name in upstreams}, **models},
    }


@contextmanager
def stand(upstreams: Mapping[str, Upstream], models: Mapping[str, Any] | None = None, tree: Path = ROOT) -> Iterator[Stand]:
    """Everything up, and down again at the end. `models` are further models of the registry; the server runs the code of the checkout `tree`."""
    directory = Path(tempfile.mkdtemp(prefix="xpb"))
    children: dict[str, Child] = {}
    try:
        yield _start(directory, children, upstreams, models or {}, tree)
    finally:
        for child in reversed(children.values()):
            child.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _start(directory: Path, children: dict[str, Child], upstreams: Mapping[str, Upstream], models: Mapping[str, Any], tree: Path) -> Stand:
    ports: dict[str, int] = {}
    for process in sorted({u.process for u in upstreams.values()}):
        settings = {name: {"dialect": _DIALECTS[u.kind][0], **u.settings} for name, u in upstreams.items() if u.process == process}
        argv = [sys.executable, "-m", "tests.bench.upstream", orjson.dumps(settings).decode()]
        child = children[process] = Child(argv, directory / f"{process}.log", cwd=ROOT, talks=True)
        line = child.out.readline()
        if not line:
            child.check()
        ports |= orjson.loads(line)
    file = directory / "registry.yaml"
    file.write_bytes(orjson.dumps(_registry(upstreams, ports, models)))
    run = directory / "run"
    run.mkdir()
    options = Options(out_dir=str(directory / "out"), run_dir=str(run), port=0, listen_socket=str(run / "llm.sock"), access_log="")
    write(render(load_registry(file), options, load_sources()), Path(options.out_dir))
    server = [sys.executable, "-m", "extproc", "serve", "--registry", str(file), "--run-dir", str(run)]
    children["server"] = Child(server, directory / "server.log", cwd=tree)
    _until(lambda: Path(options.server_sockets[0]).is_socket(), children["server"])
    envoy = binary.find_envoy()
    argv = binary.command(envoy, Path(options.out_dir), concurrency=1, log_level="error")
    children["envoy"] = Child(argv, directory / "envoy.log", env={"BENCH_KEY": "sk-bench"})
    _until(lambda: _answers(options.admin_socket, "/ready"), children["envoy"])
    _until(lambda: _answers(str(run / "llm.sock"), "/v1/models", next(iter(upstreams))), children["envoy"])
    plain, listen = directory / "plain.json", str(run / "plain.sock")
    plain.write_bytes(orjson.dumps(plain_config(listen, ports)))
    argv = [str(envoy), "-c", str(plain), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    children["plain"] = Child(argv, directory / "plain.log")
    _until(lambda: Path(listen).is_socket(), children["plain"])
    made = Stand(directory, str(run / "llm.sock"), listen, children)
    made.check()
    return made
