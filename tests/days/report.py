"""The figures as text: for the terminal, and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tests.days.measures import NEXT, Row
from tests.days.routers import BANDIT, CLAIRVOYANT, OURS, PEERS, STAYING
from tests.days.scenario import OBJECTIVES, Day

Table = list[list[str]]
"""The head first."""


def results(rows: Mapping[str, Row], requests: int) -> Table:
    """One line per router."""
    head = ["router", "cost, $", "first token p50", "p95", "whole answer p50", "p95", "failed", "attempts", "regret", "per 1,000"]
    table = [head]
    for name, row in rows.items():
        (first, first_high), (total, total_high) = row.first, row.total
        table.append(
            [
                name,
                f"{row.usd:.2f}",
                f"{first:.2f} s",
                f"{first_high:.2f} s",
                f"{total:.1f} s",
                f"{total_high:.1f} s",
                str(row.failures),
                f"{row.attempts:.3f}",
                f"{row.regret:.0f}",
                f"{1000.0 * row.regret / requests:.1f}",
            ]
        )
    return table


def reactions(rows: Mapping[str, Row], day: Day) -> Table:
    """Minutes until each router left the target of each event, and until it was back."""
    labels = [f"{e.target} {e.label}" for e in day.events]
    table = [["router", *(f"{label}: left" for label in labels), *(f"{label}: back" for label in labels)]]
    for name, row in rows.items():
        table.append([name, *(_minutes(t) for t in row.noticed), *(_minutes(t) for t in row.returned)])
    return table


def ratios(regrets: Mapping[int, Mapping[str, float]]) -> Table:
    """Per seed: the regret of the bandit and of each peer, and the bandit's over the best peer's."""
    names = [BANDIT, STAYING, *PEERS]
    table = [["seed", *names, "bandit / best peer", "with affinity / best peer"]]
    for seed, by_name in regrets.items():
        best = min(by_name[p] for p in PEERS)
        table.append([str(seed), *(f"{by_name[n]:.0f}" for n in names), f"{by_name[BANDIT] / best:.2f}", f"{by_name[STAYING] / best:.2f}"])
    return table


def text(table: Table) -> str:
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))) for line in table
    )


def markdown(table: Table, *, words: bool = False) -> str:
    head, *lines = table
    rule = ["---"] + ["---" if words else "---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


def whole(command: str, day: Day, rows: Mapping[str, Row], regrets: Mapping[int, Mapping[str, float]]) -> str:
    """`report.md`."""
    requests = len(day.asked)
    ours = {n: r for n, r in rows.items() if n in OURS}
    peers = {n: r for n, r in rows.items() if n in PEERS}
    rest = {n: r for n, r in rows.items() if n == CLAIRVOYANT}
    return f"""# Simulated days

    {command}

writes this page and the pictures. A virtual clock, {requests:,} requests in {day.hours:g} hours (seed {day.seed}), the same requests and the same
luck for every router. Ours are the real thing: `routing.decide` over registry snapshots, with the real statistics, health, affinity and bandit. The
peers are naive versions of what other routers document, behind the same health, chain and fallback, so only their ranking differs.

## The day

{markdown(_offers(day))}

First token and time per token are medians at no load, log-normal around that, and grow with the requests under way, the fresh part of the prompt and
the time of day. Seeds move targets by 10 %, events by minutes and their size by 15 %.

{markdown(_events(day), words=True)}

Requests: 60 % chats, 22 % summaries, 18 % code; chats and code in sessions of six turns on average, whose prompts are cached where the provider
caches. The reward is `routing.reward` with objectives of {OBJECTIVES.first_token:g} s to the first token, {OBJECTIVES.per_token * 1000:g} ms per
token and ${OBJECTIVES.usd_per_request:g} per request.

## Results

Regret is the sum over all requests of the expected reward at the target that was best at that instant, less that at the one which the router put
first, both as seen by somebody who knows every latency, failure and limit, for the state that the router's own requests have brought about.
Whoever is refused is charged all of it. `failed` are requests that no attempt answered; times hold what was lost in failed attempts.

{markdown(results({**ours, **peers, **rest}, requests))}

![Regret over the day](regret.svg)

Each policy is good at what it is for: `cost` is the cheapest, `latency` the fastest. Regret weighs success, speed and cost as one reward, and by that
the bandit is the nearest to the clairvoyant. Its 95th percentiles are high for the same reason as the clairvoyant's: it gives long prompts and long
answers to `house`, which is slow and nearly free, because at these objectives that is worth it. `score` weighs nearly the same things, does not
explore beyond its 2 %, and knows no contexts.

## Noticing and returning

Minutes from an event's start until less than a tenth of the next {NEXT} requests go to its target, and from its end until the target has half of its
share before again. `-`: it was hardly used, or it was not left.

{markdown(reactions({**ours, **peers, **rest}, day))}

![Who served the requests](shares.svg)

## Other seeds

Regret. What is required is that the bandit's is at most half of each peer's; `tests/days/test_days.py` holds it to that on shortened days.

It takes traffic to learn from. With 12,000 requests a day the bandit has 0.2 to 0.35 of the best peer's regret (seeds 1 to 6); with 4,000, one in
20 seconds, 0.5 to 0.8, because `house` is then never busy, and whoever takes the lowest price is right most of the day.

{markdown(ratios(regrets))}
"""


def _offers(day: Day) -> Table:
    table = [["target", "$ per M tokens in", "out", "cached", "first token", "per token", "doubles at", "fails", "quality"]]
    for o in day.offers:
        cached = "-" if o.price.cache_read is None else f"{o.price.cache_read:g}"
        table.append(
            [
                o.name,
                f"{o.price.input:g}",
                f"{o.price.output:g}",
                cached,
                f"{o.first_token:.2f} s",
                f"{o.per_token * 1000:.1f} ms",
                f"{o.capacity:g} in flight",
                f"{o.failing:.1%}",
                f"{o.quality:g}",
            ]
        )
    return table


def _events(day: Day) -> Table:
    table = [["event", "from", "to", "what"]]
    for e in day.events:
        what = []
        if e.slow != 1.0:
            what.append(f"all of its times x {e.slow:.1f}")
        if e.dear != 1.0:
            what.append(f"its prices x {e.dear:.1f} in the registry")
        if e.failing:
            what.append(f"{e.failing:.0%} of requests fail, a third of these in silence")
        if e.per_minute < math.inf:
            what.append(f"429 with Retry-After beyond {e.per_minute:.1f} requests per minute")
        table.append([f"{e.target} is {e.label}", _time(e.start), _time(e.end), ", ".join(what)])
    return table


def _time(at: float) -> str:
    return f"{int(at // 3600):02}:{int(at % 3600 // 60):02}"


def _minutes(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return "never" if seconds == math.inf else f"{seconds / 60.0:.0f}"


def summary(regrets: Sequence[Mapping[str, float]]) -> str:
    """The worst of the required ratios."""
    worst = max(by[BANDIT] / min(by[p] for p in PEERS) for by in regrets)
    return f"the bandit's regret over the best peer's, worst of {len(regrets)} seeds: {worst:.2f} (at most 0.5 is required)"
