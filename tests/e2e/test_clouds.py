"""Bedrock, Azure and Vertex AI behind the whole system: the path that each model's name becomes, the signature over what is really sent, and
fallback to and from them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config

from extproc.core.eventstream import event
from extproc.simulator import FaultKind, Simulator
from tests.e2e.stack import Stack, running_stack
from tests.envoyconfig.aws import FakeBedrock, fake_bedrock

ACCOUNT = "ACCOUNTONE"
SECRET = "a-secret-of-aws+with/signs"
PROFILE = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1b2c3"
HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
CONVERSED = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hello from Bedrock"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
    "metrics": {"latencyMs": 5},
}
MESSAGE = {
    "id": "msg_bdrk_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-3-haiku-20240307",
    "content": [{"type": "text", "text": "Hello from Claude"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 4},
}
STREAM = b"".join(
    event(kind, json.dumps(payload).encode())
    for kind, payload in (
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello "}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "in pieces"}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}, "metrics": {"latencyMs": 5}}),
    )
)
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello from Azure"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}
GENERATED = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello from Vertex"}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7},
}


class Cloud(ThreadingHTTPServer):
    """Azure and Vertex AI: `requests` are (path, headers, body)."""

    daemon_threads = True

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Cloud

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        content = GENERATED if "generateContent" in self.path else MESSAGE if "rawPredict" in self.path else COMPLETION
        answer = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent."""


@dataclass
class Clouds:
    stack: Stack
    aws: FakeBedrock
    cloud: Cloud

    def chat(self, model: str, **more: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "Grüße"}], **more}
        return httpx.post(f"{self.stack.url}/v1/chat/completions", json=body, timeout=20)

    def boto(self) -> Any:
        """The SDK of AWS, with keys that mean nothing here."""
        config = Config(retries={"total_max_attempts": 1}, read_timeout=20)
        keys = {"aws_access_key_id": "client-key", "aws_secret_access_key": "client-secret", "aws_session_token": "client-token"}
        return boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=self.stack.url, config=config, **keys)


@pytest.fixture(scope="module")
def shared() -> Iterator[Clouds]:
    cloud = Cloud()
    serving = threading.Thread(target=cloud.serve_forever, args=(0.02,), daemon=True)
    serving.start()
    with fake_bedrock({ACCOUNT: (SECRET, None)}) as aws:
        aws.answers = [
            ("/converse", "application/json", json.dumps(CONVERSED).encode()),
            ("/invoke", "application/json", json.dumps(MESSAGE).encode()),
            ("/converse-stream", "application/vnd.amazon.eventstream", STREAM),
        ]

        def text(sims: Mapping[str, Simulator], directory: Path) -> str:
            (directory / "keys" / "aws").write_text(f"[default]\naws_access_key_id={ACCOUNT}\naws_secret_access_key={SECRET}\n")
            vertex = f'kind: vertex, url: "{cloud.url}", project: acme-prod, location: europe-west4, credential: {{file: {directory}/keys/google}}'
            azure = f'kind: azure-openai, url: "{cloud.url}", credential: {{file: {directory}/keys/azure}}'
            aws_file = f"{{aws: {{file: {directory}/keys/aws}}}}"
            return f"""
version: 1
providers:
  oa: {{kind: openai, url: "{sims["oa"].url}/v1", credential: {{file: {directory}/keys/oa}}}}
  bedrock: {{kind: bedrock, region: eu-central-1, url: "http://127.0.0.1:{aws.server_port}", credential: {aws_file}}}
  lost: {{kind: bedrock, region: eu-central-1, url: "http://127.0.0.1:{aws.server_port}", credential: {{aws: {{file: {directory}/keys/none}}}}}}
  dated: {{{azure}, api_version: "2024-10-21"}}
  v1: {{{azure}}}
  vertex: {{{vertex}}}
targets:
  oa: {{provider: oa, model: gpt-4o}}
  nova: {{provider: bedrock, model: "amazon.nova-pro-v1:0"}}
  haiku: {{provider: bedrock, model: "{HAIKU}"}}
  profile: {{provider: bedrock, model: "{PROFILE}"}}
  lost: {{provider: lost, model: "amazon.nova-pro-v1:0"}}
  dated: {{provider: dated, model: gpt-4o, deployment: prod-4o}}
  v1: {{provider: v1, model: gpt-4o, deployment: prod-4o}}
  gemini: {{provider: vertex, model: gemini-2.5-pro}}
  claude: {{provider: vertex, model: claude-sonnet-4-5@20250929}}
models:
  nova: {{targets: [nova]}}
  haiku: {{targets: [haiku], aliases: ["{HAIKU}"]}}
  profile: {{targets: [profile], aliases: ["{PROFILE}"]}}
  oa-profile: {{targets: [oa, profile]}}
  lost-oa: {{targets: [lost, oa]}}
  lost-nova: {{targets: [lost, nova]}}
  dated: {{targets: [dated]}}
  v1: {{targets: [v1]}}
  gemini: {{targets: [gemini]}}
  claude: {{targets: [claude]}}
"""

        keys = {"oa": "sk-secret-of-oa-0123456789", "azure": "an-azure-key", "google": "a-google-token"}
        with running_stack(text, {"oa": "openai_chat"}, keys) as stack:
            yield Clouds(stack, aws, cloud)
    cloud.shutdown()
    cloud.server_close()
    serving.join()


@pytest.fixture
def clouds(shared: Clouds) -> Clouds:
    shared.stack.reset()
    shared.aws.requests.clear()
    shared.cloud.requests.clear()
    return shared


@pytest.mark.parametrize(
    ("model", "path", "words"),
    [
        ("nova", "/model/amazon.nova-pro-v1%3A0/converse", "Hello from Bedrock"),
        ("haiku", "/model/anthropic.claude-3-haiku-20240307-v1%3A0/invoke", "Hello from Claude"),
        ("profile", "/model/" + PROFILE.replace(":", "%3A").replace("/", "%2F") + "/converse", "Hello from Bedrock"),
    ],
)
def test_signed_for_bedrock(clouds: Clouds, model: str, path: str, words: str) -> None:
    answer = clouds.chat(model)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == words
    [arrived] = clouds.aws.requests
    assert (arrived.path, arrived.refusal, arrived.key) == (path, None, ACCOUNT)
    assert "Grüße" in arrived.body.decode()


def test_a_stream_of_bedrock(clouds: Clouds) -> None:
    answer = clouds.chat("profile", stream=True)
    chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]) == "Hello in pieces"
    assert answer.text.rstrip().endswith("[DONE]")
    assert [(a.refusal, a.path.rpartition("/")[2]) for a in clouds.aws.requests] == [(None, "converse-stream")]


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_after_an_attempt_at_openai(clouds: Clouds, stream: bool) -> None:
    clouds.stack.fault("oa", FaultKind.STATUS, status=503)
    answer = clouds.chat("oa-profile", stream=stream)
    assert (answer.status_code, answer.headers["x-llm-target"]) == (200, "profile")
    [arrived] = clouds.aws.requests
    assert (arrived.refusal, arrived.key) == (None, ACCOUNT)
    assert "sk-secret" not in repr(arrived.headers)


def test_without_keys_of_aws_the_next_target_answers(clouds: Clouds) -> None:
    answer = clouds.chat("lost-oa")
    assert (answer.status_code, answer.headers["x-llm-target"]) == (200, "oa")
    assert [a.refusal for a in clouds.aws.requests] == ["not signed"]
    assert clouds.stack.received("oa")[0].headers["authorization"] == "Bearer sk-secret-of-oa-0123456789"
    answer = clouds.chat("lost-nova")
    assert (answer.status_code, answer.headers["x-llm-target"]) == (200, "nova")


@pytest.mark.parametrize("model", [HAIKU, PROFILE])
def test_the_sdk_of_aws(clouds: Clouds, model: str) -> None:
    """It writes the names of models into paths as AWS wants them, slashes encoded; and signs, which nobody here asks about."""
    client = clouds.boto()
    said = client.converse(modelId=model, messages=[{"role": "user", "content": [{"text": "Hello"}]}])
    assert said["output"]["message"]["content"][0]["text"].startswith("Hello from")
    [arrived] = clouds.aws.requests
    assert (arrived.refusal, arrived.key) == (None, ACCOUNT)
    assert "client-" not in repr(arrived.headers)


def test_no_key_reaches_the_server(clouds: Clouds) -> None:
    clouds.chat("oa-profile")
    clouds.boto().converse(modelId=PROFILE, messages=[{"role": "user", "content": [{"text": "Hello"}]}])
    assert not [pair for pair in clouds.stack.seen if pair[0].startswith("x-amz-") or pair[0] in ("authorization", "api-key")]
    for secret in (SECRET, "client-token", "a-google-token", "an-azure-key", "AWS4-HMAC"):
        assert not [pair for pair in clouds.stack.seen if secret in pair[1]]


@pytest.mark.parametrize(
    ("model", "path", "name", "header"),
    [
        ("dated", "/openai/deployments/prod-4o/chat/completions?api-version=2024-10-21", "prod-4o", ("api-key", "an-azure-key")),
        ("v1", "/openai/v1/chat/completions", "prod-4o", ("api-key", "an-azure-key")),
        (
            "gemini",
            "/v1/projects/acme-prod/locations/europe-west4/publishers/google/models/gemini-2.5-pro:generateContent",
            None,
            ("authorization", "Bearer a-google-token"),
        ),
        (
            "claude",
            "/v1/projects/acme-prod/locations/europe-west4/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict",
            None,
            ("authorization", "Bearer a-google-token"),
        ),
    ],
)
def test_paths_of_azure_and_vertex(clouds: Clouds, model: str, path: str, name: str | None, header: tuple[str, str]) -> None:
    answer = clouds.chat(model)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"].startswith("Hello from")
    [(seen, headers, body)] = clouds.cloud.requests
    assert seen == path
    assert headers[header[0]] == header[1]
    assert body.get("model") == name
    assert len({"authorization", "api-key", "x-goog-api-key"} & set(headers)) == 1
