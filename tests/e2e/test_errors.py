"""What we refuse ourselves, and how it reaches the caller: the envelope, the status, and the class that its SDK makes of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from extproc.simulator import FaultKind, Simulator
from tests.e2e.every_sdk import SDKS
from tests.e2e.sdks import Anthropic, OpenAI, Sdk
from tests.e2e.stack import Stack, running_stack

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
RESPONSES, GEMINI, CONVERSE, COHERE, OLLAMA = "/v1/responses", "/v1beta/models/{m}:generateContent", "/model/{m}/converse", "/v2/chat", "/api/chat"
TURNS = {CHAT: "messages", MESSAGES: "messages", RESPONSES: "input", GEMINI: "contents", CONVERSE: "messages", COHERE: "messages", OLLAMA: "messages"}
"""The paths of every client dialect, with the member of the body that holds the conversation. `{m}` is a model that the path names."""
JSON = {"content-type": "application/json"}
ASK = {"model": "oa", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}


def check_envelope(answer: httpx.Response, path: str) -> dict[str, Any]:
    """JSON in the dialect that the path belongs to; returns its error object."""
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    error: dict[str, Any] = document.get("error", document)
    if path.startswith(MESSAGES):
        assert document["type"] == "error"
        assert set(error) >= {"type", "message"}
    elif path.startswith("/v1beta/"):
        assert error["code"] == answer.status_code
        assert set(error) >= {"message", "status"}
    elif path.startswith("/model/"):
        assert set(document) == {"message", "__type"}
        assert answer.headers.get("x-amzn-errortype", document["__type"]) == document["__type"]
    elif path.startswith("/v2/"):
        assert isinstance(document["message"], str)
    elif path.startswith("/api/"):
        assert isinstance(document["error"], str)
        error = {"message": document["error"]}
    else:
        assert set(error) >= {"message", "type", "param", "code"}
    assert "Traceback" not in error["message"]
    return error


BAD_BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "not JSON": (b'{"model": "oa", ', {}, 400),
    "nothing": (b"", {}, 400),
    "an array": (b"[]", {}, 400),
    "not UTF-8": (b'{"model": "\xff\xfe"}', {}, 400),
    "far too deep": (b'{"model": "oa", "TURNS": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", {}, 400),
    "messages of another shape": (b'{"model": "ge", "max_tokens": 9, "TURNS": 7}', {}, 400),
    "compressed": (b"\x1f\x8b\x08", {"content-encoding": "gzip"}, 415),
}
BAD_MODELS: dict[str, tuple[bytes, dict[str, str], int]] = {
    "no model": (b'{"messages": []}', {}, 400),
    "a model that is no string": (b'{"model": 4, "messages": []}', {}, 400),
    "a stream that is no boolean": (b'{"model": "oa", "stream": "yes", "messages": []}', {}, 400),
    "duplicate keys": (b'{"model": "oa", "model": "an", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}', {}, 400),
    "an unknown model": (b'{"model": "nobody", "max_tokens": 9, "messages": []}', {}, 404),
}
"""Only where the body names the model."""
BAD = [(path, name) for path in TURNS for name in ({**BAD_BODIES, **BAD_MODELS} if "{m}" not in path else BAD_BODIES)]


@pytest.mark.parametrize(("path", "name"), BAD)
def test_bad_body(stack: Stack, path: str, name: str) -> None:
    body, headers, status = {**BAD_BODIES, **BAD_MODELS}[name]
    # a target of another dialect reads all of it
    target = path.format(m="oa" if path == GEMINI else "ge")
    request_id = f"bad-{name}-{path}"
    content = body.replace(b"TURNS", TURNS[path].encode())
    answer = httpx.post(stack.url + target, content=content, headers=JSON | headers | {"x-request-id": request_id})
    assert answer.status_code == status
    check_envelope(answer, path)
    line = stack.lines.of(request_id)
    assert (line["outcome"], line["attempts"]) == ("client_error", [])
    assert stack.calls() == {}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/assistants", 404),
        ("POST", "/v1/nothing/here", 404),
        ("GET", "/etc/passwd", 404),
        ("POST", "/v1/messages/batches", 404),
        ("GET", CHAT, 405),
        ("DELETE", MESSAGES, 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/models/nobody", 404),
        ("GET", "/v1/realtime", 501),
        ("GET", "/v1/realtime?model=gpt-4o-realtime", 501),
    ],
)
def test_paths_that_are_not_served(stack: Stack, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, stack.url + path, json=ASK if method == "POST" else None)
    assert answer.status_code == status
    check_envelope(answer, path)
    assert answer.headers.get("allow") == ({"/v1/models": "GET"}.get(path, "POST") if status == 405 else None)
    assert stack.calls() == {}


def test_websocket_handshake(stack: Stack) -> None:
    headers = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
    answer = httpx.get(f"{stack.url}/v1/realtime", headers=headers)
    assert answer.status_code == 501
    # Envoy refuses the upgrade itself, in words that both SDKs read
    assert answer.json()["error"]["code"] == "not_implemented"


def test_probes(stack: Stack) -> None:
    assert httpx.head(stack.url + "/").status_code == 200
    assert httpx.get(stack.url + "/").json()["service"] == "llm-extproc"


def test_models_of_the_registry(stack: Stack, sdks: dict[str, Sdk]) -> None:
    openai_client, anthropic_client = sdks["openai"], sdks["anthropic"]
    assert isinstance(openai_client, OpenAI)
    assert isinstance(anthropic_client, Anthropic)
    names = {n for m in stack.services.snapshots.current.models.values() for n in (m.name, *m.aliases) if not n.endswith("*")}
    assert {m.id for m in openai_client.client.models.list()} == names
    listed = list(anthropic_client.client.models.list())
    assert {m.id for m in listed} == names
    assert {m.type for m in listed} == {"model"}
    assert openai_client.client.models.retrieve("oa").id == "oa"
    assert anthropic_client.client.models.retrieve("strict-alias").id == "strict-alias"
    assert openai_client.client.models.retrieve("wild-card-name").id == "wild-card-name"
    for sdk in (openai_client, anthropic_client):
        with pytest.raises(sdk.errors.NotFoundError):
            sdk.client.models.retrieve("nobody")
    google, ollama = sdks["google-genai"], sdks["ollama"]
    assert {m.name.removeprefix("models/") for m in google.client.models.list(config={"page_size": 1000})} == names  # type: ignore[attr-defined]
    assert {m.model for m in ollama.client.list().models} == names  # type: ignore[attr-defined]


@pytest.mark.parametrize("client", SDKS)
def test_refusals_in_every_dialect(stack: Stack, sdks: dict[str, Sdk], client: str, stream: bool) -> None:
    """A model that nobody has, a capability that no target has, and a provider that refuses the gateway's key, which is not the client's mistake."""
    sdk = sdks[client]
    with pytest.raises(Exception, match="nobody") as unknown:
        sdk.ask("nobody", stream=stream)
    assert sdk.status(unknown.value) == 404
    with pytest.raises(Exception, match="tools") as lacking:
        sdk.ask("mute", stream=stream, **sdk.options(tools=True))
    # AWS has no 422
    assert sdk.status(lacking.value) == (400 if client == "boto3" else 422)
    assert stack.calls() == {}
    for sim in ("oa", "an"):
        stack.fault(sim, FaultKind.KEY_REFUSED)
    with pytest.raises(Exception, match="1 oa: ") as refused:
        sdk.ask("oa-an", stream=stream)
    assert sdk.status(refused.value) == (424 if client == "boto3" else 502)
    assert "sk-" not in str(refused.value)


@pytest.mark.parametrize("client", SDKS)
@pytest.mark.parametrize(("status", "shown"), [(429, 429), (503, 503)])
def test_what_all_targets_say_in_every_dialect(stack: Stack, sdks: dict[str, Sdk], client: str, status: int, shown: int) -> None:
    sdk = sdks[client]
    for sim in ("oa", "an"):
        stack.fault(sim, FaultKind.STATUS, status=status)
    with pytest.raises(Exception, match="attempts: 1 oa: ") as caught:
        sdk.ask("oa-an", stream=True)
    assert sdk.status(caught.value) == shown


def test_refusals_become_the_right_exception(stack: Stack, sdk: Sdk, stream: bool) -> None:
    with pytest.raises(sdk.errors.NotFoundError) as unknown:
        sdk.ask("nobody", stream=stream)
    assert "nobody" in str(unknown.value)
    if sdk.name == "openai":
        assert unknown.value.code == "model_not_found"
    else:
        assert unknown.value.type == "not_found_error"
    with pytest.raises(sdk.errors.BadRequestError):
        sdk.ask("oa", stream=stream, extra_body={"model": 5})
    with pytest.raises(sdk.errors.BadRequestError):
        sdk.ask("ge", stream=stream, messages=[{"role": "robot", "content": "x"}])


def test_no_target_can_do_it(stack: Stack, sdk: Sdk, stream: bool) -> None:
    """422: a capability that no target of the model has, and a strict model that would lose something."""
    tool: dict[str, Any] = {"name": "f", "input_schema": {"type": "object"}}
    if sdk.name == "openai":
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    with pytest.raises(sdk.errors.UnprocessableEntityError) as lacking:
        sdk.ask("mute", stream=stream, tools=[tool], request_id=f"lacking-{sdk.name}-{stream}")
    assert "tools" in str(lacking.value)
    assert stack.lines.of(f"lacking-{sdk.name}-{stream}")["outcome"] == "refused"
    lost = {"user": "u-1", "logit_bias": {"5": 1}} if sdk.name == "openai" else {"metadata": {"user_id": "u-1"}, "service_tier": "standard_only"}
    with pytest.raises(sdk.errors.UnprocessableEntityError) as strict:
        sdk.ask("strict", stream=stream, **lost)
    assert "strict" in str(strict.value)
    assert stack.calls() == {}
    assert sdk.ask("strict", stream=stream).text


def test_losses_are_reported(stack: Stack, sdks: dict[str, Sdk], stream: bool) -> None:
    answer = sdks["openai"].ask("ge", stream=stream, logit_bias={"5": 1}, request_id=f"loss-{stream}")
    assert "logit_bias" in answer.headers["x-llm-losses"]
    assert any("logit_bias" in code for code in stack.lines.of(f"loss-{stream}")["losses"])


def test_a_provider_that_finds_the_request_wrong(stack: Stack, sdk: Sdk, stream: bool) -> None:
    """The client's own mistake: no other provider is asked, and the provider's words come through."""
    wrong: dict[str, Any] = {"extra_body": {"top_logprobs": "many"}} if sdk.name == "openai" else {"extra_body": {"top_k": "many"}}
    with pytest.raises(sdk.errors.BadRequestError) as caught:
        sdk.ask("oa-an" if sdk.name == "openai" else "an-oa", stream=stream, **wrong)
    assert next(iter(wrong["extra_body"])) in str(caught.value)
    assert sum(stack.calls().values()) == 1


def small_registry(sims: Mapping[str, Simulator], directory: Path) -> str:
    return f'''version: 1
providers:
  oa: {{kind: openai, url: "{sims["oa"].url}/v1", credential: {{file: {directory}/keys/oa}}}}
targets:
  oa: {{provider: oa, model: gpt-4o}}
models:
  oa: {{targets: [oa]}}
'''


@pytest.fixture(scope="module")
def narrow() -> Iterator[Stack]:
    with running_stack(small_registry, {"oa": "openai_chat"}, {"oa": "sk-narrow"}, max_body=1 << 20) as stack:
        yield stack


@pytest.mark.parametrize("client", [OpenAI, Anthropic])
def test_body_over_the_limit(narrow: Stack, client: type[Sdk]) -> None:
    sdk = client(narrow.url)
    assert sdk.ask("oa", "x" * 1_000_000).text
    with pytest.raises(sdk.errors.APIStatusError) as caught:
        sdk.ask("oa", "x" * 1_100_000)
    assert caught.value.status_code == 413
    assert caught.value.response.headers["content-type"] == "application/json"
    if sdk.name == "anthropic":
        assert type(caught.value).__name__ == "ContentTooLargeError"
        assert caught.value.type == "request_too_large"


def test_body_over_the_limit_without_its_length(narrow: Stack) -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"model": "oa", "messages": [{"role": "user", "content": "'
        for _ in range(40):
            yield b"x" * 65536

    answer = httpx.post(narrow.url + CHAT, content=endless(), headers=JSON, timeout=20)
    assert answer.status_code == 413
    check_envelope(answer, CHAT)


def test_nonsense_on_the_wire_harms_nobody(stack: Stack, sdk: Sdk) -> None:
    host, port = stack.url.removeprefix("http://").split(":")
    for garbage in (b"\x00\x01\x02\r\n\r\n", b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{", b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(garbage)
    assert sdk.ask("oa").text
