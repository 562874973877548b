"""Compressed bodies, a piece at a time: each piece can be read as soon as it has arrived."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

import brotli  # type: ignore[import-untyped]  # it comes without
import zstandard


class Packer(Protocol):
    """One body."""

    def piece(self, data: bytes) -> bytes:
        """What to send for `data`, flushed."""
        ...

    def end(self) -> bytes:
        """What is sent behind the last piece."""
        ...


class _Zlib:
    def __init__(self, wbits: int) -> None:
        self._packer = zlib.compressobj(wbits=wbits)

    def piece(self, data: bytes) -> bytes:
        return self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._packer.flush()


class _Brotli:
    def __init__(self) -> None:
        self._packer = brotli.Compressor()

    def piece(self, data: bytes) -> bytes:
        return bytes(self._packer.process(data) + self._packer.flush())

    def end(self) -> bytes:
        return bytes(self._packer.finish())


class _Zstd:
    def __init__(self) -> None:
        self._packer = zstandard.ZstdCompressor().compressobj()

    def piece(self, data: bytes) -> bytes:
        return self._packer.compress(data) + self._packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def end(self) -> bytes:
        return self._packer.flush()


PACKERS: dict[str, Callable[[], Packer]] = {"gzip": lambda: _Zlib(31), "deflate": lambda: _Zlib(15), "br": _Brotli, "zstd": _Zstd}
"""By their names in `content-encoding`."""
