"""Our side of HTTP/2 against the `h2` package's, every violation, and whatever bytes: frames mean the same in any split, and nothing raises."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extproc.edge.hpack import Headers, encode
from extproc.edge.http2 import MAX_BLOCK, MAX_FRAME, MAX_REPLIES, Connection
from extproc.edge.http2_frames import PREFACE, Code, Flag, Kind, Setting, frame
from extproc.edge.http2_frames import settings as settings_frame
from extproc.edge.http2_stream import STREAM_WINDOW, Stream

REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a"), (b":authority", b"x")]
ANSWER = encode([(b":status", b"200")])
TRAILERS = encode([(b"grpc-status", b"0")])
BLOCK = encode(REQUEST)
BEGINNING = PREFACE + settings_frame({})


class Echo:
    """Keeps what arrives on its stream, and sends it back when it is whole if it `answers`."""

    def __init__(self, stream: Stream, headers: Headers, answers: bool) -> None:
        self.stream, self.headers, self.answers = stream, headers, answers
        self.body = bytearray()
        self.ended = self.was_reset = False
        if stream.remote_ended:
            self.data(memoryview(b""), True)

    def data(self, piece: memoryview, ended: bool) -> None:
        assert not self.ended
        self.body += piece
        self.ended = ended
        self.stream.consumed(len(piece))
        if ended and self.answers:
            self.stream.send_headers(ANSWER)
            self.stream.send_data(b"", bytes(self.body))
            self.stream.end(TRAILERS)

    def reset(self) -> None:
        self.was_reset = True

    def writable(self) -> None:
        pass


class Ours:
    def __init__(self, *, answers: bool = True) -> None:
        self.streams: list[Echo] = []
        self.answers = answers
        self.woken = 0
        self.connection = Connection(self.accept, self.wake)
        self.connection.begin()

    def wake(self) -> None:
        self.woken += 1

    def accept(self, stream: Stream, headers: Headers) -> None:
        stream.receiver = echo = Echo(stream, headers, self.answers)
        self.streams.append(echo)

    def take(self) -> bytes:
        return self.connection.take()


class Pair:
    """`h2` as the client of our connection; what either says reaches the other when `flow` is called."""

    def __init__(self, *, answers: bool = True, window: int | None = None, chunk: int = 1 << 30) -> None:
        self.ours = Ours(answers=answers)
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.client.initiate_connection()
        if window is not None:
            self.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.events: list[Any] = []
        self.chunk = chunk
        self.flow()

    def flow(self, *, acknowledge: bool = True) -> None:
        while True:
            out = self.client.data_to_send()
            for at in range(0, len(out), self.chunk):
                self.ours.connection.receive(out[at : at + self.chunk])
            back = self.ours.take()
            if not out and not back:
                return
            for event in self.client.receive_data(back):
                self.events.append(event)
                if acknowledge and isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                    self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def request(self, body: bytes = b"", **padding: int) -> int:
        stream_id = self.client.get_next_available_stream_id()
        self.client.send_headers(stream_id, REQUEST)
        self.send(stream_id, body, **padding)
        self.client.end_stream(stream_id)
        self.flow()
        return stream_id

    def send(self, stream_id: int, body: bytes, **padding: int) -> None:
        rest = memoryview(body)
        while rest:
            room = min(self.client.local_flow_control_window(stream_id), self.client.max_outbound_frame_size)
            room -= padding.get("pad_length", -1) + 1
            assert room > 0, "the window is not opened again"
            self.client.send_data(stream_id, bytes(rest[:room]), **padding)
            rest = rest[room:]
            self.flow()

    def body(self, stream_id: int) -> bytes:
        return b"".join(e.data for e in self.events if isinstance(e, h2.events.DataReceived) and e.stream_id == stream_id)

    def ends(self) -> list[int]:
        return [e.stream_id for e in self.events if isinstance(e, h2.events.StreamEnded)]


def codes(data: bytes) -> Iterable[tuple[int, int, Code | None]]:
    """Kind, stream and, of what ends something, the code of each frame in `data`."""
    while data:
        size, kind = int.from_bytes(data[:3], "big"), data[3]
        payload = data[9 : 9 + size]
        code = {Kind.RST_STREAM: payload[:4], Kind.GOAWAY: payload[4:8]}.get(kind)
        yield kind, int.from_bytes(data[5:9], "big"), None if code is None else Code(int.from_bytes(code, "big"))
        data = data[9 + size :]


# with another implementation


@pytest.mark.parametrize("window", [1, 100, 65_535, 1 << 20])
@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385])
def test_bodies_of_any_size_through_any_window(window: int, size: int) -> None:
    pair = Pair(window=window)
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    stream_id = pair.request(body)
    assert pair.body(stream_id) == body
    assert pair.ends() == [stream_id]
    assert pair.ours.connection.streams == {}


def test_ten_megabytes_both_ways() -> None:
    pair = Pair()
    body = bytes(range(256)) * 40_960
    stream_id = pair.request(body)
    assert pair.body(stream_id) == body


def test_many_streams_share_the_connections_window() -> None:
    pair = Pair(window=1 << 20)
    bodies: dict[int, bytes] = {}
    for n in range(50):
        stream_id = pair.client.get_next_available_stream_id()
        pair.client.send_headers(stream_id, REQUEST)
        bodies[stream_id] = bytes((n,)) * 10_000
        pair.client.send_data(stream_id, bodies[stream_id])
        pair.flow()
    for stream_id in bodies:
        pair.client.end_stream(stream_id)
    pair.flow(acknowledge=False)
    assert 0 < sum(len(pair.body(i)) for i in bodies) <= 65_535
    assert pair.ours.connection.blocked
    pair.client.increment_flow_control_window(1 << 20)
    pair.flow()
    assert {i: pair.body(i) for i in bodies} == bodies
    assert sorted(pair.ends()) == sorted(bodies)
    assert pair.ours.connection.streams == pair.ours.connection.blocked == {}


def test_settings_change_while_an_answer_waits() -> None:
    pair = Pair(window=10)
    stream_id = pair.client.get_next_available_stream_id()
    pair.client.send_headers(stream_id, REQUEST)
    pair.client.send_data(stream_id, b"x" * 5_000, end_stream=True)
    pair.flow(acknowledge=False)
    assert len(pair.body(stream_id)) == 10
    assert pair.ours.streams[0].stream.backlog == 4_990
    pair.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 5, h2.settings.SettingCodes.HEADER_TABLE_SIZE: 0})
    pair.flow(acknowledge=False)
    assert len(pair.body(stream_id)) == 10
    pair.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 8_000, h2.settings.SettingCodes.MAX_FRAME_SIZE: 20_000})
    pair.flow(acknowledge=False)
    assert len(pair.body(stream_id)) == 5_000
    assert pair.ours.connection.max_frame == 20_000
    assert any(isinstance(e, h2.events.SettingsAcknowledged) for e in pair.events)


def test_padding_counts_for_the_window_and_is_not_body() -> None:
    pair = Pair()
    body = b"y" * (3 * STREAM_WINDOW)
    pair.request(body, pad_length=255)
    assert pair.ours.streams[0].body == body


@pytest.mark.parametrize("chunk", [1, 7, 1 << 30])
def test_a_header_block_in_many_frames(chunk: int) -> None:
    pair = Pair(chunk=chunk)
    many = [(b"x-%d" % n, b"v" * 100) for n in range(350)]
    pair.client.send_headers(1, REQUEST + many, end_stream=True, priority_weight=3, priority_depends_on=0)
    pair.flow()
    assert pair.ours.streams[0].headers == REQUEST + many
    assert pair.ends() == [1]


def test_trailers_of_the_client() -> None:
    pair = Pair()
    pair.client.send_headers(1, REQUEST)
    pair.client.send_data(1, b"all")
    pair.client.send_headers(1, [(b"x", b"y")], end_stream=True)
    pair.flow()
    assert pair.body(1) == b"all"
    assert pair.ends() == [1]


def test_ping_and_reset_and_goaway() -> None:
    pair = Pair(answers=False)
    pair.client.send_headers(1, REQUEST)
    pair.client.send_headers(3, REQUEST)
    pair.client.ping(b"12345678")
    pair.flow()
    assert any(isinstance(e, h2.events.PingAckReceived) and e.ping_data == b"12345678" for e in pair.events)
    pair.client.reset_stream(1)
    pair.flow()
    assert [s.was_reset for s in pair.ours.streams] == [True, False]
    pair.ours.connection.go_away()
    assert not pair.ours.connection.over
    stream = pair.ours.streams[1].stream
    stream.send_headers(ANSWER)
    stream.end(TRAILERS)
    back = pair.ours.take()
    assert [(k, s, c) for k, s, c in codes(back) if c is not None] == [(Kind.GOAWAY, 0, Code.NO_ERROR), (Kind.RST_STREAM, 3, Code.NO_ERROR)]
    assert pair.ours.connection.over
    assert not pair.ours.connection.closed


def test_a_peer_that_leaves_is_served_to_the_end() -> None:
    pair = Pair(answers=False)
    pair.client.send_headers(1, REQUEST)
    pair.flow()
    pair.ours.connection.receive(frame(Kind.GOAWAY, 0, 0, bytes(8)))
    assert not pair.ours.connection.over
    pair.ours.connection.receive(frame(Kind.RST_STREAM, 0, 1, bytes(4)))
    assert pair.ours.connection.over


def test_an_early_end_leaves_late_frames_without_effect() -> None:
    pair = Pair(answers=False)
    pair.client.send_headers(1, REQUEST)
    pair.flow()
    stream = pair.ours.streams[0].stream
    stream.send_headers(ANSWER)
    stream.end(TRAILERS)
    late = frame(Kind.DATA, 0, 1, b"late") + frame(Kind.WINDOW_UPDATE, 0, 1, b"\0\0\0\1") + frame(Kind.HEADERS, 5, 1, BLOCK)
    pair.ours.take()
    pair.ours.connection.receive(late + frame(Kind.RST_STREAM, 0, 1, bytes(4)))
    assert pair.ours.take() == b""
    assert not pair.ours.connection.closed
    stream.send_data(b"", b"dropped")
    stream.end(TRAILERS)
    assert pair.ours.take() == b""


def test_data_nobody_reads_is_limited() -> None:
    ours = Ours()
    ours.connection.receive(BEGINNING + frame(Kind.HEADERS, Flag.END_HEADERS, 1, BLOCK))
    ours.connection.streams[1].receive_window = 10
    ours.connection.receive(frame(Kind.DATA, 0, 1, b"x" * 11))
    assert list(codes(ours.take()))[-1] == (Kind.GOAWAY, 0, Code.FLOW_CONTROL_ERROR)


# violations

open_1 = frame(Kind.HEADERS, Flag.END_HEADERS, 1, BLOCK)
closed_1 = frame(Kind.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, 1, BLOCK)
LARGEST = (1 << 31) - 1

VIOLATIONS = {
    "not HTTP/2": (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", Code.PROTOCOL_ERROR),
    "no settings first": (PREFACE + frame(Kind.PING, 0, 0, bytes(8)), Code.PROTOCOL_ERROR),
    "an ack first": (PREFACE + frame(Kind.SETTINGS, Flag.ACK, 0), Code.PROTOCOL_ERROR),
    "a frame too large": (BEGINNING + (MAX_FRAME + 1).to_bytes(3, "big") + bytes((0, 0)) + bytes(4), Code.FRAME_SIZE_ERROR),
    "data on stream 0": (BEGINNING + frame(Kind.DATA, 0, 0, b"x"), Code.PROTOCOL_ERROR),
    "data on an idle stream": (BEGINNING + frame(Kind.DATA, 0, 1, b"x"), Code.PROTOCOL_ERROR),
    "padding longer than the data": (BEGINNING + open_1 + frame(Kind.DATA, Flag.PADDED, 1, b"\x02x"), Code.PROTOCOL_ERROR),
    "padding without its length": (BEGINNING + open_1 + frame(Kind.DATA, Flag.PADDED, 1), Code.FRAME_SIZE_ERROR),
    "headers on stream 0": (BEGINNING + frame(Kind.HEADERS, 4, 0, BLOCK), Code.PROTOCOL_ERROR),
    "headers on an even stream": (BEGINNING + frame(Kind.HEADERS, 4, 2, BLOCK), Code.PROTOCOL_ERROR),
    "padding longer than the headers": (BEGINNING + frame(Kind.HEADERS, 4 | Flag.PADDED, 1, b"\xff" + BLOCK), Code.PROTOCOL_ERROR),
    "no room for a priority": (BEGINNING + frame(Kind.HEADERS, 4 | Flag.PRIORITY, 1, b"abc"), Code.FRAME_SIZE_ERROR),
    "a stream that depends on itself": (BEGINNING + frame(Kind.HEADERS, 4 | Flag.PRIORITY, 1, b"\0\0\0\1\0" + BLOCK), Code.PROTOCOL_ERROR),
    "a block not understood": (BEGINNING + frame(Kind.HEADERS, 4, 1, b"\x80"), Code.COMPRESSION_ERROR),
    "a block too large": (BEGINNING + frame(Kind.HEADERS, 4, 1, bytes(MAX_BLOCK + 1)), Code.ENHANCE_YOUR_CALM),
    "blocks too large": (
        BEGINNING + frame(Kind.HEADERS, 0, 1) + frame(Kind.CONTINUATION, 0, 1, bytes(MAX_BLOCK)) + frame(Kind.CONTINUATION, 0, 1, b"x"),
        Code.ENHANCE_YOUR_CALM,
    ),
    "another frame within a block": (BEGINNING + frame(Kind.HEADERS, 0, 1) + frame(Kind.PING, 0, 0, bytes(8)), Code.PROTOCOL_ERROR),
    "an unknown frame within a block": (BEGINNING + frame(Kind.HEADERS, 0, 1) + frame(99, 0, 1), Code.PROTOCOL_ERROR),
    "another stream within a block": (BEGINNING + frame(Kind.HEADERS, 0, 1) + frame(Kind.CONTINUATION, 4, 3), Code.PROTOCOL_ERROR),
    "a continuation of nothing": (BEGINNING + frame(Kind.CONTINUATION, 4, 1, BLOCK), Code.PROTOCOL_ERROR),
    "a priority on stream 0": (BEGINNING + frame(Kind.PRIORITY, 0, 0, bytes(5)), Code.PROTOCOL_ERROR),
    "a short priority": (BEGINNING + frame(Kind.PRIORITY, 0, 1, bytes(4)), Code.FRAME_SIZE_ERROR),
    "a reset of stream 0": (BEGINNING + frame(Kind.RST_STREAM, 0, 0, bytes(4)), Code.PROTOCOL_ERROR),
    "a reset of an idle stream": (BEGINNING + frame(Kind.RST_STREAM, 0, 1, bytes(4)), Code.PROTOCOL_ERROR),
    "a short reset": (BEGINNING + open_1 + frame(Kind.RST_STREAM, 0, 1, bytes(3)), Code.FRAME_SIZE_ERROR),
    "settings of a stream": (BEGINNING + frame(Kind.SETTINGS, 0, 1), Code.PROTOCOL_ERROR),
    "short settings": (BEGINNING + frame(Kind.SETTINGS, 0, 0, bytes(5)), Code.FRAME_SIZE_ERROR),
    "an ack with settings": (BEGINNING + frame(Kind.SETTINGS, Flag.ACK, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    "a window too large": (BEGINNING + settings_frame({Setting.INITIAL_WINDOW_SIZE: 1 << 31}), Code.FLOW_CONTROL_ERROR),
    "a window that overflows": (
        BEGINNING + open_1 + frame(Kind.WINDOW_UPDATE, 0, 1, (1 << 30).to_bytes(4, "big")) + settings_frame({Setting.INITIAL_WINDOW_SIZE: LARGEST}),
        Code.FLOW_CONTROL_ERROR,
    ),
    "frames too small": (BEGINNING + settings_frame({Setting.MAX_FRAME_SIZE: 16_383}), Code.PROTOCOL_ERROR),
    "frames too large": (BEGINNING + settings_frame({Setting.MAX_FRAME_SIZE: 1 << 24}), Code.PROTOCOL_ERROR),
    "push neither on nor off": (BEGINNING + settings_frame({Setting.ENABLE_PUSH: 2}), Code.PROTOCOL_ERROR),
    "a push": (BEGINNING + open_1 + frame(Kind.PUSH_PROMISE, 4, 1, bytes(4) + BLOCK), Code.PROTOCOL_ERROR),
    "a ping of a stream": (BEGINNING + frame(Kind.PING, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "a short ping": (BEGINNING + frame(Kind.PING, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    "a goaway of a stream": (BEGINNING + frame(Kind.GOAWAY, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    "a short goaway": (BEGINNING + frame(Kind.GOAWAY, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    "an update of nothing": (BEGINNING + frame(Kind.WINDOW_UPDATE, 0, 0, bytes(4)), Code.PROTOCOL_ERROR),
    "an update that overflows": (BEGINNING + frame(Kind.WINDOW_UPDATE, 0, 0, LARGEST.to_bytes(4, "big")), Code.FLOW_CONTROL_ERROR),
    "a short update": (BEGINNING + frame(Kind.WINDOW_UPDATE, 0, 0, bytes(3)), Code.FRAME_SIZE_ERROR),
    "an update of an idle stream": (BEGINNING + frame(Kind.WINDOW_UPDATE, 0, 1, b"\0\0\0\1"), Code.PROTOCOL_ERROR),
    "a flood of pings": (BEGINNING + frame(Kind.PING, 0, 0, bytes(8)) * MAX_REPLIES, Code.ENHANCE_YOUR_CALM),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation_ends_the_connection(name: str) -> None:
    data, code = VIOLATIONS[name]
    ours = Ours(answers=False)
    ours.connection.receive(data)
    assert ours.connection.closed
    kind, stream, said = list(codes(ours.take()))[-1]
    assert (kind, stream, said) == (Kind.GOAWAY, 0, code)
    assert all(s.was_reset for s in ours.streams)
    assert ours.connection.streams == {}
    ours.connection.receive(BEGINNING + open_1)
    assert ours.take() == b""


RESETS = {
    "data after the end": (closed_1 + frame(Kind.DATA, 0, 1, b"x"), Code.STREAM_CLOSED),
    "headers after the end": (closed_1 + frame(Kind.HEADERS, 5, 1, BLOCK), Code.STREAM_CLOSED),
    "trailers that do not end": (open_1 + frame(Kind.HEADERS, 4, 1, BLOCK), Code.PROTOCOL_ERROR),
    "an update of nothing": (open_1 + frame(Kind.WINDOW_UPDATE, 0, 1, bytes(4)), Code.PROTOCOL_ERROR),
    "an update that overflows": (open_1 + frame(Kind.WINDOW_UPDATE, 0, 1, LARGEST.to_bytes(4, "big")), Code.FLOW_CONTROL_ERROR),
}


@pytest.mark.parametrize("name", RESETS)
def test_a_violation_on_a_stream_ends_the_stream(name: str) -> None:
    data, code = RESETS[name]
    ours = Ours(answers=False)
    ours.connection.receive(BEGINNING + data)
    assert list(codes(ours.take()))[-1] == (Kind.RST_STREAM, 1, code)
    assert [s.was_reset for s in ours.streams] == [True]
    assert ours.connection.streams == {}
    ours.connection.receive(frame(Kind.HEADERS, 5, 3, BLOCK))
    assert not ours.connection.closed
    assert len(ours.streams) == 2


def test_headers_over_the_limit_cost_their_stream_only() -> None:
    ours = Ours()
    large = encode([(b"a", b"b")]) * 3000
    ours.connection.receive(BEGINNING + frame(Kind.HEADERS, 4, 1, large) + frame(Kind.HEADERS, 5, 3, BLOCK))
    assert (Kind.RST_STREAM, 1, Code.ENHANCE_YOUR_CALM) in codes(ours.take())
    assert len(ours.streams) == 1


def test_too_many_streams_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extproc.edge.http2.MAX_STREAMS", 2)
    ours = Ours(answers=False)
    ours.connection.receive(BEGINNING + b"".join(frame(Kind.HEADERS, 4, i, BLOCK) for i in (1, 3, 5)))
    assert list(codes(ours.take()))[-1] == (Kind.RST_STREAM, 5, Code.REFUSED_STREAM)
    ours.connection.receive(frame(Kind.RST_STREAM, 0, 1, bytes(4)) + frame(Kind.HEADERS, 4, 7, BLOCK))
    assert list(ours.connection.streams) == [3, 7]


def test_streams_after_our_goaway_are_refused() -> None:
    ours = Ours(answers=False)
    ours.connection.receive(BEGINNING + open_1)
    ours.connection.go_away()
    ours.connection.receive(frame(Kind.HEADERS, 4, 3, BLOCK) + frame(Kind.DATA, 0, 3, b"x"))
    assert list(codes(ours.take()))[-1] == (Kind.RST_STREAM, 3, Code.REFUSED_STREAM)
    assert list(ours.connection.streams) == [1]


def test_what_is_unknown_is_ignored() -> None:
    ours = Ours()
    ours.connection.receive(BEGINNING + settings_frame({99: 1}) + frame(99, 255, 77, b"what") + closed_1)
    assert len(ours.streams) == 1
    assert not ours.connection.closed


def test_replies_that_are_fetched_are_no_flood() -> None:
    ours = Ours()
    ours.connection.receive(BEGINNING)
    for _ in range(3):
        ours.connection.receive(frame(Kind.PING, 0, 0, bytes(8)) * (MAX_REPLIES - 1))
        assert ours.take()
    assert not ours.connection.closed


def test_it_wakes_once_for_all_that_it_has_to_say() -> None:
    ours = Ours()
    ours.connection.receive(BEGINNING + frame(Kind.PING, 0, 0, bytes(8)) * 5)
    assert ours.woken == 1
    ours.take()
    ours.connection.receive(frame(Kind.PING, 0, 0, bytes(8)))
    assert ours.woken == 2


# any bytes, in any split

numbers = st.sampled_from([0, 1, 3, 5, 2, 7, LARGEST])
words = st.sampled_from([0, 1, 10, 65_535, 1 << 20, LARGEST]).map(lambda n: n.to_bytes(4, "big"))
payloads = st.sampled_from([BLOCK, b"", b"\x02abc", bytes(5), bytes(8)]) | words | st.binary(max_size=30)
frames = st.builds(frame, st.integers(0, 10), st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x2D]) | st.integers(0, 255), numbers, payloads)
setting_frames = st.builds(settings_frame, st.dictionaries(st.integers(1, 7), st.sampled_from([0, 1, 100, 16_384, 65_535, LARGEST]), max_size=3))
sequences = st.lists(frames | setting_frames | st.sampled_from([open_1, closed_1, frame(Kind.HEADERS, 5, 3, BLOCK)]), max_size=20)
conversations = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(lambda junk: BEGINNING + junk),
    sequences.map(lambda parts: BEGINNING + b"".join(parts)),
    st.tuples(st.sampled_from(sorted(VIOLATIONS)), st.integers(0, 300), st.binary(max_size=3)).map(
        lambda t: VIOLATIONS[t[0]][0][: t[1]] + t[2] + VIOLATIONS[t[0]][0][t[1] : 2000]
    ),
)


def outcome(data: bytes, cuts: Iterable[int]) -> Any:
    ours = Ours()
    edges = sorted({min(c, len(data)) for c in cuts} | {0, len(data)})
    for start, end in itertools.pairwise(edges):
        ours.connection.receive(data[start:end])
    said = ours.take()
    list(codes(said))
    return said, ours.connection.closed, [(s.headers, bytes(s.body), s.ended, s.was_reset) for s in ours.streams]


@settings(max_examples=400, deadline=None)
@given(conversations, st.lists(st.integers(0, 400), max_size=8))
@example(BEGINNING + closed_1, range(400))
def test_any_bytes_in_any_split(data: bytes, cuts: Iterable[int]) -> None:
    whole = outcome(data, ())
    assert outcome(data, cuts) == whole
    assert outcome(data, range(len(data))) == whole


@settings(max_examples=200, deadline=None)
@given(sequences)
def test_after_any_frames_it_has_ended_or_it_serves(parts: list[bytes]) -> None:
    ours = Ours()
    ours.connection.receive(BEGINNING + b"".join(parts))
    said = ours.take()
    if ours.connection.closed:
        assert list(codes(said))[-1][0] == Kind.GOAWAY
        assert ours.connection.streams == {}
        return
    if ours.connection._block is not None or ours.connection._last >= LARGEST:
        return
    before = len(ours.streams)
    last = ours.connection._last | 1
    ours.connection.receive(frame(Kind.PING, 0, 0, b"are you?") + frame(Kind.HEADERS, 5, last + 2, BLOCK))
    assert frame(Kind.PING, Flag.ACK, 0, b"are you?") in ours.take()
    assert len(ours.streams) == before + (not ours.connection.leaving)
