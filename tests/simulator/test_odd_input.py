"""Bodies and schemas of any shape: the simulator answers 200 or 400, and never loses the connection."""

import copy
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.simulator import replies
from extproc.simulator.anthropic.messages import sign
from extproc.simulator.http1 import Request
from extproc.simulator.openai.responses_input import seal
from extproc.simulator.received import Received
from extproc.simulator.schema import document
from extproc.simulator.server import Simulator
from extproc.simulator.wire import Rejected, Stamp

STAMP = Stamp(b"0123456789abcdef", 1, 1700000000.0)
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "array", "items": {"type": "string"}}, "b": {"anyOf": [{"type": "integer"}]}},
    "required": ["a"],
}
BODIES = {
    "openai_chat": {
        "model": "gpt-4o",
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "f"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "r"},
        ],
    },
    "anthropic_messages": {
        "model": "claude-sonnet-4-5",
        "max_tokens": 3000,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "tools": [{"name": "f", "input_schema": SCHEMA}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"effort": "low"},
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "f"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
            {"role": "user", "content": "f"},
        ],
    },
    "gemini": {
        "contents": [
            {"role": "user", "parts": [{"text": "f"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": SCHEMA}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        "generationConfig": {"temperature": 1, "stopSequences": ["x"], "thinkingConfig": {"thinkingBudget": 10}},
        "systemInstruction": {"parts": [{"text": "s"}]},
    },
    "openai_responses": {
        "model": "gpt-5-mini",
        "stream": True,
        "store": False,
        "instructions": "s",
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}},
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
        "tool_choice": {"type": "function", "name": "f"},
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "f"}, {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]},
            {"type": "reasoning", "summary": [], "encrypted_content": seal(b"n" * 16)},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "r"},
        ],
    },
    "bedrock_converse": {
        "system": [{"text": "s"}, {"cachePoint": {"type": "default"}}],
        "inferenceConfig": {"maxTokens": 3000, "stopSequences": ["x"]},
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": SCHEMA}}}], "toolChoice": {"auto": {}}},
        "messages": [
            {"role": "user", "content": [{"text": "f"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}}]},
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "t", "signature": sign("t", b"n" * 16)}}},
                    {"toolUse": {"toolUseId": "a", "name": "f", "input": {}}},
                ],
            },
            {"role": "user", "content": [{"toolResult": {"toolUseId": "a", "content": [{"text": "r"}, {"json": {}}], "status": "success"}}]},
        ],
    },
    "bedrock_invoke": {
        "anthropic_version": "bedrock-2023-05-31",
        "anthropic_beta": ["effort-2025-11-24"],
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "f"}],
    },
    "cohere_chat": {
        "model": "command-a-reasoning-08-2025",
        "stream": True,
        "thinking": {"type": "enabled", "token_budget": 100},
        "stop_sequences": ["x"],
        "documents": [{"data": {"text": "d"}}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
        "tool_choice": "REQUIRED",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "f"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            {"role": "assistant", "tool_plan": "p", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "document", "document": {"data": "r"}}]},
        ],
    },
    "ollama_chat": {
        "model": "qwen3",
        "stream": True,
        "think": True,
        "format": SCHEMA,
        "options": {"num_predict": 100, "stop": ["x"], "temperature": 0.5},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
        "messages": [
            {"role": "user", "content": "f", "images": ["AAAA"]},
            {"role": "assistant", "content": "", "tool_calls": [{"id": "a", "function": {"index": 0, "name": "f", "arguments": {}}}]},
            {"role": "tool", "tool_name": "f", "content": "r"},
        ],
    },
}
PLAIN = {
    ("openai_chat", "/v1/embeddings"): {"model": "text-embedding-3-small", "input": ["a", [1, 2]], "dimensions": 8, "encoding_format": "base64"},
    ("openai_chat", "/v1/rerank"): {"model": "m", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": True},
    ("openai_chat", "/v1/completions"): {"model": "m", "prompt": ["a"], "stream": True, "stream_options": {"include_usage": True}},
    ("openai_chat", "/v1/moderations"): {"input": ["a", {"type": "text", "text": "violence"}]},
    ("openai_chat", "/v1/images/generations"): {"model": "m", "prompt": "a", "n": 2},
    ("openai_chat", "/v1/audio/speech"): {"model": "m", "input": "a", "voice": "alloy"},
    ("openai_chat", "/v1/responses/input_tokens"): {"model": "m", "input": "a"},
    ("anthropic_messages", "/v1/messages/count_tokens"): {"model": "m", "messages": [{"role": "user", "content": "f"}]},
    ("gemini", "/v1beta/models/m:embedContent"): {"content": {"parts": [{"text": "a"}]}, "taskType": "CLUSTERING", "outputDimensionality": 8},
    ("gemini", "/v1beta/models/m:batchEmbedContents"): {"requests": [{"model": "models/m", "content": {"parts": [{"text": "a"}]}}]},
    ("gemini", "/v1beta/models/m:countTokens"): {"generateContentRequest": {"model": "models/m", "contents": [{"parts": [{"text": "a"}]}]}},
    ("gemini", "/v1/projects/p/locations/l/publishers/google/models/m:predict"): {
        "instances": [{"content": "a", "task_type": "CLUSTERING"}],
        "parameters": {"outputDimensionality": 8},
    },
    ("bedrock_converse", "/model/m/count-tokens"): {"input": {"converse": {"messages": [{"role": "user", "content": [{"text": "a"}]}]}}},
    ("cohere_chat", "/v2/embed"): {"model": "m", "texts": ["a"], "input_type": "search_query", "embedding_types": ["int8", "ubinary"]},
    ("cohere_chat", "/v2/rerank"): {"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 1},
    ("ollama_chat", "/api/embed"): {"model": "m", "input": ["a"], "dimensions": 8},
    ("ollama_chat", "/api/generate"): {"model": "m", "prompt": "a", "images": ["AAAA"], "options": {"seed": 1}},
}
"""By (provider, path)."""
REFUSALS = {400, 404, 422}
ODD = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    [],
    [None],
    [[]],
    {},
    {"x": 1},
    {"type": "object"},
    {"$ref": "#"},
    [{"type": "text"}],
    "é\ud83d\ude00",
    10**30,
]


def places(node, at=()):
    yield at
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from places(value, (*at, key))


def replaced(body, at, value):
    if not at:
        return value
    out = copy.deepcopy(body)
    inner = out
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return out


def answered(simulator, path, body):
    """The status of the answer to `body`, made without a socket; anything but an answer or a refusal raises."""
    headers = {"authorization": "Bearer k", "x-api-key": "k", "x-goog-api-key": "k", "anthropic-version": "2023-06-01", "x-amz-date": "x"}
    raw = json.dumps(body).encode()
    request = Request("POST", path, headers, raw)
    answer, _ = simulator._answer(*simulator._routed(request), request, Received("POST", path, headers, len(raw), raw), STAMP)
    return answer.status


@pytest.mark.parametrize("dialect", BODIES)
def test_one_odd_member_anywhere(dialect, conftest):
    simulator = Simulator("sim", conftest.SITES.get(dialect, dialect))
    body = BODIES[dialect]
    path = conftest.PATHS[dialect][1]
    assert answered(simulator, path, body) == 200
    seen = set()
    for at in places(body):
        for value in ODD:
            seen.add(answered(simulator, path, replaced(body, at, value)))
    assert {200, 400} <= seen <= {200} | REFUSALS


@pytest.mark.parametrize(("site", "path"), PLAIN)
def test_one_odd_member_of_a_plain_request(site, path):
    simulator = Simulator("sim", site)
    body = PLAIN[site, path]
    assert answered(simulator, path, body) == 200
    seen = {answered(simulator, path, replaced(body, at, value)) for at in places(body) for value in ODD}
    assert {200, 400} <= seen <= {200} | REFUSALS


@pytest.mark.parametrize("dialect", BODIES)
def test_several_odd_members(dialect, conftest):
    simulator = Simulator("sim", conftest.SITES.get(dialect, dialect))
    draw = random.Random(7)
    for _ in range(300):
        body = BODIES[dialect]
        for _ in range(draw.randint(2, 4)):
            at = draw.choice(list(places(body)))
            body = replaced(body, at, draw.choice(ODD))
        assert answered(simulator, conftest.PATHS[dialect][1], body) in {200} | REFUSALS


KEYWORDS = st.sampled_from(
    [
        *(
            "type",
            "properties",
            "required",
            "items",
            "prefixItems",
            "enum",
            "const",
            "anyOf",
            "oneOf",
            "allOf",
            "$ref",
            "$defs",
            "minimum",
            "maximum",
        ),
        *("exclusiveMinimum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems", "format", "additionalProperties"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda c: st.lists(c, max_size=3) | st.dictionaries(KEYWORDS, c, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(JSON)
def test_any_schema_gives_a_document(schema):
    json.dumps(document(schema))


def test_unforeseen_shapes_are_refused_in_the_providers_words():
    simulator = Simulator("sim", "anthropic_messages")
    request = Request("POST", "/v1/messages", {"x-api-key": "k", "anthropic-version": "2023-06-01"})
    wire, call = simulator._routed(request)
    wire.read = lambda *_: {}["missing"]  # type: ignore[attr-defined]
    with pytest.raises(Rejected, match="does not match the expected shape"):
        simulator._ask(wire, call, request, {}, "", "k")  # type: ignore[arg-type]


def test_pieces_lose_nothing():
    for text in ("", " ", "a b", "  a\n\nb ", "é 😀"):
        assert "".join(replies.pieces(text)) == text
        assert "".join(replies.argument_pieces(text)) == text
