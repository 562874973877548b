"""What responses say is left: every vendor's form, as recorded and as documented, and values that nobody should believe."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.rate_limits import MOST_SECONDS, Allowance, may_be_spent, read, said, seconds_until, spent

NOW = datetime.fromisoformat("2026-04-23T20:54:50Z").timestamp()
RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
Limits = dict[str, tuple[float | None, float | None, float | None]]


def left(**headers: str) -> Limits:
    """What: (remaining, limit, reset)."""
    found = read({name.replace("_", "-"): value for name, value in headers.items()}, NOW)
    return {a.what: (a.remaining, a.limit, a.reset) for a in found}


def test_openai_and_groq() -> None:
    assert left(
        x_ratelimit_limit_requests="500",
        x_ratelimit_remaining_requests="499",
        x_ratelimit_reset_requests="120ms",
        x_ratelimit_limit_tokens="30000",
        x_ratelimit_remaining_tokens="29984",
        x_ratelimit_reset_tokens="6m0s",
    ) == {"requests": (499.0, 500.0, 0.12), "tokens": (29984.0, 30000.0, 360.0)}


def test_azure_says_seconds_without_a_unit() -> None:
    azure = left(
        x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="7", x_ratelimit_renewalperiod_requests="60", x_ratelimit_key="gpt-5.2"
    )
    assert azure == {"requests": (0.0, None, 7.0)}


def test_anthropic_says_when() -> None:
    assert left(
        anthropic_ratelimit_input_tokens_limit="20000000",
        anthropic_ratelimit_input_tokens_remaining="19998000",
        anthropic_ratelimit_input_tokens_reset="2026-04-23T20:54:54Z",
        anthropic_ratelimit_requests_remaining="0",
        anthropic_ratelimit_requests_reset="2026-04-23T20:54:58Z",
    ) == {"input-tokens": (19998000.0, 20000000.0, 4.0), "requests": (0.0, None, 8.0)}


def test_mistral_names_its_windows() -> None:
    found = read(
        {"x-ratelimit-limit-req-10-second": "60", "x-ratelimit-remaining-req-10-second": "52", "x-ratelimit-remaining-tokens-month": "7"}, NOW
    )
    assert found == (Allowance("req-10-second", 52.0, 60.0), Allowance("tokens-month", 7.0))
    assert [a.window for a in found] == [10.0, 30 * 86400.0]
    assert left(ratelimitbysize_remaining="348385", ratelimitbysize_reset="23", x_ratelimitbysize_remaining_minute="5") == {
        "bysize": (348385.0, None, 23.0),
        "bysize-minute": (5.0, None, None),
    }


def test_together_openrouter_fireworks_and_cohere() -> None:
    assert left(x_ratelimit_limit="2", x_ratelimit_remaining="0", x_ratelimit_reset="1") == {"": (0.0, 2.0, 1.0)}
    openrouter = left(x_ratelimit_limit="20", x_ratelimit_remaining="0", x_ratelimit_reset=f"{int(NOW) + 9}000")
    assert openrouter[""][2] == pytest.approx(9.0)
    fireworks = left(x_ratelimit_remaining_tokens_prompt="60000", x_ratelimit_remaining_tokens_generated="0", x_ratelimit_over_limit="no")
    assert fireworks == {"tokens-prompt": (60000.0, None, None), "tokens-generated": (0.0, None, None)}
    assert left(x_trial_endpoint_call_limit="40", x_trial_endpoint_call_remaining="39", x_endpoint_monthly_call_limit="1000") == {
        "trial-endpoint-call": (39.0, 40.0, None)
    }


def test_the_drafts_of_the_ietf() -> None:
    assert left(ratelimit_limit="100, 100;w=60", ratelimit_remaining="50", ratelimit_reset="30") == {"": (50.0, 100.0, 30.0)}
    assert left(ratelimit="limit=100, remaining=50, reset=5") == {"": (50.0, 100.0, 5.0)}
    assert left(ratelimit='"default";r=50;t=30') == {"default": (50.0, None, 30.0)}
    assert left(ratelimit='"burst";r=0;t=2, "daily"; r=9 ;t=86000;pk=:cGFydA==:') == {"burst": (0.0, None, 2.0), "daily": (9.0, None, 86000.0)}
    assert left(ratelimit_policy='"default";q=100;w=10') == {}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("6m0s", 360.0), ("20ms", 0.02), ("1h2m3.5s", 3723.5), ("1d", 86400.0), ("17.399999999s", 17.399999999), ("0", 0.0), ("2.5", 2.5),
     ("2026-04-23T20:54:54Z", 4.0), ("2026-04-23T22:54:54+02:00", 4.0), ("2020-01-01T00:00:00Z", 0.0), ("Thu, 23 Apr 2026 20:54:54 GMT", 4.0),
     (str(int(NOW) + 3), 3.0), ("1000000000", 0.0)],
)  # fmt: skip
def test_resets(text: str, seconds: float) -> None:
    assert seconds_until(text, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "-1", "1e3", "nan", "inf", "1s1", "s", "99999999", "3000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "0001-01-01", "٣",
     "999999999999999999", "2026-04-23T25:00:00Z", "5 apples", "1d" * 40],
)  # fmt: skip
def test_absurd_resets_are_none(text: str) -> None:
    assert seconds_until(text, NOW) in (None, 0.0)
    assert spent(read({"x-ratelimit-remaining": "0", "x-ratelimit-reset": text}, NOW), 60.0) <= 1.0


@pytest.mark.parametrize("text", ["-1", "many", "", "1e9", "NaN", "9" * 18, "0x10", "None", "unlimited"])
def test_absurd_counts_are_ignored(text: str) -> None:
    assert left(x_ratelimit_remaining_requests=text) == {}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9s"}, 9.0),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "9s"}, 0.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 60.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "3s", "x-ratelimit-remaining-requests": "0"}, 3.0),
        ({"x-ratelimit-remaining-req-10-second": "0"}, 10.0),
        ({"x-ratelimit-remaining-tokens-month": "0"}, 60.0),
        ({"x-ratelimit-remaining-requests": "0"}, 1.0),
        ({"x-ratelimit-remaining-input-images": "0", "x-ratelimit-reset-input-images": "9s"}, 0.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-limit-requests": "0"}, 0.0),
        ({"ratelimit": '"burst";r=0;t=2'}, 2.0),
        ({}, 0.0),
    ],
)
def test_how_long_nothing_is_left(headers: dict[str, str], seconds: float) -> None:
    assert spent(read(headers, NOW), 60.0) == seconds
    assert may_be_spent(said(headers)) or not seconds


WORDS = st.sampled_from(
    ["x-ratelimit-", "ratelimit", "ratelimit-", "anthropic-ratelimit-", "remaining", "reset", "limit", "-requests", "-", "tokens"]
)
NAMES = st.lists(WORDS, max_size=5).map("".join) | st.text(max_size=40)
VALUES = st.text(max_size=60) | st.sampled_from(["0", "1s", '"a";r=0;t=1', "limit=1", "2026-04-23T20:54:54Z"]) | st.integers().map(str)


@given(st.dictionaries(NAMES, VALUES, max_size=8), st.floats(0, 4e9))
def test_no_headers_raise_and_no_wait_is_absurd(headers: dict[str, str], wall: float) -> None:
    found = read(headers, wall)
    for a in found:
        assert a.reset is None or 0 <= a.reset <= MOST_SECONDS
        assert a.remaining is None or a.remaining >= 0
    assert 0 <= spent(found, 60.0) <= 60.0
    assert read(said(headers), wall) == found
    assert may_be_spent(said(headers)) or spent(found, 60.0) == 0.0


def test_hostile_headers_are_bounded() -> None:
    headers = {f"x-ratelimit-remaining-tokens-{n}": "0" for n in range(1000)}
    assert len(read(headers, NOW)) <= 24
    assert len(said(headers)) <= 72
    assert read({"ratelimit": '"' + ";" * 100_000, "x-ratelimit-reset": "1d" * 50_000}, NOW) == ()


def recorded() -> Iterator[tuple[str, dict[str, str]]]:
    for path in sorted(RECORDINGS.glob("*.jsonl.gz")):
        with gzip.open(path) as lines:
            for line in lines:
                record = orjson.loads(line)
                yield record["provider"], {name.lower(): str(value) for name, value in (record.get("response_headers") or {}).items()}


def test_all_that_was_recorded_is_read() -> None:
    """Every header that says what remains becomes an allowance that says so, with its reset where there is one."""
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings in {RECORDINGS}")
    providers: set[str] = set()
    seen = 0
    for provider, headers in recorded():
        remaining = {name: value for name, value in headers.items() if "remaining" in name}
        if not remaining:
            continue
        # later than all recordings: a date is never too far away
        found = read(headers, 4e9)
        assert sorted(a.remaining for a in found if a.remaining is not None) == sorted(map(float, remaining.values()))
        resets = sum(1 for name in headers if "ratelimit" in name and ("-reset-" in name or name.endswith("-reset")))
        assert sum(1 for a in found if a.reset is not None) == resets
        for a in found:
            assert a.limit is None or a.remaining is None or a.remaining <= a.limit
        providers.add(provider)
        seen += 1
    assert {"openai", "azure", "anthropic", "groq", "mistral", "together", "xai", "cohere"} <= providers
    assert seen > 500
