"""What of YAML is read, what is refused, and that refusing is bounded."""

import pytest

from extproc.registry.fields import Field
from extproc.registry.problems import Problem, Problems
from extproc.registry.yaml_marks import MAX_BYTES, MAX_DEPTH, MAX_NODES, read_yaml


def problems_of(raw: str | bytes) -> list[Problem]:
    problems = Problems()
    read_yaml(raw if isinstance(raw, bytes) else raw.encode(), problems)
    return problems.found


def data_of(raw: str) -> object:
    problems = Problems()
    root = read_yaml(raw.encode(), problems)
    assert not problems.found
    assert root is not None
    return Field(root, (), problems).data()


@pytest.mark.parametrize(
    ("raw", "line", "path", "message", "suggestion"),
    [
        ("", 1, "", "the file is empty", None),
        ("# only a comment\n", 1, "", "the file is empty", None),
        ("a: 1\nb: 2\na: 3\n", 3, "a", "is set twice, first in line 1", "remove one of them"),
        ("a: {b: {x: 1,\n x: 2}}\n", 2, "a.b.x", "is set twice, first in line 1", "remove one of them"),
        ("a:\n\tb: 1\n", 2, "", "a tab cannot indent YAML", "use spaces"),
        ("a:\n  b: 1\n\tc: 1\n", 3, "", "a tab cannot indent YAML", "use spaces"),
        ("a: {b: 1\n", 2, "", "is not valid YAML", None),
        ("a: b: c\n", 1, "", "is not valid YAML", None),
        ("a: 1\n---\nb: 1\n", 2, "", "holds a second YAML document", "one file is one registry; remove the ---"),
        ("a: *b\n", 1, "a", 'the alias "b" has no anchor before it', None),
        ("a: &b [1, *b]\n", 1, "a[1]", 'the alias "b" stands inside its own anchor', None),
        ("a: &b {c: 1}\nd: {<<: *b}\n", 2, "d", "merge keys (<<) are not read", "write the members out, or put them under defaults"),
        ("a: !!python/object:os.system x\n", 1, "a", "YAML tags (!name) are not read", "remove the tag"),
        ("a: [1, !mine {}]\n", 1, "a[1]", "YAML tags (!name) are not read", "remove the tag"),
        ("a: \x01\n", 1, "", "holds a character that YAML does not allow", "remove it"),
        (b"a: 1\nb: \xff\n", 2, "", "is not UTF-8 text", "save the file as UTF-8"),
        ("on: 1\n", 1, "", 'the key "on" is a boolean to YAML 1.1, not text', "quote it: 'on'"),
        ("a: {No: 1}\n", 1, "a", 'the key "No" is a boolean to YAML 1.1, not text', "quote it: 'No'"),
        ("true: 1\n", 1, "", 'the key "true" is a boolean to YAML 1.1, not text', "quote it: 'true'"),
        ("4.1: 1\n", 1, "", 'the key "4.1" is a number to YAML, not text', "quote it: '4.1'"),
        ("017: 1\n", 1, "", 'the key "017" is a number to YAML, not text', "quote it: '017'"),
        ("~: 1\n", 1, "", "a key must be text, not empty", None),
        ("? [a, b]\n: 1\n", 1, "", "a key must be text, not a list or a mapping", None),
        ("? {a: b}\n: 1\n", 1, "", "a key must be text, not a list or a mapping", None),
    ],
)
def test_refused(raw: str | bytes, line: int, path: str, message: str, suggestion: str | None) -> None:
    found = problems_of(raw)
    assert len(found) == 1
    assert (found[0].line, found[0].path) == (line, path)
    assert found[0].message.startswith(message)
    assert found[0].suggestion == suggestion


def test_core_schema_values() -> None:
    raw = """
    t: True
    f: "true"
    n: null
    e:
    i: -12
    u: 1_000_000
    x: 1.5e3
    d: 2025-04-01
    s: 12:30:45
    block: |
      a
    tagged: !!str 5
    version: 1.2.3
    """
    assert data_of(raw) == {
        "t": True,
        "f": "true",
        "n": None,
        "e": None,
        "i": -12,
        "u": 1000000,
        "x": 1500.0,
        "d": "2025-04-01",
        "s": "12:30:45",
        "block": "a\n",
        "tagged": "5",
        "version": "1.2.3",
    }


def test_an_alias_is_its_anchor() -> None:
    assert data_of("a: &x {b: [1, &y z]}\nc: *x\n*y : 3\n") == {"a": {"b": [1, "z"]}, "c": {"b": [1, "z"]}, "z": 3}


def test_byte_order_mark_and_crlf() -> None:
    problems = Problems()
    assert read_yaml(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", problems) is not None
    assert not problems.found


def test_alias_bomb_is_refused_by_its_expanded_size() -> None:
    lines = ["l0: &l0 [a, a, a, a, a, a, a, a, a, a]"]
    lines += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 12)]
    (problem,) = problems_of("\n".join(lines))
    assert f"holds more than {MAX_NODES} values" in problem.message
    assert problem.line == 5


def test_depth_is_refused_before_the_scanner_gets_slow() -> None:
    for raw in ("[" * 500_000, "{a: " * 200_000, "- " * 100_000 + "a", "? " * 100_000 + "a"):
        (problem,) = problems_of(raw)
        assert problem.message == f"is nested more than {MAX_DEPTH} levels deep"


def test_size_is_refused_unread() -> None:
    (problem,) = problems_of(b"a" * (MAX_BYTES + 1))
    assert problem.message == "is larger than 1 MiB"


def test_duplicates_and_bad_keys_are_all_reported() -> None:
    found = problems_of("a: {x: 1, x: 2, x: 3}\nb: {on: 1, 5: 2}\n")
    assert [(p.path, p.line) for p in found] == [("a.x", 1), ("a.x", 1), ("b", 2), ("b", 2)]
