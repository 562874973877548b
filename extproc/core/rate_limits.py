"""What a provider's response says is left of its rate limits, in every vendor's form.

    x-ratelimit-remaining-requests, -tokens, -tokens-minute, -input-images    OpenAI, Azure, Groq, Mistral, xAI, Fireworks, Cerebras
    x-ratelimit-remaining                                          Together, OpenRouter (its reset in Unix milliseconds)
    ratelimitbysize-remaining, x-ratelimitbysize-remaining-minute  Mistral
    anthropic-ratelimit-input-tokens-remaining                     Anthropic (its reset in RFC 3339)
    x-trial-endpoint-call-remaining                                Cohere
    ratelimit-remaining; ratelimit: limit=9, remaining=0, reset=3  drafts -00 to -07 of ietf-httpapi-ratelimit-headers
    ratelimit: "default";r=0;t=3                                   drafts -08 and later

each with `limit` and `reset` in the place of `remaining`. A reset is a duration (`6m0s`, `26ms`, bare seconds) or a point in time. Bedrock, Gemini
and DeepSeek say nothing in headers. All functions are total: headers are a provider's, and a value that makes no sense is as good as none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from itertools import islice

MOST_SECONDS = 32 * 86400.0
"""A reset that is further away is not believed: limits are per month at most."""
_MOST_COUNT = 1e15
_MOST_LIMITS = 24
_LONGEST_VALUE = 200
"""Characters; real ones have up to 40."""

_NAME = re.compile(
    r"(?:x-)?ratelimit(?P<by>bysize)?-(?P<field>limit|remaining|reset)(?:-(?P<what>[a-z0-9_-]{1,40}))?"
    r"|anthropic-ratelimit-(?P<anthropic>[a-z0-9-]{1,40})-(?P<anthropic_field>limit|remaining|reset)"
    r"|x-(?P<cohere>trial-endpoint-call)-(?P<cohere_field>limit|remaining)"
)
_NUMBER = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?")
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|us|µs|ns|d|h|m|s)")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_WINDOW = re.compile(r"(?:(?P<n>[0-9]{1,4})-)?(?P<unit>second|minute|hour|day|month)\Z")
_WINDOWS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "month": 30 * 86400.0}
_MEDIA = ("image", "audio", "video")
"""That none of these is left is no reason to leave a target out: few requests take any."""
_OLD_DRAFT = re.compile(r"\b(limit|remaining|reset) *= *([0-9]{1,15})\b")
_ITEM = re.compile(r'"(?P<name>[^"]{0,40})"(?P<parameters>(?: *; *[a-z]{1,10} *= *[^;,]{1,40})*)')
_PARAMETER = re.compile(r"; *([a-z]{1,10}) *= *([0-9]{1,15})(?![0-9])")


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit of a provider. `what` is its own word for what is counted ("requests", "tokens-minute", "" where it does not say); `remaining` and
    `limit` are counts, `reset` the seconds until it is whole again; each None where the response does not say."""

    what: str
    remaining: float | None = None
    limit: float | None = None
    reset: float | None = None

    @property
    def window(self) -> float | None:
        """Seconds that the limit is counted over, where its name says so."""
        found = _WINDOW.search(self.what)
        return int(found["n"] or 1) * _WINDOWS[found["unit"]] if found else None


def said(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of a response's headers (lower-case names) that speak of limits. Cheap, for every response; `read` makes sense of them."""
    found = {name: text for name, text in headers.items() if "ratelimit" in name or "-call-" in name}
    if len(found) > 3 * _MOST_LIMITS:
        found = dict(islice(found.items(), 3 * _MOST_LIMITS))
    return found


def may_be_spent(said: Mapping[str, str]) -> bool:
    """Could nothing be left of one of them? False is certain, and cheap to know."""
    return any(text.strip()[:1] == "0" or "=" in text for text in said.values())


def read(headers: Mapping[str, str], wall: float) -> tuple[Allowance, ...]:
    """What a response with these headers (lower-case names) says is left. `wall` is the Unix time, for resets that are points in time."""
    found: dict[str, dict[str, float]] = {}
    for name, text in headers.items():
        if ("ratelimit" not in name and "-call-" not in name) or len(text) > _LONGEST_VALUE:
            continue
        if name == "ratelimit":
            _structured(text, found)
            continue
        parts = _parts(name)
        if parts is None:
            continue
        field, what = parts
        value = seconds_until(text, wall) if field == "reset" else _count(text)
        if value is not None:
            found.setdefault(what, {})[field] = value
    if not found:
        return ()
    known = [Allowance(what, said.get("remaining"), said.get("limit"), said.get("reset")) for what, said in found.items()]
    return tuple(known[:_MOST_LIMITS])


def spent(allowances: Iterable[Allowance], longest: float) -> float:
    """Seconds for which nothing is left of one of the limits, at most `longest`; 0.0 where something is left of each.

    Where no reset is said, the window in the limit's name, else a second.
    """
    seconds = 0.0
    for a in allowances:
        if a.remaining != 0 or a.limit == 0 or any(word in a.what for word in _MEDIA):
            continue
        wait = a.reset if a.reset is not None else a.window or 1.0
        seconds = max(seconds, min(wait, longest))
    return seconds


def seconds_until(text: str, wall: float) -> float | None:
    """Seconds from a duration or a point in time (Unix seconds or milliseconds, RFC 3339, an HTTP date); None if it is neither, or absurd. The past
    is 0.0."""
    text = text.strip()
    if text[:1].isdigit():
        # the same header twice
        text = text.partition(",")[0]
    if _NUMBER.fullmatch(text):
        value = float(text)
        if value >= 1e11:
            value = value / 1000 - wall
        elif value >= 1e9:
            value -= wall
    else:
        parts = _DURATION.findall(text)
        if parts and "".join(n + unit for n, unit in parts) == text:
            value = sum(float(n) * _SECONDS[unit] for n, unit in parts)
        else:
            at = _point(text)
            if at is None:
                return None
            value = at - wall
    return max(value, 0.0) if value <= MOST_SECONDS else None


@lru_cache(512)
def _parts(name: str) -> tuple[str, str] | None:
    """(limit, remaining or reset; of what) from a header's name."""
    parts = _NAME.fullmatch(name)
    if parts is None:
        return None
    field = parts["field"] or parts["anthropic_field"] or parts["cohere_field"]
    what = parts["what"] or parts["anthropic"] or parts["cohere"] or ""
    if parts["by"]:
        what = f"bysize-{what}" if what else "bysize"
    return field, what


def _point(text: str) -> float | None:
    try:
        at = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _count(text: str) -> float | None:
    # lists such as "60, 60;w=60" say the limit first
    text = text.partition(",")[0].partition(";")[0].strip()
    value = float(text) if _NUMBER.fullmatch(text) else None
    return value if value is not None and value <= _MOST_COUNT else None


def _structured(text: str, found: dict[str, dict[str, float]]) -> None:
    """The one field of the drafts: a dictionary in the older ones, a list of named items with `r` and `t` in the newer."""
    items = list(_ITEM.finditer(text))
    if not items:
        old = {word: float(number) for word, number in _OLD_DRAFT.findall(text)}
        if old:
            found[""] = {word: value for word, value in old.items() if value <= (MOST_SECONDS if word == "reset" else _MOST_COUNT)}
        return
    for item in items[:_MOST_LIMITS]:
        said = dict(_PARAMETER.findall(item["parameters"]))
        names = {"r": "remaining", "t": "reset"}
        values = {names[key]: float(value) for key, value in said.items() if key in names}
        if values.get("reset", 0.0) > MOST_SECONDS:
            del values["reset"]
        found[item["name"].lower()] = values
