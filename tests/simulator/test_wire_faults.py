"""Each fault at the socket: what arrives, byte for byte, and how the connection ends."""

import json
import select
import socket
import zlib

import pytest

from extproc.simulator import Fault, FaultKind

DIALECTS = ("openai_chat", "anthropic_messages", "gemini")
BODIES = {
    "openai_chat": {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello there"}]},
    "anthropic_messages": {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hello there"}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]},
}


@pytest.fixture
def ask(simulate, conftest):
    """`ask(dialect, fault, stream)`: (status, headers, body as framed, how it ended, simulator)."""
    running = {}

    def run(dialect, fault, stream=True, timeout=10.0, quiet=None):
        if dialect not in running:
            running[dialect] = simulate(dialect)
        sim = running[dialect]
        if fault is not None:
            sim.fault(fault)
        body = BODIES[dialect] | ({"stream": True} if stream and dialect != "gemini" else {})
        raw = conftest.request_bytes("POST", conftest.PATHS[dialect][stream], conftest.KEYS[dialect], json.dumps(body).encode())
        data, ended = conftest.exchange(sim, raw, timeout, quiet)
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        status = int(lines[0].split()[1]) if data else 0
        headers = dict(line.split(": ", 1) for line in lines[1:])
        return status, headers, rest, ended, sim

    return run


def dechunk(raw):
    """(content, pieces, whether the last chunk came)."""
    pieces = []
    while raw:
        size, _, raw = raw.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return b"".join(pieces), pieces, True
        pieces.append(raw[:length])
        raw = raw[length + 2 :]
    return b"".join(pieces), pieces, False


def events(raw):
    return dechunk(raw)[1]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_without_a_fault(ask, dialect):
    status, headers, raw, ended, _ = ask(dialect, None)
    content, pieces, whole = dechunk(raw)
    assert (status, ended, whole) == (200, "eof", True)
    assert headers["content-type"].startswith("text/event-stream")
    assert len(pieces) > 5
    assert {"openai_chat": b"[DONE]", "anthropic_messages": b"message_stop", "gemini": b'"finishReason":"STOP"'}[dialect] in pieces[-1]
    assert content.count(b"data: ") == len(pieces)
    status, headers, raw, _, _ = ask(dialect, None, stream=False)
    assert len(raw) == int(headers["content-length"])
    json.loads(raw)


def test_reset_and_close_before_headers(ask):
    assert ask("openai_chat", Fault(FaultKind.RESET))[2:4] == (b"", "reset")
    assert ask("openai_chat", Fault(FaultKind.CLOSE))[2:4] == (b"", "eof")


@pytest.mark.parametrize("kind", [FaultKind.SILENCE, FaultKind.HEADERS_THEN_SILENCE])
@pytest.mark.parametrize("stream", [True, False])
def test_silence(ask, kind, stream):
    status, _, raw, ended, sim = ask("anthropic_messages", Fault(kind), stream, timeout=0.3 if kind is FaultKind.SILENCE else 10, quiet=0.3)
    assert ended == "timeout"
    assert (status, raw) == ((0, b"") if kind is FaultKind.SILENCE else (200, b""))
    assert sim.received[-1].fault == kind


def test_silence_that_ends(ask):
    assert dechunk(ask("gemini", Fault(FaultKind.SILENCE, seconds=0.05))[2])[2]
    assert dechunk(ask("gemini", Fault(FaultKind.HEADERS_THEN_SILENCE, seconds=0.05))[2])[2]
    assert dechunk(ask("gemini", Fault(FaultKind.SLOW_HEADERS, seconds=0.05))[2])[2]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_stream_cut(ask, dialect):
    full = events(ask(dialect, None)[2])
    for after in (0, 1, 4):
        _, _, raw, ended, _ = ask(dialect, Fault(FaultKind.CUT, after=after))
        _, pieces, whole = dechunk(raw)
        assert (len(pieces), whole, ended) == (after, False, "eof")
        assert [p[:20] for p in pieces] == [p[:20] for p in full[:after]]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_stream_ended_early_has_content_but_no_finish(ask, dialect):
    content, _, whole = dechunk(ask(dialect, Fault(FaultKind.END_EARLY))[2])
    assert whole
    assert b"there" in content
    for finish in (b'"finish_reason":"stop"', b"[DONE]", b"message_delta", b"message_stop", b"finishReason"):
        assert finish not in content
    assert len(events(ask(dialect, Fault(FaultKind.END_EARLY, after=1))[2])) == 1


def test_only_the_terminator_missing(ask):
    content, _, whole = dechunk(ask("openai_chat", Fault(FaultKind.NO_TERMINATOR))[2])
    assert whole
    assert b'"finish_reason":"stop"' in content
    assert b"[DONE]" not in content
    content = dechunk(ask("anthropic_messages", Fault(FaultKind.NO_TERMINATOR))[2])[0]
    assert b"message_delta" in content
    assert b"message_stop" not in content
    assert b"finishReason" not in dechunk(ask("gemini", Fault(FaultKind.NO_TERMINATOR))[2])[0]


def test_stall_and_stall_that_ends(ask):
    _, _, raw, ended, _ = ask("openai_chat", Fault(FaultKind.STALL, after=3), quiet=0.3)
    assert (len(events(raw)), dechunk(raw)[2], ended) == (3, False, "timeout")
    assert dechunk(ask("openai_chat", Fault(FaultKind.STALL, after=3, seconds=0.05))[2])[2]
    _, headers, raw, ended, _ = ask("openai_chat", Fault(FaultKind.STALL), stream=False, quiet=0.3)
    assert ended == "timeout"
    assert 0 < len(raw) < int(headers["content-length"])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_slow_first_token_sends_the_opening_at_once(simulate, conftest, dialect):
    sim = simulate(dialect)
    sim.fault(Fault(FaultKind.SLOW_FIRST_TOKEN, seconds=60))
    body = BODIES[dialect] | ({"stream": True} if dialect != "gemini" else {})
    raw = conftest.request_bytes("POST", conftest.PATHS[dialect][1], conftest.KEYS[dialect], json.dumps(body).encode())
    data, ended = conftest.exchange(sim, raw, quiet=0.3)
    assert ended == "timeout"
    opening = events(data.partition(b"\r\n\r\n")[2])
    assert [b"role" in p for p in opening] == {"openai_chat": [True], "anthropic_messages": [True, False, False], "gemini": []}[dialect]
    assert b"heard" not in data


@pytest.mark.parametrize("dialect", DIALECTS)
def test_malformed_event(ask, dialect):
    pieces = events(ask(dialect, Fault(FaultKind.MALFORMED, after=3))[2])
    data = [line for p in pieces for line in p.decode().splitlines() if line.startswith("data: ") and line != "data: [DONE]"]

    def broken(line):
        try:
            json.loads(line[6:])
        except ValueError:
            return True
        return False

    assert [i for i, line in enumerate(data) if broken(line)] == [3]
    assert len(pieces) > 5
    status, headers, raw, _, _ = ask(dialect, Fault(FaultKind.MALFORMED), stream=False)
    assert (status, len(raw)) == (200, int(headers["content-length"]))
    assert broken("data: " + raw.decode())


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("after", [0, 3])
def test_error_event_ends_the_stream(ask, dialect, after):
    _, pieces, whole = dechunk(ask(dialect, Fault(FaultKind.ERROR_EVENT, after=after, message="went wrong"))[2])
    assert (len(pieces), whole) == (after + 1, True)
    data = json.loads(pieces[-1].decode().rpartition("data: ")[2])
    assert data["error"]["message"] == "went wrong"
    assert pieces[-1].startswith(b"event: error") is (dialect == "anthropic_messages")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [True, False])
def test_error_with_status_200(ask, dialect, stream):
    status, headers, raw, _, _ = ask(dialect, Fault(FaultKind.ERROR_200, status=429), stream)
    assert (status, headers["content-type"].partition(";")[0]) == (200, "application/json")
    assert "error" in json.loads(raw)


def test_html_empty_and_content_type(ask):
    status, headers, raw, _, _ = ask("openai_chat", Fault(FaultKind.HTML))
    assert (status, headers["content-type"]) == (502, "text/html")
    assert raw.startswith(b"<html>")
    status, headers, raw, _, _ = ask("openai_chat", Fault(FaultKind.EMPTY), stream=False)
    assert (status, headers["content-length"], raw) == (200, "0", b"")
    status, headers, raw, _, _ = ask("openai_chat", Fault(FaultKind.WRONG_CONTENT_TYPE), stream=False)
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    json.loads(raw)


@pytest.mark.parametrize("stream", [True, False])
def test_gzip_nobody_asked_for(ask, stream):
    _, headers, raw, _, _ = ask("gemini", Fault(FaultKind.GZIP), stream)
    assert headers["content-encoding"] == "gzip"
    content = zlib.decompress(dechunk(raw)[0] if stream else raw, wbits=31)
    assert b"hello" in content


def test_gzip_stream_is_flushed_per_event(ask):
    pieces = events(ask("gemini", Fault(FaultKind.GZIP))[2])
    unpacker = zlib.decompressobj(wbits=31)
    assert unpacker.decompress(pieces[0]).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("stream", [True, False])
def test_drip(ask, stream):
    clean = ask("openai_chat", None, stream)[2]
    _, headers, raw, ended, _ = ask("openai_chat", Fault(FaultKind.DRIP), stream)
    assert ended == "eof"
    if not stream:
        assert len(raw) == int(headers["content-length"])
        return
    content, pieces, whole = dechunk(raw)
    assert whole
    assert {len(p) for p in pieces} == {1, 2, 3, 4, 5, 6, 7}
    assert len(content) == len(dechunk(clean)[0])


def test_truncated(ask):
    _, headers, raw, ended, _ = ask("anthropic_messages", Fault(FaultKind.TRUNCATED), stream=False)
    assert (ended, len(raw)) == ("eof", int(headers["content-length"]) // 2)
    _, _, raw, ended, _ = ask("anthropic_messages", Fault(FaultKind.TRUNCATED))
    content, _, whole = dechunk(raw)
    assert (ended, whole) == ("eof", False)
    assert not content.endswith(b"\n\n")


@pytest.mark.parametrize("stream", [True, False])
def test_cut_of_a_unary_answer(ask, stream):
    _, _, raw, ended, _ = ask("gemini", Fault(FaultKind.CUT), stream)
    assert ended == "eof"
    with pytest.raises(ValueError):
        json.loads(raw if not stream else dechunk(raw)[0])


def test_slow_reading_holds_the_sender_up(simulate, conftest):
    sim = simulate("openai_chat")
    sim.fault(Fault(FaultKind.SLOW_READ, rate=1000))
    head = conftest.request_bytes("POST", "/v1/chat/completions", conftest.KEYS["openai_chat"])
    head = head.replace(b"content-length: 0", b"content-length: 60000000")
    with socket.create_connection(("127.0.0.1", sim.port), 5) as client:
        client.setblocking(False)
        client.send(head)
        sent = 0
        while select.select([], [client], [], 0.3)[1]:
            sent += client.send(b"x" * 65536)
        assert sent < 60_000_000
    assert len(sim.received) == 0


def test_slow_reading_takes_the_whole_body_in_the_end(simulate, conftest):
    sim = simulate("openai_chat")
    sim.fault(Fault(FaultKind.SLOW_READ, rate=4_000_000))
    body = json.dumps(BODIES["openai_chat"] | {"user": "x" * 500_000}).encode()
    data, _ = conftest.exchange(sim, conftest.request_bytes("POST", "/v1/chat/completions", conftest.KEYS["openai_chat"], body))
    assert data.startswith(b"HTTP/1.1 200")
    assert sim.received[-1].length == len(body)


def test_flapping_probability_models_and_keys(simulate, conftest):
    sim = simulate("openai_chat", seed=3)

    def statuses(count, **changes):
        out = []
        for _ in range(count):
            body = json.dumps(BODIES["openai_chat"] | changes).encode()
            out.append(
                int(conftest.exchange(sim, conftest.request_bytes("POST", "/v1/chat/completions", conftest.KEYS["openai_chat"], body))[0].split()[1])
            )
        return out

    sim.fault(Fault(FaultKind.STATUS, status=503, every=2), times=None)
    assert statuses(5) == [503, 200, 503, 200, 503]
    sim.clear_faults()
    sim.fault(Fault(FaultKind.STATUS, status=500, probability=0.5), times=None)
    seen = statuses(20)
    assert {200, 500} == set(seen)
    sim.clear_faults()
    sim.fault(Fault(FaultKind.STATUS, status=500, model="gpt-5*"), times=None)
    assert statuses(1) + statuses(1, model="gpt-5-mini") == [200, 500]
    sim.clear_faults()
    sim.fault(Fault(FaultKind.STATUS, status=500, key="other"), times=None)
    assert statuses(1) == [200]
    sim.fault(Fault(FaultKind.STATUS, status=418), times=2)
    sim.fault(Fault(FaultKind.STATUS, status=429), times=1)
    assert statuses(4) == [418, 418, 429, 200]


def test_paced_streams_come_token_by_token(simulate, conftest):
    sim = simulate("openai_chat", tokens_per_second=0.1)
    body = json.dumps(BODIES["openai_chat"] | {"stream": True}).encode()
    data, ended = conftest.exchange(sim, conftest.request_bytes("POST", "/v1/chat/completions", conftest.KEYS["openai_chat"], body), quiet=0.2)
    assert ended == "timeout"
    assert len(events(data.partition(b"\r\n\r\n")[2])) == 1
