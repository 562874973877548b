"""Packaged prices, windows and output limits, and what the file says instead."""

from datetime import UTC, date, datetime, time

import pytest
from genai_prices.data import providers
from genai_prices.types import ModelPrice
from genai_prices.types import Usage as PackagedUsage

from extproc.core.usage import Price, Usage, cost_usd
from extproc.providers.kinds import KINDS
from extproc.providers.models import LIMITS, Limits, limits
from extproc.registry.facts import _price, facts_for, known
from extproc.registry.load import parse_registry

DAY = date(2026, 10, 20)

TEXT = """
version: 1
providers:
  openai: {kind: openai, credential: {env: K}}
  claude: {kind: anthropic, credential: {env: K}}
  google: {kind: gemini, credential: {env: K}}
  groq: {kind: openai-compatible, url: "https://api.groq.com/openai/v1", credential: {env: K}}
  vllm: {kind: openai-compatible, url: "http://vllm:8000/v1"}
targets:
  gpt-4o: {provider: openai, model: gpt-4o-2024-08-06}
  cheap: {provider: openai, model: gpt-4o, usd_per_million_tokens: {input: 1, output: 2}, context_window: 64000, max_output_tokens: 100}
  sonnet: {provider: claude, model: claude-sonnet-4-5-20250929}
  pro: {provider: google, model: gemini-2.5-pro}
  unknown: {provider: openai, model: gpt-99-imaginary}
  groq: {provider: groq, model: llama-3.3-70b-versatile}
  local: {provider: vllm, model: gpt-4o}
  any: {provider: openai, model: "*"}
  any-capped: {provider: claude, model: "*", max_output_tokens: 1000, usd_per_million_tokens: {input: 1, output: 1}}
models: {m: {targets: [gpt-4o]}}
"""


@pytest.fixture(scope="module")
def targets():
    return parse_registry(TEXT.encode(), "r.yaml", DAY).targets


def test_packaged(targets) -> None:
    gpt = targets["gpt-4o"]
    assert gpt.price == Price(2.5, 10.0, 1.25)
    assert (gpt.facts.context_window, gpt.facts.max_output_tokens) == (128000, 16384)
    assert (gpt.facts.model, gpt.facts.vendor) == ("gpt-4o-2024-08-06", "openai")


def test_tiers_by_prompt_length_are_kept(targets) -> None:
    sonnet = targets["sonnet"]
    assert sonnet.price == Price(3.0, 15.0, 0.3, 3.75, ((200_000, Price(6.0, 22.5, 0.6, 7.5)),))
    assert (sonnet.facts.context_window, sonnet.facts.max_output_tokens) == (200000, 64000)


def test_a_window_that_the_packaged_data_lacks(targets) -> None:
    assert (targets["pro"].facts.context_window, targets["pro"].facts.max_output_tokens) == (1048576, 65536)


def test_the_file_overrides(targets) -> None:
    cheap = targets["cheap"]
    assert cheap.price == Price(1.0, 2.0)
    assert (cheap.facts.context_window, cheap.facts.max_output_tokens) == (64000, 100)


def test_every_packaged_tier_is_the_packages_own() -> None:
    """At one token below, at and above the start of every tier of every model, and for usage with and without a cache."""
    tried = 0
    for provider in providers:
        for model in provider.models:
            packaged = model.get_prices(datetime.combine(DAY, time(12), UTC))
            price = _price(packaged)
            if price is None or not price.tiers:
                continue
            for start, _ in price.tiers:
                for tokens in (start - 1, start, start + 1):
                    theirs = PackagedUsage(input_tokens=tokens, output_tokens=500, cache_read_tokens=1000)
                    ours = Usage(tokens, 500, cache_read=1000)
                    parts = ModelPrice(input_mtok=packaged.input_mtok, output_mtok=packaged.output_mtok, cache_read_mtok=packaged.cache_read_mtok)
                    assert cost_usd(ours, price) == pytest.approx(float(parts.calc_price(theirs)["total_price"])), (provider.id, model.id, tokens)
                    tried += 1
    assert tried > 100


def test_the_files_price_has_no_tiers() -> None:
    text = TEXT.replace(
        "{provider: claude, model: claude-sonnet-4-5-20250929}",
        "{provider: claude, model: claude-sonnet-4-5, usd_per_million_tokens: {input: 3, output: 15}}",
    )
    assert parse_registry(text.encode(), "r.yaml", DAY).targets["sonnet"].price == Price(3.0, 15.0)


def test_unknown_is_none(targets) -> None:
    for name in ("unknown", "local", "any"):
        target = targets[name]
        assert (target.price, target.facts.context_window, target.facts.max_output_tokens) == (None, None, None)


def test_a_known_vendor_behind_the_generic_kind_has_its_prices(targets) -> None:
    assert targets["groq"].price is not None


def test_facts_of_the_clients_own_model(targets) -> None:
    facts, price = facts_for(targets["any"], "gpt-4o-mini", DAY)
    assert (facts.model, facts.context_window, facts.max_output_tokens) == ("gpt-4o-mini", 128000, 16384)
    assert price == Price(0.15, 0.6, 0.075)
    facts, price = facts_for(targets["any-capped"], "claude-haiku-4-5", DAY)
    assert (facts.model, facts.context_window, facts.max_output_tokens) == ("claude-haiku-4-5", 200000, 1000)
    assert price == Price(1.0, 1.0)
    gpt = targets["gpt-4o"]
    assert facts_for(gpt, "whatever", DAY) == (gpt.facts, gpt.price)


def test_prices_have_a_day() -> None:
    old = known("openai", "openai", "", "o3", date(2025, 1, 1)).price
    new = known("openai", "openai", "", "o3", DAY).price
    assert old == Price(10.0, 40.0, 0.5)
    assert new is not None
    assert new.input < old.input


@pytest.mark.parametrize(
    ("vendor", "model", "expected"),
    [
        ("anthropic", "claude-opus-4-20250514", 32000),
        ("anthropic", "claude-opus-4-1-20250805", 32000),
        ("anthropic", "claude-opus-4-5", 64000),
        ("anthropic", "claude-3-5-sonnet-latest", 8192),
        ("anthropic", "claude-opus-4-99", None),
        ("openai", "gpt-4o-2024-05-13", 4096),
        ("openai", "gpt-4o-2024-11-20", 16384),
        ("openai", "gpt-4-0613", 8192),
        ("openai", "gpt-4-32k", None),
        ("openai", "gpt-4o-audio-preview", None),
        ("openai", "gpt-5.1-chat-latest", 16384),
        ("openai", "gpt-5.1", 128000),
        ("openai", "o3-2025-04-16", 100000),
        ("gemini", "gemini-2.5-pro-preview-05-06", 65536),
        ("gemini", "gemini-2.0-flash-001", 8192),
        ("gemini", "gemini-2.5-flash-image", None),
        ("gemini", "gemini-2.5-flash-preview-09-2025", 65536),
        ("openai-compatible", "gpt-4o", None),
        ("openai", "", None),
        ("openai", "-" * 200, None),
    ],
)
def test_output_limits(vendor: str, model: str, expected: int | None) -> None:
    assert limits(vendor, model).max_output_tokens == expected


def test_the_table_belongs_to_the_kinds() -> None:
    assert set(LIMITS) <= {k.vendor for k in KINDS.values()}
    every = [x for table in LIMITS.values() for x in table.values()]
    assert all(isinstance(x, Limits) and x.max_output_tokens and x.max_output_tokens > 0 for x in every)


def test_kinds_with_prices_name_packaged_providers() -> None:
    from genai_prices.data import providers

    assert {k.prices for k in KINDS.values() if k.prices} <= {p.id for p in providers}
