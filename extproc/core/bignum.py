"""Whole numbers beyond 64 bits in the application's own JSON.

The fast parser reads them as floats, which changes them. Where a dialect holds tool inputs as JSON values (others hold them as text), a
translation must not: the application put them there. They are rare, so only a body that holds such a float is read a second time.
"""

from __future__ import annotations

import json

import orjson

from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON

_LIMIT = float(1 << 63)


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


def exact(raw: bytes, body: JSON, member: str) -> JSON:
    """`body`, which is `raw` parsed, with the numbers in its top-level `member` as they stand in `raw`. `body` itself is not changed."""
    if not isinstance(body, dict) or not _holds_big(body.get(member)):
        return body
    try:
        again = json.loads(raw)
    except (ValueError, RecursionError):
        # longer than Python reads, or nested deeper: only the fast parser takes it
        return body
    return {**body, member: again[member]}


def raw_json(value: JSON) -> str:
    """A parsed value as JSON text, whole numbers of any size in it too. Raises `BadRequestError` if it is nested too deep to be written."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        try:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        except RecursionError:
            raise BadRequestError("The JSON is nested too deep.") from None
