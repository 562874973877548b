"""The switch that shows the client's name for the model: whole answers and streams, the same dialect and another; off, nothing is touched."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.exchange import Continue, Mode
from extproc.dialects.catalog import DIALECTS
from extproc.stages.rename import MEMBERS, Renamer
from extproc.stages.services import Options
from tests.stages.test_reply import CLAUDE, answered, bodies
from tests.stages.world import OPENAI_ANSWER, chat, openai_stream, piece

CHAT = "/v1/chat/completions"
ALIAS = Options(show_alias=True)


def test_every_dialect_of_the_table_is_one() -> None:
    assert set(MEMBERS) <= set(DIALECTS)


@pytest.mark.parametrize("path", [CHAT, CLAUDE], ids=["same", "other"])
@pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
@pytest.mark.parametrize("shown", [False, True])
def test_the_name_in_the_answer(path: str, stream: bool, shown: bool) -> None:
    body = chat("alias", stream=stream, max_tokens=9)
    _, exchange, answer = answered(body, path, stream=stream, options=Options(show_alias=shown))
    pieces = [piece(p) for p in openai_stream("x", "y")] if stream else [piece(OPENAI_ANSWER)]
    pieces[-1].end = True
    out = bodies(exchange, *pieces)
    assert (b'"model":"alias"' in out) is shown
    assert (b'"model":"gpt-4o"' in out) is not shown
    assert exchange.record.response_model == "gpt-4o", "the books keep the provider's"
    assert exchange.record.finish == "stop"
    if not stream and path == CHAT:
        assert answer.mode is (Mode.BUFFERED if shown else Mode.STREAMED)
    if stream and path == CHAT and shown:
        assert not exchange.passing


def test_only_the_one_member_changes() -> None:
    odd = b'{ "id":"c" ,"model" : "gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"\\"model\\":\\"gpt-4o\\"",'
    odd += b'"tool_calls":[]},"finish_reason":"stop","model":"gpt-4o"}], "new": 1.0e+2 }'
    _, exchange, _ = answered(chat("alias"), options=ALIAS)
    answer = exchange.handle(piece(odd, end=True))[-1]
    assert isinstance(answer, Continue)
    assert answer.body == odd.replace(b'"model" : "gpt-4o"', b'"model" : "alias"')
    assert dict(answer.set)["content-length"] == str(len(answer.body))
    assert "content-type" not in dict(answer.set)


STREAMS = {
    "openai_chat": (b'data: {"id":"1","model":"m1","choices":[{"delta":{"content":"\\"model\\":"}}]}\r\n\r\ndata: [DONE]\n\n', b'"model":"m1"'),
    "anthropic_messages": (
        b'event: message_start\ndata: {"type":"message_start","message":{"model":"m1"}}\n\ndata: {"delta":{"partial_json":"{\\"model\\":1}"}}\n\n',
        b'"model":"m1"',
    ),
    "openai_responses": (
        b'event: response.created\ndata: {"type":"response.created","response":{"model":"m1","output":[{"model":"m1x"}]}}\n\n',
        b'"model":"m1"',
    ),
    "gemini": (b'[{"candidates":[],"modelVersion":"m1"},\n{"modelVersion":"m1"}]', b'"modelVersion":"m1"'),
    "ollama_chat": (b'{"model":"m1","message":{"content":"x"}}\n{"model":"m1","done":true}\n', b'"model":"m1"'),
}


@pytest.mark.parametrize("dialect", STREAMS)
def test_streams_at_every_cut(dialect: str) -> None:
    raw, member = STREAMS[dialect]
    expected = raw.replace(member, member.replace(b"m1", b'my \\"alias\\"'))
    assert expected != raw
    for at in range(len(raw) + 1):
        renamer = Renamer(dialect, 'my "alias"')
        assert renamer.feed(raw[:at], end=False) + renamer.feed(raw[at:], end=True) == expected


@given(st.sampled_from(sorted(MEMBERS)), st.lists(st.binary(max_size=40), max_size=6))
def test_what_is_no_stream_passes(dialect: str, pieces: list[bytes]) -> None:
    renamer = Renamer(dialect, "alias")
    out = b"".join([renamer.feed(p, end=False) for p in pieces] + [renamer.feed(b"", end=True)])
    if b"model" not in b"".join(pieces):
        assert out == b"".join(pieces)


def test_an_answer_that_is_not_json_is_not_edited() -> None:
    assert Renamer("openai_chat", "alias").whole(b"<html>model</html>") == b"<html>model</html>"
    assert orjson.loads(Renamer("gemini", "alias").whole(b'{"modelVersion":7}')) == {"modelVersion": 7}
