"""The documented merge rule, and that nothing is shared between configurations."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from extproc.envoyconfig.merge import merge, merge_all

VALUES = st.recursive(
    st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)
)
BLOCKS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


def test_mappings_merge_lists_replace_null_removes() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3, "e": {"f": 1}}
    assert merge(base, {"a": {"c": [9]}, "d": None, "e": 5}) == {"a": {"b": 1, "c": [9]}, "e": 5}


def test_one_of() -> None:
    base = {"auto_config": {"http_protocol_options": {}}, "common_http_protocol_options": {"idle_timeout": "1s"}}
    over = {"explicit_http_config": {"http2_protocol_options": {}}}
    assert merge(base, over) == {**over, "common_http_protocol_options": {"idle_timeout": "1s"}}
    assert merge({"trusted_ca": {"filename": "x"}}, {"trusted_ca": {"inline_string": "y"}}) == {"trusted_ca": {"inline_string": "y"}}


@given(BLOCKS, BLOCKS)
def test_merging(base: dict[str, Any], over: dict[str, Any]) -> None:
    before = repr((base, over))
    merged = merge(base, over)
    assert set(merged) == {*base, *over}
    assert merge(merged, over) == merged
    assert merge_all(base, None, over) == merged
    for value in merged.values():
        if isinstance(value, dict):
            value["changed"] = True
        elif isinstance(value, list):
            value.append("changed")
    assert repr((base, over)) == before
