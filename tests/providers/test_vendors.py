"""The table of vendors: every quirk has a meaning, every url is one, and what the quirks say of needs is what targets get."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from genai_prices.data import providers as priced
from opentelemetry.semconv._incubating.attributes.gen_ai_attributes import GenAiProviderNameValues

from extproc.core.dialect import Need
from extproc.core.operation import Operation
from extproc.dialects.openai_chat import members
from extproc.providers.kinds import ALIASES, KINDS, QUIRKS
from extproc.providers.vendors import CARRIES, CHAT_VENDORS, LACKS

VENDORS = {v.name: v for v in CHAT_VENDORS}
UNNAMED = {"together", "fireworks", "openrouter", "cerebras", "nvidia", "huggingface", "vllm", "llama.cpp"}
"""Vendors that the semantic conventions have no name for: the attribute is open, and takes theirs."""


def test_every_quirk_has_a_meaning() -> None:
    for kind in KINDS.values():
        assert kind.quirks <= QUIRKS.keys(), kind.name
    assert LACKS.keys() | CARRIES.keys() <= QUIRKS.keys()
    assert {*LACKS.values(), *CARRIES.values()} <= {v for k, v in vars(Need).items() if k.isupper()}


def test_the_wanted_vendors_are_there() -> None:
    wanted = "mistral groq deepseek xai together fireworks openrouter perplexity cerebras vllm llama.cpp nvidia huggingface gemini-openai"
    assert VENDORS.keys() >= set(wanted.split())
    assert ALIASES["x-ai"] == "xai"
    assert ALIASES["lmstudio"] == "openai-compatible"
    assert set(ALIASES.values()) <= KINDS.keys()


@pytest.mark.parametrize("name", VENDORS)
def test_a_vendor_is_a_kind(name: str) -> None:
    vendor, kind = VENDORS[name], KINDS[name]
    assert (kind.speaks[0].operation, kind.speaks[0].dialect) == (Operation.CHAT, "openai_chat")
    assert kind.vendor == (vendor.vendor or name)
    assert (kind.auth_header, kind.auth_prefix) == ("authorization", "Bearer ")
    if vendor.url is not None:
        parts = urlsplit(vendor.url)
        assert (parts.scheme, parts.query, parts.path[-1:]) == ("https", "", parts.path[-1:].strip("/"))
    assert kind.otel_name in {v.value for v in GenAiProviderNameValues} or name in UNNAMED


@pytest.mark.parametrize("name", [v.name for v in CHAT_VENDORS if v.prices])
def test_prices_are_the_vendors(name: str) -> None:
    """The id is one of the packaged data, and its own pattern of urls knows ours."""
    vendor = VENDORS[name]
    found = next(p for p in priced if p.id == vendor.prices)
    assert vendor.url is not None
    assert re.match(found.api_pattern, vendor.url)


def test_lists_of_members_do_not_contradict_the_quirks() -> None:
    """A vendor that renames a parameter or refuses it must not be said to take it."""
    for vendor in CHAT_VENDORS:
        facts_taken = next((names for quirk, names in members.TAKES.items() if quirk in vendor.quirks), None)
        if facts_taken is not None:
            assert ("max_tokens" in vendor.quirks) == ("max_completion_tokens" not in facts_taken)
            assert ("no_stream_options" in vendor.quirks) == ("stream_options" not in facts_taken)
            assert ("no_functions" in vendor.quirks) == ("functions" not in facts_taken)
            assert ("top_k" in vendor.quirks) == ("top_k" in facts_taken)
