"""Who may be served by what, through the real Envoy: requirements that hold while everything allowed is down, rules, tenants, limits, copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.simulator import FaultKind, Simulator
from tests.e2e.stack import Stack, running_stack, until

DIALECTS = {"eu": "openai_chat", "eu2": "anthropic_messages", "us": "openai_chat", "cheap": "openai_chat"}
KEYS = {name: f"sk-routing-{name}-0123456789" for name in DIALECTS}
KIND = {"openai_chat": ("openai", "/v1", "gpt-4o"), "anthropic_messages": ("anthropic", "/v1", "claude-sonnet-4-5")}


def registry_text(sims: Mapping[str, Simulator], directory: Path) -> str:
    providers, targets = [], []
    for name, sim in sims.items():
        kind, path, model = KIND[sim.dialect]
        stays = ", data_stays_in: [eu]" if name.startswith("eu") else ""
        providers.append(f'  {name}: {{kind: {kind}, url: "{sim.url}{path}", credential: {{file: {directory}/keys/{name}}}{stays}}}')
        targets.append(f"  {name}: {{provider: {name}, model: {model}}}")
    return "\n".join(
        [
            "version: 1",
            "identity: {tenant: {header: x-tenant}, tier: {header: x-tier}, otherwise: {tier: standard}}",
            "tenants:",
            "  private: {require: {data_stays_in: [eu]}}",
            "  visitor: {models: {allow: [any]}}",
            "providers:",
            *providers,
            "targets:",
            *targets,
            "defaults:",
            "  timeouts: {unary_attempt: 5s, first_token: 5s, stall: 5s, deadline: 10s}",
            "  attempts: {total: 6, same_target: 0}",
            "models:",
            "  any: {targets: [us, eu]}",
            "  contracts: {require: {data_stays_in: [eu]}, targets: [eu, us, eu2]}",
            "  ruled:",
            "    targets: [us, eu]",
            "    rules:",
            "      - {name: short, when: {prompt_tokens: {below: 50}, tools: false}, prefer: [cheap]}",
            "      - {name: premium, when: {tier: premium}, only: [eu]}",
            "  split: {targets: [{us: 50, eu: 50}], sticky_by: tenant}",
            "  few: {targets: [us]}",
            "  fewer: {targets: [us]}",
            "  copied: {targets: [us], shadow: {target: eu, share: 1}}",
            "limits:",
            "  - {for: {model: few}, requests_per_minute: 2}",
            "  - {for: {model: fewer}, requests_per_minute: 1, instead: contracts}",
            "",
        ]
    )


@pytest.fixture(scope="module")
def running() -> Iterator[Stack]:
    with running_stack(registry_text, DIALECTS, KEYS) as stack:
        yield stack


@pytest.fixture
def stack(running: Stack) -> Stack:
    running.reset()
    return running


def ask(stack: Stack, model: str, text: str = "Say hello", path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 50}
    return httpx.post(stack.url + path, json=body, headers=named, timeout=20)


def test_a_tenants_requirement_holds_where_the_model_has_none(stack: Stack) -> None:
    assert ask(stack, "any").headers["x-llm-target"] == "us"
    stack.reset()
    answer = ask(stack, "any", x_tenant="private")
    assert answer.headers["x-llm-target"] == "eu"
    stack.fault("eu", FaultKind.STATUS, status=503)
    assert ask(stack, "any", x_tenant="private").status_code in (502, 503)
    assert "us" not in stack.calls()


def test_a_tenant_gets_its_models_and_no_others(stack: Stack) -> None:
    refused = ask(stack, "ruled", x_tenant="visitor")
    assert refused.status_code == 403
    assert "ruled" in refused.json()["error"]["message"]
    assert ask(stack, "any", x_tenant="visitor").status_code == 200
    assert "cheap" not in stack.calls()


def test_rules_send_short_prompts_to_the_cheap_target_and_premium_to_one(stack: Stack) -> None:
    assert ask(stack, "ruled").headers["x-llm-target"] == "cheap"
    long = "word " * 200
    assert ask(stack, "ruled", long).headers["x-llm-target"] == "us"
    assert ask(stack, "ruled", long, x_tier="premium").headers["x-llm-target"] == "eu"
    ask(stack, "ruled", x_request_id="ruled-1")
    line = stack.lines.of("ruled-1")
    assert (line["rule"], line["rank_by"]) == ("short", "order")


def test_what_is_preferred_falls_back_and_what_is_restricted_does_not(stack: Stack) -> None:
    stack.fault("cheap", FaultKind.STATUS, status=503)
    assert ask(stack, "ruled").headers["x-llm-target"] == "us"
    stack.reset()
    stack.fault("eu", FaultKind.STATUS, status=503)
    assert ask(stack, "ruled", "word " * 200, x_tier="premium").status_code in (502, 503)
    assert set(stack.calls()) == {"eu"}


def test_a_split_keeps_its_tenants_and_gives_both_their_share(stack: Stack) -> None:
    served: dict[str, set[str]] = {}
    for _ in range(2):
        for i in range(24):
            answer = ask(stack, "split", x_tenant=f"tenant-{i}")
            served.setdefault(f"tenant-{i}", set()).add(answer.headers["x-llm-target"])
    assert all(len(targets) == 1 for targets in served.values())
    assert min(Counter(target for targets in served.values() for target in targets).values()) >= 4


def test_a_limit_is_said_in_the_callers_dialect_with_a_time_to_come_back(stack: Stack) -> None:
    answers = [ask(stack, "few") for _ in range(3)]
    assert [a.status_code for a in answers] == [200, 200, 429]
    refused = answers[-1]
    assert 0 < int(refused.headers["retry-after"]) <= 62
    assert refused.json()["error"]["type"] == "rate_limit_error" or refused.json()["error"]["code"]
    anthropic = ask(stack, "few", path="/v1/messages", anthropic_version="2023-06-01")
    assert (anthropic.status_code, anthropic.json()["error"]["type"]) == (429, "rate_limit_error")


def test_over_its_limit_a_model_gives_way_to_another_one(stack: Stack) -> None:
    first, second = ask(stack, "fewer"), ask(stack, "fewer", x_request_id="degraded-1")
    assert (first.headers["x-llm-target"], second.headers["x-llm-target"]) == ("us", "eu")
    assert stack.lines.of("degraded-1")["limited"] == "limits[1]:model=fewer"


def test_a_client_cannot_say_who_it_is_by_our_own_headers(stack: Stack) -> None:
    answer = ask(stack, "ruled", "word " * 200, x_llm_tier="premium", x_llm_shadow="e30=")
    assert answer.headers["x-llm-target"] == "us"


def test_a_copy_goes_to_the_other_target_and_knows_the_first(stack: Stack) -> None:
    answer = ask(stack, "copied", x_request_id="copied-1")
    assert answer.headers["x-llm-target"] == "us"
    until(lambda: stack.calls().get("eu"), "the copy arrives")
    until(lambda: any(b'"shadow":{' in line for line in stack.lines.raw), "the copy's line")
    line = next(line for line in stack.lines.raw if b'"shadow":{' in line)
    assert b'"target":"eu"' in line
    assert b'"request_id":"copied-1"' in line
    body = stack.received("eu")[-1].body
    assert b"Say hello" in (body if isinstance(body, bytes) else str(body).encode())
    # a copy is not copied
    assert stack.calls() == {"us": 1, "eu": 1}


def test_a_requirement_holds_while_every_allowed_target_is_down(stack: Stack) -> None:
    for name in ("eu", "eu2"):
        stack.fault(name, FaultKind.STATUS, status=503)
    # the last test: so many failures open our breaker and make Envoy eject both, and still nobody else is asked
    statuses = {ask(stack, "contracts").status_code for _ in range(12)}
    assert statuses <= {502, 503}
    assert "us" not in stack.calls()
    assert "cheap" not in stack.calls()
