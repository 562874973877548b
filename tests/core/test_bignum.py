"""Numbers of any size keep their value, and nothing else is read twice."""

from __future__ import annotations

import json

import orjson
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.bignum import exact

_NUMBERS = st.lists(st.integers() | st.integers(-(1 << 200), 1 << 200) | st.floats(allow_nan=False, allow_infinity=False) | st.text())


@given(_NUMBERS)
def test_the_member_is_exact(values: list[object]) -> None:
    raw = json.dumps({"m": values, "other": 1 << 80}).encode()
    body = exact(raw, orjson.loads(raw), "m")
    assert body["m"] == values
    assert [type(value) for value in body["m"]] == [type(value) for value in values]
    assert body["other"] == float(1 << 80)


@given(st.text(alphabet="ab1", max_size=20), st.integers(10**18, 10**20) | st.integers(-(10**20), -(10**18)))
def test_wherever_it_stands(before: str, value: int) -> None:
    for values in ([value], [*range(1000), value]):
        raw = json.dumps({"a": before, "m": values}).encode()
        assert exact(raw, orjson.loads(raw), "m")["m"] == values


def test_a_body_without_long_numbers_is_itself() -> None:
    body = {"m": [1, 123456789012345678]}
    assert exact(orjson.dumps(body), body, "m") is body


def test_what_only_the_fast_parser_reads_stays() -> None:
    raw = b'{"m": [%b]}' % (b"9" * 300)
    assert exact(raw, orjson.loads(raw), "m")["m"] == [int("9" * 300)]
    raw = b'{"m": [0.%b]}' % (b"1" * 10_000)
    assert exact(raw, orjson.loads(raw), "m") == orjson.loads(raw)
    raw = b"[%b]" % (b"1" * 30)
    assert exact(raw, orjson.loads(raw), "m") == orjson.loads(raw)
