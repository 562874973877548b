"""Counts that no provider means, what tokens cost, and times that no date is written for."""

from __future__ import annotations

import orjson
import pytest

from extproc.core.ir import JSON
from extproc.core.unix_time import unix_time
from extproc.core.usage import Price, Usage, cost_usd


def test_sums_of_counts_can_always_be_written() -> None:
    usage = Usage(input_tokens=2**65, output_tokens=5, cache_read=-(2**65))
    assert usage.output_tokens == 5
    assert orjson.loads(orjson.dumps(usage.input_tokens + usage.output_tokens - usage.cache_read)) > 2**53


def test_each_kind_of_token_has_its_price() -> None:
    price = Price(3.0, 15.0, 0.3, 3.75)
    assert cost_usd(Usage(1_000_000, 100_000, cache_read=600_000, cache_write=100_000), price) == pytest.approx(0.9 + 0.18 + 0.375 + 1.5)
    assert cost_usd(Usage(1000, 0, cache_read=600, cache_write=100), Price(3.0, 15.0)) == pytest.approx(0.003), "unknown cache prices are the input's"


def test_the_whole_request_is_charged_at_the_tier_of_its_prompt() -> None:
    price = Price(1.0, 10.0, 0.1, tiers=((1000, Price(2.0, 20.0, 0.2)), (5000, Price(4.0, 40.0, 0.4))))
    assert [price.at(n).input for n in (0, 1000, 1001, 5000, 5001)] == [1.0, 1.0, 2.0, 2.0, 4.0]
    assert cost_usd(Usage(1000, 10), price) == pytest.approx((1000 * 1 + 10 * 10) / 1e6)
    assert cost_usd(Usage(1001, 10, cache_read=1000), price) == pytest.approx((1 * 2 + 1000 * 0.2 + 10 * 20) / 1e6), (
        "cached tokens count for the tier"
    )
    assert cost_usd(Usage(9000, 10), price) == pytest.approx((9000 * 4 + 10 * 40) / 1e6)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(0, 0), (1_700_000_000, 1_700_000_000), (1.5, 1), (-1, None), (2**63, None), (1e308, None), (True, None), ("1", None), (None, None)],
)
def test_unix_time(value: JSON, seconds: int | None) -> None:
    assert unix_time(value) == seconds
