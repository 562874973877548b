"""Whole numbers beyond 64 bits in the application's own JSON.

The fast parser reads them as floats, which changes them. Where a dialect holds tool inputs as JSON values (others hold them as text), a
translation must not: the application put them there. They are rare, so only a body that holds such a float is read a second time.
"""

from __future__ import annotations

import json

from extproc.core.ir import JSON

_LIMIT = float(1 << 63)
_FEW = 100
_STEP = 6
_AS_ZEROS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
"""Every digit as 0, all else as a space."""


def _holds_big(value: JSON) -> bool:
    """Is there a float in it that may stand for a whole number beyond 64 bits? Looks at values, never into strings."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += one.values()
        elif isinstance(one, list):
            left += one
        elif isinstance(one, float) and not -_LIMIT < one < _LIMIT:
            return True
    return False


def _may_hold_big(raw: bytes) -> bool:
    """Are there 19 digits in a row? Of every sixth byte three in a row would be digits. Takes 0.2 ms a MB; looking at every value, up to 10."""
    return b"000" in raw[::_STEP].translate(_AS_ZEROS)


def exact(raw: bytes, body: JSON, member: str) -> JSON:
    """`body`, which is `raw` parsed, with the numbers in its top-level `member` as they stand in `raw`. `body` itself is not changed."""
    values = body.get(member) if isinstance(body, dict) else None
    # a few messages are looked at sooner, however many MB of images they hold
    if isinstance(values, list) and len(values) > _FEW and not _may_hold_big(raw):
        return body
    if not _holds_big(values):
        return body
    try:
        again = json.loads(raw)
    except (ValueError, RecursionError):
        # longer than Python reads, or nested deeper: only the fast parser takes it
        return body
    return {**body, member: again[member]}
