"""Thompson sampling with discounting: which target has earned the most lately, with as much doubt as there is evidence.

For each request every target draws a reward from what is believed of it, and the best draw wins: a target is tried as often as it may still be the
best. Rewards are in [0, 1], 0 for a failure (`routing.reward`), and two beliefs make one:

    reward drawn = normal(probability of an answer x worth of an answer, `BOLDNESS` x the doubt about both)

What answers are worth is normal with a measured variance; a Beta distribution, which is for yes and no, would doubt several times more than the
evidence allows. It is learned on three levels (the normal hierarchical model, Gelman et al., Bayesian Data Analysis, chapter 5): a model's cluster
has an effect, a context (model, task, prompt size) another that is the same for every cluster, and together they are the prior of what this
cluster earns in this context, which its own evidence there refines. So a context that is new, or was not seen for long, starts with what the others
know. The probability of an answer is the cluster's whatever the context: a target that fails is left in all of them at once.

Targets drift, so evidence fades (Garivier and Moulines 2011, discounted bandits; Raj and Kalyani 2017, discounted Thompson sampling). By time: it
halves every `half_life` seconds, and what was not tried for a while becomes doubtful again. That is how a target that recovered is found, at
the price of about one try per half-life and target, whatever the traffic. Failures are forgiven sooner than slowness, because outages end
suddenly and the circuit breaker takes the first blow of the next one. By number: evidence never weighs more than `window` observations, so that
under heavy traffic a change is seen after some dozens of requests and not after some minutes. And because what is learned now fades, exploring is
worth less than plain Thompson sampling takes it for (Liu, Van Roy and Xu 2023, predictive sampling): hence `BOLDNESS`.

Measured on simulated days (`tests/days`, four seeds) of 2,500, 10,000 and 60,000 requests, regret per 1,000 requests: by time with a half-life of
30 minutes 20, 11 and 6; by number alone with one of 400 requests 15, 9 and 8, but with few requests that did not return to a target which was cheap
again on three of four days. Half-lives of 15, 30, 60 and 120 minutes have 13, 11, 10 and 10 at 10,000 requests, and about 10, 40, 120 and 160
minutes until that return. Drawn with all of the doubt instead of `BOLDNESS`: 26, 15 and 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import exp2, isfinite, sqrt
from typing import Any, NamedTuple

from extproc.routing.decision import Random
from extproc.routing.task import CHAT, CLASSIFICATION, CODE_GENERATION, EXTRACTION, QUESTION_ANSWERING, SUMMARIZATION, TRANSLATION

TASKS = frozenset({CHAT, CLASSIFICATION, CODE_GENERATION, EXTRACTION, QUESTION_ANSWERING, SUMMARIZATION, TRANSLATION})
"""Tasks that have contexts of their own; clients can send any word, and all others share one."""
OTHER = "other"
BANDS = ((1_000, "short"), (8_000, "medium"), (64_000, "long"))
"""Prompt tokens below which a prompt is called so."""
LONGEST = "huge"

HALF_LIFE = 1800.0
"""Seconds in which evidence of what answers are worth loses half its weight."""
FORGIVEN = 600.0
"""The same for evidence of failures, and of their absence."""
WINDOW = 100.0
"""Observations that evidence may weigh at most."""
FAILS = 0.02
"""The share of requests that an unknown target is believed to fail, worth `FAILS_WEIGHT` observations."""
FAILS_WEIGHT = 2.0
OPTIMISM = 0.02
"""Reward that an unknown target is believed to earn above the model's usual."""
DOUBT = 0.1
"""Standard deviation of what an unknown target earns."""
BOLDNESS = 0.6
"""The part of the doubt that a reward is drawn with."""
DIFFERENCE = 0.05
"""Standard deviation between contexts of what a target earns, beyond what the context itself explains."""
NOISE = 0.08
"""Standard deviation of one answer's reward, where too few were seen to tell; weighs as much as `NOISE_WEIGHT` observations."""
NOISE_WEIGHT = 2.0
CONTEXTS = 1_024
"""Contexts kept, and clusters of each; those that learned least recently go first."""
CLUSTERS = 128

_Arm = tuple[float, float, float, float]
"""Of answers: (observations, mean reward, its variance, monotonic time that the first of these is discounted to). Replaced whole: readers take
no lock."""
_Answers = tuple[float, float, float]
"""(observations, share that was answered, monotonic time that the first is discounted to)."""


class Draw(NamedTuple):
    """`reward` is the sample, `mean` and `deviation` are what is believed of it."""

    reward: float
    mean: float
    deviation: float


def context_of(model: str, task: str, prompt_tokens: float | None) -> str:
    """The bandit's context of a request: model, task and prompt-size band, `model/task/band`."""
    band = LONGEST
    if prompt_tokens is None:
        band = BANDS[0][1]
    else:
        for below, name in BANDS:
            if prompt_tokens < below:
                band = name
                break
    return f"{model}/{task if task in TASKS else OTHER}/{band}"


class _Model:
    """What a model's contexts have in common. `usual` is what its answers are worth, whoever gives them, less the contexts' shifts."""

    __slots__ = ("answers", "arms", "at", "contexts", "usual", "weight")

    def __init__(self, now: float) -> None:
        self.arms: dict[str, _Arm] = {}
        self.answers: dict[str, _Answers] = {}
        self.usual, self.weight, self.at = 0.5, 1.0, now
        self.contexts = 0


class _Context:
    """What its clusters' answers were worth here, and how much more than elsewhere they are (`shift`), whoever gives them."""

    __slots__ = ("arms", "at", "model", "shift", "used", "weight")

    def __init__(self, model: _Model, now: float) -> None:
        self.model = model
        self.arms: dict[str, _Arm] = {}
        self.shift, self.weight, self.at, self.used = 0.0, 0.0, now, now

    def shift_at(self, now: float, rate: float) -> float:
        """What is left of the shift; towards 0 where there is little evidence."""
        weight = self.weight * exp2(rate * (now - self.at))
        return self.shift * weight / (weight + _SHIFT_PRIOR)


class Bandit:
    """One posterior for each context and cluster. `context` names model, task and prompt-size band; a reward is in [0, 1] (`routing.reward`).

    Bounded in memory. One writer; readers may be other threads.
    """

    __slots__ = ("_contexts", "_forgiving", "_models", "_rate", "_window")

    def __init__(self, half_life: float = HALF_LIFE, window: float = WINDOW, forgiven: float = FORGIVEN) -> None:
        self._rate = -1.0 / half_life
        self._forgiving = -1.0 / forgiven
        self._window = window
        self._contexts: dict[str, _Context] = {}
        self._models: dict[str, _Model] = {}

    def draw(self, context: str, clusters: Sequence[str], now: float, random: Random, under_way: Sequence[int] = ()) -> list[Draw]:
        """One sampled reward for each of `clusters`, in their order. Changes nothing.

        `under_way`, if given, are requests that each cluster has not answered yet. They narrow the doubt as if they had come back as expected,
        so that an unknown target is not handed everything that arrives before its first answer.
        """
        place = self._contexts.get(context)
        model = place.model if place is not None else self._models.get(_model_of(context))
        rate, forgiving = self._rate, self._forgiving
        shift, usual = 0.0, 0.5
        here: Mapping[str, _Arm] = _NONE
        everywhere: Mapping[str, _Arm] = _NONE
        answers: Mapping[str, _Answers] = _NO_ANSWERS
        if model is not None:
            usual, everywhere, answers = model.usual, model.arms, model.answers
        if place is not None:
            here = place.arms
            shift = place.shift_at(now, rate)
        gauss = random.gauss
        found: list[Draw] = []
        for i, cluster in enumerate(clusters):
            mean, precision, noise = usual + OPTIMISM, _PRIOR_PRECISION, _NOISE_VARIANCE
            arm = everywhere.get(cluster)
            if arm is not None:
                n = arm[0] * exp2(rate * (now - arm[3]))
                noise = (n * arm[2] + _NOISE_PRIOR) / (n + NOISE_WEIGHT)
                evidence = n / noise
                precision += evidence
                mean += (arm[1] - mean) * evidence / precision
            precision = 1.0 / (1.0 / precision + _DIFFERENCE_VARIANCE)
            mean += shift
            arm = here.get(cluster)
            if arm is not None:
                evidence = arm[0] * exp2(rate * (now - arm[3])) / noise
                precision += evidence
                mean += (arm[1] - mean) * evidence / precision
            weight, answered = FAILS_WEIGHT, 1.0 - FAILS
            known = answers.get(cluster)
            if known is not None:
                n = known[0] * exp2(forgiving * (now - known[2]))
                weight += n
                answered += (known[1] - answered) * n / weight
            if under_way:
                precision += under_way[i] / noise
                weight += under_way[i]
            # of a product of independent variables, to the first order; the second is the variance of a Beta distribution
            deviation = sqrt(answered * answered / precision + mean * mean * answered * (1.0 - answered) / (weight + 1.0))
            mean *= answered
            found.append(Draw(gauss(mean, BOLDNESS * deviation), mean, deviation))
        return found

    def learn(self, context: str, cluster: str, reward: float, now: float) -> None:
        """An attempt at `cluster` was worth `reward`; 0 is a failure."""
        place = self._contexts.get(context) or self._open(context, now)
        model, rate, window = place.model, self._rate, self._window
        n, answered, at = model.answers.get(cluster, (0.0, 1.0, now))
        n = min(n * exp2(self._forgiving * (now - at)), window - 1.0) + 1.0
        model.answers[cluster] = n, answered + ((reward > 0.0) - answered) / n, now
        _bound(model.answers, 2)
        place.used = now
        if reward <= 0.0:
            return
        shift, before = place.shift_at(now, rate), model.arms.get(cluster)
        elsewhere = reward - shift
        model.weight = min(model.weight * exp2(rate * (now - model.at)), window - 1.0) + 1.0
        model.usual += (elsewhere - model.usual) / model.weight
        model.at = now
        model.arms[cluster] = _after(before, elsewhere, now, rate, window)
        _bound(model.arms, 3)
        place.weight = min(place.weight * exp2(rate * (now - place.at)), window - 1.0) + 1.0
        place.shift += (reward - (before[1] if before is not None else model.usual) - place.shift) / place.weight
        place.at = now
        place.arms[cluster] = _after(place.arms.get(cluster), reward, now, rate, window)
        _bound(place.arms, 3)

    def dump(self, now: float) -> dict[str, Any]:
        """All of it as JSON. Times are ages in seconds, so that another clock can take them over."""
        return {
            "models": {
                name: {
                    "usual": m.usual,
                    "weight": m.weight,
                    "age": now - m.at,
                    "arms": {c: [*arm[:3], now - arm[3]] for c, arm in list(m.arms.items())},
                    "answers": {c: [n, share, now - at] for c, (n, share, at) in list(m.answers.items())},
                }
                for name, m in list(self._models.items())
            },
            "contexts": {
                name: {
                    "shift": c.shift,
                    "weight": c.weight,
                    "age": now - c.at,
                    "arms": {cluster: [*arm[:3], now - arm[3]] for cluster, arm in list(c.arms.items())},
                }
                for name, c in list(self._contexts.items())
            },
        }

    def load(self, dumped: dict[str, Any], now: float, elapsed: float = 0.0) -> None:
        """Take over what `dump` gave, aged by `elapsed`, the seconds between. Raises `ValueError` that names the place, and changes nothing then."""
        models: dict[str, _Model] = {}
        contexts: dict[str, _Context] = {}
        now -= max(elapsed, 0.0)
        for name, raw in _mapping(dumped, "models").items():
            where = f"models.{name}"
            model = models[name] = _Model(now)
            usual, weight, age = (_number(raw, key, where) for key in ("usual", "weight", "age"))
            model.usual, model.weight, model.at = _between(-1.0, usual, 2.0), _between(0.0, weight, self._window), now - max(age, 0.0)
            model.arms = self._arms(raw, now, where)
            model.answers = {
                cluster: (_between(0.0, n, self._window), _between(0.0, share, 1.0), now - max(age, 0.0))
                for cluster, (n, share, age) in _rows(_mapping(raw, "answers", where), 3, f"{where}.answers")
            }
        for name, raw in list(_mapping(dumped, "contexts").items())[-CONTEXTS:]:
            where = f"contexts.{name}"
            parent = models.get(_model_of(name))
            if parent is None:
                raise ValueError(f"{where}: no such model")
            parent.contexts += 1
            context = contexts[name] = _Context(parent, now)
            shift, weight, age = (_number(raw, key, where) for key in ("shift", "weight", "age"))
            context.shift, context.weight = _between(-1.0, shift, 1.0), _between(0.0, weight, self._window)
            context.at = context.used = now - max(age, 0.0)
            context.arms = self._arms(raw, now, where)
        self._models, self._contexts = {n: m for n, m in models.items() if m.contexts}, contexts

    def _arms(self, raw: dict[str, Any], now: float, where: str) -> dict[str, _Arm]:
        """Within what `learn` can have made, whatever stands in a file."""
        return {
            cluster: (_between(0.0, n, self._window), _between(-1.0, mean, 2.0), _between(0.0, variance, 1.0), now - max(age, 0.0))
            for cluster, (n, mean, variance, age) in _rows(_mapping(raw, "arms", where), 4, f"{where}.arms")
        }

    def _open(self, context: str, now: float) -> _Context:
        if len(self._contexts) >= CONTEXTS:
            oldest = min(self._contexts, key=lambda name: self._contexts[name].used)
            model = self._contexts.pop(oldest).model
            model.contexts -= 1
            if not model.contexts:
                self._models.pop(_model_of(oldest), None)
        name = _model_of(context)
        found = self._models.get(name) or self._models.setdefault(name, _Model(now))
        found.contexts += 1
        return self._contexts.setdefault(context, _Context(found, now))


_SHIFT_PRIOR = 3.0
"""Observations that a context's shift of 0 weighs as much as."""
_PRIOR_PRECISION = 1.0 / DOUBT**2
_NOISE_VARIANCE = NOISE**2
_NOISE_PRIOR = NOISE_WEIGHT * _NOISE_VARIANCE
_DIFFERENCE_VARIANCE = DIFFERENCE**2
_NONE: Mapping[str, _Arm] = {}
_NO_ANSWERS: Mapping[str, _Answers] = {}


def _model_of(context: str) -> str:
    """A model's name may hold slashes; task and band have none."""
    return context.rsplit("/", 2)[0]


def _after(arm: _Arm | None, value: float, now: float, rate: float, window: float) -> _Arm:
    """`arm` after one more observation: exponentially weighted mean and variance (West 1979)."""
    if arm is None:
        return 1.0, value, _NOISE_VARIANCE, now
    n, mean, variance, at = arm
    n = min(n * exp2(rate * (now - at)), window - 1.0) + 1.0
    off = value - mean
    mean += off / n
    return n, mean, variance + (off * (value - mean) - variance) / n, now


def _bound(by_cluster: dict[str, _Arm] | dict[str, _Answers], at: int) -> None:
    """Room for one more cluster: the one that was not heard of for longest goes. `at` is the place of its time."""
    if len(by_cluster) > CLUSTERS:
        del by_cluster[min(by_cluster, key=lambda name: by_cluster[name][at])]


def _between(low: float, value: float, high: float) -> float:
    return min(max(value, low), high)


def _rows(raw: dict[str, Any], count: int, where: str) -> Iterator[tuple[str, list[float]]]:
    for cluster, row in list(raw.items())[-CLUSTERS:]:
        if not isinstance(row, list) or len(row) != count:
            raise ValueError(f"{where}.{cluster}: expected {count} numbers")
        yield cluster, [_finite(value, f"{where}.{cluster}") for value in row]


def _mapping(raw: Any, key: str, place: str = "") -> dict[str, Any]:
    found = raw.get(key) if isinstance(raw, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"{place}.{key}: expected a mapping" if place else f"{key}: expected a mapping")  # noqa: TRY004 - a bad value in a file
    return found


def _number(raw: Any, key: str, place: str) -> float:
    return _finite(raw.get(key) if isinstance(raw, dict) else None, f"{place}.{key}")


def _finite(value: Any, place: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise ValueError(f"{place}: expected a number")
    return float(value)
