"""The whole system with one upstream that plays answers back, as a provider of every kind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from extproc.edge import call as edge_call
from tests.e2e.caller import Caller
from tests.e2e.callers import GenaiArray, all_callers
from tests.e2e.replay_upstream import ReplayUpstream, running_replay
from tests.e2e.stack import Stack, running_stack

KINDS: dict[tuple[str, str], str] = {
    ("openai_chat", "openai"): "kind: openai, url: URL/v1 | model: gpt-4o, api: chat",
    ("openai_chat", "azure"): "kind: azure-openai, url: URL, credential: KEY | model: gpt-4o, api: chat",
    ("openai_chat", "mistral"): "kind: mistral, url: URL/v1 | model: mistral-large-latest",
    ("openai_chat", "groq"): "kind: groq, url: URL/openai/v1 | model: llama-3.3-70b-versatile",
    ("openai_chat", "deepseek"): "kind: deepseek, url: URL | model: deepseek-chat",
    ("openai_chat", "xai"): "kind: xai, url: URL/v1 | model: grok-3",
    ("openai_chat", "openrouter"): "kind: openrouter, url: URL/api/v1 | model: openai/gpt-4o",
    ("openai_chat", "ollama"): "kind: ollama, url: URL | model: llama3, api: chat",
    ("openai_responses", ""): "kind: openai, url: URL/v1 | model: gpt-5, api: responses",
    ("anthropic_messages", "anthropic"): "kind: anthropic, url: URL/v1 | model: claude-sonnet-4-5",
    ("anthropic_messages@bedrock", "bedrock"): "kind: bedrock, region: eu-central-1, url: URL | model: anthropic.claude-3-haiku-20240307-v1:0",
    (
        "anthropic_messages@vertex",
        "vertex",
    ): "kind: vertex, project: acme-prod, location: europe-west4, url: URL, credential: KEY | model: claude-sonnet-4-5",
    ("bedrock_converse", "bedrock"): "kind: bedrock, region: eu-central-1, url: URL | model: amazon.nova-pro-v1:0",
    ("gemini", "gemini"): "kind: gemini, url: URL/v1beta | model: gemini-2.5-flash",
    ("cohere_chat", "cohere"): "kind: cohere, url: URL | model: command-a-03-2025",
    ("ollama_chat", "ollama"): "kind: ollama, url: URL | model: llama3, api: ollama",
}
"""How a recording's provider is written in a registry: | stands between the provider and its target."""


_NO_EJECTION = "{outlier_detection: {enforcing_consecutive_5xx: 0, enforcing_consecutive_gateway_failure: 0, enforcing_success_rate: 0}}"


def model_of(dialect: str, provider: str) -> str:
    key = (dialect, provider) if (dialect, provider) in KINDS else (dialect, "")
    return "-".join(part for part in re.split(r"[^a-z]+", " ".join(key)) if part)


@dataclass
class Replaying:
    stack: Stack
    upstream: ReplayUpstream
    callers: dict[str, Caller]
    direct: dict[str, Caller]
    """The same SDKs at the upstream itself."""


@contextmanager
def running_replaying() -> Iterator[Replaying]:
    with running_replay() as upstream:

        def registry(sims: Mapping[str, object], directory: Path) -> str:
            (directory / "keys" / "any").write_text("any-key")
            providers, targets, models = [], [], []
            for key, kind in KINDS.items():
                provider, _, target = kind.replace("URL", upstream.url).replace("KEY", f"{{file: {directory}/keys/any}}").partition(" | ")
                name = model_of(*key)
                providers.append(f"  {name}: {{{provider}, envoy: {_NO_EJECTION}}}")
                targets.append(f"  {name}: {{provider: {name}, {target}}}")
                models.append(f"  {name}: {{targets: [{name}], attempts: {{total: 1}}}}")
            return "\n".join(["version: 1", "providers:", *providers, "targets:", *targets, "models:", *models, ""])

        event_of = edge_call.event_of

        def watched(message: Any) -> Any:
            if message.response_body.body:
                upstream.arrived(message.response_body.body)
            return event_of(message)

        # under the stack's own look at what it is shown
        with (
            patch.object(edge_call, "event_of", watched),
            running_stack(registry, {}, {}) as stack,
            all_callers(stack.url) as callers,
            all_callers(upstream.url) as direct,
        ):
            arrays = GenaiArray(stack.url), GenaiArray(upstream.url)
            yield Replaying(stack, upstream, callers | {GenaiArray.name: arrays[0]}, direct | {GenaiArray.name: arrays[1]})
            for caller in arrays:
                caller.close()
