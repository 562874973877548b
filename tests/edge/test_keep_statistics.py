"""What routing learned is there again after a restart, aged; broken files cost nothing but that."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from extproc.core.usage import Usage
from extproc.edge import keep_statistics
from extproc.edge.keep_statistics import VERSION, Keeper
from extproc.routing.health import Out
from extproc.routing.measured import HALF_LIFE
from extproc.routing.statistics import OK, Sample
from tests.edge.envoys_side import go
from tests.stages.world import Clock, Still, World, registry, target

CONTEXT = "chat/other/short"


def world(now: float = 1000.0) -> World:
    return World(registry(target("a"), target("b")), clock=Clock(now))


def taught(now: float = 1000.0) -> World:
    made = world(now)
    services = made.services
    for _ in range(4):
        services.statistics.record(Sample("a", "chat", OK, 2.0, usage=Usage(100, 10), estimated=80.0), now)
        services.bandit.learn(CONTEXT, "a", 0.95, now)
    return made


def test_a_restart_goes_on_with_what_is_left_of_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "statistics-0.json"
    Keeper(path, taught().services).save()
    later = world(1000.0 + HALF_LIFE)
    Keeper(path, later.services).load()
    statistics = later.services.statistics
    assert statistics.of("a").requests == pytest.approx(2.0)
    assert (statistics.of("a").token_ratio, statistics.output_tokens("chat")) == (1.25, 10.0)
    known, unknown = later.services.bandit.draw(CONTEXT, ["a", "b"], later.clock(), Still())
    assert known.mean > unknown.mean
    assert known.deviation < unknown.deviation


def test_the_file_is_private_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "statistics-0.json"
    keeper = Keeper(path, taught().services)
    keeper.save()
    keeper.save()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert orjson.loads(path.read_bytes())["version"] == VERSION


def test_no_file_is_nothing_to_report(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Keeper(tmp_path / "none.json", world().services).load()
    assert caplog.records == []


GOOD: dict[str, Any] = {"version": VERSION, "saved_at": 990.0, "statistics": {}, "bandit": {"models": {}, "contexts": {}}, "limits": {}}


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", "no JSON"),
        (b"\xff\x00", "no JSON"),
        (b"[]", "another version"),
        (orjson.dumps({**GOOD, "version": 99}), "another version"),
        (orjson.dumps({**GOOD, "saved_at": "yesterday"}), "saved_at"),
        (orjson.dumps({**GOOD, "statistics": 7}), "statistics: expected a mapping"),
        (orjson.dumps({**GOOD, "bandit": {"models": {"m": {"usual": "x"}}, "contexts": {}}}), "bandit: models.m.usual: expected a number"),
        (orjson.dumps({**GOOD, "limits": {"day:2026-01-01": 7}}), "limits: "),
    ],
)
def test_a_broken_file_is_reported_and_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture, raw: bytes, error: str) -> None:
    path = tmp_path / "statistics.json"
    path.write_bytes(raw)
    Keeper(path, world().services).load()
    warnings = [r for r in caplog.records if r.levelname == "WARNING"]
    assert [r.getMessage() for r in warnings] == ["statistics of the last run are ignored"]
    assert error in warnings[0].error  # type: ignore[attr-defined]


def test_one_broken_part_does_not_cost_the_others(tmp_path: Path) -> None:
    path = tmp_path / "statistics.json"
    Keeper(path, taught().services).save()
    saved = orjson.loads(path.read_bytes())
    saved["bandit"] = None
    path.write_bytes(orjson.dumps(saved))
    later = world()
    Keeper(path, later.services).load()
    assert later.services.statistics.of("a").requests == 4.0


def test_a_clock_that_was_set_back_ages_nothing(tmp_path: Path) -> None:
    path = tmp_path / "statistics.json"
    Keeper(path, taught(5000.0).services).save()
    earlier = world(1000.0)
    Keeper(path, earlier.services).load()
    assert earlier.services.statistics.of("a").requests == 4.0


def test_a_disk_that_takes_nothing_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_bytes(b"a file where the directory should be")
    keeper = Keeper(tmp_path / "state" / "statistics.json", taught().services)
    keeper.save()
    keeper.save()
    assert [r.getMessage() for r in caplog.records] == ["statistics cannot be saved"]


def test_it_saves_by_itself_and_forgets_what_the_registry_no_longer_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep_statistics, "EVERY", 0.0)
    path = tmp_path / "statistics.json"
    made = taught()
    made.services.health.cool_down("a", 60.0, Out.LIMITED)
    made.services.snapshots.swap(registry(target("b"), digest="d2"))

    async def test() -> None:
        running = asyncio.create_task(Keeper(path, made.services).run())
        while not path.exists():
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    go(test())
    assert "a" not in orjson.loads(path.read_bytes())["statistics"]["measured"]
    assert made.services.health.why("a") is None


def test_what_a_kill_has_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    path = tmp_path / "statistics-0.json"
    keeper = Keeper(path, taught().services)
    keeper.save()
    for name in (".statistics-0.json-a1b2", ".statistics-1.json-a1b2"):
        (tmp_path / name).write_text("{")
    keeper.load()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".statistics-1.json-a1b2", "statistics-0.json"], "another worker's is its own"
