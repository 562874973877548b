"""Header blocks of HTTP/2 (HPACK, RFC 7541): a decoder for what a peer sends, and the few blocks that a gRPC server answers with.

The package `hpack` has the static table and the Huffman code; its decoder costs several times as much per request, and it checks less than
a server on a shared connection needs. A block that breaks the rules leaves both sides with different tables: it is the connection's end.
"""

from __future__ import annotations

import functools
from collections import deque
from typing import Final

from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

Headers = list[tuple[bytes, bytes]]

STATIC: Final = tuple(HeaderTable.STATIC_TABLE)
TABLE_SIZE = 4096
"""Bytes of dynamic table that a peer may use unless told otherwise (RFC 9113, SETTINGS_HEADER_TABLE_SIZE); we tell nothing."""
NO_TABLE = b"\x20"
"""At the start of a block: its encoder has no dynamic table from here on."""
MAX_LIST = 64 << 10
"""Bytes of a decoded header list, counted as in SETTINGS_MAX_HEADER_LIST_SIZE: names, values, and 32 per field."""

_OVERHEAD = 32
_MAX_SHIFT = 28
"""Integers of up to five continuation bytes: over four gigabytes, more than any block holds."""
_CACHED = 128
"""Bytes of Huffman code up to which its text is remembered: names and values that come with every call."""


class HpackError(Exception):
    """The block is not understood: COMPRESSION_ERROR of the connection."""


class HeaderListTooLarge(Exception):  # noqa: N818 - not an error of the connection: its tables are as they should be
    """The list is over the limit. The block was read to its end, so the tables still agree."""


class Decoder:
    """The receiving half of a connection's header compression. Memory is bounded by `max_list` and the table's size."""

    def __init__(self, max_list: int = MAX_LIST) -> None:
        self._max_list = max_list
        self._entries: deque[tuple[bytes, bytes]] = deque()
        self._size = 0
        self._limit = TABLE_SIZE

    def decode(self, block: bytes) -> Headers:
        """The fields in their order. Raises HpackError or HeaderListTooLarge."""
        try:
            return self._decode(block)
        except IndexError:
            raise HpackError("the block ends too early, or names an entry that is not there") from None
        except HPACKDecodingError as bad:
            raise HpackError(str(bad)) from None

    def _decode(self, block: bytes) -> Headers:
        fields: Headers = []
        room = self._max_list
        at, end = 0, len(block)
        while at < end:
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 7)
                field = self._entry(index)
            elif first & 0x60 == 0x20:
                if fields or room < self._max_list:
                    raise HpackError("a size update after a field")
                self._limit, at = _integer(block, at, 5)
                if self._limit > TABLE_SIZE:
                    raise HpackError("a table larger than allowed")
                self._evict(self._limit)
                continue
            else:
                index, at = _integer(block, at, 6 if first & 0x40 else 4)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, at = _text(block, at)
                value, at = _text(block, at)
                field = (name, value)
                if first & 0x40:
                    self._add(field)
            room -= len(field[0]) + len(field[1]) + _OVERHEAD
            if room >= 0:
                fields.append(field)
        if room < 0:
            raise HeaderListTooLarge
        return fields

    def _entry(self, index: int) -> tuple[bytes, bytes]:
        if not index:
            raise HpackError("index 0")
        return STATIC[index - 1] if index <= len(STATIC) else self._entries[index - len(STATIC) - 1]

    def _add(self, field: tuple[bytes, bytes]) -> None:
        size = len(field[0]) + len(field[1]) + _OVERHEAD
        self._evict(self._limit - size)
        # a field larger than the whole table empties it, and is no error (RFC 7541, 4.4)
        if size <= self._limit:
            self._entries.appendleft(field)
            self._size += size

    def _evict(self, limit: int) -> None:
        entries = self._entries
        while entries and self._size > limit:
            name, value = entries.pop()
            self._size -= len(name) + len(value) + _OVERHEAD


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    mask = (1 << bits) - 1
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > _MAX_SHIFT:
            raise HpackError("an integer too long")


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    huffman = block[at] & 0x80
    length, at = _integer(block, at, 7)
    end = at + length
    if end > len(block):
        raise HpackError("a string beyond the block's end")
    raw = block[at:end]
    if huffman:
        raw = _remembered(raw) if length <= _CACHED else decode_huffman(raw)
    return raw, end


_remembered = functools.lru_cache(1024)(decode_huffman)


def _literal(text: bytes) -> bytes:
    """A string without Huffman code, with its length."""
    length = len(text)
    if length < 0x7F:
        return bytes((length,)) + text
    head, length = bytearray(b"\x7f"), length - 0x7F
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + text


def encode(fields: Headers) -> bytes:
    """A block without any compression: literal fields that neither side remembers."""
    return b"".join(b"\x00" + _literal(name) + _literal(value) for name, value in fields)
