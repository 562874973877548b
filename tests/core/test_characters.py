"""Characters by kind, exactly in small texts and in proportion in large ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.characters import SAMPLE, Characters, count, sample


def test_kinds() -> None:
    found = count(["Hello WORLD, it's 12 or 3.5!\n"])
    assert (found.letters, found.words, found.shouted) == (15, 5, 2)
    assert (found.digits, found.numbers, found.marks, found.lines) == (4, 3, 4, 1)
    assert (found.han, found.hangul, found.latin, found.cyrillic, found.others) == (0, 0, 0, 0, 0)


def test_scripts() -> None:
    found = count(["café 你好 안녕 привет γεια नमस्ते 🙂"])
    assert (found.latin, found.han, found.hangul, found.cyrillic) == (1, 2, 2, 10)
    assert found.others == len("नमस्ते🙂")
    assert found.words == 1, "a word goes on behind an accent, and no other script makes words"


def test_nothing() -> None:
    assert count([]) == count(["", ""]) == Characters()


def reference(text: str) -> tuple[int, int, int]:
    letters = sum(c.isascii() and c.isalpha() for c in text)
    digits = sum(c.isascii() and c.isdigit() for c in text)
    return letters, digits, text.count("\n")


@given(st.lists(st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=200), max_size=10))
def test_against_a_loop(pieces: list[str]) -> None:
    found = count(pieces)
    text = "\n".join(pieces) if sum(map(len, pieces)) else ""
    assert (found.letters, found.digits, found.lines) == reference(text)
    foreign = sum(not c.isascii() for c in text)
    assert found.han + found.hangul + found.latin + found.cyrillic + found.others == foreign
    assert found.words <= found.letters
    assert found.numbers <= found.digits


@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_a_large_text_is_counted_in_proportion(pieces: int) -> None:
    text = "Some words, 12 of them.\n" * 40_000
    size = len(text) // pieces
    found = count([text[n : n + size] for n in range(0, size * pieces, size)])
    assert found.total == size * pieces
    assert found.letters / found.total == pytest.approx(15 / 24, rel=0.05)
    assert found.words / found.total == pytest.approx(4 / 24, rel=0.05)
    assert found.lines / found.total == pytest.approx(1 / 24, rel=0.1)


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=60), st.integers(32, 4096))
def test_a_sample_is_bounded_and_comes_from_all_over(lengths: list[int], size: int) -> None:
    pieces = ["x" * length for length in lengths]
    total = sum(lengths)
    found = sample(pieces, total, size) if total else ""
    assert len(found) <= size
    if total >= SAMPLE:
        assert found
