"""`extproc top`: the targets and the last decisions of the running server, live in a terminal, until Ctrl-C."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from extproc.commands.admin_client import AdminClient, RefusedError, add_admin, client_of
from extproc.commands.arguments import UsageError
from extproc.commands.columns import fitting
from extproc.commands.stats import HEADER, LEAST, read, rows_of

_SCREEN_ON, _SCREEN_OFF = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_BOLD, _RED, _YELLOW, _DIM, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
_ESCAPE = re.compile("\x1b\\[[0-9;?]*[A-Za-z]")
_NO_EDGE = 10_000
_DECISIONS = ("AT", "MODEL", "RULE", "RANK BY", "CHAIN", "WHY", "OUTCOME")
_LEAST = ("RANK BY", "WHY", "RULE")
_WORST_FIRST = {"ok": 2, "drained": 1}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "The running server's targets, with those in trouble first, and its last decisions: which model was asked for, which rule held, who was to "
        "be asked in which order, what came of it. Shown anew every second, until Ctrl-C. What the columns mean: extproc stats --help."
    )
    add_admin(parser)
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="how often it looks again (default: every second)")
    parser.add_argument("--once", action="store_true", help="print one screen and stop (default where the output is not a terminal)")


def screen(statistics: Mapping[str, Any], status: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]], width: int, height: int) -> list[str]:
    """The lines of one screen, cut to `width`; what is in trouble stands first."""
    rows = sorted(rows_of(statistics, status), key=lambda row: (_WORST_FIRST.get(row[1], 0), row[0]))
    lines = [f"{_BOLD}{_cut(_head(status), width)}{_PLAIN}", ""]
    table = fitting(HEADER, rows, width, LEAST, left=2)
    room = max(height - len(lines) - 8, 3)
    lines.append(f"{_DIM}{_cut(table[0], width)}{_PLAIN}")
    lines += [_coloured(_cut(line, width), row[1]) for line, row in zip(table[1 : room + 1], rows, strict=False)]
    if len(rows) > room:
        lines.append(f"{_DIM}… and {len(rows) - room} more (extproc stats){_PLAIN}")
    left = height - len(lines) - 2
    if left > 1 and decisions:
        shown = [_decision(d) for d in decisions[: left - 1]]
        table = fitting(_DECISIONS, shown, width, _LEAST, left=len(_DECISIONS))
        lines += ["", f"{_DIM}{_cut(table[0], width)}{_PLAIN}", *(_cut(line, width) for line in table[1:])]
    return lines[:height]


def _head(status: Mapping[str, Any]) -> str:
    overlay = status.get("overlay") or {}
    state = overlay.get("state", overlay) if isinstance(overlay, Mapping) else overlay
    parts = [f"extproc top   registry {status.get('registry', '?')}", f"overlay {state}"]
    if status.get("last_error"):
        parts.append("the registry file is refused: see extproc routes status")
    return "   ".join(parts)


def _decision(decided: Mapping[str, Any]) -> tuple[str, ...]:
    why = [word for word in ("explored", "stayed", "last_resort") if decided.get(word)]
    at = time.strftime("%H:%M:%S", time.localtime(decided.get("at", 0)))
    outcome = decided.get("outcome")
    ended = f"{outcome} ({decided.get('target') or 'nobody'})" if outcome else "under way"
    chain = " > ".join(decided.get("chain", ())[:3])
    return (at, str(decided.get("asked", "")), str(decided.get("rule") or "-"), str(decided.get("rank_by", "")), chain, ",".join(why) or "-", ended)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"


def _coloured(line: str, state: str) -> str:
    if state == "ok":
        return line
    return f"{_YELLOW if state == 'drained' else _RED}{line}{_PLAIN}"


@contextmanager
def _own_screen() -> Iterator[None]:
    """The terminal's other screen, so that what stood there before comes back."""
    sys.stdout.write(_SCREEN_ON)
    try:
        yield
    finally:
        sys.stdout.write(_SCREEN_OFF)
        sys.stdout.flush()


def _look(client: AdminClient) -> list[str]:
    # a file or a pipe has no edge
    width, height = shutil.get_terminal_size((120, 40)) if sys.stdout.isatty() else (_NO_EDGE, _NO_EDGE)
    statistics, status = read(client)
    decisions = client.get("/v1/decisions", {"limit": 20}).body.get("decisions") or []
    return screen(statistics, status, decisions, width, height)


def run(args: argparse.Namespace) -> int:
    with client_of(args) as client:
        if args.once or not sys.stdout.isatty():
            text = "\n".join(_look(client))
            print(text if sys.stdout.isatty() else _ESCAPE.sub("", text))
            return 0
        with _own_screen():
            while True:
                try:
                    lines = _look(client)
                except (UsageError, RefusedError) as error:
                    # a server that restarts comes back
                    lines = [str(error)]
                sys.stdout.write(_HOME + "".join(f"{line}{_CLEAR_LINE}\r\n" for line in lines[:-1]) + lines[-1] + _CLEAR_LINE + _CLEAR_BELOW)
                sys.stdout.flush()
                time.sleep(args.interval)
