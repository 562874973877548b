"""What is left of a body says the same as the body, whatever its pieces are, and is small."""

from __future__ import annotations

import base64
import os

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.condense import LONGEST_STRING, Condenser
from tests.core.test_vectors import DOCUMENTS


def condensed(raw: bytes, size: int) -> bytes:
    condenser = Condenser()
    for at in range(0, len(raw), size):
        condenser.feed(raw[at : at + size])
    return bytes(condenser.rest)


def expected(value: object) -> object:
    """Arrays lose the numbers that they begin with; if nothing else follows, all."""
    if isinstance(value, list):
        left = list(value)
        if left and _number(left[0]):
            while left and _number(left[0]):
                left.pop(0)
        return [expected(one) for one in left]
    return {name: expected(one) for name, one in value.items()} if isinstance(value, dict) else value


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@given(DOCUMENTS, st.integers(1, 9), st.booleans())
def test_it_says_the_same(document: object, size: int, indent: bool) -> None:
    raw = orjson.dumps(document, option=orjson.OPT_INDENT_2 if indent else None)
    left = condensed(raw, size)
    assert left == condensed(raw, len(raw))
    assert orjson.loads(left) == expected(orjson.loads(raw))


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_vectors_of_both_kinds_leave_nothing(size: int) -> None:
    packed = base64.b64encode(os.urandom(6144)).decode()
    data = [{"index": n, "embedding": [0.5] * 300 if n % 2 else packed} for n in range(20)]
    left = condensed(orjson.dumps({"data": data, "usage": {"prompt_tokens": 7}}), size)
    assert orjson.loads(left)["usage"] == {"prompt_tokens": 7}
    assert [one["index"] for one in orjson.loads(left)["data"]] == list(range(20))
    assert len(left) < 1000


@pytest.mark.parametrize("size", [1, 2, 5000])
def test_long_strings_with_escapes(size: int) -> None:
    for length in (LONGEST_STRING, LONGEST_STRING + 1):
        text = '\\"' * (length // 4) + "a" * (length % 4)
        body = {"text": text, "after": 'a "quoted\\" word'}
        raw = orjson.dumps(body)
        assert len(raw) > length
        left = orjson.loads(condensed(raw, size))
        assert left == (body if length == LONGEST_STRING else {**body, "text": ""})


def test_hostile_bodies_take_linear_time() -> None:
    for raw in (b"[1," * 100_000, b'"' + b"\\" * 200_000, b"[" + b" " * 200_000, b'["' * 100_000):
        condensed(raw, 1000)
