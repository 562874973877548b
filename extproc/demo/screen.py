"""What the demo looks like: on a terminal with colour, a spinner while something is waited for, and text as it arrives; elsewhere plain lines.

Everything is fitted to the width, 100 columns at most; only commands to copy are never broken.
"""

from __future__ import annotations

import errno
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from extproc.core.losses import meaning
from extproc.demo.traces import Facts
from extproc.telemetry.text import printable
from extproc.telemetry.tree import SpanView, render_tree

if TYPE_CHECKING:  # the SDKs take a second to import, and the screen has something to show before
    from extproc.demo.applications import Call
    from extproc.demo.scene import Scene, Seen

_INDENT = "   "
_WIDEST = 100
_NARROW = 80
_LABELS = {"app": "app   ", "model": "model ", "file": "file  ", "ops": "ops   ", "sim": "sim   "}
_COLOURS = {"app": "blue", "model": "green", "file": "dim", "ops": "magenta", "sim": "yellow"}
_BAR = "█"
_GONE_ON = "  "
"""What separates the parts of a line of a tree: where it may be broken."""


class _Console(Console):
    """One that leaves it to its caller what a closed pipe means; the library would exit at once."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class Screen:
    """`plain`: neither colour nor motion, as for a pipe. `quiet`: only the summary and what went wrong."""

    def __init__(self, *, plain: bool = False, quiet: bool = False) -> None:
        plain = plain or os.environ.get("TERM") == "dumb"
        self._console = _Console(
            markup=False, emoji=False, highlight=False, no_color=True if plain else None, force_terminal=False if plain else None
        )
        self.live = self._console.is_terminal
        self._quiet = quiet
        self._width = max(min(self._console.width, _WIDEST), 40)
        self._status: Status | None = None
        self._column = 0

    # words

    def line(self, text: str = "", style: str = "", *, indent: str = _INDENT, hanging: str = "", always: bool = False) -> None:
        """Text wrapped to the width, behind `indent`."""
        if self._quiet and not always:
            return
        self._still()
        width = self._width - 1
        wrapped = textwrap.wrap(printable(text), width, initial_indent=indent, subsequent_indent=indent + hanging, break_on_hyphens=False)
        for piece in wrapped or [""]:
            self._console.print(Text(piece, style), soft_wrap=True)

    def _parts(self, parts: Sequence[str], style: str) -> None:
        """Parts of a line with dots between; broken only there."""
        lines = [_INDENT + parts[0]]
        for part in parts[1:]:
            if len(lines[-1]) + len(part) + 3 < self._width:
                lines[-1] += f" · {part}"
            else:
                lines[-1] += " ·"
                lines.append(f"{_INDENT}  {part}")
        for line in lines:
            self._console.print(Text(printable(line), style), soft_wrap=True)

    def command(self, text: str) -> None:
        """Lines to copy: from the first column, never broken."""
        for piece in text.splitlines():
            self._console.print(Text(piece, "cyan"), soft_wrap=True)

    def heading(self, text: str) -> None:
        self._still()
        self._console.print()
        self._console.print(Text(text, "bold"), soft_wrap=True)

    def busy(self, text: str, *, short: bool = False) -> None:
        """Something is waited for: a spinner, or a line where nothing can move, unless it is `short`. Ends with the next output."""
        if self._quiet:
            return
        self._still()
        if self.live:
            self._status = self._console.status(Text(text, "dim"), spinner="dots")
            self._status.start()
        elif not short:
            self.line(f"{text} …")

    def _still(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        if self._column:
            self._console.print()
            self._column = 0

    def close(self) -> None:
        """Leaves the terminal as it was found."""
        self._still()

    # the start

    def title(self) -> None:
        if self._quiet:
            return
        self._console.print()
        self._console.print(Text.assemble((" extproc demo", "bold"), ("  one address for every SDK, any provider behind it", "dim")))
        self._console.print(Text(" Real Envoy, real server, simulated providers: no keys, no network.", "dim"))
        self._console.print()

    def ready(self, what: str, detail: str) -> None:
        """One step of the start is done."""
        if self._quiet:
            return
        self._still()
        line = Text.assemble((" ✓ ", "green"), f"{what:<12}", (printable(detail), "dim"))
        self._console.print(line, soft_wrap=True)

    # a scene

    def scene(self, number: int, scene: Scene, excerpt: Sequence[str] = ()) -> None:
        """Its title and its story, and the lines of the registry that it is about."""
        if self._quiet:
            return
        self._still()
        left, right = f"── {number} ", f" {scene.sdk} ──"
        line = Text.assemble((left, "dim"), (f" {scene.title} ", "bold"))
        line.append("─" * max(self._width - len(line) - len(right), 2), "dim").append(right, "dim")
        self._console.print()
        self._console.print(line, soft_wrap=True)
        self.line(scene.story, "dim")
        self.line()
        self._labelled("file", excerpt, "dim")

    def asked(self, sdk: str, model: str, text: str, *, stream: bool = False) -> None:  # noqa: ARG002 - the heading names the SDK
        self._said("app", text, f"  (model {model}{', stream' if stream else ''})" if model else "")
        self.busy("waiting for the answer", short=True)

    def ran_tool(self, name: str, arguments: Mapping[str, Any], result: str) -> None:  # noqa: ARG002 - shown as the model's call
        self._said("app", f"{name} returned “{result}”")
        self.busy("waiting for the answer", short=True)

    def piece(self, text: str) -> None:
        """A piece of an answer, as it comes."""
        if self._quiet:
            return
        if not self._column:
            self._still()
            self._write(_INDENT, "")
            self._write(_LABELS["model"], "green")
        room = self._width - 1 - self._column
        if len(text.rstrip()) > room:
            self._console.print()
            self._column = 0
            self._write(_INDENT + " " * len(_LABELS["model"]), "")
            text = text.lstrip()
        self._write(printable(text), "")

    def _write(self, text: str, style: str) -> None:
        self._console.print(Text(text, style), end="", soft_wrap=True)
        self._column += len(text)

    def _said(self, who: str, text: str, more: str = "") -> None:
        if self._quiet:
            return
        self._still()
        label, colour = _LABELS[who], _COLOURS[who]
        body = textwrap.wrap(printable(text + more), self._width - len(_INDENT) - len(label) - 1, break_on_hyphens=False)
        for i, part in enumerate(body):
            line = Text(_INDENT).append(label if not i else " " * len(label), colour)
            shown = Text(part)
            if more and i == len(body) - 1 and part.endswith(more.strip()):
                shown.stylize("dim", len(part) - len(more.strip()))
            self._console.print(line.append_text(shown), soft_wrap=True)

    def _labelled(self, who: str, lines: Sequence[str], style: str) -> None:
        """Lines as they are, unless they are too long, with the label at the first of them."""
        label, room = _LABELS[who], self._width - len(_INDENT) - 7
        for i, piece in enumerate(piece for line in lines for piece in _folded(printable(line), room)):
            self._console.print(Text(_INDENT).append(" " * len(label) if i else label, _COLOURS[who]).append(piece, style), soft_wrap=True)

    def commanded(self, command: str, said: str) -> None:
        """What an operator typed, and what he got."""
        if self._quiet:
            return
        self._still()
        self._labelled("ops", [f"$ {command}"], "")
        for line in said.splitlines():
            self.line(line, "dim", indent=_INDENT + " " * len(_LABELS["ops"]), hanging="  ")

    def noted(self, text: str) -> None:
        """Something about the simulated providers."""
        self._said("sim", text)

    def split(self, phases: Mapping[str, Sequence[Call]]) -> None:
        """Who served how many requests: a row for each target, a column with a bar for each phase."""
        if self._quiet:
            return
        self._still()
        counts = {phase: Counter(call.target or "nobody" for call in calls) for phase, calls in phases.items()}
        names = sorted(set().union(*counts.values()))
        first = max(map(len, names)) + 2
        most = max(max(c.values(), default=1) for c in counts.values())
        each = (self._width - len(_INDENT) - 1 - first) // len(counts)
        full = max(each - 6, 1)
        self._row((("", first), *((phase, each) for phase in counts)), "dim")
        for name in names:
            bars = [(f"{_BAR * max(round(c[name] / most * full), bool(c[name]))} {c[name]}".lstrip(), each) for c in counts.values()]
            self._row(((name, first), *bars), "")

    def answered(self, call: Call, facts: Facts | None) -> None:
        """The answer, unless its pieces have been shown, and what is known about it."""
        if self._quiet:
            return
        if call.tool is not None:
            arguments = ", ".join(f"{name}={value!r}" for name, value in call.tool[1].items())
            self._said("model", f"calls {call.tool[0]}({arguments})")
        elif call.error:
            self.line(f"{call.error}: {call.error_text}", "red", hanging="  ")
        elif call.vectors:
            self._said("model", f"{_counted(len(call.vectors), 'vector')} of {call.vectors[0]} numbers")
        elif call.first_token is None:
            self._said("model", call.text)
        self._still()
        parts = ["✗ served by nobody" if call.error else f"✓ served by {call.target}", *_reasons(facts), _counted(call.attempts, "attempt")]
        if call.retry_after is not None:
            parts.append(f"retry after {call.retry_after:g} s")
        if call.first_token is not None:
            parts.append(f"first token {duration(call.first_token)}")
        parts.append(f"total {duration(call.seconds)}")
        if facts is not None and facts.tokens is not None:
            parts.append(f"{facts.tokens[0]} tokens in" + (f", {facts.tokens[1]} out" if facts.tokens[1] else ""))
        if facts is not None and facts.cost is not None:
            parts.append(dollars(facts.cost))
        self._parts(parts, "bold red" if call.error else "bold green")
        for code in call.losses:
            self.line(f"! lost in translation: {code} ({meaning(code)})", "yellow", hanging="  ")

    def side_by_side(self, seen: Sequence[Seen]) -> None:
        """Requests in several dialects: where each went, who served it, where its answer has the words, and what was lost."""
        if self._quiet:
            return
        self._still()
        width = self._width - len(_INDENT) - 1
        name = max((len(s.call.spoken.name) for s in seen if s.call.spoken), default=0) + 2
        path = max((len(s.call.path) for s in seen), default=0) + 2
        self._row((("dialect", name), ("path", path), ("served by", 0)), "dim")
        for call in (s.call for s in seen):
            if call.spoken is None:
                continue
            self._row(((call.spoken.name, name), (call.path, path), (call.target or "nobody", 0)), "bold red" if call.error else "bold green")
            said = f"  {call.error} {call.error_text}" if call.error else f"  {call.spoken.place} = “{call.text}”"
            self._console.print(Text(_INDENT + _short(printable(said), width)), soft_wrap=True)
            if call.losses:
                self._console.print(Text(_INDENT + _short(f"  ! lost: {', '.join(call.losses)}", width), "yellow"), soft_wrap=True)

    def _row(self, cells: Sequence[tuple[str, int]], style: str) -> None:
        text = "".join(printable(cell).ljust(width) for cell, width in cells)
        self._console.print(Text(_INDENT + text.rstrip(), style), soft_wrap=True)

    def tree(self, spans: Sequence[SpanView]) -> None:
        """A trace; lines that are too long go on below, inside the tree."""
        if self._quiet or not spans:
            return
        self._still()
        self.line()
        for drawn in render_tree(spans, colour=True).splitlines():
            for piece in _fitted(Text.from_ansi(drawn), self._width - len(_INDENT) - 1):
                self._console.print(Text(_INDENT).append_text(piece), soft_wrap=True)

    def wrong(self, found: Sequence[str]) -> None:
        """A scene did not go as it should."""
        for problem in found:
            self.line(f"✗ {problem}", "bold red", hanging="  ")

    # the end

    def summary(self, rows: Sequence[tuple[int, Scene, Sequence[Seen], Sequence[str]]]) -> None:
        """All scenes, one line each, and whatever went wrong."""
        self._still()
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, int(self._width > _NARROW), 0, 0), header_style="dim")
        table.add_column("", justify="right", no_wrap=True)
        for name in ("scene", "answered by"):
            table.add_column(name, no_wrap=True)
        for name in ("tries", "1st token", "total", "cost"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for number, scene, seen, found in rows:
            table.add_row(str(number), scene.title, *_cells(seen), Text("✗", "red") if found else Text("✓", "green"))
        self._console.print()
        self._console.print(table)
        self._console.print()
        wrong = [(number, scene, found) for number, scene, _, found in rows if found]
        for number, scene, found in wrong:
            for problem in found:
                self.line(f"{number} {scene.title}: {problem}", "red", hanging="  ", always=True)
        if not wrong:
            self.line(f"All {len(rows)} scenes went as they should.", "green", always=True)

    def request(self, facts: Facts, spans: Sequence[SpanView]) -> None:
        """A request that somebody sent to the running demo."""
        if self._quiet:
            return
        outcome = f"✗ {facts.error}" if facts.error else f"✓ served by {facts.target}"
        parts = [outcome, f"model {facts.model}", _counted(facts.attempts, "attempt"), f"total {duration(facts.seconds)}"]
        self.line()
        self._parts(parts, "bold red" if facts.error else "bold green")
        self.tree(spans)


def _reasons(facts: Facts | None) -> list[str]:
    """How a target was chosen, where it was not simply the first that the file lists."""
    if facts is None:
        return []
    said = (("rule", facts.rule), ("ranked by", facts.rank_by if facts.rank_by != "order" else ""), ("instead of", facts.limited and facts.model))
    return [f"{word} {what}" for word, what in said if what]


def _cells(seen: Sequence[Seen]) -> list[str]:
    if not seen:
        return ["–"] * 5
    last = seen[-1].call
    served = {s.call.target for s in seen if not s.call.error}
    costs = [s.facts.cost for s in seen if s.facts is not None and s.facts.cost is not None]
    return [
        _counted(len(served), "target") if len(served) > 1 else "nobody" if last.error else last.target,
        str(last.attempts),
        duration(last.first_token) if last.first_token is not None else "–",
        duration(sum(s.call.seconds for s in seen)),
        dollars(sum(costs)) if costs else "–",
    ]


def _fitted(line: Text, width: int) -> list[Text]:
    """`line` of a tree in pieces of at most `width`, broken between its parts; what goes on stands below its beginning."""
    drawing = len(line.plain) - len(line.plain.lstrip("│├└─ "))
    below = line.plain[:drawing].replace("├─", "│ ").replace("└─", "  ") + "  "
    pieces: list[Text] = []
    while len(line) > width:
        at = line.plain.rfind(_GONE_ON, drawing + 1, width + 1)
        if at <= len(below):
            at = width
        pieces.append(line[:at])
        line = Text(below) + Text("").append_text(line[at:]) if line.plain[at : at + 2] != _GONE_ON else Text(below) + line[at + 2 :]
        drawing = len(below)
    return [*pieces, line]


def _folded(line: str, width: int) -> list[str]:
    """`line` in pieces of at most `width`, each but the first below its beginning."""
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(line, width, subsequent_indent=indent + "  ", break_on_hyphens=False, break_long_words=False) or [""]


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def duration(seconds: float) -> str:
    """24 ms, 1.27 s."""
    return f"{seconds * 1e3:.0f} ms" if seconds < 0.9995 else f"{seconds:.2f} s"


def dollars(cost: float) -> str:
    """Two significant digits: these costs are small."""
    if cost <= 0:
        return "$0"
    return f"${cost:.2f}" if cost >= 0.1 else f"${cost:.6f}"
