"""Replicas that share one overlay: a change reaches all of them, the first of two wins, and losing the shared state costs only sharing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

import pytest

from extproc.admin import agree
from extproc.admin import live as live_module
from extproc.admin.refusal import Refused
from tests.admin.live_rig import FILE, Rig, by, eventually, go


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "FILE_POLL", 0.002)
    monkeypatch.setattr(agree, "RETRY", 0.002)


class Document(NamedTuple):
    version: int
    document: bytes


class State:
    """What Redis does. Every replica has its own end of it."""

    def __init__(self) -> None:
        self.kept: Document | None = None
        self.ends: list[End] = []

    def end(self) -> End:
        self.ends.append(End(self))
        return self.ends[-1]


class End:
    def __init__(self, state: State) -> None:
        self.state = state
        self.lost = False
        self.news = asyncio.Event()

    async def get(self) -> Document | None:
        self._reach()
        return self.state.kept

    async def put(self, document: bytes, expected: int) -> int | None:
        self._reach()
        version = self.state.kept.version if self.state.kept else 0
        if version != expected:
            return None
        self.state.kept = Document(version + 1, document)
        for end in self.state.ends:
            end.news.set()
        return version + 1

    async def changed(self) -> None:
        await self.news.wait()
        self.news.clear()

    def _reach(self) -> None:
        if self.lost:
            raise ConnectionError("no route")


def replica(directory: Path, name: str, end: End, text: str = FILE) -> Rig:
    (directory / name).mkdir(exist_ok=True)
    file = directory / name / "registry.yaml"
    if not file.exists():
        file.write_text(text + 'state: "redis://localhost:6379/0"\n')
    return Rig(directory / name, shared=end)


def test_a_change_reaches_every_replica(tmp_path: Path) -> None:
    async def test() -> None:
        state = State()
        one, two = (replica(tmp_path, name, state.end()) for name in ("one", "two"))
        async with one.running(), two.running():
            done = await one.patch("models.chat", {"strict": True})
            assert (done.reaches, done.unshared) == ("every replica", "")
            await eventually(lambda: two.current.models["chat"].strict)
            assert two.current.digest == one.current.digest
            await two.revise.drop(by("bob"))
            await eventually(lambda: not one.current.models["chat"].strict)
            assert one.files.history()[-1].action == "shared"
        late = replica(tmp_path, "late", state.end())
        await one.patch("models.chat", {"strict": True})
        async with late.running():
            await eventually(lambda: late.current.models["chat"].strict)

    go(test())


def test_of_two_changes_at_once_the_first_counts(tmp_path: Path) -> None:
    async def test() -> None:
        state = State()
        one, two = (replica(tmp_path, name, state.end()) for name in ("one", "two"))
        await one.patch("models.chat", {"strict": True})
        before = two.current
        with pytest.raises(Refused) as refused:
            await two.patch("models.chat", {"targets": ["b"]})
        assert (refused.value.status, refused.value.code) == (409, "changed_elsewhere")
        assert two.current is before
        assert two.files.history() == []
        async with two.running():
            await eventually(lambda: two.current.models["chat"].strict)
            assert (await two.patch("models.chat", {"targets": ["b"]})).reaches == "every replica"

    go(test())


def test_without_the_shared_state_a_change_is_made_here_and_shared_later(tmp_path: Path) -> None:
    async def test() -> None:
        state = State()
        one, two = (replica(tmp_path, name, state.end()) for name in ("one", "two"))
        async with one.running(), two.running():
            await one.patch("models.chat", {"strict": True})
            await eventually(lambda: two.current.models["chat"].strict)
            state.ends[0].lost = True
            done = await one.patch("models.chat", {"targets": ["b"]})
            assert done.reaches == "this process"
            assert "does not answer" in done.unshared
            assert one.live.overlay.unshared
            state.ends[0].lost = False
            state.ends[0].news.set()
            await eventually(lambda: len(two.current.models["chat"].ranks) == 1)
            await eventually(lambda: not one.live.overlay.unshared)

    go(test())


def test_one_that_could_not_be_shared_yields_to_one_that_came_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        state = State()
        one, two = (replica(tmp_path, name, state.end()) for name in ("one", "two"))
        state.ends[0].lost = True
        lost = await one.patch("models.chat", {"targets": ["b"]})
        await two.patch("models.chat", {"strict": True})
        state.ends[0].lost = False
        async with one.running():
            await eventually(lambda: one.current.models["chat"].strict)
            assert len(one.current.models["chat"].ranks) == 2
            assert any(getattr(r, "changes", None) == [lost.id] for r in caplog.records)
            await one.revise.roll_back(lost.id, "after", by())
            assert len(one.current.models["chat"].ranks) == 1

    go(test())


def test_a_shared_state_that_lost_everything_gets_it_back(tmp_path: Path) -> None:
    async def test() -> None:
        state = State()
        one = replica(tmp_path, "one", state.end())
        async with one.running():
            await one.patch("models.chat", {"strict": True})
            await one.patch("models.chat", {"targets": ["b"]})
            state.kept = None
            state.ends[0].news.set()
            await eventually(lambda: one.live.overlay.version == 1)
            assert state.kept is not None
            assert state.kept.version == 1
            state.kept = None
            state.ends[0].news.set()
            await eventually(lambda: state.kept is not None)
            assert (await one.revise.drop(by())).reaches == "every replica"
            state.kept = None
            state.ends[0].news.set()
            await eventually(lambda: one.live.overlay.version == 0)
            assert (await one.patch("models.chat", {"strict": True})).reaches == "every replica"

    go(test())


def test_changes_from_before_there_was_a_shared_state(tmp_path: Path) -> None:
    async def test() -> None:
        alone = Rig(tmp_path)
        await alone.patch("models.chat", {"strict": True})
        state = State()
        again = Rig(tmp_path, shared=state.end())
        assert again.revise.reaches() == "this process", "the registry names none"
        async with again.running():
            again.file.write_text(FILE + 'state: "redis://localhost:6379/0"\n')
            await eventually(lambda: again.current.state is not None)
            state.ends[0].news.set()
            await eventually(lambda: state.kept is not None)
            await eventually(lambda: not again.live.overlay.unshared)

    go(test())


def test_replicas_whose_files_change_one_after_the_other(tmp_path: Path) -> None:
    """The first has the new file, and somebody affirms the changes over it: the second, which still has the old one, waits for the file."""

    async def test() -> None:
        state = State()
        one, two = (replica(tmp_path, name, state.end()) for name in ("one", "two"))
        async with one.running(), two.running():
            await one.patch("models.chat", {"targets": ["b"]})
            await eventually(lambda: two.live.overlay.state == "active")
            one.write("targets: [a, b]", "targets: [a]")
            await eventually(lambda: one.live.overlay.suspended)
            assert two.live.overlay.state == "active"
            await one.revise.resume(by())
            await eventually(lambda: two.live.overlay.suspended)
            assert two.live.overlay.suspended is not None
            assert two.live.overlay.suspended.lagging
            two.write("targets: [a, b]", "targets: [a]")
            await eventually(lambda: two.live.overlay.state == "active")
            assert two.current.digest == one.current.digest

    go(test())


def test_what_is_no_overlay_is_left_alone(tmp_path: Path) -> None:
    async def test() -> None:
        state = State()
        state.kept = Document(3, b"nonsense")
        one = replica(tmp_path, "one", state.end())
        before = one.current
        async with one.running():
            await asyncio.sleep(0.02)
            assert one.current is before

    go(test())


def test_what_cannot_be_read_in_the_shared_state_is_not_overwritten(tmp_path: Path) -> None:
    """A newer version of this program may have written it. What is in force stays, and a change says why it is not made."""

    async def test() -> None:
        state = State()
        one = replica(tmp_path, "one", state.end())
        async with one.running():
            await one.patch("models.chat", {"strict": True})
            assert state.kept is not None
            good = state.kept
            state.kept = Document(good.version + 1, b'{"format": 2}')
            state.ends[0].news.set()
            assert one.sharing is not None
            await eventually(lambda: one.sharing is not None and one.sharing.reached is False)
            for change in (one.patch("models.chat", {"strict": None}), one.revise.drop(by())):
                with pytest.raises(Refused, match="cannot be read") as refused:
                    await change
                assert refused.value.status == 503
            assert one.current.models["chat"].strict
            state.kept = Document(good.version + 2, good.document)
            await eventually(lambda: one.live.overlay.version == good.version + 2)
            await one.patch("models.chat", {"strict": None})

    go(test())


def test_a_change_does_not_claim_to_reach_whom_it_would_not(tmp_path: Path) -> None:
    async def test() -> None:
        state = State()
        one = replica(tmp_path, "one", state.end())
        assert one.revise.reaches() == "every replica"
        state.ends[0].lost = True
        await one.patch("models.chat", {"strict": True})
        assert one.revise.reaches() == "this process"

    go(test())
