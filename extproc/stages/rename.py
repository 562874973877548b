"""The name that the client asked for in place of the provider's, in answers of the client's own dialect: a switch, off by default.

Translated answers are written with the right name at once; here only the one member is edited in the provider's bytes. A stream is edited event by
event, and nothing of it is held back but the line that is not whole yet; in Gemini's array every event ends its line.
"""

from __future__ import annotations

import orjson

from extproc.core import jsonedit
from extproc.core.errors import BadRequestError
from extproc.core.framing import MAX_EVENT

_OPENAI = (("model",),)
MEMBERS: dict[str, tuple[tuple[str, ...], ...]] = {
    **dict.fromkeys(("openai_chat", "openai_completions", "openai_embeddings", "openai_moderations", "ollama_chat", "ollama_embeddings"), _OPENAI),
    "openai_responses": (("model",), ("response", "model")),
    "anthropic_messages": (("model",), ("message", "model")),
    "gemini": (("modelVersion",),),
}
"""Where an answer or an event of a dialect names the model. The dialects that are not here never do."""


class Renamer:
    """`feed` takes a stream of server-sent events, of lines, or an array with an object on each line, and gives it with `name` for the model."""

    __slots__ = ("_lines", "_members", "_name", "_tail")

    def __init__(self, dialect: str, name: str) -> None:
        self._members = MEMBERS[dialect]
        self._lines = frozenset(path[-1].encode() for path in self._members)
        self._name = name
        self._tail = b""

    def feed(self, data: bytes, end: bool) -> bytes:
        """`end`: these are the last bytes."""
        data = self._tail + data
        # a CR may be the first half of a line's end: what matters is only that no JSON is cut
        whole = len(data) if end or len(data) > MAX_EVENT else max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        self._tail = data[whole:]
        head = data[:whole]
        if not any(member in head for member in self._lines):
            return head
        return b"".join([self._line(line) for line in head.splitlines(keepends=True)])

    def _line(self, line: bytes) -> bytes:
        start, end = line.find(b"{"), line.rfind(b"}") + 1
        if start < 0 or line[:start].strip() not in (b"", b"data:", b"[") or not any(member in line for member in self._lines):
            return line
        return line[:start] + self.whole(line[start:end]) + line[end:]

    def whole(self, raw: bytes) -> bytes:
        """One JSON object with the name in it; anything else as it is."""
        for path in self._members:
            raw = self._edited(raw, path)
        return raw

    def _edited(self, raw: bytes, path: tuple[str, ...]) -> bytes:
        try:
            layout = jsonedit.scan(raw)
        except BadRequestError:
            return raw
        member = layout.members.get(path[0])
        if member is None:
            return raw
        value = raw[member.start : member.end]
        if len(path) > 1:
            inner = self._edited(value, path[1:])
            return raw if inner is value else raw[: member.start] + inner + raw[member.end :]
        if value[:1] != b'"':
            return raw
        return raw[: member.start] + orjson.dumps(self._name) + raw[member.end :]
