"""Every golden is what the code gives today, and what it gives is valid by the strictest third party there is."""

from __future__ import annotations

import orjson
import pytest

from tests.golden.matrix import CLIENTS, FOLDER, MARK, TARGETS, Case, cases, golden, request, response, stream
from tests.validators.answers import ANSWERS, STREAMS
from tests.validators.requests import REQUESTS
from tests.validators.vendor_types import VENDORS

CASES = list(cases())


def of_kind(kind: str) -> list[Case]:
    return [case for case in CASES if case.kind == kind]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_golden(case: Case) -> None:
    assert golden(case) == case.golden.read_bytes(), "if the change is meant: python -m tests.golden --write, and read the difference"


def test_no_golden_is_left_over() -> None:
    assert {path for path in FOLDER.glob("*/*/*") if MARK in path.name} == {case.golden for case in CASES}


def test_every_pair_is_there() -> None:
    sources = {"requests": set(CLIENTS), "responses": set(), "streams": set()}
    upstreams = {target.provider.kind.dialect for target in TARGETS.values()}
    sources["responses"] = sources["streams"] = upstreams
    for kind, wanted in sources.items():
        assert {case.source for case in of_kind(kind)} == wanted
        assert all(sum(case.source == source for case in of_kind(kind)) >= 10 for source in wanted)


@pytest.mark.parametrize("case", of_kind("requests"), ids=str)
def test_requests_are_valid(case: Case) -> None:
    """A body for another dialect is ours alone, so it is strictly valid. One for the client's own dialect is the client's, edited."""
    _, body, losses = request(case)
    dialect = TARGETS[case.to].provider.kind.dialect
    if body is not None and dialect != case.source:
        VENDORS.get(TARGETS[case.to].provider.kind.name, REQUESTS[dialect])(body)
        assert len({(loss.code, loss.detail) for loss in losses}) == len(losses)


@pytest.mark.parametrize("case", of_kind("responses"), ids=str)
def test_answers_are_valid(case: Case) -> None:
    shown, body, _ = response(case)
    if "error" in shown:
        said = orjson.loads(body)
        error = said.get("error", said)
        assert error if isinstance(error, str) else error["message"]
    else:
        ANSWERS[case.to](body)


@pytest.mark.parametrize("case", of_kind("streams"), ids=str)
def test_streams_are_valid(case: Case) -> None:
    out, _ = stream(case)
    assert (STREAMS[case.to](out) is None) is case.name.startswith(("cut", "error"))
