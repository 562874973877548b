"""The file and the overlay over it: what is in force when either changes, expires, conflicts, or comes back after a restart."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from extproc.admin import live as live_module
from extproc.admin.refusal import Refused
from extproc.admin.tree import ABSENT, Set
from extproc.registry.load import RegistryError
from tests.admin.live_rig import FILE, Rig, by, eventually, go


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "FILE_POLL", 0.002)
    monkeypatch.setattr(live_module, "OVERLAY_POLL", 0.001)


# the file


def test_the_file_is_followed_and_a_bad_one_refused(tmp_path: Path) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        before = rig.current
        async with rig.running():
            rig.write("[a, b]", "[b]")
            await eventually(lambda: len(rig.current.models["chat"].ranks) == 1)
            good = rig.current
            rig.write("strict: false", "strict: maybe")
            await eventually(lambda: rig.live.last_error)
            assert "registry.yaml:9: models.chat.strict" in str(rig.live.last_error)
            assert rig.current is good
            rig.write("strict: maybe", "strict: true")
            await eventually(lambda: rig.current.models["chat"].strict)
            assert rig.live.last_error is None
            rig.file.write_text("")
            await eventually(lambda: rig.live.last_error)
            assert "empty" in str(rig.live.last_error)
        assert rig.current is not before
        actions = [(r.action, r.author) for r in rig.files.history()]
        assert actions == [("file", "extproc")] * 2
        assert rig.files.history()[0].differences == ({"path": ["models", "chat", "targets"], "before": ["a", "b"], "after": ["b"]},)

    go(test())


def test_a_file_that_is_missing_for_a_while(tmp_path: Path) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        before = rig.current
        async with rig.running():
            rig.file.unlink()
            await eventually(lambda: rig.live.last_error)
            assert "No such file" in str(rig.live.last_error)
            rig.file.write_text(FILE)
            await eventually(lambda: rig.live.last_error is None)
            assert rig.current is before

    go(test())


def test_a_config_map_is_followed(tmp_path: Path) -> None:
    """registry.yaml → ..data/registry.yaml, ..data → a directory with a date, and the link ..data is swapped."""
    for name, text in (("..first", FILE), ("..second", FILE.replace("[a, b]", "[b]"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "registry.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("..first")
    (tmp_path / "registry.yaml").symlink_to("..data/registry.yaml")

    async def test() -> None:
        rig = Rig(tmp_path)
        async with rig.running():
            (tmp_path / "..data_tmp").symlink_to("..second")
            (tmp_path / "..data_tmp").rename(tmp_path / "..data")
            await eventually(lambda: len(rig.current.models["chat"].ranks) == 1)

    go(test())


def test_a_file_that_envoy_refuses(tmp_path: Path) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        before = rig.current
        async with rig.running():
            rig.envoy.refusal = "envoy refuses the rendered configuration: no"
            rig.write("  b: {provider: q", "  c: {provider: q, model: x}\n  b: {provider: q")
            await eventually(lambda: rig.live.last_error)
            assert rig.current is before
            assert rig.files.read_last_good() == FILE.encode(), "what was not taken is not good"

    go(test())


def test_a_bug_is_no_end_of_following(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        with monkeypatch.context() as broken:
            broken.setattr(live_module, "resolved", lambda *_: 1 / 0)
            async with rig.running():
                rig.write("[a, b]", "[b]")
                await eventually(lambda: rig.live.last_error)
        assert rig.live.last_error == "internal error: ZeroDivisionError"
        async with rig.running():
            rig.write("[b]", "[a]")
            await eventually(lambda: rig.live.last_error is None)
            assert [r.targets[0][0] for r in rig.current.models["chat"].ranks] == ["a"]

    go(test())


# restart


def test_a_change_survives_a_restart(tmp_path: Path) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        done = await rig.patch("models.chat", {"strict": True})
        assert done.registry is rig.current
        again = Rig(tmp_path)
        assert again.current.models["chat"].strict
        assert again.current.digest == rig.current.digest
        assert again.current.base == done.registry.base != again.current.digest
        assert again.live.tree == rig.live.tree

    go(test())


def test_what_expired_while_nobody_ran_is_gone(tmp_path: Path) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        await rig.patch("models.chat", {"strict": True}, by(lasts=60.0))
        assert Rig(tmp_path, now=rig.now + 59).current.models["chat"].strict
        late = Rig(tmp_path, now=rig.now + 61)
        assert not late.current.models["chat"].strict
        assert late.live.overlay.entries == ()

    go(test())


def test_a_bad_file_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        await rig.patch("models.chat", {"strict": True})
        rig.file.write_text("models: [")
        again = Rig(tmp_path)
        assert again.live.from_last_good
        assert "not valid YAML" in str(again.live.last_error)
        assert again.current.digest == rig.current.digest, "with its overlay"
        assert [r.message for r in caplog.records if r.levelno == logging.ERROR] == ["the registry file does not load; the last good one serves"]
        async with again.running():
            again.file.write_text(FILE)
            await eventually(lambda: not again.live.from_last_good)
            assert again.live.last_error is None

    go(test())


def test_a_bad_file_at_the_first_start(tmp_path: Path) -> None:
    (tmp_path / "registry.yaml").write_text("models: [")
    with pytest.raises(RegistryError, match="not valid YAML"):
        Rig(tmp_path)


def test_a_last_good_one_that_a_new_version_does_not_read(tmp_path: Path) -> None:
    (tmp_path / "registry.yaml").write_text("models: [")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "last-good.yaml").write_text("version: 1")
    with pytest.raises(RegistryError, match="not valid YAML"):
        Rig(tmp_path)


@pytest.mark.parametrize("text", ["", "{", '{"format": 2}', '{"format": 1, "version": 1, "changes": [{}]}', "[" * 100_000])
def test_an_overlay_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    async def test() -> None:
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "overlay.json").write_text(text)
        rig = Rig(tmp_path)
        assert "cannot be read" in rig.problems
        assert not rig.current.models["chat"].strict
        for attempt in (rig.patch("models.chat", {"strict": True}), rig.revise.resume(by())):
            with pytest.raises(Refused) as refused:
                await attempt
            assert refused.value.status == 409
        await rig.revise.drop(by())
        assert (tmp_path / "state" / "overlay.unreadable").read_text() == text
        await rig.patch("models.chat", {"strict": True})
        assert Rig(tmp_path).current.models["chat"].strict

    go(test())


def test_a_state_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")

    async def test() -> None:
        rig = Rig(tmp_path)
        before = rig.current
        with pytest.raises(Refused) as refused:
            await rig.patch("models.chat", {"strict": True})
        assert (refused.value.status, refused.value.code) == (503, "not_kept")
        assert rig.current is before
        async with rig.running():
            rig.write("[a, b]", "[b]")
            await eventually(lambda: len(rig.current.models["chat"].ranks) == 1)

    go(test())


# conflict


def test_a_new_file_that_says_something_else_at_a_changed_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        await rig.patch("models.chat", {"targets": ["b"]})
        await rig.patch("models.other", {"strict": True})
        async with rig.running():
            rig.write("targets: [a, b]", "targets: [{a: 1, b: 2}]")
            await eventually(lambda: rig.live.overlay.suspended)
            assert rig.live.overlay.state == "suspended"
            assert 'models.chat.targets: the file said "["a","b"]" when ann changed it' in rig.problems
            assert len(rig.current.models["chat"].ranks[0].targets) == 2
            assert not rig.current.models["other"].strict, "all of it is suspended"
            assert rig.current.base == ""
            suspended = [r for r in caplog.records if "suspended" in r.message]
            assert len(suspended) == 1
            with pytest.raises(Refused) as refused:
                await rig.patch("models.other", {"strict": True})
            assert refused.value.code == "suspended"
            # a further file does not lift it, neither does the old one
            rig.write("strict: false", "strict: true")
            await eventually(lambda: rig.current.models["chat"].strict)
            rig.write("targets: [{a: 1, b: 2}]", "targets: [a, b]")
            await eventually(lambda: len(rig.current.models["chat"].ranks) == 2)
            assert rig.live.overlay.suspended
            assert Rig(tmp_path).live.overlay.suspended, "nor does a restart"
            await rig.revise.resume(by("bob"))
            assert rig.live.overlay.state == "active"
            assert [r.targets for r in rig.current.models["chat"].ranks] == [(("b", 1.0),)]
            assert rig.current.models["other"].strict
        assert [r.action for r in rig.files.history()] == ["change", "change", "suspend", "file", "file", "resume"]

    go(test())


def test_it_can_be_dropped(tmp_path: Path) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        await rig.patch("models.chat", {"targets": ["b"]})
        async with rig.running():
            rig.write("targets: [a, b]", "targets: [a]")
            await eventually(lambda: rig.live.overlay.suspended)
            await rig.revise.drop(by())
            assert rig.live.overlay.state == "none"
            assert [r.targets[0][0] for r in rig.current.models["chat"].ranks] == ["a"]

    go(test())


def test_a_new_file_that_leaves_the_changed_places_alone(tmp_path: Path) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        await rig.patch("models.chat", {"targets": ["b"]})
        async with rig.running():
            rig.write("strict: false", "strict: true")
            await eventually(lambda: rig.current.models["chat"].strict)
            assert [r.targets[0][0] for r in rig.current.models["chat"].ranks] == ["b"]
            assert rig.live.overlay.state == "active"

    go(test())


def test_a_file_that_takes_a_change_over(tmp_path: Path) -> None:
    """Tried live, then committed: nothing is left to conflict with later files."""

    async def test() -> None:
        rig = Rig(tmp_path)
        await rig.patch("models.chat", {"targets": ["b"]})
        async with rig.running():
            rig.write("targets: [a, b]", "targets: [b]")
            await eventually(lambda: rig.live.overlay.state == "none")
            rig.write("targets: [b], strict", "targets: [a], strict")
            await eventually(lambda: [r.targets[0][0] for r in rig.current.models["chat"].ranks] == ["a"])
        assert [r.action for r in rig.files.history()] == ["change", "adopt", "file"]

    go(test())


def test_a_file_with_which_the_changes_do_not_load(tmp_path: Path) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        await rig.patch("models.third", {"targets": ["b"]})
        async with rig.running():
            rig.file.write_text(FILE.replace("  b: {provider: q, model: gpt-4o}\n", "").replace("[a, b]", "[a]").replace("[b]", "[a]"))
            await eventually(lambda: rig.live.overlay.suspended)
            assert "models.third.targets" in rig.problems
            assert set(rig.current.models) == {"chat", "other"}
            with pytest.raises(Refused) as refused:
                await rig.revise.resume(by())
            assert refused.value.code == "invalid"
            assert rig.live.overlay.suspended

    go(test())


# expiry


def test_changes_fall_away_by_themselves(tmp_path: Path) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        await rig.patch("models.chat", {"strict": True}, by(lasts=60.0))
        await rig.patch("models.other", {"strict": True})
        async with rig.running():
            rig.now += 59
            await rig.patch("models.other", {"commit": "complete"})
            assert rig.current.models["chat"].strict
            rig.now += 2
            await eventually(lambda: not rig.current.models["chat"].strict)
            assert rig.current.models["other"].strict
        last = rig.files.history()[-1]
        assert (last.action, last.author) == ("expire", "extproc")
        assert last.differences == ({"path": ["models", "chat", "strict"], "before": True, "after": False},)

    go(test())


def test_what_a_change_covered_for_a_while_holds_again(tmp_path: Path) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        await rig.patch("models.chat", {"targets": ["b"]})
        await rig.patch("models.chat", {"targets": ["a"]}, by(lasts=60.0))
        assert len(rig.live.overlay.entries) == 2
        async with rig.running():
            rig.now += 61
            await eventually(lambda: [r.targets[0][0] for r in rig.current.models["chat"].ranks] == ["b"])
        await rig.patch("models.chat", {"targets": ["a"]})
        assert len(rig.live.overlay.entries) == 1, "what is hidden for good is gone"

    go(test())


def test_a_change_that_would_not_load_when_another_one_ends(tmp_path: Path) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        await rig.patch("targets.c", {"provider": "q", "model": "x"}, by(lasts=60.0))
        with pytest.raises(Refused) as refused:
            await rig.patch("models.chat", {"targets": ["c"]})
        assert refused.value.code == "invalid_later"
        assert refused.value.problems[0]["path"] == "models.chat.targets[0]"
        await rig.patch("models.chat", {"targets": ["c"]}, by(lasts=60.0))
        async with rig.running():
            rig.now += 61
            await eventually(lambda: "c" not in rig.current.targets)
            assert rig.live.overlay.state == "none"

    go(test())


# refusals


def test_a_bad_change_changes_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        await rig.patch("models.other", {"strict": True})
        before = rig.current, rig.live.tree, rig.live.overlay, {p.name: p.read_bytes() for p in (tmp_path / "state").iterdir()}
        with pytest.raises(Refused) as refused:
            await rig.patch("models.chat", {"targets": ["nobody"], "strict": 3})
        assert refused.value.status == 422
        assert [p["path"] for p in refused.value.problems] == ["models.chat.strict", "models.chat.targets[0]"]
        rig.envoy.refusal = "no"
        with pytest.raises(Refused) as refused:
            await rig.patch("targets.c", {"provider": "q", "model": "x"})
        assert (refused.value.code, refused.value.problems) == ("envoy", [{"path": "", "message": "no"}])
        with pytest.raises(Refused):
            await rig.put_sets([Set(("version",), ABSENT)])
        assert before == (rig.current, rig.live.tree, rig.live.overlay, {p.name: p.read_bytes() for p in (tmp_path / "state").iterdir()})

    go(test())


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        before = rig.current
        done = await rig.patch("targets.c", {"provider": "q", "model": "x"}, by(dry=True))
        assert done.dry
        assert "c" in done.registry.targets
        assert rig.current is before
        assert rig.envoy.written == []
        assert rig.files.history() == []
        assert rig.files.overlay_mark() is None

    go(test())


# history


def test_rollback_to_before_and_after_a_change(tmp_path: Path) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        first = await rig.patch("models.chat", {"strict": True})
        second = await rig.patch("models.chat", {"targets": ["b"]})
        third = await rig.patch("models.other", {"strict": True})
        await rig.revise.roll_back(second.id, "after", by())
        assert not rig.current.models["other"].strict
        assert len(rig.current.models["chat"].ranks) == 1
        await rig.revise.roll_back(second.id, "before", by())
        assert len(rig.current.models["chat"].ranks) == 2
        assert rig.current.models["chat"].strict
        assert (await rig.revise.roll_back(first.id, "after", by())).id == "", "it is so already"
        await rig.revise.roll_back(third.id, "after", by())
        assert rig.current.models["other"].strict
        assert len(rig.current.models["chat"].ranks) == 1
        await rig.revise.roll_back(first.id, "before", by())
        assert rig.current.base == ""
        with pytest.raises(Refused) as refused:
            await rig.revise.roll_back("nonsense", "before", by())
        assert refused.value.status == 404

    go(test())


def test_rollback_over_another_file(tmp_path: Path) -> None:
    async def test() -> None:
        rig = Rig(tmp_path)
        first = await rig.patch("models.chat", {"targets": ["b"]})
        await rig.revise.drop(by())
        async with rig.running():
            rig.write("targets: [a, b]", "targets: [a]")
            await eventually(lambda: len(rig.current.models["chat"].ranks) == 1)
            with pytest.raises(Refused) as refused:
                await rig.revise.roll_back(first.id, "after", by())
            assert refused.value.code == "conflict"
            assert refused.value.problems[0]["path"] == "models.chat.targets"

    go(test())


# several workers


def test_another_worker_follows(tmp_path: Path) -> None:
    async def test() -> None:
        first, second = Rig(tmp_path, workers=2), Rig(tmp_path, worker=1, workers=2)
        async with first.running(), second.running():
            done = await first.patch("models.chat", {"strict": True})
            assert (done.reaches, done.waiting) == ("this pod", ())
            assert second.current.models["chat"].strict
            assert second.current.digest == first.current.digest

    go(test())


def test_a_worker_that_does_not_follow_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.admin.revise.FOLLOW_WITHIN", 0.01)

    async def test() -> None:
        rig = Rig(tmp_path, workers=3)
        Rig(tmp_path, worker=1, workers=3)
        done = await rig.patch("models.chat", {"strict": True})
        assert done.waiting == (1, 2)

    go(test())
