"""The simulators of the later formats under the SDKs that are made for them, and what they refuse."""

import base64
import json
import struct
import warnings

import boto3
import cohere
import httpx
import ollama
import openai
import pytest
from botocore.config import Config
from google import genai

from tests.e2e.every_sdk import SDKS
from tests.e2e.sdk_ollama import PlainOllama
from tests.e2e.sdks import NAMES

PAIRS = [("openai-responses", "openai_chat", "gpt-4o"), ("boto3", "bedrock_converse", "anthropic.claude-sonnet-4-5-20250929-v1:0")]
PAIRS += [("cohere", "cohere_chat", "command-a-03-2025"), ("ollama", "ollama_chat", "qwen3")]
REASONING = ("cohere", "cohere_chat", "command-a-reasoning-08-2025")
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 60
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}


@pytest.fixture
def ask(simulate):
    def start(client, site):
        sim = simulate(site)
        return sim, SDKS[client](sim.url)

    return start


@pytest.mark.parametrize(("client", "site", "model"), PAIRS)
def test_whole_and_streamed_are_the_same(ask, client, site, model):
    sim, sdk = ask(client, site)
    for options in ({}, sdk.options(limit=16), sdk.options(schema=SCHEMA)):
        whole, streamed = (sdk.ask(model, "tell of Paris " * 9, stream=stream, **options) for stream in (False, True))
        assert whole.text
        assert (whole.text, whole.finish, whole.usage) == (streamed.text, streamed.finish, streamed.usage)
    assert json.loads(whole.text) == {"city": "Paris"}
    assert "1 image (image/png, 68 bytes)" in sdk.ask(model, messages=sdk.user("look", png=PNG)).text
    assert [r.problem for r in sim.received] == [None] * 7


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("client", "site", "model"), PAIRS)
def test_tool_loop(ask, client, site, model, stream):
    sim, sdk = ask(client, site)
    messages = sdk.user("call get_weather and get_time, both, for Paris")
    first = sdk.ask(model, messages=messages, stream=stream, **sdk.options(tools=True))
    assert [name for _, name, _ in first.calls] == list(NAMES)
    assert first.finish == sdk.finishes["tools"]
    second = sdk.ask(model, messages=[*messages, *sdk.turn(first), *sdk.results(first, "ok")], stream=stream, **sdk.options(tools=True))
    assert "got 2 tool results" in second.text
    assert [r.problem for r in sim.received] == [None, None]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("client", "site", "model"),
    [("openai-responses", "openai_chat", "gpt-5-mini"), PAIRS[1], REASONING],
)
def test_thoughts_come_back_as_they_went_out(ask, client, site, model, stream):
    sim, sdk = ask(client, site)
    options = sdk.options(tools=True, think=True)
    messages = sdk.user("call get_weather for Paris")
    first = sdk.ask(model, messages=messages, stream=stream, **options)
    assert first.thinking
    turn = sdk.turn(first)
    sdk.ask(model, messages=[*messages, *turn, *sdk.results(first, "ok")], stream=stream, **options)
    assert [r.problem for r in sim.received] == [None, None]
    if client == "boto3":
        turn[0]["content"][0]["reasoningContent"]["reasoningText"]["text"] += " and more"
    elif client == "openai-responses":
        turn[0]["encrypted_content"] = turn[0]["encrypted_content"][:-8] + "AAAAAAA="
    else:
        return
    with pytest.raises(Exception, match=r"cannot be modified|could not be verified"):
        sdk.ask(model, messages=[*messages, *turn, *sdk.results(first, "ok")], stream=stream, **options)


def test_responses_that_are_kept(simulate):
    client = openai.OpenAI(base_url=f"{simulate('openai_chat').url}/v1", api_key="k", max_retries=0, _strict_response_validation=True)
    first = client.responses.create(model="gpt-5-mini", input="my name is Ada")
    assert client.responses.retrieve(first.id).output == first.output
    assert "and then" in client.responses.create(model="gpt-5-mini", input="and then", previous_response_id=first.id).output_text
    assert client.responses.input_tokens.count(model="gpt-5-mini", input="and then", previous_response_id=first.id).input_tokens > 10
    unkept = client.responses.create(model="gpt-5-mini", input="x", store=False)
    with pytest.raises(openai.BadRequestError) as unknown:
        client.responses.create(model="gpt-5-mini", input="and then", previous_response_id=unkept.id)
    assert unknown.value.code == "previous_response_not_found"
    with pytest.raises(openai.NotFoundError, match="Items are not persisted"):
        client.responses.create(
            model="gpt-5-mini", input=[*(i.model_dump(exclude_none=True) for i in unkept.output), {"role": "user", "content": "y"}]
        )
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_events_of_responses_in_order(simulate):
    client = openai.OpenAI(base_url=f"{simulate('openai_chat').url}/v1", api_key="k", max_retries=0, _strict_response_validation=True)
    said = list(client.responses.create(model="gpt-5-mini", input="hello", reasoning={"summary": "auto"}, stream=True))
    assert [e.sequence_number for e in said] == list(range(len(said)))
    kinds = list(dict.fromkeys(e.type.removeprefix("response.") for e in said))
    assert kinds == [
        *("created", "in_progress", "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
        *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "completed"),
    ]


def test_azure(simulate):
    sim = simulate("openai_chat", keys=["good"])
    client = openai.AzureOpenAI(azure_endpoint=sim.url, api_key="good", api_version="2025-04-01-preview", max_retries=0)
    user = [{"role": "user", "content": "hello"}]
    assert client.chat.completions.create(model="mine", messages=user).choices[0].message.content == "sim (mine) heard: hello"
    assert client.responses.create(model="mine", input="hello").output_text == "sim (mine) heard: hello"
    assert len(client.embeddings.create(model="mine", input="hello").data) == 1
    assert {r.key for r in sim.received} == {"good"}
    body = {"messages": user}
    assert httpx.post(f"{sim.url}/openai/deployments/mine/chat/completions", json=body, headers={"api-key": "good"}).status_code == 404
    assert httpx.post(f"{sim.url}/v1/chat/completions", json=body, headers={"api-key": "good"}).status_code == 401


def test_vertex(simulate):
    sim = simulate("gemini", keys=["token"])
    base = f"{sim.url}/v1/projects/p/locations/global/publishers"
    bearer = {"authorization": "Bearer token"}
    contents = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    claude = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    assert "hello" in httpx.post(f"{base}/google/models/gemini-2.5-flash:generateContent", json=contents, headers=bearer).text
    assert "hello" in httpx.post(f"{base}/anthropic/models/claude-sonnet-4-5:rawPredict", json=claude, headers=bearer).text
    streamed = httpx.post(f"{base}/anthropic/models/claude-sonnet-4-5:streamRawPredict", json=claude | {"stream": True}, headers=bearer).text
    assert "message_stop" in streamed
    refused = httpx.post(f"{base}/google/models/gemini-2.5-flash:generateContent", json=contents, headers={"x-goog-api-key": "token"})
    assert (refused.status_code, refused.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
    wrong = httpx.post(f"{base}/anthropic/models/claude-sonnet-4-5:rawPredict", json=claude | {"model": "x"}, headers=bearer)
    assert wrong.json()["error"] == {"type": "invalid_request_error", "message": "model: Extra inputs are not permitted"}


def bedrock(sim, key="accesskey"):
    return boto3.client(
        "bedrock-runtime",
        endpoint_url=sim.url,
        region_name="eu-central-1",
        aws_access_key_id=key,
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_bedrock_keys_and_ids(simulate):
    sim = simulate("bedrock_converse", keys=["accesskey"])
    client = bedrock(sim)
    user = [{"role": "user", "content": [{"text": "hello"}]}]
    model = "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
    client.converse(modelId=model, messages=user)
    assert sim.received[-1].model == model
    assert client.count_tokens(modelId=model, input={"converse": {"messages": user}})["inputTokens"] > 0
    with pytest.raises(client.exceptions.ClientError, match="UnrecognizedClientException"):
        bedrock(sim, "another").converse(modelId=model, messages=user)
    unsigned = httpx.post(f"{sim.url}/model/x/converse", json={"messages": user})
    assert (unsigned.status_code, unsigned.headers["x-amzn-errortype"].partition(":")[0]) == (403, "MissingAuthenticationTokenException")


def test_bedrock_invokes_claude(simulate):
    client = bedrock(simulate("bedrock_converse"))
    model = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
    body = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]})
    whole = json.loads(client.invoke_model(modelId=model, body=body)["body"].read())
    assert whole["content"][0]["text"].endswith("heard: hello")
    chunks = [json.loads(e["chunk"]["bytes"]) for e in client.invoke_model_with_response_stream(modelId=model, body=body)["body"]]
    assert "".join(c["delta"].get("text", "") for c in chunks if c["type"] == "content_block_delta") == whole["content"][0]["text"]
    assert chunks[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"] == whole["usage"]["output_tokens"]
    encoded = base64.b64encode(body.encode())
    assert client.count_tokens(modelId=model, input={"invokeModel": {"body": body.encode()}})["inputTokens"] == whole["usage"]["input_tokens"], (
        encoded
    )


def test_vectors(simulate):
    oai = openai.OpenAI(base_url=f"{simulate('openai_chat').url}/v1", api_key="k", max_retries=0)
    floats = oai.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=8, encoding_format="float")
    packed = oai.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=8, encoding_format="base64")
    assert [e.embedding for e in floats.data] == [list(struct.unpack("<8f", base64.b64decode(e.embedding))) for e in packed.data]
    assert floats.data[0].embedding != floats.data[1].embedding
    tokens = oai.embeddings.create(model="text-embedding-3-small", input=[[1, 2], [3]])
    assert (len(tokens.data), len(tokens.data[0].embedding), tokens.usage.prompt_tokens) == (2, 1536, 3)
    gem = genai.Client(api_key="k", http_options={"base_url": simulate("gemini").url})
    vectors = gem.models.embed_content(model="gemini-embedding-001", contents=["a", "b"], config={"output_dimensionality": 8}).embeddings
    assert [len(v.values) for v in vectors] == [8, 8]
    assert gem.models.count_tokens(model="gemini-2.5-flash", contents="hello there").total_tokens > 0
    co = cohere.ClientV2(api_key="k", base_url=simulate("cohere_chat").url)
    got = co.embed(model="embed-v4.0", texts=["a"], input_type="search_query", embedding_types=["float", "int8", "ubinary"], output_dimension=256)
    assert (len(got.embeddings.float_[0]), len(got.embeddings.int8[0]), len(got.embeddings.ubinary[0])) == (256, 256, 32)
    ol = ollama.Client(simulate("ollama_chat").url)
    assert len(ol.embed("nomic-embed-text", ["a", "b"], dimensions=8).embeddings) == 2
    assert "llama3.2" in {m.model for m in ol.list().models}
    assert ol.generate("llama3.2", "hello").response == "sim (llama3.2) heard: hello"


def test_rerank(simulate):
    documents = ["a cat", "the capital of France is Paris", "Paris"]
    co = cohere.ClientV2(api_key="k", base_url=simulate("cohere_chat").url)
    assert [r.index for r in co.rerank(model="rerank-v3.5", query="capital of France", documents=documents, top_n=2).results] == [1, 0]
    url = simulate("openai_chat").url
    body = {"model": "m", "query": "capital of France", "documents": documents, "return_documents": True}
    got = httpx.post(f"{url}/v1/rerank", json=body, headers={"authorization": "Bearer k"}).json()
    assert [r["index"] for r in got["results"]] == [1, 0, 2]
    assert got["results"][0]["document"] == {"text": documents[1]}


def test_what_else_openai_has(simulate):
    client = openai.OpenAI(base_url=f"{simulate('openai_chat').url}/v1", api_key="k", max_retries=0)
    assert client.completions.create(model="m", prompt="hello").choices[0].text == " m heard: hello"
    assert "".join(c.choices[0].text for c in client.completions.create(model="m", prompt="hello", stream=True)) == " m heard: hello"
    assert client.moderations.create(input="violence").results[0].categories.violence
    assert base64.b64decode(client.images.generate(model="gpt-image-1", prompt="x").data[0].b64_json).startswith(b"\x89PNG")
    assert client.audio.speech.create(model="tts-1", voice="alloy", input="hi").content.startswith(b"RIFF")
    heard = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"12345"))
    assert heard.text == "whisper-1 heard 5 bytes of a.wav"


ASK = {"role": "user", "content": "hi"}
TEXT = {"role": "user", "content": [{"text": "hi"}]}
CALL = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
USE = {"role": "assistant", "content": [{"toolUse": {"toolUseId": "a", "name": "f", "input": {}}}]}
TEXT_CALL = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
REFUSED = [
    ("openai_responses", {"model": "gpt-4o", "input": "x", "foo": 1}, 400, "Unknown parameter: 'foo'."),
    ("openai_responses", {"model": "gpt-4o", "input": "x", "stop": ["a"]}, 400, "Unknown parameter: 'stop'."),
    ("openai_responses", {"model": "gpt-4o", "input": "x", "max_output_tokens": 9}, 400, "Expected a value >= 16"),
    ("openai_responses", {"model": "gpt-4o", "input": [ASK, CALL]}, 400, "No tool output found for function call a."),
    ("openai_responses", {"model": "gpt-4o", "input": [{"type": "function_call_output", "call_id": "a", "output": "x"}]}, 400, "No tool call found"),
    ("openai_responses", {"model": "gpt-4o", "input": [ASK, CALL | {"id": "call_1"}]}, 400, "begins with 'fc'"),
    ("openai_responses", {"model": "gpt-4o", "input": "x", "reasoning": {"effort": "low"}}, 400, "not supported with this model"),
    ("openai_responses", {"model": "gpt-4o", "input": "x", "include": ["reasoning.encrypted_content"]}, 400, "not supported with this model"),
    ("bedrock_converse", {"messages": [TEXT], "foo": 1}, 400, "extraneous key [foo]"),
    ("bedrock_converse", {"messages": [{"role": "user", "content": [{"text": ""}]}]}, 400, "is blank"),
    ("bedrock_converse", {"messages": [{"role": "user", "content": [{"text": "a", "image": {}}]}]}, 400, "exactly one member"),
    ("bedrock_converse", {"messages": [TEXT], "inferenceConfig": {"temperature": 2}}, 400, "less than or equal to 1"),
    (
        "bedrock_converse",
        {"messages": [USE]},
        400,
        "toolConfig",
    ),
    ("bedrock_converse", {"messages": [TEXT], "toolConfig": {"tools": []}}, 400, "length greater than or equal to 1"),
    ("bedrock_invoke", {"max_tokens": 9, "messages": [ASK]}, 400, "anthropic_version: Field required"),
    ("bedrock_invoke", {"anthropic_version": "bedrock-2023-05-31", "model": "x", "max_tokens": 9, "messages": [ASK]}, 400, "model: Extra inputs"),
    ("cohere_chat", {"model": "m", "messages": [ASK], "top_p": 1}, 422, "parameter 'top_p' is not a valid field"),
    ("cohere_chat", {"model": "m", "messages": [ASK], "p": 1}, 400, "p must be between 0.01 and 0.99"),
    ("cohere_chat", {"model": "m", "messages": [ASK], "tool_choice": "auto"}, 400, "REQUIRED, NONE"),
    ("cohere_chat", {"model": "m", "messages": [ASK, {"role": "tool", "tool_call_id": "a", "content": "x"}]}, 400, "not that of a tool call"),
    ("cohere_chat", {"model": "m", "messages": [ASK], "thinking": {"type": "enabled"}}, 400, "not supported"),
    ("ollama_chat", {"model": "m", "messages": [ASK], "max_tokens": 1}, 400, "unknown field max_tokens"),
    ("ollama_chat", {"model": "m", "messages": [ASK], "options": {"max_tokens": 1}}, 400, "invalid option provided"),
    ("ollama_chat", {"model": "m", "messages": [ASK], "think": True}, 400, "does not support thinking"),
    (
        "ollama_chat",
        {"model": "m", "messages": [TEXT_CALL]},
        400,
        "arguments",
    ),
]


@pytest.mark.parametrize(("dialect", "body", "status", "text"), REFUSED)
def test_what_is_refused(simulate, conftest, dialect, body, status, text):
    sim = simulate(dialect)
    got = httpx.post(sim.url + conftest.PATHS[dialect][0], json=body, headers=conftest.KEYS[dialect])
    assert got.status_code == status
    assert text in got.text.replace("\\", "")
    assert sim.received[-1].problem.startswith(f"{status}: ")


def test_plain_ollama_keeps_the_ids_of_calls(simulate):
    sim = simulate("ollama_chat")
    sdk = PlainOllama(sim.url)
    messages = sdk.user("call get_weather for Paris")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = sdk.ask("llama3.2", messages=messages, stream=True, **sdk.options(tools=True))
        assert first.calls[0][0].startswith("call_")
        second = sdk.ask("llama3.2", messages=[*messages, *sdk.turn(first), *sdk.results(first, "ok")], **sdk.options(tools=True))
    assert "got 1 tool result" in second.text
