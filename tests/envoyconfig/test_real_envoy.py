"""What the rendered configuration does in the real Envoy."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.envoyconfig.options import MIB
from extproc.registry.types import Credential
from tests.envoy_process import RunningEnvoy, envoy_binary, eventually, running_envoy, short_directory
from tests.envoyconfig.recorder import Recorder, recording
from tests.envoyconfig.registries import provider, registry, target
from tests.envoyconfig.upstream import Upstream, upstream

SAME = "as it was written"
NOWHERE = ("http", "127.0.0.1", 9)
CHAT = "/v1/chat/completions"
UPGRADE = {"connection": "Upgrade", "upgrade": "WebSocket", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13"}
WATCHED = {"authorization", "x-api-key", "cookie", "proxy-authorization", "x-amz-date", "api-key", "x-goog-api-key"}


@pytest.fixture(scope="module")
def lonely() -> Iterator[RunningEnvoy]:
    """Envoy without an ext_proc server."""
    with running_envoy(registry(target("a", provider("p", url=NOWHERE)))) as envoy:
        yield envoy


@dataclass
class Setting:
    envoy: RunningEnvoy
    recorder: Recorder
    a: Upstream
    b: Upstream
    keys: Path

    def post(self, path: str = CHAT, **more: Any) -> httpx.Response:
        return httpx.post(self.envoy.url + path, timeout=20, **{"json": {"model": "chat"}, **more})

    def fresh(self, chain: list[str], retry: frozenset[int] = frozenset()) -> None:
        self.recorder.seen.clear()
        self.recorder.chain, self.recorder.retry = chain, retry
        self.a.requests.clear()
        self.b.requests.clear()


@pytest.fixture(scope="module")
def setting() -> Iterator[Setting]:
    """Envoy, a recording ext_proc server and two providers: `a` fails with 429, `b` answers. `late` has a key that is not there yet."""
    answers = {"set-cookie": "session=1", "alt-svc": 'h3=":443"', "x-envoy-upstream-service-time": "3", "server": "theirs"}
    answers |= {"x-llm-retry": "1", "x-llm-final": "llm_exhausted"}
    envoy_binary()
    with short_directory() as root, upstream(429) as a, upstream(200, answers) as b:
        keys = root / "keys"
        keys.mkdir()
        (keys / "a").write_text("key-of-a\n")
        (keys / "b").write_text("key-of-b\n")
        targets = [
            target("a", provider("pa", url=a.url, keys=(Credential(file=str(keys / "a")),))),
            target("b", provider("pb", "anthropic", b.url, (Credential(file=str(keys / "b")),))),
            target("late", provider("pc", "gemini", b.url, (Credential(file=str(keys / "late")),))),
            target("unset", provider("pd", url=b.url, keys=(Credential(env="SURELY_NOT_SET"),))),
            target("set", provider("pe", url=b.url, keys=(Credential(env="SURELY_SET"),))),
        ]
        with (
            recording(root, Recorder()) as recorder,
            running_envoy(
                registry(*targets), directory=root, max_body_bytes=MIB, listen_socket=str(root / "run" / "l.sock"), env={"SURELY_SET": "key-of-env"}
            ) as envoy,
        ):
            yield Setting(envoy, recorder, a, b, keys)


def error_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["type"] == "error"
    assert set(body["error"]) == {"type", "message", "code"}
    assert body["message"] == body["error"]["message"], "where AWS's and Cohere's SDKs look"
    assert "x-llm-local" not in answer.headers
    return answer.status_code, body["error"]["code"]


# Without the server


def test_callers_get_json_503_at_once(lonely: RunningEnvoy) -> None:
    answer = httpx.post(lonely.url + CHAT, json={"model": "chat"}, timeout=1)
    assert error_of(answer) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert "sock" not in answer.text


def test_a_refused_upgrade_is_json_501(lonely: RunningEnvoy) -> None:
    answer = httpx.get(f"{lonely.url}/v1/realtime", headers=UPGRADE, timeout=1)
    assert error_of(answer) == (501, "not_implemented")
    assert "WebSocket" in answer.json()["error"]["message"]


def test_the_admin_socket_is_private(lonely: RunningEnvoy) -> None:
    assert Path(lonely.options.admin_socket).stat().st_mode & 0o777 == 0o600


def test_the_access_log_keeps_queries_out(lonely: RunningEnvoy) -> None:
    with running_envoy(registry()) as envoy:
        httpx.get(f"{envoy.url}/v1/models?key=my-secret")
        assert envoy.stop() == 0
        line = json.loads(envoy.out)
    assert (line["status"], line["path"]) == (503, "/v1/models")
    assert line["details"].startswith("ext_proc_error")


def raw(envoy: RunningEnvoy, request: bytes) -> tuple[int, str]:
    """Bytes as no client library sends them; status and error code."""
    with socket.create_connection(("127.0.0.1", envoy.port), timeout=5) as connection:
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.headers["content-type"] == "application/json"
        assert "x-llm-local" not in answer.headers
        return answer.status, json.loads(answer.read())["error"]["code"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", 400),
        (b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        (b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx", 400),
        (b"GET /v1/models HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.0\r\n\r\n", 426),
        (b"GET /v1/models HTTP/1.1\r\nHost: a\r\nBig: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 404),
        (b"nonsense\r\n\r\n", 400),
    ],
    ids=["nul", "two lengths", "length and chunks", "no host", "HTTP/1.0", "large headers", "CONNECT", "nonsense"],
)
def test_what_is_no_http_is_refused_in_json(lonely: RunningEnvoy, request_: bytes, status: int) -> None:
    """Without asking the ext_proc server, which here is not even there."""
    assert raw(lonely, request_) == (status, "invalid_request")


def test_any_other_upgrade_is_refused(lonely: RunningEnvoy) -> None:
    request = b"GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n"
    assert raw(lonely, request) == (501, "not_implemented")


def test_out_of_memory_is_json_503() -> None:
    with running_envoy(registry(), heap_bytes=1) as envoy:
        eventually(lambda: envoy.stat("overload.envoy.overload_actions.stop_accepting_requests.active") == 1, "requests are refused")
        answer = httpx.post(envoy.url + CHAT, json={})
    assert error_of(answer) == (503, "overloaded")
    assert answer.headers["retry-after"] == "1"


# Attempts


def test_each_provider_sees_its_own_key_only_and_the_server_none(setting: Setting) -> None:
    setting.fresh(["a", "b"], frozenset({429}))
    client = {
        **dict.fromkeys(WATCHED, "from-the-client"),
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "forwarded": "for=10.0.0.1",
        "x-forwarded-for": "10.0.0.1",
        "via": "1.1 proxy",
        "baggage": "user=1",
    }
    answer = setting.post(headers=client)
    assert answer.status_code == 200
    (_, at_a, _), (_, at_b, _) = *setting.a.requests, *setting.b.requests
    assert {name: at_a[name] for name in WATCHED & set(at_a)} == {"authorization": "Bearer key-of-a"}
    assert {name: at_b[name] for name in WATCHED & set(at_b)} == {"x-api-key": "key-of-b"}
    for seen in (at_a, at_b):
        assert set(seen) - WATCHED == {"host", "accept", "accept-encoding", "user-agent", "content-length", "content-type"}
    messages = setting.recorder.seen
    assert {stage for stage, _, _ in messages} == {"route", "attempt"}
    text = repr(messages)
    assert "key-of" not in text
    assert "from-the-client" not in text
    assert len(setting.recorder.headers("attempt")) == 2


def test_an_application_cannot_steer(setting: Setting) -> None:
    setting.fresh(["a", "b"])
    steering = {
        "x-envoy-max-retries": "9",
        "x-envoy-retry-on": "retriable-status-codes",
        "x-envoy-retriable-status-codes": "429",
        "x-llm-route": "stream",
        "x-llm-retry": "next",
        "x-llm-span": "forged",
        "x-llm-local": "1",
        "x-llm-task": "summarization",
        "x-llm-session": "s1",
    }
    assert setting.post(headers=steering).status_code == 429
    assert len(setting.a.requests) == 1
    seen = setting.recorder.headers("route")[0]
    assert {name: value for name, value in seen.items() if name.startswith(("x-llm-", "x-envoy-"))} == {
        "x-llm-task": "summarization",
        "x-llm-session": "s1",
        "x-llm-span": "-",
    }


def test_what_a_providers_edge_says_stays_there(setting: Setting) -> None:
    setting.fresh(["a", "b"], frozenset({429}))
    answer = setting.post()
    assert answer.status_code == 200
    assert answer.headers["server"] == "llm-sidecar"
    assert not {name for name in answer.headers if name.startswith(("x-envoy-", "x-llm-")) or name in {"set-cookie", "alt-svc"}}


def test_a_provider_cannot_speak_for_the_stages(setting: Setting) -> None:
    """It would be retried at will, or taken for Envoy."""
    setting.fresh(["b", "b"])
    assert setting.post().status_code == 200
    assert len(setting.b.requests) == 1
    for stage in ("attempt", "route"):
        [seen] = setting.recorder.headers(stage, "response_headers")
        assert not {name for name in seen if name.startswith("x-llm-")}


def test_a_variable_that_is_not_set_is_a_request_without_a_key(setting: Setting) -> None:
    """Envoy started, and the provider's 401 is a verdict."""
    setting.fresh(["unset"])
    assert setting.post(headers={"authorization": "Bearer from-the-client"}).status_code == 200
    assert not WATCHED & set(setting.b.requests[0][1])
    setting.fresh(["set"])
    assert setting.post().status_code == 200
    assert setting.b.requests[0][1]["authorization"] == "Bearer key-of-env"


def test_a_key_that_comes_later_and_changes(setting: Setting) -> None:
    def served_with() -> str | None:
        setting.fresh(["late"])
        assert setting.post().status_code == 200
        return setting.b.requests[0][1].get("x-goog-api-key")

    assert served_with() is None
    for key in ("first", "second"):
        (setting.keys / "new").write_text(f"{key}\n")
        (setting.keys / "new").rename(setting.keys / "late")
        eventually(lambda key=key: served_with() == key, f"the key {key} is used")  # type: ignore[misc]


def test_no_plan_no_provider(setting: Setting) -> None:
    setting.fresh([])
    assert error_of(setting.post()) == (503, "unavailable")
    setting.fresh(["no-such-cluster"])
    assert error_of(setting.post()) == (503, "unavailable")
    assert not setting.a.requests
    assert not setting.b.requests


# Requests


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("/v1//chat/completions", "/v1/chat/completions"),
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/v1/./chat/completions", "/v1/chat/completions"),
        ("/v1/files/../models", "/v1/models"),
        ("/v1/%2e%2e/models", "/models"),
        ("/../../v1/models", "/v1/models"),
        # as boto3 and huggingface-like names are sent: an encoded slash stays one, whatever stands around it
        ("/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Ainference-profile%2Feu.a-model/converse", SAME),
        ("/v1/models/openai%2Fgpt-4o", SAME),
        ("/v1/models/openai%2fgpt-4o", SAME),
        ("/v1%2Fmodels", SAME),
        ("/v1/..%2f..%2fadmin", SAME),
        ("/v1/%2e%2e%2Fadmin", "/v1/..%2Fadmin"),
        ("/v1%5cmodels", SAME),
        ("/v1/%252e%252e/models", SAME),
        ("/v1/%00", None),
    ],
)
def test_a_path_has_one_spelling_and_never_reaches_a_provider(setting: Setting, written: str, seen: str | None) -> None:
    setting.fresh(["b"])
    connection = http.client.HTTPConnection("127.0.0.1", setting.envoy.port)
    connection.request("POST", written, b"{}", {"content-type": "application/json"})
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    if seen is None:
        assert (answer.status, body["error"]["code"]) == (400, "invalid_request")
        assert not setting.b.requests
        assert not setting.recorder.headers("route")
    else:
        assert setting.recorder.headers("route")[0][":path"] == (written if seen is SAME else seen)
        # whatever the application wrote, the provider gets the path that the attempt stage made
        assert [path for path, _, _ in setting.b.requests] == [CHAT]


def in_pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // 65536):
        yield b"x" * 65536
    yield b"x" * (size % 65536)


def test_the_largest_body_and_one_byte_more(setting: Setting) -> None:
    setting.fresh(["a", "b"], frozenset({429}))
    assert setting.post(json=None, content=b"x" * MIB).status_code == 200
    assert [size for _, _, size in setting.a.requests + setting.b.requests] == [MIB, MIB]
    setting.fresh(["a", "b"])
    too_large = setting.post(json=None, content=b"x" * (MIB + 1))
    assert error_of(too_large) == (413, "request_too_large")
    assert too_large.json()["message"] == "The request body is larger than the gateway accepts: 1 MiB at most."
    assert error_of(setting.post(json=None, content=in_pieces(MIB + 1))) == (413, "request_too_large")
    assert not setting.a.requests


def test_an_upgrade_is_refused_with_the_server_too(setting: Setting) -> None:
    setting.fresh(["b"])
    assert error_of(httpx.get(f"{setting.envoy.url}/v1/realtime", headers=UPGRADE)) == (501, "not_implemented")
    assert setting.recorder.seen == []


def test_over_the_unix_socket(setting: Setting) -> None:
    setting.fresh(["b"])
    path = setting.envoy.options.listen_socket
    with httpx.Client(transport=httpx.HTTPTransport(uds=path)) as client:
        assert client.post(f"http://llm{CHAT}", json={}).status_code == 200


# Changes while it runs


def test_targets_come_and_go_without_a_restart(setting: Setting) -> None:
    """The last test of this Envoy: it changes its registry."""
    targets = [
        target("a", provider("pa", url=setting.a.url, keys=(Credential(file=str(setting.keys / "a")),))),
        target("new", provider("pf", url=setting.b.url, keys=(Credential(env="SURELY_SET"),))),
    ]
    changed = setting.envoy.update(registry(*targets))
    assert changed == ["sds/new.yaml", "cds.yaml", "sds/b.yaml", "sds/late.yaml", "sds/set.yaml", "sds/unset.yaml"]
    eventually(lambda: "new::" in (now := setting.envoy.admin("/clusters")) and "\nb::" not in now, "new is there and b is gone")
    setting.fresh(["new"])
    assert setting.post().status_code == 200
    assert setting.b.requests[0][1]["authorization"] == "Bearer key-of-env"
    # the same target, its key in another place: the other file of the same name is read, too
    (setting.keys / "other").write_text("key-of-other")
    setting.envoy.update(registry(target("new", provider("pf", url=setting.b.url, keys=(Credential(file=str(setting.keys / "other")),)))))

    def served_with() -> str | None:
        setting.fresh(["new"])
        setting.post()
        return setting.b.requests[0][1].get("authorization") if setting.b.requests else None

    eventually(lambda: served_with() == "Bearer key-of-other", "the other key is used")
    assert setting.envoy.stat("cluster_manager.cds.update_rejected") == 0


def test_a_dead_server_process_costs_nothing() -> None:
    """Of two processes one was never there: its share of the calls goes to the other."""
    envoy_binary()
    with (
        short_directory() as root,
        upstream() as b,
        recording(root, Recorder(["b"])),
        running_envoy(registry(target("b", provider("p", url=b.url))), directory=root, workers=2) as envoy,
    ):
        assert {httpx.post(envoy.url + CHAT, json={}).status_code for _ in range(20)} == {200}
