"""Every recorded exchange with Anthropic goes through decode and encode, and what does not come out again is reported."""

from __future__ import annotations

import json
from typing import Any

import orjson
from anthropic.lib.streaming._messages import accumulate_event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extproc.core.dialect import NO_ASK, Facts, Reply
from extproc.core.errors import BadRequestError, ErrorKind
from extproc.core.framing import SSEParser
from extproc.core.ir import End, Event, Finish, Loss, is_content
from extproc.dialects.anthropic_messages import AnthropicMessages
from tests.dialects.anthropic_recorded import body_of, differences, messages, needs_recordings, normal_request, normal_response, streams
from tests.validators.anthropic_types import check_event

pytestmark = needs_recordings
DIALECT = AnthropicMessages()


def _unreported(source: Any, result: Any, losses: list[Loss]) -> list[str]:
    """Differences whose member no loss names."""
    named = {word for loss in losses for word in (loss.code.rpartition(":")[2], loss.detail.rpartition(".")[2])}
    return [path for path in differences(source, result) if path.rpartition(".")[2] not in named]


def test_there_are_enough() -> None:
    assert len(messages()) > 280
    assert len(streams()) > 45


def test_requests() -> None:
    encoded = 0
    for record in messages():
        body = body_of(record)
        try:
            request = DIALECT.decode_request(body)
        except BadRequestError:
            assert record["status"] == 400, record["name"]
            continue
        again = DIALECT.encode_request(request, Facts(body["model"], "anthropic"))
        losses = request.losses + again.losses
        codes = {loss.code for loss in losses}
        assert not _unreported(normal_request(body, codes), normal_request(orjson.loads(again.body), set()), losses), record["name"]
        encoded += 1
    assert encoded > 280


def test_requests_pass_untouched_to_the_same_dialect() -> None:
    for record in messages():
        body = body_of(record)
        raw = json.dumps(body, ensure_ascii=False, indent=1).encode()
        same = DIALECT.splice_request(raw, body, Facts(body["model"], "anthropic"), NO_ASK)
        assert same.body == raw, record["name"]
        assert same.losses == [], record["name"]
        other = DIALECT.splice_request(raw, body, Facts("another", "anthropic"), NO_ASK)
        assert orjson.loads(other.body) == {**body, "model": "another"}, record["name"]


def test_answers() -> None:
    seen = 0
    for record in messages():
        if record["streaming"] or record["status"] != 200:
            continue
        response = DIALECT.decode_response(record["response_body"].encode())
        source = json.loads(record["response_body"])
        body, losses = DIALECT.encode_response(response, Reply("msg_fallback", 0, source["model"]))
        assert not _unreported(normal_response(source), normal_response(orjson.loads(body)), response.losses + losses), record["name"]
        usage = source["usage"]
        assert response.usage is not None
        assert response.usage.input_tokens == sum(
            usage.get(k) or 0 for k in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        )
        seen += 1
    assert seen > 230


def test_errors() -> None:
    kinds = []
    for record in messages():
        if record["status"] == 200:
            continue
        error = DIALECT.decode_error(record["status"], record["response_headers"], record["response_body"].encode())
        assert error.status == record["status"]
        status, envelope = DIALECT.encode_error(error)
        assert status == record["status"]
        assert json.loads(envelope)["error"] == json.loads(record["response_body"])["error"], record["name"]
        kinds.append(error.kind)
    assert set(kinds) == {ErrorKind.AUTHENTICATION, ErrorKind.INVALID_REQUEST, ErrorKind.CONTEXT_LENGTH}


def _decode(pieces: list[bytes]) -> tuple[list[Event], list[Loss]]:
    decoder = DIALECT.stream_decoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close(), list(decoder.losses)


def _encode(events: list[Event], model: str) -> bytes:
    encoder = DIALECT.stream_encoder(Reply("msg_fallback", 0, model))
    return b"".join(map(encoder.encode, events))


def _final(stream: bytes) -> dict[str, Any]:
    """The message that the SDK puts together from a stream."""
    parser = SSEParser()
    message = None
    buffers: dict[int, bytes] = {}
    for event in parser.feed(stream) + parser.close():
        if event.event != "ping":
            message = accumulate_event(event=orjson.loads(event.data), current_snapshot=message, json_bufs=buffers)
    assert message is not None
    return message.to_dict(mode="json", warnings=False)


def test_streams() -> None:
    for record in streams():
        raw = record["response_body"].encode()
        events, losses = _decode([raw])
        assert isinstance(events[-1], End)
        assert isinstance(events[-2], Finish)
        source = _final(raw)
        again = _final(_encode(events, source["model"]))
        assert not _unreported(normal_response(source), normal_response(again), losses), record["name"]


def test_every_event_that_we_write_is_valid() -> None:
    beta = {"advisor", "mcp_tool_use", "mcp_tool_result"}  # replayed as they came, and not in these types
    checked = 0
    for record in streams():
        events, _ = _decode([record["response_body"].encode()])
        for event in SSEParser().feed(_encode(events, "claude")):
            if not any(kind.encode() in event.data for kind in beta):
                check_event(event.data)
                assert event.event == orjson.loads(event.data)["type"]
                checked += 1
    assert checked > 1000


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_split_gives_the_same(data: st.DataObject) -> None:
    record = data.draw(st.sampled_from(streams()))
    raw = record["response_body"].encode()
    if data.draw(st.booleans()):
        raw = raw.replace(b"\n", b"\r\n")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=20)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    whole, _ = _decode([raw])
    split, _ = _decode(pieces)
    assert split == whole
    assert _encode(split, "m") == _encode(whole, "m")


def test_byte_by_byte() -> None:
    for record in streams()[:8]:
        raw = record["response_body"].encode()
        assert _decode([raw[i : i + 1] for i in range(len(raw))])[0] == _decode([raw])[0], record["name"]


def test_a_cut_stream_never_ends() -> None:
    for record in streams():
        raw = record["response_body"].encode()
        cut = raw[: raw.rindex(b"event: message_stop")]
        events, _ = _decode([cut])
        assert not any(isinstance(event, End) for event in events)
        assert b"message_stop" not in _encode(events, "m")


def test_observer_passes_every_byte_and_reads_the_usage() -> None:
    for record in streams():
        raw = record["response_body"].encode()
        observer = DIALECT.stream_observer(hide_usage=True)
        passed = b"".join(observer.feed(raw[i : i + 1000]) for i in range(0, len(raw), 1000)) + observer.close()
        assert passed == raw
        events, _ = _decode([raw])
        assert observer.ended
        assert observer.content == any(map(is_content, events))
        assert observer.usage is not None
        assert observer.usage.output_tokens == _final(raw)["usage"]["output_tokens"]
