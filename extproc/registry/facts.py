"""What a model costs and how much it takes, from packaged data (`genai-prices`, and `providers/models.py` for what that lacks).

The package is imported at the first lookup: about 0.13 s and 15 MB, most of it for the import. Its prices can have tiers by prompt length
and variants by service tier; the base tier of the standard service is taken, so the cost of a very long prompt is understated. A price can
have a starting day; the caller says which day it is.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from extproc.core.dialect import Facts
from extproc.core.usage import Price
from extproc.providers.models import limits

if TYPE_CHECKING:
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
    standard = found.get_prices(datetime.combine(day, time(12), UTC))
    cost_in, cost_out = _base(standard.input_mtok), _base(standard.output_mtok)
    price = None
    if cost_in is not None and cost_out is not None:
        price = Price(cost_in, cost_out, _base(standard.cache_read_mtok), _base(standard.cache_write_mtok))
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


def _base(value: object) -> float | None:
    """US dollars per million tokens of a price or of its base tier."""
    base = getattr(value, "base", value)
    return float(base) if isinstance(base, Decimal) else None
