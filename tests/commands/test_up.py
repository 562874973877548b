"""`extproc up` as a process: serves, prints traces, stops drained, and refuses what cannot work."""

import asyncio
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from extproc.__main__ import main
from extproc.commands.ports import a_free_one
from extproc.simulator.server import Simulator
from tests.commands.processes import PATIENCE, Command, environment, extproc, running_in
from tests.envoy_process import envoy_binary, eventually, short_directory

REGISTRY = """\
version: 1
providers:
  openai: {{kind: openai, url: "{url}/v1", credential: {{env: UP_TEST_KEY}}}}
targets:
  gpt: {{provider: openai, model: gpt-4o}}
models:
  chat: {{targets: [gpt]}}
"""
HELLO = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}]}
KEY = "sk-up-test"


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    simulator = Simulator("sim", "openai_chat", keys=[KEY])
    asyncio.run_coroutine_threadsafe(simulator.start(), loop).result(10)
    yield simulator
    asyncio.run_coroutine_threadsafe(simulator.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def place() -> Iterator[Path]:
    envoy_binary()
    with short_directory() as directory:
        yield directory
        assert running_in(directory) == []


def written(place: Path, provider: Simulator) -> str:
    file = place / "registry.yaml"
    file.write_text(REGISTRY.format(url=provider.url))
    return str(file)


def test_it_serves_and_stops_drained(place: Path, provider: Simulator) -> None:
    port = a_free_one("127.0.0.1", 0)
    env = environment(TMPDIR=str(place), UP_TEST_KEY=KEY)
    with extproc("up", "--registry", written(place, provider), "--listen", f"127.0.0.1:{port}", env=env) as up:
        up.until(f"listening on http://127.0.0.1:{port}; models: chat")
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=HELLO, timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"] == "sim (gpt-4o) heard: Hello"
        assert answer.headers["x-llm-target"] == "gpt"
        up.until('"type":"request","outcome":"ok"')
        look = re.search(r"^extproc: look into it with: (.* top --run-dir \S+) \(", up.text, re.MULTILINE)
        assert look is not None
        seen = subprocess.run(look[1], shell=True, capture_output=True, text=True, timeout=PATIENCE, env=environment(), check=False)
        assert (seen.returncode, seen.stderr) == (0, "")
        assert re.search(r"^gpt +ok ", seen.stdout, re.MULTILINE)
        assert main(["up", "--registry", str(place / "registry.yaml"), "--listen", f"127.0.0.1:{port}"]) == 1
        up.signal(signal.SIGTERM)
        assert up.end() == 0
        text = up.text
    assert text.index("extproc: draining") < text.index("extproc: stopped")
    assert "Traceback" not in text
    assert KEY not in text
    assert not list(place.glob("extproc-*"))


def test_traces_go_to_the_terminal_whatever_the_environment_says(place: Path, provider: Simulator) -> None:
    port = a_free_one("127.0.0.1", 0)
    elsewhere = {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_SDK_DISABLED": "true",
    }
    env = environment(TMPDIR=str(place), UP_TEST_KEY=KEY, **elsewhere)
    with extproc("up", "--registry", written(place, provider), "--listen", f"127.0.0.1:{port}", "--trace-console", env=env) as up:
        up.until("all spans go to this terminal, not to OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:9/v1/traces")
        up.until("listening on")
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=HELLO, timeout=30, trust_env=False)
        assert answer.status_code == 200
        # at once: what is not there yet is printed at the end
        up.signal(signal.SIGINT)
        assert up.end() == 0
        assert "chat chat" in up.text
        assert "attempt 1  gpt  200" in up.text


def test_stopped_while_it_starts(place: Path, provider: Simulator) -> None:
    port = a_free_one("127.0.0.1", 0)
    env = environment(TMPDIR=str(place), UP_TEST_KEY=KEY)
    with extproc("up", "--registry", written(place, provider), "--listen", f"127.0.0.1:{port}", env=env) as up:
        up.until("server process up|serving")
        up.signal(signal.SIGTERM)
        assert up.end() == 0
        assert "Traceback" not in up.text


def test_a_bad_registry_is_refused_with_all_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "registry.yaml"
    file.write_text("version: 1\nproviders:\n  a: {kind: opnai}\ntargets:\n  t: {provider: b, model: m}\nmodels:\n  chat: {targets: [u]}\n")
    assert main(["up", "--registry", str(file)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == f"{len(lines) - 1} problems"
    for number, part in ((3, "opnai"), (5, "'b'"), (7, "'u'")):
        assert any(f"{file}:{number}" in line and part.strip("'") in line for line in lines), lines


def test_a_registry_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--registry", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml: cannot be read: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1:99999"])
def test_an_address_that_makes_no_sense(listen: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--registry", str(tmp_path / "r.yaml"), "--listen", listen]) == 2
    assert capsys.readouterr().err == f"extproc up: --listen {listen}: expected HOST:PORT\n"


def test_a_port_that_is_taken(tmp_path: Path, provider: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        assert main(["up", "--registry", written(tmp_path, provider), "--listen", listen]) == 1
        assert f"{listen}: another process listens there" in capsys.readouterr().err


def test_what_was_in_force_is_in_force_again_with_the_first_request(place: Path, provider: Simulator) -> None:
    """After a kill: also clusters that only a change through the admin API has brought, and though the file is bad by now."""
    port = a_free_one("127.0.0.1", 0)
    file, run = written(place, provider), place / "run"
    arguments = ("up", "--registry", file, "--run-dir", str(run), "--listen", f"127.0.0.1:{port}")
    env = environment(TMPDIR=str(place), UP_TEST_KEY=KEY)

    def served_by() -> str:
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=HELLO, timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.headers["x-llm-target"]

    def killed(command: Command) -> None:
        command.signal(signal.SIGKILL)
        command.end()
        eventually(lambda: running_in(place) == [], "all of it ends")

    with extproc(*arguments, env=env) as up:
        up.until("listening on")
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(run / "admin-api.sock")), base_url="http://x", timeout=30) as client:
            added = client.put("/v1/targets/added", json={"provider": "openai", "model": "gpt-4o-mini"}, headers={"if-none-match": "*"})
            assert added.status_code == 200, added.text
            used = client.patch("/v1/models/chat", json={"targets": ["added"]}, headers={"if-match": "*"})
            assert used.status_code == 200, used.text
        assert served_by() == "added"
        killed(up)
    with extproc(*arguments, env=env) as up:
        up.until("listening on")
        assert served_by() == "added"
        killed(up)
    Path(file).write_text("nonsense")
    with extproc(*arguments, env=env) as up:
        up.until("the last good one serves")
        up.until("listening on")
        assert served_by() == "added"
        killed(up)
    assert "Traceback" not in up.text
