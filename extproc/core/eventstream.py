"""AWS event streams: the binary framing of Bedrock's streamed answers, incrementally, and its writer.

A message is a prelude (total length, length of the headers, CRC-32 of these two), the headers, the payload and a CRC-32 of all before it;
integers are big-endian. Both sums are checked, and lengths are judged before anything is kept, so a message cannot grow past `MAX_MESSAGE`.
Wire format: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html ("Message format"), https://smithy.io/2.0/aws/amazon-eventstream.html.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from extproc.core.errors import UpstreamFormatError

CONTENT_TYPE = "application/vnd.amazon.eventstream"

MAX_HEADERS = 128 << 10
MAX_PAYLOAD = 24 << 20
"""Bytes; the limits of AWS's own reader (botocore)."""

_PRELUDE = Struct("!III")
_U16, _U32 = Struct("!H"), Struct("!I")
_NUMBERS = {2: Struct("!b"), 3: Struct("!h"), 4: Struct("!i"), 5: Struct("!q"), 8: Struct("!q")}
_OVERHEAD = 16
"""Bytes of a message besides its headers and its payload."""

MAX_MESSAGE = MAX_HEADERS + MAX_PAYLOAD + _OVERHEAD

HeaderValue = bool | int | bytes | str


class Message(NamedTuple):
    """One message. Timestamps are milliseconds, UUIDs their 16 bytes."""

    headers: Mapping[str, HeaderValue]
    payload: bytes

    def text(self, name: str) -> str:
        """The header `name` where it is a string, else ""."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class EventStreamParser:
    """`feed` gives the messages that new bytes complete, `close` checks that none was cut off.

    Both raise `UpstreamFormatError` for what is no event stream; `feed` gives every message before it first, and reads nothing afterwards.
    """

    __slots__ = ("_broken", "_buffer", "_need")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._need = _PRELUDE.size
        """Bytes that must be there before it is worth looking again."""
        self._broken = False

    @property
    def idle(self) -> bool:
        """Does the next byte begin a message?"""
        return not self._buffer and not self._broken

    def feed(self, data: bytes) -> Iterator[Message]:
        buffer = self._buffer
        if self._broken:
            return
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= self._need:
                if self._need == _PRELUDE.size:
                    self._need = _total(buffer, at)
                    continue
                message = _message(buffer, at, self._need)
                at += self._need
                self._need = _PRELUDE.size
                yield message
        except UpstreamFormatError:
            self._broken = True
            raise
        finally:
            del buffer[:at]

    def close(self) -> None:
        if self._buffer and not self._broken:
            self._broken = True
            raise UpstreamFormatError("the provider's event stream ended inside a message")


def _total(buffer: bytearray, at: int) -> int:
    """The length of the message that begins at `at`. Raises `UpstreamFormatError`."""
    total, headers, checksum = _PRELUDE.unpack_from(buffer, at)
    if crc32(buffer[at : at + 8]) != checksum:
        raise UpstreamFormatError("the checksum of the provider's event stream is wrong")
    if headers > MAX_HEADERS or not _OVERHEAD <= total - headers <= MAX_PAYLOAD + _OVERHEAD:
        raise UpstreamFormatError("a message of the provider's event stream has an impossible length")
    return int(total)


def _message(buffer: bytearray, at: int, total: int) -> Message:
    end = at + total - 4
    raw = bytes(buffer[at:end])
    if crc32(raw) != _U32.unpack_from(buffer, end)[0]:
        raise UpstreamFormatError("the checksum of the provider's event stream is wrong")
    split = _PRELUDE.size + _U32.unpack_from(raw, 4)[0]
    head = raw[_PRELUDE.size : split]
    # every event of one kind has the same headers
    return Message(_known_headers(head) if len(head) <= 256 else _headers(head), raw[split:])


def _headers(raw: bytes) -> dict[str, HeaderValue]:
    """Raises `UpstreamFormatError`."""
    found: dict[str, HeaderValue] = {}
    at = 0
    try:
        while at < len(raw):
            end = at + 1 + raw[at]
            name = raw[at + 1 : end].decode()
            kind = raw[end]
            value, at = _value(raw, kind, end + 1)
            if name in found or at > len(raw):
                raise UpstreamFormatError("a header of the provider's event stream is malformed")
            found[name] = value
    except (IndexError, UnicodeDecodeError, struct.error):
        raise UpstreamFormatError("a header of the provider's event stream is malformed") from None
    return found


@lru_cache(maxsize=64)
def _known_headers(raw: bytes) -> Mapping[str, HeaderValue]:
    return _headers(raw)


def _value(raw: bytes, kind: int, at: int) -> tuple[HeaderValue, int]:
    """(the value of a header of type `kind` that begins at `at`, where it ends)."""
    if kind <= 1:
        return kind == 0, at
    number = _NUMBERS.get(kind)
    if number is not None:
        return number.unpack_from(raw, at)[0], at + number.size
    if kind == 9:
        return raw[at : at + 16], at + 16
    if kind not in (6, 7):
        raise UpstreamFormatError("a header of the provider's event stream is of an unknown type")
    start = at + 2
    end = start + _U16.unpack_from(raw, at)[0]
    return (raw[start:end].decode() if kind == 7 else raw[start:end]), end


def encode_message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message with string headers, each name up to 255 bytes and each value up to 65,535."""
    return _framed(b"".join(_header(name, value) for name, value in headers.items()), payload)


def event(kind: str, payload: bytes) -> bytes:
    """An event of the type `kind` with JSON as its payload."""
    return _framed(json_headers("event", kind), payload)


def exception(kind: str, payload: bytes) -> bytes:
    """An exception of the type `kind` with JSON as its payload: AWS's SDKs raise it."""
    return _framed(json_headers("exception", kind), payload)


@lru_cache(maxsize=64)
def json_headers(message_type: str, kind: str) -> bytes:
    """The headers of a message with JSON as its payload, in AWS's own order."""
    pairs = ((f":{message_type}-type", kind), (":content-type", "application/json"), (":message-type", message_type))
    return b"".join(_header(name, value) for name, value in pairs)


def _header(name: str, value: str) -> bytes:
    label, text = name.encode(), value.encode()
    return b"%c%b\x07%b%b" % (len(label), label, _U16.pack(len(text)), text)


def _framed(headers: bytes, payload: bytes) -> bytes:
    lengths = _PRELUDE.pack(len(headers) + len(payload) + _OVERHEAD, len(headers), 0)[:8]
    raw = b"%b%b%b%b" % (lengths, _U32.pack(crc32(lengths)), headers, payload)
    return raw + _U32.pack(crc32(raw))
