"""The server is away: callers are told so at once in JSON, streams under way fail visibly, and service resumes by itself."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from extproc.registry.load import load_registry
from extproc.simulator import Simulator
from tests.e2e.processes import server_process
from tests.e2e.sdks import CLIENT_KEY, TIMEOUT, Anthropic, OpenAI, Sdk
from tests.e2e.stack import LoopThread, running_simulators, two_providers, until, wait_healthy, write_keys
from tests.envoy_process import RunningEnvoy, running_envoy, short_directory

KEYS = {"oa": "sk-down-oa", "an": "sk-down-an"}
PROMISED = 1.0
"""Seconds within which a caller must be told that the server is away."""


class Setup:
    """Providers and Envoy; the servers are the tests' own."""

    def __init__(self, directory: Path, registry: Path, envoy: RunningEnvoy, sims: dict[str, Simulator]) -> None:
        self.directory = directory
        self.registry = registry
        self.envoy = envoy
        self.sims = sims
        self.run_dir = directory / "run"


ONE_WORKER = pytest.mark.parametrize("setup", [1], indirect=True, ids=["one worker"])
TWO_WORKERS = pytest.mark.parametrize("setup", [2], indirect=True, ids=["two workers"])


@pytest.fixture(scope="module")
def setup(request: pytest.FixtureRequest) -> Iterator[Setup]:
    thread = LoopThread()
    try:
        with short_directory() as directory, running_simulators(thread, {"oa": "openai_chat", "an": "anthropic_messages"}, KEYS) as sims:
            write_keys(directory, KEYS)
            registry = directory / "registry.yaml"
            registry.write_text(f"""version: 1
{two_providers(sims, directory)}models:
  oa: {{targets: [oa]}}
  an: {{targets: [an]}}
""")
            (directory / "run").mkdir()
            with running_envoy(load_registry(registry), directory=directory, workers=request.param) as envoy:
                yield Setup(directory, registry, envoy, sims)
    finally:
        thread.close()


def told_at_once(sdk: Sdk) -> None:
    started = time.monotonic()
    with pytest.raises(sdk.errors.InternalServerError) as caught:
        sdk.ask("oa")
    assert time.monotonic() - started < PROMISED
    error = caught.value
    assert error.status_code == 503
    assert error.response.headers["content-type"] == "application/json"
    assert int(error.response.headers["retry-after"]) >= 1
    assert "gateway" in str(error)
    if sdk.name == "anthropic":
        assert type(error).__name__ == "ServiceUnavailableError"


@ONE_WORKER
@pytest.mark.parametrize("client", [OpenAI, Anthropic])
def test_no_server(setup: Setup, client: type[Sdk]) -> None:
    told_at_once(client(setup.envoy.url))
    assert httpx.get(setup.envoy.url + "/v1/models").json()["error"]["code"] == "unavailable"


@ONE_WORKER
@pytest.mark.parametrize("model", ["oa", "an"])
@pytest.mark.parametrize("client", [OpenAI, Anthropic])
def test_killed_under_load(setup: Setup, client: type[Sdk], model: str) -> None:
    """Streams under way, passed through or translated, end as failures that the SDK sees; new callers get the 503; then all is well again."""
    sdk = client(setup.envoy.url)
    for sim in setup.sims.values():
        sim.tokens_per_second, sim.words = 20.0, 400
    try:
        with server_process(setup.registry, setup.run_dir) as server, ThreadPoolExecutor(8) as pool:
            wait_healthy(setup.envoy)
            flowing = threading.Barrier(9)
            streams = [pool.submit(endless, sdk, model, flowing) for _ in range(8)]
            flowing.wait(TIMEOUT)
            server.signal(signal.SIGKILL)
            server.wait()
            told_at_once(sdk)
            failures = [stream.result(TIMEOUT) for stream in streams]
            assert [f for f in failures if f is None] == [], "a stream that was cut looked like a whole answer"
        for sim in setup.sims.values():
            sim.tokens_per_second, sim.words = None, None
        with server_process(setup.registry, setup.run_dir):
            until(lambda: httpx.get(setup.envoy.url + "/v1/models").status_code == 200, "service resumes by itself")
            assert sdk.ask(model).text
            assert sdk.ask(model, stream=True).text
    finally:
        for sim in setup.sims.values():
            sim.tokens_per_second, sim.words = None, None


def endless(sdk: Sdk, model: str, flowing: threading.Barrier) -> Exception | None:
    """Reads a stream that would take twenty seconds; tells when its content has begun, and how it ended."""
    begun = False
    ask: Any = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    try:
        if isinstance(sdk, OpenAI):
            for chunk in sdk.client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **ask):
                if not begun and chunk.choices and chunk.choices[0].delta.content:
                    begun = True
                    flowing.wait(TIMEOUT)
        else:
            assert isinstance(sdk, Anthropic)
            for event in sdk.client.messages.create(stream=True, max_tokens=1000, **ask):
                if not begun and event.type == "content_block_delta":
                    begun = True
                    flowing.wait(TIMEOUT)
    except Exception as error:
        return error
    return None


def all_take_calls(setup: Setup) -> bool:
    """Asks twice as often as there are servers; has each got a call?"""

    def calls() -> dict[str, int]:
        counts = (line.split("::") for line in setup.envoy.admin("/clusters").splitlines() if line.startswith("ext_proc::"))
        return {part[1]: int(part[3]) for part in counts if part[2] == "rq_total"}

    before = calls()
    for _ in range(2 * len(before)):
        httpx.get(setup.envoy.url + "/v1/models")
    return all(after > before[server] for server, after in calls().items())


@TWO_WORKERS
@pytest.mark.parametrize("victim", [0, 1])
def test_one_of_two_workers_killed(setup: Setup, victim: int) -> None:
    """No request that comes afterwards is lost, also before Envoy's health check has noticed."""

    async def sixty() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{setup.envoy.url}/v1", api_key=CLIENT_KEY, max_retries=0, timeout=TIMEOUT) as client:
            limit = asyncio.Semaphore(10)

            async def one(n: int) -> Any:
                async with limit:
                    model, ask = ("oa", "an")[n % 2], [{"role": "user", "content": "hello"}]
                    return (await client.chat.completions.create(model=model, messages=ask)).choices[0].message.content  # type: ignore[arg-type]

            return await asyncio.gather(*map(one, range(60)), return_exceptions=True)

    with server_process(setup.registry, setup.run_dir, 0, 2) as first, server_process(setup.registry, setup.run_dir, 1, 2) as second:
        wait_healthy(setup.envoy, 2)
        # Envoy's worker threads learn of healthy servers up to a second after its health checks
        until(lambda: all_take_calls(setup), "both servers are used")
        assert all(isinstance(a, str) for a in asyncio.run(sixty()))
        killed = (first, second)[victim]
        killed.signal(signal.SIGKILL)
        killed.wait()
        answers = asyncio.run(sixty())
        assert [a for a in answers if not isinstance(a, str)] == []


@ONE_WORKER
def test_drain_of_one_worker(setup: Setup) -> None:
    """SIGTERM: what is under way, passed through or translated, is answered whole, and the process ends by itself."""
    sdk = OpenAI(setup.envoy.url)
    for sim in setup.sims.values():
        sim.tokens_per_second, sim.words = 40.0, 60
    try:
        with server_process(setup.registry, setup.run_dir) as server, ThreadPoolExecutor(2) as pool:
            wait_healthy(setup.envoy)
            flowing = threading.Barrier(3)
            streams: list[Future[Exception | None]] = [pool.submit(endless, sdk, model, flowing) for model in ("oa", "an")]
            flowing.wait(TIMEOUT)
            server.signal(signal.SIGTERM)
            assert [s.result(TIMEOUT) for s in streams] == [None, None]
            assert server.wait() == 0
            outcomes = {line["model"]: line["outcome"] for line in server.log if line.get("type") == "request"}
            assert outcomes == {"oa": "detached", "an": "ok"}
    finally:
        for sim in setup.sims.values():
            sim.tokens_per_second, sim.words = None, None
