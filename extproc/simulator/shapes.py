"""Measures and small shape checks that all three request validators use."""

from __future__ import annotations

import base64
import binascii
from typing import Any

_DECODED_WHOLE = 1 << 20


def base64_size(data: str) -> int | None:
    """Bytes that base64 text stands for; None if it is none. Past 1 MB only the ends are checked, so that large bodies stay cheap."""
    if len(data) % 4:
        return None
    try:
        if len(data) <= _DECODED_WHOLE:
            return len(base64.b64decode(data, validate=True))
        base64.b64decode(data[:1024], validate=True)
        return len(data) // 4 * 3 - 3 + len(base64.b64decode(data[-4:], validate=True))
    except (binascii.Error, ValueError):
        return None


def is_number(value: Any) -> bool:
    """JSON's number: true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_int(value: Any) -> bool:
    """A JSON number without a fraction."""
    return isinstance(value, int) and not isinstance(value, bool)


def unknown(data: dict[str, Any], known: frozenset[str]) -> str | None:
    """The first member that is not known."""
    return next((k for k in data if k not in known), None)
