"""Who is let in, by which model, and what those are told who are not."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.errors import ApiError, ErrorKind
from extproc.dialects.catalog import DIALECTS
from extproc.registry.policy import Limit
from extproc.registry.types import Registry
from extproc.routing.limits import Limits
from extproc.stages import answers
from extproc.stages.allowance import Allowance, allow
from tests.stages.world import registry as a_registry
from tests.stages.world import target

NOON = 1_769_860_800.0
ACME = {"tenant": "acme"}


def world(*limits: Limit, models: tuple[str, ...] = ("chat", "small", "tiny")) -> Registry:
    base = a_registry(target("a"))
    made = {name: replace(base.models["chat"], name=name, aliases=()) for name in models}
    return replace(base, models=made, limits=limits)


def limit(key: str, by: str = "tenant", pattern: str = "*", instead: str = "", requests: float = 1) -> Limit:
    return Limit(key, ((by, pattern),), requests_per_minute=requests, instead=instead)


def let_in(limits: Limits, registry: Registry, model: str = "chat", wall: float = NOON) -> Allowance:
    return allow(limits, registry, registry.models[model], ACME, lambda: 10, wall)


def test_without_limits_nothing_is_counted() -> None:
    limits, registry = Limits(), world()
    assert let_in(limits, registry) == (registry.models["chat"], None, "", ())
    assert let_in(limits, world(limit("limits[0]", pattern="other")))[1] is None
    assert len(limits) == 0


def test_what_a_caller_is_told() -> None:
    limits, registry = Limits(), world(limit("limits[0]"))
    let_in(limits, registry)
    with pytest.raises(ApiError) as caught:
        let_in(limits, registry, wall=NOON + 20)
    error = caught.value
    assert (error.kind, error.status) == (ErrorKind.RATE_LIMITED, 429)
    assert error.message == "the limit of 1 request per minute for tenant 'acme' is used up"
    for dialect in DIALECTS.values():
        answer = answers.immediate(dialect, error, "llm_rate_limited")
        assert answer.status == 429
        assert ("retry-after", "43") in answer.headers
        assert "tenant 'acme'" in str(orjson.loads(answer.body))


def test_a_request_that_can_never_pass_is_not_told_to_come_back() -> None:
    registry = world(Limit("limits[0]", (("tenant", "*"),), tokens_per_minute=5))
    with pytest.raises(ApiError) as caught:
        let_in(Limits(), registry)
    assert (caught.value.kind, caught.value.retry_after) == (ErrorKind.TOO_LARGE, None)
    assert caught.value.message == "this request alone is more than the limit of 5 tokens per minute for tenant 'acme'"


def test_a_cheaper_model_serves_what_is_over_the_limit() -> None:
    limits, registry = Limits(), world(limit("limits[0]", instead="small"))
    assert let_in(limits, registry)[0].name == "chat"
    model, admitted, handed, _ = let_in(limits, registry)
    assert (model.name, handed) == ("small", "limits[0]")
    assert admitted is not None
    assert limits.export(NOON)["requests"] == {"tenant:*|acme": 2}, "it counts what its cheaper model serves, too"
    assert let_in(limits, registry, "small")[0].name == "small", "who asks for the cheaper model gets it"


def test_the_cheaper_models_own_limits_hold() -> None:
    limits = Limits()
    registry = world(limit("limits[0]", instead="small"), limit("limits[1]", "model", "small", instead="tiny"), limit("limits[2]", "model", "tiny"))
    assert [let_in(limits, registry)[0].name for _ in range(3)] == ["chat", "small", "tiny"]
    with pytest.raises(ApiError, match="model 'tiny'"):
        let_in(limits, registry)


def test_a_circle_ends() -> None:
    limits = Limits()
    registry = world(limit("limits[0]", "model", "chat", instead="small"), limit("limits[1]", "model", "small", instead="chat"))
    assert [let_in(limits, registry)[0].name for _ in range(2)] == ["chat", "small"]
    with pytest.raises(ApiError, match="model 'small'"):
        let_in(limits, registry)
    with pytest.raises(ApiError, match="model 'chat'"):
        let_in(limits, registry, "small")


names = st.sampled_from(["chat", "small", "tiny", "gone"])


@given(st.lists(st.tuples(names, st.sampled_from(["", "chat", "small", "tiny", "gone"]), st.integers(1, 2)), max_size=8))
def test_it_always_ends_and_a_refusal_counts_nothing(drawn: list[tuple[str, str, int]]) -> None:
    rules = [limit(f"limits[{i}]", "model", pattern, instead, most) for i, (pattern, instead, most) in enumerate(drawn)]
    limits, registry = Limits(), world(*rules)
    for _ in range(6):
        before = limits.export(NOON)
        try:
            model, admitted, handed, _ = let_in(limits, registry)
        except ApiError:
            assert limits.export(NOON) == before
        else:
            assert (handed != "") is (model.name != "chat")
            assert (admitted is None) is (limits.export(NOON) == before)
