"""When a token is renewed, and how failures are spread."""

from hypothesis import given
from hypothesis import strategies as st

from extproc.tokens.schedule import LONGEST_PAUSE, SHORTEST, pause_after, until_renewal

chances = st.floats(0, 1, exclude_max=True)


@given(st.floats(10, 1e6), chances)
def test_a_token_is_renewed_between_60_and_80_percent_of_its_life(lifetime: float, chance: float) -> None:
    seconds = until_renewal(lifetime, lambda: chance)
    assert max(SHORTEST, 0.6 * lifetime) <= seconds <= max(SHORTEST, 0.8 * lifetime)
    assert seconds < lifetime


@given(st.floats(-1e6, 8), chances)
def test_a_token_that_is_about_to_expire_makes_no_loop(lifetime: float, chance: float) -> None:
    assert until_renewal(lifetime, lambda: chance) >= SHORTEST


@given(st.integers(1, 10**6), chances)
def test_pauses_are_bounded(failures: int, chance: float) -> None:
    assert 0.5 <= pause_after(failures, lambda: chance) <= LONGEST_PAUSE


def test_pauses_grow() -> None:
    assert [pause_after(n, lambda: 0.0) for n in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert pause_after(3, lambda: 0.999) > 3.99
