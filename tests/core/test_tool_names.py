"""Tool names that some formats refuse: one wire name each, the same every time, and back."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.dialect import Ask, Reply
from extproc.core.tool_names import misfits, wire_name
from extproc.dialects.catalog import DIALECTS
from extproc.stages import pipes, upstream
from tests.golden.matrix import TARGETS

LONG = "mcp__" + "n" * 100
DOTTED = "files.read:v1"
CLIENTS: dict[str, dict[str, Any]] = {
    "anthropic_messages": {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "q"}],
        "tools": [{"name": LONG, "input_schema": {"type": "object"}}],
    },
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "q"}]}], "tools": [{"functionDeclarations": [{"name": DOTTED}, {"name": "ok"}]}]},
}


@given(st.text(max_size=200))
def test_a_wire_name_fits_and_is_its_own(name: str) -> None:
    short = wire_name(name)
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", short)
    assert wire_name(short) == short
    assert (short == name) == (not misfits([name]))


def test_names_that_differ_stay_apart() -> None:
    names = [LONG, LONG + "n", DOTTED, DOTTED.replace(".", "_"), "files_read_v1"]
    assert len({wire_name(name) for name in names}) == len(names)


@pytest.mark.parametrize("client", CLIENTS)
def test_point_13_the_client_sees_its_own_names(client: str) -> None:
    body, name = CLIENTS[client], LONG if client == "anthropic_messages" else DOTTED
    dialect, chat = DIALECTS[client], DIALECTS["openai_chat"]
    wishes = dialect.wishes(body)
    assert wishes.tool_names == (name,)
    built = upstream.encode(json.dumps(body).encode(), body, dialect, chat, TARGETS["openai_chat"].facts, Ask("m"))
    sent = orjson.loads(built.body)["tools"][0]["function"]["name"]
    assert sent == wire_name(name) != name
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": sent, "arguments": "{}"}}
    reply = Reply("id", 1, "m", tool_names=wishes.tool_names)
    whole = orjson.dumps({"id": "i", "choices": [{"index": 0, "message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]})
    answer, _, _ = pipes.translate_whole(whole, dialect, chat, reply, stream=False)
    assert name.encode() in answer
    assert sent.encode() not in answer
    as_stream, _, _ = pipes.translate_whole(whole, dialect, chat, reply, stream=True)
    chunks = [{"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}, {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}]
    pipe = pipes.TranslatedStream(dialect, chat, reply)
    streamed = pipe.feed(b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n", end=True)
    for raw in (as_stream, streamed):
        assert name.encode() in raw
        assert sent.encode() not in raw


@pytest.mark.parametrize("body", [None, [], {"tools": 1}, {"tools": [1, {"name": 2}, {"functionDeclarations": [3, {"name": None}]}]}])
def test_wishes_are_total(body: Any) -> None:
    for client in CLIENTS:
        assert DIALECTS[client].wishes(body).tool_names == ()
