"""AWS event streams against AWS's own reader, in both directions, however they are cut or broken."""

from __future__ import annotations

import struct
from typing import Any
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.eventstream import ParserError as BotocoreError
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import eventstream
from extproc.core.errors import UpstreamFormatError
from extproc.core.eventstream import EventStreamParser, encode_message, event, exception

NAMES = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=40)
MESSAGES = st.tuples(st.dictionaries(NAMES, st.text(max_size=300), max_size=6), st.binary(max_size=2000))


def botocore_reads(raw: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(raw)
    return [(message.headers, message.payload) for message in buffer]


def read(raw: bytes, size: int = 0) -> list[tuple[dict[str, Any], bytes]]:
    parser = EventStreamParser()
    step = size or max(len(raw), 1)
    found = [message for at in range(0, len(raw), step) for message in parser.feed(raw[at : at + step])]
    parser.close()
    return [(dict(message.headers), message.payload) for message in found]


def framed(headers: bytes, payload: bytes = b"") -> bytes:
    """A message with right sums around any bytes of headers."""
    lengths = struct.pack("!II", len(headers) + len(payload) + 16, len(headers))
    raw = lengths + struct.pack("!I", crc32(lengths)) + headers + payload
    return raw + struct.pack("!I", crc32(raw))


@given(st.lists(MESSAGES, max_size=5))
def test_botocore_reads_what_we_write(messages: list[tuple[dict[str, str], bytes]]) -> None:
    assert botocore_reads(b"".join(encode_message(*message) for message in messages)) == messages


@given(st.lists(MESSAGES, max_size=5), st.integers(1, 40))
def test_we_read_what_we_write_however_it_is_cut(messages: list[tuple[dict[str, str], bytes]], size: int) -> None:
    raw = b"".join(encode_message(*message) for message in messages)
    assert read(raw, size) == read(raw) == messages


@given(st.binary(max_size=200), st.binary(max_size=64))
def test_headers_mean_what_they_mean_to_botocore(headers: bytes, payload: bytes) -> None:
    """Right sums around arbitrary headers: the same result, or both refuse."""
    raw = framed(headers, payload)
    try:
        wanted = botocore_reads(raw)
    except (BotocoreError, struct.error, KeyError, UnicodeDecodeError, IndexError):
        with pytest.raises(UpstreamFormatError):
            read(raw)
        return
    try:
        assert read(raw) == wanted
    except UpstreamFormatError:
        # botocore takes a value that is shorter than it says
        assert not framed_whole(headers)


def framed_whole(headers: bytes) -> bool:
    """Do the headers end where their lengths say?"""
    at = 0
    while at < len(headers):
        at += 1 + headers[at]
        kind = headers[at]
        at += 1
        if kind in (6, 7):
            at += 2 + struct.unpack_from("!H", headers, at)[0]
        else:
            at += {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}[kind]
    return at == len(headers)


def test_every_type_of_header() -> None:
    def header(name: bytes, kind: int, value: bytes) -> bytes:
        return bytes([len(name)]) + name + bytes([kind]) + value

    raw = framed(
        header(b"t", 0, b"")
        + header(b"f", 1, b"")
        + header(b"b", 2, b"\xff")
        + header(b"s", 3, struct.pack("!h", -3))
        + header(b"i", 4, struct.pack("!i", 1 << 30))
        + header(b"l", 5, struct.pack("!q", -(1 << 60)))
        + header(b"a", 6, b"\x00\x02\x00\xff")
        + header(b"u", 7, b"\x00\x02" + "é".encode())
        + header(b"ts", 8, struct.pack("!q", 1_700_000_000_000))
        + header(b"id", 9, bytes(range(16)))
    )
    assert read(raw) == botocore_reads(raw)
    assert read(raw)[0][0] == {
        "t": True,
        "f": False,
        "b": -1,
        "s": -3,
        "i": 1 << 30,
        "l": -(1 << 60),
        "a": b"\x00\xff",
        "u": "é",
        "ts": 1_700_000_000_000,
        "id": bytes(range(16)),
    }


@given(st.lists(MESSAGES, min_size=1, max_size=3), st.data())
def test_a_flipped_bit_is_always_noticed(messages: list[tuple[dict[str, str], bytes]], data: st.DataObject) -> None:
    raw = bytearray(b"".join(encode_message(*message) for message in messages))
    place = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[place // 8] ^= 1 << place % 8
    with pytest.raises(UpstreamFormatError):
        read(bytes(raw))


@given(st.binary(max_size=300), st.integers(1, 50))
def test_anything_is_read_or_refused(raw: bytes, size: int) -> None:
    try:
        read(raw, size)
    except UpstreamFormatError:
        return
    assert raw == b""


def test_what_came_before_the_break_is_given_and_nothing_after_it() -> None:
    good = event("messageStart", b"{}")
    parser = EventStreamParser()
    messages = parser.feed(good + b"<html>502 Bad Gateway</html>" + good)
    assert next(messages).text(":event-type") == "messageStart"
    with pytest.raises(UpstreamFormatError):
        next(messages)
    assert list(parser.feed(good)) == []
    parser.close()


def test_a_message_that_is_cut_off_is_an_error_at_the_end() -> None:
    parser = EventStreamParser()
    assert list(parser.feed(event("metadata", b"{}")[:-1])) == []
    with pytest.raises(UpstreamFormatError, match="inside a message"):
        parser.close()


LENGTHS = [(15, 0), (20, 5), (0, 0), (1 << 31, 16), (eventstream.MAX_PAYLOAD + 17, 0), (1 << 20, (128 << 10) + 1)]


@pytest.mark.parametrize(("total", "headers"), LENGTHS)
def test_lengths_are_judged_before_anything_is_kept(total: int, headers: int) -> None:
    lengths = struct.pack("!II", total, headers)
    with pytest.raises(UpstreamFormatError, match="impossible length"):
        list(EventStreamParser().feed(lengths + struct.pack("!I", crc32(lengths))))


def test_the_largest_message_passes() -> None:
    raw = encode_message({"n": "v"}, bytes(eventstream.MAX_PAYLOAD))
    assert len(read(raw, 1 << 20)[0][1]) == eventstream.MAX_PAYLOAD


def test_events_and_exceptions_carry_the_headers_that_aws_sends() -> None:
    (headers, payload), (error, said) = botocore_reads(event("messageStop", b"{}") + exception("throttlingException", b'{"message":"slow"}'))
    assert headers == {":event-type": "messageStop", ":content-type": "application/json", ":message-type": "event"}
    assert error == {":exception-type": "throttlingException", ":content-type": "application/json", ":message-type": "exception"}
    assert (payload, said) == (b"{}", b'{"message":"slow"}')
