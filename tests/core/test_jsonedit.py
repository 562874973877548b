"""The splicer: edits mean what editing the parsed object means, and leave every other byte alone."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.errors import BadRequestError
from extproc.core.jsonedit import MAX_DEPTH, MAX_MEMBERS, elements, load, scan, splice

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(["model", "stream", "messages", 'a"b', "é", "\\", "", "}", "x,y"]) | st.text(st.characters(codec="utf-8"), max_size=4)
objects = st.dictionaries(names, values, max_size=6)
edit_sets = st.dictionaries(names, st.none() | values, max_size=4)


@st.composite
def documents(draw: st.DrawFn) -> tuple[dict[str, object], bytes]:
    """An object and one of its many spellings."""
    value = draw(objects)
    text = json.dumps(
        value,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 1, "\t"])),
        separators=draw(st.sampled_from([(",", ":"), (" ,\r\n ", " : ")])),
    )
    return value, (draw(st.sampled_from(["", " ", "\n\t"])) + text + draw(st.sampled_from(["", "\n", "  "]))).encode()


@given(documents(), edit_sets)
def test_splice_means_what_editing_the_object_means(document: tuple[dict[str, object], bytes], edits: dict[str, object]) -> None:
    value, raw = document
    expected = {k: edits.get(k, v) for k, v in value.items() if k not in edits or edits[k] is not None}
    expected |= {k: v for k, v in edits.items() if v is not None}
    out = splice(raw, {k: None if v is None else json.dumps(v).encode() for k, v in edits.items()})
    assert json.loads(out) == expected
    assert list(json.loads(out)) == list(expected)


@pytest.mark.parametrize("text", ["", "\\", "\\\\", '"', '\\"', '\\\\"', 'a"', 'a"b', "a\\", 'a"\\', '"]}', '\\"]}', "a" * 100])
def test_a_string_ends_at_its_first_quote_that_is_not_escaped(text: str) -> None:
    raw = json.dumps({text: [text, {"a": text}], "last": text}).encode()
    layout = scan(raw)
    assert list(layout.members) == [text, "last"]
    assert [json.loads(raw[m.start : m.end]) for m in layout.members.values()] == [[text, {"a": text}], text]


@given(documents(), edit_sets)
def test_untouched_members_keep_their_bytes(document: tuple[dict[str, object], bytes], edits: dict[str, object]) -> None:
    value, raw = document
    before = scan(raw)
    out = splice(raw, {k: None if v is None else json.dumps(v).encode() for k, v in edits.items()}, before)
    after = scan(out)
    for name in value:
        if name not in edits:
            was, now = before.members[name], after.members[name]
            assert out[now.key : now.end] == raw[was.key : was.end]
    if not edits:
        assert out is raw


@given(documents())
def test_scan_finds_every_member(document: tuple[dict[str, object], bytes]) -> None:
    value, raw = document
    layout = scan(raw)
    assert list(layout.members) == list(value)
    assert {k: json.loads(raw[m.start : m.end]) for k, m in layout.members.items()} == value
    assert raw[layout.close :].strip() == b"}"


def test_replace_touches_only_the_value() -> None:
    raw = b'{ "model" : "a" ,\n "n": 1.0, "big": 123456789012345678901234567890, "u": "\\u00e9" }\n'
    assert splice(raw, {"model": b'"b"'}) == raw.replace(b'"a"', b'"b"')
    assert splice(raw, {"x": b"true"}) == raw.replace(b'\\u00e9" }', b'\\u00e9","x":true }')
    assert splice(raw, {"model": None, "u": None}) == b'{ "n": 1.0, "big": 123456789012345678901234567890 }\n'


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return b'{"a":' + opening * (levels - 1) + b"1" + closing * (levels - 1) + b"}"


def test_depth_limit_is_exact() -> None:
    assert scan(nested(MAX_DEPTH)).members["a"].start == 5
    assert scan(nested(MAX_DEPTH, b'{"k":', b"}")).members["a"].start == 5
    with pytest.raises(BadRequestError, match="nested deeper"):
        scan(nested(MAX_DEPTH + 1))
    with pytest.raises(BadRequestError, match="nested deeper"):
        scan(nested(MAX_DEPTH + 1, b'{"k":', b"}"))


@pytest.mark.parametrize("raw", [b"", b" ", b"[]", b"null", b'"{}"', b"1", b"\xef\xbb\xbf{}"])
def test_only_an_object_will_do(raw: bytes) -> None:
    with pytest.raises(BadRequestError, match="must be a JSON object"):
        scan(raw)


@pytest.mark.parametrize("raw", [b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}', '{"é":1,"\\u00e9":2}'.encode(), b'{"":1,"":1}'])
def test_one_name_twice_is_refused_however_it_is_spelt(raw: bytes) -> None:
    with pytest.raises(BadRequestError, match="same name"):
        scan(raw)


@pytest.mark.parametrize("raw", [b"{} {}", b'{"a":1}x', b'{"a":1}}', b"{}\x00"])
def test_trailing_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(BadRequestError, match="goes on behind"):
        scan(raw)


def test_number_of_members_is_bounded() -> None:
    assert len(scan(orjson.dumps({str(i): i for i in range(MAX_MEMBERS)})).members) == MAX_MEMBERS
    with pytest.raises(BadRequestError, match="top-level members"):
        scan(orjson.dumps({str(i): i for i in range(MAX_MEMBERS + 1)}))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":' + b"[" * 3_000_000,
        b'{"a":"' + b"\\" * 3_000_001,
        b'{"a":[' + b'"x",' * 700_000,
        b'{"a":' + b'{"a":' * 600_000,
        b'{"a"' * 700_000,
        b'{"a":"' + b'\\"' * 1_500_000,
        b'{"a":' + b"-" * 3_000_000,
        b'{"a":' + (b"[" * 100 + b"]" * 100) * 15_000,
    ],
    ids=["open brackets", "backslashes", "open list", "open objects", "no colon", "open string", "dashes", "no commas"],
)
def test_hostile_input_is_refused_without_backtracking(raw: bytes) -> None:
    # quadratic work on 3 MB would never come back
    with pytest.raises(BadRequestError):
        load(raw)
    with pytest.raises(BadRequestError):
        scan(raw)


@given(st.binary(max_size=60) | st.text('{}[]",:\\a1 \n', max_size=40).map(str.encode))
def test_scan_takes_every_object_that_load_takes(raw: bytes) -> None:
    try:
        value = load(raw)
    except BadRequestError:
        return
    names = [name for name, _ in json.loads(raw, object_pairs_hook=list)] if isinstance(value, dict) else None
    if names is None or len(set(names)) < len(names):
        with pytest.raises(BadRequestError):
            scan(raw)
    else:
        assert list(scan(raw).members) == names


def test_load_never_repeats_the_body() -> None:
    with pytest.raises(BadRequestError) as caught:
        load(b'{"secret-key": sk-live-1234}')
    assert "sk-live" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "line 1" in caught.value.message
    assert caught.value.__cause__ is None


@given(st.lists(values, max_size=6), st.sampled_from([(",", ":"), (" ,\n ", " : ")]))
def test_elements_are_the_items_of_the_array(items: list[object], separators: tuple[str, str]) -> None:
    raw = ('{"a": ' + json.dumps(items, separators=separators) + " }").encode()
    spans = elements(raw, scan(raw).members["a"])
    assert [json.loads(raw[start:end]) for start, end in spans] == items


def test_what_is_no_array_has_no_elements() -> None:
    raw = b'{"a":{"b":[1]},"c":"[1]","d":[ ]}'
    assert [elements(raw, member) for member in scan(raw).members.values()] == [[], [], []]
