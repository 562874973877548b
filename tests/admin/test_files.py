"""The state directory: what a kill in the middle leaves is read, what does not fit is cut, and what cannot be written is not half written."""

from __future__ import annotations

from pathlib import Path

import pytest

from extproc.admin import files as files_module
from extproc.admin.files import Record, StateFiles
from extproc.admin.overlay import Entry, Overlay, Suspension
from extproc.admin.tree import ABSENT

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
