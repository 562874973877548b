"""The HTTP/1.1 server: framing, pipelining, limits, and a client that goes away."""

import json
import socket
import threading

import httpx
import pytest

from extproc.simulator import http1
from extproc.simulator.http1 import Malformed, parse_head

BODY = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}).encode()
HEADERS = {"authorization": "Bearer k"}


def test_chunked_and_split_request_bodies(simulate):
    sim = simulate("openai_chat")
    cut = [BODY[i : i + 3] for i in range(0, len(BODY), 3)]
    assert httpx.post(sim.url + "/v1/chat/completions", content=iter(cut), headers=HEADERS).status_code == 200
    assert sim.received[-1].body == BODY
    assert sim.received[-1].headers["transfer-encoding"] == "chunked"


@pytest.mark.parametrize("chunked", [True, False])
def test_byte_by_byte(simulate, chunked):
    sim = simulate("openai_chat")
    framing = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % len(BODY)
    raw = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\nconnection: close\r\n" + framing + b"\r\n\r\n"
    raw += b"5;x=y\r\n%b\r\n%x\r\n%b\r\n0\r\ntrailer: x\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:]) if chunked else BODY
    with socket.create_connection(("127.0.0.1", sim.port), 5) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(raw)):
            client.send(raw[i : i + 1])
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
    assert sim.received[-1].body == BODY


def test_pipelined_requests_are_answered_in_order(simulate, conftest):
    sim = simulate("openai_chat")
    one = conftest.request_bytes("POST", "/v1/chat/completions", HEADERS, BODY).replace(b"connection: close\r\n", b"")
    models = conftest.request_bytes("GET", "/v1/models", HEADERS)
    data, ended = conftest.exchange(sim, one + one + models)
    assert ended == "eof"
    assert data.count(b"HTTP/1.1 200") == 3
    assert data.rindex(b'"object":"list"') > data.rindex(b'"chat.completion"')


def test_expect_continue(simulate, conftest):
    sim = simulate("openai_chat")
    data, _ = conftest.exchange(sim, conftest.request_bytes("POST", "/v1/chat/completions", HEADERS | {"expect": "100-continue"}, BODY))
    assert data.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nfffffffff\r\n", 413),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * 70000, 431),
    ],
)
def test_malformed_and_oversized_requests(simulate, conftest, raw, status):
    data, _ = conftest.exchange(simulate("openai_chat"), raw)
    assert data.startswith(b"HTTP/1.1 %d" % status)
    assert b"connection: close" in data


def test_header_names_are_folded_and_repeats_joined():
    request = parse_head(b"GET /a?b=c HTTP/1.1\r\nX-A: 1\r\nx-a: 2\r\nConnection: close")
    assert (request.path, request.query, request.headers["x-a"], request.keep_alive) == ("/a", "b=c", "1, 2", False)
    with pytest.raises(Malformed):
        parse_head(b"GET / SPDY/3")


def test_a_large_body_is_read_and_only_its_hash_kept(simulate):
    sim = simulate("openai_chat")
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * (40 << 20)}]}
    assert httpx.post(sim.url + "/v1/chat/completions", json=body, headers=HEADERS, timeout=30).status_code == 200
    assert sim.received[-1].body is None
    assert len(sim.received[-1].sha256) == 64
    assert sim.received[-1].length > 40 << 20
    assert sim.received[-1].length < http1.MAX_BODY


def test_a_client_that_leaves_is_noticed(simulate, conftest):
    left = threading.Event()
    records = []

    def ended(record):
        records.append(record)
        left.set()

    sim = simulate("openai_chat", tokens_per_second=1, on_exchange=ended)
    raw = conftest.request_bytes("POST", "/v1/chat/completions", HEADERS, BODY.replace(b"{", b'{"stream": true, ', 1))
    with socket.create_connection(("127.0.0.1", sim.port), 5) as client:
        client.sendall(raw)
        assert client.recv(100)
    assert left.wait(5)
    assert records[0].left


def _more(client):
    """Whether the connection still brings bytes; a reset ends it as well as a close. A time-out is an error."""
    try:
        return client.recv(1 << 16) != b""
    except ConnectionResetError:
        return False


def test_stop_ends_what_is_under_way_and_start_takes_the_port_again(simulate, background, conftest):
    sim = simulate("openai_chat", tokens_per_second=0.1)
    raw = conftest.request_bytes("POST", "/v1/chat/completions", HEADERS, BODY.replace(b"{", b'{"stream": true, ', 1))
    with socket.create_connection(("127.0.0.1", sim.port), 5) as client:
        client.sendall(raw)
        assert client.recv(100)
        background.run(sim.stop())
        while _more(client):
            pass
    port = sim.port
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 1)
    background.run(sim.start())
    assert sim.port == port
    assert httpx.get(sim.url + "/v1/models", headers=HEADERS).status_code == 200


def test_a_unix_socket(simulate, tmp_path):
    sim = simulate("openai_chat", path=str(tmp_path / "sim.sock"))
    with httpx.Client(transport=httpx.HTTPTransport(uds=sim.path)) as client:
        assert client.get(sim.url + "/v1/models", headers=HEADERS).status_code == 200
