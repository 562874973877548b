"""A changed registry: taken into service in an order that drops nobody, or refused while the old one keeps serving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extproc.edge import reload
from extproc.edge.reload import Reloader, Updates, clusters_of, merged
from extproc.registry.load import load_registry, parse_registry
from extproc.registry.types import Registry
from extproc.stages.services import Snapshots
from tests.edge.envoys_side import go

A, B, C = "a", "b", "c"


def yaml(*targets: str, deadline: str = "60s", url: str = "http://one.test/v1", keys: str = "credential: {env: K}") -> str:
    lines = [f"  {t}: {{provider: p, model: gpt-4o}}" for t in targets]
    return "\n".join(
        [
            "version: 1",
            "providers:",
            f'  p: {{kind: openai-compatible, url: "{url}", {keys}}}',
            "targets:",
            *lines,
            "defaults:",
            f"  timeouts: {{deadline: {deadline}}}",
            "models:",
            f"  chat: {{targets: [{', '.join(targets)}]}}",
        ]
    )


def parsed(text: str) -> Registry:
    return parse_registry(text.encode(), "registry.yaml")


class Envoy:
    """What is written becomes active at once, except for `stuck` clusters. `refusal` is what rendering says, `rejects` what Envoy does."""

    def __init__(self) -> None:
        self.written: list[frozenset[str]] = []
        self.refusal: str | None = None
        self.error: Exception | None = None
        self.rejects = False
        self.stuck: frozenset[str] = frozenset()
        self.answers = True
        self.updates = Updates(1, 0)
        self.news = asyncio.Event()
        self.hold: asyncio.Event | None = None

    async def write(self, registry: Registry) -> str | None:
        if self.hold is not None:
            self.news.set()
            await self.hold.wait()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        if self.refusal is not None:
            why, self.refusal = self.refusal, None
            return why
        self.written.append(clusters_of(registry))
        rejected, self.rejects = self.rejects, False
        self.updates = Updates(self.updates.taken + (not rejected), self.updates.refused + rejected)
        self.news.set()
        return None

    async def active(self) -> frozenset[str] | None:
        return self.written[-1] - self.stuck if self.answers and self.written else None

    async def count_updates(self) -> Updates | None:
        return self.updates

    async def until(self, holds: Callable[[], object]) -> None:
        while not holds():
            self.news.clear()
            await self.news.wait()


class Rig:
    def __init__(self, path: Path, *, settle: float = 3600.0, write: bool = True, **more: Any) -> None:
        self.path = path
        if not path.is_symlink():
            path.write_text(yaml(A, B))
        self.snapshots = Snapshots(load_registry(path))
        self.before = self.snapshots.current
        self.envoy = Envoy()
        self.reloader = Reloader(path, self.snapshots, self.envoy.write if write else None, self.envoy.active, settle, self.envoy.count_updates)

    @property
    def targets(self) -> set[str]:
        return set(self.snapshots.current.targets)

    async def change(self, text: str) -> bool:
        self.path.write_text(text)
        return await self.reloader.reload()

    def still_serves(self, *why: str) -> None:
        assert self.snapshots.current is self.before
        assert self.reloader.last_error is not None
        for part in why:
            assert part in self.reloader.last_error
        assert self.reloader.reloads == 0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "POLL", 0.001)
    monkeypatch.setattr(reload, "_PAUSE", 0.001)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.yaml"


def test_a_good_change_is_added_first_and_used_when_active(path: Path) -> None:
    async def test() -> None:
        rig = Rig(path)
        assert await rig.change(yaml(A, C))
        assert rig.targets == {A, C}
        assert rig.envoy.written == [{A, B, C}], "what chains under way may name stays"
        assert (rig.reloader.reloads, rig.reloader.last_error) == (1, None)
        assert rig.snapshots.get(rig.before.digest) is rig.before

    go(test())


def test_a_new_registry_is_not_used_before_envoy_has_its_clusters(path: Path) -> None:
    async def test() -> None:
        rig = Rig(path)
        rig.envoy.stuck = frozenset({C})
        rig.path.write_text(yaml(A, C))
        reloading = asyncio.create_task(rig.reloader.reload())
        await rig.envoy.until(lambda: rig.envoy.written)
        for _ in range(20):
            await asyncio.sleep(0)
        assert rig.snapshots.current is rig.before
        rig.envoy.stuck = frozenset()
        assert await reloading
        assert rig.targets == {A, C}

    go(test())


def test_clusters_that_never_become_active(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "ACTIVE_WITHIN", 0.01)

    async def test() -> None:
        rig = Rig(path)
        rig.envoy.stuck = frozenset({C})
        assert not await rig.change(yaml(A, C))
        rig.still_serves("did not make these clusters active", "c")
        assert rig.envoy.written == [{A, B, C}, {A, B}], "Envoy gets back what it had"

    go(test())


def test_a_file_with_mistakes(path: Path) -> None:
    async def test() -> None:
        rig = Rig(path)
        assert not await rig.change("version: 1\nproviders: {p: {kind: nonsense}}\n")
        rig.still_serves("registry.yaml:2", "nonsense")
        assert not await rig.change("a: [")
        rig.still_serves("not valid YAML")
        assert rig.envoy.written == [], "Envoy never sees a bad file"

    go(test())


def test_a_change_that_rendering_refuses(path: Path) -> None:
    async def test() -> None:
        rig = Rig(path)
        rig.envoy.refusal = "envoy refuses the rendered configuration: no"
        assert not await rig.change(yaml(A, C))
        rig.still_serves("envoy refuses the rendered configuration: no")
        assert rig.envoy.written == [{A, B}]

    go(test())


def test_a_change_that_envoy_itself_rejects(path: Path) -> None:
    """The clusters have the old names, so they all are active: only Envoy's counter tells."""

    async def test() -> None:
        rig = Rig(path)
        rig.envoy.rejects = True
        assert not await rig.change(yaml(A, B, url="http://two.test/v1"))
        rig.still_serves("envoy refuses the rendered clusters")
        assert len(rig.envoy.written) == 2

    go(test())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("words of nobody's business")])
def test_an_error_while_writing_is_no_end_of_reloading(path: Path, error: Exception) -> None:
    async def test() -> None:
        rig = Rig(path)
        rig.envoy.error = error
        assert not await rig.change(yaml(A, C))
        rig.still_serves("No space left" if isinstance(error, OSError) else "internal error: RuntimeError")
        assert rig.envoy.written == [{A, B}]
        assert await rig.change(yaml(A, C, deadline="61s"))
        assert rig.targets == {A, C}
        assert rig.reloader.last_error is None

    go(test())


def test_an_envoy_that_cannot_be_asked_is_not_waited_for(path: Path) -> None:
    async def test() -> None:
        rig = Rig(path)
        rig.envoy.answers = False
        assert await rig.change(yaml(A, C))
        assert rig.targets == {A, C}

    go(test())


def test_with_files_that_are_somebody_elses_new_clusters_are_waited_for(path: Path) -> None:
    async def test() -> None:
        rig = Rig(path, write=False)
        rig.envoy.written = [frozenset({A, B})]
        rig.path.write_text(yaml(A, C))
        reloading = asyncio.create_task(rig.reloader.reload())
        await asyncio.sleep(0.01)
        assert rig.snapshots.current is rig.before
        rig.envoy.written.append(frozenset({A, C}))
        assert await reloading
        assert rig.targets == {A, C}
        assert len(rig.envoy.written) == 2

    go(test())


# removal


def test_what_nobody_names_any_more_is_removed_in_the_end(path: Path) -> None:
    async def test() -> None:
        rig = Rig(path, settle=-60.0)
        assert await rig.change(yaml(A))
        await rig.envoy.until(lambda: len(rig.envoy.written) == 2)
        assert rig.envoy.written == [{A, B}, {A}]

    go(test())


def test_it_stays_for_as_long_as_a_chain_of_the_old_registry_may_last(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    async def test() -> None:
        rig = Rig(path, settle=5.0)
        assert await rig.change(yaml(A, B, deadline="300s"))
        monkeypatch.setattr(asyncio, "sleep", noted)
        assert await rig.change(yaml(A, deadline="7s"))
        await rig.envoy.until(lambda: rig.envoy.written[-1] == {A})
        assert [seconds for seconds in slept if seconds] == [305.0]

    go(test())


def test_a_second_change_keeps_what_the_first_one_still_settles(path: Path) -> None:
    async def test() -> None:
        rig = Rig(path)
        assert await rig.change(yaml(A))
        assert await rig.change(yaml(A, C))
        assert rig.envoy.written == [{A, B}, {A, B, C}], "chains of the first registry may still name b"
        assert not await rig.change("nonsense")
        rig.envoy.refusal = "no"
        assert not await rig.change(yaml(A, "d"))
        assert rig.envoy.written[2:] == [{A, B, C}]
        assert rig.targets == {A, C}

    go(test())


def test_a_refused_change_does_not_call_off_a_removal(path: Path) -> None:
    async def test() -> None:
        rig = Rig(path)
        assert await rig.change(yaml(A))
        rig.reloader._settle = -60.0
        assert not await rig.change("nonsense")
        await rig.envoy.until(lambda: rig.envoy.written[-1] == {A})

    go(test())


def test_a_change_during_a_removal_waits_for_it(path: Path) -> None:
    """Two writers at once could leave Envoy without the clusters of the new registry."""

    async def test() -> None:
        rig = Rig(path, settle=-60.0)
        assert await rig.change(yaml(A))
        rig.envoy.hold = asyncio.Event()
        rig.envoy.news.clear()
        await rig.envoy.news.wait()
        rig.path.write_text(yaml(A, C))
        reloading = asyncio.create_task(rig.reloader.reload())
        for _ in range(20):
            await asyncio.sleep(0)
        rig.envoy.hold.set()
        assert await reloading
        assert rig.envoy.written == [{A, B}, {A}, {A, C}]
        assert rig.targets == {A, C}

    go(test())


# the file


async def polling(rig: Rig, then: Callable[[], Any]) -> None:
    running = asyncio.create_task(rig.reloader.run())
    try:
        await then()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def eventually(holds: Callable[[], object]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


def test_a_file_that_is_missing_for_a_while(path: Path) -> None:
    async def test() -> None:
        rig = Rig(path)
        text = path.read_text()

        async def then() -> None:
            path.unlink()
            await eventually(lambda: rig.reloader.last_error)
            rig.still_serves("registry.yaml", "No such file")
            path.write_text(text)
            await eventually(lambda: rig.reloader.last_error is None)
            assert rig.snapshots.current is rig.before
            assert rig.envoy.written == [], "nothing has changed"
            path.write_text(yaml(A, C))
            await eventually(lambda: rig.targets == {A, C})

        await polling(rig, then)

    go(test())


def test_a_config_map_is_followed(tmp_path: Path) -> None:
    """registry.yaml → ..data/registry.yaml, ..data → a directory with a date, and the link ..data is swapped."""
    for name, text in (("..first", yaml(A, B)), ("..second", yaml(C))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "registry.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("..first")
    path = tmp_path / "registry.yaml"
    path.symlink_to("..data/registry.yaml")

    async def test() -> None:
        rig = Rig(path)

        async def then() -> None:
            (tmp_path / "..data_tmp").symlink_to("..second")
            (tmp_path / "..data_tmp").rename(tmp_path / "..data")
            await eventually(lambda: rig.targets == {C})
            assert rig.envoy.written == [{A, B, C}]

        await polling(rig, then)

    go(test())


def test_what_is_refused_is_tried_once_and_a_further_change_again(path: Path) -> None:
    async def test() -> None:
        rig = Rig(path)

        async def then() -> None:
            path.write_text("nonsense")
            await eventually(lambda: rig.reloader.last_error)
            rig.reloader.last_error = "seen"
            path.write_text(yaml(A, C))
            await eventually(lambda: rig.reloader.reloads)
            assert rig.reloader.last_error is None

        await polling(rig, then)

    go(test())


# two registries at once


def test_the_new_definition_wins() -> None:
    both = merged(parsed(yaml(A, B)), parsed(yaml(A, C, url="http://two.test/v1")))
    assert {name: t.provider.host for name, t in both.targets.items()} == {A: "two.test", B: "one.test", C: "two.test"}
    assert set(both.models) == {"chat"}
    assert [r.targets[0][0] for r in both.models["chat"].ranks] == [A, C]


def test_a_key_that_leaves_a_pool_stays_while_chains_may_name_it() -> None:
    pool = "credentials: {%s}"
    old = parsed(yaml(A, keys=pool % "x: {env: X}, y: {env: Y}"))
    new = parsed(yaml(A, keys=pool % "y: {env: Y2}, z: {env: Z}"))
    both = merged(old, new)
    assert clusters_of(both) == {"a@x", "a@y", "a@z"}
    assert {c.name: c.env for c in both.targets[A].provider.credentials} == {"x": "X", "y": "Y2", "z": "Z"}


def test_no_old_key_goes_to_a_new_address() -> None:
    pool = "credentials: {%s}"
    old = parsed(yaml(A, keys=pool % "x: {env: X}, y: {env: Y}"))
    new = parsed(yaml(A, keys=pool % "y: {env: Y}, z: {env: Z}", url="http://two.test/v1"))
    assert clusters_of(merged(old, new)) == {"a@y", "a@z"}
