"""Simulators for the tests: an event loop in a thread of its own, so that synchronous SDKs and bare sockets can talk to them."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from extproc.simulator import Simulator

SIGNED = "AWS4-HMAC-SHA256 Credential=accesskey/20260102/us-east-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + "0" * 64
KEYS = {
    "openai_chat": {"authorization": "Bearer sk-test"},
    "openai_responses": {"authorization": "Bearer sk-test"},
    "anthropic_messages": {"x-api-key": "sk-test", "anthropic-version": "2023-06-01"},
    "gemini": {"x-goog-api-key": "sk-test"},
    "vertex_claude": {"authorization": "Bearer token"},
    "bedrock_converse": {"authorization": SIGNED, "x-amz-date": "20260102T030405Z"},
    "bedrock_invoke": {"authorization": SIGNED, "x-amz-date": "20260102T030405Z"},
    "cohere_chat": {"authorization": "Bearer sk-test"},
    "ollama_chat": {},
}
_CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1%3A0"
_VERTEX = "/v1/projects/p/locations/global/publishers/anthropic/models/claude-sonnet-4-5"
PATHS = {
    "openai_chat": ("/v1/chat/completions", "/v1/chat/completions"),
    "openai_responses": ("/v1/responses", "/v1/responses"),
    "anthropic_messages": ("/v1/messages", "/v1/messages"),
    "gemini": ("/v1beta/models/gemini-2.5-flash:generateContent", "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"),
    "vertex_claude": (f"{_VERTEX}:rawPredict", f"{_VERTEX}:streamRawPredict"),
    "bedrock_converse": (f"/model/{_CLAUDE}/converse", f"/model/{_CLAUDE}/converse-stream"),
    "bedrock_invoke": (f"/model/{_CLAUDE}/invoke", f"/model/{_CLAUDE}/invoke-with-response-stream"),
    "cohere_chat": ("/v2/chat", "/v2/chat"),
    "ollama_chat": ("/api/chat", "/api/chat"),
}
"""By API: (unary, streamed)."""
SITES = {"openai_responses": "openai_chat", "vertex_claude": "gemini", "bedrock_invoke": "bedrock_converse"}
"""The provider that has the API, where it is not the API's own."""


class Loop:
    """Runs coroutines in another thread and waits for them."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture(scope="session")
def background() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def simulate(background: Loop) -> Iterator[Callable[..., Simulator]]:
    started: list[Simulator] = []

    def start(dialect: str, **settings: Any) -> Simulator:
        simulator = Simulator("sim", SITES.get(dialect, dialect), **settings)
        background.run(simulator.start())
        started.append(simulator)
        return simulator

    yield start
    for simulator in started:
        background.run(simulator.stop())


def exchange(simulator: Simulator, raw: bytes, timeout: float = 10, quiet: float | None = None) -> tuple[bytes, str]:
    """Sends raw bytes and reads to the end: what came, and how it ended ("eof", "reset" or "timeout").

    `timeout` in seconds is for each piece; `quiet` for those behind the first, where a test waits for nothing more to come.
    """
    with socket.create_connection(("127.0.0.1", simulator.port), timeout) as client:
        client.sendall(raw)
        data = b""
        try:
            while piece := client.recv(1 << 16):
                data += piece
                client.settimeout(timeout if quiet is None else quiet)
        except ConnectionResetError:
            return data, "reset"
        except TimeoutError:
            return data, "timeout"
        return data, "eof"


def request_bytes(method: str, target: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "host: sim", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{k}: {v}" for k, v in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.fixture
def conftest() -> Any:
    """What this file defines, for tests that are imported without a package."""
    return SimpleNamespace(KEYS=KEYS, PATHS=PATHS, SITES=SITES, exchange=exchange, request_bytes=request_bytes)
