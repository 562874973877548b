"""The order of the file: shares of weights, and the same place for the same value."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import pytest

from extproc.registry.policy import ORDERED
from extproc.registry.types import Model
from extproc.routing.decision import Candidate, Request
from extproc.routing.policies.order import rank, sticky_value
from tests.routing.asking import model, registry, request, target, world

WEIGHTS = {"a": 70.0, "b": 20.0, "c": 9.0, "d": 1.0}
MANY = 20_000


def ranked(chat: Model, asking: Request, seed: int = 1) -> list[str]:
    return [r.candidate.target.name for r in rank(candidates(chat), chat, asking, world(registry([], []), seed), ORDERED)]


def candidates(chat: Model) -> list[Candidate]:
    found = []
    for place, group in enumerate(chat.ranks):
        for name, weight in group.targets:
            t = target(name)
            upstream = t.upstream(request().client.operation, "openai_chat")
            assert upstream is not None
            found.append(Candidate(t, upstream, [name], place, weight))
    return found


def chi_square(seen: Counter[str], weights: dict[str, float]) -> float:
    total, of = sum(seen.values()), sum(weights.values())
    return sum((seen[name] - total * w / of) ** 2 / (total * w / of) for name, w in weights.items())


BOUND = 16.3
"""The chi-square distribution with three degrees of freedom is below it in 999 of 1,000 cases."""


def test_ranks_stand_one_behind_the_other() -> None:
    found = rank(candidates(model("a", "b", "c")), model("a", "b", "c"), request(), world(registry([], [])), ORDERED)
    assert [(r.candidate.target.name, r.score) for r in found] == [("a", 0.0), ("b", 1.0), ("c", 2.0)]


def test_a_rank_of_one_draws_nothing() -> None:
    where = world(registry([], []))
    before = random.Random(1).random()
    rank(candidates(model("a", "b")), model("a", "b"), request(), where, ORDERED)
    assert where.random.random() == before


def test_the_first_place_is_drawn_by_the_weights() -> None:
    chat = model(WEIGHTS, "e")
    where, all_of_them = world(registry([], [])), candidates(chat)
    found = [[r.candidate.target.name for r in rank(all_of_them, chat, request(), where, ORDERED)] for _ in range(MANY)]
    assert {tuple(sorted(names[:4])) for names in found} == {("a", "b", "c", "d")}
    assert {names[4] for names in found} == {"e"}
    assert chi_square(Counter(names[0] for names in found), WEIGHTS) < BOUND
    after_a = Counter(names[1] for names in found if names[0] == "a")
    assert chi_square(after_a, {"b": 20.0, "c": 9.0, "d": 1.0}) < BOUND, "the others share by their weights what is left"


# the same place for the same value


STICKY = model(WEIGHTS, sticky_by="user")


def placed(weights: dict[str, float], values: Iterable[int] = range(MANY)) -> dict[int, list[str]]:
    chat = model(weights, sticky_by="user")
    where, all_of_them = world(registry([], [])), candidates(chat)
    return {n: [r.candidate.target.name for r in rank(all_of_them, chat, request(who={"user": f"user-{n}"}), where, ORDERED)] for n in values}


def test_values_share_out_by_the_weights() -> None:
    found = placed(WEIGHTS)
    assert chi_square(Counter(names[0] for names in found.values()), WEIGHTS) < BOUND
    after_a = Counter(names[1] for names in found.values() if names[0] == "a")
    assert chi_square(after_a, {"b": 20.0, "c": 9.0, "d": 1.0}) < BOUND


def test_a_value_keeps_its_place_whatever_the_draws() -> None:
    asking = request(who={"user": "u"})
    assert len({tuple(ranked(STICKY, asking, seed)) for seed in range(20)}) == 1
    assert len({tuple(ranked(STICKY, request(), seed)) for seed in range(20)}) > 1, "nobody said who it is"


def test_the_place_is_the_same_in_every_process() -> None:
    """Pinned: replicas of two versions share one canary."""
    first = [ranked(model({"a": 1.0, "b": 1.0, "c": 1.0}, sticky_by="user"), request(who={"user": f"u{n}"})) for n in range(4)]
    assert ["".join(names) for names in first] == PINNED


PINNED = ["bac", "bac", "abc", "acb"]


def test_a_weight_that_grows_only_draws_values_to_its_target() -> None:
    before, after = placed(WEIGHTS), placed({**WEIGHTS, "c": 12.0})
    moved = [n for n in before if before[n][0] != after[n][0]]
    assert {after[n][0] for n in moved} == {"c"}
    expected = (12 / 103 - 9 / 100) * MANY
    assert 0.8 * expected < len(moved) < 1.2 * expected, "no more than the share that it gained"


def test_a_target_that_goes_leaves_the_others_where_they_are() -> None:
    before = placed(WEIGHTS)
    after = placed({name: w for name, w in WEIGHTS.items() if name != "b"})
    for n, names in before.items():
        assert after[n] == [name for name in names if name != "b"]


def test_the_same_value_falls_differently_for_another_model() -> None:
    """Else the same users would be everybody's canary."""
    one, other = model(WEIGHTS, sticky_by="user"), model(WEIGHTS, name="other", sticky_by="user")
    asks = [request(who={"user": f"user-{n}"}) for n in range(200)]
    assert any(ranked(one, ask)[0] != ranked(other, ask)[0] for ask in asks)


@pytest.mark.parametrize(
    ("by", "asking", "value"),
    [
        ("session", request(session="s"), "s"),
        ("tenant", request(who={"tenant": "t"}), "t"),
        ("application", request(who={"application": "p"}), "p"),
        ("user", request(who={"user": "u"}), "u"),
        ("user", request(), ""),
        ("header:X-Team", request(headers={"x-team": "red"}), "red"),
        ("header:X-Team", request(), ""),
        ("", request(session="s", who={"user": "u"}), ""),
    ],
)
def test_what_a_place_goes_by(by: str, asking: Request, value: str) -> None:
    assert sticky_value(model("a", sticky_by=by), asking) == value


def test_any_text_has_a_place() -> None:
    for value in ("\udcff", "ü" * 1000, "\0"):
        assert sorted(ranked(STICKY, request(who={"user": value}))) == ["a", "b", "c", "d"]
