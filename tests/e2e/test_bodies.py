"""Large bodies arrive whole, also on a second attempt; a same-dialect exchange is the same bytes both ways."""

from __future__ import annotations

import base64
import hashlib
import random
import time
from collections.abc import Iterator
from types import SimpleNamespace
from unittest.mock import patch

import httpx
import orjson
import pytest

from extproc.simulator import FaultKind
from extproc.simulator import server as simulator_server
from tests.e2e.stack import Stack

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
MB = 1 << 20
PNG = b"\x89PNG\r\n\x1a\n"


def with_image(megabytes: int) -> bytes:
    picture = base64.b64encode(PNG + random.Random(megabytes).randbytes(megabytes * MB * 3 // 4)).decode()
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}]
    return orjson.dumps({"model": "MODEL", "messages": [{"role": "user", "content": parts}]})


def with_messages(megabytes: int) -> bytes:
    turn = [{"role": "user", "content": "u" * 480}, {"role": "assistant", "content": "a" * 480}]
    return orjson.dumps({"model": "MODEL", "messages": [*(turn * (megabytes * MB // 1024)), {"role": "user", "content": "and now?"}]})


def post(stack: Stack, path: str, body: bytes) -> httpx.Response:
    return httpx.post(stack.url + path, content=body, headers={"content-type": "application/json"}, timeout=90)


@pytest.mark.parametrize("make", [with_image, with_messages])
@pytest.mark.parametrize("megabytes", [1, 10, 40])
def test_large_body_same_dialect(stack: Stack, make: object, megabytes: int) -> None:
    """The first provider fails after it has read it; the second gets the same bytes but for the model's name."""
    body = make(megabytes)  # type: ignore[operator]
    stack.fault("oa", FaultKind.STATUS, status=429)
    answer = post(stack, CHAT, body.replace(b'"MODEL"', b'"large-same"', 1))
    assert answer.status_code == 200
    assert answer.headers["x-llm-attempts"] == "2"
    expected = body.replace(b'"MODEL"', b'"gpt-4o"', 1)
    for name in ("oa", "ob"):
        (request,) = stack.received(name)
        assert request.length == len(expected)
        digest = request.sha256 or hashlib.sha256(request.body or b"").hexdigest()
        assert digest == hashlib.sha256(expected).hexdigest()
        assert request.problem is None


@pytest.mark.parametrize("make", [with_image, with_messages])
@pytest.mark.parametrize("megabytes", [1, 10, 40])
def test_large_body_translated(stack: Stack, make: object, megabytes: int) -> None:
    body = make(megabytes)  # type: ignore[operator]
    stack.fault("oa", FaultKind.RESET)
    answer = post(stack, CHAT, body.replace(b'"MODEL"', b'"large-cross"', 1))
    assert answer.status_code == 200
    assert answer.headers["x-llm-target"] == "wide-an"
    (request,) = stack.received("an")
    assert request.problem is None
    assert request.length > megabytes * MB * 0.9
    if make is with_image:
        assert f"{megabytes * MB * 3 // 4 + len(PNG)} bytes" in answer.json()["choices"][0]["message"]["content"]


# a document of every kind of odd spelling: spaces, escapes, big numbers, unknown members, key order
ODD = (
    b'{ "messages" : [ {"role":"user","content":"gr\\u00fc\\u00dfe \\ud83d\\ude42 \xe2\x80\x94 x"} ],\n\t"max_tokens": 1000, '
    b'"model" : "MODEL" , "temperature": 1.0, "stop": null%b }'
)
ODD_ANTHROPIC = (
    b'{ "messages" : [ {"role":"user","content":[{"type":"text","text":"gr\\u00fc\\u00dfe \\ud83d\\ude42",'
    b'"cache_control":{"type":"ephemeral"}}]} ],\n\t"max_tokens": 1000, "model" : "MODEL" , "temperature": 1.0, "metadata": {"user_id": "u"}%b }'
)


@pytest.fixture
def frozen() -> Iterator[None]:
    """The simulators' clock stands still, so that asking one again gives the same bytes."""
    with patch.object(simulator_server, "time", SimpleNamespace(time=lambda: 1_800_000_000.5, monotonic=time.monotonic)):
        yield


def again(stack: Stack, name: str) -> httpx.Response:
    """What the provider sent: asked once more, directly, with exactly what it got."""
    (request,) = stack.received(name)
    headers = {k: v for k, v in request.headers.items() if k not in ("host", "content-length")}
    return httpx.post(stack.sims[name].url + request.target, content=request.body, headers=headers)


@pytest.mark.parametrize("stream", [b"", b', "stream": true, "stream_options": {"include_usage": true}'], ids=["unary", "stream"])
@pytest.mark.parametrize(("provider", "upstream"), [("oa", "gpt-4o"), ("an", "claude-sonnet-4-5")])
def test_same_dialect_is_the_same_bytes(stack: Stack, frozen: None, provider: str, upstream: str, stream: bytes) -> None:
    path, body = (CHAT, ODD) if provider == "oa" else (MESSAGES, ODD_ANTHROPIC)
    if provider == "an":
        stream = stream and b', "stream": true'
    body = body % stream
    answer = post(stack, path, body.replace(b'"MODEL"', b'"%b"' % provider.encode()))
    assert answer.status_code == 200
    (request,) = stack.received(provider)
    assert request.body == body.replace(b'"MODEL"', b'"%b"' % upstream.encode())
    direct = again(stack, provider)
    assert answer.content == direct.content
    assert answer.headers["content-type"] == direct.headers["content-type"]
    assert answer.headers.get("content-length") == direct.headers.get("content-length")
    # the provider's word on limits goes through, its account does not
    assert {k for k in direct.headers if "ratelimit" in k} <= set(answer.headers)
    assert not {"openai-organization", "anthropic-organization-id", "set-cookie", "strict-transport-security"} & set(answer.headers)


def test_only_the_usage_chunk_that_we_asked_for_is_taken_out(stack: Stack, frozen: None) -> None:
    answer = post(stack, CHAT, ODD.replace(b'"MODEL"', b'"oa"') % b', "stream": true')
    direct = again(stack, "oa").content
    events = direct.split(b"\n\n")
    usage = [e for e in events if b'"choices":[]' in e]
    assert len(usage) == 1
    assert answer.content == b"\n\n".join(e for e in events if e not in usage)


@pytest.mark.parametrize(("path", "provider"), [(CHAT, "oa"), (MESSAGES, "an")])
def test_unknown_members_pass_both_ways(stack: Stack, frozen: None, path: str, provider: str) -> None:
    """The provider decides about a member that we do not know; its refusal comes back as it said it."""
    body = b'{"model":"%b","max_tokens":5,"brand_new_member":{"a":[1,2]},"messages":[{"role":"user","content":"x"}]}' % provider.encode()
    answer = post(stack, path, body)
    (request,) = stack.received(provider)
    assert orjson.loads(request.body or b"")["brand_new_member"] == {"a": [1, 2]}
    assert answer.status_code == 400
    assert "brand_new_member" in answer.text
    direct = again(stack, provider)
    # Anthropic numbers its requests inside the body
    assert answer.json()["error"] == direct.json()["error"]
    if provider == "oa":
        assert answer.content == direct.content
