"""Counts that no provider means, and times that no date is written for."""

from __future__ import annotations

import orjson
import pytest

from extproc.core.ir import JSON
from extproc.core.unix_time import unix_time
from extproc.core.usage import Usage


def test_sums_of_counts_can_always_be_written() -> None:
    usage = Usage(input_tokens=2**65, output_tokens=5, cache_read=-(2**65))
    assert usage.output_tokens == 5
    assert orjson.loads(orjson.dumps(usage.input_tokens + usage.output_tokens - usage.cache_read)) > 2**53


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(0, 0), (1_700_000_000, 1_700_000_000), (1.5, 1), (-1, None), (2**63, None), (1e308, None), (True, None), ("1", None), (None, None)],
)
def test_unix_time(value: JSON, seconds: int | None) -> None:
    assert unix_time(value) == seconds
