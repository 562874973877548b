"""The help of every command, and what a wrong command line gets."""

import argparse

import pytest

from extproc.__main__ import COMMANDS, main, parser_for


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: extproc {command} ")
    sub = next(a for a in parser_for(command)._actions if isinstance(a, argparse._SubParsersAction)).choices[command]
    silent = [action.dest for action in sub._actions if not action.help and action.choices is None]
    assert silent == []
    assert len(sub._actions) > 1
    assert sub.description.endswith(".")
    for action in (choice for a in sub._actions if isinstance(a, argparse._SubParsersAction) for choice in a.choices.values()):
        assert action.description.endswith(".")
        assert [a.dest for a in action._actions if not a.help] == []


def test_the_list_of_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for command, (_, text) in COMMANDS.items():
        assert command in out
        assert text.split()[0] in out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ([], "required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["up"], "required: --registry"),
        (["up", "--registry", "r.yaml", "--workers", "0"], "a number from 1 to 64"),
        (["up", "--registry", "r.yaml", "--max-body", "2GB"], "MiB, from 1 to 1000"),
        (["demo", "--port", "70000"], "a number from 0 to 65535"),
        (["demo", "--pause", "-1"], "seconds, from 0 to 3600"),
        (["demo", "--nice"], "unrecognized arguments: --nice"),
        (["explain", "body.json"], "required: --registry"),
    ],
)
def test_wrong_usage_is_2(line: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
