"""How this program is called from another terminal, for commands that are printed to be copied."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def called() -> str:
    """The installed script with its directory, because the other terminal may have another PATH; without one, the interpreter and the module."""
    script = Path(sys.executable).parent / "extproc"
    return shlex.quote(str(script)) if script.is_file() else f"{shlex.quote(sys.executable)} -m extproc"
