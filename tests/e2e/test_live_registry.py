"""The live registry behind the real Envoy: a change is in force for the next request, under load, with none failed; a new target serves when its
change is answered; a bad change changes nothing; a kill loses nothing."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.simulator import Simulator
from tests.e2e.processes import Command, free_port, processes_that_name
from tests.e2e.sdks import TIMEOUT
from tests.e2e.stack import LoopThread, running_simulators, until, write_keys
from tests.envoy_process import envoy_binary, short_directory

DIALECTS = {"oa": "openai_chat", "ob": "openai_chat", "oc": "openai_chat"}
KEYS = {name: f"sk-live-{name}" for name in DIALECTS}
PER_SECOND = 200
BODY = {"model": "chat", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}


@dataclass
class Up:
    command: Command
    directory: Path
    sims: dict[str, Simulator]
    url: str

    def provider(self, name: str) -> dict[str, Any]:
        return {"kind": "openai", "url": f"{self.sims[name].url}/v1", "credential": {"file": f"{self.directory}/keys/{name}"}}

    def change(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Through the admin API; by itself on condition that it is there."""
        with httpx.Client(transport=self.socket(httpx.HTTPTransport), base_url="http://x", timeout=TIMEOUT) as client:
            named = {name.replace("_", "-"): value for name, value in (headers or {"if_match": "*"}).items()}
            return client.request(method, path, json=body, headers=named)

    def socket(self, transport: Any) -> Any:
        return transport(uds=str(self.directory / "run" / "admin-api.sock"))

    def files(self) -> dict[str, str]:
        """What Envoy reads, and what outlives the server."""
        names = [*(self.directory / "run").rglob("*.json"), *(self.directory / "run").rglob("*.yaml"), *(self.directory / "run").rglob("*.jsonl")]
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in names if not p.name.startswith("statistics")}

    def served_by(self) -> str:
        response = httpx.post(f"{self.url}/v1/chat/completions", json=BODY, timeout=TIMEOUT)
        assert response.status_code == 200, response.text
        return str(response.headers["x-llm-target"])


@pytest.fixture(scope="module")
def running() -> Iterator[Up]:
    envoy_binary()
    thread = LoopThread()
    try:
        with short_directory() as directory, running_simulators(thread, DIALECTS, KEYS) as sims:
            write_keys(directory, KEYS)
            up = Up(None, directory, sims, f"http://127.0.0.1:{(port := free_port())}")  # type: ignore[arg-type]
            lines = [
                f"  {name}: {{kind: openai, url: '{sims[name].url}/v1', credential: {{file: {directory}/keys/{name}}}}}" for name in ("oa", "ob")
            ]
            (directory / "registry.yaml").write_text(
                "\n".join(
                    [
                        *("version: 1", "providers:", *lines),
                        "targets: {oa: {provider: oa, model: gpt-4o}, ob: {provider: ob, model: gpt-4o}}",
                        "models: {chat: {targets: [oa, ob]}}",
                    ]
                )
            )
            up.command = Command(
                *("up", "--registry", str(directory / "registry.yaml"), "--listen", f"127.0.0.1:{port}"),
                *("--run-dir", str(directory / "run"), "--grace", "5"),
            )
            try:
                up.command.says("listening on")
                yield up
            finally:
                up.command.end()
    finally:
        thread.close()


@pytest.fixture
def up(running: Up) -> Up:
    """As the file has it."""
    assert running.change("DELETE", "/v1/overlay").status_code == 200
    return running


@dataclass
class Asked:
    began: float
    ended: float
    status: int
    target: str
    why: str


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[list[Asked]]:
    """`PER_SECOND` requests a second while the block runs, whatever becomes of them; at its end all have been answered."""
    answers: list[Asked] = []
    tasks: set[asyncio.Task[None]] = set()

    async with httpx.AsyncClient(timeout=TIMEOUT, limits=httpx.Limits(max_connections=100, max_keepalive_connections=100)) as client:

        async def one() -> None:
            began = time.monotonic()
            response = await client.post(f"{url}/v1/chat/completions", json=BODY)
            answers.append(Asked(began, time.monotonic(), response.status_code, response.headers.get("x-llm-target", ""), response.text[:300]))

        async def pace() -> None:
            due = time.monotonic()
            while True:
                task = asyncio.create_task(one())
                tasks.add(task)
                due += 1 / PER_SECOND
                await asyncio.sleep(max(due - time.monotonic(), 0))

        pacing = asyncio.create_task(pace())
        try:
            yield answers
        finally:
            pacing.cancel()
            await asyncio.gather(*tasks)


def test_a_policy_change_is_in_force_for_the_next_request_under_load(up: Up) -> None:
    """About 200 requests a second; four changes, whose order of targets shows in every answer."""
    files = {name: digest for name, digest in up.files().items() if "/state/" not in name}

    async def test() -> None:
        changes: list[tuple[float, float, str]] = []
        async with (
            asking(up.url) as answers,
            httpx.AsyncClient(transport=up.socket(httpx.AsyncHTTPTransport), base_url="http://x", timeout=TIMEOUT) as api,
        ):
            for first, other in (("ob", "oa"), ("oa", "ob"), ("ob", "oa"), ("oa", "ob")):
                enough = len(answers) + 150
                while len(answers) < enough:
                    await asyncio.sleep(0.01)
                began = time.monotonic()
                response = await api.patch("/v1/models/chat", json={"targets": [first, other]}, headers={"if-match": "*"})
                assert response.status_code == 200, response.text
                changes.append((began, time.monotonic(), first))
            enough = len(answers) + 150
            while len(answers) < enough:
                await asyncio.sleep(0.01)
        assert [(a.status, a.why) for a in answers if a.status != 200] == []
        assert len(answers) >= 750
        ends = [began for began, _, _ in changes[1:]] + [float("inf")]
        for (_, answered, first), end in zip(changes, ends, strict=True):
            # what is on its way to the server when the next change is made may be decided after that
            following = [a.target for a in answers if answered <= a.began and a.ended < end]
            assert len(following) > 20
            assert set(following) == {first}, "every request after the answer follows the change"

    asyncio.run(test())
    assert files == {name: digest for name, digest in up.files().items() if "/state/" not in name}, "nothing of Envoy's has changed"


def test_a_new_target_serves_when_its_change_is_answered(up: Up) -> None:
    async def test() -> None:
        async with asking(up.url) as answers:
            steps = (
                ("PUT", "/v1/providers/oc", up.provider("oc"), {"if_none_match": "*"}),
                ("PUT", "/v1/targets/oc", {"provider": "oc", "model": "gpt-4o"}, {"if_none_match": "*"}),
                ("PATCH", "/v1/models/chat", {"targets": ["oc", "oa"]}, {"if_match": "*"}),
            )
            for method, path, body, headers in steps:
                response = await asyncio.to_thread(up.change, method, path, body, **headers)
                assert response.status_code == 200, response.text
            answered = time.monotonic()
            enough = len(answers) + 100
            while len(answers) < enough:
                await asyncio.sleep(0.01)
        assert [(a.status, a.why) for a in answers if a.status != 200] == []
        after = [a.target for a in answers if a.began >= answered]
        assert len(after) > 20
        assert set(after) == {"oc"}

    asyncio.run(test())
    # gone again, with its target: those under way may still use the cluster, new ones do not
    assert up.change("DELETE", "/v1/overlay").status_code == 200
    assert up.served_by() == "oa"


def test_a_bad_change_changes_nothing(up: Up) -> None:
    digest = up.change("GET", "/v1/status").json()["registry"]
    files = up.files()
    bad: list[tuple[str, str, Any]] = [
        ("PATCH", "/v1/models/chat", {"targets": ["oa", "nobody"]}),
        ("PATCH", "/v1/targets/oa", {"provider": "nobody"}),
        ("DELETE", "/v1/targets/oa", None),
        # what only Envoy can tell
        ("PATCH", "/v1/providers/oa", {"envoy": {"no_such_member_of_a_cluster": 1}}),
        ("PATCH", "/v1/targets/oa", {"envoy": {"connect_timeout": "never"}}),
    ]
    for method, path, body in bad:
        for query in ("?dry_run=true", ""):
            response = up.change(method, path + query, body)
            assert response.status_code == 422, f"{path} {body}: {response.text}"
            assert response.json()["error"]["problems"]
    assert up.change("GET", "/v1/status").json()["registry"] == digest
    assert up.files() == files
    assert up.served_by() == "oa"


def test_a_kill_loses_nothing(up: Up) -> None:
    assert up.change("PATCH", "/v1/models/chat", {"targets": ["ob", "oa"]}).status_code == 200
    (server,) = [pid for pid, line in processes_that_name(str(up.directory)).items() if " serve " in line]
    os.kill(server, signal.SIGKILL)
    up.command.says("ended with exit code")
    until(lambda: httpx.get(f"{up.url}/v1/models").status_code == 200, "service resumes")
    assert up.served_by() == "ob"
    until(lambda: (up.directory / "run" / "admin-api.sock").exists(), "the API resumes")
    assert up.change("GET", "/v1/models/chat").json()["value"]["targets"] == ["ob", "oa"]
