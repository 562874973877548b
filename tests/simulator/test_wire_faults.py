"""Each fault at the socket: what arrives, byte for byte, and how the connection ends."""

import base64
import json
import select
import socket
import zlib

import brotli
import pytest
import zstandard
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer

from extproc.simulator import Fault, FaultKind

ASK = [{"role": "user", "content": "hello there"}]
CONVERSE = {"messages": [{"role": "user", "content": [{"text": "hello there"}]}]}
BODIES = {
    "openai_chat": {"model": "gpt-4o", "messages": ASK},
    "openai_responses": {"model": "gpt-4o", "input": ASK},
    "anthropic_messages": {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": ASK},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hello there"}]}]},
    "vertex_claude": {"anthropic_version": "vertex-2023-10-16", "max_tokens": 100, "messages": ASK},
    "bedrock_converse": CONVERSE,
    "bedrock_invoke": {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": ASK},
    "cohere_chat": {"model": "command-a-03-2025", "messages": ASK},
    "ollama_chat": {"model": "llama3.2", "messages": ASK},
}
DIALECTS = tuple(BODIES)
BINARY = ("bedrock_converse", "bedrock_invoke")
PATH_STREAMS = (*BINARY, "gemini")
"""The path says whether to stream."""
END = {
    "openai_chat": b"[DONE]",
    "openai_responses": b'"type":"response.completed"',
    "anthropic_messages": b"message_stop",
    "gemini": b'"finishReason":"STOP"',
    "vertex_claude": b"message_stop",
    "bedrock_converse": b"metadata",
    "bedrock_invoke": b"chunk",
    "cohere_chat": b"message-end",
    "ollama_chat": b'"done":true',
}
FINISHES = (b'"finish_reason":"stop"', b"[DONE]", b"message_delta", b"message_stop", b"finishReason", b"messageStop", b"response.completed")


def body_of(dialect, stream):
    """As each API is asked for a stream."""
    if dialect in PATH_STREAMS:
        return BODIES[dialect]
    return BODIES[dialect] | {"stream": stream}


def documents(dialect, raw):
    """What the events of a stream say, as JSON; a broken one raises ValueError."""
    if dialect in BINARY:
        buffer = EventStreamBuffer()
        buffer.add_data(raw)
        found = [json.loads(event.payload) for event in buffer]
        return [json.loads(base64.b64decode(d["bytes"])) if "bytes" in d else d for d in found]
    lines = raw.decode().splitlines()
    if dialect == "ollama_chat":
        return [json.loads(line) for line in lines if line]
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ") and line != "data: [DONE]"]


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
        raw = conftest.request_bytes("POST", conftest.PATHS[dialect][stream], conftest.KEYS[dialect], json.dumps(body_of(dialect, stream)).encode())
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
    kind = {"ollama_chat": "application/x-ndjson"} | dict.fromkeys(BINARY, "application/vnd.amazon.eventstream")
    assert headers["content-type"].partition(";")[0] == kind.get(dialect, "text/event-stream")
    assert len(pieces) > 4
    assert END[dialect] in pieces[-1]
    assert len(documents(dialect, content)) == len(pieces) - (dialect == "openai_chat")
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
    assert b"there" in json.dumps(documents(dialect, content)).encode()
    for finish in (*FINISHES, b"message-end", b'"done":true', *([END["bedrock_converse"]] if dialect in BINARY else [])):
        assert finish not in content
        assert finish not in json.dumps(documents(dialect, content)).encode()
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


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic_messages", "gemini"])
def test_slow_first_token_sends_the_opening_at_once(simulate, conftest, dialect):
    sim = simulate(dialect)
    sim.fault(Fault(FaultKind.SLOW_FIRST_TOKEN, seconds=60))
    raw = conftest.request_bytes("POST", conftest.PATHS[dialect][1], conftest.KEYS[dialect], json.dumps(body_of(dialect, True)).encode())
    data, ended = conftest.exchange(sim, raw, quiet=0.3)
    assert ended == "timeout"
    opening = events(data.partition(b"\r\n\r\n")[2])
    assert [b"role" in p for p in opening] == {"openai_chat": [True], "anthropic_messages": [True, False, False], "gemini": []}[dialect]
    assert b"heard" not in data


@pytest.mark.parametrize("kind", [FaultKind.MALFORMED, FaultKind.CORRUPT])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_malformed_event(ask, dialect, kind):
    pieces = events(ask(dialect, Fault(kind, after=2))[2])

    def broken(piece):
        try:
            documents(dialect, piece)
        except (ValueError, ChecksumMismatch):
            return True
        return False

    assert [i for i, piece in enumerate(pieces) if broken(piece)] == [2]
    assert len(pieces) > 4
    status, headers, raw, _, _ = ask(dialect, Fault(kind), stream=False)
    assert (status, len(raw)) == (200, int(headers["content-length"]))
    with pytest.raises(ValueError):
        json.loads(raw)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_odd_line_ends_say_the_same(ask, dialect):
    clean = documents(dialect, dechunk(ask(dialect, None)[2])[0])
    odd = dechunk(ask(dialect, Fault(FaultKind.CRLF))[2])[0]
    open_end = dechunk(ask(dialect, Fault(FaultKind.NO_LAST_NEWLINE))[2])[0]
    assert len(documents(dialect, odd)) == len(documents(dialect, open_end)) == len(clean)
    if dialect not in BINARY:
        assert b"\r\n" in odd
        assert (b"\r\n: a comment" in odd) is (dialect != "ollama_chat")
        assert not open_end.endswith((b"\n", b"\r"))


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("after", [0, 3])
def test_error_event_ends_the_stream(ask, dialect, after):
    _, pieces, whole = dechunk(ask(dialect, Fault(FaultKind.ERROR_EVENT, after=after, message="went wrong"))[2])
    assert (len(pieces), whole) == (after + 1, True)
    if dialect in BINARY:
        buffer = EventStreamBuffer()
        buffer.add_data(pieces[-1])
        (error,) = list(buffer)
        assert error.headers[":message-type"] == "exception"
        assert error.headers[":exception-type"] == "serviceUnavailableException"
        assert json.loads(error.payload) == {"message": "went wrong"}
        return
    (data,) = documents(dialect, pieces[-1])
    said = {"openai_responses": data.get("message"), "cohere_chat": data.get("delta", {}).get("error"), "ollama_chat": data.get("error")}
    assert (said[dialect] if dialect in said else data["error"]["message"]) == "went wrong"
    named = {"anthropic_messages": b"error", "vertex_claude": b"error", "openai_responses": b"error", "cohere_chat": b"message-end"}
    assert pieces[-1].startswith(b"event: ") is (dialect in named)
    assert named.get(dialect, b"") in pieces[-1]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [True, False])
def test_error_with_status_200(ask, dialect, stream):
    status, headers, raw, _, _ = ask(dialect, Fault(FaultKind.ERROR_200, status=429), stream)
    assert (status, headers["content-type"].partition(";")[0]) == (200, "application/json")
    assert set(json.loads(raw)) & {"error", "message"}


def test_html_empty_and_content_type(ask):
    status, headers, raw, _, _ = ask("openai_chat", Fault(FaultKind.HTML))
    assert (status, headers["content-type"]) == (502, "text/html")
    assert raw.startswith(b"<html>")
    status, headers, raw, _, _ = ask("openai_chat", Fault(FaultKind.EMPTY), stream=False)
    assert (status, headers["content-length"], raw) == (200, "0", b"")
    status, headers, raw, _, _ = ask("openai_chat", Fault(FaultKind.WRONG_CONTENT_TYPE), stream=False)
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    json.loads(raw)


UNPACK = {
    FaultKind.GZIP: lambda raw: zlib.decompress(raw, wbits=31),
    FaultKind.DEFLATE: zlib.decompress,
    FaultKind.BROTLI: brotli.decompress,
    FaultKind.ZSTD: lambda raw: zstandard.ZstdDecompressor().decompressobj().decompress(raw),
}


@pytest.mark.parametrize("kind", UNPACK)
@pytest.mark.parametrize("stream", [True, False])
def test_compression_nobody_asked_for(ask, stream, kind):
    _, headers, raw, _, _ = ask("gemini", Fault(kind), stream)
    assert headers["content-encoding"] == kind.value
    assert b"hello" in UNPACK[kind](dechunk(raw)[0] if stream else raw)


@pytest.mark.parametrize("kind", UNPACK)
def test_a_compressed_stream_is_flushed_per_event(ask, kind):
    first = events(ask("gemini", Fault(kind))[2])[0]
    unpacker = {
        FaultKind.GZIP: lambda: zlib.decompressobj(wbits=31).decompress(first),
        FaultKind.DEFLATE: lambda: zlib.decompressobj().decompress(first),
        FaultKind.BROTLI: lambda: brotli.Decompressor().process(first),
        FaultKind.ZSTD: lambda: zstandard.ZstdDecompressor().decompressobj().decompress(first),
    }
    assert unpacker[kind]().endswith(b"\r\n\r\n")


@pytest.mark.parametrize("stream", [True, False])
def test_reset_after_some_of_the_answer(ask, stream):
    _, _, raw, ended, _ = ask("openai_chat", Fault(FaultKind.RESET_LATER, after=3), stream)
    assert ended == "reset"
    # what a reset overtakes on its way is lost
    assert len(events(raw)) <= 3 if stream else not raw.endswith(b"}\n")


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
