"""Installs the clients as the lock file says, once.

No package's install script runs: the one that matters links a binary, and is called by its name.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent.parent / "build" / "npm"
SCRIPT = "ai_sdk.mjs"
_FILES = ("package.json", "package-lock.json")
_BINARY = "node_modules/@anthropic-ai/claude-code/install.cjs"
_SECONDS = 600


class InstallError(Exception):
    """What to tell the user: the clients are not there."""


def install() -> Path:
    """The folder with `node_modules` and our own script beside it. Raises `InstallError`."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise InstallError("node and npm are needed, and are not there")
    wanted = hashlib.sha256(b"\0".join((HERE / name).read_bytes() for name in _FILES)).hexdigest()
    stamp = FOLDER / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        stamp.unlink(missing_ok=True)
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            shutil.copy(HERE / name, FOLDER)
        print(f"installing the clients into {FOLDER}", flush=True)
        _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        _run("node", _BINARY)
        stamp.write_text(wanted)
    # modules are found from where the script lies
    shutil.copy(HERE / SCRIPT, FOLDER)
    return FOLDER


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False)
    if done.returncode:
        raise InstallError(f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
