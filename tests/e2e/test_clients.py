"""Every real client finishes a conversation with tools, streamed and not, served by a provider of another dialect than its own."""

from __future__ import annotations

import warnings

import pytest

from tests.e2e.clients import CLIENTS, TOOLS
from tests.e2e.conftest import DIALECTS
from tests.e2e.stack import Stack

CASES = [(name, provider) for name, (_, dialect) in CLIENTS.items() for provider in ("oa", "an", "ge") if DIALECTS[provider] != dialect]
# Mistral's SDK speaks a dialect of its own all the same: OpenAI's pieces of tool calls are none that it reads
CASES.append(("mistralai", "oa"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "provider"), CASES, ids=[f"{c}-{p}" for c, p in CASES])
def test_a_conversation_with_tools(stack: Stack, name: str, provider: str, stream: bool) -> None:
    converse, _ = CLIENTS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text, ran = converse(stack.url, provider, stream)
    assert sorted(ran) == sorted(TOOLS)
    assert "got 2 tool results" in text
    assert all(f"{tool} says fine in Paris" in text for tool in TOOLS)
    assert [r.problem for r in stack.received(provider)] == [None, None]
