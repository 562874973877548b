"""`extproc stats`: what the running server has measured of its targets lately, and what it leaves out at the moment."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

import orjson

from extproc.commands.admin_client import AdminClient, add_admin, client_of
from extproc.commands.columns import columns, duration, fitting, number, share, usd

HEADER = ("TARGET", "STATE", "REQUESTS", "FLIGHT", "FAILED", "FIRST p50", "p95", "TOTAL p50", "p95", "PER TOKEN", "CACHED", "TOKENS", "USD")
SAID = {"limited": "rate limited", "spent": "limit spent", "asked": "told to wait", "key_refused": "key refused", "inactive": "not in Envoy"}
"""The reasons of the API in words; those that are not here are words already."""
LEAST = ("CACHED", "TOKENS", "PER TOKEN", "p95", "USD", "FLIGHT", "FIRST p50")
"""What a narrow terminal can do without."""
EXPLAINED = (
    "STATE is ok, or why a target gets no requests and for how long. REQUESTS and FAILED are of the last minutes: older ones count less and less. "
    "FLIGHT is how many are under way now. FIRST is the time to the first token of a stream, TOTAL to the end of an answer; p50 is the median, 95 of "
    "100 are below p95. PER TOKEN is the time of each further token of a stream. CACHED is the part of prompts that came from the provider's cache. "
    "TOKENS and USD are those of one answer."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "What the running server has measured of its targets, a row for each, and which of them get no requests at the moment."
    parser.epilog = EXPLAINED
    add_admin(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table: more numbers, for programs")


def read(client: AdminClient) -> tuple[dict[str, Any], dict[str, Any]]:
    """(statistics, status), as the admin API gives them."""
    return client.get("/v1/statistics").body, client.get("/v1/status").body


def state_of(cluster: str, status: Mapping[str, Any]) -> str:
    """ok, or why `cluster` is left out."""
    envoy = status.get("envoy") or {}
    cooling = (status.get("cooling") or {}).get(cluster)
    if cluster in (status.get("drained") or ()):
        return "drained"
    if isinstance(cooling, dict):
        left, why = cooling.get("seconds"), str(cooling.get("why", "cooling"))
        said = SAID.get(why, why)
        return f"{said} {duration(left)}" if left else said
    if cluster in (envoy.get("ejected") or ()):
        return "ejected"
    return "ok"


def rows_of(statistics: Mapping[str, Any], status: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row for each cluster of the registry."""
    measured = statistics.get("clusters") or {}
    names = sorted({*measured, *(status.get("clusters") or ())})
    rows: list[tuple[str, ...]] = []
    for name in names:
        m = measured.get(name) or {}
        first, total = m.get("first_token") or {}, m.get("seconds") or {}
        rows.append(
            (
                name,
                state_of(name, status),
                number(m.get("requests", 0), 1),
                number(m.get("in_flight", 0)),
                share(m.get("failure_rate")) if m.get("requests") else "-",
                duration(first.get("p50")),
                duration(first.get("p95")),
                duration(total.get("p50")),
                duration(total.get("p95")),
                duration(m.get("per_token")),
                share(m.get("cached_share")),
                number(m.get("output_tokens")),
                usd(m.get("usd")),
            )
        )
    return rows


def run(args: argparse.Namespace) -> int:
    with client_of(args) as client:
        statistics, status = read(client)
    if args.json:
        print(orjson.dumps(statistics, option=orjson.OPT_INDENT_2).decode())
        return 0
    rows = rows_of(statistics, status)
    width = shutil.get_terminal_size((100, 40)).columns
    print("\n".join(fitting(HEADER, rows, width, LEAST, left=2) if sys.stdout.isatty() else columns(HEADER, rows, left=2)))
    print(f"\n{textwrap.fill(EXPLAINED, min(width, 100))}")
    return 0
