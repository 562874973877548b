"""Anthropic's format in the clouds' envelopes: what goes in is what the anthropic SDK's own cloud clients send, what comes out is plain Anthropic."""

from __future__ import annotations

import base64
import itertools
import re
from typing import Any

import orjson
import pytest
from anthropic._models import FinalRequestOptions
from anthropic.lib.bedrock._client import _prepare_options as bedrock_options
from anthropic.lib.bedrock._stream_decoder import AWSEventStreamDecoder
from anthropic.lib.vertex._client import _prepare_options as vertex_options
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.dialect import Ask, Facts, Need, Reply
from extproc.core.errors import ApiError, ErrorKind, UntranslatableError
from extproc.core.eventstream import CONTENT_TYPE, event, exception
from extproc.core.framing import SSEParser
from extproc.core.ir import Event, Message, Request, Role, StreamError, Text
from extproc.core.losses import meaning
from extproc.dialects.catalog import DIALECTS
from extproc.routing.capabilities import lacking
from extproc.stages import pipes, upstream
from tests.dialects.bedrock_recorded import Recorded, invoke, needs_recordings, rawpredict
from tests.golden.matrix import CLIENTS, FOLDER, TARGETS, Case, cases, request
from tests.validators.answers import ANSWERS, STREAMS, fold_messages
from tests.validators.anthropic_types import check_messages_request

PLAIN, BEDROCK, VERTEX = (DIALECTS[key] for key in ("anthropic_messages", "anthropic_messages@bedrock", "anthropic_messages@vertex"))
ON_BEDROCK = Facts("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic", 64000, 200000)
ON_VERTEX = Facts("claude-sonnet-4-5@20250929", "anthropic", 64000, 200000)
BETAS = "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,context-1m-2025-08-07"
REPLY = Reply("id", 1, "shown")
BODY = {"model": "alias", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "héllo"}], "new_member": {"n": 1}}


def splice(dialect: Any, facts: Facts, body: dict[str, Any], *, stream: bool = True, **headers: str) -> Any:
    raw = orjson.dumps(body)
    return dialect.splice_request(raw, body, facts, Ask("alias", stream, {k.replace("_", "-"): v for k, v in headers.items()}))


# requests


@pytest.mark.parametrize("stream", [True, False])
def test_bedrock_gets_what_the_sdk_sends(stream: bool) -> None:
    body = {**BODY, "stream": stream}
    encoded = splice(BEDROCK, ON_BEDROCK, body, stream=stream, anthropic_version="2026-10-21", anthropic_beta="context-1m-2025-08-07")
    wanted = FinalRequestOptions.construct(
        method="post", url="/v1/messages", headers={"anthropic-beta": "context-1m-2025-08-07"}, json_data={**body, "model": ON_BEDROCK.model}
    )
    wanted = bedrock_options(wanted, {})
    assert orjson.loads(encoded.body) == wanted.json_data
    assert encoded.path.replace("%3A", ":") == wanted.url
    assert encoded.headers == {}
    assert not encoded.losses


@pytest.mark.parametrize("stream", [True, False])
def test_vertex_gets_what_the_sdk_sends(stream: bool) -> None:
    body = {**BODY, "stream": stream}
    encoded = splice(VERTEX, ON_VERTEX, body, stream=stream, anthropic_version="2026-10-21", anthropic_beta="context-1m-2025-08-07")
    wanted = FinalRequestOptions.construct(method="post", url="/v1/messages", json_data={**body, "model": ON_VERTEX.model})
    wanted = vertex_options(wanted, project_id="p", region="r")
    assert orjson.loads(encoded.body) == wanted.json_data
    assert "/projects/p/locations/r/publishers/anthropic" + encoded.path == wanted.url.replace("%40", "@")
    assert encoded.headers == {"anthropic-beta": "context-1m-2025-08-07"}


@pytest.mark.parametrize("version", ["2023-06-01", "2023-01-01", "nonsense", None])
def test_the_first_version_has_the_clouds_names(version: str | None) -> None:
    headers = {} if version is None else {"anthropic_version": version}
    for dialect, facts, name in ((BEDROCK, ON_BEDROCK, "bedrock-2023-05-31"), (VERTEX, ON_VERTEX, "vertex-2023-10-16")):
        assert orjson.loads(splice(dialect, facts, BODY, **headers).body)["anthropic_version"] == name


def test_only_what_must_change_changes() -> None:
    raw = b'{ "model":"alias",\n "max_tokens" : 9, "messages":[{"role":"user","content":"h\\u00e9 \xc3\xa9"}], "big":123456789012345678901234567890 }'
    for dialect, facts, version in ((BEDROCK, ON_BEDROCK, b"bedrock-2023-05-31"), (VERTEX, ON_VERTEX, b"vertex-2023-10-16")):
        sent = dialect.splice_request(raw, orjson.loads(raw), facts, Ask("alias")).body
        assert sent == b"{ " + raw[raw.index(b'"max_tokens"') : -2] + b',"anthropic_version":"' + version + b'" }'


def test_betas_that_the_clouds_know_go_on() -> None:
    encoded = splice(BEDROCK, ON_BEDROCK, {**BODY, "anthropic_beta": ["own-flag", "effort-2025-11-24"]}, anthropic_beta=BETAS + ",effort-2025-11-24")
    sent = orjson.loads(encoded.body)["anthropic_beta"]
    assert sent == [*("own-flag", "effort-2025-11-24", "interleaved-thinking-2025-05-14", "context-management-2025-06-27", "context-1m-2025-08-07")]
    assert [loss.code for loss in encoded.losses] == ["dropped:anthropic_beta"]
    encoded = splice(VERTEX, ON_VERTEX, BODY, anthropic_beta=BETAS)
    assert encoded.headers["anthropic-beta"] == "interleaved-thinking-2025-05-14,context-management-2025-06-27,context-1m-2025-08-07"
    assert "anthropic_beta" not in orjson.loads(encoded.body)


def test_members_of_an_account_stay_behind() -> None:
    members = {"metadata": {"user_id": "u"}, "service_tier": "auto", "inference_geo": "us"}
    encoded = splice(BEDROCK, ON_BEDROCK, {**BODY, **members})
    assert not members.keys() & orjson.loads(encoded.body).keys()
    assert sorted(loss.code for loss in encoded.losses) == ["dropped:inference_geo", "dropped:metadata", "dropped:service_tier"]
    assert all(meaning(loss.code) for loss in encoded.losses)
    encoded = splice(VERTEX, ON_VERTEX, {**BODY, **members})
    assert orjson.loads(encoded.body)["metadata"] == {"user_id": "u"}


@pytest.mark.parametrize(("dialect", "model"), [(BEDROCK, "a/../b"), (BEDROCK, ""), (VERTEX, "a/b"), (VERTEX, "m:rawPredict"), (VERTEX, "..")])
def test_a_model_that_could_mean_another_path_is_refused(dialect: Any, model: str) -> None:
    with pytest.raises(UntranslatableError):
        splice(dialect, Facts(model, "anthropic"), BODY)
    with pytest.raises(UntranslatableError):
        dialect.encode_request(Request("m", [Message(Role.USER, [Text("q")])]), Facts(model, "anthropic"))


@pytest.mark.parametrize("need", [Need.IMAGE_URL, Need.DOCUMENT_URL, Need.FILE_ID])
def test_what_the_clouds_lack_is_a_need_even_of_the_same_dialect(need: str) -> None:
    target = TARGETS["anthropic_messages"]
    for envelope in (BEDROCK, VERTEX):
        assert lacking(target, PLAIN, envelope, frozenset({need, Need.SERVER_TOOLS, Need.TOOLS})) == [need]
    assert lacking(target, PLAIN, PLAIN, frozenset({need})) == []


def unwrapped(body: dict[str, Any], facts: Facts) -> dict[str, Any]:
    """An envelope's body as the plain one, less what the envelope leaves out."""
    out = {name: value for name, value in body.items() if name != "anthropic_version"}
    return {"model": facts.model, **out}


GONE = {"service_tier", "inference_geo"}
WAYS = [(BEDROCK, ON_BEDROCK, GONE | {"stream", "metadata"}), (VERTEX, ON_VERTEX, GONE)]


@pytest.mark.parametrize(("envelope", "facts", "gone"), WAYS, ids=["bedrock", "vertex"])
@pytest.mark.parametrize("case", [c for c in cases() if c.kind == "requests" and c.to == "anthropic_messages"], ids=str)
def test_every_case_of_every_client(case: Case, envelope: Any, facts: Facts, gone: set[str]) -> None:
    """As the plain format gets it, in the envelope."""
    shown, plain, _ = request(case)
    raw = case.input.read_bytes()
    body = orjson.loads(raw)
    client = DIALECTS[case.source]
    ask = Ask(str(body.get("model", "")), stream=body.get("stream") is True or case.name.startswith("streamed"))
    if lacking(TARGETS[case.to], client, envelope, client.needs(body)):
        return
    if plain is None:
        with pytest.raises(ApiError, match=re.escape(shown["refused"]["message"])):
            upstream.encode(raw, body, client, envelope, facts, ask)
        return
    encoded = upstream.encode(raw, body, client, envelope, facts, ask)
    sent = unwrapped(orjson.loads(encoded.body), facts)
    wanted = {**orjson.loads(plain), "model": facts.model}
    assert sent == {name: value for name, value in wanted.items() if name not in gone}
    assert ("stream" in encoded.path.lower()) is ask.stream
    if case.source != "anthropic_messages":
        check_messages_request(orjson.dumps(sent))


# answers and streams


def wrapped(raw: bytes, *, padding: bool = True) -> bytes:
    """A stream of server-sent events as InvokeModel sends it."""
    parser = SSEParser()
    messages = [found.data for found in (*parser.feed(raw), *parser.close())]
    more = {"p": "abcdefghijk"} if padding else {}
    return b"".join(event("chunk", orjson.dumps({"bytes": base64.b64encode(data).decode(), **more})) for data in messages)


def decoded(dialect: Any, raw: bytes, size: int) -> list[Event]:
    decoder = dialect.stream_decoder()
    pieces = [decoder.feed(raw[at : at + size]) for at in range(0, len(raw), size)]
    return [*itertools.chain.from_iterable(pieces), *decoder.close()]


SOURCES = sorted((FOLDER / "streams" / "anthropic_messages").glob("[a-z]*[a-z].sse"))
PLAIN_STREAMS = [path for path in SOURCES if ".golden." not in path.name]


@pytest.mark.parametrize("path", PLAIN_STREAMS, ids=lambda path: path.stem)
def test_a_wrapped_stream_means_what_the_plain_one_does(path: Any) -> None:
    raw = path.read_bytes()
    wanted = decoded(PLAIN, raw, len(raw))
    for size in (1, 7, 1000):
        assert decoded(BEDROCK, wrapped(raw), size) == wanted
        assert decoded(VERTEX, raw, size) == wanted


@pytest.mark.parametrize("path", PLAIN_STREAMS, ids=lambda path: path.stem)
@pytest.mark.parametrize("client", [c for c in CLIENTS if c != "anthropic_messages"])
def test_every_client_gets_the_same(path: Any, client: str) -> None:
    raw = path.read_bytes()
    plain = pipes.TranslatedStream(DIALECTS[client], PLAIN, REPLY).feed(raw, end=True)
    assert pipes.TranslatedStream(DIALECTS[client], BEDROCK, REPLY).feed(wrapped(raw), end=True) == plain


@pytest.mark.parametrize("path", PLAIN_STREAMS, ids=lambda path: path.stem)
def test_an_anthropic_client_gets_plain_events(path: Any) -> None:
    raw = path.read_bytes()
    plain = pipes.WatchedStream(PLAIN, PLAIN.stream_observer(hide_usage=False), collect=True)
    plain_out = plain.feed(raw, end=True)
    for size in (1, 7, 100000):
        pipe = pipes.WatchedStream(PLAIN, BEDROCK.stream_observer(hide_usage=False), collect=True)
        inside = wrapped(raw)
        out = b"".join(pipe.feed(inside[at : at + size], end=at + size >= len(inside)) for at in range(0, len(inside), size))
        assert [(e.event, orjson.loads(e.data)) for e in events_of(out)] == [(e.event, orjson.loads(e.data)) for e in events_of(plain_out)]
        assert (pipe.seen.usage, pipe.seen.finish, pipe.seen.error) == (plain.seen.usage, plain.seen.finish, plain.seen.error)
        assert pipe.seen.response == plain.seen.response
        assert pipe.seen.content == plain.seen.content


def events_of(raw: bytes) -> list[Any]:
    parser = SSEParser()
    return [*parser.feed(raw), *parser.close()]


TEXT = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}\n\n'


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (exception("throttlingException", b'{"message":"Too many tokens"}'), ErrorKind.RATE_LIMITED),
        (exception("modelTimeoutException", b"{}"), ErrorKind.TIMEOUT),
        (event("chunk", b'{"bytes":"!!"}'), ErrorKind.UPSTREAM),
        (event("chunk", b"[]"), ErrorKind.UPSTREAM),
        (event("chunk", orjson.dumps({"bytes": base64.b64encode(b'{\n"x"').decode()})), ErrorKind.UPSTREAM),
        (event("chunk", b"{}")[:-1], ErrorKind.UPSTREAM),
        (b"<html>bad gateway</html>", ErrorKind.UPSTREAM),
    ],
)
def test_a_failure_inside_ends_the_stream_with_an_error(end: bytes, kind: ErrorKind) -> None:
    raw = wrapped(TEXT) + end
    *_, last = decoded(BEDROCK, raw, 5)
    assert isinstance(last, StreamError)
    assert last.error.kind is kind
    for size in (1, len(raw)):
        pipe = pipes.WatchedStream(PLAIN, BEDROCK.stream_observer(hide_usage=False))
        out = b"".join(pipe.feed(raw[at : at + size], end=at + size >= len(raw)) for at in range(0, len(raw), size))
        first, failed = events_of(out)
        assert first.event == "content_block_delta"
        assert failed.event == "error"
        assert pipe.seen.error is not None
        assert pipe.seen.error.kind is kind


def test_a_cut_between_messages_never_looks_whole() -> None:
    raw = (FOLDER / "streams/anthropic_messages/text.sse").read_bytes()
    inside = wrapped(raw)
    for cut in range(0, len(inside) - 1, 37):
        pipe = pipes.WatchedStream(PLAIN, BEDROCK.stream_observer(hide_usage=False))
        out = pipe.feed(inside[:cut], end=True)
        assert pipe.seen.error is not None or pipe.seen.finish
        assert b"message_stop" not in out


@given(st.lists(st.binary(max_size=40), max_size=4), st.integers(1, 50))
def test_any_chunk_is_read(payloads: list[bytes], size: int) -> None:
    raw = b"".join(event("chunk", orjson.dumps({"bytes": base64.b64encode(data).decode()})) for data in payloads)
    decoded(BEDROCK, raw, size)
    observer = BEDROCK.stream_observer(hide_usage=False)
    for at in range(0, len(raw), size):
        observer.feed(raw[at : at + size])
    observer.close()


def test_the_way_a_chunk_is_written_does_not_matter() -> None:
    data = b'{\n "index": 0, "type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"} }'
    raw = event("chunk", orjson.dumps({"bytes": base64.b64encode(data).decode()})) + event("novel", b"{}")
    observer = BEDROCK.stream_observer(hide_usage=False)
    (found,) = events_of(observer.feed(raw))
    assert (found.event, orjson.loads(found.data)) == ("content_block_delta", orjson.loads(data))
    assert observer.content


def test_content_types() -> None:
    assert (BEDROCK.name, VERTEX.name) == (PLAIN.name, PLAIN.name)
    assert (BEDROCK.stream_type, VERTEX.stream_type) == (CONTENT_TYPE, "text/event-stream")
    assert BEDROCK.answer_type("", stream=True) == "text/event-stream"


# errors


def test_bedrocks_errors() -> None:
    body = b'{"message":"The security token included in the request is expired"}'
    error = BEDROCK.decode_error(403, {"x-amzn-errortype": "ExpiredTokenException:http://x"}, body)
    assert (error.kind, error.status) == (ErrorKind.AUTHENTICATION, 403)
    error = BEDROCK.decode_error(400, {}, b'{"message":"The model returned the following errors: prompt is too long: 2 tokens > 1 maximum"}')
    assert error.kind is ErrorKind.CONTEXT_LENGTH
    own = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    assert BEDROCK.decode_error(529, {}, own).kind is ErrorKind.OVERLOADED


def test_vertex_errors() -> None:
    google = {"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "7.5s"}, 1]}}
    for body in (google, [google]):
        error = VERTEX.decode_error(429, {}, orjson.dumps(body))
        assert (error.kind, error.message, error.raw_type, error.retry_after) == (ErrorKind.RATE_LIMITED, "Quota exceeded", "RESOURCE_EXHAUSTED", 7.5)
    error = VERTEX.decode_error(404, {}, b'{"error":{"code":404,"message":"Publisher Model `x` was not found","status":"NOT_FOUND"}}')
    assert error.kind is ErrorKind.NOT_FOUND
    own = b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 2 tokens > 1 maximum"}}'
    assert VERTEX.decode_error(400, {}, own).kind is ErrorKind.CONTEXT_LENGTH
    assert VERTEX.decode_error(502, {"retry-after": "3"}, b"<html>").retry_after == 3.0


@given(st.integers(400, 599), st.binary(max_size=50))
def test_any_error_body(status: int, body: bytes) -> None:
    for dialect in (BEDROCK, VERTEX):
        assert dialect.decode_error(status, {}, body).status == status


# recordings


def by_name(exchange: Recorded) -> str:
    return exchange.name


@needs_recordings
@pytest.mark.parametrize("exchange", [*invoke(), *rawpredict()], ids=by_name)
def test_recorded_requests_are_made_from_plain_ones(exchange: Recorded) -> None:
    """The recorded body, made plain, comes back as it was recorded."""
    body = {name: value for name, value in exchange.request.items() if name not in {"anthropic_version", "anthropic_beta"}}
    plain = {"model": "alias", **body, **({"stream": True} if exchange.stream else {})}
    on_vertex = exchange.model.startswith("claude")
    encoded = splice(VERTEX if on_vertex else BEDROCK, exchange.facts, plain, stream=exchange.stream)
    assert orjson.loads(encoded.body) == {k: v for k, v in exchange.request.items() if k != "anthropic_beta"}


@needs_recordings
@pytest.mark.parametrize("exchange", [e for e in (*invoke(), *rawpredict()) if e.status == 200], ids=by_name)
def test_recorded_answers_reach_every_client(exchange: Recorded) -> None:
    dialect = VERTEX if exchange.model.startswith("claude") else BEDROCK
    for client in CLIENTS:
        if client == "anthropic_messages":
            continue
        if not exchange.stream:
            out, _, seen = pipes.translate_whole(exchange.response, DIALECTS[client], dialect, REPLY, stream=False)
            ANSWERS[client](out)
        else:
            pipe = pipes.TranslatedStream(DIALECTS[client], dialect, REPLY)
            raw = exchange.response
            out = b"".join(pipe.feed(raw[at : at + 7], end=at + 7 >= len(raw)) for at in range(0, len(raw), 7))
            assert STREAMS[client](out) is not None
            seen = pipe.seen
        assert seen.usage is not None
        assert seen.error is None
        assert not {loss.code for loss in seen.losses} & {"dropped:event", "dropped:delta"}


@needs_recordings
@pytest.mark.parametrize("exchange", [e for e in invoke() if e.status == 200 and e.stream], ids=by_name)
def test_recorded_streams_unwrap_as_in_anthropics_sdk(exchange: Recorded) -> None:
    wanted = [(sse.event, orjson.loads(sse.data)) for sse in AWSEventStreamDecoder().iter_bytes(iter([exchange.response]))]
    for size in (1, 7, len(exchange.response)):
        observer = BEDROCK.stream_observer(hide_usage=False)
        out = b"".join(observer.feed(exchange.response[at : at + size]) for at in range(0, len(exchange.response), size)) + observer.close()
        assert [(found.event, orjson.loads(found.data)) for found in events_of(out)] == wanted
        assert observer.ended
        assert observer.usage is not None
        assert observer.error is None
    assert fold_messages(out)["stop_reason"] is not None
