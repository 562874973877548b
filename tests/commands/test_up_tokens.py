"""`extproc up` with a provider that takes access tokens: who fetches them, who may see what, and a registry that needs them later."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from extproc.commands.ports import a_free_one
from extproc.commands.supervisor import key_variables, secret_variables
from extproc.registry.load import parse_registry
from extproc.simulator.server import Simulator
from tests.commands.processes import environment, extproc, running_in
from tests.envoy_process import envoy_binary, eventually, short_directory
from tests.tokens.issuer import Issuer, issuing

REGISTRY = """\
version: 1
providers:
  plain: {{kind: openai-compatible, url: "{url}/v1", credential: {{env: UP_TEST_KEY}}}}
  cloud: {{kind: openai-compatible, url: "{url}/v1", credential: {credential}}}
targets:
  plain: {{provider: plain, model: gpt-4o}}
  cloud: {{provider: cloud, model: gpt-4o-mini}}
models:
  plain: {{targets: [plain]}}
  chat: {{targets: [cloud]}}
"""
KEY = "sk-up-test"
WITH_TOKEN, WITHOUT = "{google: default}", "{env: UP_TEST_KEY}"


def hello(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as server:
        yield server


@pytest.fixture
def provider(issuer: Issuer) -> Iterator[Simulator]:
    """Takes the key and the tokens that the issuer will hand out."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    tokens = [issuer.token(n) for n in range(5)]
    simulator = Simulator("sim", "openai_chat", keys=[KEY, *tokens])
    asyncio.run_coroutine_threadsafe(simulator.start(), loop).result(10)
    yield simulator
    asyncio.run_coroutine_threadsafe(simulator.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def place() -> Iterator[Path]:
    envoy_binary()
    with short_directory() as directory:
        yield directory
        assert running_in(directory) == []


def put(place: Path, provider: Simulator, credential: str) -> str:
    (place / "new").write_text(REGISTRY.format(url=provider.url, credential=credential))
    (place / "new").rename(place / "registry.yaml")
    return str(place / "registry.yaml")


def environment_of(place: Path, issuer: Issuer) -> dict[str, str]:
    mine = {name: value for name, value in environment().items() if not name.startswith(("GOOGLE_", "CLOUDSDK_", "AZURE_", "AWS_"))}
    return {
        **mine,
        "TMPDIR": str(place),
        "HOME": str(place),
        "UP_TEST_KEY": KEY,
        "GCE_METADATA_HOST": issuer.address,
        "GCE_METADATA_IP": issuer.address,
    }


def environments(place: Path) -> dict[str, str]:
    """What each kind of process that names `place` has in its environment."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line, environ = (entry / "cmdline").read_bytes().split(b"\0"), (entry / "environ").read_bytes()
        except OSError:  # it has just ended
            continue
        if str(place).encode() in b" ".join(line):
            name = next((word for word in ("serve", "tokens", "up") if word.encode() in line), "envoy")
            found[name] = environ.decode(errors="replace")
    return found


def test_the_first_request_has_its_token(place: Path, provider: Simulator, issuer: Issuer) -> None:
    port = a_free_one("127.0.0.1", 0)
    file = put(place, provider, WITH_TOKEN)
    with extproc("up", "--registry", file, "--listen", f"127.0.0.1:{port}", env=environment_of(place, issuer)) as up:
        up.until("access tokens are there")
        up.until("listening on")
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=hello("chat"), timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"] == "sim (gpt-4o-mini) heard: Hello"
        seen = environments(place)
        assert set(seen) == {"up", "envoy", "serve", "tokens"}
        assert {name for name, environ in seen.items() if KEY in environ} == {"up", "envoy"}
        up.signal(signal.SIGTERM)
        assert up.end() == 0
        assert not [token for token in issuer.issued if token in up.text]
        assert "Traceback" not in up.text
    assert len(issuer.issued) == 1


def test_a_registry_that_needs_tokens_later(place: Path, provider: Simulator, issuer: Issuer) -> None:
    port = a_free_one("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    file = put(place, provider, WITHOUT)
    with extproc("up", "--registry", file, "--listen", f"127.0.0.1:{port}", env=environment_of(place, issuer)) as up:
        up.until("listening on")
        assert "tokens" not in environments(place)
        assert issuer.asked == []
        put(place, provider, WITH_TOKEN)
        up.until("access token")
        eventually(lambda: issuer.issued and provider_saw(provider, url, issuer.issued[0]), "a request has the token", 30)
        up.signal(signal.SIGTERM)
        assert up.end() == 0
        assert "Traceback" not in up.text


def provider_saw(provider: Simulator, url: str, token: str) -> bool:
    provider.received.clear()
    answer = httpx.post(url, json=hello("chat"), timeout=30, trust_env=False)
    return answer.status_code == 200 and provider.received[-1].headers.get("authorization") == f"Bearer {token}"


def test_without_a_token_everything_else_works(place: Path, provider: Simulator, issuer: Issuer) -> None:
    issuer.refuse.add("/computeMetadata/v1/instance/service-accounts/default/token")
    port = a_free_one("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    with extproc("up", "--registry", put(place, provider, WITH_TOKEN), "--listen", f"127.0.0.1:{port}", env=environment_of(place, issuer)) as up:
        up.until("no access token yet for cloud")
        up.until("listening on")
        assert httpx.post(url, json=hello("plain"), timeout=30, trust_env=False).status_code == 200
        # the provider says 401, and that is what the caller is told about a gateway that lacks its credential
        assert httpx.post(url, json=hello("chat"), timeout=30, trust_env=False).status_code >= 400
        up.signal(signal.SIGTERM)
        assert up.end() == 0


def test_who_may_see_which_variable() -> None:
    text = """
version: 1
providers:
  o: {kind: openai, credential: {env: OPENAI}}
  b: {kind: bedrock, region: eu-west-1, credential: {aws: default}}
  a: {kind: azure, url: "https://a.openai.azure.com", credential: {entra: {tenant: t, client: 0c7d0b7e-4e7c-4b0a-9d3a-2f1f2b3c4d5e, env: APP}}}
targets: {t: {provider: o, model: m}}
models: {chat: {targets: [t]}}
"""
    registry = parse_registry(text.encode(), "r.yaml")
    assert {"OPENAI", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} < key_variables(registry)
    assert "APP" not in key_variables(registry)
    assert {"APP", "AZURE_CLIENT_SECRET"} < secret_variables(registry)
    plain = parse_registry(text.replace("{aws: default}", "{aws: {file: /s/aws}}").encode(), "r.yaml")
    assert key_variables(plain) == {"OPENAI"}
