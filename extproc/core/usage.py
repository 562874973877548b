"""Token counts of every dialect in one convention, and what they cost.

The convention is OpenTelemetry's (gen_ai.usage.*): `input_tokens` INCLUDES cached tokens, `output_tokens` INCLUDES reasoning tokens.
Providers differ, measured on recorded traffic: Anthropic's input excludes cache reads and writes, Gemini's candidates exclude thoughts,
xAI's completion excludes reasoning. Each decoder converts to this convention and each encoder converts back to its own.
"""

from __future__ import annotations

from dataclasses import dataclass

_MOST = 1 << 53
"""Tokens. No provider counts so many."""


@dataclass(slots=True)
class Usage:
    """Tokens of one answer. `cache_read`, `cache_write` are parts of `input_tokens`; `reasoning` is a part of `output_tokens`."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0

    def __post_init__(self) -> None:
        if not (
            -_MOST < self.input_tokens < _MOST
            and -_MOST < self.output_tokens < _MOST
            and -_MOST < self.cache_read < _MOST
            and -_MOST < self.cache_write < _MOST
            and -_MOST < self.reasoning < _MOST
        ):
            # such counts could not be written: sums of them are larger than JSON's writers take
            for name in self.__slots__:
                setattr(self, name, max(-_MOST, min(getattr(self, name), _MOST)))

    @property
    def total(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens. A cache price of None means that cached tokens cost as much as fresh ones.

    `tiers` by prompt length, ascending: (start, the price of a request whose whole prompt has more than `start` tokens). All of a request is
    charged at one tier, as vendors do, cached tokens and the answer included; a tier has no tiers of its own.
    """

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None
    tiers: tuple[tuple[int, Price], ...] = ()

    def at(self, prompt_tokens: float) -> Price:
        """The price of a request with that many input tokens, cached ones included."""
        price = self
        for start, tier in self.tiers:
            if prompt_tokens <= start:
                break
            price = tier
        return price


def cost_usd(usage: Usage, price: Price) -> float:
    """Cost of one answer in US dollars: fresh, cached-read and cache-write input each at its own price, reasoning as output, all of them at the
    tier of its prompt's length."""
    if price.tiers:
        price = price.at(usage.input_tokens)
    fresh = max(usage.input_tokens - usage.cache_read - usage.cache_write, 0)
    read = price.input if price.cache_read is None else price.cache_read
    write = price.input if price.cache_write is None else price.cache_write
    return (fresh * price.input + usage.cache_read * read + usage.cache_write * write + usage.output_tokens * price.output) / 1e6
