"""Every golden of embeddings is what the code gives today, and what it gives is valid by the strictest third party there is."""

from __future__ import annotations

import pytest

from extproc.core.losses import meaning
from tests.golden.embeddings import CLIENTS, TARGETS, Case, cases, golden, request, response, stale
from tests.validators.embeddings import REQUESTS, numbers

CASES = list(cases())


def of_kind(kind: str) -> list[Case]:
    return [case for case in CASES if case.kind == kind]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_golden(case: Case) -> None:
    assert golden(case) == case.golden.read_bytes(), "if the change is meant: python -m tests.golden --write, and read the difference"


def test_no_golden_is_left_over() -> None:
    assert not stale()


def test_every_dialect_is_there() -> None:
    names = {client for client, _, _ in CLIENTS}
    assert {case.source for case in of_kind("requests")} == names == {case.source for case in of_kind("responses")}
    assert {name.partition("-")[0] for name in TARGETS} == names


@pytest.mark.parametrize("case", of_kind("requests"), ids=str)
def test_requests_are_valid(case: Case) -> None:
    """A body for another dialect is ours alone, so it is strictly valid. One for the client's own dialect is the client's, edited."""
    for to in TARGETS:
        _, body, losses = request(case, to)
        if body is not None and to.partition("-")[0] != case.source:
            REQUESTS[to](body)
            assert len({(loss.code, loss.detail) for loss in losses}) == len(losses)
        assert all(meaning(loss.code) for loss in losses), losses


@pytest.mark.parametrize("case", of_kind("responses"), ids=str)
def test_answers_are_valid(case: Case) -> None:
    for client, form, encodings in CLIENTS:
        if client == case.source:
            continue
        shown, body, losses = response(case, client, form, encodings)
        assert all(meaning(loss.code) for loss in losses), losses
        if "error" not in shown:
            for encoding in encodings or ("float",):
                assert numbers(body, client, form=form, encoding=encoding)[0]
