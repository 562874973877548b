"""The state directory: what a kill in the middle leaves is read, what does not fit is cut, and what cannot be written is not half written."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from extproc.admin import files as files_module
from extproc.admin.files import Record, StateFiles
from extproc.admin.overlay import Entry, Overlay, Suspension
from extproc.admin.refusal import Refused
from extproc.admin.tree import ABSENT
from tests.admin.live_rig import Rig, by, eventually, go

ENTRIES = (
    Entry("a", 1.5, "ann", "d1", ("models", "chat", "strict"), False, True),
    Entry("b.1", 2.0, "bob", "d1", ("targets", "x"), ABSENT, {"provider": "p", "model": None}, 99.0),
    Entry("b.2", 2.0, "bob", "d1", ("models", "old"), {"targets": ["x"]}, ABSENT),
)


def record(number: int, size: int = 0) -> Record:
    return Record(f"{number}", float(number), "ann", "change", "d1", ({"path": ["models"], "after": "x" * size},), (), ENTRIES)


@pytest.fixture
def files(tmp_path: Path) -> StateFiles:
    files = StateFiles(tmp_path / "state")
    files.prepare()
    return files


def test_what_is_written_is_read(files: StateFiles) -> None:
    assert files.read_overlay() == Overlay()
    assert files.overlay_mark() is None
    overlay = Overlay(7, ENTRIES, Suspension(3.0, "conflict", "d2", ({"path": "models", "message": "no"},), lagging=True), unshared=True)
    files.write(overlay, record(1))
    first = files.overlay_mark()
    assert files.read_overlay() == overlay
    assert files.history() == [record(1)]
    files.write(overlay, record(2))
    assert files.overlay_mark() != first, "also where it says the same again"
    assert files.history() == [record(1), record(2)]
    assert [p.name for p in files.directory.iterdir() if p.name.startswith(".")] == []


def test_half_a_line_of_history(files: StateFiles) -> None:
    files.write(Overlay(), record(1))
    files.write(Overlay(), record(2))
    path = files.directory / "history.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert files.history() == [record(1)]
    files.write(Overlay(), record(3))
    assert files.history() == [record(1), record(3)]


def test_the_history_is_bounded(files: StateFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "HISTORY_BYTES", 20_000)
    for number in range(60):
        files.write(Overlay(), record(number, 1000))
        assert (files.directory / "history.jsonl").stat().st_size < 24_000
    kept = [r.id for r in files.history()]
    assert kept == [str(n) for n in range(60 - len(kept), 60)]
    assert len(kept) >= 5


def test_what_cannot_be_written_is_not_half_written(files: StateFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write(Overlay(1, ENTRIES), record(1))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(files_module, "replace_file", full)
        with pytest.raises(OSError, match="No space left"):
            files.write(Overlay(2), record(2))
    assert files.history() == [record(1)]
    assert files.read_overlay() == Overlay(1, ENTRIES)


def test_the_last_good_file_is_written_where_it_differs(files: StateFiles) -> None:
    assert files.read_last_good() is None
    files.write_last_good(b"one")
    inode = (files.directory / "last-good.yaml").stat().st_ino
    files.write_last_good(b"one")
    assert (files.directory / "last-good.yaml").stat().st_ino == inode
    files.write_last_good(b"two")
    assert files.read_last_good() == b"two"
    assert files.read_in_force(1) == ""
    files.write_in_force(1, "digest")
    assert files.read_in_force(1) == "digest"


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {},
        {"format": 1},
        {"format": 1, "version": "1", "changes": []},
        {"format": 1, "version": 1, "changes": [{**ENTRIES[0].said(), "removed": True}]},
        {"format": 1, "version": 1, "changes": [{k: v for k, v in ENTRIES[0].said().items() if k != "value"}]},
        {"format": 1, "version": 1, "changes": [{**ENTRIES[0].said(), "path": []}]},
        {"format": 1, "version": 1, "changes": [{**ENTRIES[0].said(), "path": ["models", 1]}]},
        {"format": 1, "version": 1, "changes": [{**ENTRIES[0].said(), "expires": "soon"}]},
        {"format": 1, "version": 1, "changes": [], "suspended": {"at": 1}},
    ],
)
def test_what_is_no_overlay_is_not_read(said: object) -> None:
    with pytest.raises(ValueError, match="not written as this version writes it"):
        Overlay.read(said)


def test_what_could_not_be_read_is_kept(tmp_path: Path) -> None:
    """However often something else is written in its place."""

    async def test() -> None:
        state = tmp_path / "state"
        for number in range(2):
            state.mkdir(exist_ok=True)
            (state / "overlay.json").write_text(f'{{"format": 2, "precious": {number}}}')
            rig = Rig(tmp_path)
            assert rig.live.overlay.state == "suspended"
            for old, new in (("strict: false", "strict: true"), ("strict: true", "strict: false")):
                rig.write(old, new)
                await rig.live.look()
        assert b"precious" not in (state / "overlay.json").read_bytes()
        assert json.loads((state / "overlay.unreadable").read_bytes())["precious"] == 0
        assert json.loads((state / "overlay.unreadable.1").read_bytes())["precious"] == 1

    go(test())


def test_a_kill_between_history_and_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change was not made, and the history does not say that it was."""

    class KilledError(BaseException):
        pass

    def kill(*_: object, **__: object) -> None:
        raise KilledError

    async def test() -> None:
        rig = Rig(tmp_path)
        await rig.patch("models.chat", {"strict": True})
        with monkeypatch.context() as killing:
            killing.setattr(files_module, "replace_file", kill)
            with pytest.raises(KilledError):
                await rig.patch("models.chat", {"strict": None})
        assert len(rig.files.history()) == 2
        again = Rig(tmp_path)
        assert again.current.models["chat"].strict
        assert [r.author for r in again.files.history()] == ["ann"]
        await again.patch("models.chat", {"strict": None}, by("bob"))
        assert [r.author for r in Rig(tmp_path).files.history()] == ["ann", "bob"]

    go(test())


@pytest.mark.parametrize("time", ["-1", "true", "1e300", '"1"', "null"])
def test_times_that_no_clock_says(files: StateFiles, time: str) -> None:
    files.write(Overlay(1, ENTRIES), record(1))
    for name, one in (("overlay.json", '"at":1.5'), ("history.jsonl", '"at":1.0')):
        path = files.directory / name
        assert one in path.read_text()
        path.write_text(path.read_text().replace(one, f'"at":{time}'))
    with pytest.raises(ValueError, match="not written as"):
        files.read_overlay()
    assert files.history() == []


def test_sizes_that_nobody_wrote(files: StateFiles) -> None:
    files.write(Overlay(1, ENTRIES), record(1))
    for name in ("overlay.json", "history.jsonl"):
        with (files.directory / name).open("r+b") as file:
            file.seek(1 << 36)
            file.write(b"\n")
    with pytest.raises(ValueError, match="larger than"):
        files.read_overlay()
    assert files.history() == []
    files.write(Overlay(), record(2))
    assert files.history() == [record(2)]


def test_one_server_of_several_writes(tmp_path: Path) -> None:
    """The others follow, and one of them takes over when it has ended."""
    program = """
import pathlib, sys
from extproc.admin.files import StateFiles
assert StateFiles(pathlib.Path(sys.argv[1])).own()
print(flush=True)
sys.stdin.read()
"""

    async def test() -> None:
        (tmp_path / "state").mkdir()
        with subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "state")], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            rig = Rig(tmp_path)
            assert not rig.live.leads
            with pytest.raises(Refused, match="another server process"):
                await rig.patch("models.chat", {"strict": True})
            assert not (tmp_path / "state" / "last-good.yaml").exists()
            theirs = Overlay(1, (Entry("x", 1.0, "bob", rig.live.base.digest, ("models", "chat", "strict"), False, True),))
            rig.files.write(theirs, None)
            async with rig.running():
                await eventually(lambda: rig.current.models["chat"].strict)
            rig.files.write(replace(theirs, version=2, entries=()), None)
            other.kill()
        await rig.patch("models.chat", {"targets": ["b"]})
        assert not rig.current.models["chat"].strict, "what it wrote last counts"
        assert rig.live.leads

    go(test())


def test_what_a_kill_has_left_half_written_is_taken_again(files: StateFiles) -> None:
    for name in ("overlay.json", "last-good.yaml"):
        (files.directory / f".{name}.tmp").write_text("half of something that is longer than what comes now" * 100)
    files.write(Overlay(1, ENTRIES), record(1))
    files.write_last_good(b"one")
    assert files.read_overlay() == Overlay(1, ENTRIES)
    assert sorted(p.name for p in files.directory.iterdir()) == ["history.jsonl", "last-good.yaml", "overlay.json"]
