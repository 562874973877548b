"""`extproc render`: writes Envoy's files, only what changed, and nothing where anything is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.commands.files import REGISTRY, run, write

FILES = ["envoy.yaml", "cds.yaml", "rds.yaml"]


def test_it_writes_every_file_and_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out_dir = tmp_path / "out"
    code, out, err = run(capsys, "render", "--registry", write(tmp_path), "--out", out_dir, "--run-dir", "/run/llm")
    assert code == 0
    secrets = [f"sds/{cluster}.yaml" for cluster in ("gpt@k1", "gpt@k2", "sonnet", "flash", "any@k1", "any@k2")]
    assert sorted(out.splitlines()) == sorted(str(out_dir / name) for name in [*FILES, *secrets])
    assert err == f"9 files changed; start with: envoy -c {out_dir / 'envoy.yaml'}\n"
    assert sorted(str(p.relative_to(out_dir)) for p in out_dir.rglob("*") if p.is_file()) == sorted([*FILES, *secrets])
    assert "/run/llm/extproc-0.sock" in (out_dir / "envoy.yaml").read_text()


def test_a_second_time_nothing_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path)
    run(capsys, "render", "--registry", file, "--out", tmp_path / "out")
    code, out, err = run(capsys, "render", "--registry", file, "--out", tmp_path / "out")
    assert (code, out) == (0, "")
    assert err.startswith("0 files changed")
    write(tmp_path, REGISTRY.replace("127.0.0.1:8000", "127.0.0.1:8001"))
    code, out, err = run(capsys, "render", "--registry", file, "--out", tmp_path / "out")
    assert (code, out) == (0, f"{tmp_path / 'out' / 'cds.yaml'}\n")
    assert err.startswith("1 file changed;")


def test_heap_and_certificates_reach_envoys_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["--out", tmp_path, "--envoy-heap", "2048", "--ca-file", "/certs/ca.pem"]
    assert run(capsys, "render", "--registry", write(tmp_path), *line)[0] == 0
    bootstrap = yaml.safe_load((tmp_path / "envoy.yaml").read_text())
    monitors = {m["name"]: m["typed_config"] for m in bootstrap["overload_manager"]["resource_monitors"]}
    assert int(monitors["envoy.resource_monitors.fixed_heap"]["max_heap_size_bytes"]) == 2048 << 20
    clusters = (tmp_path / "cds.yaml").read_text()
    assert "/certs/ca.pem" in clusters
    assert "ca-certificates.crt" not in clusters


def test_keys_never_reach_envoys_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_KEY", "the-key-itself")
    assert run(capsys, "render", "--registry", write(tmp_path), "--out", tmp_path / "out")[0] == 0
    assert all("the-key-itself" not in p.read_text() for p in (tmp_path / "out").rglob("*") if p.is_file())


def test_nothing_is_written_where_anything_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, REGISTRY.replace("model: gpt-4o}", "model: gpt-4o, envoy: {lbPolicy: RANDOM}}"))
    code, out, err = run(capsys, "render", "--registry", file, "--out", tmp_path / "out")
    assert (code, out) == (1, "")
    assert f"{file}:8: targets.gpt.envoy.lbPolicy" in err
    assert not (tmp_path / "out").exists()


def test_a_directory_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("a file")
    code, out, err = run(capsys, "render", "--registry", write(tmp_path), "--out", tmp_path / "out")
    assert (code, out) == (1, "")
    assert err.startswith(f"extproc render: {tmp_path / 'out'}")
    assert "Traceback" not in err
