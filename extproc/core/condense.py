"""A JSON body in pieces, without what makes it large: read the usage of an answer of any size from the little that is left.

Arrays of numbers become `[]` and long strings `""`, whatever they are; all else stays. Vectors come as one or the other. The result parses
exactly where the body does, as far as what was left out does not matter.
"""

from __future__ import annotations

import re
from enum import Enum

LONGEST_STRING = 4096
"""Bytes. Names, ids and messages of errors are shorter, base64 of a vector is longer."""

_PLAIN = re.compile(rb'[^"\[]*+')
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_BLANK = re.compile(rb"[ \t\r\n]*+")
_NUMBERS = re.compile(rb"[-+.0-9eE, \t\r\n]*+")


class _In(Enum):
    REST = "rest"
    OPENED = "opened"
    """Behind a bracket: a number makes it an array of numbers."""
    NUMBERS = "numbers"
    STRING = "string"


class Condenser:
    """Fed a body however it is cut. Time is linear in the body, memory in what is left."""

    __slots__ = ("_escape", "_state", "_string", "rest")

    def __init__(self) -> None:
        self.rest = bytearray()
        self._state = _In.REST
        self._string: bytearray | None = None
        """What has come of the string that is open; None if that is too long already."""
        self._escape = b""
        """A backslash at the end of a piece: what it escapes is still to come."""

    def feed(self, data: bytes) -> None:
        if self._escape:
            data, self._escape = self._escape + data, b""
        at, end = 0, len(data)
        while at < end:
            match self._state:
                case _In.REST:
                    at = self._plain(data, at)
                case _In.OPENED:
                    at = _BLANK.match(data, at).end()  # type: ignore[union-attr]
                    if at < end:
                        self._state = _In.NUMBERS if data[at] in b"-0123456789" else _In.REST
                case _In.NUMBERS:
                    at = _NUMBERS.match(data, at).end()  # type: ignore[union-attr]
                    if at < end:
                        # the bracket, or a value of another kind, which stays
                        self._state = _In.REST
                case _In.STRING:
                    at = self._in_string(data, at)

    def _plain(self, data: bytes, at: int) -> int:
        stop = _PLAIN.match(data, at).end()  # type: ignore[union-attr]
        self.rest += data[at : stop + 1]
        if stop < len(data):
            self._state = _In.OPENED if data[stop] == 0x5B else _In.STRING
            self._string = bytearray()
        return stop + 1

    def _in_string(self, data: bytes, at: int) -> int:
        stop = _IN_STRING.match(data, at).end()  # type: ignore[union-attr]
        if self._string is not None:
            self._string += data[at : min(stop, at + LONGEST_STRING + 1)]
            if len(self._string) > LONGEST_STRING:
                self._string = None
        if stop == len(data):
            return stop
        if data[stop] == 0x5C:
            self._escape = data[stop:]
            return len(data)
        self.rest += (self._string or b"") + b'"'
        self._state = _In.REST
        return stop + 1
