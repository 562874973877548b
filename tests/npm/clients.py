"""The clients: how each is started without a terminal, kept offline, pointed at Envoy, and what its tools are called.

Only base URL, key, model and what keeps it offline are set. A home directory of its own, nothing of the caller's environment but the path.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.npm.script import Step

KEY = "the-applications-own-key"
QUESTION = "Tell me what first.txt and second.txt say."
_SHELL = "run cat second.txt"


@dataclass(frozen=True)
class Place:
    """Where a client runs: Envoy's `url`, the `installed` clients, a `home`, and a folder to `work` in with the files `first` and `second`."""

    url: str
    installed: Path
    home: Path
    work: Path
    first: str
    second: str

    def command(self, name: str) -> str:
        return str(self.installed / "node_modules" / ".bin" / name)


@dataclass(frozen=True)
class Start:
    """How to start a client, and the steps that its tools take."""

    argv: list[str]
    env: dict[str, str]
    steps: list[Step]


@dataclass(frozen=True)
class Client:
    """`start` prepares a place for it; `said` finds in its output what it shows its user. `streams`: does it ask for streams?"""

    name: str
    dialect: str
    start: Callable[[Place], Start]
    said: Callable[[str], str]
    streams: bool = True


def _claude_code(*model: str) -> Callable[[Place], Start]:
    def start(place: Place) -> Start:
        argv = [place.command("claude"), "-p", QUESTION, *model, "--allowedTools", "Bash(cat:*)", "Read", "--output-format", "json"]
        env = {
            "ANTHROPIC_BASE_URL": place.url,
            "ANTHROPIC_API_KEY": KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }
        steps = [
            Step([("Read", {"file_path": str(place.work / "first.txt")})], [place.first]),
            Step([("Bash", {"command": "cat second.txt", "description": _SHELL})], [place.second]),
        ]
        return Start(argv, env, steps)

    return start


def _codex(steps: Callable[[Place], list[Step]], *options: str) -> Callable[[Place], Start]:
    def start(place: Place) -> Start:
        settings = place.home / ".codex" / "config.toml"
        settings.parent.mkdir()
        # the sandbox is the machine's business, and the commands are ours
        settings.write_text(
            'model_provider = "envoy"\nsandbox_mode = "danger-full-access"\napproval_policy = "never"\ncheck_for_update_on_startup = false\n'
            "[analytics]\nenabled = false\n"
            f'[model_providers.envoy]\nname = "envoy"\nbase_url = "{place.url}/v1"\nwire_api = "responses"\nenv_key = "LLM_KEY"\n'
        )
        argv = [place.command("codex"), "exec", "--skip-git-repo-check", "--json", *options, QUESTION]
        return Start(argv, {"LLM_KEY": KEY}, steps(place))

    return start


def _commands(place: Place) -> list[Step]:
    return [Step([("exec_command", {"cmd": f"cat {name}.txt"})], [word]) for name, word in (("first", place.first), ("second", place.second))]


def _scripts(place: Place) -> list[Step]:
    """Its newest models write JavaScript, in a tool that takes free text, in a namespace."""
    call = 'const done = await tools.exec_command({cmd: "cat %s.txt"}); text(done.output ?? done);'
    return [Step([("functions__exec", {"input": call % name})], [word]) for name, word in (("first", place.first), ("second", place.second))]


def _gemini_cli(*model: str) -> Callable[[Place], Start]:
    def start(place: Place) -> Start:
        settings = place.home / ".gemini" / "settings.json"
        settings.parent.mkdir()
        offline = {"telemetry": {"enabled": False}, "privacy": {"usageStatisticsEnabled": False}, "general": {"enableAutoUpdate": False}}
        settings.write_text(json.dumps({**offline, "security": {"auth": {"selectedType": "gemini-api-key"}}}))
        argv = [place.command("gemini"), "-p", QUESTION, *model, "--yolo", "--skip-trust", "-o", "json"]
        env = {"GOOGLE_GEMINI_BASE_URL": place.url, "GEMINI_API_KEY": KEY, "NO_COLOR": "1"}
        steps = [
            Step([("read_file", {"file_path": str(place.work / "first.txt")})], [place.first]),
            Step([("run_shell_command", {"command": "cat second.txt", "description": _SHELL})], [place.second]),
        ]
        return Start(argv, env, steps)

    return start


def _ai_sdk(package: str, mode: str, model: str) -> Callable[[Place], Start]:
    def start(place: Place) -> Start:
        words = {f"{tool} {city}": f"{word}-{tool}-{city}" for city, word in (("Paris", place.first), ("Oslo", place.second)) for tool in _TOOLS}
        argv = ["node", str(place.installed / "ai_sdk.mjs"), package, mode, place.url, model, json.dumps(words)]
        # both tools at once, and then again
        steps = [Step([(tool, {"city": city}) for tool in _TOOLS], [words[f"{tool} {city}"] for tool in _TOOLS]) for city in ("Paris", "Oslo")]
        return Start(argv, {}, steps)

    return start


_TOOLS = ("get_weather", "get_time")


def _json(member: str) -> Callable[[str], str]:
    def said(out: str) -> str:
        document: Any = json.loads(out[out.index("{") :])
        return str(document[member])

    return said


def _messages(out: str) -> str:
    """Codex prints an event a line."""
    events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return "\n".join(item["text"] for item in items if item["type"] == "agent_message")


CLIENTS: list[Client] = [
    Client("Claude Code", "anthropic_messages", _claude_code(), _json("result")),
    Client("Claude Code, claude-sonnet-4-5", "anthropic_messages", _claude_code("--model", "claude-sonnet-4-5"), _json("result")),
    Client("Codex", "openai_responses", _codex(_scripts), _messages),
    # a model that it does not know: it then offers a web search, which outside a sandbox only OpenAI could make
    Client("Codex, gpt-5.1-codex", "openai_responses", _codex(_commands, "-m", "gpt-5.1-codex", "-c", 'web_search="disabled"'), _messages),
    Client("gemini-cli", "gemini", _gemini_cli(), _json("response")),
    Client("gemini-cli, gemini-2.5-pro", "gemini", _gemini_cli("-m", "gemini-2.5-pro"), _json("response")),
    *(
        Client(f"AI SDK {package}, {mode}", dialect, _ai_sdk(package, mode, model), _json("text"), streams=mode == "stream")
        for package, dialect, model in (
            ("openai-chat", "openai_chat", "gpt-5-mini"),
            ("openai-compatible", "openai_chat", "gpt-4o"),
            ("openai-responses", "openai_responses", "gpt-5-mini"),
            ("anthropic", "anthropic_messages", "claude-sonnet-4-5"),
            ("google", "gemini", "gemini-2.5-flash"),
        )
        for mode in ("stream", "generate")
    ),
]
