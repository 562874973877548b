"""The frames of HTTP/2 (RFC 9113, 4 to 7): numbers, names and layout."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_WINDOW = (1 << 31) - 1
DEFAULT_WINDOW = 65_535
MIN_FRAME = 1 << 14
"""Bytes of payload that every peer takes."""

_SETTING = struct.Struct(">HI")


class Kind:
    """Of a frame. Plain numbers, here and in Flag: they are compared for every frame, and an enum's cost several times as much."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag:
    END_STREAM = 0x1
    ACK = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    PRIORITY = 0x20


class Setting:
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Code(IntEnum):
    """Of RST_STREAM and GOAWAY."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11


def frame_head(size: int, kind: int, flags: int, stream_id: int) -> bytes:
    """The nine bytes in front of a payload of `size` bytes."""
    return (size << 48 | kind << 40 | flags << 32 | stream_id).to_bytes(9, "big")


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A whole frame; stream 0 is the connection."""
    return frame_head(len(payload), kind, flags, stream_id) + payload


def settings(values: Mapping[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(Kind.SETTINGS, 0, 0, b"".join(_SETTING.pack(key, value) for key, value in values.items()))


def read_settings(payload: memoryview) -> Iterable[tuple[int, int]]:
    """Keys, also unknown ones, and values. The length of `payload` is a multiple of six."""
    return _SETTING.iter_unpack(payload)
