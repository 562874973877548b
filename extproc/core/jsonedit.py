"""Edits top-level members of a JSON object in its raw bytes, so that everything else stays byte for byte.

Why not parse and serialise: a typed round trip loses what it does not know, changes numbers and white space, and so breaks prompt caches.
One compiled expression walks a whole member value, strings and nesting included. All its repeats are possessive, so there is nothing to
backtrack into: time is linear in the input, whatever it holds. `MAX_DEPTH` levels are unrolled into it, and deeper input does not match.

`load` says whether the bytes are JSON; `scan` says where the members are and refuses what two parsers could read differently. `scan` looks
at structure only: call `load` first, then `scan` on the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import orjson

from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON

MAX_DEPTH = 128
"""Levels of nesting, the top-level object included. Real requests stay below 30; deep input only serves to exhaust recursive readers."""

MAX_MEMBERS = 1000
"""Top-level members. Real requests have fewer than 50; only these cost Python time each."""

_WS = rb"[ \t\n\r]*+"
# Up to the first quote if no backslash stands in front of it: looking for one byte is several times faster than for either of two, and an
# image is one string of many MB. Otherwise again from the start, escape by escape.
_STRING = rb'"(?>[^"]*+(?<!\\)"|[^"\\]*+(?:\\.[^"\\]*+)*+")'


def _container(levels: int) -> bytes:
    """An expression for an array or object of at most `levels` levels, which takes strings whole so that brackets inside them do not count."""
    flat = rb'[^\[\]{}"]*+'
    nested = rb"[\[{]%b(?:%b%b)*+[\]}]" % (flat, _STRING, flat)
    for _ in range(levels - 1):
        nested = rb"[\[{]%b(?:(?:%b|%b)%b)*+[\]}]" % (flat, _STRING, nested, flat)
    return nested


_MEMBER = re.compile(
    rb"%b(%b)%b:%b(%b|%b|[-+.0-9A-Za-z]++)%b(?:,|(\}))" % (_WS, _STRING, _WS, _WS, _STRING, _container(MAX_DEPTH - 1), _WS),
    re.DOTALL,
)
_ELEMENT = re.compile(rb"%b(%b|%b|[-+.0-9A-Za-z]++)%b(?:,|\])" % (_WS, _STRING, _container(MAX_DEPTH - 1), _WS), re.DOTALL)
_OPEN = re.compile(rb"%b\{%b(\})?" % (_WS, _WS))
_BLANK = re.compile(_WS)


class Member(NamedTuple):
    """Where one member is, as offsets into the raw bytes: its key's opening quote, its value's first byte, the byte behind its value."""

    key: int
    start: int
    end: int


class Layout(NamedTuple):
    """`members` in the order of the document, by unescaped name; `close` is the offset of the object's closing brace."""

    members: dict[str, Member]
    close: int


def load(raw: bytes) -> JSON:
    """The parsed body. Raises `BadRequestError`, which never repeats the body."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"The request body is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno}).") from None


def scan(raw: bytes) -> Layout:
    """Where the top-level members are. Raises `BadRequestError` for anything but one object whose names are unique and nesting bounded."""
    opened = _OPEN.match(raw)
    if opened is None:
        raise BadRequestError("The request body must be a JSON object.")
    members: dict[str, Member] = {}
    empty = opened.start(1) >= 0
    close = opened.start(1) if empty else _members(raw, opened.end(), members)
    if _BLANK.fullmatch(raw, close + 1) is None:
        raise BadRequestError("The request body goes on behind its JSON object.")
    return Layout(members, close)


def _members(raw: bytes, at: int, members: dict[str, Member]) -> int:
    """Fills `members` from offset `at` on; gives the offset of the closing brace."""
    while True:
        found = _MEMBER.match(raw, at)
        if found is None:
            raise BadRequestError(f"The request body is nested deeper than {MAX_DEPTH} levels, or is not valid JSON.")
        quoted = found[1]
        name = _unquote(quoted) if b"\\" in quoted or not quoted.isascii() else quoted[1:-1].decode("ascii")
        if name in members:
            raise BadRequestError("The request body has two members of the same name.", param=name[:64])
        if len(members) == MAX_MEMBERS:
            raise BadRequestError(f"The request body has more than {MAX_MEMBERS} top-level members.")
        members[name] = Member(found.start(1), found.start(2), found.end(2))
        if found.start(3) >= 0:
            return found.start(3)
        at = found.end()


def elements(raw: bytes, array: Member) -> list[tuple[int, int]]:
    """(start, end) of every element of the array that is the value of `array`. [] for what is no array, or empty."""
    spans: list[tuple[int, int]] = []
    if raw[array.start : array.start + 1] != b"[":
        return spans
    at = array.start + 1
    while at < array.end:
        found = _ELEMENT.match(raw, at, array.end)
        if found is None:
            break
        spans.append(found.span(1))
        at = found.end()
    return spans


def _unquote(quoted: bytes) -> str:
    """The text of a JSON string: two spellings of one name are the same name."""
    try:
        return str(orjson.loads(quoted))
    except orjson.JSONDecodeError:
        raise BadRequestError("The request body has a member name that is not a valid JSON string.") from None


def splice(raw: bytes, edits: Mapping[str, bytes | None], layout: Layout | None = None) -> bytes:
    """`raw` with each named top-level member set to the given JSON text, or removed (None); new ones go to the end, in order.

    Every other byte stays. `layout` is `scan(raw)` if the caller has it already. Raises what `scan` raises.
    """
    if not edits:
        return raw
    members, close = layout or scan(raw)
    cuts: list[tuple[int, int, bytes]] = []
    kept = [name for name in members if edits.get(name, b"") is not None]
    last = kept[-1] if kept else None
    order = list(members)
    for place, name in enumerate(order):
        if name not in edits:
            continue
        member = members[name]
        value = edits[name]
        if value is not None:
            cuts.append((member.start, member.end, value))
        elif last is not None and place < order.index(last):
            # up to the next key: the comma goes along, the white space in front of this member stays
            cuts.append((member.key, members[order[place + 1]].key, b""))
        else:
            # behind the last member that stays: the comma in front goes along
            before = members[order[place - 1]].end if place else member.key
            cuts.append((before, member.end, b""))
    added = [orjson.dumps(name) + b":" + value for name, value in edits.items() if value is not None and name not in members]
    if added:
        end = members[order[-1]].end if order else close
        cuts.append((end, end, (b"," if kept else b"") + b",".join(added)))
    pieces: list[bytes] = []
    at = 0
    for start, end, value in cuts:
        pieces += (raw[at:start], value)
        at = end
    pieces.append(raw[at:])
    return b"".join(pieces)
