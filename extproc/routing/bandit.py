"""Thompson sampling with discounting: which target has earned the most lately, with as much doubt as there is evidence.

For each request every target draws a reward from what is believed of it, and the best draw wins: a target is tried as often as it may still be the
best. Rewards are in [0, 1] (`routing.reward`) and nothing like yes or no, so beliefs are normal distributions with a measured variance; a Beta
distribution would doubt several times more than the evidence allows.

Three levels share what they learn. A model's cluster has an effect, a context (model, task, prompt size) has another that is the same for every
cluster, and together they are the prior of what this cluster earns in this context, which its own evidence there then refines (the normal
hierarchical model, Gelman et al., Bayesian Data Analysis, chapter 5). So a target that fails is left in every context at once, and a context
that is new, or has not been seen for long, starts with what the others know.

Targets drift, so evidence fades, in two ways (Garivier and Moulines 2011, discounted bandits; Raj and Kalyani 2017, discounted Thompson sampling).
By time: it halves every `half_life` seconds. What nobody has tried for a while becomes doubtful again, and so a target that
recovered is found, at the price of about one try per target and half-life, whatever the traffic. By number: evidence never weighs more than
`window` observations, so that under heavy traffic a change is seen after some dozens of requests and not after some minutes. Discounting by number
alone, for every arm at every observation, costs a fixed share of all requests; by time alone it is deaf where traffic is heavy. `tests/days`
measures the choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, sqrt
from typing import Any, NamedTuple

from extproc.routing.decision import Random

TASKS = frozenset(
    {
        "chat",
        "classification",
        "code_generation",
        "code_review",
        "embedding",
        "extraction",
        "question_answering",
        "reasoning",
        "reranking",
        "rewriting",
        "summarization",
        "tool_use",
        "translation",
    }
)
"""Tasks that have contexts of their own; clients can send any word, and all others share one."""
OTHER = "other"
BANDS = ((1_000, "short"), (8_000, "medium"), (64_000, "long"))
"""Prompt tokens below which a prompt is called so."""
LONGEST = "huge"

HALF_LIFE = 900.0
"""Seconds in which evidence loses half its weight."""
WINDOW = 100.0
"""Observations that evidence may weigh at most."""
OPTIMISM = 0.03
"""Reward that an unknown target is believed to earn above the model's usual."""
DOUBT = 0.2
"""Standard deviation of what an unknown target earns."""
DIFFERENCE = 0.07
"""Standard deviation between contexts of what a target earns, beyond what the context itself explains."""
NOISE = 0.15
"""Standard deviation of one reward, where too few were seen to tell; weighs as much as `NOISE_WEIGHT` observations."""
NOISE_WEIGHT = 4.0
CONTEXTS = 1_024
"""Contexts kept, and clusters of each; those that learned least recently go first."""
CLUSTERS = 128

_Arm = tuple[float, float, float, float]
"""(observations, mean, variance, monotonic time that the first of these is discounted to). Replaced whole: readers take no lock."""


class Draw(NamedTuple):
    """`reward` is the sample, `mean` and `deviation` what it was drawn from."""

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
    """What a model's contexts have in common."""

    __slots__ = ("arms", "at", "contexts", "usual", "weight")

    def __init__(self, now: float) -> None:
        self.arms: dict[str, _Arm] = {}
        self.usual, self.weight, self.at = 0.5, 1.0, now
        self.contexts = 0


class _Context:
    """What its clusters earned here, and how much more than elsewhere its requests earn (`shift`), whoever serves them."""

    __slots__ = ("arms", "at", "model", "shift", "weight")

    def __init__(self, model: _Model, now: float) -> None:
        self.model = model
        self.arms: dict[str, _Arm] = {}
        self.shift, self.weight, self.at = 0.0, 0.0, now


class Bandit:
    """One posterior for each context and cluster. `context` names model, task and prompt-size band; a reward is in [0, 1] (`routing.reward`).

    Bounded in memory. One writer; readers may be other threads.
    """

    __slots__ = ("_contexts", "_models", "_rate", "_window")

    def __init__(self, half_life: float = HALF_LIFE, window: float = WINDOW) -> None:
        self._rate = -1.0 / half_life
        self._window = window
        self._contexts: dict[str, _Context] = {}
        self._models: dict[str, _Model] = {}

    def draw(self, context: str, clusters: Sequence[str], now: float, random: Random, under_way: Sequence[int] = ()) -> list[Draw]:
        """One sampled reward for each of `clusters`, in their order.

        `under_way`, if given, are requests that each cluster has not answered yet. They narrow the doubt as if they had come back as expected,
        so that an unknown target is not handed everything that arrives before its first answer.
        """
        place = self._contexts.get(context)
        model = place.model if place is not None else self._models.get(_model_of(context))
        rate = self._rate
        shift = 0.0
        here: Mapping[str, _Arm] = _NONE
        if place is not None:
            here = place.arms
            weight = place.weight * 2.0 ** (rate * (now - place.at))
            shift = place.shift * weight / (weight + _SHIFT_PRIOR)
        usual = OPTIMISM + (model.usual if model is not None else 0.5)
        everywhere: Mapping[str, _Arm] = model.arms if model is not None else _NONE
        gauss = random.gauss
        found: list[Draw] = []
        for i, cluster in enumerate(clusters):
            mean, precision, noise = usual, _PRIOR_PRECISION, _NOISE_VARIANCE
            arm = everywhere.get(cluster)
            if arm is not None:
                n = arm[0] * 2.0 ** (rate * (now - arm[3]))
                noise = (n * arm[2] + _NOISE_PRIOR) / (n + NOISE_WEIGHT)
                evidence = n / noise
                precision += evidence
                mean += (arm[1] - mean) * evidence / precision
            precision = 1.0 / (1.0 / precision + _DIFFERENCE_VARIANCE)
            mean += shift
            arm = here.get(cluster)
            if arm is not None:
                evidence = arm[0] * 2.0 ** (rate * (now - arm[3])) / noise
                precision += evidence
                mean += (arm[1] - mean) * evidence / precision
            if under_way:
                precision += under_way[i] / noise
            deviation = 1.0 / sqrt(precision)
            found.append(Draw(gauss(mean, deviation), mean, deviation))
        return found

    def learn(self, context: str, cluster: str, reward: float, now: float) -> None:
        """An attempt at `cluster` was worth `reward`."""
        place = self._contexts.get(context) or self._open(context, now)
        model, rate, window = place.model, self._rate, self._window
        weight = place.weight * 2.0 ** (rate * (now - place.at))
        shift = place.shift * weight / (weight + _SHIFT_PRIOR)
        before = model.arms.get(cluster)
        elsewhere = reward - shift

        model.weight = min(model.weight * 2.0 ** (rate * (now - model.at)), window) + 1.0
        model.at = now
        model.usual += (elsewhere - model.usual) / model.weight
        model.arms[cluster] = _after(before, elsewhere, now, rate, window)
        place.weight = min(weight, window) + 1.0
        place.at = now
        place.shift += (reward - (before[1] if before is not None else model.usual) - place.shift) / place.weight
        place.arms[cluster] = _after(place.arms.get(cluster), reward, now, rate, window)
        for arms in (model.arms, place.arms):
            if len(arms) > CLUSTERS:
                del arms[min(arms, key=lambda name, arms=arms: arms[name][3])]  # type: ignore[misc]

    def dump(self, now: float) -> dict[str, Any]:
        """All of it as JSON. Times are ages in seconds, so that another clock can take them over."""
        return {
            "models": {
                name: {"usual": m.usual, "weight": m.weight, "age": now - m.at, "arms": _dumped(m.arms, now)}
                for name, m in list(self._models.items())
            },
            "contexts": {
                name: {"shift": c.shift, "weight": c.weight, "age": now - c.at, "arms": _dumped(c.arms, now)}
                for name, c in list(self._contexts.items())
            },
        }

    def load(self, dumped: dict[str, Any], now: float, elapsed: float = 0.0) -> None:
        """Take over what `dump` gave, aged by `elapsed`, the seconds between. Raises `ValueError` that names the place, and changes nothing then."""
        models: dict[str, _Model] = {}
        contexts: dict[str, _Context] = {}
        for name, raw in _mapping(dumped, "models").items():
            place = f"models.{name}"
            model = models[name] = _Model(now)
            model.usual, model.weight = _number(raw, "usual", place), max(_number(raw, "weight", place), 0.0)
            model.at = now - elapsed - max(_number(raw, "age", place), 0.0)
            model.arms = _loaded(_mapping(raw, "arms", place), now - elapsed, place)
        for name, raw in list(_mapping(dumped, "contexts").items())[-CONTEXTS:]:
            place = f"contexts.{name}"
            parent = models.get(_model_of(name))
            if parent is None:
                raise ValueError(f"{place}: no such model")
            context = contexts[name] = _Context(parent, now)
            parent.contexts += 1
            context.shift, context.weight = _number(raw, "shift", place), max(_number(raw, "weight", place), 0.0)
            context.at = now - elapsed - max(_number(raw, "age", place), 0.0)
            context.arms = _loaded(_mapping(raw, "arms", place), now - elapsed, place)
        self._models, self._contexts = {n: m for n, m in models.items() if m.contexts}, contexts

    def _open(self, context: str, now: float) -> _Context:
        if len(self._contexts) >= CONTEXTS:
            oldest = min(self._contexts, key=lambda name: self._contexts[name].at)
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


def _model_of(context: str) -> str:
    """A model's name may hold slashes; task and band have none."""
    return context.rsplit("/", 2)[0]


def _after(arm: _Arm | None, value: float, now: float, rate: float, window: float) -> _Arm:
    """`arm` after one more observation: exponentially weighted mean and variance (West 1979)."""
    if arm is None:
        return 1.0, value, _NOISE_VARIANCE, now
    n, mean, variance, at = arm
    n = min(n * 2.0 ** (rate * (now - at)), window - 1.0) + 1.0
    off = value - mean
    mean += off / n
    return n, mean, variance + (off * (value - mean) - variance) / n, now


def _dumped(arms: dict[str, _Arm], now: float) -> dict[str, list[float]]:
    return {name: [n, mean, variance, now - at] for name, (n, mean, variance, at) in list(arms.items())}


def _loaded(arms: dict[str, Any], now: float, place: str) -> dict[str, _Arm]:
    found: dict[str, _Arm] = {}
    for name, raw in list(arms.items())[-CLUSTERS:]:
        where = f"{place}.arms.{name}"
        if not isinstance(raw, list) or len(raw) != 4:
            raise ValueError(f"{where}: expected four numbers")
        n, mean, variance, age = (_finite(value, where) for value in raw)
        found[name] = max(n, 0.0), mean, max(variance, 0.0), now - max(age, 0.0)
    return found


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
