"""Slow work beside the loop: the collector rests meanwhile, and runs again however the work ends."""

from __future__ import annotations

import gc
import threading

import pytest

from extproc.admin.aside import aside
from extproc.admin.refusal import MOST_PROBLEMS, problems_said
from extproc.registry.problems import Problem
from tests.admin.live_rig import go


def test_the_collector_rests_while_a_thread_works() -> None:
    def work(fail: bool) -> tuple[bool, bool]:
        if fail:
            raise ValueError("no")
        return gc.isenabled(), threading.current_thread() is threading.main_thread()

    async def test() -> None:
        assert await aside(work, fail=False) == (False, False)
        assert gc.isenabled()
        with pytest.raises(ValueError, match="no"):
            await aside(work, fail=True)
        assert gc.isenabled()
        gc.disable()
        try:
            await aside(work, fail=False)
            assert not gc.isenabled(), "who had it off, has it off"
        finally:
            gc.enable()

    go(test())


def test_problems_without_end_are_counted() -> None:
    said = problems_said(Problem(f"limits[{n}]", 1, 1, "is no limit") for n in range(20_000))
    assert len(said) == MOST_PROBLEMS + 1
    assert said[-1]["message"] == f"{20_000 - MOST_PROBLEMS} more problems"
