"""llama.cpp's own server behind the whole system, asked by the SDKs of seven dialects: a provider that nobody here wrote.

Its model always says the same (`tiny_model`), so what comes out is known, and so are the counts and the ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.caller import SCHEMA, TOOL, Caller, Question
from tests.e2e.callers import CALLERS, KEY, Anthropic, Boto3, Cohere, Genai, Ollama, OpenAI, Responses, all_callers
from tests.e2e.llama_server import running_llama
from tests.e2e.stack import Stack, running_stack

pytest.importorskip("xllamacpp", reason="llama.cpp's server (xllamacpp) is not installed")
pytest.importorskip("gguf", reason="what writes its model (gguf) is not installed")

from tests.e2e.tiny_model import SAID, write_model

TEXT = "".join(SAID)
CONTEXT = 1024
EVERY = list(CALLERS)


@dataclass
class Llama:
    stack: Stack
    callers: dict[str, Caller]

    def ask(self, name: str, request: pytest.FixtureRequest, question: Question, model: str = "tiny") -> tuple[Any, dict[str, Any]]:
        """(what the SDK heard, the log line)."""
        request_id = f"llama-{request.node.name}"
        heard = self.callers[name].ask(model, question, request_id)
        return heard, self.stack.lines.of(request_id)

    def refused(self, name: str, request: pytest.FixtureRequest, question: Question, model: str = "tiny") -> tuple[int, str, dict[str, Any]]:
        """(the status that the SDK raised, its words, the log line)."""
        caller, request_id = self.callers[name], f"llama-{request.node.name}"
        with pytest.raises(caller.errors) as caught:
            caller.ask(model, question, request_id)
        error: Any = caught.value
        words = f"{error} {getattr(error, 'code', '')} {getattr(error, 'type', '')}"
        return caller.status(error), words, self.stack.lines.of(request_id)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write_model(path)
    with (
        running_llama(path, use="chat", context=CONTEXT) as chat,
        running_llama(path, use="embeddings", context=CONTEXT) as embeddings,
        running_llama(path, use="rerank", context=CONTEXT) as rerank,
    ):

        def registry(sims: Mapping[str, object], directory: Path) -> str:
            return f"""
version: 1
providers:
  chat: {{kind: llama.cpp, url: "{chat}/v1"}}
  embeddings: {{kind: llama.cpp, url: "{embeddings}/v1"}}
  rerank: {{kind: llama.cpp, url: "{rerank}/v1"}}
targets:
  tiny: {{provider: chat, model: tiny-model}}
  again: {{provider: chat, model: other-model}}
  vectors: {{provider: embeddings, model: tiny-vectors}}
  ranks: {{provider: rerank, model: tiny-ranks}}
models:
  tiny: {{targets: [tiny]}}
  two: {{targets: [tiny, again]}}
  vectors: {{targets: [vectors]}}
  no-vectors: {{targets: [tiny]}}
  ranks: {{targets: [ranks]}}
"""

        with running_stack(registry, {}, {}) as stack, all_callers(stack.url) as callers:
            yield Llama(stack, callers)


@pytest.mark.parametrize("name", EVERY)
def test_what_it_says(llama: Llama, request: pytest.FixtureRequest, name: str, stream: bool) -> None:
    heard, line = llama.ask(name, request, Question(stream=stream))
    assert (heard.text, heard.thoughts, heard.calls, heard.finish) == (TEXT, "", [], "stop")
    # <|user|> hello <|end|> <|assistant|>, a letter a token; each word of the answer is one, and its end
    assert heard.usage == (8, len(SAID) + 1)
    if stream:
        assert heard.pieces >= len(SAID)
    assert (line["outcome"], line["status"], line["target"], line["stream"]) == ("ok", 200, "tiny", stream)
    assert (line["finish"], line["input_tokens"], line["output_tokens"]) == ("stop", 8, len(SAID) + 1)
    assert line["provider"] == "llama.cpp"
    assert [(a["target"], a["status"], a["verdict"]) for a in line["attempts"]] == [("tiny", 200, "pass")]
    # Ollama's API has no count of cached tokens
    assert line.get("losses", []) in ([], ["dropped:usage_details"] if name == Ollama.name else [])


@pytest.mark.parametrize("name", EVERY)
def test_a_limit(llama: Llama, request: pytest.FixtureRequest, name: str, stream: bool) -> None:
    heard, line = llama.ask(name, request, Question(stream=stream, max_tokens=3))
    assert (heard.text, heard.finish, heard.usage) == ("It runs here", "length", (8, 3))
    assert line["finish"] == "length"


@pytest.mark.parametrize("name", EVERY)
def test_a_tool(llama: Llama, request: pytest.FixtureRequest, name: str, stream: bool) -> None:
    """A grammar of llama.cpp's makes it call the tool; Ollama's API cannot ask for that, so there the model only talks."""
    heard, line = llama.ask(name, request, Question("what is the weather?", stream=stream, tool=True))
    if name == Ollama.name:
        assert (heard.text, heard.calls, heard.finish) == (TEXT, [], "stop")
        return
    [(called, arguments)] = heard.calls
    assert called == TOOL
    assert arguments in ({"city": "Paris"}, {"city": "Rome"})
    assert (heard.finish, line["finish"]) == ("tools", "tool_calls")
    assert heard.text == TEXT


SHAPED = [name for name in EVERY if name != Boto3.name]


@pytest.mark.parametrize("name", SHAPED)
def test_a_shape(llama: Llama, request: pytest.FixtureRequest, name: str, stream: bool) -> None:
    heard, _ = llama.ask(name, request, Question(stream=stream, shape=True))
    assert heard.text.replace(" ", "") in ('{"city":"Paris"}', '{"city":"Rome"}')
    assert heard.finish == "stop"


def test_a_tool_loop_goes_on(llama: Llama, request: pytest.FixtureRequest) -> None:
    """Its template gets the arguments as an object and the result as text: what the second turn costs shows that both were there."""
    body: dict[str, Any] = {
        "model": "tiny",
        "tools": [{"name": TOOL, "description": "tells", "input_schema": SCHEMA}],
        "max_tokens": 200,
        "messages": [{"role": "user", "content": "weather?"}],
    }
    sdk = llama.callers[Anthropic.name].sdk
    first = sdk.messages.create(**body, tool_choice={"type": "any"})
    [call] = [block for block in first.content if block.type == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "fine weather"}
    turns = [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = sdk.messages.create(**(body | {"messages": body["messages"] + turns}))
    assert ("".join(block.text for block in second.content), second.stop_reason) == (TEXT, "end_turn")
    added = second.usage.input_tokens + (second.usage.cache_read_input_tokens or 0)
    added -= first.usage.input_tokens + (first.usage.cache_read_input_tokens or 0)
    assert added >= len(TOOL) + len('{"city":"Rome"}') + len("fine weather")


def test_what_is_lost_is_said(llama: Llama, request: pytest.FixtureRequest) -> None:
    heard, line = llama.ask(Anthropic.name, request, Question(more={"service_tier": "standard_only"}))
    assert heard.text == TEXT
    assert line["losses"] == ["dropped:service_tier"]
    assert heard.headers["x-llm-losses"] == "dropped:service_tier"


def test_members_of_its_own_pass(llama: Llama, request: pytest.FixtureRequest) -> None:
    """Unknown to us, known to it: the same dialect on both sides is not read."""
    chat = {"messages": [{"role": "user", "content": "x"}], "n_probs": 1, "logit_bias": [["here", False]], "ignore_nonsense": 1}
    answer = httpx.post(f"{llama.stack.url}/v1/chat/completions", json={"model": "tiny", "max_tokens": 2, **chat}, timeout=20).json()
    assert answer["choices"][0]["logprobs"]["content"][0]["token"] == "It"
    assert answer["timings"]["predicted_n"] == 2


LONG = Question("many words " * CONTEXT)
TOO_LONG = {
    # its own dialect: its own words, untouched
    OpenAI.name: "exceed_context_size_error",
    Responses.name: "context_length_exceeded",
    Anthropic.name: "prompt is too long",
    Genai.name: "INVALID_ARGUMENT",
    Boto3.name: "ValidationException",
    Cohere.name: "available context size",
    Ollama.name: "available context size",
}


@pytest.mark.parametrize("name", EVERY)
def test_a_prompt_that_is_too_long(llama: Llama, request: pytest.FixtureRequest, name: str, stream: bool) -> None:
    status, words, line = llama.refused(name, request, Question(LONG.text, stream=stream))
    assert status == 400
    assert TOO_LONG[name] in words
    assert (line["outcome"], line["status"], line["error_type"]) == ("rejected", 400, "context_length_exceeded")


def test_an_image(llama: Llama, request: pytest.FixtureRequest) -> None:
    """Its model has no eyes, which llama.cpp says as a 500: not asked twice, and said as what it is."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    more = {"messages": [{"role": "user", "content": [image]}]}
    status, words, line = llama.refused(Anthropic.name, request, Question(more=more), "two")
    assert "image input is not supported" in words
    assert [(a["target"], a["status"], a["error_type"]) for a in line["attempts"]] == [
        ("tiny", 500, "not_implemented"),
        ("again", 500, "not_implemented"),
    ]
    assert status == 501


_NO_SCHEMA = {"type": "object", "properties": {"a": {"type": "no such type"}}}
WRONG: dict[str, dict[str, Any]] = {
    OpenAI.name: {"temperature": "warm"},
    Responses.name: {"max_output_tokens": -7},
    Anthropic.name: {"tools": [{"name": "t", "input_schema": _NO_SCHEMA}], "tool_choice": {"type": "any"}},
}
"""What only the provider can know to be wrong."""


@pytest.mark.parametrize("name", WRONG)
def test_a_parameter_that_it_refuses(llama: Llama, request: pytest.FixtureRequest, name: str, stream: bool) -> None:
    status, words, line = llama.refused(name, request, Question(stream=stream, more=WRONG[name]), "two")
    assert status == 400, words
    assert (line["outcome"], line["status"], len(line["attempts"])) == ("rejected", 400, 1)


def vectors_of(llama: Llama, path: str, body: Any) -> Any:
    return httpx.post(llama.stack.url + path, json=body, timeout=20).raise_for_status().json()


def test_embeddings(llama: Llama) -> None:
    """The same vectors for the SDKs of four dialects."""
    import openai

    sdk = openai.OpenAI(base_url=f"{llama.stack.url}/v1", api_key=KEY, max_retries=0)
    words = ["a river", "a bridge"]
    said = sdk.embeddings.create(model="vectors", input=words)
    plain = sdk.embeddings.create(model="vectors", input=words, encoding_format="float")
    wanted = [item.embedding for item in plain.data]
    assert [len(vector) for vector in wanted] == [32, 32]
    assert wanted[0] != wanted[1]
    assert all(math.isclose(sum(x * x for x in vector), 1, rel_tol=1e-3) for vector in wanted)
    assert said.usage.prompt_tokens == plain.usage.prompt_tokens == len("".join(words))

    genai = llama.callers[Genai.name].sdk.models.embed_content(model="vectors", contents=words)
    cohere = llama.callers[Cohere.name].sdk.embed(model="vectors", texts=words, input_type="search_query", embedding_types=["float"])
    ollama = llama.callers[Ollama.name].sdk.embed("vectors", words)
    for name, vectors in {
        "base64": [item.embedding for item in said.data],
        "gemini": [e.values for e in genai.embeddings],
        "cohere": cohere.embeddings.float_,
        "ollama": ollama.embeddings,
    }.items():
        for vector, want in zip(vectors, wanted, strict=True):
            assert vector == pytest.approx(want, abs=1e-6), name


def test_embeddings_of_a_server_without_them(llama: Llama, request: pytest.FixtureRequest) -> None:
    answer = httpx.post(
        f"{llama.stack.url}/v1/embeddings", json={"model": "no-vectors", "input": "x"}, headers={"x-request-id": "llama-without"}, timeout=20
    )
    assert answer.status_code == 501
    assert "--embeddings" in answer.json()["error"]["message"]
    assert llama.stack.lines.of("llama-without")["error_type"] == "not_implemented"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_rerank(llama: Llama, version: str) -> None:
    import cohere

    documents = ["a river in spring", "a bridge", "rivers"]
    if version == "v1":
        sdk: Any = cohere.Client(api_key=KEY, base_url=llama.stack.url)
    else:
        sdk = llama.callers[Cohere.name].sdk
    said = sdk.rerank(model="ranks", query="river", documents=documents)
    assert sorted(result.index for result in said.results) == [0, 1, 2]
    scores = [result.relevance_score for result in said.results]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    best = sdk.rerank(model="ranks", query="river", documents=documents, top_n=1)
    assert [(result.index, result.relevance_score) for result in best.results] == [(said.results[0].index, scores[0])]


def test_completions(llama: Llama) -> None:
    import openai

    sdk = openai.OpenAI(base_url=f"{llama.stack.url}/v1", api_key=KEY, max_retries=0)
    assert sdk.completions.create(model="tiny", prompt="<|assistant|>", max_tokens=4).choices[0].text == "It runs here,"
    streamed = sdk.completions.create(model="tiny", prompt="<|assistant|>", max_tokens=4, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == "It runs here,"
