"""The walk over a client's body: every dialect, any shape, nothing of what a decoder would find is missed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.dialect import Ask
from extproc.core.errors import ApiError
from extproc.core.ir import Document, Image, Text, ToolResult
from extproc.core.prompt import read
from extproc.core.prompt.parts import MEMBERS
from extproc.core.prompt.roots import ROOTS
from extproc.dialects.catalog import DIALECTS
from tests.recorded_requests import needs_recordings, recorded

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAUCAYAAAC07w7bAAAAEklEQVR4nGNgGAWjYBSMAkwAAAQQAAHkqQZ0AAAA"
TOOL = {"name": "f", "description": "d", "parameters": {"type": "object"}}


def test_every_dialect_is_known() -> None:
    """`passthrough` is bytes of which nothing is known."""
    assert {d.name for d in DIALECTS.values()} - set(ROOTS) == {"passthrough"}


CHATS: dict[str, dict[str, Any]] = {
    "openai_chat": {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
            },
            {"role": "tool", "tool_call_id": "1", "content": "result"},
            {"role": "user", "content": "last question"},
        ],
        "tools": [{"type": "function", "function": TOOL}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
    },
    "openai_responses": {
        "instructions": "Be brief.",
        "input": [
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}],
            },
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"a":1}'},
            {"type": "function_call_output", "call_id": "1", "output": "result"},
            {"role": "user", "content": "last question"},
        ],
        "tools": [{"type": "function", **TOOL}],
        "text": {"format": {"type": "json_schema", "name": "x", "schema": {}}},
    },
    "anthropic_messages": {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                ],
            },
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "text", "text": "last question"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "result"}]}]},
        ],
        "tools": [TOOL],
        "output_config": {"format": {"type": "json_schema", "schema": {}}},
    },
    "gemini": {
        "system_instruction": {"parts": {"text": "Be brief."}},
        "contents": [
            {"parts": [{"text": "look"}, {"inline_data": {"mime_type": "image/png", "data": PNG}}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"r": "result"}}}]},
            {"role": "user", "parts": [{"text": "last question"}]},
        ],
        "tools": [{"functionDeclarations": [TOOL]}],
        "generationConfig": {"responseSchema": {"type": "OBJECT", "properties": {}}},
    },
    "bedrock_converse": {
        "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"text": "look"}, {"image": {"format": "png", "source": {"bytes": PNG}}}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "1", "name": "f", "input": {"a": 1}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "1", "content": [{"text": "result"}]}}]},
            {"role": "user", "content": [{"text": "last question"}]},
        ],
        "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}]},
        "outputConfig": {"textFormat": {"type": "json_schema", "structure": {}}},
    },
    "cohere_chat": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}],
            },
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]},
            {"role": "tool", "tool_call_id": "1", "content": [{"type": "document", "document": {"data": "result"}}]},
            {"role": "user", "content": "last question"},
        ],
        "tools": [{"type": "function", "function": TOOL}],
        "response_format": {"type": "json_object", "schema": {"type": "object"}},
    },
    "ollama_chat": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "look", "images": [PNG]},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
            {"role": "tool", "tool_name": "f", "content": "result"},
            {"role": "user", "content": "last question"},
        ],
        "tools": [{"type": "function", "function": TOOL}],
        "format": {"type": "object", "properties": {}},
    },
}


@pytest.mark.parametrize("dialect", CHATS)
def test_one_conversation_in_every_dialect(dialect: str) -> None:
    found = read(dialect, CHATS[dialect])
    joined = " ".join(text for text in found.texts if text)
    for said in ("look", "result", "last question"):
        assert said in joined
    assert '{"a":1}' in found.texts
    assert found.system == ["Be brief."]
    assert found.last_user == "last question"
    assert found.first_user == "look"
    assert (found.calls, found.tool_count) == (1, 1)
    assert '"name":"f"' in found.tools[0]
    assert len(found.schema) == 1
    assert [m.kind for m in found.media] == ["image"]
    assert (found.media[0].size, found.media[0].head) == (len(PNG), PNG[:64])
    assert "png" in found.media[0].form or dialect == "ollama_chat"
    assert PNG not in joined
    assert not found.elastic


@pytest.mark.parametrize("dialect", CHATS)
def test_counting_tokens_reads_what_the_chat_does(dialect: str) -> None:
    body = CHATS[dialect]
    counting = {
        "anthropic_messages": ("anthropic_count_tokens", body),
        "openai_responses": ("openai_count_tokens", body),
        "gemini": ("gemini_count_tokens", {"generateContentRequest": body}),
        "bedrock_converse": ("bedrock_count_tokens", {"input": {"converse": body}}),
    }.get(dialect)
    if counting is not None:
        assert read(*counting) == read(dialect, body)


@pytest.mark.parametrize(
    ("dialect", "body", "texts", "tokens", "elastic"),
    [
        ("ollama_chat", {"system": "s", "prompt": "p", "suffix": "x"}, ["s", "p", "x"], 0, False),
        ("openai_completions", {"prompt": "p"}, ["p"], 0, False),
        ("openai_completions", {"prompt": ["p", "q"]}, ["p", "q"], 0, True),
        ("openai_completions", {"prompt": [1, 2, 3]}, [], 3, False),
        ("openai_embeddings", {"input": ["a", "b"]}, ["a", "b"], 0, True),
        ("openai_embeddings", {"input": [[1, 2], [3]]}, [], 3, True),
        ("ollama_embeddings", {"prompt": "a"}, ["a"], 0, True),
        ("cohere_embeddings", {"texts": ["a", "b"]}, ["a", "b"], 0, True),
        ("cohere_embeddings", {"inputs": [{"content": [{"type": "text", "text": "a"}]}]}, ["a"], 0, True),
        ("gemini_embeddings", {"requests": [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "b"}]}}]}, ["a", "b"], 0, True),
        ("vertex_embeddings", {"instances": [{"content": "a"}, {"content": "b"}]}, ["a", "b"], 0, True),
        ("cohere_rerank", {"query": "q", "documents": ["a", {"text": "b"}]}, ["a", '{"text":"b"}', "q"], 0, True),
        ("jina_rerank", {"query": "q", "documents": ["a"]}, ["a", "q"], 0, True),
        ("openai_images", {"prompt": "p"}, ["p"], 0, False),
        ("openai_speech", {"input": "p", "instructions": "slowly"}, ["slowly", "p"], 0, False),
        ("openai_transcription", {"prompt": "names"}, ["names"], 0, False),
        ("openai_moderations", {"input": "p"}, ["p"], 0, True),
        ("openai_responses", {"input": "p", "truncation": "auto"}, ["p"], 0, True),
        ("openai_responses", {"input": "p", "truncation": "disabled"}, ["p"], 0, False),
        ("anthropic_messages", {"messages": [], "context_management": {"edits": [{"type": "x"}]}}, [], 0, True),
    ],
)
def test_other_operations(dialect: str, body: dict[str, Any], texts: list[str], tokens: int, elastic: bool) -> None:
    found = read(dialect, body)
    assert (found.texts, found.tokens, found.elastic) == (texts, tokens, elastic)


def test_the_last_user_text_is_no_answer_of_a_tool() -> None:
    result = {"type": "tool_result", "tool_use_id": "1", "content": "from a tool"}
    messages = [
        {"role": "user", "content": "first"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, result]},
    ]
    assert read("anthropic_messages", {"messages": messages}).last_user == "a\nb"
    messages.append({"role": "user", "content": [result]})
    assert read("anthropic_messages", {"messages": messages}).last_user == "a\nb"
    assert read("anthropic_messages", {"messages": []}).last_user == ""


def test_thoughts_are_apart_and_hidden_ones_are_only_measured() -> None:
    content = [
        *({"type": "thinking", "thinking": "hm", "signature": "s" * 100}, {"type": "redacted_thinking", "data": "d" * 50}),
        {"type": "text", "text": "yes"},
    ]
    found = read("anthropic_messages", {"messages": [{"role": "assistant", "content": content}]})
    assert (found.texts, found.thoughts, found.opaque) == (["yes"], ["hm"], 50)
    parts = [{"text": "hm", "thought": True}, {"text": "yes", "thoughtSignature": "x" * 40}]
    found = read("gemini", {"contents": [{"role": "model", "parts": parts}]})
    assert (found.texts, found.thoughts) == (["yes"], ["hm"])
    item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "e" * 70}
    found = read("openai_responses", {"input": [item]})
    assert (found.texts, found.thoughts, found.opaque) == ([], ["hm"], 70)


@pytest.mark.parametrize(
    ("dialect", "part", "kind", "size"),
    [
        ("openai_chat", {"type": "input_audio", "input_audio": {"data": "A" * 200, "format": "wav"}}, "audio", 200),
        ("openai_chat", {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64," + "A" * 200}}, "document", 200),
        ("openai_chat", {"type": "image_url", "image_url": {"url": "https://x.example/" + "a" * 200}}, "image", 0),
        ("openai_chat", {"type": "video_url", "video_url": {"url": "https://x.example/a.mp4"}}, "video", 0),
        ("openai_responses", {"type": "input_file", "file_id": "file-abc"}, "document", 0),
        ("openai_responses", {"type": "input_image", "file_id": "file-abc"}, "image", 0),
        ("openai_responses", {"type": "input_file", "filename": "a.pdf", "file_data": "A" * 200}, "document", 200),
        (
            "anthropic_messages",
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "A" * 200}},
            "document",
            200,
        ),
        ("anthropic_messages", {"type": "image", "source": {"type": "file", "file_id": "file_abc"}}, "image", 0),
        ("bedrock_converse", {"document": {"format": "pdf", "name": "n", "source": {"bytes": "A" * 200}}}, "document", 200),
        ("bedrock_converse", {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://b/k"}}}}, "video", 0),
    ],
)
def test_media(dialect: str, part: dict[str, Any], kind: str, size: int) -> None:
    member = "input" if dialect == "openai_responses" else "messages"
    found = read(dialect, {member: [{"role": "user", "content": [part]}]})
    assert [(m.kind, m.size) for m in found.media] == [(kind, size)]
    assert found.texts == []


@pytest.mark.parametrize(
    ("dialect", "part"),
    [
        ("anthropic_messages", {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}, "title": "T"}),
        ("anthropic_messages", {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "words"}]}}),
        ("bedrock_converse", {"document": {"format": "txt", "name": "n", "source": {"text": "words"}}}),
        ("bedrock_converse", {"document": {"format": "txt", "name": "n", "source": {"content": [{"text": "words"}]}}}),
        ("bedrock_converse", {"guardContent": {"text": {"text": "words"}}}),
    ],
)
def test_documents_that_are_text(dialect: str, part: dict[str, Any]) -> None:
    found = read(dialect, {"messages": [{"role": "user", "content": [part]}]})
    assert "words" in found.texts
    assert found.media == []


# any shape

NAMES = st.sampled_from(sorted({*MEMBERS, *(name for members in ROOTS.values() for name, _ in members), "role", "type", "thought", "detail", "url"}))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["user", "system", "assistant", "redacted_thinking"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=30,
)


@settings(max_examples=400)
@given(st.sampled_from(sorted(ROOTS)), st.dictionaries(NAMES, VALUES, max_size=6) | VALUES)
def test_total_over_all_shapes(dialect: str, body: Any) -> None:
    found = read(dialect, body)
    assert all(type(text) is str for text in (*found.texts, *found.system, *found.thoughts, *found.tools, *found.schema))
    assert type(found.last_user) is str
    assert type(found.first_user) is str
    assert min(found.messages, found.calls, found.tool_count, found.tokens, found.opaque) >= 0


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_no_depth_is_too_deep(name: str) -> None:
    value: Any = "x"
    for _ in range(5000):
        value = {name: [value], "role": "user"}
    for dialect, member in (("openai_chat", "messages"), ("gemini", "contents"), ("openai_chat", "tools"), ("bedrock_count_tokens", "input")):
        read(dialect, {member: [value]})


def test_what_json_writers_refuse() -> None:
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {"a": 10**30}}
    assert read("anthropic_messages", {"messages": [{"role": "assistant", "content": [call]}]}).texts == ['{"a":1' + "0" * 30 + "}"]
    call["input"] = {"a": "\ud800"}
    assert read("anthropic_messages", {"messages": [{"role": "assistant", "content": [call]}]}).texts == ['{"a":"\\ud800"}']


# against the decoders


def blocks(parts: Any) -> Iterator[Any]:
    for block in parts:
        if isinstance(block, ToolResult):
            yield from blocks(block.content)
        yield block


@needs_recordings
def test_every_text_and_image_that_a_decoder_finds() -> None:
    compared = 0
    for one in recorded():
        if one.dialect not in CHATS:
            continue
        found = read(one.dialect, one.body)
        walked = "\0".join(found.texts + found.thoughts)
        try:
            request = DIALECTS[one.dialect].decode_request(one.body, Ask(one.model))
        except ApiError:
            continue
        compared += 1
        inside = [block for message in request.messages for block in blocks(message.blocks)]
        for block in inside:
            if isinstance(block, Text) and block.text != "{}" and one.dialect != "cohere_chat":
                # Cohere's documents become text with tags around them; results of tools may be JSON here
                assert block.text in walked or orjson.dumps(block.text)[1:-1].decode() in walked, one.name
        assert sum(isinstance(block, Image) for block in inside) <= sum(m.kind == "image" for m in found.media), one.name
        pictured = sum(isinstance(block, Document) for block in inside)
        assert pictured == 0 or found.media or found.texts, one.name
        # a tool that stands in several namespaces or only at a provider is counted in its own way
        assert bool(request.tools) == bool(found.tool_count), one.name
    assert compared > 1500
