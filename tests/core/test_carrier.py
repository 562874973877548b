"""State in tool call ids: survives the round trip, is stripped bytewise, and hostile ids cost nothing."""

from __future__ import annotations

import base64
import re
import zlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import carrier
from extproc.core.ir import Opaque, Thinking

vendors = st.sampled_from(["anthropic", "gemini", "openai"])
opaques = st.builds(Opaque, vendors, st.text(max_size=200))
thoughts = st.lists(st.builds(Thinking, st.text(max_size=200), opaques, st.booleans()), max_size=3)
ids = st.from_regex(r"[A-Za-z0-9_-]{1,40}", fullmatch=True).filter(lambda i: carrier.MARK not in i)


@given(ids, st.none() | opaques, thoughts)
def test_round_trip(call_id: str, opaque: Opaque | None, signed: list[Thinking]) -> None:
    carried = carrier.join(call_id, opaque, signed)
    assert carrier.split(carried) == (call_id, opaque, signed)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", carried), "every dialect's alphabet for ids"
    assert carrier.strip(b'{"id":"%b"}' % carried.encode()) == b'{"id":"%b"}' % call_id.encode()


def test_nothing_to_carry_leaves_the_id_alone() -> None:
    assert carrier.join("call_1", None, [Thinking("unsigned")]) == "call_1"


def test_the_same_state_gives_the_same_id() -> None:
    assert carrier.join("c", Opaque("gemini", "s"), []) == carrier.join("c", Opaque("gemini", "s"), [])


@given(st.text(max_size=60))
def test_a_forged_payload_is_dropped_with_its_mark(payload: str) -> None:
    call_id, opaque, signed = carrier.split(f"call_1{carrier.MARK}{payload}")
    assert call_id == "call_1"
    assert opaque is None or isinstance(opaque, Opaque)
    assert isinstance(signed, list)


@pytest.mark.parametrize("size", [64 << 20, 1 << 19, 1 << 16])
def test_a_compressed_bomb_is_no_state(size: int) -> None:
    """Not only a large one: a body may hold thousands of ids."""
    bomb = base64.urlsafe_b64encode(zlib.compress(orjson.dumps({"o": ["gemini", "x" * size]}))).rstrip(b"=").decode()
    assert carrier.split(f"call_1{carrier.MARK}{bomb}") == ("call_1", None, [])


def test_thoughts_that_repeat_themselves_still_come_back() -> None:
    thought = Thinking("hm " * 20_000, Opaque("anthropic", "s"))
    assert carrier.split(carrier.join("c", None, [thought])) == ("c", None, [thought])
