"""Compressed answers: every encoding at every cut, on top of each other, cut short, garbage, bombs."""

from __future__ import annotations

import random
import tracemalloc
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.errors import UpstreamFormatError
from extproc.stages import content_encoding
from extproc.stages.content_encoding import FREE, RATIO, Unpacker, unpacker


def _deflate(raw: bytes, bits: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, bits)
    return packer.compress(raw) + packer.flush()


def gzip(raw: bytes) -> bytes:
    return _deflate(raw, 31)


PACK: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip),
    "x-gzip": ("X-GZip", gzip),
    "two members": ("gzip", lambda raw: gzip(raw[:100]) + gzip(raw[100:])),
    "deflate, zlib": ("deflate", lambda raw: _deflate(raw, 15)),
    "deflate, raw": ("deflate", lambda raw: _deflate(raw, -15)),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "zstd, two frames": ("zstd", lambda raw: zstandard.compress(raw[:9]) + zstandard.compress(raw[9:])),
    "gzip, then br": ("gzip, br", lambda raw: brotli.compress(gzip(raw))),
    "zstd, then deflate, then gzip": ("zstd,identity , deflate,gzip", lambda raw: gzip(_deflate(zstandard.compress(raw), 15))),
}
TEXT = b"".join(b'data: {"n":%d,"text":"gr\xc3\xbc\xc3\x9fe"}\n\n' % n for n in range(20))


def of(name: str) -> Unpacker:
    found = unpacker({"content-encoding": name})
    assert found is not None
    return found


@pytest.mark.parametrize("how", PACK)
def test_cut_at_every_byte(how: str) -> None:
    name, pack = PACK[how]
    packed = pack(TEXT)
    for at in range(len(packed) + 1):
        unpack = of(name)
        assert unpack.feed(packed[:at]) + unpack.feed(packed[at:], end=True) == TEXT


@pytest.mark.parametrize("how", PACK)
def test_byte_by_byte(how: str) -> None:
    name, pack = PACK[how]
    unpack = of(name)
    assert b"".join([unpack.feed(bytes([byte])) for byte in pack(TEXT)] + [unpack.feed(b"", end=True)]) == TEXT


@pytest.mark.parametrize("how", PACK)
def test_large(how: str) -> None:
    name, pack = PACK[how]
    raw = random.Random(1).randbytes(300_000) + TEXT * 1000
    packed = pack(raw)
    unpack = of(name)
    assert b"".join(unpack.feed(packed[i : i + 65536]) for i in range(0, len(packed), 65536)) + unpack.feed(b"", end=True) == raw


@pytest.mark.parametrize("how", PACK)
def test_cut_short_is_an_error_wherever(how: str) -> None:
    name, pack = PACK[how]
    packed = pack(TEXT)
    members = {len(gzip(TEXT[:100])), len(zstandard.compress(TEXT[:9]))} if "two" in how else set()
    for at in range(1, len(packed)):
        if at in members:
            # the end of one member might be the end of all
            continue
        with pytest.raises(UpstreamFormatError):
            of(name).feed(packed[:at], end=True)


def test_flushed_events_come_at_once() -> None:
    """A stream is decoded as it arrives, not at its end."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    unpack = of("gzip")
    for n in range(5):
        event = b"data: %d\n\n" % n
        assert unpack.feed(packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH)) == event
    assert unpack.feed(packer.flush(), end=True) == b""


@pytest.mark.parametrize("how", PACK)
def test_a_bomb_is_refused_before_it_fills_the_memory(how: str) -> None:
    name, pack = PACK[how]
    packed = pack(bytes(150_000_000))
    tracemalloc.start()
    try:
        unpack = of(name)
        with pytest.raises(UpstreamFormatError, match="unpacks to too much"):
            unpack.feed(packed, end=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * (FREE + RATIO * len(packed)) + (64 << 20)


def test_a_whole_body_of_many_members_is_not_copied_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Watched:
        def __init__(self, wbits: int) -> None:
            self._inner = zlib.decompressobj(wbits)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def decompress(self, data: bytes, most: int) -> bytes:
            sizes.append(len(data))
            return self._inner.decompress(data, most)

    monkeypatch.setattr(content_encoding, "zlib", SimpleNamespace(decompressobj=Watched, error=zlib.error))
    members = 5000
    assert of("gzip").feed(gzip(b"a") * members, end=True) == b"a" * members
    assert len(sizes) >= members
    assert max(sizes) <= 16 << 10


def test_the_absolute_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_encoding, "LIMIT", 1000)
    raw = random.Random(1).randbytes(1001)
    assert of("gzip").feed(gzip(raw[:1000]), end=True) == raw[:1000]
    with pytest.raises(UpstreamFormatError):
        of("gzip").feed(gzip(raw), end=True)


@pytest.mark.parametrize("name", ["compress", "gzip, compress", "br;q=1", "gzip, br, gzip, br"])
def test_unknown_encodings_are_refused(name: str) -> None:
    with pytest.raises(UpstreamFormatError):
        unpacker({"content-encoding": name})


@pytest.mark.parametrize("name", ["", "identity", "Identity, identity", ","])
def test_nothing_to_decode(name: str) -> None:
    assert unpacker({"content-encoding": name}) is None


def test_no_body_at_all() -> None:
    assert of("gzip").feed(b"", end=True) == b""


@given(st.sampled_from(sorted({name for name, _ in PACK.values()})), st.lists(st.binary(max_size=60), max_size=8), st.booleans())
def test_garbage_is_an_error_of_ours_or_nothing(name: str, pieces: list[bytes], real: bool) -> None:
    unpack = of(name)
    if real:
        pieces = [gzip(TEXT)[:20], brotli.compress(TEXT)[:9], zstandard.compress(TEXT)[:12], *pieces]
    try:
        for piece in pieces:
            unpack.feed(piece)
        unpack.feed(b"", end=True)
    except UpstreamFormatError:
        return
