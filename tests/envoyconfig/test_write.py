"""Atomic writing: only what changed, in the order that Envoy needs, and no reader ever sees half a file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from extproc.envoyconfig.write import write

FILES = {"envoy.yaml": b"e", "rds.yaml": b"r", "cds.yaml": b"c", "sds/b.yaml": b"2", "sds/a.yaml": b"1"}


def test_order_and_modes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert write(FILES, out) == ["sds/a.yaml", "sds/b.yaml", "cds.yaml", "rds.yaml", "envoy.yaml"]
    assert {name: (out / name).read_bytes() for name in FILES} == FILES
    assert [stat.S_IMODE(path.stat().st_mode) for path in (out, out / "sds", out / "cds.yaml")] == [0o700, 0o700, 0o600]
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == ["a.yaml", "b.yaml", "cds.yaml", "envoy.yaml", "rds.yaml"]


def test_only_what_changed(tmp_path: Path) -> None:
    write(FILES, tmp_path)
    inode = (tmp_path / "cds.yaml").stat().st_ino
    assert write(FILES, tmp_path) == []
    assert write({**FILES, "rds.yaml": b"new"}, tmp_path) == ["rds.yaml"]
    assert (tmp_path / "cds.yaml").stat().st_ino == inode


def test_stale_secrets_go_last(tmp_path: Path) -> None:
    write(FILES, tmp_path)
    fewer = {name: b"x" for name in FILES if name != "sds/a.yaml"}
    assert write(fewer, tmp_path) == ["sds/b.yaml", "cds.yaml", "rds.yaml", "envoy.yaml", "sds/a.yaml"]
    assert not (tmp_path / "sds" / "a.yaml").exists()


def test_by_rename(tmp_path: Path) -> None:
    write(FILES, tmp_path)
    with (tmp_path / "cds.yaml").open("rb") as reader:
        write({**FILES, "cds.yaml": b"a longer text"}, tmp_path)
        assert reader.read() == b"c"


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(FILES, tmp_path)

    def fail(self: Path, target: Path) -> None:
        raise OSError("no")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no"):
        write({**FILES, "cds.yaml": b"x"}, tmp_path)
    assert (tmp_path / "cds.yaml").read_bytes() == b"c"
    assert not list(tmp_path.glob("*.tmp"))
    assert not list(tmp_path.glob(".*"))


def test_a_disk_that_is_full_leaves_the_old_files_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new key must not lie beside the cluster of the old endpoint."""
    write(FILES, tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.yaml")}
    synced = os.fsync
    left = [2]

    def full(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        synced(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write({name: content + b" of another" for name, content in FILES.items()}, tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_what_a_kill_has_left_half_written_is_taken_again(tmp_path: Path) -> None:
    write({}, tmp_path)
    for name in (".cds.yaml.tmp", "sds/.a.yaml.tmp"):
        (tmp_path / name).write_bytes(b"half of something" * 100)
    write(FILES, tmp_path)
    assert {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == FILES
