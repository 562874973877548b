"""Copies of requests: what is sent again, what the copy knows of the first, and that it is served by its target or by nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from extproc.core.exchange import Immediate
from extproc.core.usage import Usage
from extproc.registry.policy import Require, Shadow
from extproc.registry.types import Registry
from extproc.stages import shadow
from extproc.telemetry.record import Outcome, RequestRecord
from tests.stages.world import Journey, World, chat, of_type, registry, request_body, request_headers, target


def copied(require: Require | None = None) -> Registry:
    base = registry(target("a"), target("b"), target("c"))
    model = replace(base.models["chat"], shadow=Shadow("c", 1.0), require=require or Require())
    return replace(base, models={"chat": model})


def header(**said: object) -> str:
    record = RequestRecord("rid", Outcome.OK, 1, 120.04, target="a", usage=Usage(10, 5), cost_usd=0.001, ttft_ms=40.0, finish="stop")
    return shadow.header_of(shadow.Copy("c", "POST", "/v1/chat/completions", {}, b"{}", {"tenant": "acme"}, "code"), record)


def test_what_the_first_measured_travels_with_the_copy() -> None:
    said = shadow.read_header(header())
    assert (said.target, said.who, said.task) == ("c", {"tenant": "acme"}, "code")
    assert said.first == {
        "request_id": "rid",
        "target": "a",
        "outcome": "ok",
        "total_ms": 120.0,
        "ttft_ms": 40.0,
        "output_tokens": 5,
        "cost_usd": 0.001,
        "finish": "stop",
    }
    for bad in ("", "e30=", "not base64!", "WzFd"):
        with pytest.raises(ValueError):
            shadow.read_header(bad)


def test_a_share_is_kept_to_be_sent_again_and_a_large_body_is_not() -> None:
    journey = Journey(World(copied()))
    exchange = journey.route(chat(), x_llm_task="digest", authorization="Bearer of-the-app", cookie="a=b")
    assert exchange.copy is not None
    assert (exchange.copy.target, exchange.copy.body, exchange.copy.task) == ("c", chat(), "digest")
    assert exchange.copy.path == "/v1/chat/completions"
    assert set(exchange.copy.headers) <= {"content-type", "accept"}
    large = Journey(World(copied())).route(chat(user="x" * shadow.LARGEST))
    assert large.copy is None


def test_without_a_share_nothing_is_kept() -> None:
    base = copied()
    none = replace(base, models={"chat": replace(base.models["chat"], shadow=Shadow("c", 0.0))})
    assert Journey(World(none)).route(chat()).copy is None


def test_a_copy_goes_to_its_target_alone_and_is_not_copied_itself() -> None:
    journey = Journey(World(copied()))
    exchange = journey.route(chat(), x_llm_shadow=header())
    assert set(journey.chain) == {"c"}
    assert exchange.copy is None
    assert exchange.who == {"tenant": "acme"}
    assert exchange.record.shadow["request_id"] == "rid"
    assert (exchange.record.tenant, exchange.record.shadow["target"]) == ("acme", "a")


def test_a_copy_is_held_to_what_its_model_requires() -> None:
    world = World(copied(Require(data_stays_in=frozenset({"eu"}))))
    exchange = world.route()
    exchange.handle(request_headers(x_llm_shadow=header()))
    refused = of_type(exchange.handle(request_body(chat())), Immediate)
    assert refused.status == 422
    assert exchange.record.outcome is Outcome.REFUSED


def test_filters_keep_what_they_worked_out_for_copies_and_for_the_model() -> None:
    base = copied()
    first = shadow.only(base, base.models["chat"], "c")
    assert shadow.only(base, base.models["chat"], "c") is first
    assert first.name != "chat"
    assert base.resolve(first.name) is None
