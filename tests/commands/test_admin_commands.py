"""`extproc routes`, `target`, `stats` and `top` against the admin API on a real socket: what a person sees, and what changes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from extproc.__main__ import main
from extproc.admin.listen import listening
from extproc.commands.admin_client import ENVIRONMENT
from extproc.commands.columns import columns, fitting
from extproc.commands.routes import merge_patch
from extproc.commands.top import screen
from extproc.routing.health import Out
from extproc.routing.statistics import Sample
from tests.admin.api_rig import ApiRig
from tests.envoy_process import short_directory

SERVED = 60.0


def explained(raw: bytes, path: str | None, headers: Mapping[str, str], method: str) -> dict[str, Any]:
    assert orjson.loads(raw)["model"] == "chat"
    ranked = [{"target": "a", "score": 0.25, "usd": 0.25}]
    return {
        "rank_by": "cost",
        "rule": "night",
        "chain": ["a", "b"],
        "ranked": ranked,
        "excluded": [{"cluster": "c", "code": "drained", "why": "drained"}],
    }


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiRig]:
    """A server of the admin API in a thread, found by the environment."""
    with short_directory() as directory:
        path = directory / "admin-api.sock"
        rig = ApiRig(directory, explain=explained)
        monkeypatch.setenv(ENVIRONMENT, str(path))
        ready, loop = threading.Event(), asyncio.new_event_loop()
        over = asyncio.Event()

        async def serve() -> None:
            async with listening(rig.api, path):
                ready.set()
                await over.wait()

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
        thread.start()
        assert ready.wait(SERVED)
        yield rig
        loop.call_soon_threadsafe(over.set)
        thread.join(SERVED)
        loop.close()


def said(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert main(argv) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def test_models_and_targets_are_listed(rig: ApiRig, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "routes").splitlines() == [
        "MODEL  RANK BY  TARGETS  RULES  ALIASES",
        "chat   order    a > b    -      -",
        "other  order    b        -      -",
    ]
    rig.services.health.cool_down("b", 30.0, Out.ASKED)
    lines = said(capsys, "target", "list").splitlines()
    assert lines[1].split() == ["a", "p", "gpt-4o", "ok"]
    assert "told to wait 30" in lines[2] or "told to wait 29" in lines[2]
    assert said(capsys, "routes", "show", "chat") == "targets: [a, b]\nstrict: false\n"


def test_a_change_is_shown_kept_and_taken_back(rig: ApiRig, capsys: pytest.CaptureFixture[str]) -> None:
    dry = said(capsys, "routes", "set", "chat", "rank_by=cost", "timeouts.first_token=5s", "--dry-run")
    assert dry.splitlines()[0] == "would change (nothing has been changed):"
    assert "  + cost" in dry
    assert rig.live.registry.models["chat"].rank_by.policy == "order"
    changed = said(capsys, "routes", "set", "chat", "rank_by=cost", "timeouts.first_token=5s").splitlines()
    assert "reaches this process" in changed[0]
    model = rig.live.registry.models["chat"]
    assert (model.rank_by.policy, model.timeouts.first_token) == ("cost", 5.0)
    assert "models.chat.rank_by" in said(capsys, "routes", "diff")
    history = said(capsys, "routes", "history")
    id_ = history.split()[0]
    assert changed[1] == f"to take it back: extproc routes rollback {id_}"
    assert "changed" in said(capsys, "routes", "rollback", id_)
    assert rig.live.registry.models["chat"].rank_by.policy == "order"
    assert said(capsys, "routes", "diff") == "the file alone serves\n"


def test_a_bad_change_names_the_place_and_changes_nothing(rig: ApiRig, capsys: pytest.CaptureFixture[str]) -> None:
    before = rig.live.registry
    refused = said(capsys, "routes", "set", "chat", "rank_by=quickest", "targets=[a, nobody]", code=1)
    assert refused.startswith("refused (422): ")
    assert "models.chat.rank_by" in refused
    assert "models.chat.targets[1]" in refused
    assert rig.live.registry is before
    assert "no server answers" in said(capsys, "routes", "--admin", "/nowhere.sock", code=2)


def test_a_model_is_added_and_removed(rig: ApiRig, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    file.write_text("targets: [b]\naliases: [fresh]\n")
    said(capsys, "routes", "replace", "new/model", str(file))
    assert rig.live.registry.resolve("fresh") is rig.live.registry.models["new/model"]
    said(capsys, "routes", "remove", "new/model")
    assert rig.live.registry.resolve("fresh") is None
    assert "404" in said(capsys, "routes", "remove", "new/model", code=1)


def test_a_target_is_drained_and_enabled(rig: ApiRig, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "target", "drain", "a", "--expires", "2h")
    assert rig.live.registry.targets["a"].drained
    assert said(capsys, "target").splitlines()[1].split()[-1] == "drained"
    assert "nothing to change" in said(capsys, "target", "enable", "b")
    said(capsys, "target", "enable", "a")
    assert not rig.live.registry.targets["a"].drained


def test_a_reader_that_leaves_is_no_error(rig: ApiRig) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "extproc", "routes"]
    try:
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=SERVED, check=False)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_candidates_say_who_and_why(rig: ApiRig, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "routes", "candidates", "chat").splitlines() == [
        "model chat, ranked by cost, rule night",
        "chain  a > b",
        "  a: score 0.25  usd 0.25",
        "  not c: drained (drained)",
    ]


def test_statistics_are_a_table_and_top_puts_trouble_first(rig: ApiRig, capsys: pytest.CaptureFixture[str]) -> None:
    now = rig.services.monotonic()
    rig.services.statistics.record(Sample("a", "chat", "ok", 1.5, stream=True, first_token=0.4, per_token=0.02), now)
    rig.services.health.cool_down("b", 30.0, Out.KEY_REFUSED)
    table = said(capsys, "stats").splitlines()
    assert table[1].split()[:3] == ["a", "ok", "1.0"]
    assert "1.6s" in table[1]  # quantiles are those of buckets
    shown = said(capsys, "top", "--once")
    assert "\x1b" not in shown
    lines = shown.splitlines()
    assert lines[3].startswith("b  ")
    assert lines[4].startswith("a  ")
    assert orjson.loads(said(capsys, "stats", "--json"))["clusters"]["a"]["requests"] == pytest.approx(1.0, abs=0.01)


def test_a_small_terminal_gets_a_screen_that_fits() -> None:
    status = {"registry": "abc", "overlay": "none", "clusters": [f"target-{i:02d}" for i in range(50)]}
    lines = screen({"clusters": {}}, status, [{"at": 0, "asked": "chat", "chain": ["a"], "rank_by": "order"}] * 20, 60, 15)
    assert len(lines) <= 15
    assert any("more" in line for line in lines)


def test_a_narrow_terminal_gets_the_columns_that_matter() -> None:
    header = ("TARGET", "STATE", "CACHED", "p95", "TOTAL", "p95")
    rows = [("gpt-4o", "ok", "-", "29ms", "1.2s", "2.4s"), ("sonnet", "drained", "-", "31ms", "1.3s", "2.5s")]
    whole = fitting(header, rows, 80, ("p95", "TOTAL"))
    assert whole == columns(header, rows)
    assert [line.split() for line in fitting(header, rows, len(whole[0]) - 1, ("p95",))] == [
        ["TARGET", "STATE", "p95", "TOTAL", "p95"],
        ["gpt-4o", "ok", "29ms", "1.2s", "2.4s"],
        ["sonnet", "drained", "31ms", "1.3s", "2.5s"],
    ]
    assert fitting(header, rows, 32, ("p95", "TOTAL"))[1].split() == ["gpt-4o", "ok", "29ms", "1.2s"], "of two the last goes first"
    assert [line.split() for line in fitting(header, rows, 3, header)] == [["TARGET", "STATE"], ["gpt-4o", "ok"], ["sonnet", "drained"]]


def test_members_are_a_merge_patch() -> None:
    assert merge_patch(["rank_by={latency: 2}", "timeouts.stall=3s", "rules="]) == {
        "rank_by": {"latency": 2},
        "timeouts": {"stall": "3s"},
        "rules": None,
    }
    from extproc.commands.arguments import UsageError

    for bad in ("rank_by", "=1", "a=[", "a.=1"):
        with pytest.raises(UsageError), contextlib.nullcontext():
            merge_patch([bad])
