"""The header block decoder: whatever the `hpack` package encodes is read back; whatever else arrives is read or refused, in bounded memory."""

from __future__ import annotations

import pytest
from hpack import Decoder as TheirDecoder
from hpack import Encoder
from hpack.hpack import HeaderTuple, NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st

from extproc.edge.hpack import MAX_LIST, STATIC, TABLE_SIZE, Decoder, HeaderListTooLarge, HpackError, encode

few = st.sampled_from([b":path", b"x-stage", b"content-type", b"te", b"x"])
texts = st.binary(max_size=40) | few | st.integers(120, 300).map(lambda n: b"v" * n)
fields = st.builds(HeaderTuple, few | texts, texts) | st.builds(NeverIndexedHeaderTuple, few | texts, texts)
blocks = st.lists(st.tuples(st.lists(fields, max_size=8), st.booleans(), st.none() | st.integers(0, TABLE_SIZE)), max_size=8)


@given(blocks)
def test_what_the_package_encodes_is_read_back(blocks: list[tuple[list[HeaderTuple], bool, int | None]]) -> None:
    """One table over many blocks, with and without Huffman code, resized in between."""
    encoder, decoder = Encoder(), Decoder()
    for headers, huffman, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        assert decoder.decode(encoder.encode(headers, huffman=huffman)) == [tuple(h) for h in headers]


@given(st.lists(st.tuples(texts, texts), max_size=8))
def test_our_blocks_are_read_by_the_package(headers: list[tuple[bytes, bytes]]) -> None:
    assert [tuple(h) for h in TheirDecoder().decode(encode(headers), raw=True)] == headers
    assert Decoder().decode(encode(headers)) == headers


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_bytes_are_read_or_refused(blocks: list[bytes]) -> None:
    decoder = Decoder()
    for block in blocks:
        try:
            headers = decoder.decode(block)
        except (HpackError, HeaderListTooLarge):
            break
        assert sum(len(n) + len(v) + 32 for n, v in headers) <= MAX_LIST
        assert decoder._size == sum(len(n) + len(v) + 32 for n, v in decoder._entries) <= TABLE_SIZE


@pytest.mark.parametrize("index", range(1, 62))
def test_the_static_table(index: int) -> None:
    assert Decoder().decode(bytes((0x80 | index,))) == [STATIC[index - 1]]


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x80", id="index 0"),
        pytest.param(b"\xbe", id="an entry of the empty table"),
        pytest.param(b"\x7f\x00\x01a", id="a name from the empty table"),
        pytest.param(b"\xff\xff\xff\xff\xff\xff\x01", id="an integer too long"),
        pytest.param(b"\xff\x80\x80\x80\x80\x80\x80\x80\x00", id="an integer with needless zeros"),
        pytest.param(b"\xff", id="an integer that ends too early"),
        pytest.param(b"\x40", id="no name"),
        pytest.param(b"\x40\x01a", id="no value"),
        pytest.param(b"\x40\x01a\x05b", id="a value beyond the end"),
        pytest.param(b"\x40\x01a\x7f\xff\xff\xff\x7f", id="a very long value"),
        pytest.param(b"\x40\x81\xff\x00", id="Huffman code that ends too early"),
        pytest.param(b"\x40\x84\xff\xff\xff\xff\x00", id="the end mark in Huffman code"),
        pytest.param(b"\x82\x20", id="a size update after a field"),
        pytest.param(b"\x3f\xe2\x1f", id="a size update over the limit"),
    ],
)
def test_blocks_against_the_rules(block: bytes) -> None:
    with pytest.raises(HpackError):
        Decoder().decode(block)


def test_size_updates_empty_the_table() -> None:
    decoder = Decoder()
    assert decoder.decode(b"\x40\x01a\x01b") == [(b"a", b"b")]
    assert decoder.decode(b"\xbe") == [(b"a", b"b")]
    assert decoder.decode(b"\x20\x3f\xe1\x1f\x82") == [(b":method", b"GET")]
    with pytest.raises(HpackError):
        decoder.decode(b"\xbe")


def test_a_field_larger_than_the_table_empties_it() -> None:
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x01b")
    large = b"\x40\x01c\x7f\x81\x1f" + b"v" * 4096
    assert decoder.decode(large) == [(b"c", b"v" * 4096)]
    assert not decoder._entries
    assert decoder._size == 0


def test_a_small_block_of_large_fields_is_not_collected_and_leaves_the_table_right() -> None:
    encoder, decoder = Encoder(), Decoder()
    bomb = [(b"x", b"v" * 4000)] * 1000
    block = encoder.encode(bomb)
    assert len(block) < 5000
    with pytest.raises(HeaderListTooLarge):
        decoder.decode(block)
    again = [(b"x", b"v" * 4000), (b"y", b"z")]
    assert decoder.decode(encoder.encode(again)) == again
