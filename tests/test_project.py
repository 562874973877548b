"""The project as a whole: two lines that do everything, locks that are complete, nothing committed that does not belong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP = {
    "pyproject.toml",
    "proto",
    "extproc",
    "envoy",
    "k8s",
    "tests",
    "README.md",
    ".ci",
    "LICENSE",
    "requirements.lock",
    "requirements-dev.lock",
    ".gitignore",
}


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return done.stdout.split()


def commands() -> list[str]:
    """The README's two lines: the first command blocks that make a virtual environment."""
    return [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("python3 -m venv")]


def test_the_readme_has_two_lines_and_ci_runs_the_second() -> None:
    run, test = commands()
    assert run.endswith("extproc demo")
    assert test.endswith("pytest")
    assert test in (ROOT / ".ci/run").read_text().splitlines()


def test_top_level() -> None:
    assert {name.split("/")[0] for name in tracked()} <= TOP


@pytest.mark.parametrize(("lock", "extra"), [("requirements.lock", "demo"), ("requirements-dev.lock", "dev")])
def test_locks_hold_every_dependency_with_hashes(lock: str, extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / lock).read_text()
    pinned = {m[1]: m[2] for m in re.finditer(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", text, re.MULTILINE)}
    wanted = project["dependencies"] + project["optional-dependencies"][extra]
    for requirement in wanted:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert name is not None
        if name[0] != "llm-extproc":
            assert name[0].lower() in pinned, f"{requirement} is not in {lock}: run python -m tests.lock"
    assert text.count("==") <= text.count("--hash=sha256:")
    assert "://" not in text


def test_no_file_is_huge_and_no_secret_is_committed() -> None:
    # a key has digits and capitals; the words of a made-up one in a test do not
    key = re.compile(r"\b(sk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{24,}|AKIA[0-9A-Z]{16}|AIza[\w-]{35})\b")
    for name in tracked():
        path = ROOT / name
        if not path.is_file():
            continue
        assert path.stat().st_size < 1 << 20, name
        text = path.read_text(errors="replace")
        found = key.search(text)
        assert found is None, f"{name}: {found and found[0][:6]}…"


@pytest.mark.skipif(os.environ.get("CI") != "true", reason="makes a second environment in a clean clone; CI does it (CI=true)")
def test_the_first_line_works_in_a_clean_clone(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True, timeout=60)
    line = commands()[0] + " --once"
    done = subprocess.run(["bash", "-c", line], cwd=clone, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    done = subprocess.run([sys.executable, "-m", "extproc", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == project["version"]
