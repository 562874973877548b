"""A filter of the operator's own in front of the ext_proc server: it refuses a prompt, or takes something out of it. The example's own text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import orjson
import pytest

from extproc.simulator import Simulator
from tests.e2e.examples import with_example
from tests.e2e.stack import PATIENCE, Stack, running_stack, two_providers

KEYS = {"oa": "sk-of-oa", "an": "sk-of-an"}


def registry_text(sims: Mapping[str, Simulator], directory: Path) -> str:
    return f"""
version: 1
{two_providers(sims, directory)}models:
  chat: {{targets: [oa, an]}}
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack(registry_text, {"oa": "openai_chat", "an": "anthropic_messages"}, KEYS, sources=with_example("guardrail")) as running:
        yield running


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_a_refused_prompt_reaches_neither_the_server_nor_a_provider(stack: Stack) -> None:
    stack.reset()
    stack.seen.clear()
    with pytest.raises(openai.BadRequestError, match="confidential project") as refused:
        openai.OpenAI(base_url=f"{stack.url}/v1", api_key="k", max_retries=0).chat.completions.create(
            model="chat", messages=said("All about Project Bluebird")
        )
    assert refused.value.code == "content_filter"
    with pytest.raises(anthropic.BadRequestError, match="confidential project"):
        anthropic.Anthropic(base_url=stack.url, api_key="k", max_retries=0).messages.create(
            model="chat", messages=said("All about project bluebird"), max_tokens=10
        )
    assert stack.calls() == {}
    assert stack.seen == []


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
def test_what_is_taken_out_is_gone_for_every_attempt_and_format(stack: Stack, stream: bool) -> None:
    stack.reset()
    stack.fault("oa", "status", status=500)
    text = 'Card 4111 1111 1111 1111 or 4111111111111111, of a "first" buyer <buyer@mail.example.org>, order 1234.'
    body = {"model": "chat", "messages": said(text), "stream": stream}
    answer = httpx.post(f"{stack.url}/v1/chat/completions", json=body, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    expected = 'Card [card] or [card], of a "first" buyer <[email]>, order 1234.'
    first = stack.received("oa")[0]
    (second,) = stack.received("an")
    assert orjson.loads(first.body or b"")["messages"][0]["content"] == expected
    translated = orjson.loads(second.body or b"")["messages"][0]["content"]
    assert expected in (translated, translated[0]["text"] if isinstance(translated, list) else "")


def test_a_prompt_with_nothing_in_it_passes_as_it_is(stack: Stack) -> None:
    stack.reset()
    raw = b'{"messages" : [ {"role":"user", "content":"4111 is no card, nor is 12345678901234567890; see @home or a@b"} ],  "model":"chat"}'
    answer = httpx.post(f"{stack.url}/v1/chat/completions", content=raw, headers={"content-type": "application/json"}, timeout=PATIENCE)
    assert answer.status_code == 200
    (received,) = stack.received("oa")
    assert received.body == raw.replace(b'"model":"chat"', b'"model":"gpt-4o"')


def test_a_large_prompt_is_still_guarded(stack: Stack) -> None:
    stack.reset()
    filler = "lorem ipsum " * 25_000
    answer = httpx.post(f"{stack.url}/v1/chat/completions", json={"model": "chat", "messages": said(f"{filler} Project Bluebird")}, timeout=PATIENCE)
    assert answer.status_code == 400
    answer = httpx.post(f"{stack.url}/v1/chat/completions", json={"model": "chat", "messages": said(f"{filler} a@b.example")}, timeout=PATIENCE)
    assert answer.status_code == 200
    (received,) = stack.received("oa")
    assert received.length == len(orjson.dumps({"model": "gpt-4o", "messages": said(f"{filler} [email]")}))
