"""The simulators held against recorded traffic: what the providers accepted is accepted, and what is answered has only shapes that they sent."""

import gzip
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from extproc.simulator import replies
from extproc.simulator.anthropic import messages as anthropic_messages
from extproc.simulator.anthropic.wire import AnthropicWire
from extproc.simulator.bedrock.invoke import BedrockInvokeWire
from extproc.simulator.gemini.wire import GeminiWire
from extproc.simulator.openai import responses_input
from extproc.simulator.openai.chat import OpenAIWire
from extproc.simulator.sites import SITES
from extproc.simulator.wire import Posted, Rejected, Stamp

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings"
pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not beside the project")
BETAS = "mid-conversation-system-2026-04-07,mcp-client-2025-04-04,context-management-2025-06-27"
STAMP = Stamp(b"0123456789abcdef", 1, 1700000000.0)
CASES = {"openai": ({"chat"}, OpenAIWire()), "anthropic": ({"messages"}, AnthropicWire()), "gemini": ({"gemini", "gemini-stream"}, GeminiWire())}
OTHERS = {
    "responses": ("openai", {"responses"}, "openai_chat", 300),
    "openai's other APIs": ("openai", {"embeddings", "completions", "other"}, "openai_chat", 90),
    "azure": ("azure", {"chat", "responses", "embeddings", "completions"}, "openai_chat", 60),
    "anthropic's counts": ("anthropic", {"count_tokens"}, "anthropic_messages", 5),
    "gemini's vectors and counts": ("gemini", {"embeddings", "count_tokens"}, "gemini", 15),
    "vertex": ("vertex", {"gemini", "gemini-stream", "rawpredict", "embeddings", "count_tokens"}, "gemini", 100),
    "bedrock": ("bedrock", {"converse", "converse-stream", "invoke"}, "bedrock_converse", 230),
    "cohere": ("cohere", {"chat", "embeddings", "other"}, "cohere_chat", 50),
    "ollama": ("ollama", {"chat", "embeddings", "other"}, "ollama_chat", 10),
}
"""(file of recordings, their APIs, the simulated provider, how many exchanges it must have a path for at the least)."""
KNOWN_TO_DIFFER = (
    "pydantic-ai__test_openai_responses_test_openai_responses_compact_with_auto",
    "ruby_llm__chat_with_schema_with_vertexai_gemini-3-flash-preview_allows_removing",
)
"""An empty input behind a compacted response, which was kept elsewhere; a part without content, which Vertex AI takes and the Gemini API refuses."""


def exchanges(provider):
    apis, _ = CASES[provider]
    with gzip.open(RECORDINGS / f"{provider}.jsonl.gz") as lines:
        for line in lines:
            record = json.loads(line)
            body = record["request_body"]
            if record["api"] in apis and record["status"] == 200 and body:
                record["request_body"] = json.loads(body) if isinstance(body, str) else body
                yield record


def ours(node):
    """The same body with the provider's signatures replaced by the simulator's, and redacted data by data."""
    if isinstance(node, list):
        return [ours(n) for n in node]
    if not isinstance(node, dict):
        return node
    out = {k: ours(v) for k, v in node.items()}
    if out.get("type") == "reasoning" and out.get("encrypted_content"):
        out["encrypted_content"] = responses_input.seal(b"n" * 16)
    if "signature" in out and "text" in out:
        out["signature"] = anthropic_messages.sign(out["text"], b"n" * 16)
    if "bytes" in out:
        out["bytes"] = "AAAA"
    for name in ("thoughtSignature", "thought_signature"):
        if name in out:
            out[name] = "skip_thought_signature_validator"
    if out.get("type") == "thinking" and "signature" in out:
        out["signature"] = anthropic_messages.sign(out["thinking"], b"n" * 16)
    if isinstance(out.get("data"), str) and out["data"].endswith("REDACTED"):
        out["data"] = "AAAA"
    return out


@pytest.mark.parametrize("provider", CASES)
def test_accepted_requests_are_accepted(provider):
    wire = CASES[provider][1]
    refused = []
    count = 0
    for record in exchanges(provider):
        url = urlsplit(record["url"])
        count += 1
        try:
            wire.read(
                wire.route("POST", url.path, url.query), ours(record["request_body"]), {"anthropic-version": "2023-06-01", "anthropic-beta": BETAS}
            )
        except Rejected as problem:
            refused.append((record["name"], problem.message))
    assert count > 200
    assert refused == []


def recorded(name):
    """The successful exchanges of `OTHERS[name]` with a body in JSON: (name, path, query, body)."""
    file, apis, _, _ = OTHERS[name]
    with gzip.open(RECORDINGS / f"{file}.jsonl.gz") as lines:
        for line in lines:
            record = json.loads(line)
            body = record["request_body"]
            if record["api"] not in apis or record["status"] != 200 or not body:
                continue
            try:
                body = json.loads(body) if isinstance(body, str) else body
            except ValueError:
                continue
            url = urlsplit(record["url"])
            # what a response goes on from was kept elsewhere
            yield record["name"], url.path.replace("//", "/"), url.query, {k: v for k, v in body.items() if k != "previous_response_id"}


@pytest.mark.parametrize("name", OTHERS)
def test_accepted_requests_are_accepted_by_the_other_apis(name):
    _, _, site, least = OTHERS[name]
    apis = SITES[site]()
    refused = []
    count = 0
    for record, path, query, body in recorded(name):
        for api in apis:
            try:
                call = api.route("POST", path, query)
            except Rejected:
                continue
            if isinstance(api, BedrockInvokeWire) and "anthropic_version" not in body:
                # another vendor's model, with a format of its own
                break
            count += 1
            sent = ours(body)
            try:
                if call.serve is not None:
                    call.serve(Posted(sent, b"", {"anthropic-beta": BETAS}, api.model_of(call, sent), STAMP))
                else:
                    api.read(call, sent, {"anthropic-beta": BETAS})
            except Rejected as problem:
                dangling = "No tool call found" in problem.message and "previous_response_id" not in body
                if not any(record.startswith(known) for known in KNOWN_TO_DIFFER) and not dangling:
                    refused.append((record, problem.message))
            break
    assert count >= least
    assert refused == []


def paths(node, at=""):
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{at}.{key}"
            if key not in ("args", "input"):
                yield from paths(value, f"{at}.{key}")
    elif isinstance(node, list):
        for item in node:
            yield from paths(item, at)


def documents(body):
    """The JSON documents of an answer: one, a JSON array's, or each event's data."""
    text = body if isinstance(body, str) else json.dumps(body)
    if text.lstrip()[:1] in "{[":
        whole = json.loads(text)
        return whole if isinstance(whole, list) else [whole]
    lines = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def seen_paths(provider):
    out = set()
    for record in exchanges(provider):
        if record["response_body"] and record.get("response_body_encoding") != "base64":
            try:
                found = documents(record["response_body"])
            except ValueError:
                continue
            for document in found:
                out.update(paths(document))
    return out


TOOL = {"type": "object", "properties": {"city": {"type": "string"}}}
REQUESTS = {
    "openai": [
        {"model": m, "messages": [{"role": "user", "content": "both f and g"}], "tools": tools}
        for m in ("gpt-4o", "gpt-5-mini")
        for tools in ([{"type": "function", "function": {"name": n, "parameters": TOOL}} for n in "fg"], None)
    ],
    "anthropic": [
        {
            "model": "claude-sonnet-5",
            "max_tokens": 4000,
            "messages": [{"role": "user", "content": "both f and g"}],
            "thinking": thinking,
            "tools": tools,
        }
        for thinking in ({"type": "enabled", "budget_tokens": 1024}, None)
        for tools in ([{"name": n, "input_schema": TOOL} for n in "fg"], None)
    ],
    "gemini": [
        {
            "contents": [{"role": "user", "parts": [{"text": "both f and g"}]}],
            "generationConfig": {"thinkingConfig": {"includeThoughts": True}},
            "tools": tools,
        }
        for tools in ([{"functionDeclarations": [{"name": n, "parametersJsonSchema": TOOL} for n in "fg"]}], None)
    ],
}


@pytest.mark.parametrize("provider", CASES)
def test_answers_have_only_recorded_members(provider):
    wire = CASES[provider][1]
    known = seen_paths(provider)
    made = set()
    for request in REQUESTS[provider]:
        for stream in (False, True):
            path = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}.get(provider)
            path = path or f"/v1beta/models/gemini-3-flash-preview:{'streamG' if stream else 'g'}enerateContent"
            body = {k: v for k, v in request.items() if v is not None}
            if provider != "gemini":
                body["stream"] = stream
            if provider == "openai" and stream:
                body["stream_options"] = {"include_usage": True}
            ask = wire.read(wire.route("POST", path, "alt=sse"), body, {})
            ask.cached = 1 if provider != "anthropic" else 0
            reply = replies.compose("sim", ask, None)
            raw = b"".join(wire.stream(ask, reply, STAMP).frames) if stream else wire.unary(ask, reply, STAMP)
            for document in documents(raw.decode()):
                made.update(paths(document))
    assert made
    assert made - known == set()
