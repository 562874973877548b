"""Providers that compress although identity was asked for, through the real Envoy: whole answers, streams, errors; the same dialect and another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import anthropic
import httpx
import openai
import orjson
import pytest

from tests.e2e.bare import Bare, Said, running_bare
from tests.e2e.stack import Stack, running_stack
from tests.stages.test_content_encoding import PACK
from tests.stages.world import OPENAI_ANSWER, openai_stream

STREAM = b"".join(openai_stream("hel", "lo"))
HOW = sorted(PACK)
SHAPES = ("one piece", "byte by byte")


@pytest.fixture(scope="module")
def bare() -> Iterator[Bare]:
    with running_bare() as provider:
        yield provider


@pytest.fixture(scope="module")
def packing(bare: Bare) -> Iterator[Stack]:
    def registry(sims: object, directory: object) -> str:
        return f"""
version: 1
providers:
  p: {{kind: openai, url: "{bare.url}/v1", envoy: {{outlier_detection: {{enforcing_consecutive_5xx: 0}}}}}}
targets:
  t: {{provider: p, model: gpt-4o}}
models:
  m: {{targets: [t], attempts: {{total: 1}}}}
"""

    with running_stack(registry, {}, {}) as stack:
        yield stack


@pytest.fixture(autouse=True)
def fresh(packing: Stack) -> None:
    packing.reset()


@pytest.fixture(params=["same", "other"])
def ask(packing: Stack, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Asks by the SDK of the provider's dialect or of another one; gives the text."""

    def by_openai(stream: bool) -> str:
        with openai.OpenAI(base_url=f"{packing.url}/v1", api_key="k", max_retries=0) as sdk:
            if not stream:
                return sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}]).choices[0].message.content or ""
            chunks = sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
            return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)

    def by_anthropic(stream: bool) -> str:
        with anthropic.Anthropic(base_url=packing.url, api_key="k", max_retries=0) as sdk:
            if not stream:
                (block,) = sdk.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]).content
                return block.text if block.type == "text" else ""
            with sdk.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]) as events:
                return "".join(events.text_stream)

    return by_openai if request.param == "same" else by_anthropic


def pieces(packed: bytes, shape: str) -> list[bytes]:
    return [packed] if shape == "one piece" else [bytes([b]) for b in packed]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("how", HOW)
def test_the_client_gets_what_was_packed(bare: Bare, ask: Callable[..., str], how: str, stream: bool, shape: str) -> None:
    name, pack = PACK[how]
    packed = pack(STREAM if stream else OPENAI_ANSWER)
    kind = "text/event-stream" if stream else "application/json"
    bare.answer = lambda call: Said(200, pieces(packed, shape), kind, {"content-encoding": name}, length=not stream)
    assert ask(stream=stream) == ("hello" if stream else "hi")
    assert bare.last().headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("how", HOW)
def test_a_client_that_decodes_nothing_can_read_it(packing: Stack, bare: Bare, how: str) -> None:
    name, pack = PACK[how]
    bare.answer = lambda call: Said(200, [pack(OPENAI_ANSWER)], headers={"content-encoding": name}, length=True)
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    with httpx.stream("POST", f"{packing.url}/v1/chat/completions", json=body, headers={"accept-encoding": "identity"}) as answer:
        assert b"".join(answer.iter_raw()) == OPENAI_ANSWER
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("how", HOW)
def test_a_compressed_refusal(bare: Bare, ask: Callable[..., str], how: str) -> None:
    name, pack = PACK[how]
    said = orjson.dumps({"error": {"message": "the temperature is too high " * 9, "type": "invalid_request_error", "param": "t", "code": None}})
    bare.answer = lambda call: Said(400, [pack(said)], headers={"content-encoding": name}, length=True)
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError), match="temperature is too high"):
        ask(stream=False)


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("what", ["garbage", "cut", "bomb", "unknown"])
def test_what_cannot_be_unpacked_is_an_error(bare: Bare, ask: Callable[..., str], what: str, stream: bool) -> None:
    pack = PACK["gzip"][1]
    plain = STREAM if stream else OPENAI_ANSWER
    packed = {"garbage": b"not gzip", "cut": pack(plain)[:-10], "bomb": pack(bytes(30_000_000)), "unknown": pack(plain)}[what]
    encoding = "compress" if what == "unknown" else "gzip"
    kind = "text/event-stream" if stream else "application/json"
    bare.answer = lambda call: Said(200, [packed], kind, {"content-encoding": encoding}, length=not stream)
    with pytest.raises((openai.APIError, anthropic.APIError)):
        ask(stream=stream)


def test_a_cut_behind_the_first_content_is_never_a_finish(bare: Bare, ask: Callable[..., str]) -> None:
    packed = PACK["br"][1](STREAM)
    bare.answer = lambda call: Said(200, [packed[:-3]], "text/event-stream", {"content-encoding": "br"})
    with pytest.raises((openai.APIError, anthropic.APIError)):
        ask(stream=True)
