"""The models of the registry as each vendor's SDK lists them: what `GET /v1/models`, `/v1beta/models`, `/api/tags` and `/api/show` answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import anthropic
import cohere
import groq
import httpx
import httpx2
import ollama
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from mistralai.client.models import BaseModelCard

from extproc.core.exchange import BodyEvent, HeadersEvent, Immediate, Kind, State
from tests.stages.world import World, of_type, registry, target

NAMES = ["alias", "chat"]
BASE = "http://llm.internal"


@pytest.fixture
def world() -> World:
    return World(registry(target("gpt", window=128_000), target("claude", "anthropic_messages", window=200_000, vision=False)))


def answering(world: World, http: Any) -> Callable[[Any], Any]:
    """What a transport of `http` (httpx or httpx2) asks: the route stage's own answers."""

    def answer(request: Any) -> Any:
        exchange, raw = world.route(), request.read()
        headers = {**dict(request.headers), ":method": request.method, ":path": request.url.raw_path.decode()}
        actions = exchange.handle(HeadersEvent(Kind.REQUEST_HEADERS, headers, end=not raw))
        if exchange.state is State.BODY:
            actions = exchange.handle(BodyEvent(Kind.REQUEST_BODY, raw, True))
        own = of_type(actions, Immediate)
        return http.Response(own.status, headers=list(own.headers), content=own.body)

    return answer


@pytest.fixture
def client(world: World) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(answering(world, httpx)))


@pytest.fixture
def client2(world: World) -> httpx2.Client:
    return httpx2.Client(transport=httpx2.MockTransport(answering(world, httpx2)))


@pytest.mark.parametrize("base", ["/v1", "/openai/v1", "/api/v1", ""])
def test_openai(client2: httpx2.Client, base: str) -> None:
    sdk = openai.OpenAI(base_url=BASE + base, api_key="k", http_client=client2, max_retries=0)
    assert [(m.id, m.object) for m in sdk.models.list()] == [(name, "model") for name in NAMES]
    assert sdk.models.retrieve("alias").id == "alias"
    with pytest.raises(openai.NotFoundError, match="'nobody' does not exist here"):
        sdk.models.retrieve("nobody")


def test_groq(client: httpx.Client) -> None:
    sdk = groq.Groq(base_url=BASE, api_key="k", http_client=client, max_retries=0)
    assert [m.id for m in sdk.models.list().data] == NAMES
    assert sdk.models.retrieve("chat").id == "chat"


def test_mistral(client: httpx.Client) -> None:
    sdk = Mistral(api_key="k", server_url=BASE, client=cast("Any", client))
    data = sdk.models.list().data
    assert data is not None
    assert [m.id for m in data if isinstance(m, BaseModelCard)] == NAMES
    card = sdk.models.retrieve(model_id="chat")
    assert isinstance(card, BaseModelCard)
    assert (card.id, card.max_context_length) == ("chat", 200_000)
    assert card.capabilities.completion_chat
    assert card.capabilities.vision
    with pytest.raises(SDKError, match="does not exist here"):
        sdk.models.retrieve(model_id="nobody")


def test_anthropic(client2: httpx2.Client) -> None:
    sdk = anthropic.Anthropic(base_url=BASE, api_key="k", http_client=client2, max_retries=0)
    assert [(m.id, m.display_name, m.max_input_tokens) for m in sdk.models.list()] == [(name, name, 200_000) for name in NAMES]
    assert sdk.models.retrieve("chat").max_tokens == 4096
    with pytest.raises(anthropic.NotFoundError, match="does not exist here"):
        sdk.models.retrieve("nobody")


@pytest.mark.parametrize("version", ["v1beta", "v1"])
def test_google(client: httpx.Client, version: str) -> None:
    sdk = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=BASE, api_version=version, httpx_client=client))
    assert [m.name for m in sdk.models.list()] == [f"models/{name}" for name in NAMES]
    one = sdk.models.get(model="chat")
    assert (one.name, one.input_token_limit, one.output_token_limit) == ("models/chat", 200_000, 4096)
    assert one.supported_actions is not None
    assert {"generateContent", "countTokens", "embedContent"} <= set(one.supported_actions)
    with pytest.raises(google_errors.ClientError, match="does not exist here"):
        sdk.models.get(model="nobody")


def test_cohere(client: httpx.Client) -> None:
    sdk = cohere.ClientV2(base_url=BASE, api_key="k", httpx_client=client)
    assert [m.name for m in sdk.models.list().models] == NAMES
    one = sdk.models.get("chat")
    assert (one.name, one.context_length, one.endpoints) == ("chat", 200_000, ["chat", "embed"])
    with pytest.raises(cohere.NotFoundError, match="does not exist here"):
        sdk.models.get("nobody")


def test_ollama(world: World) -> None:
    sdk = ollama.Client(host=BASE, transport=httpx.MockTransport(answering(world, httpx)))
    assert [m.model for m in sdk.list().models] == NAMES
    shown = sdk.show("alias")
    assert shown.capabilities == ["completion", "embedding", "tools", "vision"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["llm.context_length"] == 200_000
    with pytest.raises(ollama.ResponseError, match="does not exist here"):
        sdk.show("nobody")


def test_what_no_target_has_is_not_promised() -> None:
    world = World(registry(target("claude", "anthropic_messages", tools=False, vision=False)))
    sdk = ollama.Client(host=BASE, transport=httpx.MockTransport(answering(world, httpx)))
    shown = sdk.show("chat")
    assert (shown.capabilities, shown.modelinfo) == (["completion"], {})
