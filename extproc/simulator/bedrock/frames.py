"""AWS event streams as Bedrock writes them: prelude, headers, payload, and a checksum behind each of the first and the whole.

Wire format: https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from __future__ import annotations

import struct
import zlib

import orjson

from extproc.simulator.wire import JSON, Stamp

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One message. All headers are strings (type 7)."""
    written = b""
    for name, value in headers.items():
        data = value.encode()
        written += struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(data)) + data
    prelude = struct.pack("!II", 16 + len(written) + len(payload), len(written))
    head = prelude + struct.pack("!I", zlib.crc32(prelude))
    return head + written + payload + struct.pack("!I", zlib.crc32(head + written + payload))


def event(kind: str, data: JSON, stamp: Stamp, number: int) -> bytes:
    """An event of the stream, padded with `p` so that its length does not tell its text."""
    padded = data | {"p": _PADDING[: 1 + stamp.seed[number % 16] % len(_PADDING)]}
    return frame({":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, orjson.dumps(padded))


def broken_event(kind: str) -> bytes:
    """A whole frame with half a document in it."""
    return frame({":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, b'{"contentBlockIndex":0,"delta":{"text":"hal')


def exception(kind: str, message: str) -> bytes:
    """The frame that ends a stream in an error: `kind` as in `throttlingException`."""
    return frame({":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}, orjson.dumps({"message": message}))
