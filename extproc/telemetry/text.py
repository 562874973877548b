"""Text from outside, made safe to log, export and show: bounded, valid UTF-8, and for a terminal free of control characters.

A lone surrogate would make one span fail to encode and take its whole batch with it; an escape sequence would steer somebody's terminal.
"""

from __future__ import annotations

NAME_LIMIT = 256
"""Characters that a name, an id or a code may have in a log line or a span."""


def clip(text: str, limit: int = NAME_LIMIT) -> str:
    """`text` with at most `limit` characters, encodable as UTF-8."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


def printable(text: str) -> str:
    """`text` for a terminal: whatever is not printable (control characters, escapes, line separators) becomes �."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "�" for c in text)
