"""Embeddings, reranking and token counts through the real Envoy: the SDKs of three vendors, the providers that have such a thing."""

from __future__ import annotations

import cohere
import httpx
import pytest

from extproc.simulator.vectors import vector
from tests.e2e.sdks import Sdk
from tests.e2e.stack import Stack

TEXTS = ["grüße aus Köln", "hello"]
LENGTHS = {"oa": 256, "ge": 256, "co": 256, "ol": 256}


@pytest.mark.parametrize("provider", LENGTHS)
@pytest.mark.parametrize("client", ["openai", "google-genai", "cohere"])
def test_embeddings(stack: Stack, sdks: dict[str, Sdk], client: str, provider: str) -> None:
    """The numbers are those that the provider made of the texts as they were written, whatever form they travelled in."""
    sdk = sdks[client].client  # type: ignore[attr-defined]
    length = LENGTHS[provider]
    if client == "openai":
        got = [e.embedding for e in sdk.embeddings.create(model=provider, input=TEXTS, dimensions=length).data]
    elif client == "google-genai":
        config = {"output_dimensionality": length}
        got = [e.values for e in sdk.models.embed_content(model=provider, contents=TEXTS, config=config).embeddings]
    else:
        answer = sdk.embed(model=provider, texts=TEXTS, input_type="search_document", embedding_types=["float"], output_dimension=length)
        got = answer.embeddings.float_
    for numbers, text in zip(got, TEXTS, strict=True):
        assert numbers == pytest.approx(vector(text, length), rel=1e-6, abs=1e-9)
    assert all(r.problem is None for r in stack.received(provider))


def test_rerank(stack: Stack, sdks: dict[str, Sdk]) -> None:
    documents = ["a cat", "the capital of France is Paris", "Paris"]
    client = sdks["cohere"].client  # type: ignore[attr-defined]
    assert isinstance(client, cohere.ClientV2)
    results = client.rerank(model="co", query="capital of France", documents=documents, top_n=2).results
    assert [r.index for r in results] == [1, 0]
    body = {"model": "co", "query": "capital of France", "documents": documents, "top_n": 1}
    assert [r["index"] for r in httpx.post(f"{stack.url}/v1/rerank", json=body).raise_for_status().json()["results"]] == [1]
    assert [r.problem for r in stack.received("co")] == [None, None]


@pytest.mark.parametrize("provider", ["an", "ge", "be", "bi"])
def test_token_counts(stack: Stack, sdks: dict[str, Sdk], provider: str) -> None:
    """What the provider counts is what it says later of the same request, give or take nothing."""
    client = sdks["anthropic"].client  # type: ignore[attr-defined]
    messages = [{"role": "user", "content": "count my tokens please"}]
    counted = client.messages.count_tokens(model=provider, messages=messages).input_tokens
    assert counted == client.messages.create(model=provider, messages=messages, max_tokens=50).usage.input_tokens
    assert all(r.problem is None for r in stack.received(provider))
