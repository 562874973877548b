"""A stream that names its finish and breaks off before its own end is not whole, for a client of another format as for `commit: complete`."""

from __future__ import annotations

import pytest

from extproc.core.dialect import Reply
from extproc.core.errors import ApiError
from extproc.core.ir import StreamError
from extproc.dialects.catalog import DIALECTS
from extproc.stages.judge import Sound, StreamJudge
from extproc.stages.pipes import TranslatedStream
from tests.golden.matrix import CLIENTS

CUT = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}\n\n'
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}\n\n'
)
END = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
UPSTREAM = DIALECTS["anthropic_messages"]


@pytest.mark.parametrize("name", [name for name in CLIENTS if name != UPSTREAM.name])
def test_the_client_sees_that_the_end_is_missing(name: str) -> None:
    for raw, whole in ((CUT + END, True), (CUT, False)):
        pipe = TranslatedStream(DIALECTS[name], UPSTREAM, Reply("id", 1, "m"))
        out = pipe.feed(raw, True)
        decoder = DIALECTS[name].stream_decoder()
        failed = any(isinstance(event, StreamError) for event in (*decoder.feed(out), *decoder.close()))
        assert (pipe.seen.error is None, failed) == (whole, not whole)


def test_a_complete_answer_has_its_end() -> None:
    whole, cut = StreamJudge(UPSTREAM, True), StreamJudge(UPSTREAM, True)
    assert whole.feed(CUT + END) is Sound.PASS
    assert cut.feed(CUT) is None
    assert isinstance(cut.end(), ApiError)
