"""What the file says about choosing, and what it becomes: conditions that hold when they should, rankings with their defaults, requirements that only
get narrower, tenants, limits, identity, state."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.dialects.catalog import DIALECTS
from extproc.registry.conditions import VALUES
from extproc.registry.load import parse_registry
from extproc.registry.policy import (
    NOBODY,
    SIGNALS,
    Access,
    Affinity,
    Condition,
    Identity,
    IdentitySource,
    Limit,
    Objectives,
    Policy,
    RankBy,
    Require,
    Shadow,
    Shape,
    SignalValue,
    State,
    Tenant,
)
from extproc.registry.types import Registry

DAY = date(2026, 10, 20)
BASE = """
version: 1
identity: {tenant: {jwt_claim: org.id}, tier: {header: X-Tier}, user: {certificate: uri_san}, otherwise: {tier: standard, application: billing}}
providers:
  p: {kind: openai-compatible, url: "http://h/v1", data_stays_in: [eu], data_policy: [no_training, zero_retention]}
  q: {kind: openai-compatible, url: "http://h/v1", data_stays_in: [eu, us]}
targets:
  t: {provider: p, model: a, usd_per_million_tokens: {input: 1, output: 4}, quality: 0.5}
  u: {provider: q, model: b, concurrency: 4, requests_per_minute: 0.5, tokens_per_minute: 90_000, drained: true}
  v: {provider: p, model: "*"}
"""


def loaded(text: str) -> Registry:
    return parse_registry((BASE + textwrap.dedent(text)).encode(), "/etc/llm/r.yaml", DAY)


def rules(text: str) -> Registry:
    return loaded("models:\n  m:\n    targets: [t, u]\n    rules:\n" + textwrap.indent(textwrap.dedent(text), "      "))


def when(text: str) -> Condition:
    return rules(f"- {{when: {text}, prefer: [u]}}").models["m"].rules[0].when


class Fixed:
    """Signals that are given; the others are unknown."""

    def __init__(self, values: Mapping[str, SignalValue]) -> None:
        self.values = values

    def get(self, name: str) -> SignalValue:
        return self.values.get(name)


@pytest.mark.parametrize(
    ("condition", "signal", "holds", "not_"),
    [
        ("{prompt_tokens: {below: 50}}", "prompt_tokens", [0, 49, 49.9], [50, 51]),
        ("{prompt_tokens: {at_most: 50}}", "prompt_tokens", [0, 50], [50.1, 51]),
        ("{prompt_tokens: {above: 50}}", "prompt_tokens", [50.1, 51, 10**9], [0, 50]),
        ("{prompt_tokens: {at_least: 50}}", "prompt_tokens", [50, 51], [49, 49.9]),
        ("{prompt_tokens: {at_least: 50, below: 60}}", "prompt_tokens", [50, 59], [49, 60]),
        ("{prompt_tokens: {above: 50, not: 55}}", "prompt_tokens", [51, 54], [50, 55]),
        ("{prompt_tokens: {not: {at_least: 50, below: 60}}}", "prompt_tokens", [49, 60], [50, 59]),
        ("{prompt_tokens: {not: [1, 2]}}", "prompt_tokens", [0, 3], [1, 2]),
        ("{turns: 3}", "turns", [3, 3.0], [2, 4]),
        ("{turns: [1, 2.0]}", "turns", [1, 2], [3]),
        ("{complexity: {above: 0.5}}", "complexity", [0.51, 1], [0.5, 0]),
        ("{tools: true}", "tools", [True], [False]),
        ("{tools: {not: true}}", "tools", [False], [True]),
        ("{task: summarization}", "task", ["summarization"], ["summarize", ""]),
        ("{task: [summarization, code_*]}", "task", ["summarization", "code_", "code_generation"], ["code"]),
        ("{task: {not: code_*}}", "task", ["summarization"], ["code_review"]),
        ('{task: "*"}', "task", ["x", ""], []),
        ("{asked: {not: {not: gpt-4o}}}", "asked", ["gpt-4o"], ["gpt-4"]),
        ("{modalities: image}", "modalities", [frozenset({"image", "text"})], [frozenset({"text"}), frozenset()]),
        ("{modalities: [image, audio]}", "modalities", [frozenset({"audio"})], [frozenset({"text"})]),
        ("{modalities: {not: image}}", "modalities", [frozenset({"text"})], [frozenset({"image", "text"})]),
        ("{dialect: openai_*}", "dialect", ["openai_chat", "openai_responses"], ["gemini"]),
        ('{time: {between: ["08:00", "18:30"]}}', "time", [480, 1109], [479, 1110]),
        ("{time: {between: [22:00, 06:00]}}", "time", [1320, 1439, 0, 359], [360, 1319]),
        ('{time: {between: ["18:00", "24:00"]}}', "time", [1080, 1439], [1079, 0]),
        ('{time: {not: {between: ["08:00", "18:00"]}}}', "time", [0, 1080], [480]),
        ("{weekday: [sat, sun]}", "weekday", ["sat"], ["mon"]),
        ("{tier: premium}", "tier", ["premium"], ["standard"]),
    ],
)
def test_conditions(condition: str, signal: str, holds: list[Any], not_: list[Any]) -> None:
    found = when(condition)
    assert [v for v in holds if not found.holds(Fixed({signal: v}))] == []
    assert [v for v in not_ if found.holds(Fixed({signal: v}))] == []
    assert not found.holds(Fixed({})), "nothing is said of what is unknown"


@pytest.mark.parametrize(
    ("condition", "holds", "not_"),
    [
        ("{tools: true, stream: false}", [{"tools": True, "stream": False}], [{"tools": True}, {"tools": True, "stream": True}]),
        ("{any: [{tools: true}, {stream: true}]}", [{"tools": True}, {"stream": True}], [{}, {"tools": False, "stream": False}]),
        ("{all: [{tools: true}, {stream: true}]}", [{"tools": True, "stream": True}], [{"stream": True}]),
        ("{not: {tools: true}}", [{}, {"tools": False}], [{"tools": True}]),
        ("{not: {tools: true, stream: true}}", [{"tools": True}], [{"tools": True, "stream": True}]),
        (
            "{code: true, any: [{not: {tools: true}}, {all: [{tools: true}, {turns: {at_most: 2}}]}]}",
            [{"code": True}, {"code": True, "tools": True, "turns": 2}],
            [{}, {"code": True, "tools": True, "turns": 3}],
        ),
    ],
)
def test_nesting(condition: str, holds: list[dict[str, Any]], not_: list[dict[str, Any]]) -> None:
    found = when(condition)
    assert [v for v in holds if not found.holds(Fixed(v))] == []
    assert [v for v in not_ if found.holds(Fixed(v))] == []


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from(["below", "at_most", "above", "at_least"]))
def test_bounds_are_what_they_say(bound: int, value: int, name: str) -> None:
    expected = {"below": value < bound, "at_most": value <= bound, "above": value > bound, "at_least": value >= bound}
    if name == "below" and bound == 0:
        return
    assert when(f"{{turns: {{{name}: {bound}}}}}").holds(Fixed({"turns": value})) is expected[name]


def test_the_values_of_signals_are_all_there() -> None:
    assert set(VALUES["dialect"]) == {name.partition("@")[0] for name in DIALECTS}
    assert {s for s, (shape, _) in SIGNALS.items() if shape is Shape.WORDS} <= VALUES.keys()


def test_rules() -> None:
    model = rules(
        """
        - when: {prompt_tokens: {below: 50}}
          prefer: [u]
        - {name: night, when: {time: {between: ["22:00", "06:00"]}}, only: [v, t], rank_by: cost}
        - {rank_by: {latency: 2, cost: 0.5}}
        """
    ).models["m"]
    assert [(r.name, r.prefer, r.only, r.rank_by) for r in model.rules] == [
        ("rule1", ("u",), (), None),
        ("night", (), ("v", "t"), RankBy(Policy.COST)),
        ("rule3", (), (), RankBy(Policy.SCORE, (("latency", 2.0), ("cost", 0.5)))),
    ]
    assert model.rules[2].when.holds(Fixed({}))


def test_targets() -> None:
    registry = loaded("models: {m: {targets: [t]}}")
    t, u = registry.targets["t"], registry.targets["u"]
    assert (u.concurrency, u.requests_per_minute, u.tokens_per_minute, u.quality, u.drained) == (4, 0.5, 90_000.0, None, True)
    assert (t.concurrency, t.requests_per_minute, t.tokens_per_minute, t.quality, t.drained) == (None, None, None, 0.5, False)
    assert t.provider.data_policy == {"no_training", "zero_retention"}


def test_ranking_and_its_defaults() -> None:
    registry = loaded(
        """
        defaults:
          rank_by: {latency: 1, quality: 1}
          objectives: {first_token: 1s, per_token: 20ms}
          explore: 0.1
          sticky_by: session
          affinity: {usd: 0.01}
          observe: bandit
          last_resort: false
        models:
          plain: {targets: [t]}
          own:
            targets: [t]
            rank_by: order
            objectives: {first_token: 500ms, usd_per_request: 1}
            explore: 0
            sticky_by: "header:X-Desk"
            affinity: false
            last_resort: true
            shadow: {target: u, share: 0.05}
          learns: {targets: [t], rank_by: bandit, affinity: true}
        """
    )
    plain, own, learns = (registry.models[n] for n in ("plain", "own", "learns"))
    assert plain.rank_by == RankBy(Policy.SCORE, (("latency", 1.0), ("quality", 1.0)))
    assert plain.objectives == Objectives(1.0, 0.02, 0.02)
    assert (plain.explore, plain.sticky_by, plain.affinity, plain.observe, plain.last_resort) == (
        0.1,
        "session",
        Affinity(usd=0.01),
        Policy.BANDIT,
        False,
    )
    assert own.rank_by == RankBy()
    assert own.objectives == Objectives(0.5, 0.02, 1.0)
    assert (own.explore, own.sticky_by, own.affinity, own.observe, own.last_resort) == (0.0, "header:x-desk", None, Policy.BANDIT, True)
    assert own.shadow == Shadow("u", 0.05)
    assert (learns.rank_by, learns.affinity) == (RankBy(Policy.BANDIT), Affinity())
    assert learns.observe is None, "the bandit decides here"


def test_what_nobody_wrote() -> None:
    model = loaded("models: {m: {targets: [t]}}").models["m"]
    assert (model.rank_by, model.rules, model.require, model.objectives) == (RankBy(), (), Require(), Objectives())
    assert (model.explore, model.sticky_by, model.affinity, model.shadow, model.observe, model.last_resort) == (0.02, "", None, None, None, True)


def test_requirements_only_get_narrower() -> None:
    registry = loaded(
        """
        defaults: {require: {data_stays_in: [eu, ch], data_policy: [no_training], usd_per_million_tokens: {input: 2, output: 5}}}
        models:
          plain: {targets: [t]}
          narrower: {targets: [t], require: {data_stays_in: [eu, us], data_policy: [zero_retention], usd_per_million_tokens: {input: 9, output: 4}}}
        """
    )
    assert registry.models["plain"].require == Require(frozenset({"eu", "ch"}), frozenset({"no_training"}), (2.0, 5.0))
    assert registry.models["narrower"].require == Require(frozenset({"eu"}), frozenset({"no_training", "zero_retention"}), (2.0, 4.0))


def test_a_price_that_depends_on_the_request_is_judged_then() -> None:
    model = loaded("models: {m: {targets: [v], require: {usd_per_million_tokens: {output: 0.1}}}}").models["m"]
    assert model.require.usd_per_million_tokens == (None, 0.1)


def test_tenants() -> None:
    registry = loaded(
        """
        models: {chat: {targets: [t], aliases: [talk]}, "gpt-*": {targets: [v]}}
        tenants:
          acme:
            require: {data_stays_in: [eu]}
            models: {allow: [chat, gpt-4o, "gpt-4.1*"]}
            targets: {deny: [u]}
            providers: {allow: ["*"], deny: [q]}
          free: {}
          "*": {models: {deny: ["g*"]}}
        """
    )
    assert registry.tenants == {
        "acme": Tenant(
            "acme",
            Require(frozenset({"eu"})),
            Access(frozenset({"chat", "gpt-4o", "gpt-4.1*"})),
            Access(deny=frozenset({"u"})),
            Access(frozenset({"*"}), frozenset({"q"})),
        ),
        "free": Tenant("free"),
        "*": Tenant("*", models=Access(deny=frozenset({"g*"}))),
    }


def test_identity() -> None:
    assert loaded("models: {m: {targets: [t]}}").identity == Identity(
        {
            "tenant": IdentitySource("jwt_claim", "org.id"),
            "tier": IdentitySource("header", "x-tier"),
            "user": IdentitySource("certificate", "uri_san"),
        },
        {"tier": "standard", "application": "billing"},
    )
    text = BASE.replace(next(line for line in BASE.splitlines() if line.startswith("identity")), "") + "models: {m: {targets: [t]}}"
    assert parse_registry(text.encode(), "r.yaml", DAY).identity == NOBODY


def test_limits() -> None:
    registry = loaded(
        """
        models: {chat: {targets: [t]}, small: {targets: [u]}, tiny: {targets: [u]}}
        limits:
          - {for: {tenant: "*"}, requests_per_minute: 600, tokens_per_minute: 200_000}
          - {for: {model: chat, tenant: acme}, usd_per_month: 500, instead: small, scope: process}
          - {for: {model: "*"}, requests_per_minute: 0.5, instead: tiny}
          - {tokens_per_minute: 1, instead: chat}
        """
    )
    assert registry.limits == (
        Limit("limits[0]:tenant=*", (("tenant", "*"),), 600.0, 200_000.0),
        Limit("limits[1]:tenant=acme,model=chat", (("tenant", "acme"), ("model", "chat")), usd_per_month=500.0, instead="small", shared=False),
        Limit("limits[2]:model=*", (("model", "*"),), 0.5, instead="tiny"),
        Limit("limits[3]", (), tokens_per_minute=1.0, instead="chat"),
    )


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("redis://redis:6379/0", State("redis://redis:6379/0")),
        ('"rediss://[::1]:6380"', State("rediss://[::1]:6380")),
        ("unix:///run/redis.sock?db=2", State("unix:///run/redis.sock?db=2")),
        ("{url: redis://redis, username: llm, password_file: keys/redis, prefix: a}", State("redis://redis", "llm", "/etc/llm/keys/redis", "a")),
    ],
)
def test_state(text: str, state: State) -> None:
    registry = loaded(f"models: {{m: {{targets: [t]}}}}\nstate: {text}\nlimits: [{{usd_per_day: 5}}, {{usd_per_day: 5, scope: shared}}]\n")
    assert registry.state == state
    assert [limit.shared for limit in registry.limits] == [True, True]
