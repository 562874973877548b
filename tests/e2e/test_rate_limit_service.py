"""Envoy's own rate limit filter, with the text of the example: what the service is asked before a request, and told after its answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anthropic
import grpc
import httpx
import openai
import pytest
import yaml
from envoy_data_plane.envoy.config.core.v3 import HeaderValue
from envoy_data_plane.envoy.service.ratelimit.v3 import RateLimitRequest, RateLimitResponse, RateLimitResponseCode

from extproc.envoyconfig.check import check
from extproc.envoyconfig.merge import merge_all
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.render import render
from extproc.envoyconfig.sources import Sources, load_sources
from extproc.envoyconfig.validate import validate_with_envoy
from extproc.envoyconfig.write import write
from extproc.simulator import Simulator
from tests.e2e.stack import PATIENCE, Stack, running_stack, two_providers
from tests.envoy_process import envoy_binary
from tests.envoyconfig.registries import provider, registry, target

EXAMPLE = Path(__file__).parents[2] / "envoy" / "rate-limit.example.yaml"
KEYS = {"oa": "sk-of-oa", "an": "sk-of-an"}
Told = tuple[dict[str, str], int | None]
"""A descriptor's entries, and what it adds."""


@dataclass
class Service:
    """A rate limit service that refuses the tenants of `over`. `asked`: the descriptors of each call."""

    asked: list[list[Told]] = field(default_factory=list)
    over: frozenset[str] = frozenset()
    port: int = 0
    news: threading.Condition = field(default_factory=threading.Condition)

    def should_rate_limit(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        request = RateLimitRequest.parse(raw)
        told = [({e.key: e.value for e in d.entries}, d.hits_addend) for d in request.descriptors]
        with self.news:
            self.asked.append(told)
            self.news.notify_all()
        refused = any(entries.get("tenant") in self.over for entries, _ in told)
        answer = RateLimitResponse(overall_code=RateLimitResponseCode.OVER_LIMIT if refused else RateLimitResponseCode.OK)
        if refused:
            answer.response_headers_to_add = [HeaderValue(key="retry-after", value="17")]
        return bytes(answer)

    def calls(self, count: int) -> list[list[Told]]:
        """The calls since the last time, as soon as there are `count`."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.asked) >= count, PATIENCE), f"{len(self.asked)} calls: {self.asked}"
            found, self.asked = self.asked, []
            return found


@contextmanager
def rate_limit_service() -> Iterator[Service]:
    service = Service()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    handler = grpc.unary_unary_rpc_method_handler(service.should_rate_limit)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("envoy.service.ratelimit.v3.RateLimitService", {"ShouldRateLimit": handler}),)
    )
    service.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield service
    finally:
        server.stop(None).wait()


def with_the_example(port: int | None = None) -> Sources:
    """The default files and the example's two parts over them."""
    text = EXAMPLE.read_text()
    if port is not None:
        there = "{address: ratelimit.example.internal, port_value: 8081}"
        assert there in text
        text = text.replace(there, f"{{address: 127.0.0.1, port_value: {port}}}")
    parts: dict[str, Any] = yaml.safe_load(text)
    sources = load_sources()
    changed = {name: replace(getattr(sources, name), data=merge_all(getattr(sources, name).data, part)) for name, part in parts.items()}
    return replace(sources, **changed)


def registry_text(sims: Mapping[str, Simulator], directory: Path) -> str:
    return f"""
version: 1
identity: {{tenant: {{header: x-tenant}}}}
{two_providers(sims, directory)}models:
  oa: {{targets: [oa]}}
  an: {{targets: [an]}}
"""


def test_the_example_passes_the_check_and_envoy_takes_it(tmp_path: Path) -> None:
    one, options = registry(target("a", provider("p"))), Options(str(tmp_path / "out"), "/run/llm")
    sources = with_the_example()
    assert check(one, sources, options) == []
    write(render(one, options, sources), tmp_path / "out")
    assert validate_with_envoy(envoy_binary(), tmp_path / "out") is None


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Stack, Service]]:
    with (
        rate_limit_service() as service,
        running_stack(registry_text, {"oa": "openai_chat", "an": "anthropic_messages"}, KEYS, sources=with_the_example(service.port)) as stack,
    ):
        yield stack, service


@pytest.fixture
def world(shared: tuple[Stack, Service]) -> tuple[Stack, Service]:
    stack, service = shared
    stack.reset()
    service.asked, service.over = [], frozenset()
    return shared


MESSAGES: list[Any] = [{"role": "user", "content": "Say hello."}]


def asked_before(tenant: str) -> list[Told]:
    return [({"tenant": tenant}, None), ({"tenant_tokens": tenant}, 0)]


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("model", ["oa", "an"])
@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_tokens_are_told_when_the_answer_is_over(world: tuple[Stack, Service], sdk: str, model: str, stream: bool) -> None:
    """Watched and translated, of both kinds."""
    stack, service = world
    who = {"x-tenant": "acme"}
    if sdk == "openai":
        client = openai.OpenAI(base_url=f"{stack.url}/v1", api_key="k", default_headers=who, max_retries=0)
        if stream:
            parts = list(client.chat.completions.create(model=model, messages=MESSAGES, stream=True, stream_options={"include_usage": True}))
            usage = parts[-1].usage
        else:
            usage = client.chat.completions.create(model=model, messages=MESSAGES).usage
        assert usage is not None
        total = usage.total_tokens
    else:
        claude = anthropic.Anthropic(base_url=stack.url, api_key="k", default_headers=who, max_retries=0)
        if stream:
            with claude.messages.stream(model=model, messages=MESSAGES, max_tokens=100) as events:
                said = events.get_final_message().usage
        else:
            said = claude.messages.create(model=model, messages=MESSAGES, max_tokens=100).usage
        total = said.input_tokens + said.output_tokens
    before, after = service.calls(2)
    assert total > 0
    assert before == asked_before("acme")
    assert after == [({"tenant_tokens": "acme"}, total)]


def test_a_refusal_of_the_service_is_in_the_callers_dialect(world: tuple[Stack, Service]) -> None:
    stack, service = world
    service.over = frozenset({"acme"})
    headers = {"x-tenant": "acme", "anthropic-version": "2023-06-01", "x-api-key": "k"}
    body = {"model": "an", "max_tokens": 5, "messages": MESSAGES}
    answer = httpx.post(f"{stack.url}/v1/messages", headers=headers, json=body, timeout=PATIENCE)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "17"
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert stack.calls() == {}, "no provider was asked"
    assert service.calls(1) == [asked_before("acme")], "and nothing is told of its tokens"
    other = httpx.post(f"{stack.url}/v1/messages", headers={**headers, "x-tenant": "other"}, json=body, timeout=PATIENCE)
    assert other.status_code == 200
    before, _ = service.calls(2)
    assert before == asked_before("other")


def test_whom_nobody_knows_and_what_fails(world: tuple[Stack, Service]) -> None:
    """The unknown share one descriptor. An answer without usage adds nothing."""
    stack, service = world
    stack.fault("oa", "status", status=400)
    body = {"model": "oa", "messages": MESSAGES}
    assert httpx.post(f"{stack.url}/v1/chat/completions", json=body, timeout=PATIENCE).status_code == 400
    stack.reset()
    assert httpx.post(f"{stack.url}/v1/chat/completions", json=body, timeout=PATIENCE).status_code == 200
    first, second, after = service.calls(3)
    assert first == second == asked_before("unknown")
    assert after[0][0] == {"tenant_tokens": "unknown"}
