"""Fifty callers at once while the first target is gone, and what Envoy's outlier detection makes of a bad one."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import anthropic
import openai
import pytest

from extproc.simulator import FaultKind
from tests.e2e.sdks import CLIENT_KEY, TIMEOUT, Sdk
from tests.e2e.stack import Stack, until

CALLERS = 50


async def ask_openai(client: openai.AsyncOpenAI, stream: bool, request_id: str) -> str:
    message: Any = {"role": "user", "content": request_id}
    if not stream:
        answer = await client.chat.completions.create(model="load", messages=[message], extra_headers={"x-request-id": request_id})
        return answer.choices[0].message.content or ""
    text, finish = "", None
    chunks = await client.chat.completions.create(model="load", messages=[message], stream=True, extra_headers={"x-request-id": request_id})
    async for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    assert finish == "stop"
    return text


async def ask_anthropic(client: anthropic.AsyncAnthropic, stream: bool, request_id: str) -> str:
    ask: Any = {
        "model": "load",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": request_id}],
        "extra_headers": {"x-request-id": request_id},
    }
    if not stream:
        return "".join(b.text for b in (await client.messages.create(**ask)).content if b.type == "text")
    async with client.messages.stream(**ask) as events:
        message = await events.get_final_message()
    assert message.stop_reason == "end_turn"
    return "".join(b.text for b in message.content if b.type == "text")


async def storm(url: str, stream: bool) -> list[tuple[str, str | BaseException]]:
    options: Any = {"api_key": CLIENT_KEY, "max_retries": 0, "timeout": TIMEOUT}
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", **options) as one, anthropic.AsyncAnthropic(base_url=url, **options) as other:
        ids = [f"load-{uuid.uuid4()}" for _ in range(CALLERS)]
        work = [ask_openai(one, stream, r) if n % 2 else ask_anthropic(other, stream, r) for n, r in enumerate(ids)]
        return list(zip(ids, await asyncio.gather(*work, return_exceptions=True), strict=True))


@pytest.mark.parametrize("how", ["503", "429", "reset", "first event is an error", "gone"])
def test_fifty_callers_while_the_first_target_fails(stack: Stack, stream: bool, how: str) -> None:
    """Every one is answered by the next, none hangs, nobody sees a 5xx."""
    sim = stack.sims["oa"]
    if how in ("503", "429"):
        stack.fault("oa", FaultKind.STATUS, status=int(how))
    elif how == "reset":
        stack.fault("oa", FaultKind.RESET)
    elif how == "gone":
        stack.thread.do(sim.stop())
    else:
        stack.fault("oa", FaultKind.ERROR_EVENT, after=0)
    try:
        answers = asyncio.run(storm(stack.url, stream))
    finally:
        if how == "gone":
            stack.thread.do(sim.start())
    failed = [(r, repr(a)) for r, a in answers if isinstance(a, BaseException)]
    assert failed == []
    assert [a for r, a in answers if not (isinstance(a, str) and a.startswith("sim-an (") and a.endswith(r))] == []
    for request_id, _ in answers:
        line = stack.lines.of(request_id)
        assert (line["outcome"], line["target"]) == ("ok", "an")
    assert stack.calls()["an"] == CALLERS


def test_ejected_target_is_left_out_and_comes_back(stack: Stack, sdk: Sdk) -> None:
    health = stack.services.health
    stack.fault("oa", FaultKind.STATUS, status=500, model="gpt-fragile")
    assert sdk.ask("fragile").headers["x-llm-target"] == "an"
    until(lambda: "fragile" in health.ejected, "Envoy ejects it and the server learns of it")
    tried = stack.calls()["oa"]
    answer = sdk.ask("fragile")
    assert (answer.headers["x-llm-target"], answer.headers["x-llm-attempts"]) == ("an", "1")
    assert stack.calls()["oa"] == tried
    stack.reset()
    until(lambda: "fragile" not in health.ejected, "Envoy takes it back")
    assert sdk.ask("fragile").headers["x-llm-target"] == "fragile"


def test_a_request_that_is_refused_for_its_content_ejects_nobody(stack: Stack, sdk: Sdk) -> None:
    stack.fault("oa", FaultKind.CONTEXT_LENGTH, model="gpt-fragile")
    for _ in range(4):
        assert sdk.ask("fragile").headers["x-llm-target"] == "an"
    assert stack.thread.do(stack.admin.refresh())
    assert "fragile" not in stack.services.health.ejected
