"""Registry files for tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from extproc.__main__ import main

REGISTRY = """\
version: 1
providers:
  openai: {kind: openai, credentials: {k1: {env: OPENAI_KEY_1}, k2: {env: OPENAI_KEY_2}}}
  claude: {kind: anthropic, credential: {env: CLAUDE_KEY}}
  google: {kind: gemini, credential: {env: GOOGLE_KEY}}
  local: {kind: openai-compatible, url: "http://127.0.0.1:8000/base/v1"}
targets:
  gpt: {provider: openai, model: gpt-4o}
  sonnet: {provider: claude, model: claude-sonnet-4-5, set_headers: {anthropic-beta: context-1m-2025-08-07}}
  flash: {provider: google, model: gemini-2.5-flash}
  llama: {provider: local, model: llama-3.3-70b, capabilities: {vision: false, tools: false}}
  any: {provider: openai, model: "*"}
models:
  chat: {aliases: [claude-sonnet-4-5], targets: [gpt, sonnet, flash, llama]}
  canary: {targets: [{gpt: 50, sonnet: 50}]}
  careful: {targets: [gpt, sonnet], strict: true}
  exact: {targets: [sonnet], strict: true}
  short: {targets: [gpt, sonnet, flash], attempts: {total: 2}}
  small: {targets: [llama]}
  "gpt-*": {targets: [any]}
"""


def write(directory: Path, text: str = REGISTRY) -> Path:
    file = directory / "registry.yaml"
    file.write_text(text)
    return file


def run(capsys: pytest.CaptureFixture[str], *line: object) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of a command line."""
    code = main([str(part) for part in line])
    out, err = capsys.readouterr()
    return code, out, err
