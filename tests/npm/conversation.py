"""One client's conversation: the process, and what the system saw of it."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson

from extproc.simulator import replies
from tests.e2e.stack import Stack
from tests.npm.clients import Client, Place
from tests.npm.script import Script

SECONDS = 90.0
"""The longest that a client may take."""
_LOG_SECONDS = 10.0
_STATE = {
    "openai_responses": re.compile(rb'"encrypted_content":"gAAAA'),
    "anthropic_messages": re.compile(rb'"signature":"[^"]{40}'),
    "gemini": re.compile(rb'"thoughtSignature":"(?!skip_)'),
}
"""What a provider gets back of the thinking of each step. Chat Completions has no such thing."""
_LOST = frozenset({"coerced:thinking", "coerced:thought_signature", "signature:foreign"})
"""Losses that say that a vendor did not get its own state."""


@dataclass
class Outcome:
    """`problems` is empty where all went well. `losses` by what was lost."""

    seconds: float
    requests: int
    steps: int
    thinking: bool
    losses: set[str]
    problems: list[str] = field(default_factory=list)
    output: str = ""

    @property
    def told(self) -> str:
        if self.problems:
            return "; ".join(self.problems)
        return f"{self.steps} steps of tools, {self.requests} requests{', thinking' if self.thinking else ''}"


def converse(client: Client, stack: Stack, served_by: str, dialect: str, installed: Path) -> Outcome:
    """Runs `client`, served by the provider `served_by`, which speaks `dialect`."""
    stack.reset()
    before = len(stack.lines.raw)
    with tempfile.TemporaryDirectory(prefix="npm") as folder:
        home, work = Path(folder) / "home", Path(folder) / "work"
        home.mkdir()
        work.mkdir()
        place = Place(stack.url, installed, home, work, f"heron{secrets.token_hex(4)}", f"otter{secrets.token_hex(4)}")
        (work / "first.txt").write_text(place.first + "\n")
        (work / "second.txt").write_text(place.second + "\n")
        start = client.start(place)
        script = Script(start.steps, replies.compose)
        began = time.monotonic()
        with patch.object(replies, "compose", script.compose):
            code, out, errors = _run(start.argv, {**_environment(home), **start.env}, Path(folder), work)
        seconds = time.monotonic() - began
    received = stack.received(served_by)
    lines = _lines(stack, before, len(received))
    outcome = Outcome(seconds, len(received), len(start.steps), script.thought > 0, {loss for line in lines for loss in line.get("losses") or ()})
    outcome.output = f"{out[-2000:]}\n{errors[-2000:]}"
    outcome.problems = _problems(client, dialect, script, code, out, lines)
    if script.thought and dialect in _STATE:
        back = len(_STATE[dialect].findall(received[-1].body or b"")) if received else 0
        if back < len(start.steps):
            outcome.problems.append(f"the state of {back} of {len(start.steps)} steps came back")
    outcome.problems += sorted({f"the provider refuses: {r.problem}" for r in received if r.problem})
    return outcome


def _environment(home: Path) -> dict[str, str]:
    """Nothing of the caller's, and no way out: the proxy for the world is a port that nobody listens on."""
    plain = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8", "TERM": "dumb", "CI": "1"}
    return plain | {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1,localhost"}


def _run(argv: list[str], env: dict[str, str], folder: Path, work: Path) -> tuple[int | None, str, str]:
    """(exit code, None if it took too long, output, errors). What it started ends with it."""
    out, errors = folder / "out", folder / "errors"
    with out.open("wb") as to, errors.open("wb") as to_errors:
        process = subprocess.Popen(argv, cwd=work, env=env, stdin=subprocess.DEVNULL, stdout=to, stderr=to_errors, start_new_session=True)
        code: int | None = None
        try:
            code = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _end(process)
    return code, out.read_text(errors="replace"), errors.read_text(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the process group that it leads."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _lines(stack: Stack, before: int, count: int) -> list[dict[str, Any]]:
    """The log lines of the conversations since `before`: one for each request that a provider received. Lines come a moment after the answer."""
    end = time.monotonic() + _LOG_SECONDS
    while True:
        parsed = [orjson.loads(raw) for raw in stack.lines.raw[before:]]
        chats = [line for line in parsed if line.get("operation") == "chat"]
        if len(chats) >= count or time.monotonic() > end:
            return chats
        time.sleep(0.02)


def _problems(client: Client, dialect: str, script: Script, code: int | None, out: str, lines: list[dict[str, Any]]) -> list[str]:
    found = []
    if code is None:
        found.append(f"took more than {SECONDS:g} s")
    elif code:
        found.append(f"exit code {code}")
    if script.asked < len(script.steps):
        found.append(f"asked for {script.asked} of {len(script.steps)} steps")
    if script.lost or not script.told.issuperset(script.words):
        found.append("results of tools did not reach the provider")
    try:
        said = client.said(out)
    except (ValueError, KeyError):
        said = ""
    if script.answer not in said:
        found.append("did not show the answer")
    found += sorted({f"{line['client_dialect']} was refused: {line['status']} {line.get('error_type')}" for line in lines if line["outcome"] != "ok"})
    pairs = {(line["client_dialect"], line.get("upstream_dialect")) for line in lines if line["outcome"] == "ok"}
    if pairs != {(client.dialect, dialect)}:
        found.append(f"spoke {sorted(map(str, pairs))}")
    streamed = sum(line.get("stream") is client.streams for line in lines)
    if streamed <= len(script.steps):
        found.append(f"{'streamed' if client.streams else 'unary'} requests: {streamed}")
    lost = sorted(_LOST & {loss for line in lines for loss in line.get("losses") or ()})
    if lost:
        found.append(f"state of the vendor was lost: {', '.join(lost)}")
    return found
