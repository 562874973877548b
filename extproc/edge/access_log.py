"""Who broke an answer off, the client or the provider, and with which status where the client had nothing of it yet. No filter can tell, only Envoy's
access log, which its gRPC logger delivers here.

Envoy sends entries of broken requests only (a filter on response flags), within a tenth of a second, to any one of the server processes. A request
whose end is in doubt waits for its entry for `PATIENCE`; without one (another process got it, no logger configured) it counts as
cut, which blames nobody for having left.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import orjson

from extproc.core.plan import NAMESPACE
from extproc.edge import llm_extproc_pb2 as pb
from extproc.telemetry.record import Outcome

PATIENCE = 1.0
"""Seconds. Ten times Envoy's flush interval."""
EARLY = 256
"""Entries that are kept for requests whose call has not ended here yet."""


class BrokenEnd(NamedTuple):
    """`status` is what the client got: Envoy answers itself where a provider breaks off an answer that is still held. 0: nothing."""

    outcome: Outcome
    status: int


Settle = Callable[[BrokenEnd | None], None]


def outcome_of(flags: pb.ResponseFlags) -> Outcome:
    """What Envoy's response flags say of an answer that had begun."""
    if flags.downstream_connection_termination or flags.downstream_remote_reset:
        return Outcome.CLIENT_GONE
    if flags.upstream_request_timeout or flags.stream_idle_timeout:
        return Outcome.STALLED
    return Outcome.CUT


class BrokenEnds:
    """Joins requests in doubt with access log entries by the plan's key."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Settle, asyncio.TimerHandle]] = {}
        self._early: OrderedDict[str, BrokenEnd] = OrderedDict()

    def settle(self, key: str, settle: Settle) -> None:
        """Calls `settle` with the end when it is known, or with None when nobody says in time."""
        known = self._early.pop(key, None)
        if known is not None:
            settle(known)
            return
        timer = asyncio.get_running_loop().call_later(PATIENCE, self._give_up, key)
        self._waiting[key] = (settle, timer)

    def feed(self, message: pb.StreamAccessLogsMessage) -> None:
        """Entries as they arrive."""
        for entry in message.http_logs.log_entry:
            key = _key(entry.common_properties.metadata)
            if not key:
                continue
            end = BrokenEnd(outcome_of(entry.common_properties.response_flags), entry.response.response_code.value)
            waiting = self._waiting.pop(key, None)
            if waiting is not None:
                waiting[1].cancel()
                waiting[0](end)
                continue
            self._early[key] = end
            while len(self._early) > EARLY:
                self._early.popitem(last=False)

    def give_up(self) -> None:
        """Nobody will say any more (shutdown)."""
        for key in list(self._waiting):
            self._give_up(key)

    def _give_up(self, key: str) -> None:
        waiting = self._waiting.pop(key, None)
        if waiting is not None:
            waiting[1].cancel()
            waiting[0](None)


def _key(metadata: pb.Metadata) -> str:
    """The plan's key, "" for a request without a plan."""
    if NAMESPACE not in metadata.filter_metadata:
        return ""
    try:
        plan = orjson.loads(metadata.filter_metadata[NAMESPACE].fields["plan"].string_value)
        return str(plan["key"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
