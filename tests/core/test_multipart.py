"""Forms: what is in them, edits that leave every other byte alone, and refusals of what two parsers could read differently."""

from __future__ import annotations

import io
import tracemalloc
from email.parser import BytesParser
from email.policy import HTTP

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import multipart
from extproc.core.errors import BadRequestError

TYPE = "multipart/form-data; boundary=b0"


def part(name: str, value: bytes, more: str = "") -> bytes:
    return b'--b0\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name.encode(), more.encode(), value)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b0--\r\n"


FILE = b"\x00\xff\r\n--b\r\n--\r\n\r\n"


def test_fields_and_files() -> None:
    raw = form(part("model", b"whisper-1"), part("file", FILE, '; filename="a.wav"\r\nContent-Type: audio/wav'), part("prompt", "grüße".encode()))
    found = multipart.read(raw, TYPE)
    assert dict(found) == {"model": "whisper-1", "prompt": "grüße"}
    assert [(p.name, p.file, raw[p.start : p.end]) for p in found.parts] == [
        ("model", False, b"whisper-1"),
        ("file", True, FILE),
        ("prompt", False, "grüße".encode()),
    ]


def test_a_name_that_stands_often_is_left_out_but_for_those_that_we_route_by() -> None:
    raw = form(part("include[]", b"a"), part("model", b"m"), part("include[]", b"b"), part("include[]", b"c"))
    assert dict(multipart.read(raw, TYPE)) == {"model": "m"}
    with pytest.raises(BadRequestError, match="stands twice"):
        multipart.read(form(part("model", b"a"), part("model", b"b")), TYPE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b'name="model"', "model"),
        (b"name=model", "model"),
        (b'filename="x"; name="model"', "model"),
        (b'name="a\\"b"', 'a"b'),
        (b'NAME="model"', "model"),
    ],
)
def test_spellings_of_a_name(name: bytes, value: str) -> None:
    raw = b"--b0\r\nX-Other: 1\r\ncontent-disposition : form-data;%b\r\n\r\nv\r\n--b0--" % name
    assert [p.name for p in multipart.read(raw, TYPE).parts] == [value]


def test_a_preamble_an_epilogue_and_padding() -> None:
    raw = b"for old readers\r\n--b0 \t\r\nContent-Disposition: form-data; name=a\r\n\r\nv\r\n--b0--\r\nepilogue"
    assert dict(multipart.read(raw, TYPE)) == {"a": "v"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"--b0",
        b"--b0--x--b0\r\n"[:4],
        b"nothing of the kind",
        b'--b0\r\nContent-Disposition: form-data; name="model"\r\n\r\nm',
        b'--b0\r\nContent-Disposition: form-data; name="model"\r\n',
        b'--b0x\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b0--',
        b"--b0\r\nContent-Disposition: form-data\r\n\r\nm\r\n--b0--",
        b'--b0\r\nContent-Disposition: attachment; name="model"\r\n\r\nm\r\n--b0--',
        b'--b0\r\nContent-Disposition: form-data; name="a"; name="model"\r\n\r\nm\r\n--b0--',
        b"--b0\r\n\r\nm\r\n--b0--",
        b"--b0\r\nX: " + b"y" * multipart.MAX_HEADERS + b'\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b0--',
        form(*[part(str(n), b"") for n in range(multipart.MAX_PARTS + 1)]),
        form(part("model", b"\xff\xfe")),
    ],
)
def test_what_is_no_form_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequestError):
        multipart.read(raw, TYPE)


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'x' * 71}"])
def test_a_boundary_is_needed(content_type: str) -> None:
    with pytest.raises(BadRequestError):
        multipart.read(form(part("a", b"")), content_type)


def test_a_quoted_boundary() -> None:
    assert multipart.boundary_of('multipart/form-data; charset=utf-8; Boundary="a b:c"') == b"a b:c"


def test_only_the_one_value_changes() -> None:
    raw = b"pre\r\n" + form(part("file", FILE, '; filename="x"'), part("model", b"alias"), part("z", b"1"))
    assert multipart.splice(raw, multipart.read(raw, TYPE), {"model": b"gpt-4o"}) == raw.replace(b"alias", b"gpt-4o")
    assert multipart.splice(raw, multipart.read(raw, TYPE), {}) is raw


def test_a_field_that_is_missing_is_added() -> None:
    for raw in (form(part("file", FILE, '; filename="x"')), b"--b0--\r\n"):
        spliced = multipart.splice(raw, multipart.read(raw, TYPE), {"model": b"gpt-4o"})
        again = multipart.read(spliced, TYPE)
        assert again["model"] == "gpt-4o"
        assert len(again.parts) == len(multipart.read(raw, TYPE).parts) + 1


def test_large_files_are_not_copied_to_be_read() -> None:
    raw = form(part("model", b"m"), part("file", bytes(20_000_000), '; filename="x"'))
    tracemalloc.start()
    try:
        found = multipart.read(raw, TYPE)
        read_peak = tracemalloc.get_traced_memory()[1]
        multipart.splice(raw, found, {"model": b"other"})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read_peak < 100_000
    assert peak < len(raw) + 100_000


@given(st.dictionaries(st.text("abcxyz[]", min_size=1, max_size=5), st.binary(max_size=50), max_size=5), st.binary(max_size=200))
def test_what_a_real_client_sends_is_read_as_another_reader_reads_it(fields: dict[str, bytes], file: bytes) -> None:
    request = httpx.Request("POST", "http://x", data=fields, files={"upload": ("a.bin", file)})
    raw = request.read()
    found = multipart.read(raw, request.headers["content-type"])
    head = b"content-type: " + request.headers["content-type"].encode() + b"\r\n\r\n"
    other = BytesParser(policy=HTTP).parse(io.BytesIO(head + raw))
    assert [p.name for p in found.parts] == [p.get_param("name", header="content-disposition") for p in other.iter_parts()]
    assert raw[found.parts[-1].start : found.parts[-1].end] == file
    assert {p.name: raw[p.start : p.end] for p in found.parts[:-1]} == fields


@given(st.binary(max_size=300), st.sampled_from([b"", b"--b0\r\n", b"--b0\r\nContent-Disposition: form-data; name=a\r\n\r\n"]))
def test_any_bytes_are_a_form_or_a_400(raw: bytes, start: bytes) -> None:
    try:
        multipart.read(start + raw, TYPE)
    except BadRequestError:
        return
