"""What a model costs and how much it takes, from packaged data (`genai-prices`, and `providers/models.py` for what that lacks).

The package is imported at the first lookup: about 0.13 s and 15 MB, most of it for the import. Its prices can have tiers by prompt length, which
are kept, and variants by service tier, of which the standard service is taken. A price can have a starting day; the caller says which day it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from extproc.core.dialect import Facts
from extproc.core.usage import Price
from extproc.providers.models import limits

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice
    from genai_prices.types import Provider as PricedProvider

    from extproc.registry.types import Provider, Target


class Known(NamedTuple):
    """Facts of one model at one provider; None is unknown."""

    price: Price | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None


@lru_cache(maxsize=1024)
def known(vendor: str, prices: str | None, url: str, model: str, day: date) -> Known:
    """`prices` is the kind's id in the packaged data; without one the vendor is recognised by its public `url`.

    Bounded cache: with a target `model: "*"` the model names come from clients.
    """
    table = limits(vendor, model)
    provider = _priced_provider(prices, url)
    found = provider.find_model(model) if provider else None
    if found is None:
        return Known(None, table.context_window, table.max_output_tokens)
    price = _price(found.get_prices(datetime.combine(day, time(12), UTC)))
    return Known(price, found.context_window or table.context_window, table.max_output_tokens)


def provider_facts(provider: Provider, model: str, day: date) -> Known:
    """Facts of `model` at `provider`; all unknown for "*"."""
    if model == "*":
        return Known()
    host = f"[{provider.host}]" if ":" in provider.host else provider.host
    return known(provider.kind.vendor_of(model), provider.kind.prices, f"{provider.scheme}://{host}{provider.base_path}", model, day)


def facts_for(target: Target, model: str, day: date) -> tuple[Facts, Price | None]:
    """The facts and price that serve a request for the client's name `model`: the target's own, or for `model: "*"` those of that model.

    What the file says of a "*" target holds for every model that goes through it.
    """
    if target.model != "*":
        return target.facts, target.price
    found = provider_facts(target.provider, model, day)
    facts = replace(
        target.facts,
        model=model,
        context_window=target.facts.context_window or found.context_window,
        max_output_tokens=target.facts.max_output_tokens or found.max_output_tokens,
    )
    return facts, target.price or found.price


@lru_cache(maxsize=256)
def _priced_provider(prices: str | None, url: str) -> PricedProvider | None:
    from genai_prices.data import providers

    if prices is not None:
        return next((p for p in providers if p.id == prices), None)
    return next((p for p in providers if re.match(p.api_pattern, url)), None)


def _price(prices: ModelPrice) -> Price | None:
    """The package decides the tier of every kind of token by the request's input tokens: the last one that starts below them."""
    parts = (prices.input_mtok, prices.output_mtok, prices.cache_read_mtok, prices.cache_write_mtok)
    starts = sorted({tier.start for part in parts for tier in getattr(part, "tiers", ())})
    base = _at(parts, -1)
    if base is None or not starts:
        return base
    tiers = tuple((start, tier) for start in starts if (tier := _at(parts, start)) is not None)
    return replace(base, tiers=tiers)


def _at(parts: Sequence[object], start: int) -> Price | None:
    """The price of requests with more than `start` input tokens, up to the next tier; None if input or output has none."""
    cost_in, cost_out, read, write = (_part(part, start) for part in parts)
    return None if cost_in is None or cost_out is None else Price(cost_in, cost_out, read, write)


def _part(part: object, start: int) -> float | None:
    """US dollars per million tokens."""
    value = getattr(part, "base", part)
    for tier in getattr(part, "tiers", ()):
        if tier.start <= start:
            value = tier.price
    return float(value) if isinstance(value, Decimal) else None
