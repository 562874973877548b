"""OpenAI's operations that are not translated: what is edited in requests, what is read of answers and streams, and that nothing else is touched."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import multipart
from extproc.core.dialect import Ask, Dialect, Facts, Reply
from extproc.core.errors import ApiError, ErrorKind, UntranslatableError, UpstreamFormatError
from extproc.core.ir import BlockDelta, End, Event, Finish, FinishReason, MessageStart, StreamError, UsageUpdate, is_content
from extproc.core.usage import Usage
from extproc.dialects.catalog import DIALECTS
from extproc.dialects.openai_native import dialects

ALL = {d.name: d for d in dialects()}
FACTS = Facts("real", "openai")
PATHS = [
    ("openai_completions", "", "/completions"),
    ("openai_images", "generations", "/images/generations"),
    ("openai_images", "edits", "/images/edits"),
    ("openai_images", "variations", "/images/variations"),
    ("openai_speech", "", "/audio/speech"),
    ("openai_transcription", "transcriptions", "/audio/transcriptions"),
    ("openai_transcription", "translations", "/audio/translations"),
    ("openai_moderations", "", "/moderations"),
]


def test_they_are_in_the_catalog() -> None:
    assert set(ALL) <= set(DIALECTS)


@pytest.mark.parametrize(("name", "form", "path"), PATHS)
def test_only_the_model_is_edited(name: str, form: str, path: str) -> None:
    raw = b'{ "model" : "alias", "new": 1.0e3 }'
    encoded = ALL[name].splice_request(raw, orjson.loads(raw), FACTS, Ask("alias", form=form))
    assert (encoded.path, encoded.body, encoded.losses) == (path, raw.replace(b"alias", b"real"), [])
    same = ALL[name].splice_request(raw, orjson.loads(raw), Facts("alias", "openai"), Ask("alias", form=form))
    assert same.body == raw


def test_a_form_keeps_its_content_type() -> None:
    kind = "multipart/form-data; boundary=b"
    raw = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nalias\r\n--b--\r\n'
    ask = Ask("alias", headers={"content-type": kind}, form="edits")
    encoded = ALL["openai_images"].splice_request(raw, multipart.read(raw, kind), FACTS, ask)
    assert encoded.body == raw.replace(b"alias", b"real")
    assert encoded.headers["content-type"] == kind


def test_a_deployments_name_goes_out() -> None:
    encoded = ALL["openai_speech"].splice_request(b'{"model":"a"}', {"model": "a"}, Facts("tts-1", "openai", deployment="mine"), Ask("a"))
    assert orjson.loads(encoded.body) == {"model": "mine"}
    assert encoded.headers["accept"] == "*/*"


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_translated(name: str) -> None:
    dialect = ALL[name]
    assert dialect.needs(None) == frozenset()
    with pytest.raises(UntranslatableError):
        dialect.decode_request({}, Ask())
    with pytest.raises(UntranslatableError):
        dialect.encode_request(None, FACTS)
    with pytest.raises(UntranslatableError):
        dialect.encode_response(None, Reply("i", 1, "m"))


def test_a_form_that_the_operation_lacks() -> None:
    with pytest.raises(UntranslatableError):
        ALL["openai_images"].splice_request(b"{}", {}, FACTS, Ask(form="unheard_of"))


@pytest.mark.parametrize(
    ("body", "edited"),
    [
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"stream": True, "stream_options": {"x": 1}}, {"stream": True, "stream_options": {"x": 1, "include_usage": True}}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"stream": False}, {"stream": False}),
    ],
)
def test_completions_are_asked_to_count(body: dict[str, object], edited: dict[str, object]) -> None:
    raw = orjson.dumps(body)
    dialect = ALL["openai_completions"]
    assert orjson.loads(dialect.splice_request(raw, body, Facts("*", "openai"), Ask()).body) == edited
    assert dialect.wishes(body).usage is ("include_usage" in str(body))
    refusing = dialect.splice_request(raw, body, Facts("*", "x", quirks=frozenset({"no_stream_options"})), Ask())
    assert "stream_options" not in orjson.loads(refusing.body)
    assert [loss.code for loss in refusing.losses] == ["dropped:stream_options"] * ("stream_options" in body)


# answers


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("openai_images", {"data": [], "usage": {"input_tokens": 4, "output_tokens": 9}}, ("", Usage(4, 9), None)),
        ("openai_transcription", {"text": "x", "usage": {"type": "duration", "seconds": 3}}, ("", None, None)),
        ("openai_moderations", {"id": "modr-1", "results": []}, ("modr-1", None, None)),
        (
            "openai_completions",
            {
                "id": "c",
                "choices": [{"text": "x", "finish_reason": "length"}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}},
            },
            ("c", Usage(7, 2, cache_read=5), FinishReason.LENGTH),
        ),
    ],
)
def test_what_is_read_of_an_answer(name: str, body: object, said: tuple[str, Usage | None, FinishReason | None]) -> None:
    answer = ALL[name].decode_response(orjson.dumps(body))
    assert (answer.id, answer.usage, answer.finish) == said


@pytest.mark.parametrize("name", ["openai_completions", "openai_images", "openai_moderations"])
@pytest.mark.parametrize("body", [b"", b"<html>", b"text", b"[]", b"7"])
def test_other_than_json_is_no_answer(name: str, body: bytes) -> None:
    with pytest.raises(UpstreamFormatError):
        ALL[name].decode_response(body)


@pytest.mark.parametrize("name", ["openai_speech", "openai_transcription"])
def test_other_than_json_may_be_one(name: str) -> None:
    for body in (b"\x00\xff", b"WEBVTT", b'"text"', b"[1]", b"1\n00:00:00,000 --> 00:00:01,000\nhello\n"):
        assert ALL[name].decode_response(body).usage is None
    for body in (b"", b"<!DOCTYPE html><html>", b" <HTML>x"):
        with pytest.raises(UpstreamFormatError):
            ALL[name].decode_response(body)


@pytest.mark.parametrize("name", ALL)
def test_an_error_under_200(name: str) -> None:
    with pytest.raises(ApiError) as caught:
        ALL[name].decode_response(b'{"error":{"message":"slow down","code":"rate_limit_exceeded"}}')
    assert caught.value.kind is ErrorKind.RATE_LIMITED


def test_errors_are_openais() -> None:
    dialect = ALL["openai_images"]
    status, body = dialect.encode_error(ApiError(ErrorKind.NOT_FOUND, "no", code="model_not_found"))
    assert (status, orjson.loads(body)["error"]["code"]) == (404, "model_not_found")
    assert dialect.decode_error(429, {"retry-after": "3"}, b"").retry_after == 3
    assert b"[DONE]" not in dialect.encode_stream_error(ApiError(ErrorKind.UPSTREAM, "cut"))


# streams


def chunk(text: str, reason: str | None = None, **more: object) -> bytes:
    choices = [{"text": text, "index": 0, "logprobs": None, "finish_reason": reason}]
    return b"data: " + orjson.dumps({"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": choices} | more) + b"\n\n"


USAGE = chunk("", choices=[], usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})
COMPLETIONS = [chunk("he"), chunk("llo", "stop"), USAGE, b"data: [DONE]\n\n"]
TYPED = [
    b'event: transcript.text.delta\ndata: {"type":"transcript.text.delta","delta":"hello"}\n\n',
    b'event: transcript.text.done\r\ndata: {"type":"transcript.text.done","text":"hello","usage":{"input_tokens":3,"output_tokens":2}}\r\n\r\n',
]
STREAMS = {"openai_completions": COMPLETIONS, "openai_transcription": TYPED}


def decoded(dialect: Dialect, pieces: list[bytes]) -> list[Event]:
    decoder = dialect.stream_decoder()
    return [event for p in pieces for event in decoder.feed(p)] + decoder.close()


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_streams_at_any_cut(name: str, size: int) -> None:
    raw = b"".join(STREAMS[name])
    events = decoded(ALL[name], [raw[i : i + size] for i in range(0, len(raw), size)])
    assert "".join(e.text for e in events if isinstance(e, BlockDelta)) == "hello"
    assert [e for e in events if isinstance(e, UsageUpdate)] == [UsageUpdate(Usage(3, 2))]
    assert [e for e in events if isinstance(e, Finish)] == [Finish(FinishReason.STOP)]
    assert isinstance(events[-1], End)
    if name == "openai_completions":
        assert events[0] == MessageStart("c", "m", 1)


def test_pictures_and_sound_are_content() -> None:
    for kind in ("image_generation.partial_image", "image_edit.partial_image", "speech.audio.delta", "transcript.text.segment"):
        events = decoded(ALL["openai_images"], [b'data: {"type":"%b","b64_json":"AA=="}\n\n' % kind.encode()])
        assert any(is_content(e) for e in events)
        assert not any(isinstance(e, Finish | End) for e in events), "it has not ended"


@pytest.mark.parametrize("name", STREAMS)
def test_a_cut_is_no_finish(name: str) -> None:
    events = decoded(ALL[name], STREAMS[name][:1])
    assert not any(isinstance(e, Finish | End) for e in events)
    assert not any(isinstance(e, Finish | End) for e in decoded(ALL["openai_completions"], [chunk("x"), b"data: [DONE]\n\n"])), "no reason was given"


@pytest.mark.parametrize(
    "data", [b'{"error":{"message":"x","type":"server_error"}}', b'{"type":"error","message":"x"}', b"{broken", b'{"error":"x"}']
)
@pytest.mark.parametrize("name", STREAMS)
def test_errors_inside_a_stream(name: str, data: bytes) -> None:
    events = decoded(ALL[name], [*STREAMS[name][:1], b"data: " + data + b"\n\n", *STREAMS[name]])
    assert isinstance(events[-1], StreamError)


@pytest.mark.parametrize("hide", [False, True])
def test_the_usage_chunk_that_only_we_asked_for(hide: bool) -> None:
    raw = b"".join(COMPLETIONS)
    for size in (1, 13, len(raw)):
        observer = ALL["openai_completions"].stream_observer(hide_usage=hide)
        out = b"".join(observer.feed(raw[i : i + size]) for i in range(0, len(raw), size)) + observer.close()
        assert out == (raw.replace(USAGE, b"") if hide else raw)
        assert observer.usage == Usage(3, 2)
        assert observer.finish is not None
        assert observer.ended


@given(
    st.sampled_from(sorted(STREAMS)), st.lists(st.sampled_from([*COMPLETIONS, *TYPED, b"data: 7\n\n", b"\xff", b"data:", b"{}", b"\n\n"]), max_size=8)
)
def test_streams_are_total(name: str, pieces: list[bytes]) -> None:
    decoded(ALL[name], pieces)
    observer = ALL[name].stream_observer(hide_usage=False)
    assert b"".join(observer.feed(p) for p in pieces) + observer.close() == b"".join(pieces)


@given(st.binary(max_size=80), st.sampled_from(sorted(ALL)))
def test_any_body_is_an_answer_or_an_error(body: bytes, name: str) -> None:
    try:
        ALL[name].decode_response(body)
    except ApiError:
        return
