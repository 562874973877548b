"""The table of vendors: every quirk has a meaning, every url is one, and what the quirks say of needs is what targets get."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from genai_prices.data import providers as priced
from opentelemetry.semconv._incubating.attributes.gen_ai_attributes import GenAiProviderNameValues

from extproc.core.dialect import Need
from extproc.core.operation import Operation
from extproc.dialects.catalog import DIALECTS
from extproc.dialects.openai_chat import members
from extproc.providers.kinds import ALIASES, KINDS, QUIRKS
from extproc.providers.vendors import CARRIES, CHAT_VENDORS, LACKS
from extproc.registry.load import parse_registry
from extproc.registry.types import Target
from extproc.routing.capabilities import lacking

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


def target(kind: str) -> Target:
    """As the registry makes it."""
    url = "" if KINDS[kind].url else ", url: 'http://local:8000/v1'"
    file = f"""
version: 1
providers: {{p: {{kind: {kind}{url}, credential: {{env: SOME_KEY}}}}}}
targets: {{t: {{provider: p, model: some-model}}}}
models: {{m: {{targets: [t]}}}}
"""
    return parse_registry(file.encode(), "registry.yaml").targets["t"]


def lacks(kind: str, client: str, body: dict[str, Any]) -> list[str]:
    dialect = DIALECTS[client]
    return lacking(target(kind), dialect, DIALECTS["openai_chat"], dialect.needs(body))


@pytest.mark.parametrize("name", VENDORS)
def test_the_registry_takes_every_vendor(name: str) -> None:
    made = target(name)
    assert made.facts.quirks == KINDS[name].quirks
    upstream = made.upstream(Operation.CHAT, "anthropic_messages")
    assert upstream is not None
    assert upstream.dialect == "openai_chat"
    assert upstream.base_path == urlsplit(VENDORS[name].url or "http://local:8000/v1").path


def test_a_vendor_without_a_need_is_no_candidate() -> None:
    tools = {"messages": [], "tools": [{"name": "f", "input_schema": {}}]}
    assert lacks("perplexity", "anthropic_messages", tools) == ["tools"]
    assert lacks("mistral", "anthropic_messages", tools) == []
    schema = {"response_format": {"type": "json_schema", "json_schema": {}}, "n": 2, "functions": [{"name": "f"}]}
    assert lacks("deepseek", "openai_chat", schema) == ["choices", "json_schema"]
    assert lacks("mistral", "openai_chat", schema) == ["functions"]
    assert lacks("vllm", "openai_chat", schema) == []


def test_a_vendor_with_more_than_its_dialect_is_one() -> None:
    prefill = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "A:"}]}
    assert lacks("mistral", "anthropic_messages", prefill) == lacks("openrouter", "anthropic_messages", prefill) == []
    assert lacks("groq", "anthropic_messages", prefill) == ["prefill"]
    source = {"type": "url", "url": "https://e.x/a.pdf"}
    document = {"messages": [{"role": "user", "content": [{"type": "document", "source": source}]}]}
    assert lacks("mistral", "anthropic_messages", document) == []
    assert lacks("vllm", "anthropic_messages", document) == ["document_url"]


def test_the_older_form_of_tools_needs_nothing_of_another_dialect() -> None:
    """Chat Completions writes the answer itself."""
    chat, claude = DIALECTS["openai_chat"], DIALECTS["anthropic_messages"]
    body = {"messages": [], "functions": [{"name": "f"}]}
    assert lacking(target("vllm"), chat, claude, chat.needs(body)) == []


def test_what_else_vendors_serve() -> None:
    """Of OpenAI's own operations, and only those."""
    native = {Operation.COMPLETIONS, Operation.IMAGES, Operation.SPEECH, Operation.TRANSCRIPTION, Operation.MODERATIONS}
    for name, vendor in VENDORS.items():
        assert vendor.also <= native
        assert {s.operation for s in KINDS[name].speaks} & native == vendor.also
    assert {s.operation for s in KINDS["openai-compatible"].speaks} >= native
    served = target("llama.cpp").upstream(Operation.COMPLETIONS, "openai_completions")
    assert served is not None
    assert served.dialect == "openai_completions"
    assert target("perplexity").upstream(Operation.COMPLETIONS, "openai_completions") is None
