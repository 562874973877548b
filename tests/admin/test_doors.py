"""The admin API over real sockets: who is let in, who is said to be asking, and what may only be done over the Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import getpass
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.admin.door import DoorError, Token, loopback
from extproc.admin.listen import AT_ONCE, listening
from tests.admin.api_rig import ApiRig
from tests.admin.live_rig import go
from tests.e2e.processes import free_port
from tests.envoy_process import short_directory

TOKEN = "a token of some length"


@pytest.fixture
def place() -> Iterator[Path]:
    with short_directory() as directory:
        (directory / "token").write_text(TOKEN + "\n")
        yield directory


def unix(path: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://anything")


def test_the_unix_socket_is_its_users_alone_and_knows_who_asks(place: Path) -> None:
    async def test() -> None:
        rig = ApiRig(place)
        path = place / "admin-api.sock"
        path.write_text("left by a dead server")
        async with listening(rig.api, path), unix(path) as client:
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            assert (await client.get("/v1/status")).status_code == 200
            response = await client.patch("/v1/models/chat", json={"strict": True}, headers={"if-match": "*"})
            assert response.status_code == 200
            assert rig.live.overlay.entries[0].author == getpass.getuser()
            forwarded = {"if-match": "*", "x-forwarded-for": "1.2.3.4", "x-author": "Ann <ann@example.org>"}
            await client.patch("/v1/models/chat", json={"strict": None}, headers=forwarded)
            assert rig.live.overlay.entries[0].author == "Ann <ann@example.org>"
            head = await client.head("/v1/models/chat")
            assert (head.status_code, head.content) == (200, b"")
            assert "server" not in head.headers
            assert not [name for name in head.headers if name.startswith("access-control")]
        assert not path.exists()

    go(test())


def test_over_tcp_the_token_and_a_loopback_host_are_needed(place: Path) -> None:
    async def test() -> None:
        rig = ApiRig(place)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        good = {"authorization": f"Bearer {TOKEN}"}
        async with listening(rig.api, place / "s", ("localhost", port), place / "token"), httpx.AsyncClient(base_url=url, trust_env=False) as client:
            assert (await client.get("/v1/status", headers=good)).status_code == 200
            for headers in ({}, {"authorization": "Bearer wrong but long enough"}, {"authorization": TOKEN}, {"authorization": f"Basic {TOKEN}"}):
                for path in ("/", "/v1/status", "/nonsense"):
                    response = await client.get(path, headers=headers)
                    assert response.status_code == 401, path
                    assert response.headers["www-authenticate"] == "Bearer"
                    assert "overlay" not in response.json()
            for host in ("evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil", ""):
                assert (await client.get("/v1/status", headers={**good, "host": host})).status_code == 421, host
            for host in ("localhost", f"127.0.0.1:{port}", "[::1]:80", "LOCALHOST:1"):
                assert (await client.get("/v1/status", headers={**good, "host": host})).status_code == 200, host
            preflight = await client.options("/v1/status", headers={"origin": "http://evil.example", "access-control-request-method": "GET"})
            assert preflight.status_code in (401, 405)
            # a new token counts at once, the old one no more
            (place / "token").write_text("another token, as long")
            assert (await client.get("/v1/status", headers=good)).status_code == 401
            assert (await client.get("/v1/status", headers={"authorization": "bearer another token, as long"})).status_code == 200
            (place / "token").unlink()
            assert (await client.get("/v1/status", headers=good)).status_code == 401

    go(test())


STEERING: list[tuple[str, str, Any]] = [
    ("PATCH", "providers/q", {"url": "http://evil.test/v1"}),
    ("PATCH", "providers/p", {"credential": {"env": "OTHER"}}),
    ("PATCH", "providers/p", {"credential": None}),
    ("PATCH", "providers/q", {"kind": "vllm"}),
    ("PATCH", "providers/q", {"envoy": {"load_assignment": {}}}),
    ("PUT", "providers/new", {"kind": "openai", "credential": {"env": "K"}}),
    ("PATCH", "targets/a", {"envoy": {"connect_timeout": "1s"}}),
]


@pytest.mark.parametrize(("method", "path", "body"), STEERING)
def test_where_keys_go_is_changed_over_the_unix_socket_only(place: Path, method: str, path: str, body: Any) -> None:
    async def test() -> None:
        tcp = ApiRig(place, token=place / "token")
        tcp.client.headers["authorization"] = f"Bearer {TOKEN}"
        before = tcp.current
        condition = {"if_none_match": "*"} if method == "PUT" else {"if_match": "*"}
        for query in ("", "?dry_run=true"):
            refused = await tcp.ask(method, f"/v1/{path}{query}", body, **condition)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "unix_socket_only"), refused.text
            assert "Unix socket" in refused.json()["error"]["message"]
        assert tcp.current is before
        private = ApiRig(place)
        done = await private.ask(method, f"/v1/{path}", body, **condition)
        assert done.status_code == 200, done.text
        # nor may it be taken back over TCP
        again = ApiRig(place, token=place / "token")
        again.client.headers["authorization"] = f"Bearer {TOKEN}"
        for attempt in (again.ask("DELETE", "/v1/overlay", if_match="*"), again.ask("POST", f"/v1/history/{done.json()['id']}/rollback")):
            assert (await attempt).status_code == 403

    go(test())


def test_the_rest_is_changed_over_tcp(place: Path) -> None:
    async def test() -> None:
        tcp = ApiRig(place, token=place / "token")
        tcp.client.headers["authorization"] = f"Bearer {TOKEN}"
        for path, body in (
            ("models/chat", {"targets": ["b"]}),
            ("targets/a", {"concurrency": 3, "provider": "q"}),
            ("providers/q", {"data_stays_in": ["eu"], "data_policy": ["no_training"]}),
        ):
            response = await tcp.ask("PATCH", f"/v1/{path}", body, if_match="*")
            assert response.status_code == 200, response.text
        assert tcp.live.overlay.entries[0].author == "bearer token"

    go(test())


def test_a_slow_body_and_a_broken_request_end(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.admin.application.BODY_WITHIN", 0.05)

    async def test() -> None:
        rig = ApiRig(place)
        path = place / "s"
        async with listening(rig.api, path):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(b"PUT /v1/limits HTTP/1.1\r\nhost: x\r\nif-match: *\r\ncontent-length: 10\r\n\r\n[")
            assert b" 400 " in await reader.readline()
            writer.close()
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(b"PUT /v1/limits HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            for _ in range(17):
                writer.write(chunk)
            assert b" 413 " in await reader.readline()
            writer.close()
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
            assert b" 400 " in await reader.readline()
            writer.close()
            async with unix(path) as client:
                assert (await client.get("/v1/status")).status_code == 200

    go(test())


def test_who_leaves_does_not_leave_a_change_half_made(place: Path) -> None:
    async def test() -> None:
        rig = ApiRig(place)
        path = place / "s"
        body = b'{"strict": true}'
        async with listening(rig.api, path):
            _, writer = await asyncio.open_unix_connection(str(path))
            head = f"PATCH /v1/models/chat HTTP/1.1\r\nhost: x\r\nif-match: *\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            writer.transport.abort()
            while not rig.current.models["chat"].strict:
                await asyncio.sleep(0.001)

    go(test())


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "example.org", "", "169.254.1.1"])
def test_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(DoorError, match="not a loopback address"):
        loopback(host)
    assert loopback("::1") == "::1"
    assert loopback("localhost") == loopback("127.0.0.1") == "127.0.0.1"


@pytest.mark.parametrize("text", [None, "", "short", " " * 40])
def test_a_token_file_without_a_token(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "token").write_text(text)
    with pytest.raises(DoorError, match="--admin-token-file"):
        Token(tmp_path / "token")


def test_what_cannot_be_listened_on(place: Path) -> None:
    async def test() -> None:
        rig = ApiRig(place)
        (place / "directory").mkdir()
        with pytest.raises(DoorError, match="cannot listen on"):
            async with listening(rig.api, place / "directory"):
                pass
        with pytest.raises(DoorError, match="needs --admin-token-file"):
            async with listening(rig.api, place / "s", ("127.0.0.1", 0)):
                pass
        with pytest.raises(DoorError, match="cannot listen on"):
            async with listening(rig.api, place / ("x" * 200)):
                pass
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(DoorError, match="cannot listen on"):
                async with listening(rig.api, place / "s", taken.getsockname(), place / "token"):
                    pass

    go(test())


def test_over_tcp_nothing_is_steered_later_either(place: Path) -> None:
    """By dropping what a change of limited life hides now."""

    async def test() -> None:
        private = ApiRig(place)
        below = await private.ask("PATCH", "/v1/providers/q", {"url": "http://lasting.test/v1"}, if_match="*")
        await private.ask("PATCH", "/v1/providers/q?expires=1h", {"url": "http://passing.test/v1"}, if_match="*")
        tcp = ApiRig(place, token=place / "token")
        tcp.client.headers["authorization"] = f"Bearer {TOKEN}"
        refused = await tcp.ask("DELETE", f"/v1/overlay/{below.json()['id']}", if_match="*")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "unix_socket_only")
        assert refused.json()["error"]["problems"][0]["path"] == "providers.q.url"
        response = await tcp.ask("PATCH", "/v1/models/chat?expires=10m", {"strict": True}, if_match="*")
        assert response.status_code == 200, response.text

    go(test())


def test_a_name_beyond_ascii_and_a_token_beyond_ascii(place: Path) -> None:
    async def test() -> None:
        (place / "token").write_text("schlüssel von einiger länge")
        tcp = ApiRig(place, token=place / "token")
        tcp.client.headers = httpx.Headers(
            {b"authorization": "Bearer schlüssel von einiger länge".encode(), b"x-author": "Zoë Šuk".encode(), b"if-match": b"*"}
        )
        response = await tcp.client.patch("/v1/models/chat", json={"strict": True})
        assert response.status_code == 200, response.text
        assert tcp.live.overlay.entries[0].author == "Zoë Šuk"
        await tcp.client.patch("/v1/models/chat", json={"strict": None}, headers={"x-author": "  "})
        assert tcp.live.overlay.entries[0].author == "bearer token"

    go(test())


def test_who_only_keeps_connections_open_keeps_nobody_out(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        rig = ApiRig(place)
        port = free_port()
        async with (
            listening(rig.api, place / "s", ("127.0.0.1", port), place / "token"),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
        ):
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3 * AT_ONCE)]
            assert (await client.get("/v1/status", headers={"authorization": f"Bearer {TOKEN}"})).status_code == 200
            left = len(held) - AT_ONCE
            for reader, _ in held[:left]:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b"", "the oldest made room"
            for _, writer in held:
                writer.transport.abort()
            # one that drips for ever: before its request is whole, and after it was refused
            monkeypatch.setattr("extproc.admin.listen.ASK_WITHIN", 0.2)
            for head in (b"GET /v1/status HTTP/1.1\r\nx: ", b"PUT /v1/limits HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n1\r\n"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(head)
                with contextlib.suppress(ConnectionError):
                    while not reader.at_eof():
                        writer.write(b"1")
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(reader.read(1000), 0.01)
                writer.transport.abort()

    go(test())


def test_a_server_that_ends_leaves_the_door_of_its_successor(place: Path) -> None:
    async def test() -> None:
        rig = ApiRig(place)
        path = place / "s"
        async with unix(path) as client:
            async with listening(rig.api, path):
                successor = listening(rig.api, path)
                await successor.__aenter__()
            assert (await client.get("/v1/status")).status_code == 200
            await successor.__aexit__(None, None, None)
        assert not path.exists()

    go(test())


def test_a_change_that_takes_longer_than_the_server_lives(place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Who asked for it is told, and it is made or not, whole."""
    monkeypatch.setattr("extproc.admin.listen.LAST_WORDS", 0.05)

    async def test() -> None:
        rig = ApiRig(place)
        async with unix(place / "s") as client:
            async with rig.live.turn:
                async with listening(rig.api, place / "s"):
                    asked = asyncio.create_task(client.patch("/v1/models/chat", json={"strict": True}, headers={"if-match": '"stale"'}))
                    while not rig.revise._under_way:
                        await asyncio.sleep(0.001)
                answer = await asked
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ending")
            while rig.revise._under_way:
                await asyncio.sleep(0.001)
        assert rig.live.overlay.entries == ()

    with caplog.at_level("ERROR"):
        go(test())
        gc.collect()
    assert [r.getMessage() for r in caplog.records if "shutdown" not in r.getMessage()] == []


def test_requests_that_come_together_are_all_answered(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.admin.listen.ASK_WITHIN", 0.05)

    async def test() -> None:
        rig = ApiRig(place)
        async with listening(rig.api, place / "s"):
            reader, writer = await asyncio.open_unix_connection(str(place / "s"))
            body = b'{"strict": true}'
            change = b"PATCH /v1/models/chat HTTP/1.1\r\nhost: x\r\nif-match: *\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            async with rig.live.turn:
                writer.write(b"GET /v1/models/chat HTTP/1.1\r\nhost: x\r\n\r\n" + change)
                assert b" 200 " in await reader.readline()
                while not rig.revise._under_way:
                    await asyncio.sleep(0.001)
                await asyncio.sleep(0.1)  # longer than a connection may wait
            said = await reader.readuntil(b'"changed":true')
            assert b" 200 " in said
            writer.close()

    go(test())
