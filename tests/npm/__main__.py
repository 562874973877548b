"""`python -m tests.npm [NAME ...]`: see the package."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from extproc.simulator import Simulator
from extproc.stages.services import Options
from tests.e2e.stack import Stack, running_stack
from tests.npm.clients import CLIENTS, Client
from tests.npm.conversation import Outcome, converse
from tests.npm.install import InstallError, install

PROVIDERS = {
    "openai_chat": ("openai", "openai_chat", "/v1", "gpt-5-mini", "api: chat"),
    "openai_responses": ("openai", "openai_chat", "/v1", "gpt-5-mini", "api: responses"),
    "anthropic_messages": ("anthropic", "anthropic_messages", "/v1", "claude-sonnet-4-5", ""),
    "gemini": ("gemini", "gemini", "/v1beta", "gemini-3-pro-preview", ""),
}
"""Who serves, by the dialect: kind, simulator, path, model, and what narrows the target to the dialect."""
_NAME = "provider"
_KEY = "sk-secret-of-provider-0123456789"
_OPTIONS = Options(expose_losses=True, show_alias=True)
"""Claude Code sends signed thinking back only with answers of the model that it asked for, by name."""
_TIMES = "timeouts: {unary_attempt: 30s, first_token: 30s, stall: 30s, deadline: 60s}"


def registry_text(dialect: str) -> Callable[[Mapping[str, Simulator], Path], str]:
    """Whatever model a client asks for, the one provider serves it."""
    kind, _, path, model, narrowed = PROVIDERS[dialect]

    def text(sims: Mapping[str, Simulator], directory: Path) -> str:
        names = "\n".join(f'  "{name}-*": {{targets: [{_NAME}], {_TIMES}}}' for name in ("claude", "gemini", "gpt"))
        return (
            "version: 1\n"
            f'providers:\n  {_NAME}: {{kind: {kind}, url: "{sims[_NAME].url}{path}", credential: {{file: {directory}/keys/{_NAME}}}}}\n'
            f"targets:\n  {_NAME}: {{{', '.join(filter(None, (f'provider: {_NAME}, model: {model}', narrowed)))}}}\n"
            f"models:\n{names}\n"
        )

    return text


def main(names: list[str]) -> int:
    """0 if every client did it, 1 if not, 2 if they are not there."""
    chosen = [client for client in CLIENTS if not names or any(name.lower() in client.name.lower() for name in names)]
    if not chosen:
        print(f"no client is called so; there are: {'; '.join(client.name for client in CLIENTS)}", file=sys.stderr)
        return 2
    try:
        installed = install()
    except InstallError as error:
        print(error, file=sys.stderr)
        return 2
    wide = max(len(client.name) for client in chosen) + 2
    print(f"{'client':{wide}}{'speaks':20}{'served by':20}{'seconds':>7}  what happened")
    failed = 0
    for dialect, (_, simulator, *_) in PROVIDERS.items():
        with running_stack(registry_text(dialect), {_NAME: simulator}, {_NAME: _KEY}, options=_OPTIONS) as stack:
            for client in chosen:
                if client.dialect != dialect:
                    failed += bool(_shown(client, stack, dialect, installed, wide).problems)
    print(f"{failed} failed" if failed else "all of them did it")
    return int(failed > 0)


def _shown(client: Client, stack: Stack, dialect: str, installed: Path, wide: int) -> Outcome:
    outcome = converse(client, stack, _NAME, dialect, installed)
    print(f"{client.name:{wide}}{client.dialect:20}{dialect:20}{outcome.seconds:7.1f}  {outcome.told}", flush=True)
    if outcome.problems:
        print("\n".join(f"    {line}" for line in outcome.output.splitlines()))
    return outcome


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
