"""Who broke a stream off: requests in doubt and the access log's entries find each other, in either order, or do without."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from extproc.core.plan import NAMESPACE
from extproc.edge import access_log
from extproc.edge import llm_extproc_pb2 as pb
from extproc.edge.access_log import EARLY, BrokenEnd, BrokenEnds, outcome_of
from extproc.telemetry.record import Outcome
from tests.edge.envoys_side import go

GONE = ("downstream_remote_reset",)


LEFT = BrokenEnd(Outcome.CLIENT_GONE, 0)


def entry(key: str, *flags: str, plan: str | None = None, status: int = 0) -> pb.HttpAccessLogEntry:
    made = pb.HttpAccessLogEntry()
    if status:
        made.response.response_code.value = status
    for flag in flags:
        setattr(made.common_properties.response_flags, flag, True)
    text = orjson.dumps({"key": key, "model": "chat"}).decode() if plan is None else plan
    made.common_properties.metadata.filter_metadata[NAMESPACE].fields["plan"].string_value = text
    return made


def entries(*made: pb.HttpAccessLogEntry) -> pb.StreamAccessLogsMessage:
    return pb.StreamAccessLogsMessage(http_logs=pb.HttpAccessLogEntries(log_entry=made))


@pytest.mark.parametrize(
    ("flags", "outcome"),
    [
        (["downstream_connection_termination"], Outcome.CLIENT_GONE),
        (["downstream_remote_reset"], Outcome.CLIENT_GONE),
        (["upstream_request_timeout"], Outcome.STALLED),
        (["stream_idle_timeout"], Outcome.STALLED),
        (["stream_idle_timeout", "downstream_remote_reset"], Outcome.CLIENT_GONE),
        ([], Outcome.CUT),
    ],
)
def test_flags(flags: list[str], outcome: Outcome) -> None:
    assert outcome_of(pb.ResponseFlags(**dict.fromkeys(flags, True))) is outcome


def test_an_entry_settles_the_request_that_waits_for_it() -> None:
    async def test() -> None:
        ends, settled = BrokenEnds(), list[tuple[str, BrokenEnd | None]]()
        for key in ("one", "two"):
            ends.settle(key, lambda outcome, key=key: settled.append((key, outcome)))  # type: ignore[misc]
        ends.feed(entries(entry("two", *GONE), entry("other")))
        assert settled == [("two", LEFT)]
        ends.feed(entries(entry("two"), entry("one", "stream_idle_timeout", status=504)))
        assert settled == [("two", LEFT), ("one", BrokenEnd(Outcome.STALLED, 504))]
        ends.give_up()
        assert len(settled) == 2, "each is settled once"

    go(test())


def test_an_entry_may_come_first() -> None:
    async def test() -> None:
        ends, settled = BrokenEnds(), list[BrokenEnd | None]()
        ends.feed(entries(entry("early", *GONE)))
        ends.settle("early", settled.append)
        assert settled == [LEFT]
        assert ends._early == {}

    go(test())


def test_without_an_entry_it_is_settled_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "PATIENCE", 0.0)

    async def test() -> None:
        ends, settled = BrokenEnds(), asyncio.get_running_loop().create_future()
        ends.settle("nobody", settled.set_result)
        assert await settled is None
        ends.feed(entries(entry("nobody", *GONE)))
        assert ends._waiting == {}

    go(test())


def test_a_shutdown_settles_everything_now() -> None:
    async def test() -> None:
        ends, settled = BrokenEnds(), list[BrokenEnd | None]()
        ends.settle("a", settled.append)
        ends.settle("b", settled.append)
        ends.give_up()
        assert settled == [None, None]
        assert ends._waiting == {}

    go(test())


def test_early_entries_are_kept_within_bounds() -> None:
    async def test() -> None:
        ends, settled = BrokenEnds(), list[BrokenEnd | None]()
        for n in range(EARLY + 10):
            ends.feed(entries(entry(f"k{n}", *GONE)))
        assert len(ends._early) == EARLY
        ends.settle(f"k{EARLY + 9}", settled.append)
        assert settled == [LEFT], "the oldest go first"
        ends.settle("k0", settled.append)
        assert settled == [LEFT]
        ends.give_up()

    go(test())


@pytest.mark.parametrize("plan", ["", "{}", "[]", "null", "7", '"key"', "{", '{"key":""}'])
def test_an_entry_without_a_plan_is_passed_over(plan: str) -> None:
    async def test() -> None:
        ends, settled = BrokenEnds(), list[BrokenEnd | None]()
        ends.settle("one", settled.append)
        ends.feed(entries(entry("", plan=plan), pb.HttpAccessLogEntry(), entry("one", *GONE)))
        assert settled == [LEFT]
        assert ends._early == {}

    go(test())
