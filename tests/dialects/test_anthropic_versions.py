"""Both versions of Anthropic's API and both headers for its keys: what its SDK really sends, what goes on from there, what the SDK makes of answers.

Version 2026-10-21 differs in what requests may hold (no temperature, top_p, top_k; no documents in assistant messages; no citations in user
messages), not in answers: https://platform.claude.com/docs/en/api/versioning. A client's version is passed on to its own dialect and to no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import orjson
import pytest

from extproc.core.dialect import Ask, Reply
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.headers import kept
from extproc.dialects.catalog import DIALECTS
from extproc.stages import pipes, upstream
from tests.dialects.seam import chat, sse
from tests.golden.matrix import TARGETS
from tests.validators.requests import REQUESTS

MESSAGES = DIALECTS["anthropic_messages"]
REPLY = Reply("reply", 1, "shown")
USER = {"role": "user", "content": "q"}
NEWER, OLDER = "2026-10-21", "2023-06-01"


class Server:
    """A gateway for one target. `headers` are what the client sent, `built` what the provider got."""

    def __init__(self, to: str, answer: Callable[[bool], httpx2.Response]) -> None:
        self._to = to
        self._answer = answer
        self.headers: dict[str, str] = {}
        self.built: upstream.UpstreamRequest | None = None

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.headers = dict(request.headers)
        body = orjson.loads(request.content)
        self.built = build(self._to, body, self.headers)
        return self._answer(body.get("stream") is True)

    def client(self, **options: Any) -> anthropic.Anthropic:
        transport = httpx2.Client(transport=httpx2.MockTransport(self))
        return anthropic.Anthropic(base_url="http://llm.internal", http_client=transport, max_retries=0, **({"api_key": "unused"} | options))


def build(to: str, body: dict[str, Any], headers: dict[str, str], client: str = "anthropic_messages") -> upstream.UpstreamRequest:
    target = TARGETS[to]
    via = target.upstream(MESSAGES.operation, client)
    assert via is not None
    ask = Ask("m", stream=body.get("stream") is True, headers=kept(headers))
    raw = orjson.dumps(body)
    dialects = {"client": DIALECTS[client], "upstream": DIALECTS[via.dialect]}
    return upstream.build(raw, body, **dialects, via=via, target=target, facts=target.facts, ask=ask)


def served_by_openai(stream: bool) -> httpx2.Response:
    """An OpenAI answer as an Anthropic client gets it."""
    whole = orjson.dumps(chat({"role": "assistant", "content": "Hi"}, usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}))
    if not stream:
        return httpx2.Response(200, content=pipes.translate_whole(whole, MESSAGES, DIALECTS["openai_chat"], REPLY, stream=False)[0])
    deltas: list[dict[str, Any]] = [
        {"delta": {"role": "assistant", "content": "H"}},
        {"delta": {"content": "i"}},
        {"delta": {}, "finish_reason": "stop"},
    ]
    raw = sse(*({"id": "c", "model": "x", "created": 1, "choices": [{"index": 0} | delta]} for delta in deltas), b"[DONE]")
    out = pipes.TranslatedStream(MESSAGES, DIALECTS["openai_chat"], REPLY).feed(raw, end=True)
    return httpx2.Response(200, content=out, headers={"content-type": "text/event-stream"})


def ask(client: anthropic.Anthropic, *, stream: bool) -> str:
    turns: Any = [USER]
    answer: anthropic.types.Message
    if stream:
        with client.messages.stream(model="m", max_tokens=10, messages=turns) as events:
            answer = events.get_final_message()
    else:
        answer = client.messages.create(model="m", max_tokens=10, messages=turns)
    assert answer.stop_reason == "end_turn"
    return "".join(block.text for block in answer.content if block.type == "text")


@pytest.mark.parametrize("stream", [False, True])
def test_the_sdk_served_by_another_vendor(stream: bool) -> None:
    server = Server("openai_chat", served_by_openai)
    assert ask(server.client(), stream=stream) == "Hi"
    assert server.headers["anthropic-version"] == NEWER
    assert server.headers["authorization"] == "Bearer unused"
    assert "x-api-key" not in server.headers
    assert server.built is not None
    REQUESTS["openai_chat"](server.built.body)
    assert not {name for name in server.built.headers if name.startswith(("anthropic", "authorization", "x-api-key"))}


def own(stream: bool) -> httpx2.Response:
    """An answer of Anthropic's, which passes as it is."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None, "usage": usage}
    text = {"type": "text", "text": "Hi"}
    if not stream:
        return httpx2.Response(200, json=message | {"content": [text], "stop_reason": "end_turn"})
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message | {"content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": text},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]
    raw = b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), orjson.dumps(e)) for e in events)
    pipe = pipes.WatchedStream(MESSAGES, MESSAGES.stream_observer(hide_usage=False))
    return httpx2.Response(200, content=pipe.feed(raw, end=True), headers={"content-type": "text/event-stream"})


@pytest.mark.parametrize("stream", [False, True])
def test_the_sdk_served_by_anthropic(stream: bool) -> None:
    """Its version goes along, whatever version the kind of provider sends by itself; its key does not."""
    server = Server("anthropic_messages", own)
    assert ask(server.client(), stream=stream) == "Hi"
    assert server.built is not None
    assert server.built.headers["anthropic-version"] == NEWER
    assert not server.built.headers.keys() & {"authorization", "x-api-key"}


@pytest.mark.parametrize(
    ("sent", "version"),
    [
        ({"x-api-key": "k", "anthropic-version": OLDER}, OLDER),
        ({"authorization": "Bearer k", "anthropic-version": NEWER}, NEWER),
        ({"x-api-key": "k", "anthropic-version": NEWER}, NEWER),
        ({"authorization": "Bearer k", "anthropic-version": OLDER}, OLDER),
        ({"x-api-key": "k"}, OLDER),
        ({"anthropic-version": "2031-01-01", "anthropic-beta": "a-1,b-2"}, "2031-01-01"),
    ],
)
@pytest.mark.parametrize("counting", [False, True])
def test_either_version_with_either_header(sent: dict[str, str], version: str, counting: bool) -> None:
    body = {"model": "m", "messages": [USER], **({} if counting else {"max_tokens": 5})}
    dialect = DIALECTS["anthropic_count_tokens"] if counting else MESSAGES
    built = dialect.splice_request(orjson.dumps(body), body, TARGETS["anthropic_messages"].facts, Ask("m", headers=kept(sent)))
    wanted = {"anthropic-version": version} | ({"anthropic-beta": sent["anthropic-beta"]} if "anthropic-beta" in sent else {})
    assert built.headers == wanted


@pytest.mark.parametrize("client", ["openai_chat", "gemini"])
def test_other_clients_requests_are_of_the_version_that_has_their_parameters(client: str) -> None:
    """Temperature is a 400 in the newer one, whatever its value."""
    body: dict[str, Any] = {"model": "m", "messages": [USER], "temperature": 0.5}
    if client == "gemini":
        body = {"contents": [{"parts": [{"text": "q"}]}], "generationConfig": {"temperature": 0.5}}
    built = build("anthropic_messages", body, {"anthropic-version": NEWER}, client)
    assert built.headers["anthropic-version"] == OLDER
    assert orjson.loads(built.body)["temperature"] == 0.5


def test_what_the_newer_version_removed_still_reaches_other_vendors() -> None:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "system", "content": "s"}, USER], "temperature": 0.5, "top_p": 0.9}
    for version in (OLDER, NEWER):
        built = build("openai_chat", body, {"anthropic-version": version})
        sent = orjson.loads(built.body)
        assert (sent["temperature"], sent["top_p"]) == (0.5, 0.9)
        assert [m["role"] for m in sent["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (ErrorKind.INVALID_REQUEST, anthropic.BadRequestError),
        (ErrorKind.AUTHENTICATION, anthropic.AuthenticationError),
        (ErrorKind.NOT_FOUND, anthropic.NotFoundError),
        (ErrorKind.RATE_LIMITED, anthropic.RateLimitError),
        (ErrorKind.OVERLOADED, anthropic.InternalServerError),
    ],
)
def test_errors_of_the_sdk(kind: ErrorKind, wanted: type[anthropic.APIStatusError]) -> None:
    status, body = MESSAGES.encode_error(ApiError(kind, "what went wrong"))
    server = Server("openai_chat", lambda _: httpx2.Response(status, content=body, headers={"content-type": "application/json"}))
    with pytest.raises(wanted, match="what went wrong"):
        ask(server.client(), stream=False)


def test_an_error_inside_a_stream() -> None:
    begun = b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"x","content":[],'
    begun += b'"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
    raw = begun + MESSAGES.encode_stream_error(ApiError(ErrorKind.UPSTREAM, "broke off"))
    server = Server("openai_chat", lambda _: httpx2.Response(200, content=raw, headers={"content-type": "text/event-stream"}))
    with pytest.raises(anthropic.APIError, match="broke off"):
        ask(server.client(), stream=True)


def test_a_token_in_place_of_a_key() -> None:
    """`auth_token` is a Bearer in every version of the SDK."""
    server = Server("openai_chat", served_by_openai)
    assert ask(server.client(api_key=None, auth_token="unused-token"), stream=False) == "Hi"
    assert server.headers["authorization"] == "Bearer unused-token"
    assert kept(server.headers) == {"anthropic-version": NEWER}
