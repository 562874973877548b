"""The vocabulary of ends is complete, and a failure always has a type."""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path

import pytest

from extproc.telemetry import record
from extproc.telemetry.record import MEANING, Outcome, RequestRecord


def test_every_outcome_has_a_meaning_and_a_docstring() -> None:
    assert set(MEANING) == set(Outcome)
    tree = ast.parse(Path(record.__file__).read_text())
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Outcome").body
    documented = {
        a.targets[0].id
        for a, b in pairwise(body)
        if isinstance(a, ast.Assign) and isinstance(a.targets[0], ast.Name) and isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant)
    }
    assert documented == {o.name for o in Outcome}


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_failure_has_a_type_and_a_success_has_none(outcome: Outcome) -> None:
    bare = RequestRecord(request_id="r", outcome=outcome, ended_ns=1, total_ms=1.0)
    typed = RequestRecord(request_id="r", outcome=outcome, ended_ns=1, total_ms=1.0, error_type="rate_limited")
    if MEANING[outcome].failed:
        assert (bare.failure, typed.failure) == (outcome.value, "rate_limited")
        assert MEANING[outcome].fault != "none"
    else:
        assert (bare.failure, typed.failure) == (None, None)
