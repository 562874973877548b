"""Which model a name means."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.registry.names import MAX_NAME, ModelNames, safe_model_name


@dataclass(frozen=True)
class Thing:
    name: str
    aliases: tuple[str, ...] = ()


CHAT = Thing("chat", ("gpt-4o", "claude-sonnet-*"))
GPT = Thing("gpt-*", ("claude-*",))
REST = Thing("rest", ("*",))
NAMES = ModelNames([GPT, CHAT, REST])


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("chat", CHAT),
        ("gpt-4o", CHAT),
        ("gpt-4o-mini", GPT),
        ("gpt-", GPT),
        ("gpt", REST),
        ("claude-sonnet-4-5", CHAT),
        ("claude-opus-4-1", GPT),
        ("meta-llama/Llama-3.3-70B", REST),
        ("Chat", REST),
        ("", None),
        ("gpt-*", None),
        ("gpt-4o ", None),
        ("gpt-../../x", None),
        ("gpt-/../x", None),
        ("gpt-a%2Fb", None),
        ("gpt-a?alt=sse", None),
        ("gpt-a\r\nx: y", None),
        ("gpt-ü", None),
        ("gpt-" + "a" * MAX_NAME, None),
    ],
)
def test_find(name: str, model: Thing | None) -> None:
    assert NAMES.find(name) is model


def test_without_a_catch_all_the_rest_is_unknown() -> None:
    names = ModelNames([GPT, CHAT])
    assert names.find("other") is None
    assert names.find("gp") is None
    assert ModelNames([CHAT]).find("gpt-4o-mini") is None


@given(st.text(max_size=40), st.lists(st.text(alphabet="abc", max_size=4), min_size=1, max_size=6, unique=True))
def test_longest_wildcard_as_by_definition(name: str, prefixes: list[str]) -> None:
    things = [Thing(p + "*") for p in prefixes]
    matching = [t for t in things if safe_model_name(name) and name.startswith(t.name[:-1])]
    expected = max(matching, key=lambda t: len(t.name), default=None)
    assert ModelNames(things).find(name) is expected


@given(st.text(alphabet="ab./:%?#\\\r\n *", max_size=12))
def test_a_safe_name_has_only_plain_segments(name: str) -> None:
    if safe_model_name(name):
        assert not set(name) & set("%?#\\\r\n *")
        assert all(segment not in ("", ".", "..") for segment in name.split("/"))


@pytest.mark.parametrize(
    "name", ["ft:gpt-4o-mini-2024-07-18:org::abc123", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "a@b", "llama3:8b", "meta/llama"]
)
def test_names_in_use_are_safe(name: str) -> None:
    assert safe_model_name(name)
