"""What Envoy's admin socket says about clusters, and an Envoy that says nothing, nonsense, or something again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from extproc.edge import envoy_admin
from extproc.edge.envoy_admin import EnvoyAdmin, read_clusters
from extproc.edge.reload import Updates
from extproc.routing.health import Health, Out
from tests.edge.envoys_side import go
from tests.envoy_process import short_directory

HEALTHY = {"eds_health_status": "HEALTHY"}
EJECTED = {"failed_outlier_check": True, "eds_health_status": "HEALTHY"}


def cluster(name: str, *hosts: dict[str, Any]) -> dict[str, Any]:
    """As Envoy 1.40 prints it, shortened where it repeats itself."""
    return {
        "name": name,
        "added_via_api": True,
        "success_rate_ejection_threshold": {},
        "host_statuses": [
            {
                "address": {"socket_address": {"address": f"10.0.0.{n}", "port_value": 443}},
                "stats": [{"name": "cx_connect_fail"}, {"type": "GAUGE", "name": "cx_active", "value": "1"}],
                "health_status": health,
                "weight": 1,
                "hostname": f"{name}.test",
                "locality": {},
                "local_origin_success_rate": {},
            }
            for n, health in enumerate(hosts)
        ],
        "circuit_breakers": {"thresholds": [{"priority": "DEFAULT", "max_connections": 1024}]},
        "observability_name": name,
    }


def document(*clusters: dict[str, Any]) -> bytes:
    return orjson.dumps({"cluster_statuses": list(clusters)})


def test_clusters_that_envoy_lists_are_active() -> None:
    active, ejected = read_clusters(document(cluster("a@k1", HEALTHY), cluster("b", HEALTHY, HEALTHY)))
    assert active == {"a@k1", "b"}
    assert ejected == frozenset()


def test_a_cluster_without_hosts_is_active_and_left_out() -> None:
    """Its name does not resolve."""
    active, ejected = read_clusters(document(cluster("a"), cluster("b", HEALTHY)))
    assert active == {"a", "b"}
    assert ejected == {"a"}


def test_a_cluster_is_ejected_when_all_its_hosts_are() -> None:
    _, ejected = read_clusters(
        document(
            cluster("one", EJECTED),
            cluster("all", EJECTED, EJECTED),
            cluster("some", EJECTED, HEALTHY),
            cluster("none", HEALTHY),
            cluster("probed", {"failed_active_health_check": True, "eds_health_status": "HEALTHY"}),
            cluster("both ways", EJECTED, {"failed_active_health_check": True}),
        )
    )
    assert ejected == {"one", "all", "probed", "both ways"}


def test_other_flags_are_no_ejection() -> None:
    flags = {"failed_degraded_check": True, "pending_dynamic_removal": True, "pending_active_hc": True, "failed_outlier_check": False}
    assert read_clusters(document(cluster("a", flags)))[1] == frozenset()


def test_hosts_without_a_health_are_healthy() -> None:
    assert read_clusters(b'{"cluster_statuses":[{"name":"a","host_statuses":[{}]},{"name":"b"}]}') == (frozenset("ab"), frozenset("b"))


@pytest.mark.parametrize(
    "garbage", [b"", b"a::default_priority::max_connections::1024", b"[]", b"null", b"7", b'{"cluster_statuses":[{}]}', b'{"cluster_statuses":[7]}',
                b'{"cluster_statuses":7}', b'{"cluster_statuses":[{"name":["a"]}]}', b'{"cluster_statuses":[{"name":"a","host_statuses":[7]}]}',
                b'{"cluster_statuses":[{"name":"a","host_statuses":[{"health_status":7}]}]}', b"\xff\xfe"],
)  # fmt: skip
def test_anything_else_is_no_list_of_clusters(garbage: bytes) -> None:
    with pytest.raises(ValueError, match="not a list of clusters"):
        read_clusters(garbage)


@asynccontextmanager
async def reading(socket: Path, health: Health, busy: Callable[[], bool] = lambda: True) -> AsyncIterator[EnvoyAdmin]:
    reader = EnvoyAdmin(str(socket), health, busy)
    try:
        yield reader
    finally:
        await reader._client.aclose()


class Admin:
    """Envoy's admin on a Unix socket: answers with `says`, or not at all while it is None. `asked` are the paths, but for `/ready`."""

    def __init__(self) -> None:
        self.ready = True
        self.says: bytes | None = document()
        self.asked: list[str] = []
        self.news = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            path = head.split()[1].decode()
            if path == "/ready" and self.says is not None:
                writer.write(b"HTTP/1.1 %s\r\ncontent-length: 0\r\n\r\n" % (b"200 OK" if self.ready else b"503 Service Unavailable"))
                continue
            self.asked.append(path)
            self.news.set()
            if self.says is None:
                return
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(self.says), self.says))
            await writer.drain()

    async def asked_times(self, n: int) -> None:
        while len(self.asked) < n:
            self.news.clear()
            await self.news.wait()

    @asynccontextmanager
    async def listening(self, socket: Path) -> AsyncIterator[None]:
        handlers: set[asyncio.Task[Any] | None] = set()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            handlers.add(asyncio.current_task())
            with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
                await self.serve(reader, writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        server = await asyncio.start_unix_server(handle, socket)
        try:
            yield
        finally:
            server.close()
            for task in filter(None, handlers):
                task.cancel()
            await asyncio.gather(*filter(None, handlers), return_exceptions=True)


def test_what_an_envoy_that_starts_says_is_not_heard() -> None:
    """It does not have its clusters yet: all count as active, as long as it takes no requests."""

    async def test() -> None:
        health, admin = Health(lambda: 0.0), Admin()
        admin.ready = False
        with short_directory() as directory:
            socket = directory / "admin.sock"
            async with admin.listening(socket), reading(socket, health) as reader:
                assert await reader.refresh()
                assert health.active is None
                admin.ready, admin.says = True, document(cluster("a", HEALTHY))
                assert await reader.refresh()
                assert health.active == {"a"}

    go(test())


def test_health_follows_envoy(caplog: pytest.LogCaptureFixture) -> None:
    async def test(directory: Path) -> None:
        admin, health = Admin(), Health(lambda: 0.0)
        socket = directory / "admin.sock"
        async with admin.listening(socket), reading(socket, health) as reader:
            admin.says = document(cluster("a", EJECTED), cluster("b", HEALTHY))
            assert await reader.refresh()
            assert (health.active, health.ejected) == (frozenset("ab"), frozenset("a"))
            assert health.why("a") == (Out.EJECTED, 0.0)
            assert health.why("new") == (Out.INACTIVE, 0.0)
            admin.says = document(cluster("a", HEALTHY), cluster("new", HEALTHY))
            assert await reader.refresh()
            assert health.why("a") is None
            assert health.why("new") is None
            assert health.why("b") == (Out.INACTIVE, 0.0)
        assert admin.asked == ["/clusters?format=json"] * 2
        said = [(r.getMessage(), getattr(r, "cluster", "")) for r in caplog.records]
        assert said == [("envoy ejected a cluster", "a"), ("envoy took a cluster back", "a")]

    with short_directory() as directory, caplog.at_level("INFO", logger="extproc"):
        go(test(directory))


@pytest.mark.parametrize("silence", ["no socket", "no answer", "garbage"])
def test_an_envoy_that_does_not_answer_changes_nothing(silence: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test(directory: Path) -> None:
        socket = directory / "admin.sock"
        admin, health = Admin(), Health(lambda: 0.0)
        async with reading(socket, health) as reader:
            assert not await reader.refresh()
            assert health.active is None, "unknown: every cluster counts as active"
            assert health.why("a") is None
            async with admin.listening(socket):
                admin.says = document(cluster("a", EJECTED))
                assert await reader.refresh()
                if silence != "no socket":
                    admin.says = None if silence == "no answer" else b"<html>"
                    assert not await reader.refresh()
            socket.unlink(missing_ok=True)
            assert not await reader.refresh()
            assert await reader.cluster_updates() is None
            assert [health.active, health.ejected] == [frozenset("a"), frozenset("a")]
            async with admin.listening(socket):
                admin.says = document(cluster("a", HEALTHY))
                assert await reader.refresh()
            assert health.ejected == frozenset()
        said = [r.getMessage() for r in caplog.records]
        assert said[0] == "waiting for envoy's admin socket"
        assert said.count("envoy's admin socket does not answer") == 1, "said once, not several times a second"
        assert said.count("envoy's admin socket answers") == 2

    with short_directory() as directory, caplog.at_level("INFO", logger="extproc"):
        go(test(directory))


class Pace:
    """A reader under way, with times that stand for "at once" and "never"."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path, *, busy: float, linger: float) -> None:
        for name, seconds in (("BUSY", busy), ("IDLE", 3600.0), ("LINGER", linger)):
            monkeypatch.setattr(envoy_admin, name, seconds)
        self.busy = False
        self.admin = Admin()
        self.reader = EnvoyAdmin(str(directory / "admin.sock"), Health(lambda: 0.0), lambda: self.busy)

    @asynccontextmanager
    async def running(self, directory: Path) -> AsyncIterator[None]:
        async with self.admin.listening(directory / "admin.sock"):
            running = asyncio.create_task(self.reader.run())
            yield
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert self.reader._client.is_closed

    async def is_quiet(self) -> bool:
        """Does nothing more come, however often everybody else has had a turn?"""
        for _ in range(200):
            await asyncio.sleep(0)
        asked = len(self.admin.asked)
        for _ in range(200):
            await asyncio.sleep(0)
        return len(self.admin.asked) == asked


def test_it_asks_often_while_requests_are_under_way_and_rarely_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(directory: Path) -> None:
        pace = Pace(monkeypatch, directory, busy=0.0, linger=1e-9)
        pace.busy = True
        monkeypatch.setattr(envoy_admin, "LINGER", 3600.0)
        async with pace.running(directory):
            await pace.admin.asked_times(3)
            assert not await pace.is_quiet()
            pace.busy = False
            monkeypatch.setattr(envoy_admin, "LINGER", 0.0)
            assert await pace.is_quiet()

    with short_directory() as directory:
        go(test(directory))


def test_the_first_request_after_a_quiet_time_wakes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one answer of Envoy's, not at the next turn, which here is in an hour."""

    async def test(directory: Path) -> None:
        pace = Pace(monkeypatch, directory, busy=0.0, linger=0.0)
        async with pace.running(directory):
            await pace.admin.asked_times(1)
            assert await pace.is_quiet()
            health, asked = pace.reader._health, len(pace.admin.asked)
            pace.admin.says = document(cluster("a", EJECTED))
            pace.reader.wake()
            await pace.admin.asked_times(asked + 1)
            assert await pace.is_quiet()
            assert health.ejected == {"a"}
            assert len(pace.admin.asked) == asked + 1

    with short_directory() as directory:
        go(test(directory))


def test_it_looks_again_after_the_last_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a short request's answer led to is not there yet when its beginning wakes the reader."""

    async def test(directory: Path) -> None:
        pace = Pace(monkeypatch, directory, busy=0.0, linger=3600.0)
        async with pace.running(directory):
            await pace.admin.asked_times(1)
            pace.reader.wake()
            asked = len(pace.admin.asked)
            await pace.admin.asked_times(asked + 3)

    with short_directory() as directory:
        go(test(directory))


def test_updates_of_the_clusters() -> None:
    async def test(directory: Path) -> None:
        admin = Admin()
        socket = directory / "admin.sock"
        async with admin.listening(socket), reading(socket, Health(lambda: 0.0)) as reader:
            names = ("cluster_manager.cds.update_rejected", "cluster_manager.cds.update_success")
            admin.says = orjson.dumps({"stats": [{"name": name, "value": n} for n, name in enumerate(names, 2)]})
            assert await reader.cluster_updates() == Updates(taken=3, refused=2)
            for nonsense in (b'{"stats":[]}', b"[]", b"", b'{"stats":[{"name":"x_success","value":"many"}]}', b'{"stats":[{"histograms":{}}]}'):
                admin.says = nonsense
                assert await reader.cluster_updates() is None

    with short_directory() as directory:
        go(test(directory))
