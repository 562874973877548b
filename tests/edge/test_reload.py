"""A changed registry: taken into service in an order that drops nobody, or refused while the old one keeps serving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from extproc.edge import reload
from extproc.edge.reload import Reloader, Updates, Written, merged
from extproc.registry.load import parse_registry
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
        self.last: object = None
        self.asked = 0

    async def check(self, registry: Registry) -> str | None:
        return self.refusal

    async def write(self, registry: Registry) -> Written:
        if self.hold is not None:
            self.news.set()
            await self.hold.wait()
        if self.error is not None:
            error, self.error, self.last = self.error, None, None  # half of it may be written
            raise error
        if self.refusal is not None:
            why, self.refusal = self.refusal, None
            return Written(why)
        if self.files(registry) == self.last:
            return Written(None)
        self.last = self.files(registry)
        self.written.append(registry.clusters)
        rejected, self.rejects = self.rejects, False
        self.updates = Updates(self.updates.taken + (not rejected), self.updates.refused + rejected)
        self.news.set()
        return Written(None, changed=True)

    @staticmethod
    def files(registry: Registry) -> object:
        """What would be written: everything but models."""
        return registry.providers, {name: target.clusters for name, target in registry.targets.items()}

    async def active(self) -> frozenset[str] | None:
        self.asked += 1
        return self.written[-1] - self.stuck if self.answers and self.written else None

    async def count_updates(self) -> Updates | None:
        return self.updates

    async def until(self, holds: Callable[[], object]) -> None:
        while not holds():
            self.news.clear()
            await self.news.wait()


class Rig:
    def __init__(self, *, settle: float = 3600.0, write: bool = True) -> None:
        self.snapshots = Snapshots(parsed(yaml(A, B)))
        self.before = self.snapshots.current
        self.envoy = Envoy()
        self.envoy.last = self.envoy.files(self.before)
        self.reloader = Reloader(self.snapshots, self.envoy if write else None, self.envoy.active, settle, self.envoy.count_updates)

    @property
    def targets(self) -> set[str]:
        return set(self.snapshots.current.targets)

    async def change(self, text: str) -> str | None:
        return await self.reloader.take(parsed(text))

    def still_serves(self, why: str | None, *parts: str) -> None:
        assert self.snapshots.current is self.before
        assert self.reloader.reloads == 0
        assert why is not None
        for part in parts:
            assert part in why


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "_PAUSE", 0.001)


def test_a_good_change_is_added_first_and_used_when_active() -> None:
    async def test() -> None:
        rig = Rig()
        assert await rig.change(yaml(A, C)) is None
        assert rig.targets == {A, C}
        assert rig.envoy.written == [{A, B, C}], "what chains under way may name stays"
        assert rig.reloader.reloads == 1
        assert rig.snapshots.get(rig.before.digest) is rig.before

    go(test())


def test_a_new_registry_is_not_used_before_envoy_has_its_clusters() -> None:
    async def test() -> None:
        rig = Rig()
        rig.envoy.stuck = frozenset({C})
        reloading = asyncio.create_task(rig.change(yaml(A, C)))
        await rig.envoy.until(lambda: rig.envoy.written)
        for _ in range(20):
            await asyncio.sleep(0)
        assert rig.snapshots.current is rig.before
        rig.envoy.stuck = frozenset()
        assert await reloading is None
        assert rig.targets == {A, C}

    go(test())


def test_clusters_that_never_become_active(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "ACTIVE_WITHIN", 0.01)

    async def test() -> None:
        rig = Rig()
        rig.envoy.stuck = frozenset({C})
        why = await rig.change(yaml(A, C))
        rig.still_serves(why, "did not make these clusters active", "c")
        assert rig.envoy.written == [{A, B, C}, {A, B}], "Envoy gets back what it had"

    go(test())


def test_a_change_that_rendering_refuses() -> None:
    async def test() -> None:
        rig = Rig()
        rig.envoy.refusal = "envoy refuses the rendered configuration: no"
        why = await rig.change(yaml(A, C))
        rig.still_serves(why, "envoy refuses the rendered configuration: no")
        assert rig.envoy.written == []

    go(test())


def test_a_change_that_envoy_itself_rejects() -> None:
    """The clusters have the old names, so they all are active: only Envoy's counter tells."""

    async def test() -> None:
        rig = Rig()
        rig.envoy.rejects = True
        why = await rig.change(yaml(A, B, url="http://two.test/v1"))
        rig.still_serves(why, "envoy refuses the rendered clusters")
        assert len(rig.envoy.written) == 2

    go(test())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("words of nobody's business")])
def test_an_error_while_writing_is_no_end_of_reloading(error: Exception) -> None:
    async def test() -> None:
        rig = Rig()
        rig.envoy.error = error
        why = await rig.change(yaml(A, C))
        rig.still_serves(why, "No space left" if isinstance(error, OSError) else "internal error: RuntimeError")
        assert rig.envoy.written == [{A, B}]
        assert await rig.change(yaml(A, C, deadline="61s")) is None
        assert rig.targets == {A, C}

    go(test())


def test_an_envoy_that_cannot_be_asked_is_not_waited_for() -> None:
    async def test() -> None:
        rig = Rig()
        rig.envoy.answers = False
        assert await rig.change(yaml(A, C)) is None
        assert rig.targets == {A, C}

    go(test())


def test_with_files_that_are_somebody_elses_new_clusters_are_waited_for() -> None:
    async def test() -> None:
        rig = Rig(write=False)
        rig.envoy.written = [frozenset({A, B})]
        reloading = asyncio.create_task(rig.change(yaml(A, C)))
        await asyncio.sleep(0.01)
        assert rig.snapshots.current is rig.before
        rig.envoy.written.append(frozenset({A, C}))
        assert await reloading is None
        assert rig.targets == {A, C}
        assert len(rig.envoy.written) == 2

    go(test())


# nothing of Envoy's


def test_what_changes_no_file_of_envoys_is_in_force_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its counters nor its clusters are waited for."""
    monkeypatch.setattr(reload, "READ_WITHIN", 3600.0)

    async def test() -> None:
        rig = Rig()
        rig.envoy.stuck = frozenset({A})
        assert await rig.change(yaml(A, B, deadline="9s")) is None
        assert rig.snapshots.current.models["chat"].timeouts.deadline == 9.0
        assert (rig.envoy.written, rig.envoy.asked) == ([], 0)

    go(test())


def test_it_does_not_put_off_a_removal() -> None:
    async def test() -> None:
        rig = Rig()
        assert await rig.change(yaml(A)) is None
        removal = rig.reloader._removal
        assert await rig.change(yaml(A, deadline="9s")) is None
        assert rig.reloader._removal is removal
        assert await rig.change(yaml(A, B)) is None
        assert rig.reloader._removal is not removal
        await asyncio.sleep(0)
        assert removal is not None
        assert removal.cancelled()

    go(test())


# what makes a change last


def test_a_change_is_made_to_last_when_envoy_has_it_and_before_it_is_used() -> None:
    async def test() -> None:
        rig = Rig()
        seen: list[object] = []

        async def commit() -> None:
            seen.append((rig.snapshots.current is rig.before, list(rig.envoy.written)))

        assert await rig.reloader.take(parsed(yaml(A, C)), commit) is None
        assert seen == [(True, [{A, B, C}])]
        assert rig.targets == {A, C}

    go(test())


@pytest.mark.parametrize("text", [yaml(A, C), yaml(A, B, deadline="9s")])
def test_a_change_that_cannot_be_made_to_last_is_refused(text: str) -> None:
    async def test() -> None:
        rig = Rig()

        async def commit() -> None:
            raise KeyError("the disk is full")

        with pytest.raises(KeyError):
            await rig.reloader.take(parsed(text), commit)
        rig.still_serves("refused")
        assert rig.envoy.written in ([], [{A, B, C}, {A, B}])

    go(test())


def test_the_same_registry_is_made_to_last_too() -> None:
    async def test() -> None:
        rig = Rig()
        done = asyncio.Event()

        async def commit() -> None:
            done.set()

        assert await rig.reloader.take(replace(rig.before), commit) is None
        assert done.is_set()
        assert rig.snapshots.current is rig.before

    go(test())


# removal


def test_what_nobody_names_any_more_is_removed_in_the_end() -> None:
    async def test() -> None:
        rig = Rig(settle=-60.0)
        assert await rig.change(yaml(A)) is None
        assert rig.envoy.written == [], "Envoy has what is needed, and more"
        await rig.envoy.until(lambda: rig.envoy.written)
        assert rig.envoy.written == [{A}]

    go(test())


def test_it_stays_for_as_long_as_a_chain_of_the_old_registry_may_last(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    async def test() -> None:
        rig = Rig(settle=5.0)
        assert await rig.change(yaml(A, B, deadline="300s")) is None
        monkeypatch.setattr(asyncio, "sleep", noted)
        assert await rig.change(yaml(A, deadline="7s")) is None
        await rig.envoy.until(lambda: rig.envoy.written == [{A}])
        assert [seconds for seconds in slept if seconds] == [305.0]

    go(test())


def test_a_second_change_keeps_what_the_first_one_still_settles() -> None:
    async def test() -> None:
        rig = Rig()
        assert await rig.change(yaml(A)) is None
        assert await rig.change(yaml(A, C)) is None
        assert rig.envoy.written == [{A, B, C}], "chains of the first registry may still name b"
        rig.envoy.refusal = "no"
        assert await rig.change(yaml(A, "d")) == "no"
        assert rig.envoy.written == [{A, B, C}]
        assert rig.targets == {A, C}

    go(test())


def test_a_refused_change_does_not_call_off_a_removal() -> None:
    async def test() -> None:
        rig = Rig()
        assert await rig.change(yaml(A)) is None
        rig.reloader._settle = -60.0
        rig.envoy.refusal = "no"
        assert await rig.change(yaml(A, C)) == "no"
        await rig.envoy.until(lambda: rig.envoy.written == [{A}])

    go(test())


def test_a_change_during_a_removal_waits_for_it() -> None:
    """Two writers at once could leave Envoy without the clusters of the new registry."""

    async def test() -> None:
        rig = Rig(settle=-60.0)
        assert await rig.change(yaml(A)) is None
        rig.envoy.hold = asyncio.Event()
        rig.envoy.news.clear()
        await rig.envoy.news.wait()
        reloading = asyncio.create_task(rig.change(yaml(A, C)))
        for _ in range(20):
            await asyncio.sleep(0)
        rig.envoy.hold.set()
        assert await reloading is None
        assert rig.envoy.written == [{A}, {A, C}]
        assert rig.targets == {A, C}

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
    assert both.clusters == {"a@x", "a@y", "a@z"}
    assert {c.name: c.env for c in both.targets[A].provider.credentials} == {"x": "X", "y": "Y2", "z": "Z"}


def test_no_old_key_goes_to_a_new_address() -> None:
    pool = "credentials: {%s}"
    old = parsed(yaml(A, keys=pool % "x: {env: X}, y: {env: Y}"))
    new = parsed(yaml(A, keys=pool % "y: {env: Y}, z: {env: Z}", url="http://two.test/v1"))
    assert merged(old, new).clusters == {"a@y", "a@z"}
