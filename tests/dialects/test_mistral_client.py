"""Mistral's SDK as a client: its own fields mean the same at other vendors, and what it gets back parses in it."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from mistralai.client.models import ChatCompletionResponse, CompletionChunk

from extproc.core.dialect import Ask, Need, Reply
from extproc.core.errors import ApiError
from extproc.core.framing import SSEParser
from extproc.core.ir import Audio, Document, Image, Source, Thinking
from extproc.dialects.catalog import DIALECTS
from extproc.dialects.openai_chat.content import MISTRAL
from extproc.stages import pipes, upstream
from tests.golden.matrix import FOLDER, MARK, TARGETS
from tests.validators.requests import REQUESTS

CHAT = DIALECTS["openai_chat"]
REPLY = Reply("reply-id", 1_700_000_000, "shown-model", form=MISTRAL)
UPSTREAMS = ("anthropic_messages", "gemini", "openai_responses", "bedrock_converse")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def send(to: str, *messages: Any, **more: Any) -> tuple[dict[str, Any], set[str]]:
    body = {"model": "chat", "stream": False, "messages": list(messages) or [{"role": "user", "content": "q"}], **more}
    built = upstream.encode(json.dumps(body).encode(), body, CHAT, DIALECTS[to], TARGETS[to].facts, Ask("chat", form=MISTRAL))
    if to != "openai_chat":
        REQUESTS[to](built.body)
    return orjson.loads(built.body), {loss.code for loss in built.losses}


def test_its_parameters_at_gemini() -> None:
    body, lost = send("gemini", random_seed=7, tool_choice="any", tools=[TOOL], safe_prompt=False, top_k=3)
    assert body["generationConfig"]["seed"] == 7
    assert body["generationConfig"]["topK"] == 3
    assert body["toolConfig"]["functionCallingConfig"]["mode"] == "ANY"
    assert not lost


def test_its_parameters_at_anthropic() -> None:
    body, lost = send("anthropic_messages", random_seed=7, tool_choice="any", tools=[TOOL], safe_prompt=True, prompt_mode="reasoning")
    assert body["tool_choice"] == {"type": "any"}
    assert {"dropped:seed", "dropped:unknown_member"} <= lost


def test_its_prefix_is_a_prefill() -> None:
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "A:", "prefix": True}]
    assert Need.PREFILL in CHAT.needs({"messages": messages})
    body, lost = send("anthropic_messages", *messages)
    assert body["messages"][-1] == {"role": "assistant", "content": [{"type": "text", "text": "A:"}]}
    assert "dropped:prefix" not in lost


def test_its_parts() -> None:
    parts = [
        {"type": "image_url", "image_url": "https://e.x/a.png"},
        {"type": "document_url", "document_url": "https://e.x/a.pdf", "document_name": "a.pdf"},
        {"type": "input_audio", "input_audio": "UklGRg=="},
        {"type": "input_audio", "input_audio": "https://e.x/a.mp3"},
        {"type": "file", "file_id": "f1"},
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True},
    ]
    body = {"model": "m", "messages": [{"role": "user", "content": parts}]}
    request = CHAT.decode_request(body)
    assert request.messages[0].blocks == [
        Image(Source(url="https://e.x/a.png")),
        Document(Source(url="https://e.x/a.pdf"), title="a.pdf"),
        Audio(Source("audio/wav", "UklGRg==")),
        Audio(Source(url="https://e.x/a.mp3")),
        Document(Source(file_id="f1")),
        Thinking("hm"),
    ]
    assert CHAT.needs(body) == {Need.VISION, Need.IMAGE_URL, Need.DOCUMENTS, Need.DOCUMENT_URL, Need.AUDIO, Need.AUDIO_URL, Need.FILE_ID}
    assert not request.losses


@pytest.mark.parametrize("source", UPSTREAMS)
def test_whole_answers_parse_in_its_sdk(source: str) -> None:
    parsed = 0
    for path in sorted((FOLDER / "responses" / source).glob("*.json")):
        if MARK in path.name:
            continue
        try:
            body, _, _ = pipes.translate_whole(path.read_bytes(), CHAT, DIALECTS[source], REPLY, stream=False)
        except ApiError:
            continue
        answer = ChatCompletionResponse.model_validate_json(body)
        ours = orjson.loads(body)["choices"][0]
        assert answer.choices[0].message is not None
        assert answer.choices[0].finish_reason == ours["finish_reason"]
        calls = answer.choices[0].message.tool_calls or []
        assert [call.id for call in calls] == [call["id"] for call in ours["message"].get("tool_calls") or []]
        parsed += 1
    assert parsed >= 5


@pytest.mark.parametrize("source", ["anthropic_messages", "gemini", "openai_responses"])
def test_streams_parse_in_its_sdk(source: str) -> None:
    parsed = 0
    for path in sorted((FOLDER / "streams" / source).glob("*.sse")):
        if MARK in path.name or path.name.startswith(("error", "cut")):
            continue
        pipe = pipes.TranslatedStream(CHAT, DIALECTS[source], REPLY)
        parser = SSEParser()
        events = parser.feed(pipe.feed(path.read_bytes(), end=True)) + parser.close()
        assert events[-1].data == b"[DONE]"
        chunks = [CompletionChunk.model_validate_json(event.data) for event in events[:-1]]
        assert any(choice.finish_reason for chunk in chunks for choice in chunk.choices)
        parsed += 1
    assert parsed >= 5
