"""The attempt stage: the upstream request, the gate, verdicts, limits, and what it leaves for the return stage."""

from __future__ import annotations

import gzip
from unittest.mock import patch

import orjson
import pytest

from extproc.core.exchange import Arm, Continue, Finish, HeadersEvent, Immediate, Kind, State, Tick
from extproc.core.plan import ATTEMPTS_NAMESPACE, attempt_notes
from extproc.registry.types import Attempts, Commit, Registry, Timeouts
from extproc.routing.health import Out
from extproc.stages import judge
from tests.stages.world import OPENAI_ANSWER, Journey, World, chat, of_type, openai_stream, piece, registry, target

STREAM = chat(stream=True)
ERROR = orjson.dumps({"error": {"message": "no", "type": "server_error", "param": None, "code": None}})


def sent(body: bytes = STREAM, n: int = 1, made: Registry | None = None) -> tuple[Journey, object]:
    trip = Journey(World(made or registry(target("a"), target("b"))))
    trip.route(body)
    return trip, trip.attempt(n, body)


def fed(trip: Journey, exchange: object, *events: object) -> list[object]:
    """Every action of `events` in order."""
    actions: list[object] = []
    for event in events:
        actions += trip.take(exchange.handle(event))  # type: ignore[attr-defined]
    return actions


def retry(actions: list[object]) -> dict[str, str]:
    return dict(of_type(actions, Continue).set)  # type: ignore[arg-type]


def test_the_upstream_request_is_computed_from_the_originals() -> None:
    trip = Journey(World(registry(target("a"))))
    trip.route(STREAM)
    exchange = trip.world.attempt()
    exchange.handle(trip.attempt_headers(1))
    from tests.stages.world import request_body

    answer = of_type(exchange.handle(request_body(STREAM)), Continue)
    headers = dict(answer.set)
    assert headers[":path"] == "/v1/chat/completions"
    assert headers[":authority"] == "p-a.test"
    assert headers["accept-encoding"] == "identity"
    assert answer.body is not None
    assert headers["content-length"] == str(len(answer.body))
    assert orjson.loads(answer.body)["model"] == "gpt-4o"
    assert answer.remove == ["x-secret-of-the-app"]
    assert exchange.state is State.SENT


def test_a_stream_is_held_until_its_first_content() -> None:
    trip, exchange = sent()
    pieces = openai_stream("hi")
    assert fed(trip, exchange, trip.response(200, "text/event-stream"), piece(pieces[0])) == [], "a role chunk proves nothing"
    actions = fed(trip, exchange, piece(pieces[1]))
    assert of_type(actions, Continue).set == []
    assert isinstance(actions[-1], Finish)
    assert attempt_notes(trip.metadata)[0].verdict == "pass"


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_the_gate_does_not_depend_on_how_bytes_are_cut(cut: int) -> None:
    trip, exchange = sent()
    fed(trip, exchange, trip.response(200, "text/event-stream"))
    raw = b"".join(openai_stream("hi"))
    actions = [a for i in range(0, len(raw), cut) for a in fed(trip, exchange, piece(raw[i : i + cut])) if not isinstance(a, Arm)]
    assert [type(a) for a in actions] == [Continue, Finish]


def test_a_stream_that_begins_with_an_error_goes_to_the_next_target() -> None:
    trip, exchange = sent()
    raw = b'data: {"error":{"message":"overloaded","type":"server_error","code":503}}\n\n'
    headers = retry(fed(trip, exchange, trip.response(200, "text/event-stream"), piece(raw)))
    assert "x-llm-retry" in headers


def test_a_stream_that_ends_before_its_first_content_is_retried() -> None:
    trip, exchange = sent()
    headers = retry(fed(trip, exchange, trip.response(200, "text/event-stream"), piece(openai_stream()[0], end=True)))
    assert "x-llm-retry" in headers


def test_500_once_repeats_the_target_by_rewriting_the_chain() -> None:
    trip, exchange = sent()
    assert trip.chain == ["a", "b"]
    assert retry(fed(trip, exchange, trip.response(500), piece(ERROR, end=True)))["x-llm-retry"] == "same"
    assert trip.chain == ["a", "a", "b"]
    second = trip.attempt(2, STREAM)
    fed(trip, second, trip.response(500), piece(ERROR, end=True))
    assert trip.chain == ["a", "a", "b"]


def test_429_with_a_short_retry_after_pauses() -> None:
    trip, exchange = sent()
    headers = retry(fed(trip, exchange, trip.response(429, retry_after="1"), piece(ERROR, end=True)))
    assert headers == {"x-llm-retry": "wait", "x-llm-backoff": "1"}


def test_429_with_a_long_retry_after_goes_on_and_cools_down() -> None:
    trip, exchange = sent()
    headers = retry(fed(trip, exchange, trip.response(429, retry_after="60"), piece(ERROR, end=True)))
    assert headers == {"x-llm-retry": "wait"}
    assert trip.chain == ["a", "b"]
    assert trip.world.services.health.why("a") == (Out.LIMITED, 60.0)
    assert attempt_notes(trip.metadata)[0].cool_down == 60.0


def test_answers_under_way_do_not_end_a_cool_down() -> None:
    trip, first = sent()
    second = trip.attempt(1, STREAM)
    trip.world.clock.now += 1
    fed(trip, second, trip.response(429, retry_after="60"), piece(ERROR, end=True))
    fed(trip, first, trip.response(200, "text/event-stream"), piece(openai_stream("hi")[1]))
    assert trip.world.services.health.why("a") == (Out.LIMITED, 60.0)


def test_a_pause_that_the_deadline_has_no_room_for_goes_on_instead() -> None:
    """Envoy draws up to 1.5 times the pause: at the deadline the client would get a 504 although b was never asked."""
    trip, exchange = sent(made=registry(target("a"), target("b"), timeouts=Timeouts(deadline=5.0)))
    headers = retry(fed(trip, exchange, trip.response(429, retry_after="4"), piece(ERROR, end=True)))
    assert headers == {"x-llm-retry": "wait"}
    assert trip.chain == ["a", "b"]


@pytest.mark.parametrize(
    ("status", "code", "successor"), [(429, "rate_limit_exceeded", "a@y"), (401, "invalid_api_key", "a@y"), (400, "context_length_exceeded", "large")]
)
def test_a_successor_may_stand_behind_the_allowed_attempts(status: int, code: str, successor: str) -> None:
    made = registry(target("a", keys=("x", "y"), window=9), target("b", window=9), target("large", window=99), attempts=Attempts(total=2))
    trip, exchange = sent(made=made)
    assert trip.chain == ["a@x", "b", "large", "a@y"]
    body = orjson.dumps({"error": {"message": "no", "type": "x", "param": None, "code": code}})
    fed(trip, exchange, trip.response(status), piece(body, end=True))
    assert trip.chain[1] == successor


def test_a_refused_key_is_an_alarm() -> None:
    trip, exchange = sent()
    fed(trip, exchange, trip.response(401), piece(ERROR, end=True))
    assert exchange.alarm  # type: ignore[attr-defined]
    assert trip.world.services.health.why("a") == (Out.KEY_REFUSED, 30.0)


def test_a_context_that_is_too_long_skips_to_a_larger_window() -> None:
    made = registry(target("a", window=100), target("b", window=100), target("c", window=1000))
    trip, exchange = sent(made=made)
    body = orjson.dumps({"error": {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}})
    assert retry(fed(trip, exchange, trip.response(400), piece(body, end=True)))["x-llm-retry"] == "larger"
    assert trip.chain == ["a", "c"]


def test_the_clients_own_mistake_is_not_retried() -> None:
    trip, exchange = sent()
    body = orjson.dumps({"error": {"message": "bad", "type": "invalid_request_error", "param": "temperature", "code": None}})
    actions = fed(trip, exchange, trip.response(400), piece(body, end=True))
    assert of_type(actions, Continue).set == []
    note = attempt_notes(trip.metadata)[0]
    assert (note.verdict, note.kind, note.param) == ("final", "invalid_request", "temperature")


def test_a_silent_stream_is_refused_by_the_timer() -> None:
    trip, exchange = sent()
    fed(trip, exchange, trip.response(200, "text/event-stream"))
    actions = fed(trip, exchange, Tick("limit"))
    assert retry(actions) == {"x-llm-retry": "next"}
    assert isinstance(actions[-1], Finish)


def test_silence_before_headers_is_envoys_to_end() -> None:
    trip, exchange = sent()
    assert fed(trip, exchange, Tick("limit")) == []


def test_silence_on_the_last_attempt_is_let_go_with_its_verdict() -> None:
    """The return stage answers in its place, without waiting for a body."""
    trip, exchange = sent(made=registry(target("a"), attempts=Attempts(total=1)))
    actions = fed(trip, exchange, trip.response(200, "text/event-stream"), Tick("limit"))
    assert retry(actions) == {}
    note = attempt_notes(trip.metadata)[0]
    assert (note.verdict, note.kind) == ("final", "timeout")


BAD = orjson.dumps({"error": {"message": "bad", "type": "invalid_request_error", "param": "n", "code": None}})


def test_a_refusal_whose_body_never_ends_is_judged_by_its_status_and_not_retried() -> None:
    trip, exchange = sent()
    actions = fed(trip, exchange, trip.response(400), piece(BAD))
    assert [a.seconds for a in actions if isinstance(a, Arm)][-1] < 1.0, "it is whole, so there is not much to wait for"
    actions = fed(trip, exchange, Tick("limit"))
    answer = of_type(actions, Immediate)
    assert (answer.status, answer.details, orjson.loads(answer.body)["error"]["message"]) == (400, "llm_invalid_request", "bad")


def test_a_limit_whose_body_never_ends_goes_on() -> None:
    trip, exchange = sent()
    assert retry(fed(trip, exchange, trip.response(429, retry_after="60"), piece(b'{"err'), Tick("limit"))) == {"x-llm-retry": "wait"}


def test_a_compressed_refusal_is_read() -> None:
    trip, exchange = sent()
    packed = gzip.compress(BAD)
    assert retry(fed(trip, exchange, trip.response(400, content_encoding="gzip"), piece(packed, end=True))) == {}
    assert attempt_notes(trip.metadata)[0].message == "bad"


@pytest.mark.parametrize("body", [b"no gzip at all", gzip.compress(BAD, mtime=0)[:20]])
def test_a_refusal_that_cannot_be_unpacked_is_still_one(body: bytes) -> None:
    trip, exchange = sent()
    assert retry(fed(trip, exchange, trip.response(400, content_encoding="gzip"), piece(body, end=True))) == {}
    assert attempt_notes(trip.metadata)[0].kind == "invalid_request"


def test_a_refusal_in_an_unknown_encoding_is_judged_by_its_status() -> None:
    trip, exchange = sent()
    assert retry(fed(trip, exchange, trip.response(400, content_encoding="compress"))) == {}
    assert attempt_notes(trip.metadata)[0].kind == "invalid_request"


def test_commit_complete_holds_to_the_end_and_retries_a_cut() -> None:
    made = registry(target("a"), target("b"), commit=Commit.COMPLETE)
    trip, exchange = sent(made=made)
    whole = openai_stream("x", "y")
    assert not [a for a in fed(trip, exchange, trip.response(200, "text/event-stream"), *map(piece, whole[:-1])) if not isinstance(a, Arm)]
    assert retry(fed(trip, exchange, piece(whole[-1]))) == {}
    trip, exchange = sent(made=made)
    cut = openai_stream("x", finish=False, done=False)
    fed(trip, exchange, trip.response(200, "text/event-stream"), *map(piece, cut))
    assert "x-llm-retry" in retry(fed(trip, exchange, piece(b"", end=True)))


def test_commit_complete_lets_go_of_what_is_too_large_and_says_so() -> None:
    trip, exchange = sent(made=registry(target("a"), commit=Commit.COMPLETE))
    fed(trip, exchange, trip.response(200, "text/event-stream"))
    big = openai_stream("x" * (1 << 20))[1]
    actions: list[object] = []
    for _ in range(18):
        actions = [a for a in fed(trip, exchange, piece(big)) if not isinstance(a, Arm)]
        if actions:
            break
    assert isinstance(actions[-1], Finish)
    assert attempt_notes(trip.metadata)[0].losses == ["completeness:given_up"]


def test_a_stall_inside_a_hold_goes_to_the_next_target() -> None:
    made = registry(target("a"), target("b"), commit=Commit.COMPLETE, timeouts=Timeouts(stall=2.0))
    trip, exchange = sent(made=made)
    actions = fed(trip, exchange, trip.response(200, "text/event-stream"), piece(openai_stream("x")[1]))
    assert of_type(actions, Arm).seconds == 2.0
    assert retry(fed(trip, exchange, Tick("limit"))) == {"x-llm-retry": "next"}


def test_headers_behind_the_first_token_limit_do_not_end_all_limits() -> None:
    made = registry(target("a"), target("b"), commit=Commit.COMPLETE, timeouts=Timeouts(first_token=2.0, stall=3.0))
    trip, exchange = sent(made=made)
    trip.world.clock.now += 2.5
    assert fed(trip, exchange, Tick("limit")) == []
    assert of_type(fed(trip, exchange, trip.response(200, "text/event-stream")), Arm).seconds == 3.0
    assert retry(fed(trip, exchange, Tick("limit"))) == {"x-llm-retry": "next"}


def test_a_unary_answer_is_let_go_when_it_is_whole() -> None:
    trip, exchange = sent(chat())
    assert fed(trip, exchange, trip.response(200), piece(OPENAI_ANSWER[:20])) == []
    assert isinstance(fed(trip, exchange, piece(OPENAI_ANSWER[20:], end=True))[-1], Finish)


@pytest.mark.parametrize("body", [b"", b"<html>oops</html>", b'{"error":{"message":"x","code":502}}', b"[]"])
def test_200_without_an_answer_in_it_is_retried(body: bytes) -> None:
    trip, exchange = sent(chat())
    assert "x-llm-retry" in retry(fed(trip, exchange, trip.response(200), piece(body, end=True)))


def test_an_unknown_encoding_is_a_failure_we_can_name() -> None:
    trip, exchange = sent(chat())
    assert "x-llm-retry" in retry(fed(trip, exchange, trip.response(200, content_encoding="compress")))
    assert "compress" in attempt_notes(trip.metadata)[0].message


def test_a_compressed_answer_is_judged_by_what_is_in_it() -> None:
    for body, verdict in ((OPENAI_ANSWER, {}), (b'{"error":{"message":"x","code":502}}', {"x-llm-retry": "same"})):
        trip, exchange = sent(chat())
        packed = gzip.compress(body)
        assert fed(trip, exchange, trip.response(200, content_encoding="gzip"), piece(packed[:15])) == []
        assert retry(fed(trip, exchange, piece(packed[15:], end=True))) == verdict


@pytest.mark.parametrize("body", [b"no gzip at all", gzip.compress(OPENAI_ANSWER, mtime=0)[:20], gzip.compress(bytes(20_000_000), mtime=0)])
def test_a_compressed_answer_that_cannot_be_unpacked_is_retried(body: bytes) -> None:
    trip, exchange = sent(chat())
    assert "x-llm-retry" in retry(fed(trip, exchange, trip.response(200, content_encoding="gzip"), piece(body, end=True)))


def test_an_attempt_beyond_the_chain_ends_it() -> None:
    trip = Journey(World(registry(target("a"))))
    trip.route(STREAM)
    exchange = trip.world.attempt()
    actions = exchange.handle(trip.attempt_headers(len(trip.chain) + 1))
    assert of_type(actions, Immediate).details == "llm_exhausted"


def test_an_attempt_after_the_deadline_is_not_made() -> None:
    trip = Journey(World(registry(target("a"), timeouts=Timeouts(deadline=10.0))))
    trip.route(STREAM)
    trip.world.clock.now += 11
    answer = of_type(trip.world.attempt().handle(trip.attempt_headers(1)), Immediate)
    assert (answer.status, answer.details) == (504, "llm_deadline")


def test_another_process_can_serve_the_attempt() -> None:
    made = registry(target("a"), target("b", "anthropic_messages"))
    trip, elsewhere = Journey(World(made)), World(made)
    trip.route(STREAM)
    exchange = trip.attempt(2, STREAM, world=elsewhere)
    assert exchange.target is not None
    assert exchange.target.name == "b"
    assert exchange.state is State.SENT
    assert not elsewhere.services.under_way


def test_the_attempt_uses_the_registry_that_made_its_plan() -> None:
    trip = Journey(World(registry(target("a"), digest="old")))
    trip.route(STREAM)
    trip.world.services.snapshots.swap(registry(target("b"), digest="new"))
    assert trip.attempt(1, STREAM).state is State.SENT


def test_the_note_is_written_when_the_attempt_starts() -> None:
    trip, _ = sent()
    assert [n.verdict for n in attempt_notes(trip.metadata)] == [""]
    assert set(trip.metadata[ATTEMPTS_NAMESPACE]) == {"a1"}


def test_status_is_never_touched() -> None:
    for status in (200, 400, 401, 429, 500, 503):
        trip, exchange = sent()
        actions = fed(trip, exchange, trip.response(status), piece(ERROR, end=True))
        assert ":status" not in retry([a for a in actions if isinstance(a, Continue)])


def test_trailers_end_a_hold() -> None:
    trip, exchange = sent(chat())
    fed(trip, exchange, trip.response(200), piece(OPENAI_ANSWER[:-1]))
    assert isinstance(fed(trip, exchange, HeadersEvent(Kind.RESPONSE_TRAILERS, {}, True))[-1], Finish)


@pytest.mark.parametrize(("status", "body", "kind"), [(200, OPENAI_ANSWER, ""), (200, b'{"error":{"message":"x"}}', "upstream")])
def test_a_document_that_is_whole_is_judged_without_its_end(status: int, body: bytes, kind: str) -> None:
    """In front of trailers there is no last piece, and Envoy shows trailers only once the answer is let go."""
    trip, exchange = sent(chat())
    assert fed(trip, exchange, trip.response(status), piece(body[:20]))[1:] == []
    assert isinstance(fed(trip, exchange, piece(body[20:]))[-1], Finish)
    assert attempt_notes(trip.metadata)[0].kind == kind


def test_a_body_in_tiny_pieces_costs_a_bounded_number_of_looks() -> None:
    trip, exchange = sent(chat())
    fed(trip, exchange, trip.response(200))
    parsed = 0
    loads = orjson.loads

    def counting(raw: bytes) -> object:
        nonlocal parsed
        parsed += 1
        return loads(raw)

    with patch.object(judge.orjson, "loads", counting):
        for _ in range(1000):
            fed(trip, exchange, piece(b"}"))
    assert 0 < parsed <= 16
