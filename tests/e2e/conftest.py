"""One stack for all tests that can share it: ten providers, a model for every chain that they need, limits short enough to be reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from extproc.simulator import Simulator
from tests.e2e.every_sdk import SDKS
from tests.e2e.sdks import Sdk
from tests.e2e.stack import Stack, running_stack

DIALECTS = {
    "oa": "openai_chat",
    "ob": "openai_chat",
    "an": "anthropic_messages",
    "am": "anthropic_messages",
    "ge": "gemini",
    "re": "openai_chat",
    "be": "bedrock_converse",
    "bi": "bedrock_converse",
    "co": "cohere_chat",
    "ol": "ollama_chat",
}
"""The simulated providers: two of OpenAI's chat and of Anthropic's, and one of each other format; `re` is asked by Responses, `bi` by InvokeModel."""
AWS = ("be", "bi")
KEYS = {name: f"accesskeyof{name}" if name in AWS else f"sk-secret-of-{name}-0123456789" for name in DIALECTS}
KINDS = {
    "openai_chat": ("openai", "/v1"),
    "anthropic_messages": ("anthropic", "/v1"),
    "gemini": ("gemini", "/v1beta"),
    "bedrock_converse": ("bedrock", ""),
    "cohere_chat": ("cohere", ""),
    "ollama_chat": ("ollama", ""),
}
MODELS = {
    "openai_chat": "gpt-4o",
    "anthropic_messages": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
    "bedrock_converse": "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "cohere_chat": "command-a-03-2025",
    "ollama_chat": "llama3.2",
}
APIS = {"oa": "chat", "ob": "chat", "re": "responses", "be": "converse", "bi": "invoke", "ol": "ollama"}
FIRST = {"oa": "am", "an": "ob", "ge": "ob", "re": "am", "be": "ob", "bi": "ob", "co": "am", "ol": "am"}
"""A first provider of each dialect, and the next one, which never fails."""

# ejection has a test of its own; here it would only let tests disturb each other
_NO_EJECTION = "{outlier_detection: {enforcing_consecutive_5xx: 0, enforcing_consecutive_gateway_failure: 0, enforcing_success_rate: 0}}"
_EJECTION = (
    "{outlier_detection: {consecutive_5xx: 2, enforcing_consecutive_5xx: 100, consecutive_gateway_failure: 0, "
    "interval: 0.2s, base_ejection_time: 0.5s, max_ejection_time: 1s}}"
)


def registry_text(sims: Mapping[str, Simulator], directory: Path) -> str:
    """Target names are the providers' names; `first-next` is a model with that chain, `…-complete` the same held until whole."""
    providers, targets, models = [], [], []
    for name, sim in sims.items():
        kind, path = KINDS[sim.dialect]
        key = f"{{file: {directory}/keys/{name}}}"
        credential = f"{{aws: {key}}}, region: eu-central-1" if name in AWS else key
        providers.append(f'  {name}: {{kind: {kind}, url: "{sim.url}{path}", credential: {credential}, envoy: {_NO_EJECTION}}}')
        api = f", api: {APIS[name]}" if name in APIS else ""
        targets.append(f'  {name}: {{provider: {name}, model: "{MODELS[sim.dialect]}"{api}}}')
        # pairs: nothing is meant to be slow, so a busy machine has time
        models.append(f"  {name}: {{targets: [{name}], timeouts: {{unary_attempt: 20s, first_token: 20s, stall: 20s, deadline: 25s}}}}")
    chains = [*FIRST.items(), ("oa", "an"), ("an", "oa"), ("an", "ge"), ("ge", "oa")]
    models += [f"  {first}-{following}: {{targets: [{first}, {following}]}}" for first, following in chains]
    models += [f"  {first}-{following}-complete: {{targets: [{first}, {following}], commit: complete}}" for first, following in chains]
    # its key file is not there at the start
    providers.append(f'  late: {{kind: openai, url: "{sims["oa"].url}/v1", credential: {{file: {directory}/keys/late}}, envoy: {_NO_EJECTION}}}')
    targets += [
        "  late: {provider: late, model: gpt-4o-late}",
        "  think: {provider: an, model: claude-sonnet-4-5}",
        "  gem3: {provider: ge, model: gemini-3-pro-preview}",
        "  reason: {provider: re, model: gpt-5-mini, api: responses}",
        "  small: {provider: oa, model: gpt-4o-small, context_window: 8000}",
        "  large: {provider: an, model: claude-large, context_window: 200000}",
        "  mute: {provider: oa, model: gpt-mute, capabilities: {tools: false}}",
        # bodies of 40 MB have more tokens than any window
        *(f'  wide-{name}: {{provider: {name}, model: "{MODELS[sims[name].dialect]}", context_window: 100_000_000}}' for name in ("oa", "ob", "an")),
        f"  fragile: {{provider: oa, model: gpt-fragile, envoy: {_EJECTION}}}",
    ]
    slow = "timeouts: {unary_attempt: 20s, first_token: 20s, stall: 20s, deadline: 25s}"
    models += [
        f"  think: {{targets: [think], {slow}}}",
        f"  gem3: {{targets: [gem3], {slow}}}",
        f"  reason: {{targets: [reason], {slow}}}",
        "  window: {targets: [small, ob, large]}",
        "  mute: {targets: [mute]}",
        "  fragile: {targets: [fragile, an]}",
        "  all-three: {targets: [oa, an, ge]}",
        "  hurried: {targets: [oa, an, ge, ob], timeouts: {unary_attempt: 0.4s, first_token: 0.4s, deadline: 0.9s}, attempts: {wait_at_most: 0s}}",
        f"  load: {{targets: [oa, an], {slow}}}",
        "  large-same: {targets: [wide-oa, wide-ob], timeouts: {unary_attempt: 60s, first_token: 60s, stall: 60s, deadline: 90s}}",
        "  large-cross: {targets: [wide-oa, wide-an], timeouts: {unary_attempt: 60s, first_token: 60s, stall: 60s, deadline: 90s}}",
        "  late-an: {targets: [late, an]}",
        "  strict: {targets: [ge], strict: true, aliases: [strict-alias, 'wild-*']}",
    ]
    return "\n".join(
        [
            "version: 1",
            "providers:",
            *providers,
            "targets:",
            *targets,
            "defaults:",
            "  timeouts: {unary_attempt: 1.5s, first_token: 1.5s, stall: 1.5s, deadline: 6s}",
            "  attempts: {total: 4, same_target: 1, wait_at_most: 1s}",
            "models:",
            *models,
            "",
        ]
    )


def aws_file(key: str) -> str:
    """A credentials file of AWS. The simulators look at the id alone: signatures are checked in tests of their own."""
    return f"[default]\naws_access_key_id = {key}\naws_secret_access_key = of-{key}\n"


@pytest.fixture(scope="session")
def shared() -> Iterator[Stack]:
    with running_stack(registry_text, DIALECTS, KEYS, files={name: aws_file(KEYS[name]) for name in AWS}) as stack:
        yield stack


@pytest.fixture
def stack(shared: Stack) -> Stack:
    shared.reset()
    return shared


@pytest.fixture(scope="session")
def sdks(shared: Stack) -> dict[str, Sdk]:
    return {name: sdk(shared.url) for name, sdk in SDKS.items()}


@pytest.fixture(params=["openai", "anthropic"])
def sdk(request: pytest.FixtureRequest, sdks: dict[str, Sdk]) -> Sdk:
    return sdks[request.param]


@pytest.fixture(params=[False, True], ids=["unary", "stream"])
def stream(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)
