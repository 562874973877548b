"""Vectors are lifted out of JSON and converted exactly, whatever else the document holds."""

from __future__ import annotations

import base64
import math
import struct

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import vectors
from extproc.core.errors import UpstreamFormatError
from extproc.core.vectors import Vector, VectorType, from_base64, lift, to_base64, written

NUMBERS = st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53), max_size=4)
TEXT = st.text(st.sampled_from('[]{}",:\\ 0123456789-.eaü\n'), max_size=12)
DOCUMENTS = st.recursive(
    NUMBERS | TEXT | st.integers(-5, 5) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def put_back(value: object, lifted: vectors.Lifted) -> object:
    numbers = lifted.numbers(value)
    if numbers is not None:
        return orjson.loads(numbers)
    if isinstance(value, list):
        return [put_back(one, lifted) for one in value]
    return {name: put_back(one, lifted) for name, one in value.items()} if isinstance(value, dict) else value


@given(DOCUMENTS, st.booleans())
def test_lifting_loses_nothing(document: object, indent: bool) -> None:
    raw = orjson.dumps(document, option=orjson.OPT_INDENT_2 if indent else None)
    lifted = lift(raw)
    assert put_back(lifted.document, lifted) == orjson.loads(raw)
    assert all(raw.count(array) for array in lifted.arrays), "as they came"


def test_the_digits_stay() -> None:
    raw = b'{"v":[0.10, 1E-3,-0,\n 12345678901234567890.5]}'
    lifted = lift(raw)
    assert lifted.numbers(lifted.document["v"]) == b"[0.10, 1E-3,-0,\n 12345678901234567890.5]"


@pytest.mark.parametrize("value", [[0.5, None], [0.5, "a"], ["a"], [[0.5]], [True], "[0.5]", 0, None, {}, [0.5, [1]], [None]])
def test_what_is_no_vector(value: object) -> None:
    lifted = lift(orjson.dumps({"v": value, "w": [1.5]}))
    assert lifted.numbers(lifted.document["v"]) is None
    assert lifted.numbers(lifted.document["w"]) == b"[1.5]"


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[1,2", b'{"v":[NaN]}', b'{"v":[1,2]', b'["', b'{"v":[0.5,]x}', b"[1[2]3]"])
def test_what_is_no_json(raw: bytes) -> None:
    with pytest.raises(UpstreamFormatError):
        lift(raw)


def test_too_many_arrays() -> None:
    with pytest.raises(UpstreamFormatError):
        lift(b"[%b1]" % (b"[1]," * (vectors.MAX_ARRAYS + 1)))


def test_time_is_linear_in_hostile_input() -> None:
    """Each of these would take hours if a part of it were looked at again for every other part."""
    size = 200_000
    for raw in (b"[1," * size, b"[" * size, b'["' * size, b'"\\' * size, b"[1,[" * size, b'[1,"' * size):
        with pytest.raises(UpstreamFormatError):
            lift(raw)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_32_bits_go_both_ways_unchanged(numbers: list[float]) -> None:
    packed = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    assert to_base64(orjson.dumps(numbers)) == packed
    assert orjson.loads(from_base64(packed)) == numbers


@given(st.lists(st.floats(-1e30, 1e30), max_size=20))
def test_64_bits_are_rounded_to_32(numbers: list[float]) -> None:
    raw = base64.b64decode(to_base64(orjson.dumps(numbers)))
    assert raw == struct.pack(f"<{len(numbers)}f", *numbers)


@pytest.mark.parametrize("text", ["AAA", "AAAA", "not base64!", base64.b64encode(struct.pack("<2f", math.nan, 1)).decode()])
def test_base64_of_something_else(text: str) -> None:
    with pytest.raises(UpstreamFormatError):
        from_base64(text)


@pytest.mark.parametrize("numbers", [b"[1,]", b"[1-2]", b'["a"]'])
def test_base64_of_no_numbers(numbers: bytes) -> None:
    with pytest.raises(UpstreamFormatError):
        to_base64(numbers)


def test_big_endian_machines_write_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    little = to_base64(b"[0.5,-2]")
    monkeypatch.setattr("sys.byteorder", "big")
    raw = base64.b64decode(to_base64(b"[0.5,-2]"))
    assert struct.unpack(">2f", raw) == struct.unpack("<2f", base64.b64decode(little)), "this machine's order, turned"


def test_each_encoding_is_made_of_what_there_is() -> None:
    packed = base64.b64encode(struct.pack("<2f", 0.5, -2)).decode()
    floats: dict[VectorType, list[Vector]] = {VectorType.FLOAT: [b"[0.5,-2.0]"]}
    assert written(floats, VectorType.FLOAT) == [b"[0.5,-2.0]"]
    assert written(floats, VectorType.BASE64) == [orjson.dumps(packed)]
    assert written({VectorType.BASE64: [packed]}, VectorType.FLOAT) == [b"[0.5,-2.0]"]
    assert written({VectorType.BASE64: [packed]}, VectorType.BASE64) == [orjson.dumps(packed)]
    assert written({VectorType.INT8: [b"[1,-7]"]}, VectorType.INT8) == [b"[1,-7]"]
    for kind in (VectorType.INT8, VectorType.UBINARY):
        with pytest.raises(UpstreamFormatError, match=kind.value):
            written(floats, kind)
    with pytest.raises(UpstreamFormatError):
        written({}, VectorType.FLOAT)
