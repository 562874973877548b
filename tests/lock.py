"""Writes the lock files: `python -m tests.lock`. Needs the `uv` command for it; nothing else here does."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {"requirements.lock": "demo", "requirements-dev.lock": "dev"}


def main() -> None:
    for name, extra in LOCKS.items():
        text = (
            "uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet"
            f" --extra {extra} --output-file {name}"
        )
        subprocess.run(text.split(), check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
