"""Sending a share of a model's requests again, to another target: what is sent, and what the second request knows of the first.

The copy goes out when the first request is over, so it competes with nothing, and what the first one measured travels with it: the copy's own log
line and span then hold both sides, whichever process serves it. It comes in through a door that only this server's user can open (`x-llm-shadow`
is taken off everything else), passes every filter of its model for its own target, counts against no tenant's limit, and its answer is read and
dropped.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from extproc.core.dialect import Need
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.headers import CLIENT_KEPT, kept, passed_query
from extproc.registry.policy import ORDERED
from extproc.registry.types import Model, Rank, Registry
from extproc.routing.decision import COPY
from extproc.telemetry.record import RequestRecord

HEADER = "x-llm-shadow"
LARGEST = 4 << 20
"""Bytes of a body that is kept for a copy."""
IN_ONE_ACCOUNT = frozenset({Need.STATE, Need.FILE_ID})
"""Needs of a request that names something which lies with a provider."""
_SENT = (*CLIENT_KEPT, "content-type", "accept")


@dataclass(slots=True)
class Copy:
    """A request that is to be sent again. `headers` are those of the client that count, never a credential."""

    target: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    who: Mapping[str, str]
    task: str


@dataclass(slots=True)
class Shadowed:
    """What a copy says about itself. `first` is what the first request measured."""

    target: str
    who: dict[str, str] = field(default_factory=dict)
    task: str = ""
    first: dict[str, Any] = field(default_factory=dict)


def copy_of(model: Model, rule: str, needs: frozenset[str], headers: Mapping[str, str], body: bytes, who: Mapping[str, str]) -> Copy | None:
    """The request to repeat at the shadow target of `model`.

    None if it is too large to keep, if it refers to what lies in one account, or if the rule that held allows only other targets.
    """
    if model.shadow is None or len(body) > LARGEST or not IN_ONE_ACCOUNT.isdisjoint(needs):
        return None
    target = model.shadow.target
    if rule and any(each.name == rule and each.only and target not in each.only for each in model.rules):
        return None
    task = headers.get("x-llm-task", "")[:64]
    path, _, query = headers.get(":path", "/").partition("?")
    said = passed_query(query)
    return Copy(target, headers.get(":method", "POST"), f"{path}?{said}" if said else path, kept(headers, _SENT), body, who, task)


def header_of(copy: Copy, record: RequestRecord) -> str:
    """The value of `x-llm-shadow`."""
    usage = record.usage
    first = {
        "request_id": record.request_id,
        "trace_id": record.trace_id,
        "target": record.target,
        "outcome": record.outcome.value,
        "total_ms": round(record.total_ms, 1),
        "ttft_ms": None if record.ttft_ms is None else round(record.ttft_ms, 1),
        "output_tokens": usage.output_tokens if usage else None,
        "cost_usd": None if record.cost_usd is None else round(record.cost_usd, 8),
        "finish": record.finish,
    }
    said = {"target": copy.target, "who": dict(copy.who), "task": copy.task, "first": {k: v for k, v in first.items() if v not in (None, "")}}
    return base64.urlsafe_b64encode(orjson.dumps(said)).decode()


def read_header(value: str) -> Shadowed:
    """What `header_of` wrote. Raises ValueError on anything else."""
    try:
        return Shadowed(**orjson.loads(base64.urlsafe_b64decode(value)))
    except (binascii.Error, orjson.JSONDecodeError, TypeError) as error:
        raise ValueError(f"not a value of {HEADER}: {error}") from None


def only(registry: Registry, model: Model, target: str) -> Model:
    """`model` for a copy: served by `target` or by nobody, under the same requirements. One object for each snapshot, by which filters keep what
    they worked out. Raises `ApiError` (UNAVAILABLE): a target that is gone since the first request."""
    if target not in registry.targets:
        raise ApiError(ErrorKind.UNAVAILABLE, f"no target named {target!r}")
    name = model.name + COPY
    found = registry.memo.get((name, target))
    if isinstance(found, Model):
        return found
    ranks = (Rank(((target, 1.0),)),)
    made = replace(model, name=name, ranks=ranks, rules=(), rank_by=ORDERED, affinity=None, shadow=None, observe=None, last_resort=False)
    registry.memo[name, target] = made
    return made
