"""HTTP control of a running simulator: faults set and cleared, requests shown.

POST /_sim/fault     {"kind": "status", "status": 429, "retry_after": 2, "times": 3}; `times` null is a standing fault, 1 when absent
GET /_sim/fault      the faults that wait, and the kinds there are
DELETE /_sim/fault   none any more
GET /_sim/requests   what arrived, keys as hashes; DELETE forgets it
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from extproc.simulator.faults import MEANING, FaultPlan, planned_from_json
from extproc.simulator.http1 import Request
from extproc.simulator.received import ReceivedLog
from extproc.simulator.wire import Answer, Headers

PREFIX = "/_sim/"
_TYPE: Headers = [("content-type", "application/json"), ("cache-control", "no-store")]


def answer(request: Request, faults: FaultPlan, received: ReceivedLog) -> Answer:
    """The answer to a control request: always JSON, 400 with the reason for a fault that makes no sense."""
    handlers: dict[tuple[str, str], Callable[[], Answer]] = {
        ("/_sim/fault", "POST"): lambda: _add(request, faults),
        ("/_sim/fault", "GET"): lambda: _json(200, {"faults": faults.listing(), "kinds": {k.value: v for k, v in MEANING.items()}}),
        ("/_sim/fault", "DELETE"): lambda: _cleared(faults),
        ("/_sim/requests", "GET"): lambda: _json(200, {"total": received.total, "requests": [r.view() for r in received]}),
        ("/_sim/requests", "DELETE"): lambda: _cleared(received),
    }
    handler = handlers.get((request.path, request.method))
    if handler is not None:
        return handler()
    known = any(path == request.path for path, _ in handlers)
    return _json(405 if known else 404, {"error": f"no {request.method} {request.path}"})


def _json(status: int, data: object) -> Answer:
    return Answer(status, _TYPE, orjson.dumps(data))


def _cleared(what: FaultPlan | ReceivedLog) -> Answer:
    what.clear()
    return _json(200, {})


def _add(request: Request, faults: FaultPlan) -> Answer:
    try:
        faults.add(*planned_from_json(orjson.loads(request.body)))
    except ValueError as problem:
        return _json(400, {"error": str(problem)})
    return _json(200, {"faults": faults.listing()})
