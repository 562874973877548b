"""What a good file becomes: values, defaults and what overrides them, and the complete example of the design."""

import os
import re
from datetime import date
from pathlib import Path

import pytest
import yaml

from extproc.core.usage import Price
from extproc.providers.kinds import KINDS, QUIRKS
from extproc.registry import chains, load
from extproc.registry.load import RegistryError, load_registry, parse_registry
from extproc.registry.policy import Limit, Require
from extproc.registry.types import Attempts, Commit, Credential, Passthrough, Rank, Timeouts

ROOT = Path(__file__).parents[2]
DESIGN = ROOT.parent / "shared" / "design.md"
DAY = date(2026, 10, 20)

FULL = """
version: 1
providers:
  openai: {kind: openai, credentials: {a: {file: /secrets/openai-a}, b: {file: keys/openai-b}, c: {file: ../up}}}
  claude: {kind: anthropic, credential: {env: ANTHROPIC_API_KEY}, envoy: {connect_timeout: 2s}}
  google: {kind: gemini, url: "https://proxy.example:8443/gemini/v1beta/", credential: none}
  vllm: {kind: openai-compatible, url: "http://[::1]:8000", data_stays_in: [eu, de], quirks: [no_stream_options]}
targets:
  gpt-4o: {provider: openai, model: gpt-4o}
  sonnet:
    provider: claude
    model: claude-sonnet-4-5
    set_headers: {Anthropic-Beta: "context-1m-2025-08-07"}
    envoy: {outlier_detection: {consecutive_5xx: 3}, a: [1, 2.5, true, null, text]}
  flash: {provider: google, model: gemini-2.5-flash, context_window: 4_000, max_output_tokens: 2000}
  llama:
    provider: vllm
    model: meta/llama-3.3-70b
    capabilities: {vision: false, tools: true}
    usd_per_million_tokens: {input: 0, output: 0.5, cache_read: 0.1}
  any: {provider: openai, model: "*"}
defaults:
  timeouts: {first_token: 1500ms, deadline: 2m}
  attempts: {total: 3, same_target: 2, wait_at_most: 0s}
  strict: true
models:
  chat:
    aliases: [gpt-4o, "claude-*"]
    rank_by: order
    targets: [{gpt-4o: 95, any: 0.5}, sonnet]
    timeouts: {stall: 0.5h}
    attempts: {total: 2, same_target: 1}
    commit: complete
    strict: false
  small: {targets: [llama], timeouts: {deadline: 1s, first_token: 0.5s}}
"""


@pytest.fixture(scope="module")
def registry():
    return parse_registry(FULL.encode(), "/etc/llm/registry.yaml", DAY)


def test_providers(registry) -> None:
    openai, claude, google, vllm = (registry.providers[n] for n in ("openai", "claude", "google", "vllm"))
    assert (openai.scheme, openai.host, openai.port, openai.base_path) == ("https", "api.openai.com", 443, "/v1")
    assert openai.credentials == (
        Credential("a", file="/secrets/openai-a"),
        Credential("b", file="/etc/llm/keys/openai-b"),
        Credential("c", file="/etc/up"),
    )
    assert claude.credentials == (Credential(env="ANTHROPIC_API_KEY"),)
    assert claude.kind is KINDS["anthropic"]
    assert claude.envoy == {"connect_timeout": "2s"}
    assert (google.scheme, google.host, google.port, google.base_path) == ("https", "proxy.example", 8443, "/gemini/v1beta")
    assert google.credentials == (Credential(),)
    assert (vllm.scheme, vllm.host, vllm.port, vllm.base_path) == ("http", "::1", 8000, "")
    assert vllm.credentials == (Credential(),)
    assert vllm.data_stays_in == {"eu", "de"}
    assert vllm.quirks == KINDS["openai-compatible"].quirks | {"no_stream_options"}


def test_targets(registry) -> None:
    assert registry.targets["gpt-4o"].clusters == ("gpt-4o@a", "gpt-4o@b", "gpt-4o@c")
    sonnet, flash, llama = (registry.targets[n] for n in ("sonnet", "flash", "llama"))
    assert sonnet.clusters == ("sonnet",)
    assert sonnet.set_headers == (("anthropic-beta", "context-1m-2025-08-07"),)
    assert sonnet.envoy == {"outlier_detection": {"consecutive_5xx": 3}, "a": [1, 2.5, True, None, "text"]}
    assert (flash.facts.context_window, flash.facts.max_output_tokens) == (4000, 2000)
    assert flash.facts.vendor == "gemini"
    assert llama.capabilities == {"vision": False, "tools": True}
    assert llama.price == Price(0.0, 0.5, 0.1)
    assert llama.facts.quirks == registry.providers["vllm"].quirks
    assert llama.facts.quirks <= set(QUIRKS)


def test_models(registry) -> None:
    chat, small = registry.models["chat"], registry.models["small"]
    assert chat.ranks == (Rank((("gpt-4o", 95.0), ("any", 0.5))), Rank((("sonnet", 1.0),)))
    assert chat.timeouts == Timeouts(first_token=1.5, stall=1800.0, deadline=120.0)
    assert chat.attempts == Attempts(total=2, same_target=1, wait_at_most=0.0)
    assert (chat.commit, chat.strict) == (Commit.COMPLETE, False)
    assert small.timeouts == Timeouts(first_token=0.5, deadline=1.0)
    assert (small.commit, small.strict) == (Commit.FIRST_TOKEN, True)
    assert registry.resolve("claude-x") is chat
    assert registry.resolve("sonnet") is None
    assert registry.cluster_target("gpt-4o@b") is registry.targets["gpt-4o"]


def test_identity_of_the_file(registry) -> None:
    assert re.fullmatch("[0-9a-f]{12}", registry.digest)
    assert registry.path == "/etc/llm/registry.yaml"
    assert parse_registry(FULL.encode() + b"\n", "x.yaml", DAY).digest != registry.digest
    assert parse_registry(FULL.encode(), "/etc/llm/registry.yaml", DAY) == registry


def test_limits_that_nobody_wrote_follow_a_short_deadline() -> None:
    text = FULL.replace("{first_token: 1500ms, deadline: 2m}", "{deadline: 3s}").replace(", wait_at_most: 0s", "").replace(", first_token: 0.5s", "")
    models = parse_registry(text.encode(), "r.yaml", DAY).models
    assert (models["chat"].timeouts.first_token, models["chat"].attempts.wait_at_most) == (3.0, 3.0)
    assert (models["small"].timeouts.first_token, models["small"].attempts.wait_at_most) == (1.0, 1.0)


def test_load_resolves_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "r.yaml").write_text(FULL)
    monkeypatch.chdir(tmp_path)
    registry = load_registry(Path("conf/r.yaml"), DAY)
    assert registry.path == os.path.join("conf", "r.yaml")
    assert registry.providers["openai"].credentials[1].file == str(tmp_path / "conf" / "keys" / "openai-b")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    with pytest.raises(RegistryError) as caught:
        load_registry(missing)
    assert str(caught.value) == f"{missing}: cannot be read: No such file or directory"
    with pytest.raises(RegistryError):
        load_registry(tmp_path)


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    big = tmp_path / "big.yaml"
    big.write_bytes(FULL.encode() + b"#" * (1 << 20))
    with pytest.raises(RegistryError, match="is larger than 1 MiB"):
        load_registry(big)


def test_the_example_that_ships() -> None:
    registry = load_registry(ROOT / "envoy" / "registry.example.yaml")
    assert {p.kind.name for p in registry.providers.values()} == set(KINDS)
    assert all(c.file is None for p in registry.providers.values() for c in p.credentials)
    unpriced = {t.name for t in registry.targets.values() if t.price is None and t.model != "*"}
    assert not unpriced
    assert {m.commit for m in registry.models.values()} == set(Commit)
    for name in ("gpt-4o", "claude-sonnet-4-5-20250929", "gpt-5", "gemini-2.5-pro", "private"):
        assert registry.resolve(name) is not None


def test_what_is_commented_out_in_the_example_is_valid_and_complete() -> None:
    text = (ROOT / "envoy" / "registry.example.yaml").read_text()
    whole = re.sub(r"(?m)^( *)#(?! )", r"\1", text)
    registry = parse_registry(whole.encode(), "/etc/llm/registry.yaml", DAY)
    written = yaml.safe_load(whole)
    assert set(load.SECTIONS) == written.keys()
    assert set(chains.SETTINGS) | {"rules", "shadow"} <= {key for model in (*written["models"].values(), written["defaults"]) for key in model}
    assert {limit.instead for limit in registry.limits} == {"", "fast"}
    assert registry.state is not None
    assert registry.targets["gpt-4o-mini"].drained
    chat = registry.models["chat"]
    assert [rule.name for rule in chat.rules] == ["rule1", "code", "pictures", "night", "premium"]
    assert registry.tenants["acme"].models.permits("gpt-4o")


def design() -> str:
    if not DESIGN.exists():
        pytest.skip("needs ../shared/design.md")
    return next(b for b in re.findall(r"```yaml\n(.*?)```", DESIGN.read_text(), re.DOTALL) if b.startswith("version:"))


def test_the_design_needs_its_money_budget_shared_and_the_newer_spelling() -> None:
    with pytest.raises(RegistryError) as caught:
        parse_registry(design().encode(), "design.yaml", DAY)
    hints = {p.path: p.suggestion for p in caught.value.problems}
    assert hints.keys() == {"limits[1].when_exceeded", "limits[1].usd_per_month"}
    assert hints["limits[1].when_exceeded"] == "use instead: eu-contracts"
    assert "scope: process" in (hints["limits[1].usd_per_month"] or "")


def test_the_design() -> None:
    text = design().replace("when_exceeded: {use_model: eu-contracts}", "instead: eu-contracts, scope: process")
    registry = parse_registry(text.encode(), "design.yaml", DAY)
    assert list(registry.models) == ["chat", "eu-contracts", "gpt-*"]
    assert registry.targets["gpt-4o-mini"].clusters == ("gpt-4o-mini@a", "gpt-4o-mini@b")
    assert registry.resolve("claude-sonnet-4-5-20250929") is registry.models["chat"]
    assert registry.models["chat"].timeouts == Timeouts(120.0, 20.0, 30.0, 60.0)
    assert [u.base_path for u in registry.targets["gpt-4o-azure"].upstreams if u.dialect == "openai_chat"] == ["/openai/deployments/prod-4o"]
    assert registry.providers["bedrock-eu"].host == "bedrock-runtime.eu-central-1.amazonaws.com"
    assert registry.passthrough == (Passthrough("/v1/files/**", "openai-any@a"),)
    assert [rule.name for rule in registry.models["chat"].rules] == ["short", "code", "digest", "premium"]
    assert registry.models["eu-contracts"].require == Require(frozenset({"eu"}))
    assert registry.identity.otherwise == {"tier": "standard"}
    assert registry.limits == (
        Limit("limits[0]:tenant=*", (("tenant", "*"),), requests_per_minute=600.0, tokens_per_minute=200000.0),
        Limit("limits[1]:tenant=acme", (("tenant", "acme"),), usd_per_month=500.0, instead="eu-contracts", shared=False),
    )
