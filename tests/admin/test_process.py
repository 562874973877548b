"""`extproc serve` as a process: what a kill leaves, what a bad file at the start leaves, several workers, and the command line's refusals."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.admin.api_rig import fits
from tests.admin.live_rig import FILE
from tests.commands.processes import Command, environment, extproc
from tests.e2e.processes import free_port
from tests.e2e.stack import until
from tests.edge.redis_server import redis_server
from tests.envoy_process import short_directory


@pytest.fixture
def place() -> Iterator[Path]:
    with short_directory() as directory:
        (directory / "registry.yaml").write_text(FILE)
        yield directory


def serve(place: Path, *more: str) -> Any:
    return extproc("serve", "--registry", str(place / "registry.yaml"), "--run-dir", str(place / "run"), *more, env=environment())


def ask(place: Path, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(place / "run" / "admin-api.sock")), base_url="http://x", timeout=60) as client:
        response = client.request(method, path, json=body, headers={"if-match": "*", **(headers or {})})
        assert response.status_code == 200, response.text
        fits(method, path, response)
        return response.json()


def killed(command: Command) -> None:
    command.signal(signal.SIGKILL)
    assert command.end() == -signal.SIGKILL


def test_a_change_survives_a_kill(place: Path) -> None:
    with serve(place) as command:
        command.until('"serving"')
        done = ask(place, "PATCH", "/v1/models/chat", {"targets": ["b"]})
        killed(command)
    with serve(place) as command:
        command.until('"serving"')
        status = ask(place, "GET", "/v1/status")
        assert (status["registry"], status["overlay"], status["changes"]) == (done["registry"], "active", 1)
        assert ask(place, "GET", "/v1/models/chat")["value"]["targets"] == ["b"]
        assert [h["id"] for h in ask(place, "GET", "/v1/history")["history"]] == [done["id"]]
        command.signal(signal.SIGTERM)
        assert command.end() == 0
        assert "Traceback" not in command.text
    assert not (place / "run" / "admin-api.sock").exists()
    assert {p.name for p in (place / "run" / "state").iterdir()} >= {"overlay.json", "history.jsonl", "last-good.yaml"}
    assert all(p.stat().st_mode & 0o077 == 0 for p in (place / "run" / "state").iterdir())


def test_a_bad_file_at_a_restart_leaves_the_last_good_one(place: Path) -> None:
    with serve(place) as command:
        command.until('"serving"')
        done = ask(place, "POST", "/v1/targets/a/drain")
        killed(command)
    (place / "registry.yaml").write_text(FILE.replace("[a, b]", "[a, nobody]"))
    with serve(place) as command:
        command.until("the registry file does not load; the last good one serves")
        command.until('"serving"')
        status = ask(place, "GET", "/v1/status")
        assert (status["source"], status["registry"]) == ("last good", done["registry"])
        assert "registry.yaml:9: models.chat.targets[1]" in status["last_error"]
        (place / "registry.yaml").write_text(FILE.replace("strict: false", "strict: true"))
        command.until('"registry reloaded"')
        status = ask(place, "GET", "/v1/status")
        assert (status["source"], status["last_error"], status["drained"]) == ("file", None, ["a"])


def test_without_a_last_good_one_a_bad_file_is_refused(place: Path) -> None:
    (place / "registry.yaml").write_text("nonsense")
    with serve(place) as command:
        assert command.end() == 1
        assert "registry.yaml" in command.text
        assert "Traceback" not in command.text


def test_all_workers_use_a_change_when_it_is_answered(place: Path) -> None:
    with serve(place, "--workers", "2") as first, serve(place, "--workers", "2", "--worker", "1") as second:
        first.until('"serving"')
        second.until('"serving"')
        done = ask(place, "PATCH", "/v1/models/chat", {"targets": ["b"]})
        assert done["reaches"] == "this pod"
        assert "waiting_for_workers" not in done
        second.until(f'"registry":"{done["registry"]}"')


def test_over_tcp(place: Path) -> None:
    (place / "token").write_text("a token of some length")
    port = free_port()
    with serve(place, "--admin-listen", f"127.0.0.1:{port}", "--admin-token-file", str(place / "token")) as command:
        command.until('"serving"')
        url = f"http://127.0.0.1:{port}/v1/status"
        with httpx.Client(trust_env=False) as client:
            assert client.get(url).status_code == 401
            assert client.get(url, headers={"authorization": "Bearer a token of some length"}).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--admin-listen", "0.0.0.0:9000", "--admin-token-file", "token"), "not a loopback address"),
        (("--admin-listen", "127.0.0.1:9000"), "needs --admin-token-file"),
        (("--admin-listen", "127.0.0.1:9000", "--admin-token-file", "absent"), "No such file"),
        (("--admin-listen", "nonsense"), "--admin-listen nonsense: expected HOST:PORT"),
    ],
)
def test_what_would_not_be_safe_does_not_start(place: Path, arguments: tuple[str, ...], words: str) -> None:
    (place / "token").write_text("a token of some length")
    with serve(place, *(str(place / a) if a in ("token", "absent") else a for a in arguments)) as command:
        assert command.end() == 2
        assert words in command.text
        assert "Traceback" not in command.text


def test_without_the_api_changes_stay_in_force(place: Path) -> None:
    with serve(place) as command:
        command.until('"serving"')
        done = ask(place, "PATCH", "/v1/models/chat", {"targets": ["b"]})
        command.signal(signal.SIGTERM)
        assert command.end() == 0
    with serve(place, "--no-admin") as command:
        found = command.until('"serving"')
        assert done["registry"] in found.string
        assert not (place / "run" / "admin-api.sock").exists()


def test_what_would_happen_to_a_request(place: Path) -> None:
    with serve(place) as command:
        command.until('"serving"')
        body = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}]}
        found = ask(place, "POST", "/v1/explain", {"body": body})
        assert (found["chain"], found["guessed"], found["path"]) == (["a", "b"], True, "/v1/chat/completions")
        assert found["attempts"][0]["url"] == "http://one.test/v1/chat/completions"
        ask(place, "POST", "/v1/targets/a/drain")
        found = ask(place, "GET", "/v1/candidates?model=chat")
        assert set(found["chain"]) == {"b"}
        assert [(e["cluster"], e["code"]) for e in found["excluded"]] == [("a", "drained")]
        ask(place, "POST", "/v1/targets/b/drain")
        found = ask(place, "GET", "/v1/candidates?model=chat")
        assert "drained" in found["refused"]
        assert ask(place, "GET", "/v1/decisions")["decisions"] == [], "nothing is learned from it"


def test_a_change_reaches_every_replica(place: Path) -> None:
    with redis_server() as redis:
        replicas = [place / "one", place / "two"]
        for replica in replicas:
            replica.mkdir()
            (replica / "registry.yaml").write_text(FILE + f"state: {{url: '{redis.url}'}}\n")
        with serve(replicas[0]) as first, serve(replicas[1]) as second:
            first.until('"serving"')
            second.until('"serving"')
            until(lambda: ask(replicas[0], "GET", "/v1/status").get("shared_state", {}).get("answers"), "the shared state answers")
            done = ask(replicas[0], "PATCH", "/v1/models/chat", {"targets": ["b"]})
            assert done["reaches"] == "every replica", done
            second.until(f'"registry":"{done["registry"]}"')
            assert ask(replicas[1], "GET", "/v1/models/chat")["value"]["targets"] == ["b"]
