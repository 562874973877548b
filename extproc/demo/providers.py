"""The demo's providers, each a simulator in this process, and the registry that routes to them.

Those of whole vendors stay healthy, for the reader to play with afterwards. The ones with a region are made to fail, each in one scene: a failing
provider is remembered (it cools down, or Envoy ejects it), and no scene should depend on how long ago the one before it was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from extproc.simulator.server import Simulator

KEY_VARIABLE = "EXTPROC_DEMO_KEY"
"""Where Envoy finds the key that the simulators accept. The applications do not have it."""
TOKENS_PER_SECOND = 40.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A provider kind of the registry: the dialect that it speaks, the path of its base URL, the model that is asked for; further keys of it, and of
    its target."""

    name: str
    dialect: str
    base_path: str
    model: str
    more: str = ""
    facts: str = ""


OPENAI = Kind("openai", "openai_chat", "/v1", "gpt-4o")
ANTHROPIC = Kind("anthropic", "anthropic_messages", "/v1", "claude-sonnet-4-5")
GEMINI = Kind("gemini", "gemini", "/v1beta", "gemini-2.5-flash")
BEDROCK = Kind("bedrock", "bedrock_converse", "", "amazon.nova-lite-v1:0", "region: eu-central-1, ")
COHERE = Kind("cohere", "cohere_chat", "", "command-a-03-2025")
OLLAMA = Kind("ollama", "ollama_chat", "", "llama3.2", facts=", usd_per_million_tokens: {input: 0, output: 0}")

PROVIDERS: dict[str, Kind] = {
    "openai": OPENAI,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "bedrock": BEDROCK,
    "cohere": COHERE,
    "ollama": OLLAMA,
    "openai-eu": OPENAI,
    "openai-us": OPENAI,
    "anthropic-eu": ANTHROPIC,
    "gemini-eu": GEMINI,
    "openai-ap": OPENAI,
    "anthropic-ap": ANTHROPIC,
    "gemini-ap": GEMINI,
    "bedrock-frankfurt": replace(BEDROCK, more=f"{BEDROCK.more}data_stays_in: [eu], "),
    "gemini-paris": replace(GEMINI, more="data_stays_in: [eu], "),
    "openai-a": OPENAI,
    "openai-b": OPENAI,
    "openai-c": OPENAI,
}
"""Provider name to kind. Each has a target of its own name."""

_TARGETS = """\
  openai-responses: {provider: openai, model: gpt-4o, api: responses}
  gpt-4o-mini: {provider: openai, model: gpt-4o-mini}
  gemini-embed: {provider: gemini, model: gemini-embedding-001, usd_per_million_tokens: {input: 0.15, output: 0}}
"""
"""Further ones."""

_MODELS = """\
defaults:
  timeouts: {first_token: 1s, unary_attempt: 10s, deadline: 20s}
models:
  chat:                  # one item is one rank: the order of fallback
    aliases: [gpt-4o, claude-sonnet-4-5]
    targets: [openai, anthropic, gemini]
  claude: {targets: [anthropic]}
  claude-exact: {targets: [anthropic], strict: true}
  gemini: {targets: [gemini]}
  gpt: {targets: [openai]}
  gpt-responses: {targets: [openai-responses]}
  nova: {targets: [bedrock]}
  command: {targets: [cohere]}
  llama: {targets: [ollama]}
  vectors: {targets: [gemini-embed]}
  drill-429: {targets: [openai-eu, anthropic]}
  drill-503: {targets: [anthropic-eu, gemini]}
  drill-silence: {targets: [gemini-eu, openai]}
  drill-error: {targets: [openai-us, anthropic]}
  drill-all-down:
    targets: [openai-ap, anthropic-ap, gemini-ap]
    attempts: {total: 3, same_target: 0}
  assistant:
    targets: [anthropic, gpt-4o-mini]
    rules:
      - {name: short, when: {prompt_tokens: {below: 20}}, rank_by: cost}
  eu-only:
    targets: [bedrock-frankfurt, gemini-paris, openai, anthropic]
    require: {data_stays_in: [eu]}
    last_resort: false
  metered: {targets: [anthropic]}
  frugal: {targets: [ollama]}
  support: {targets: [openai, gemini]}
  quickest:
    targets: [openai-a, openai-b, openai-c]
    rank_by: latency
limits:
  - {for: {model: metered}, requests_per_minute: 2, instead: frugal}
  - {for: {model: frugal}, requests_per_minute: 1}
"""


def simulators(key: str) -> dict[str, Simulator]:
    """One per provider, not started, that accepts only `key`."""
    return {name: Simulator(name, kind.dialect, keys=[key], tokens_per_second=TOKENS_PER_SECOND) for name, kind in PROVIDERS.items()}


def registry_yaml(started: Mapping[str, Simulator]) -> str:
    """The registry file. The simulators have their ports."""
    lines = ["version: 1", "providers:"]
    lines += [
        f'  {name}: {{kind: {kind.name}, url: "{started[name].url}{kind.base_path}", {kind.more}credential: {{env: {KEY_VARIABLE}}}}}'
        for name, kind in PROVIDERS.items()
    ]
    lines.append("targets:")
    lines += [f'  {name}: {{provider: {name}, model: "{kind.model}"{kind.facts}}}' for name, kind in PROVIDERS.items()]
    return "\n".join(lines) + "\n" + _TARGETS + _MODELS


def excerpt(names: Collection[str]) -> list[str]:
    """The lines of these entries, models or top-level keys, as they stand in the registry."""
    lines: list[str] = []
    indent = -1
    for line in _MODELS.splitlines():
        depth = len(line) - len(line.lstrip())
        if depth <= indent:
            indent = -1
        if indent < 0 and line.lstrip().partition(":")[0] in names:
            indent = depth
        if indent >= 0:
            lines.append(line[indent:])
    return lines
