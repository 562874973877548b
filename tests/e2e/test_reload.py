"""`extproc up` as an operator has it: a changed registry takes effect while requests run, a bad one is refused, and SIGTERM loses nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from extproc.simulator import Simulator
from tests.e2e.processes import Command, free_port, processes_that_name
from tests.e2e.sdks import TIMEOUT, Answer, Anthropic, OpenAI, Sdk
from tests.e2e.stack import LoopThread, running_simulators, until, write_keys
from tests.envoy_process import envoy_binary, short_directory

DIALECTS = {"oa": "openai_chat", "an": "anthropic_messages", "ge": "gemini", "an2": "anthropic_messages"}
KEYS = {name: f"sk-up-{name[:2]}" for name in DIALECTS}
"""`an2` is where `an` moves to."""
SLOW = 30.0
"""Tokens per second of a stream that outlasts what happens meanwhile."""


@dataclass
class Up:
    command: Command
    directory: Path
    sims: dict[str, Simulator]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def registry(self) -> Path:
        return self.directory / "registry.yaml"

    def text(self, *targets: str, **models: str) -> str:
        """A registry with a provider for every simulator, these targets (of the provider of the same name), and these chains."""
        kinds = {"oa": ("openai", "/v1", "gpt-4o"), "an": ("anthropic", "/v1", "claude-sonnet-4-5"), "ge": ("gemini", "/v1beta", "gemini-2.5-flash")}
        lines = ["version: 1", "providers:"]
        for name in targets:
            kind, path, _ = kinds[name]
            lines.append(f'  {name}: {{kind: {kind}, url: "{self.sims[name].url}{path}", credential: {{file: {self.directory}/keys/{name}}}}}')
        lines += ["targets:", *(f"  {name}: {{provider: {name}, model: {kinds[name][2]}}}" for name in targets)]
        lines += ["models:", *(f"  {name}: {{targets: [{chain}]}}" for name, chain in models.items()), ""]
        return "\n".join(lines)

    def put(self, text: str) -> None:
        """As a ConfigMap or an editor does: another file takes the name."""
        beside = self.registry.with_suffix(".new")
        beside.write_text(text)
        beside.rename(self.registry)

    def slowly(self, *names: str) -> None:
        for name in names:
            self.sims[name].tokens_per_second, self.sims[name].words = SLOW, 100


@pytest.fixture
def up() -> Iterator[Up]:
    envoy_binary()
    thread = LoopThread()
    try:
        with short_directory() as directory, running_simulators(thread, DIALECTS, KEYS) as sims:
            write_keys(directory, KEYS)
            up = Up(None, directory, sims, free_port())  # type: ignore[arg-type]
            up.put(up.text("oa", "an", chat="oa, an", cross="an"))
            up.command = Command(
                *("up", "--registry", str(up.registry), "--listen", f"127.0.0.1:{up.port}", "--run-dir", str(directory / "run"), "--grace", "15")
            )
            try:
                up.command.says("listening on")
                yield up
            finally:
                up.command.end()
    finally:
        thread.close()


def streaming(pool: ThreadPoolExecutor, sdk: Sdk, model: str, sim: Simulator) -> Future[Answer]:
    """A slow stream, from the moment on that the provider has been asked."""
    before = sim.received.total
    future = pool.submit(sdk.ask, model, stream=True)
    until(lambda: sim.received.total > before, "the stream has begun")
    return future


def whole(future: Future[Answer]) -> None:
    answer = future.result(TIMEOUT)
    assert len(answer.text.split()) >= 100
    assert answer.finish in ("stop", "end_turn")


def test_reload(up: Up) -> None:
    openai_sdk, anthropic_sdk = OpenAI(up.url), Anthropic(up.url)
    stop = threading.Event()
    with ThreadPoolExecutor(8) as pool, contextlib.ExitStack() as at_end:
        at_end.callback(stop.set)
        up.slowly("oa", "an")
        streams = [
            streaming(pool, openai_sdk, "chat", up.sims["oa"]),
            streaming(pool, anthropic_sdk, "chat", up.sims["oa"]),
            streaming(pool, openai_sdk, "cross", up.sims["an"]),
        ]

        # all along, a caller who notices every gap
        statuses: list[int] = []

        def ask_on() -> None:
            with httpx.Client(timeout=TIMEOUT) as client:
                while not stop.is_set():
                    body = {"model": "cross", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
                    statuses.append(client.post(f"{up.url}/v1/messages", json=body).status_code)

        asking = pool.submit(ask_on)
        with pytest.raises(openai_sdk.errors.NotFoundError):
            openai_sdk.ask("fresh")
        up.put(up.text("oa", "an", "ge", chat="ge", cross="ge, an", fresh="ge"))
        until(lambda: "fresh" in {m["id"] for m in httpx.get(f"{up.url}/v1/models").json()["data"]}, "the new registry is in force")
        assert openai_sdk.ask("fresh").headers["x-llm-target"] == "ge"
        assert openai_sdk.ask("chat").headers["x-llm-target"] == "ge"
        for stream in streams:
            whole(stream)

        # a bad one is refused, and why is said with the line
        good = up.registry.read_text()
        up.put(good.replace("models:", "models:\n  broken: {targets: [nobody]}\n  worse: {tragets: [ge]}"))
        line = good.splitlines().index("models:") + 2
        up.command.says("is refused; the old one keeps serving")
        refusal = next(entry for entry in up.command.log if "refused" in str(entry))
        assert f"registry.yaml:{line}: models.broken" in str(refusal)
        assert f"registry.yaml:{line + 1}: models.worse" in str(refusal)
        assert openai_sdk.ask("fresh").headers["x-llm-target"] == "ge"
        up.put("")
        until(lambda: up.command.output.count("is refused") == 2, "an empty file is refused too")
        assert openai_sdk.ask("fresh").headers["x-llm-target"] == "ge"
        stop.set()
        asking.result(TIMEOUT)
        assert len(statuses) > 10
        assert set(statuses) == {200}


@pytest.mark.parametrize("to", ["eu", "us"])
def test_a_provider_moves(up: Up, to: str) -> None:
    """Under load. Envoy has the new place some time before the first request is routed by the new registry, and requests under way keep the old one:
    none of them may go where its model's data may not."""
    base = up.text("oa", "an", chat="oa", cross="an, oa").replace("credential:", "data_stays_in: [eu], credential:")
    base = base.replace("{targets: [an, oa]}", "{targets: [an, oa], require: {data_stays_in: [eu]}}")
    here = next(line for line in base.split("\n") if line.startswith("  an: {kind"))
    there = here.replace(up.sims["an"].url, up.sims["an2"].url).replace("data_stays_in: [eu]", f"data_stays_in: [{to}]")
    changed = base.replace(here, there)
    up.put(base)
    until(lambda: up.command.output.count("registry reloaded") == 1, "it has requirements")
    stop, statuses = threading.Event(), list[int]()

    def ask_on() -> None:
        with httpx.Client(timeout=TIMEOUT) as client:
            while not stop.is_set():
                body = {"model": "cross", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
                statuses.append(client.post(f"{up.url}/v1/messages", json=body).status_code)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask_on) for _ in range(4)]
        until(lambda: up.sims["an"].received.total > 20, "requests come in")
        up.put(changed)
        until(lambda: up.command.output.count("registry reloaded") == 2, "it has moved")
        other = up.sims["an2" if to == "eu" else "oa"]
        before = other.received.total
        until(lambda: other.received.total > before + 20, "requests go elsewhere")
        stop.set()
        for each in asking:
            each.result(TIMEOUT)
    assert up.sims["oa" if to == "eu" else "an2"].received.total == 0
    # those in the middle of it are asked to come again where nothing else is certain
    assert set(statuses) <= ({200} if to == "eu" else {200, 503})
    assert statuses[-1] == 200


def test_sigterm_drains(up: Up) -> None:
    with ThreadPoolExecutor(4) as pool:
        up.slowly("oa", "an")
        streams = [
            streaming(pool, OpenAI(up.url), "chat", up.sims["oa"]),
            streaming(pool, Anthropic(up.url), "chat", up.sims["oa"]),
            streaming(pool, OpenAI(up.url), "cross", up.sims["an"]),
        ]
        up.command.signal(signal.SIGTERM)
        for stream in streams:
            whole(stream)
        assert up.command.wait() == 0
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", up.port), timeout=5):
        pass
    assert processes_that_name(str(up.directory)) == {}
    outcomes = [line["outcome"] for line in up.command.log if line.get("type") == "request"]
    assert outcomes == ["ok"] * 3


def test_a_process_that_dies_is_started_again(up: Up) -> None:
    """The server is killed: callers get a 503 until the supervisor has started another."""
    (server,) = [pid for pid, line in processes_that_name(str(up.directory)).items() if " serve " in line]
    os.kill(server, signal.SIGKILL)
    up.command.says("ended with exit code")
    until(lambda: httpx.get(f"{up.url}/v1/models").status_code == 200, "service resumes")
    assert OpenAI(up.url).ask("chat").text
