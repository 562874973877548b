"""Every recorded Responses exchange, of all vendors: requests, answers and streams go through the codec, and what does not come out is reported."""

from __future__ import annotations

import copy
import json
from collections import Counter
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extproc.core.dialect import NO_ASK, Facts, Need, Reply
from extproc.core.errors import ErrorKind, UntranslatableError
from extproc.core.ir import End, Event, Finish, Foreign, Response, StreamError, Text, Thinking, is_content
from extproc.dialects.openai_responses import OpenAIResponses
from extproc.dialects.openai_responses.wire import state
from extproc.stages.collect import Collector
from tests.dialects.responses_recorded import answers, events, exchanges, last_answer, needs_recordings, streams
from tests.validators.responses_types import check_responses_answer, check_responses_request, check_responses_stream

pytestmark = needs_recordings
DIALECT = OpenAIResponses()
REPLY = Reply("resp_fallback", 1, "shown")


def decode(pieces: list[bytes]) -> list[Event]:
    decoder = DIALECT.stream_decoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()


def encode(found: list[Event], reply: Reply = REPLY) -> bytes:
    return b"".join(map(DIALECT.stream_encoder(reply).encode, found))


def test_there_are_enough() -> None:
    assert len(exchanges()) == 401
    assert len(answers()) > 320
    assert len(streams()) == 67


def test_requests() -> None:
    """What is left of a request when it is decoded and encoded again: everything, or a loss, or a need says so."""
    encoded = 0
    for exchange in exchanges():
        request = DIALECT.decode_request(exchange.request)
        try:
            again = DIALECT.encode_request(request, Facts(exchange.model, "openai"))
        except UntranslatableError:
            assert DIALECT.needs(exchange.request) & {Need.SERVER_TOOLS, Need.FILE_ID}, exchange.name
            continue
        if not any(isinstance(block, Foreign) for message in request.messages for block in message.blocks):
            check_responses_request(again.body)
        sent, codes = orjson.loads(again.body), {loss.code for loss in request.losses + again.losses}
        for name, value in exchange.request.items():
            if name in ("model", "input", "instructions", "include", "tools", "text", "store", "background", "stream", "reasoning"):
                continue
            assert sent.get(name) == value or codes & {f"dropped:{name}", "dropped:unknown_member"} or value in (None, "auto", [], {}), (name, value)
        encoded += 1
    assert encoded > 360


def test_reasoning_items_go_back_as_they_came() -> None:
    seen = 0
    for exchange in exchanges():
        items = exchange.request["input"]
        for place, item in enumerate(items) if isinstance(items, list) else ():
            following = items[place + 1] if place + 1 < len(items) else {}
            if item.get("type") != "reasoning" or following.get("type") not in ("function_call", "message"):
                continue
            request = DIALECT.decode_request({"model": "m", "input": [item, following]})
            vendor = next(b.opaque.vendor for m in request.messages for b in m.blocks if isinstance(b, Thinking) and b.opaque)
            again = orjson.loads(DIALECT.encode_request(request, Facts("m", vendor)).body)["input"][0]
            assert again["encrypted_content"] == item["encrypted_content"]
            assert again["id"] == item.get("id", again["id"])
            assert [s["text"] for s in again["summary"]] == ["\n\n".join(s["text"] for s in item["summary"])][: len(item["summary"])]
            seen += 1
    assert seen > 20


def test_requests_pass_untouched_to_the_same_model() -> None:
    for exchange in exchanges():
        raw = json.dumps(exchange.request, ensure_ascii=False, indent=1).encode()
        vendor = "openai" if exchange.provider == "azure" else exchange.provider
        same = DIALECT.splice_request(raw, exchange.request, Facts(exchange.model, vendor), NO_ASK)
        assert same.body == raw, exchange.name
        other = DIALECT.splice_request(raw, exchange.request, Facts("another", vendor, deployment="d"), NO_ASK)
        assert orjson.loads(other.body) == exchange.request | {"model": "d"}
        assert not other.losses


def _whole(blocks: list[Any]) -> list[Any]:
    """Blocks without what streams do not bring: citations, and empty texts."""
    return [b for b in blocks if not (isinstance(b, Text) and not b.text)]


def test_answers() -> None:
    for exchange in answers():
        response = DIALECT.decode_response(exchange.response)
        body, losses = DIALECT.encode_response(response, Reply("fallback", 1, "shown", echo=DIALECT.wishes(exchange.request).echo))
        foreign = any(isinstance(block, Foreign) for block in response.blocks)
        if not foreign:
            check_responses_answer(body)
        again = DIALECT.decode_response(body)
        assert _whole(again.blocks) == _whole(response.blocks), exchange.name
        assert (again.id, again.usage, again.created) == (response.id, response.usage, response.created)
        assert again.finish is response.finish or "coerced:finish_reason" in {loss.code for loss in losses}


def _comparable(response: Response) -> list[Any]:
    blocks = copy.deepcopy(_whole(response.blocks))
    for block in blocks:
        if isinstance(block, Text):
            block.citations = block.citations_from = None
        elif isinstance(block, Thinking) and not block.redacted:
            block.opaque = None  # comes with the block's end, which telemetry does not collect
    # two recorded streams number items otherwise than their last answer orders them
    return sorted(blocks, key=lambda block: isinstance(block, Foreign))


def test_streams() -> None:
    for exchange in streams():
        found = decode([exchange.response])
        assert [type(event) for event in found[-2:]] == [Finish, End], exchange.name
        collector = Collector()
        collector.feed(found)
        whole = DIALECT.decode_response(orjson.dumps(last_answer(exchange.response)))
        streamed = collector.response
        assert (streamed.id, streamed.model, streamed.finish, streamed.usage) == (whole.id, whole.model, whole.finish, whole.usage)
        for place, block in enumerate(_comparable(whole)):
            if not isinstance(block, Foreign):
                assert _comparable(streamed)[place] == block, exchange.name
        out = encode(found, Reply("fallback", 1, "shown", echo=DIALECT.wishes(exchange.request).echo))
        folded = check_responses_stream(out)
        assert folded is not None
        again = DIALECT.decode_response(orjson.dumps(folded))
        assert [b for b in _comparable(again) if not isinstance(b, Foreign)] == [b for b in _comparable(whole) if not isinstance(b, Foreign)]
        assert _encrypted(again) == _encrypted(whole), exchange.name


def _encrypted(response: Response) -> list[str]:
    found = [state(b.opaque) for b in response.blocks if isinstance(b, Thinking) and b.opaque is not None]
    return [pair[1] for pair in found if pair is not None]


def test_any_split_of_every_stream_gives_the_same() -> None:
    for place, exchange in enumerate(streams()):
        raw = exchange.response if place % 2 else exchange.response.replace(b"\n", b"\r\n")
        whole = decode([raw])
        for size in (1, 7, 1000) if len(raw) < 20_000 else (977,):
            assert decode([raw[i : i + size] for i in range(0, len(raw), size)]) == whole, exchange.name


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_cut_stream_is_never_whole(data: st.DataObject) -> None:
    exchange = data.draw(st.sampled_from(streams()))
    end = max(exchange.response.rfind(b'"type":"response.completed"'), exchange.response.rfind(b'"type": "response.completed"'))
    start = exchange.response.rfind(b"\ndata:", 0, end)
    found = decode([exchange.response[: data.draw(st.integers(0, start))]])
    assert not any(isinstance(event, Finish | End | StreamError) for event in found)
    out = encode(found)
    assert b"response.completed" not in out
    assert b"response.incomplete" not in out


def test_observer_passes_bytes() -> None:
    for exchange in streams():
        raw = exchange.response
        watched = DIALECT.stream_observer(hide_usage=True)
        assert b"".join(watched.feed(raw[i : i + 700]) for i in range(0, len(raw), 700)) + watched.close() == raw
        assert watched.ended
        assert watched.finish is not None
        assert watched.usage is not None
        assert watched.content == any(map(is_content, decode([raw])))
        assert watched.start is not None
        assert watched.start.id == events(raw)[0]["response"]["id"]


def test_errors() -> None:
    kinds: Counter[ErrorKind] = Counter()
    for exchange in exchanges():
        if exchange.status < 400:
            continue
        error = DIALECT.decode_error(exchange.status, exchange.headers, exchange.response)
        assert error.status == exchange.status
        _, body = DIALECT.encode_error(error)
        assert orjson.loads(body)["error"]["message"]
        kinds[error.kind] += 1
    assert kinds == {
        ErrorKind.INVALID_REQUEST: 2,
        ErrorKind.NOT_FOUND: 1,
        ErrorKind.CONTEXT_LENGTH: 1,
        ErrorKind.AUTHENTICATION: 2,
    }
