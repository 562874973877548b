"""The return stage: what passes, what is translated, what a failure looks like, and that a cut never looks like a finish."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from extproc.core.exchange import Abort, Arm, Closed, Continue, Finish, HeadersEvent, Immediate, Kind, Mode, State, Tick
from extproc.registry.types import Attempts, Timeouts
from extproc.stages.route import RouteExchange
from extproc.stages.services import Options
from extproc.telemetry.record import Outcome
from tests.stages.world import OPENAI_ANSWER, Journey, World, chat, of_type, openai_stream, piece, registry, target

CLAUDE = "/v1/messages"
OVERLOADED = orjson.dumps({"error": {"message": "busy", "type": "server_error", "param": None, "code": None}})


def answered(
    body: bytes,
    path: str = "/v1/chat/completions",
    *,
    dialect: str = "openai_chat",
    stream: bool = False,
    options: Options | None = None,
    **more: str,
) -> tuple[Journey, RouteExchange, Continue]:
    """A request whose first attempt passed; the return stage has just answered the headers."""
    trip = Journey(World(registry(target("a", dialect), timeouts=Timeouts(stall=5.0)), options=options or Options()))
    exchange = trip.route(body, path)
    attempt = trip.attempt(1, body)
    kind = "text/event-stream" if stream else "application/json"
    trip.take(attempt.handle(trip.response(200, kind)))
    for part in openai_stream("x") if stream else [OPENAI_ANSWER]:
        trip.take(attempt.handle(piece(part, end=not stream)))
    answer = of_type(exchange.handle(trip.response(200, kind, **more)), Continue)
    return trip, exchange, answer


def bodies(exchange: RouteExchange, *events: Any) -> bytes:
    """What the client gets for these pieces."""
    out = b""
    for event in events:
        answer = of_type(exchange.handle(event), Continue)
        out += event.body if answer.body is None else answer.body
    return out


def test_the_same_dialect_passes_byte_for_byte() -> None:
    _, exchange, answer = answered(chat())
    assert answer.mode is Mode.STREAMED
    cut = [piece(OPENAI_ANSWER[:30]), piece(OPENAI_ANSWER[30:], end=True)]
    assert [of_type(exchange.handle(e), Continue).body for e in cut] == [None, None]
    record = exchange.record
    assert (record.outcome, record.finish, record.response_id) == (Outcome.OK, "stop", "chatcmpl-1")
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.output_tokens) == (3, 2)


def test_a_same_dialect_stream_passes_and_is_read() -> None:
    _, exchange, _ = answered(chat(stream=True), stream=True)
    pieces = openai_stream("a", "b")
    out = bodies(exchange, *[piece(p) for p in pieces], piece(b"", end=True))
    assert out == b"".join(pieces)
    assert exchange.record.outcome is Outcome.OK
    assert exchange.record.ttft_ms is not None


def test_a_stream_of_another_dialect_is_translated() -> None:
    body = chat(stream=True, max_tokens=9)
    _, exchange, answer = answered(body, CLAUDE, stream=True)
    assert ("content-type", "text/event-stream") in answer.set
    out = bodies(exchange, *[piece(p) for p in openai_stream("hel", "lo")], piece(b"", end=True))
    assert b"event: message_start" in out
    assert b'"text":"hel"' in out
    assert out.rstrip().endswith(b'data: {"type":"message_stop"}')


def test_a_whole_answer_of_another_dialect_is_translated() -> None:
    _, exchange, answer = answered(chat(max_tokens=9), CLAUDE)
    assert (answer.mode, exchange.state) == (Mode.BUFFERED, State.COLLECTING)
    reply = of_type(exchange.handle(piece(OPENAI_ANSWER, end=True)), Continue)
    assert reply.body is not None
    message = orjson.loads(reply.body)
    assert (message["type"], message["content"][0]["text"], message["stop_reason"]) == ("message", "hi", "end_turn")
    assert dict(reply.set)["content-length"] == str(len(reply.body))


def test_a_plain_answer_to_a_request_for_a_stream_becomes_one() -> None:
    trip = Journey(World(registry(target("a"))))
    body = chat(stream=True)
    exchange = trip.route(body)
    attempt = trip.attempt(1, body)
    trip.take(attempt.handle(trip.response(200)))
    trip.take(attempt.handle(piece(OPENAI_ANSWER, end=True)))
    exchange.handle(trip.response(200))
    reply = of_type(exchange.handle(piece(OPENAI_ANSWER, end=True)), Continue)
    assert reply.body is not None
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert b'"content":"hi"' in reply.body


@pytest.mark.parametrize("path", ["/v1/chat/completions", CLAUDE])
def test_a_cut_stream_never_looks_finished(path: str) -> None:
    _, exchange, _ = answered(chat(stream=True, max_tokens=9), path, stream=True)
    cut = openai_stream("x", finish=False, done=False)
    out = bodies(exchange, *[piece(p) for p in cut], piece(b"", end=True))
    assert b"error" in out
    assert b"[DONE]" not in out
    assert b"message_stop" not in out
    assert exchange.record.outcome is Outcome.CUT


@pytest.mark.parametrize("path", ["/v1/chat/completions", CLAUDE])
def test_trailers_end_an_answer_and_show_a_cut(path: str) -> None:
    trailers = HeadersEvent(Kind.RESPONSE_TRAILERS, {}, True)
    for finish in (True, False):
        _, exchange, _ = answered(chat(stream=True, max_tokens=9), path, stream=True)
        for part in openai_stream("x", finish=finish, done=finish):
            exchange.handle(piece(part))
        actions = exchange.handle(trailers)
        assert isinstance(actions[-1], Continue if finish else Abort)
        assert exchange.record.outcome is (Outcome.OK if finish else Outcome.CUT)
    _, exchange, _ = answered(chat())
    exchange.handle(piece(OPENAI_ANSWER))
    exchange.handle(trailers)
    assert (exchange.record.outcome, exchange.record.finish) == (Outcome.OK, "stop")


def test_an_error_inside_a_translated_stream_ends_it_for_the_client() -> None:
    _, exchange, _ = answered(chat(stream=True, max_tokens=9), CLAUDE, stream=True)
    first, error = openai_stream("x")[1], b'data: {"error":{"message":"boom","type":"server_error"}}\n\n'
    out = bodies(exchange, piece(first), piece(error), piece(openai_stream("late")[1]), piece(b"", end=True))
    assert out.count(b"event: error") == 1
    assert b"late" not in out
    assert b"message_stop" not in out


def test_a_usage_chunk_that_only_we_asked_for_is_hidden() -> None:
    counts = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": counts}
    usage = b"data: %b\n\n" % orjson.dumps(chunk)
    pieces = openai_stream("x")
    for asked, shown in ((None, False), ({"include_usage": True}, True)):
        members = {"stream_options": asked} if asked else {}
        _, exchange, _ = answered(chat(stream=True, **members), stream=True)
        out = bodies(exchange, *[piece(p) for p in [*pieces[:-1], usage, pieces[-1]]], piece(b"", end=True))
        assert (b'"usage":{' in out) is shown
        assert exchange.record.usage is not None
        assert exchange.record.usage.total == 5


def test_a_stall_breaks_the_clients_stream_off() -> None:
    trip, exchange, _ = answered(chat(stream=True), stream=True)
    exchange.handle(piece(openai_stream("x")[1]))
    trip.world.clock.now += 3
    assert exchange.handle(Tick("stall")) == [Arm("stall", 2.0)]
    trip.world.clock.now += 2
    assert isinstance(exchange.handle(Tick("stall"))[0], Abort)
    assert exchange.record.outcome is Outcome.STALLED


def test_who_served_it_is_said_unless_switched_off() -> None:
    _, _, answer = answered(chat())
    assert {("x-llm-target", "a"), ("x-llm-attempts", "1")} <= set(answer.set)
    _, _, answer = answered(chat(), options=Options(expose=False))
    assert answer.set == []


def test_what_identifies_our_account_is_removed() -> None:
    _, _, answer = answered(chat(), openai_organization="acme", set_cookie="c", x_llm_retry="same", x_ratelimit_remaining="9")
    assert {"openai-organization", "set-cookie", "x-llm-retry"} <= set(answer.remove)
    assert "x-ratelimit-remaining" not in answer.remove


def failed(status: int, body: bytes, path: str = "/v1/chat/completions", **more: str) -> tuple[RouteExchange, list[Any]]:
    trip = Journey(World(registry(target("a"))))
    request = chat(max_tokens=9)
    exchange = trip.route(request, path)
    n, attempt = 1, trip.attempt(1, request)
    while True:
        trip.take(attempt.handle(trip.response(status, **more)))
        actions = trip.take(attempt.handle(piece(body, end=True)))
        if not dict(of_type(actions, Continue).set).get("x-llm-retry"):
            break
        n += 1
        attempt = trip.attempt(n, request)
    return exchange, exchange.handle(trip.response(status, **more))


def test_the_providers_own_words_pass_where_the_dialect_is_the_clients() -> None:
    exchange, actions = failed(400, orjson.dumps({"error": {"message": "bad", "type": "invalid_request_error", "param": "n", "code": None}}))
    answer = of_type(actions, Continue)
    assert (answer.replace, answer.body) == (False, None)
    assert exchange.record.outcome is Outcome.REJECTED


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "text/plain", ""])
def test_words_that_no_sdk_can_read_are_put_into_the_envelope(content_type: str) -> None:
    _, actions = failed(400, b"<html><title>Bad Request</title></html>", content_type=content_type)
    answer = of_type(actions, Immediate)
    assert answer.status == 400
    assert orjson.loads(answer.body)["error"]["type"] == "invalid_request_error"


def test_an_attempt_that_envoy_had_no_retry_for_is_a_failure_whatever_its_status() -> None:
    trip = Journey(World(registry(target("a"), target("b"))))
    request = chat()
    exchange = trip.route(request)
    attempt = trip.attempt(1, request)
    trip.take(attempt.handle(trip.response(200)))
    marked = trip.take(attempt.handle(piece(b'{"error":{"message":"busy","code":503}}', end=True)))
    assert "x-llm-retry" in dict(of_type(marked, Continue).set)
    assert of_type(exchange.handle(trip.response(200)), Immediate).status == 503


def test_a_providers_400_is_said_in_the_clients_envelope() -> None:
    _, actions = failed(400, orjson.dumps({"error": {"message": "bad", "type": "invalid_request_error", "param": "n", "code": None}}), CLAUDE)
    error = orjson.loads(of_type(actions, Immediate).body)
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")


def test_a_used_up_chain_lists_its_attempts() -> None:
    exchange, actions = failed(503, OVERLOADED)
    answer = of_type(actions, Immediate)
    assert (answer.status, dict(answer.headers)["x-llm-attempts"]) == (503, "2")
    assert "2 attempts: 1 a: 503" in orjson.loads(answer.body)["error"]["message"]
    assert exchange.record.outcome is Outcome.EXHAUSTED
    assert [a.status for a in exchange.record.attempts] == [503, 503]


def test_all_limited_says_when_to_come_back() -> None:
    _, actions = failed(429, OVERLOADED, retry_after="40")
    answer = of_type(actions, Immediate)
    assert (answer.status, dict(answer.headers)["retry-after"]) == (429, "40")


def test_our_own_refused_key_is_not_the_clients_401() -> None:
    _, actions = failed(401, OVERLOADED)
    assert of_type(actions, Immediate).status == 502


def test_a_failure_is_answered_without_waiting_for_the_providers_body_and_without_its_headers() -> None:
    trip = Journey(World(registry(target("a"), attempts=Attempts(total=1))))
    request = chat(stream=True)
    exchange = trip.route(request)
    attempt = trip.attempt(1, request)
    trip.take(attempt.handle(trip.response(200, "text/event-stream")))
    # the error is the first event, and the provider keeps the stream open
    trip.take(attempt.handle(piece(b'data: {"error":{"message":"busy","type":"server_error","code":503}}\n\n')))
    actions = exchange.handle(trip.response(200, "text/event-stream", location="http://inside", x_should_retry="false"))
    answer = of_type(actions, Immediate)
    assert answer.status == 503
    assert answer.details.startswith("llm_"), "the mappers of Envoy's own answers leave it alone"
    assert isinstance(actions[-1], Finish)
    assert {"location", "x-should-retry"}.isdisjoint(dict(answer.headers))


def test_envoys_own_answer_is_not_read_as_the_providers() -> None:
    trip = Journey(World(registry(target("a", "gemini"))))
    request = chat(max_tokens=9)
    exchange = trip.route(request, CLAUDE)
    trip.attempt(1, request)
    answer = of_type(exchange.handle(trip.response(504, "text/plain", x_llm_local="response_timeout")), Continue)
    assert answer.body is not None
    assert orjson.loads(answer.body)["type"] == "error"
    assert dict(answer.set)[":status"] == "504"
    assert exchange.record.outcome is Outcome.DEADLINE


def test_a_body_over_the_limit_is_a_413_in_the_clients_envelope() -> None:
    exchange = World(registry(target("a"))).route()
    from tests.stages.world import request_headers

    exchange.handle(request_headers(CLAUDE))
    answer = of_type(exchange.handle(HeadersEvent(Kind.RESPONSE_HEADERS, {":status": "413", "x-llm-local": "request_payload_too_large"})), Continue)
    assert answer.body is not None
    assert orjson.loads(answer.body)["error"]["type"] == "request_too_large"


def test_the_deadline_is_answered_unprompted() -> None:
    trip = Journey(World(registry(target("a"), target("b"))))
    request = chat(stream=True)
    exchange = trip.route(request)
    trip.attempt(1, request)
    answer = of_type(exchange.handle(Tick("deadline")), Immediate)
    assert (answer.status, answer.details) == (504, "llm_deadline")
    assert [a.error_type for a in exchange.record.attempts] == ["timeout"]


def test_silent_attempts_are_told_apart_by_how_long_they_took() -> None:
    trip = Journey(World(registry(target("a"), target("b"), timeouts=Timeouts(first_token=2.0, deadline=60.0))))
    request = chat(stream=True)
    exchange = trip.route(request)
    trip.attempt(1, request)
    trip.world.clock.now += 2.2
    second = trip.attempt(2, request)
    trip.take(second.handle(trip.response(200, "text/event-stream")))
    trip.take(second.handle(piece(openai_stream("x")[1])))
    exchange.handle(trip.response(200, "text/event-stream", cluster="b"))
    exchange.handle(piece(b"".join(openai_stream("x")), end=True))
    assert [(a.target, a.error_type) for a in exchange.record.attempts] == [("a", "timeout"), ("b", None)]


def test_the_books_close_once_whatever_comes_after() -> None:
    _, exchange, _ = answered(chat(stream=True), stream=True)
    exchange.handle(piece(b"".join(openai_stream("x")), end=True))
    ended = exchange.record.ended_ns
    exchange.handle(Closed())
    assert (exchange.record.outcome, exchange.record.ended_ns) == (Outcome.OK, ended)
    assert not exchange.services.under_way


def test_a_request_whose_client_leaves_is_forgotten() -> None:
    trip = Journey(World(registry(target("a"))))
    exchange = trip.route(chat())
    exchange.handle(Closed())
    assert exchange.record.outcome is Outcome.CLIENT_GONE
    assert not exchange.services.under_way


def lossy(*, stream: bool) -> tuple[str | None, list[str], Continue]:
    """(the losses in the header, those in the books) of a request whose seed, and whose answer's second choice, are lost."""
    body = chat(seed=7, max_tokens=9, stream=stream, messages=[{"role": "user", "content": "x"}])
    trip = Journey(World(registry(target("a", "anthropic_messages")), options=Options(expose_losses=True)))
    exchange = trip.route(body)
    attempt = trip.attempt(1, body)
    usage = {"input_tokens": 1, "output_tokens": 1}
    strange = {"type": "unheard_of", "x": 1}
    if stream:
        kind, events = (
            "text/event-stream",
            [
                {
                    "type": "message_start",
                    "message": {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [], "usage": usage},
                },
                {"type": "content_block_start", "index": 0, "content_block": strange},
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
                {"type": "message_stop"},
            ],
        )
        raw = b"".join(b"event: %b\ndata: %b\n\n" % (str(e["type"]).encode(), orjson.dumps(e)) for e in events)
    else:
        kind = "application/json"
        answer = {"id": "m", "type": "message", "role": "assistant", "model": "c", "content": [strange], "stop_reason": "end_turn", "usage": usage}
        raw = orjson.dumps(answer)
    trip.take(attempt.handle(trip.response(200, kind)))
    trip.take(attempt.handle(piece(raw, end=True)))
    first = of_type(exchange.handle(trip.response(200, kind)), Continue)
    last = of_type(exchange.handle(piece(raw, end=True)), Continue)
    header = dict(last.set).get("x-llm-losses") or dict(first.set).get("x-llm-losses")
    return header, exchange.record.losses, first


def test_the_losses_header_of_a_whole_answer_has_them_all() -> None:
    header, books, _ = lossy(stream=False)
    assert header == "dropped:foreign_block,dropped:seed"
    assert books == ["dropped:foreign_block", "dropped:seed"]


def test_the_losses_header_of_a_stream_has_those_of_its_request() -> None:
    header, books, first = lossy(stream=True)
    assert header == "dropped:seed"
    assert dict(first.set)["x-llm-losses"] == header
    assert books == ["dropped:foreign_block", "dropped:seed"]
