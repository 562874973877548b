"""The event parser gives what the WHATWG rules give, however the bytes are cut and whichever line ends they have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import framing
from extproc.core.errors import UpstreamFormatError
from extproc.core.framing import SSE, SSEParser, sse

line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
lines = st.sampled_from(
    [
        b"",
        b"",
        b"data: a",
        b"data:b",
        b"data:  c",
        b"data",
        b"data:",
        b"event: x",
        b"event:y",
        b"event",
        b": note",
        b":",
        b"id: 7",
        b"retry: 1",
        b"odd",
        b"data : no",
    ]
) | st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=4).map(lambda text: b"data: " + text.encode())
streams = st.tuples(st.sampled_from([b"", b"\xef\xbb\xbf"]), st.lists(st.tuples(lines, line_ends), max_size=14)).map(
    lambda parts: parts[0] + b"".join(line + end for line, end in parts[1])
)


def reference(body: bytes) -> list[SSE]:
    """The rules of the standard, on the whole body at once; an event without its blank line counts."""
    text = body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events, data, name = [], [], ""
    for line in [*text.split(b"\n"), b""]:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if data:
                events.append(SSE(name, b"\n".join(data)))
            data, name = [], ""
        elif field == b"data":
            data.append(value)
        elif field == b"event" and b":" in line:
            name = value.decode()
    return events


def parse(pieces: list[bytes]) -> list[SSE]:
    parser = SSEParser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.close()


@given(streams, st.data())
def test_any_split_gives_the_events_of_the_standard(body: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(body)), max_size=12)))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert parse(pieces) == reference(body)
    assert parse([body[i : i + 1] for i in range(len(body))]) == reference(body)


@given(st.binary(max_size=80), st.integers(1, 9))
def test_garbage_is_the_same_garbage_in_any_pieces(body: bytes, size: int) -> None:
    assert parse([body[i : i + size] for i in range(0, len(body), size)]) == parse([body])


def test_byte_order_mark_in_pieces_and_only_at_the_start() -> None:
    assert parse([b"\xef\xbb", b"\xbf\ndata: a\n\n"]) == [SSE("", b"a")]
    assert parse([b"\xef", b"\xbb", b"\xbf", b"\n", b"data: a\n\n"]) == [SSE("", b"a")]
    assert parse([b"\n", b"\n", b"\xef\xbb\xbfdata: a\n\n"]) == []
    assert parse([b"data: \xef\xbb\xbf\n\n"]) == [SSE("", b"\xef\xbb\xbf")]


def test_carriage_return_and_line_feed_in_two_pieces_are_one_line_end() -> None:
    assert parse([b"data: a\r", b"\ndata: b\r", b"\n\r", b"\n"]) == [SSE("", b"a\nb")]
    assert parse([b"data: a\r", b"", b"\ndata: b\n\n"]) == [SSE("", b"a\nb")]


def test_event_is_given_out_as_soon_as_its_blank_line_is_there() -> None:
    parser = SSEParser()
    assert parser.feed(b"data: a\r\n\r") == [SSE("", b"a")]
    assert parser.feed(b"\ndata: b\n") == []
    assert parser.feed(b"\n") == [SSE("", b"b")]
    assert parser.close() == []


def test_last_event_counts_without_its_line_ends() -> None:
    assert parse([b"event: e\ndata: a"]) == [SSE("e", b"a")]
    assert parse([b"data: a\n\ndata: [DONE]"]) == [SSE("", b"a"), SSE("", b"[DONE]")]


def test_size_limit_is_on_one_event_not_on_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_EVENT", 100)
    assert len(parse([b"data: aaaaaaaaaa\n\n" * 50])) == 50
    assert parse([b"data: %b\n\n" % (b"a" * 30)]) == [SSE("", b"a" * 30)]
    for pieces in (
        [b"data: " + b"a" * 100],
        [b"a" * 60, b"a" * 60],
        [b"data: " + b"a" * 60 + b"\n"] * 2,
        [b"data\n" * 2],
        [b": %b" % (b"a" * 200)],
    ):
        with pytest.raises(UpstreamFormatError):
            parse(pieces)


@given(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20), st.sampled_from(["", "message_start", "error"]))
def test_what_is_written_is_read(text: str, name: str) -> None:
    assert parse([sse(text.encode(), name)]) == [SSE(name, text.encode())]
