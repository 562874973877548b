"""Changes over a file: what they make of it, that the file's rules hold for them, and that what cannot be made is told by its path."""

import json
import math
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.registry.changes import Change
from extproc.registry.load import RegistryError, document, parse_registry
from extproc.registry.yaml_marks import MAX_DEPTH, MAX_NODES

DAY = date(2026, 10, 20)
FILE = b"""
version: 1
providers: {p: {kind: openai-compatible, url: "http://h:8000/v1"}}
targets: {t: {provider: p, model: m}, u: {provider: p, model: n}}
defaults: {timeouts: &times {stall: 5s}}
models:
  chat: {targets: [t], aliases: [talk], timeouts: *times}
  other: {targets: [t, u], timeouts: *times}
"""


def loaded(*changes: Change):
    return parse_registry(FILE, "r.yaml", DAY, changes)


def refused(*changes: Change) -> list[str]:
    with pytest.raises(RegistryError) as caught:
        loaded(*changes)
    return str(caught.value).splitlines()


def test_a_value_is_replaced_added_and_removed() -> None:
    registry = loaded(
        Change(("models", "chat", "targets"), [{"t": 9, "u": 1}]),
        Change(("models", "new"), {"targets": ["u"], "strict": True, "attempts": {"total": 2}}),
        Change(("models", "chat", "aliases"), removed=True),
        Change(("models", "new", "commit"), "complete"),
    )
    assert registry.models["chat"].ranks[0].targets == (("t", 9.0), ("u", 1.0))
    assert registry.resolve("talk") is None
    assert registry.models["new"].strict
    assert registry.models["new"].attempts.total == 2
    assert registry.models["new"].commit.value == "complete"


def test_one_of_two_places_that_an_alias_stands_for_is_changed_alone() -> None:
    registry = loaded(Change(("models", "chat", "timeouts", "stall"), "9s"))
    assert registry.models["chat"].timeouts.stall == 9.0
    assert registry.models["other"].timeouts.stall == 5.0


def test_digests() -> None:
    change = Change(("models", "chat", "strict"), True)
    plain, changed = parse_registry(FILE, "r.yaml", DAY), loaded(change)
    assert plain.base == ""
    assert changed.base == plain.digest
    assert changed.digest != plain.digest
    assert loaded(change).digest == changed.digest
    assert loaded(Change(("models", "chat", "strict"), False)).digest != changed.digest
    assert loaded(Change(("models", "chat", "timeouts"), {"stall": "1s", "deadline": "9s", "first_token": "1s"})).digest == (
        loaded(Change(("models", "chat", "timeouts"), {"first_token": "1s", "deadline": "9s", "stall": "1s"})).digest
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Change(("models", "chat", "targets"), ["x"]), 'models.chat.targets[0]: no target named "x"'),
        (Change(("models", "chat", "stirct"), True), "models.chat.stirct: is not a known key; known here: "),
        (Change(("models", "chat", "targets"), removed=True), "models.chat: needs `targets` (for example targets: [gpt-4o, sonnet])"),
        (Change(("models", "chat", "aliases"), ["other"]), 'models.chat.aliases[0]: "other" is already a name of models."other", line 8'),
        (
            Change(("models", "chat", "targets"), ["t", "t"]),
            'models.chat.targets[1]: the target "t" is listed twice in this model, first in a change of the admin API',
        ),
        (Change(("models", "chat", "strict"), "yes"), 'models.chat.strict: must be true or false, is "yes"'),
        (Change(("models", "chat", "strict"), None), "models.chat.strict: must be true or false, is empty"),
        (Change(("models", "chat", "attempts"), {"total": 10**30}), 'models.chat.attempts.total: must be a whole number from 1 to 10, is "1e+30"'),
        (Change(("models", "chat", "attempts"), {"total": 2.5}), 'models.chat.attempts.total: must be a whole number from 1 to 10, is "2.5"'),
        (Change(("targets", "t", "model"), 4.1), 'targets.t.model: must be the provider\'s name for a model, is "4.1"'),
        (Change(("targets", "t", "model"), "a\ud800"), "targets.t.model: holds half of a surrogate pair, which is no character"),
        (Change(("targets", "t", "envoy"), {"a": object()}), "targets.t.envoy.a: is no JSON value"),
        (Change(("targets", "t", "envoy"), {"a": {1: 2}}), "targets.t.envoy.a: holds a key that is not printable text"),
        (
            Change(("models", "none", "targets"), ["t"]),
            "models.none.targets: cannot be changed: there is nothing that it could stand in (add models.none)",
        ),
        (Change(("models", "none"), removed=True), "models.none: cannot be removed: it is not there"),
        (
            Change(("models", "chat", "targets", "0"), "t"),
            "models.chat.targets.0: cannot be changed: what it would stand in is a list, which is replaced whole",
        ),
        (Change(("version", "x"), 1), "version.x: cannot be changed: what it would stand in is no mapping"),
        (Change((), {}), "a change needs a path"),
        (Change(("targets", "t", "envoy"), [0] * MAX_NODES), f"is one of more than {MAX_NODES} values in the changes"),
    ],
)
def test_a_bad_change_names_its_place_and_that_it_is_none_of_the_file(change: Change, message: str) -> None:
    (line,) = refused(change)
    assert message in line
    assert line.startswith("r.yaml (changed through the admin API):")


def test_depth_is_bounded() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    (line,) = refused(Change(("targets", "t", "envoy"), value))
    assert line.endswith(f"is nested more than {MAX_DEPTH} levels deep")
    (line,) = refused(Change(("a",) * 50, 1))
    assert line.endswith(f"is nested more than {MAX_DEPTH} levels deep")


def test_every_bad_change_is_told_and_the_file_still_read() -> None:
    assert len(refused(Change(("x", "y"), 1), Change(("models", "chat", "commit"), 7), Change(("targets", "z"), removed=True))) == 3


def test_the_document() -> None:
    text = document(FILE, "r.yaml", [Change(("models", "chat", "targets"), ["u"])])
    assert text["models"]["chat"] == {"targets": ["u"], "aliases": ["talk"], "timeouts": {"stall": "5s"}}
    assert text["version"] == 1
    odd = document(b"a: .nan\nb: [.inf, 1e3, no, ~, true, '1']\n", "r.yaml")
    assert odd == {"a": ".nan", "b": [".inf", 1000.0, "no", None, True, "1"]}
    json.dumps(odd, allow_nan=False)
    for raw in (b"[1]", b"", b"a: {"):
        with pytest.raises(RegistryError) as caught:
            document(raw, "r.yaml")
        assert caught.value.problems
    with pytest.raises(RegistryError):
        document(FILE, "r.yaml", [Change(("x", "y"), 1)])


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8", categories=["L", "N"])), inner, max_size=4),
    max_leaves=20,
)


@given(values)
@settings(max_examples=100, deadline=None)
def test_what_a_change_says_is_what_the_document_shows(value: Any) -> None:
    """Text that looks like a number or a flag stays text, and the other way round."""
    found = document(FILE, "r.yaml", [Change(("targets", "t", "envoy"), value)])["targets"]["t"]["envoy"]
    assert same(found, value)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b)
    return type(a) is type(b) and bool(a == b)
