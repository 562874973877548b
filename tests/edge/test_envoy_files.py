"""Envoy's files for a registry: written where they differ, left alone where only models, rules or limits do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from extproc.edge import envoy_files
from extproc.edge.envoy_files import RenderedFiles
from extproc.edge.reload import Reloader, Written
from extproc.envoyconfig.options import Options
from extproc.stages.services import Snapshots
from tests.edge.test_reload import A, B, C, parsed, yaml


def files(directory: Path, worker: int = 0) -> RenderedFiles:
    return RenderedFiles(Options(out_dir=str(directory / "out"), run_dir=str(directory)), None, None, worker)


def there(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*.yaml")}


def test_what_changes_no_cluster_changes_no_file(tmp_path: Path) -> None:
    async def test() -> None:
        rendered = files(tmp_path)
        assert await rendered.write(parsed(yaml(A, B))) == Written(None, changed=True)
        before = there(tmp_path)
        assert set(before) >= {"out/envoy.yaml", "out/cds.yaml", "out/rds.yaml"}
        assert await rendered.write(parsed(yaml(A, B, deadline="9s"))) == Written(None)
        assert there(tmp_path) == before
        assert await rendered.write(parsed(yaml(A, B, C))) == Written(None, changed=True)
        assert there(tmp_path)["out/cds.yaml"] != before["out/cds.yaml"]

    asyncio.run(test())


def test_what_the_first_worker_has_written_changes_nothing_for_another(tmp_path: Path) -> None:
    async def test() -> None:
        await files(tmp_path).write(parsed(yaml(A)))
        other = files(tmp_path, worker=1)
        assert await other.write(parsed(yaml(A, deadline="9s"))) == Written(None)
        before = there(tmp_path)
        assert (await other.write(parsed(yaml(A, B)))).changed
        assert there(tmp_path) == before, "it only waits"

    asyncio.run(test())


def test_the_bootstrap_that_envoy_was_started_with_is_left_alone(tmp_path: Path) -> None:
    async def test() -> None:
        await files(tmp_path).write(parsed(yaml(A)))
        bootstrap = tmp_path / "out" / "envoy.yaml"
        bootstrap.write_bytes(bootstrap.read_bytes() + b"# and more\n")
        assert await files(tmp_path).write(parsed(yaml(A, B))) == Written(None, changed=True)
        assert bootstrap.read_bytes().endswith(b"# and more\n")

    asyncio.run(test())


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        rendered = files(tmp_path)
        assert await rendered.check(parsed(yaml(A))) is None
        assert there(tmp_path) == {}
        unreadable = RenderedFiles(Options(out_dir=str(tmp_path / "out"), run_dir=str(tmp_path)), tmp_path / "absent", None)
        why = await unreadable.check(parsed(yaml(A)))
        assert why is not None
        assert (await unreadable.write(parsed(yaml(A)))).refusal == why

    asyncio.run(test())


def test_what_the_disk_does_not_take_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async def test() -> None:
        rendered = files(tmp_path)
        await rendered.write(parsed(yaml(A)))
        before = there(tmp_path)
        with monkeypatch.context() as broken:
            broken.setattr(envoy_files, "write", full)
            refusal, changed = await rendered.write(parsed(yaml(A, B)))
        assert refusal is not None
        assert refusal.startswith("envoy's files cannot be written: No space left on device")
        assert changed, "it is not known how far it came"
        assert there(tmp_path) == before
        # also where the old ones cannot be put back
        registry, another = parsed(yaml(A)), parsed(yaml(A, B))

        async def active() -> None:
            return None

        reloader = Reloader(Snapshots(registry), rendered, active, 5.0)
        with monkeypatch.context() as broken:
            broken.setattr(envoy_files, "write", full)
            assert await reloader.take(another) == refusal
        assert await reloader.take(another) is None
        reloader.stop()

    asyncio.run(test())
