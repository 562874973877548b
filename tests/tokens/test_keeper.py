"""The keeper on a clock of its own: when it fetches, what it does about failures, and what happens when the registry changes."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from extproc.registry.load import parse_registry
from extproc.registry.types import TokenSource
from extproc.tokens import keeper as module
from extproc.tokens.files import read_states
from extproc.tokens.issuers import IssuerError, Token
from extproc.tokens.keeper import Keeper, wanted

GOOGLE, ENTRA = TokenSource("google", "g"), TokenSource("entra", "e")


class World:
    """`pauses` are the waits that the keeper asked for, by order; `turn` lets the sleepers wake. `answers` decides a fetch."""

    def __init__(self, directory: Path) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        self.fetched: list[str] = []
        self.answers: dict[str, Callable[[], Token]] = {}
        self._sleepers: list[asyncio.Future[None]] = []
        self.keeper = Keeper(directory, self.fetch, wall=lambda: self.now, random=lambda: 0.5, sleep=self.sleep)

    def fetch(self, source: TokenSource) -> Token:
        self.fetched.append(source.issuer)
        found = self.answers.get(source.issuer)
        return found() if found else Token(f"{source.issuer}-{self.fetched.count(source.issuer)}", self.now + 1000)

    def sleep(self, seconds: float) -> asyncio.Future[None]:
        self.pauses.append(seconds)
        self._sleepers.append(asyncio.get_running_loop().create_future())
        return self._sleepers[-1]

    async def asleep(self, count: int) -> None:
        """Until the keeper has asked for `count` waits in all."""
        for _ in range(2000):
            if len(self.pauses) >= count:
                return
            await asyncio.sleep(0.002)
        raise AssertionError(f"{len(self.pauses)} waits, not {count}")

    def turn(self) -> None:
        sleepers, self._sleepers = self._sleepers, []
        for sleeper in sleepers:
            if not sleeper.done():
                sleeper.set_result(None)


def refuse() -> Token:
    raise IssuerError("no")


def test_renewed_at_seventy_percent_and_again(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def run() -> None:
        world.keeper.keep({GOOGLE: ("v", "w")})
        await world.asleep(1)
        assert ((tmp_path / "v").read_text(), (tmp_path / "w").read_text()) == ("google-1", "google-1")
        world.now += 700
        world.turn()
        await world.asleep(2)
        await world.keeper.stop()

    asyncio.run(run())
    assert world.pauses == pytest.approx([700, 700])
    assert (tmp_path / "v").read_text() == "google-2"
    assert read_states(tmp_path)["w"].expires_at == 2700


def test_a_failure_is_tried_again_and_keeps_the_old_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(tmp_path)

    async def run() -> None:
        world.keeper.keep({GOOGLE: ("v",)})
        await world.asleep(1)
        world.answers["google"] = refuse
        for count in (2, 3, 4):
            world.turn()
            await world.asleep(count)
        assert (tmp_path / "v").read_text() == "google-1"
        assert read_states(tmp_path)["v"].error == "IssuerError: no"
        assert read_states(tmp_path)["v"].expires_at == 2000
        del world.answers["google"]
        world.turn()
        await world.asleep(5)
        await world.keeper.stop()

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
    assert world.pauses == pytest.approx([700, 0.75, 1.5, 3.0, 700])
    assert (tmp_path / "v").read_text() == "google-5"
    assert read_states(tmp_path)["v"].error == ""
    said = [vars(record) for record in caplog.records]
    assert [record["old_one_good_for_s"] for record in said if record["levelname"] == "WARNING"] == [1000, 1000, 1000]
    assert "google-" not in repr(said)


def test_an_issuer_that_hangs_or_fails_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FETCH_WITHIN", 0.05)
    world = World(tmp_path)
    never = threading.Event()

    def hang() -> Token:
        never.wait(10)
        raise SystemExit

    async def run() -> None:
        world.answers["entra"] = hang
        world.keeper.keep({ENTRA: ("azure",), GOOGLE: ("v",)})
        await world.asleep(2)
        await world.keeper.stop()

    asyncio.run(run())
    never.set()
    assert (tmp_path / "v").read_text() == "google-1"
    assert not (tmp_path / "azure").exists()
    assert read_states(tmp_path)["azure"].error == "TimeoutError"


@pytest.mark.parametrize("raised", [SystemExit(1), KeyboardInterrupt(), StopIteration(), KeyError("x"), OSError("disk"), RecursionError()])
def test_whatever_a_library_raises_is_a_failure(tmp_path: Path, raised: BaseException) -> None:
    world = World(tmp_path)

    def fail() -> Token:
        raise raised

    world.answers["google"] = fail
    assert asyncio.run(world.keeper.once({GOOGLE: ("v",), ENTRA: ("a",)})) is False
    assert (tmp_path / "a").read_text() == "entra-1"
    assert type(raised).__name__ in read_states(tmp_path)["v"].error


def test_a_directory_that_cannot_be_written_is_a_failure_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    world = World(tmp_path / "file" / "tokens")
    assert asyncio.run(world.keeper.once({GOOGLE: ("v",)})) is False


def test_a_changed_registry(tmp_path: Path) -> None:
    world = World(tmp_path)

    async def run() -> None:
        world.keeper.keep({GOOGLE: ("v",)})
        await world.asleep(1)
        world.keeper.keep({GOOGLE: ("v",), ENTRA: ("a",)})
        await world.asleep(2)
        assert world.fetched == ["google", "entra"]
        world.keeper.keep({ENTRA: ("a",)})
        assert not (tmp_path / "v").exists()
        assert set(read_states(tmp_path)) == {"a"}
        world.turn()
        await world.asleep(3)
        assert world.fetched == ["google", "entra", "entra"]
        await world.keeper.stop()

    asyncio.run(run())
    assert (tmp_path / "a").read_text() == "entra-2"


def test_what_a_registry_wants() -> None:
    text = """
version: 1
providers:
  v: {kind: vertex, project: acme-prod, location: global, credential: {google: default}}
  w: {kind: vertex, project: acme-prod, location: eu, credentials: {a: {google: default}, b: {google: {file: /s/b}}, c: {file: /s/c}}}
  o: {kind: openai, credential: {env: K}}
targets: {t: {provider: v, model: gemini-2.5-pro}}
models: {chat: {targets: [t]}}
"""
    found = wanted(parse_registry(text.encode(), "r.yaml", date(2026, 10, 20)))
    assert {source.file: names for source, names in found.items()} == {None: ("v", "w@a"), "/s/b": ("w@b",)}
