"""The operator of the demo: the commands that he would type in another terminal, run here, against the admin API on its Unix socket."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from extproc.__main__ import parser_for
from extproc.commands import routes
from extproc.commands.admin_client import SOCKET, AdminClient


async def run(directory: Path, arguments: Sequence[str]) -> tuple[Any, str]:
    """`extproc routes …`: (the server's answer, what the command prints). `directory` is the server's --run-dir. Raises `RefusedError`."""
    return await asyncio.to_thread(_run, directory, arguments)


def _run(directory: Path, arguments: Sequence[str]) -> tuple[Any, str]:
    args = parser_for("routes").parse_args(arguments)
    with AdminClient(str(directory / SOCKET)) as client:
        return routes.ask(client, args)


def typed(arguments: Sequence[str]) -> str:
    """As it would be typed."""
    return f"extproc {shlex.join(arguments)}"
