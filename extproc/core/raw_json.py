"""JSON of the application's own that a translation embeds or takes out: tool arguments and inputs, whatever their numbers and however deep.

Text stays text where a format has text (key order, white space and whole numbers of any size survive), and is embedded byte for byte where
it has values.
"""

from __future__ import annotations

import json

import orjson

from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON


def raw_json(value: JSON) -> str:
    """A parsed value as JSON text, whole numbers of any size in it too. Raises `BadRequestError` if it is nested too deep to be written."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        try:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        except RecursionError:
            raise BadRequestError("The JSON is nested too deep.") from None


def dumps(value: JSON) -> bytes:
    """JSON bytes of what we send. Raises `BadRequestError` for text that is not Unicode and for nesting beyond what can be written."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        raise BadRequestError(f"The request cannot be written as JSON: {error}") from None


def arguments(text: str) -> tuple[orjson.Fragment | dict[str, JSON], bool]:
    """(tool arguments as an object to embed, whether they had to be wrapped).

    Text that is a JSON object is embedded byte for byte. "" is {}. Anything else (cut off or invalid JSON, a bare value) cannot be an input
    object, so it is put whole into one under `arguments`.
    """
    if not text or text == "{}" or not text.strip():
        return {}, False
    try:
        parsed = orjson.loads(text)
    except ValueError:
        return {"arguments": printable(text)}, True
    if isinstance(parsed, dict):
        return orjson.Fragment(text), False
    return ({}, False) if parsed is None else ({"arguments": parsed}, True)


def printable(text: str) -> str:
    """`text` with lone surrogates, which no JSON writer takes, replaced."""
    return text.encode("utf-8", "replace").decode()
