"""Tokens are put in place whole and for their owner alone."""

import threading
from pathlib import Path

import pytest

from extproc.tokens.files import STATE, State, put, read_states, write_states


def test_a_file_and_its_directory_are_private(tmp_path: Path) -> None:
    directory = tmp_path / "run" / "tokens"
    put(directory, "vertex@a", b"one")
    put(directory, "vertex@a", b"two")
    assert (directory / "vertex@a").read_bytes() == b"two"
    assert (directory / "vertex@a").stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in directory.iterdir()] == ["vertex@a"]


def test_a_reader_never_sees_half_a_token(tmp_path: Path) -> None:
    """Each is read whole, however often it is replaced."""
    tokens = [letter * 4000 for letter in "abcdef"]
    put(tmp_path, "t", tokens[0].encode())
    done = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        while not done.is_set():
            seen.add((tmp_path / "t").read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for token in tokens * 10:
        put(tmp_path, "t", token.encode())
    done.set()
    reader.join()
    assert seen <= set(tokens)


def test_a_failure_leaves_the_old_one_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "t", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        put(tmp_path, "t", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"t": b"old"}


def test_states(tmp_path: Path) -> None:
    states = {"a": State(10.0, 5.0), "b@c": State(0.0, 6.0, "TimeoutError")}
    write_states(tmp_path, states)
    assert read_states(tmp_path) == states
    assert states["a"].good_at(9.9)
    assert not states["a"].good_at(10.0)
    assert not states["b@c"].good_at(1.0)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a": {"other": 1}}', b'{"a": 1}', b"\xff"])
def test_a_state_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    assert read_states(tmp_path) == {}
    (tmp_path / STATE).write_bytes(content)
    assert read_states(tmp_path) == {}
