"""Replicas that share through a real Redis: limits, budgets, statistics and the overlay; and what is left of it when Redis is gone."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import shutil
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from extproc.admin import sharing as admin
from extproc.core.usage import Usage
from extproc.edge.redis_client import connect, key
from extproc.edge.shared_state import SharedState
from extproc.registry.policy import Limit, State
from extproc.routing.limits import Admitted, Limits
from extproc.routing.statistics import OK, Sample, Statistics
from tests.edge.redis_server import PATIENCE, RedisServer, redis_server
from tests.envoy_process import short_directory
from tests.envoyconfig.test_tls import NEW_KEY, _openssl

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC).timestamp()
ACME = {"tenant": "acme"}
PER_MINUTE = (Limit("limits[0]", (("tenant", "*"),), requests_per_minute=10, tokens_per_minute=10_000),)
BUDGET = (Limit("limits[1]", (("tenant", "*"),), usd_per_day=1.0, usd_per_month=2.0),)
HALF = (Limit("limits[1]", (("tenant", "*"),), usd_per_day=0.5),)
ALONE = (Limit("limits[2]", (("tenant", "*"),), requests_per_minute=3, shared=False),)


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **named: Any) -> None:
        async def and_close() -> None:
            try:
                await test(*args, **named)
            finally:
                for replica in Replica.made:
                    await replica.shared.close()
                Replica.made.clear()

        asyncio.run(and_close())

    return run


class Replica:
    """One server process's part: its clock is the test's."""

    made: ClassVar[list[Replica]] = []

    def __init__(self, name: str, state: Callable[[], State | None], **options: Any) -> None:
        self.made.append(self)
        self.now = NOON
        self.limits, self.statistics = Limits(), Statistics()
        clock = lambda: self.now  # noqa: E731
        self.shared = SharedState(
            state, self.limits, self.statistics, process=name, wall=clock, monotonic=clock, random=random.Random(1), **{"interval": 0.02, **options}
        )

    def let_in(self, rules: tuple[Limit, ...] = PER_MINUTE, usd: float = 0.0) -> bool:
        answer = self.limits.admit(rules, ACME, "chat", lambda: 10, self.now)
        if isinstance(answer, Admitted):
            self.limits.settle(answer, 10, usd, self.now)
        return isinstance(answer, Admitted)

    def measured(self, cluster: str, outcome: str = OK) -> None:
        self.statistics.record(Sample(cluster, "chat", outcome, 1.0, usage=Usage(10, 20)), self.now)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def pair(state: State | None, **options: Any) -> tuple[Replica, Replica]:
    return Replica("one", lambda: state, **options), Replica("two", lambda: state, **options)


async def in_turn(*replicas: Replica, rounds: int = 2) -> None:
    """All know what all used: the first round tells, the second hears."""
    for _ in range(rounds):
        for replica in replicas:
            await replica.shared.step()
            assert replica.shared.connected


async def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"never happened: {what}"
        await asyncio.sleep(0.005)


@on_a_loop
async def test_two_replicas_share_a_limit(redis: RedisServer) -> None:
    a, b = pair(State(redis.url))
    assert all(a.let_in() for _ in range(6))
    await in_turn(a, b)
    assert [b.let_in() for _ in range(6)] == [True] * 4 + [False] * 2
    await in_turn(a, b)
    await in_turn(a, b, rounds=5)
    assert not a.let_in()
    a.now = b.now = NOON + 63
    await in_turn(a, b)
    assert a.let_in()
    assert all(a.let_in(ALONE) and b.let_in(ALONE) for _ in range(3)), "what is not shared is counted apart"
    await a.shared.step()
    assert not a.let_in(ALONE)


@on_a_loop
async def test_two_replicas_share_a_budget_and_a_third_that_comes_later_knows_of_it(redis: RedisServer) -> None:
    state = State(redis.url)
    a, b = pair(state)
    assert a.let_in(BUDGET, usd=0.6)
    assert b.let_in(BUDGET, usd=0.6)
    await in_turn(a, b)
    assert not a.let_in(BUDGET)
    assert not b.let_in(BUDGET)
    # both end; their successors do not start anew
    later = Replica("three", lambda: state)
    later.now = NOON + 3600
    await later.shared.step()
    assert not later.let_in(BUDGET)
    later.now = NOON + 43200
    await later.shared.step()
    assert later.let_in(BUDGET, usd=0.9), "a new day, and a new month"


@on_a_loop
async def test_who_ends_tells_the_last_of_it(redis: RedisServer) -> None:
    a, b = pair(State(redis.url), interval=3600.0)
    task = asyncio.create_task(a.shared.run())
    await until(lambda: a.shared.connected, "connected")
    assert a.let_in(BUDGET, usd=1.5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await b.shared.step()
    assert not b.let_in(BUDGET)


@on_a_loop
async def test_two_replicas_share_statistics(redis: RedisServer) -> None:
    a, b = pair(State(redis.url))
    for _ in range(10):
        a.measured("gpt")
    await in_turn(a, b, rounds=3)
    assert b.statistics.of("gpt").requests == pytest.approx(10)
    await in_turn(a, b, rounds=3)
    assert b.statistics.of("gpt").requests == pytest.approx(10), "heard again, not counted again"
    assert a.statistics.of("gpt").requests == pytest.approx(10), "nobody hears himself"
    # a is gone
    b.now += 70
    await in_turn(b)
    assert b.statistics.of("gpt").requests == pytest.approx(0)


@on_a_loop
async def test_redis_dies_and_comes_back_empty(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    a, b = pair(State(redis.url))
    tasks = [asyncio.create_task(replica.shared.run()) for replica in (a, b)]
    try:
        assert a.let_in(BUDGET, usd=0.7)
        assert all(a.let_in() for _ in range(6))
        await until(lambda: not b.let_in(HALF), "b hears of a")
        redis.stop()
        await until(lambda: not a.shared.connected and not b.shared.connected, "both notice")
        # both go on: with their own counts, and what was last heard
        assert [b.let_in() for _ in range(6)] == [True] * 4 + [False] * 2
        assert b.let_in(BUDGET, usd=0.2)
        assert b.let_in(BUDGET, usd=0.2)
        assert not b.let_in(BUDGET)
        assert [a.let_in() for _ in range(5)] == [True] * 4 + [False]
        redis.start()
        await until(lambda: a.shared.connected and b.shared.connected, "both are back")
        await until(lambda: not a.let_in(BUDGET), "a hears what b has spent meanwhile")
        assert not b.let_in(BUDGET), "and b still knows of a"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    said = [record.getMessage() for record in caplog.records]
    for message, times in (("limits, budgets and statistics are shared", 4), ("the shared state cannot be used", 4)):
        # connection reset, then refused: once for each reason of an outage
        assert 2 <= sum(message in line for line in said) <= times, said


@on_a_loop
async def test_a_wrong_password_is_said_and_a_right_one_is_used_once_it_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    word = tmp_path / "password"
    with redis_server(password="right-word") as server:
        replica = Replica("one", lambda: State(server.url, password_file=str(word)))
        for content, why in ((None, "cannot be read"), ("", "is empty"), ("wrong-word\n", "refuses the user or its password")):
            if content is not None:
                word.write_text(content)
            for _ in range(3):
                await replica.shared.step()
            assert not replica.shared.connected
            assert replica.let_in()
            assert why in str(caplog.records[-1].__dict__["why"])
        assert len(caplog.records) == 3, "once for each reason"
        word.write_text("right-word\n")
        await replica.shared.step()
        assert replica.shared.connected
        assert "word" not in "".join(str(vars(record)) for record in caplog.records).replace("password", "")


@on_a_loop
async def test_a_redis_that_does_not_answer_holds_nobody_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It takes connections and says nothing. Requests are let in meanwhile."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    with short_directory() as directory:
        server = await asyncio.start_unix_server(silent, directory / "r.sock")
        replica = Replica("one", lambda: State(f"unix://{directory}/r.sock"), timeout=0.05)
        step = asyncio.create_task(replica.shared.step())
        turns = 0
        while not step.done():
            await asyncio.sleep(0)
            replica.limits.admit(PER_MINUTE, ACME, "chat", lambda: 1, NOON)
            turns += 1
        assert turns > 10
        assert not replica.shared.connected
        assert caplog.records[-1].__dict__["why"] == "it does not answer in time"
        server.close()
        await server.wait_closed()


@on_a_loop
async def test_pauses_grow_and_end_with_the_outage() -> None:
    replica = Replica("one", lambda: State("unix:///nowhere/redis.sock"), interval=0.5)
    pauses = [await replica.shared.step() for _ in range(12)]
    assert 0.25 <= pauses[0] <= 0.5
    assert max(pauses) <= 5.0
    assert min(pauses[6:]) >= 2.5


@on_a_loop
async def test_a_registry_that_names_another_redis_or_none(redis: RedisServer) -> None:
    state: list[State | None] = [None]
    a, b = Replica("one", lambda: state[0]), Replica("two", lambda: State(redis.url))
    assert all(b.let_in() for _ in range(10))
    await b.shared.step()
    await a.shared.step()
    assert not a.shared.connected
    state[0] = State(redis.url)
    await a.shared.step()
    assert a.shared.connected
    assert not a.let_in()
    state[0] = State(redis.url, prefix="another")
    await a.shared.step()
    assert a.let_in()
    state[0] = None
    await a.shared.step()
    assert not a.shared.connected
    assert a.let_in()


@on_a_loop
async def test_what_others_wrote_is_believed_only_as_far_as_it_makes_sense(redis: RedisServer) -> None:
    state = State(redis.url)
    client = connect(state, 1.0)
    replica = Replica("one", lambda: state)
    odd = {"a": b"not json", "b": b"[1]", "c": b'{"requests": 5, "tokens": {"x": "y"}}', "d": b'{"requests": {"tenant:*|acme": -100}}', "e": b"\xff"}
    try:
        for name, value in odd.items():
            for kind in ("minute", "day:2026-01-31", "statistics"):
                await client.set(key(state, f"{kind}:{name}"), value)
            await client.zadd(key(state, "processes"), {name: NOON})
        await client.zadd(key(state, "processes"), {b"\xff\xfe": NOON})
        await in_turn(replica, rounds=4)
        assert [replica.let_in() for _ in range(11)] == [True] * 10 + [False]
    finally:
        await client.aclose()


@on_a_loop
async def test_keys_lie_together_below_the_prefix_and_do_not_stay_for_ever(redis: RedisServer) -> None:
    state = State(redis.url, prefix="team.llm")
    a, b = pair(state)
    a.let_in(BUDGET, usd=0.1)
    a.let_in()
    await in_turn(a, b)
    client = connect(state, 1.0)
    try:
        found: list[Any] = await client.keys("*")
        keys = sorted(k.decode() for k in found)
        assert all(k.startswith("{team.llm}:1:") for k in keys)
        for k in keys:
            life = await client.ttl(k)
            assert (life == -1) is k.endswith((":processes", ":overlay"))
            assert life <= 35 * 86400
        a.now = b.now = NOON + 40 * 86400
        await in_turn(b)
        members = await client.zrange(key(state, "processes"), 0, -1)
        assert members == [b"two"]
    finally:
        await client.aclose()


@on_a_loop
async def test_the_overlay_is_replaced_only_by_who_knows_it(redis: RedisServer) -> None:
    a, b = pair(State(redis.url))
    overlay = a.shared.overlay
    assert await overlay.get() is None
    first = await overlay.put(b"one", 0)
    assert first is not None
    assert await overlay.put(b"other", 0) is None
    assert await b.shared.overlay.get() == (first, b"one")
    results = await asyncio.gather(*(replica.shared.overlay.put(b"x", first) for replica in (a, b, a, b)))
    assert sorted(results, key=str) == [first + 1, None, None, None]


@on_a_loop
async def test_a_redis_that_forgot_everything_does_not_come_to_a_version_again(redis: RedisServer) -> None:
    """Else who was away takes another document for the one that it knows, and overwrites it."""
    a, b = pair(State(redis.url))
    known = await a.shared.overlay.put(b"one", 0)
    redis.stop()
    redis.start()
    new = await b.shared.overlay.put(b"another", 0)
    assert new != known
    assert known is not None
    assert await a.shared.overlay.put(b"two", known) is None
    assert await a.shared.overlay.get() == (new, b"another")


@on_a_loop
async def test_replicas_hear_of_another_overlay(redis: RedisServer) -> None:
    a, b = pair(State(redis.url))
    await in_turn(a, b)
    await asyncio.wait_for(b.shared.overlay.changed(), PATIENCE)  # connected
    heard = asyncio.create_task(b.shared.overlay.changed())
    await in_turn(a, b)
    assert not heard.done()
    await a.shared.overlay.put(b"one", 0)
    await b.shared.step()
    await asyncio.wait_for(heard, PATIENCE)
    # lost, and back without it
    redis.stop()
    await b.shared.step()
    for ask in (b.shared.overlay.get(), b.shared.overlay.put(b"two", 1)):
        with pytest.raises(OSError):
            await ask
    redis.start()
    heard = asyncio.create_task(b.shared.overlay.changed())
    await b.shared.step()
    await asyncio.wait_for(heard, PATIENCE)
    assert await b.shared.overlay.get() is None


def test_it_is_what_the_live_registry_asks_for() -> None:
    overlay: admin.SharedOverlay = Replica("one", lambda: None).shared.overlay
    assert overlay is not None


@on_a_loop
async def test_an_overlay_without_a_state() -> None:
    replica = Replica("one", lambda: None)
    with pytest.raises(OSError, match="no state"):
        await replica.shared.overlay.get()


@on_a_loop
async def test_over_tls_the_server_must_be_who_it_says(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A door with TLS in front of the real Redis."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make certificates")
    with short_directory() as root:
        for name in ("trusted", "other"):
            subject = ("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost")
            _openssl("req", "-x509", *NEW_KEY, "-days", "2", *subject, "-keyout", str(root / f"{name}.key"), "-out", str(root / f"{name}.pem"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(root / "trusted.pem", root / "trusted.key")

        async def door(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner, outer = await asyncio.open_unix_connection(str(redis.socket))

            async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(65536):
                    sink.write(data)
                sink.close()

            await asyncio.gather(pump(reader, outer), pump(inner, writer), return_exceptions=True)

        server = await asyncio.start_server(door, "127.0.0.1", 0, ssl=context)
        url = f"rediss://localhost:{server.sockets[0].getsockname()[1]}/0"
        for authority in ("other", "trusted"):
            monkeypatch.setenv("SSL_CERT_FILE", str(root / f"{authority}.pem"))
            replica = Replica(authority, lambda: State(url))
            await replica.shared.step()
            assert replica.shared.connected is (authority == "trusted")
            await replica.shared.close()
        server.close()
        await server.wait_closed()
