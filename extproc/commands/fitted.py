"""JSON for people: what fits on a line stands on one, long texts (images, files) are cut in their middle, numbers stay as they were written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_WIDTH = 110
_LONGEST = 240
"""Characters of one text that are shown."""


class _Number(str):
    """As in the source: Python's own numbers would round it, or refuse it for its length."""

    __slots__ = ()


def fitted(raw: bytes, most: int) -> str:
    """`raw`, valid JSON, in at most `most` characters and a note of what is missing."""
    value = json.loads(raw, parse_int=_Number, parse_float=_Number)
    shown: list[str] = []
    length = 0
    for line in _lines(value, "", ""):
        length += len(line) + 1
        if shown and length > most:
            shown.append(f"… cut: {len(raw):,} bytes in all; --json prints them")
            break
        shown.append(line)
    return "\n".join(shown)


def _lines(value: Any, margin: str, before: str, after: str = "") -> Iterator[str]:
    """`value` behind `before` (its name), followed by `after` (a comma)."""
    whole = _on_a_line(value, _WIDTH - len(margin) - len(before) - len(after))
    if whole is not None:
        yield f"{margin}{before}{whole}{after}"
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    yield f"{margin}{before}{opening}"
    last = len(value) - 1
    members = ((f"{_text(k)}: ", v) for k, v in value.items()) if isinstance(value, dict) else (("", v) for v in value)
    for i, (name, member) in enumerate(members):
        yield from _lines(member, f"{margin}  ", name, "," * (i != last))
    yield f"{margin}{closing}{after}"


def _on_a_line(value: Any, room: int) -> str | None:
    """None if it is a list or an object that has no room."""
    if not isinstance(value, dict | list):
        return _scalar(value)
    pieces: list[str] = []
    for name, member in value.items() if isinstance(value, dict) else (("", v) for v in value):
        piece = _on_a_line(member, room)
        if piece is None:
            return None
        pieces.append(f"{_text(name)}: {piece}" if isinstance(value, dict) else piece)
        room -= len(pieces[-1]) + 2
        if room < 0:
            return None
    return f"{{{', '.join(pieces)}}}" if isinstance(value, dict) else f"[{', '.join(pieces)}]"


def _scalar(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _text(text: str) -> str:
    if len(text) > _LONGEST:
        half = _LONGEST // 2
        return (
            f"{json.dumps(text[:half], ensure_ascii=False)[:-1]} … {len(text) - 2 * half:,} more … {json.dumps(text[-half:], ensure_ascii=False)[1:]}"
        )
    return json.dumps(text, ensure_ascii=False)
