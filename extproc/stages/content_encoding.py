"""Compressed answers, decoded piece by piece: gzip, deflate (zlib's or raw), br, zstd, and one on top of another.

We ask for identity, and some providers compress nevertheless. What a few bytes unpack to is bounded, in proportion and in all; garbage and
a cut are errors of the provider, never exceptions of a library.
Sources: RFC 9110 section 8.4.1, RFC 1950 to 1952, RFC 7932, RFC 8878; the window of zstd is what RFC 9659 allows.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Protocol

import brotli  # type: ignore[import-untyped]  # it comes without
import zstandard

from extproc.core.errors import UpstreamFormatError

FREE = 8 << 20
"""Decoded bytes that need no proportion: a short answer of very much the same."""
RATIO = 128
"""Decoded bytes for each encoded one beyond that. Event streams and JSON compress three to thirty times."""
LIMIT = 256 << 20
"""Decoded bytes of one answer."""
STACKED = 3
"""Encodings on top of each other."""

_STEP = 1 << 20
"""Bytes that one call of a library may give, where it can be told."""
_SLICE = 16 << 10
"""Encoded bytes that a decoder gets at once: where one stream ends and the next begins, what is left of them is copied."""
_ZSTD_SLICE = 256
"""Encoded bytes that zstd gets at once: its decoder has no limit of its own, a block of 128 KiB takes four bytes, so this is at most 8 MiB."""
_ZSTD_WINDOW = 8 << 20


class _Decoder(Protocol):
    """One encoding. `feed` takes encoded bytes; `pending`: `feed(b"")` would give more; `done`: the encoding's own end has come."""

    @property
    def pending(self) -> bool: ...

    @property
    def done(self) -> bool: ...

    def feed(self, data: bytes) -> bytes: ...


class _Zlib:
    """gzip, also of several members, and deflate, which servers send with and without zlib's header."""

    def __init__(self, gzip: bool) -> None:
        self._gzip = gzip
        self._inner = zlib.decompressobj(31) if gzip else None
        self._head = b""
        self._full = False

    @property
    def pending(self) -> bool:
        inner = self._inner
        # all input may be taken and some of its output not yet given
        return inner is not None and bool(inner.unused_data if inner.eof else self._full or inner.unconsumed_tail)

    @property
    def done(self) -> bool:
        return self._inner is not None and self._inner.eof

    def feed(self, data: bytes) -> bytes:
        inner = self._inner
        if inner is None:
            self._head += data
            if len(self._head) < 2:
                return b""
            data = self._head
            is_zlib = data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
            inner = self._inner = zlib.decompressobj(15 if is_zlib else -15)
        elif inner.eof:
            data = inner.unused_data + data
            if not data:
                return b""
            if not self._gzip:
                raise zlib.error("bytes behind the end")
            inner = self._inner = zlib.decompressobj(31)
        else:
            data = inner.unconsumed_tail + data
        out = inner.decompress(data, _STEP)
        self._full = len(out) == _STEP
        return out


class _Brotli:
    """`output_buffer_limit` bounds one call, not exactly; what is left comes with empty input, whatever `can_accept_more_data` says."""

    def __init__(self) -> None:
        self._inner = brotli.Decompressor()
        self._left = b""
        self._more = False

    @property
    def pending(self) -> bool:
        return not self.done and (self._more or (bool(self._left) and bool(self._inner.can_accept_more_data())))

    @property
    def done(self) -> bool:
        return bool(self._inner.is_finished())

    def feed(self, data: bytes) -> bytes:
        self._left += data
        if not self._more and self._inner.can_accept_more_data():
            data, self._left = self._left, b""
        else:
            data = b""
        out = bytes(self._inner.process(data, output_buffer_limit=_STEP))
        self._more = bool(out)
        return out


class _Zstd:
    def __init__(self) -> None:
        self._factory = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._inner = self._factory.decompressobj()
        self._left = bytearray()

    @property
    def pending(self) -> bool:
        return bool(self._left) or (self._inner.eof and bool(self._inner.unused_data))

    @property
    def done(self) -> bool:
        return self._inner.eof and not self._left

    def feed(self, data: bytes) -> bytes:
        self._left += data
        if self._inner.eof:
            rest = self._inner.unused_data + bytes(self._left)
            if not rest:
                return b""
            self._inner, self._left = self._factory.decompressobj(), bytearray(rest)
        piece = bytes(self._left[:_ZSTD_SLICE])
        del self._left[:_ZSTD_SLICE]
        return self._inner.decompress(piece)


class _Bounded:
    """One encoding with its bounds."""

    def __init__(self, name: str, decoder: _Decoder) -> None:
        self._name = name
        self._decoder = decoder
        self._taken = self._given = 0

    def feed(self, data: bytes) -> bytes:
        out: list[bytes] = []
        try:
            for at in range(0, len(data), _SLICE):
                self._slice(data[at : at + _SLICE], out)
        except (zlib.error, brotli.error, zstandard.ZstdError):
            raise UpstreamFormatError(f"the provider's answer is not the {self._name} that it says it is") from None
        return out[0] if len(out) == 1 else b"".join(out)

    def _slice(self, data: bytes, out: list[bytes]) -> None:
        self._taken += len(data)
        piece = self._decoder.feed(data)
        while True:
            out.append(piece)
            self._given += len(piece)
            if self._given > LIMIT or self._given > FREE + RATIO * self._taken:
                raise UpstreamFormatError(f"the provider's compressed answer ({self._name}) unpacks to too much")
            if not self._decoder.pending:
                break
            piece = self._decoder.feed(b"")

    def close(self) -> None:
        if self._taken and not self._decoder.done:
            raise UpstreamFormatError(f"the provider's compressed answer ({self._name}) ended before it was complete")


class Unpacker:
    """The answer behind its encodings. Both methods raise `UpstreamFormatError`; after that it is of no more use."""

    __slots__ = ("_layers",)

    def __init__(self, layers: list[_Bounded]) -> None:
        self._layers = layers

    def feed(self, data: bytes, end: bool = False) -> bytes:
        """The decoded bytes that `data` completes; `end`: it is the last."""
        for layer in self._layers:
            if data:
                data = layer.feed(data)
            if end:
                layer.close()
        return data


def _layer(name: str) -> _Bounded | None:
    match name:
        case "gzip" | "x-gzip":
            return _Bounded("gzip", _Zlib(gzip=True))
        case "deflate":
            return _Bounded(name, _Zlib(gzip=False))
        case "br":
            return _Bounded(name, _Brotli())
        case "zstd":
            return _Bounded(name, _Zstd())
        case _:
            return None


def encodings(headers: Mapping[str, str]) -> list[str]:
    """The names in `content-encoding`, in the order in which they were applied; identity is none."""
    names = (name.strip().lower() for name in headers.get("content-encoding", "").split(","))
    return [name for name in names if name not in ("", "identity")]


def unpacker(headers: Mapping[str, str]) -> Unpacker | None:
    """What decodes an answer with these headers; None where there is nothing to decode. Raises `UpstreamFormatError` for an unknown encoding."""
    names = encodings(headers)
    if not names:
        return None
    layers: list[_Bounded] = []
    for name in reversed(names):
        layer = _layer(name)
        if layer is None or len(layers) == STACKED:
            said = ", ".join(names)[:40]
            raise UpstreamFormatError(f"the provider compressed its answer ({said}) in a way that is not known, although identity was asked for")
        layers.append(layer)
    return Unpacker(layers)
