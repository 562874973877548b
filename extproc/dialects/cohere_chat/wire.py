"""Words of the Cohere v2 format that both directions share: tool names, data URLs, JSON text.

Wire format: https://docs.cohere.com/v2/reference/chat, the SDK's v2 types, recorded exchanges.

Cohere refuses tool names outside letters, digits and underscores, or that begin with a digit. Others are escaped so that the answer can be
mapped back without the request: `llm1_` and then the name with every other character, and every underscore in front of an x, as `_x<hex>_`.
"""

from __future__ import annotations

import re

import orjson

from extproc.core.ir import Source
from extproc.core.raw_json import printable

NAME = "cohere_chat"

_ESCAPED = "llm1_"
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNSAFE = re.compile(r"[^A-Za-z0-9_]|_(?=x)")
_ESCAPE = re.compile(r"_x([0-9a-f]{1,6})_")


def tool_name(name: str) -> str:
    """`name` as Cohere takes it."""
    if _PLAIN.fullmatch(name) and not name.startswith(_ESCAPED):
        return name
    return _ESCAPED + _UNSAFE.sub(lambda found: f"_x{ord(found.group()):x}_", name)


def original_name(name: str) -> str:
    """The name that `tool_name` was given; a name that it did not write is itself."""
    if not name.startswith(_ESCAPED):
        return name
    try:
        given = _ESCAPE.sub(lambda found: chr(int(found.group(1), 16)), name[len(_ESCAPED) :])
    except ValueError:
        return name
    return given if tool_name(given) == name else name


def data_url(url: str) -> Source:
    """A data URL as base64 and its media type; any other URL as it is."""
    if not url.startswith("data:"):
        return Source(url=url)
    head, comma, data = url.partition(",")
    media_type, _, coding = head[5:].partition(";")
    if not comma or "base64" not in coding:
        return Source(url=url)
    return Source(media_type=media_type or None, data=data)


def quoted(text: str) -> bytes:
    """`text` as a JSON string."""
    try:
        return orjson.dumps(text)
    except TypeError:
        return orjson.dumps(printable(text))
