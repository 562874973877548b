"""Which headers Envoy keeps from whom."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.envoyconfig import headers
from extproc.providers.kinds import KINDS

NAMES = st.text("-abdeiknopqrstx", max_size=12).map(lambda rest: f"x-llm-{rest}") | st.sampled_from(
    [*headers.CLIENT_CONTROLS, "x-llm-", "x-llm-t", "x-llm-tas", "x-llm-tasks", "x-llm-sessio", "x-llm-sessions", "x-llm-route", "x-llm"]
)


@given(NAMES)
def test_all_but(name: str) -> None:
    matched = re.fullmatch(headers.all_but("x-llm-", headers.CLIENT_CONTROLS), name) is not None
    assert matched == (name.startswith("x-llm-") and name not in headers.CLIENT_CONTROLS)


@given(st.frozensets(st.text("ab", max_size=4), max_size=5), st.text("abc", max_size=5))
def test_all_but_any_set(kept: frozenset[str], word: str) -> None:
    assert (re.fullmatch(headers.all_but("", kept), word) is None) == (word in kept)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_kinds_key_is_hidden_and_cleaned(kind: object) -> None:
    name = kind.auth_header  # type: ignore[attr-defined]
    assert {"exact": name} in headers.disallowed()["disallowed_headers"]["patterns"]
    assert {"remove": name} in headers.clean_mutations()


@pytest.mark.parametrize("name", ["authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "x-amz-security-token", "cookie"])
def test_credential_headers(name: str) -> None:
    assert name in headers.CREDENTIALS
