"""Ways around what the registry forbids: other models, copies, paths that are passed on, names, headers. None of them leads there."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from extproc.core.exchange import Closed, Continue, Immediate, State
from extproc.core.plan import NAMESPACE, Plan
from extproc.registry.load import parse_registry
from extproc.stages import learn, shadow
from extproc.stages.route import RouteExchange
from extproc.telemetry.record import Outcome
from tests.stages.world import Journey, World, chat, of_type, openai_stream, piece, request_body, request_headers

HEAD = b"""
version: 1
identity: {tenant: {header: x-tenant}}
providers:
  us: {kind: openai, url: "http://us.test/v1", credential: {env: KEY}, data_stays_in: [us]}
  eu: {kind: openai, url: "http://eu.test/v1", credential: {env: KEY}, data_stays_in: [eu]}
targets:
  us-large: {provider: us, model: gpt-4o}
  us-small: {provider: us, model: gpt-4o-mini}
  us-any: {provider: us, model: "*"}
  us-slow: {provider: us, model: gpt-4o, tokens_per_minute: 1000}
  eu-large: {provider: eu, model: gpt-4o}
  eu-small: {provider: eu, model: gpt-4o-mini}
"""
FILES = b"""
passthrough: {"/v1/files/**": {target: us-small}}
models: {chat: {targets: [eu-large]}}
"""


def world(text: bytes) -> World:
    return World(parse_registry(HEAD + text, "registry.yaml"))


class Ask(Journey):
    """One request, as far as the route stage takes it."""

    def __init__(self, where: World, body: bytes | None = None, path: str = "/v1/chat/completions", tenant: str = "acme", **headers: str) -> None:
        super().__init__(where)
        self.exchange: RouteExchange = where.route()
        self.actions = self.exchange.handle(request_headers(path, x_tenant=tenant, **headers))
        if self.exchange.state is State.BODY:
            self.actions = self.exchange.handle(request_body(chat() if body is None else body))
        self.take(self.actions)

    @property
    def refusal(self) -> tuple[int, Any]:
        answer = of_type(self.actions, Immediate)
        return answer.status, orjson.loads(answer.body)["error"]

    @property
    def retry_after(self) -> str | None:
        return dict(of_type(self.actions, Immediate).headers).get("retry-after")

    def answered(self, body: bytes) -> None:
        """By the first target, whole."""
        attempt = self.attempt(1, b"{}")
        self.take(attempt.handle(self.response(200)))
        self.take(attempt.handle(piece(body, end=True)))
        self.exchange.handle(self.response(200))
        self.exchange.handle(piece(body, end=True))
        self.exchange.handle(Closed())
        learn.settled(self.exchange, certain=True)


# another model steps in

DEGRADED = b"""
models:
  contracts: {targets: [eu-large], require: {data_stays_in: [eu]}, strict: true}
  cheap: {targets: [us-small, eu-small]}
  cheapest: {targets: [us-small]}
  any: {targets: [us-any]}
"""


def test_what_a_model_requires_holds_for_the_model_that_steps_in() -> None:
    where = world(DEGRADED + b"limits: [{for: {model: contracts}, requests_per_minute: 1, instead: cheap}]")
    assert set(Ask(where, chat("contracts")).chain) == {"eu-large"}
    degraded = Ask(where, chat("contracts"))
    assert set(degraded.chain) == {"eu-small"}
    assert (degraded.exchange.record.limited, degraded.exchange.record.model) == ("limits[0]:model=contracts", "contracts")
    assert set(Ask(where, chat("cheap")).chain) == {"us-small", "eu-small"}, "and is forgotten by the next request"


def test_a_model_that_cannot_serve_what_is_required_does_not_step_in() -> None:
    where = world(DEGRADED + b"limits: [{for: {model: contracts}, requests_per_minute: 1, instead: cheapest}]")
    Ask(where, chat("contracts"))
    status, error = Ask(where, chat("contracts")).refusal
    assert (status, error["message"]) == (429, "the limit of 1 request per minute for model 'contracts' is used up")


def test_strictness_holds_too() -> None:
    where = world(DEGRADED + b"limits: [{for: {model: contracts}, requests_per_minute: 1, instead: cheap}]")
    lossy = orjson.dumps({"model": "contracts", "max_tokens": 5, "top_k": 3, "messages": [{"role": "user", "content": "hi"}]})
    assert [Ask(where, lossy, "/v1/messages").refusal[0] for _ in range(2)] == [422, 422]


def test_a_tenant_gets_no_model_by_its_limit_that_is_not_its_own() -> None:
    limits = b"\nlimits: [{for: {model: any}, requests_per_minute: 1, instead: cheapest}]"
    where = world(DEGRADED + b"tenants: {acme: {models: {deny: [cheapest]}}}" + limits)
    assert set(Ask(where, chat("any")).chain) == {"us-any"}
    assert Ask(where, chat("any")).refusal[0] == 429
    assert set(Ask(where, chat("any"), tenant="other").chain) == {"us-small"}


def test_who_may_not_use_a_model_is_not_counted_for_it() -> None:
    where = world(DEGRADED + b"tenants: {acme: {models: {deny: [any]}}}\nlimits: [{for: {model: any}, requests_per_minute: 1}]")
    assert [Ask(where, chat("any")).refusal[0] for _ in range(3)] == [403] * 3
    assert set(Ask(where, chat("any"), tenant="other").chain) == {"us-any"}


def test_a_target_that_takes_any_name_is_asked_for_the_model_that_steps_in() -> None:
    models = b"models: {chat: {targets: [us-small]}, gpt-4o: {targets: [us-any]}}"
    where = world(models + b"\nlimits: [{for: {model: chat}, requests_per_minute: 1, instead: gpt-4o}]")
    Ask(where)
    degraded = Ask(where)
    assert Plan.loads(degraded.metadata[NAMESPACE]["plan"]).asked == "gpt-4o"
    attempt = where.attempt()
    attempt.handle(degraded.attempt_headers(1))
    sent = of_type(attempt.handle(request_body(chat())), Continue)
    assert sent.body is not None
    assert orjson.loads(sent.body)["model"] == "gpt-4o"
    assert degraded.exchange.record.model == "chat"


# copies


def copied(where: World, **headers: str) -> Ask:
    """The copy of a request that has been sent."""
    first = Ask(where, **headers)
    assert first.exchange.copy is not None
    return Ask(where, tenant="", x_llm_shadow=shadow.header_of(first.exchange.copy, first.exchange.record))


def test_a_copy_is_its_tenants_where_the_model_is() -> None:
    where = world(b"models: {chat: {targets: [eu-large], shadow: {target: us-small, share: 1}}}\ntenants: {acme: {models: {allow: [chat]}}}")
    assert set(copied(where).chain) == {"us-small"}


@pytest.mark.parametrize(
    "tenant", [b"targets: {deny: [us-small]}", b"providers: {allow: [eu]}", b"require: {data_stays_in: [eu]}", b"models: {deny: [chat]}"]
)
def test_a_copy_goes_nowhere_that_its_tenant_may_not(tenant: bytes) -> None:
    models = b"models: {chat: {targets: [eu-large], shadow: {target: us-small, share: 1}}}\n"
    free, bound = world(models), world(models + b"tenants: {acme: {" + tenant + b"}}")
    first = Ask(free)
    assert first.exchange.copy is not None
    header = shadow.header_of(first.exchange.copy, first.exchange.record)
    assert Ask(bound, tenant="", x_llm_shadow=header).refusal[0] in (403, 422)


def test_there_is_no_copy_where_the_rule_allows_only_others() -> None:
    text = b"models: {chat: {targets: [us-large], shadow: {target: us-small, share: 1}, rules: [{name: r, when: {tenant: acme}, only: [%s]}]}}"
    assert Ask(world(text % b"eu-large")).exchange.copy is None
    assert Ask(world(text % b"eu-large"), tenant="other").exchange.copy is not None
    assert Ask(world(text % b"eu-large, us-small")).exchange.copy is not None


def test_there_is_no_copy_of_what_lies_in_one_account() -> None:
    where = world(b"models: {chat: {targets: [us-large], shadow: {target: us-small, share: 1}}}")
    body = {"model": "chat", "input": "and now?"}
    assert Ask(where, orjson.dumps(body), "/v1/responses").exchange.copy is not None
    assert Ask(where, orjson.dumps({**body, "previous_response_id": "resp_1"}), "/v1/responses").exchange.copy is None


def test_a_copy_holds_no_credential_of_the_path() -> None:
    where = world(b"models: {chat: {targets: [us-large], shadow: {target: us-small, share: 1}}}")
    body = orjson.dumps({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]})
    copy = Ask(where, body, "/v1beta/models/chat:streamGenerateContent?key=abc&alt=sse").exchange.copy
    assert copy is not None
    assert copy.path == "/v1beta/models/chat:streamGenerateContent?alt=sse"


def test_a_forged_copy_is_a_bad_request() -> None:
    where = world(b"models: {chat: {targets: [us-large]}}")
    assert Ask(where, x_llm_shadow="x").refusal[0] == 400
    assert Ask(where, x_llm_shadow="e30=").refusal[0] == 400


# paths that are passed on


@pytest.mark.parametrize(
    ("tenant", "why"),
    [
        (b"targets: {deny: [us-small]}", "not among the tenant's targets"),
        (b"providers: {deny: [us]}", "us is not among the tenant's providers"),
        (b"require: {data_stays_in: [eu]}", "its data may be in us, and must stay in eu"),
        (b"require: {usd_per_million_tokens: {input: 0.01}}", "it may cost more than the ceiling"),
    ],
)
def test_what_is_passed_on_keeps_to_the_tenants_lists(tenant: bytes, why: str) -> None:
    where = world(FILES + b"tenants: {acme: {" + tenant + b"}}")
    status, error = Ask(where, b"", "/v1/files/f").refusal
    assert (status, error["message"]) == (403, f"requests of tenant 'acme' may not be passed on to us-small ({why})")
    assert set(Ask(where, b"", "/v1/files/f", tenant="other").chain) == {"us-small"}


def test_what_is_passed_on_counts_as_a_request() -> None:
    where = world(FILES + b'limits: [{for: {tenant: "*"}, requests_per_minute: 1, instead: chat}]')
    first = Ask(where, b"", "/v1/files/f")
    assert Ask(where, b"", "/v1/files/f").refusal[0] == 429
    assert set(Ask(where, b"", "/v1/files/f", tenant="other").chain) == {"us-small"}
    first.exchange.handle(Closed())
    assert where.services.statistics.of("us-small").in_flight == 1, "the other tenant's"


def test_nothing_is_passed_on_to_what_is_drained() -> None:
    where = World(parse_registry(HEAD.replace(b"gpt-4o-mini}", b"gpt-4o-mini, drained: true}", 1) + FILES, "registry.yaml"))
    assert Ask(where, b"", "/v1/files/f").refusal[0] == 503


# limits


def test_a_prompt_that_is_more_than_a_minute_of_its_only_target() -> None:
    where = world(b"models: {chat: {targets: [us-slow]}, both: {targets: [us-slow, eu-large]}}")
    long = {"messages": [{"role": "user", "content": "word " * 5000}]}
    ask = Ask(where, chat(**long))
    status, error = ask.refusal
    assert (status, error["code"], ask.retry_after) == (413, "limit_exceeded", None)
    assert ask.exchange.record.outcome is Outcome.CLIENT_ERROR
    assert set(Ask(where, chat("both", **long)).chain) == {"eu-large"}


def test_counting_tokens_uses_none() -> None:
    where = world(b'models: {chat: {targets: [us-slow]}}\nlimits: [{for: {tenant: "*"}, tokens_per_minute: 1000}]')
    for _ in range(3):
        ask = Ask(where, orjson.dumps({"model": "chat", "input": "hello"}), "/v1/responses/input_tokens")
        ask.answered(orjson.dumps({"object": "response.input_tokens", "input_tokens": 900}))
    assert where.services.limits.usage(where.clock())["tokens"] == {}


@pytest.mark.parametrize("limit", [b"usd_per_day: 0.01, scope: process", b"tokens_per_minute: 1000"])
def test_who_always_leaves_before_the_end_has_limits_nevertheless(limit: bytes) -> None:
    """Providers say what an answer took at its end, and charge what they have written until somebody leaves."""
    where = world(b"models: {chat: {targets: [eu-large]}}\nlimits: [{for: {tenant: acme}, " + limit + b"}]")
    body = chat(stream=True, max_tokens=4000)
    left = 0
    for _ in range(20):
        ask = Ask(where, body)
        if any(isinstance(action, Immediate) for action in ask.actions):
            assert ask.refusal[0] == 429
            break
        attempt = ask.attempt(1, body)
        ask.take(attempt.handle(ask.response(200, "text/event-stream")))
        begun = b"".join(openai_stream("some", "words", finish=False, done=False))
        ask.take(attempt.handle(piece(begun)))
        ask.exchange.handle(ask.response(200, "text/event-stream"))
        ask.exchange.handle(piece(begun))
        ask.exchange.handle(Closed())
        left += 1
    assert 2 <= left <= 5


@pytest.mark.parametrize(
    ("path", "names"), [("/v1/models", ["alias", "chat"]), ("/v1beta/models", ["models/alias", "models/chat"]), ("/api/tags", ["alias", "chat"])]
)
def test_a_tenant_is_shown_the_models_that_it_may_use(path: str, names: list[str]) -> None:
    models = b"models: {chat: {aliases: [alias], targets: [us-large]}, secret: {targets: [eu-large]}}\n"
    where = world(models + b"tenants: {acme: {models: {allow: [chat]}}}")

    def shown(tenant: str, path: str) -> tuple[int, Any]:
        answer = of_type(where.route().handle(request_headers(path, "GET", end=True, x_tenant=tenant)), Immediate)
        return answer.status, orjson.loads(answer.body)

    _, listed = shown("acme", path)
    assert [each.get("id") or each["name"] for each in listed.get("data") or listed["models"]] == names
    assert "secret" in str(shown("other", path))
    one = path.replace("/api/tags", "/v1/models")
    assert [shown(tenant, f"{one}/secret")[0] for tenant in ("acme", "other")] == [404, 200]


# what clients name


@pytest.mark.parametrize(
    ("model", "path", "body", "status", "error"),
    [
        ("w-nothing", "/v1/chat/completions", {}, 404, {"message": "no such model", "code": "model_not_found"}),
        ("chat", "/v1/responses", {"input": "and now?", "previous_response_id": "resp_of_nobody"}, 404, {"message": "no such response"}),
        ("chat", "/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, 403, {"message": "not yours"}),
    ],
)
def test_who_names_what_is_not_there_takes_no_target_from_others(model: str, path: str, body: dict[str, Any], status: int, error: Any) -> None:
    where = world(b'models: {chat: {targets: [us-large]}, "w-*": {targets: [us-any]}}')
    raw = chat(model) if not body else orjson.dumps({"model": model, **body})
    ask = Ask(where, raw, path)
    attempt = ask.attempt(1, raw)
    ask.take(attempt.handle(ask.response(status)))
    answer = orjson.dumps({"error": {"type": "invalid_request_error", "param": None, "code": None, **error}})
    ask.take(attempt.handle(piece(answer, end=True)))
    cluster = ask.chain[0]
    assert where.services.health.why(cluster) is None
    assert not attempt.alarm
    said = of_type(ask.exchange.handle(ask.response(status)), Continue)
    assert said.body is None, "the provider's own words"
    ask.exchange.handle(piece(answer, end=True))
    ask.exchange.handle(Closed())
    learn.settled(ask.exchange, certain=True)
    assert ask.exchange.record.outcome is Outcome.REJECTED
    assert where.services.statistics.of(cluster).failures == 0


def test_a_model_that_a_target_itself_names_and_its_provider_lacks_is_an_alarm() -> None:
    where = world(b"models: {chat: {targets: [us-large]}}")
    ask = Ask(where)
    attempt = ask.attempt(1, chat())
    ask.take(attempt.handle(ask.response(404)))
    ask.take(attempt.handle(piece(b'{"error": {"message": "no such model", "code": "model_not_found"}}', end=True)))
    assert attempt.alarm
    assert where.services.health.why("us-large") is not None


@pytest.mark.parametrize(("status", "failures"), [(200, 0), (403, 0), (404, 0), (409, 0), (429, 1), (500, 1)])
def test_what_is_passed_on_says_nothing_of_its_target_where_the_client_may_be_at_fault(status: int, failures: int) -> None:
    where = world(FILES)
    ask = Ask(where, b"", "/v1/files/f")
    attempt = ask.attempt(1, b"")
    ask.take(attempt.handle(ask.response(status)))
    ask.exchange.handle(ask.response(status))
    ask.exchange.handle(piece(b"", end=True))
    ask.exchange.handle(Closed())
    learn.settled(ask.exchange, certain=True)
    assert where.services.statistics.of("us-small").failures == failures
