"""The lock file holds every package with its hash and no place to fetch it from, which is the machine's own business."""

from __future__ import annotations

import json
from typing import Any

from tests.npm.install import HERE


def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((HERE / name).read_text())
    return document


def test_the_lock_is_of_these_versions() -> None:
    wanted = _read("package.json")["dependencies"]
    packages = _read("package-lock.json")["packages"]
    assert packages[""]["dependencies"] == wanted
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted


def test_the_lock_has_hashes_and_no_hosts() -> None:
    packages = _read("package-lock.json")["packages"]
    fetched = {path: package for path, package in packages.items() if path and not package.get("inBundle")}
    assert len(fetched) > 20
    assert not [path for path, package in fetched.items() if not package.get("integrity")]
    assert not [path for path, package in packages.items() if "resolved" in package]
