"""What one request is expected to take at a candidate: tokens of its prompt and of its answer, and how likely the attempt is to fail.

An answer's length is the target's own measured mean, else the mean of the other targets of the same model (not only of those that are
candidates now, so that leaving one out changes nothing for the others), else `UNKNOWN_OUTPUT`; never more than the client allows. The client's
bound alone is no estimate: most SDKs send thousands whatever they ask.
"""

from __future__ import annotations

from math import inf

from extproc.registry.types import Model
from extproc.routing.decision import Request, World
from extproc.routing.statistics import Measured

UNKNOWN_OUTPUT = 300.0
"""Tokens of an answer where nothing was measured: a few paragraphs."""
BYTES_PER_TOKEN = 4.0
"""Where no estimate of the prompt is to be had."""
FAILS = 0.02
"""The share of attempts that fail at a target of which nothing is known."""
FAILS_WORTH = 10.0
"""How many attempts that belief is worth: one failure of one is no proof, none of one neither."""


class Expected:
    """Made once for each ranking; signals are asked for when they are first needed."""

    __slots__ = ("_bound", "_model", "_prompt", "_request", "_usual", "_world")

    def __init__(self, model: Model, request: Request, world: World) -> None:
        self._model = model
        self._request = request
        self._world = world
        bound = request.signals.get("max_output_tokens")
        self._bound = float(bound) if isinstance(bound, int | float) and bound > 0 else inf
        self._prompt = -1.0
        self._usual = -1.0

    @property
    def prompt(self) -> float:
        """Tokens of the prompt."""
        if self._prompt < 0:
            said = self._request.signals.get("prompt_tokens")
            self._prompt = max(float(said), 0.0) if isinstance(said, int | float) else self._request.size / BYTES_PER_TOKEN
        return self._prompt

    def output(self, measured: Measured) -> float:
        """Tokens of the answer at the target that `measured` is of."""
        tokens = measured.output_tokens
        if tokens is None:
            if self._usual < 0:
                self._usual = usual_output(self._model, self._world)
            tokens = self._usual
        return min(tokens, self._bound)


def usual_output(model: Model, world: World) -> float:
    """The mean length of an answer over the measured targets of `model`, each counting once for each of its keys."""
    targets, of = world.registry.targets, world.statistics.of
    total, count = 0.0, 0
    for rank in model.ranks:
        for name, _ in rank.targets:
            for cluster in targets[name].clusters:
                tokens = of(cluster).output_tokens
                if tokens is not None:
                    total += tokens
                    count += 1
    return total / count if count else UNKNOWN_OUTPUT


def failure(measured: Measured) -> float:
    """The probability that an attempt fails: the mean of a Beta distribution whose prior is `FAILS`, worth `FAILS_WORTH` attempts."""
    return (measured.failures + FAILS * FAILS_WORTH) / (measured.requests + FAILS_WORTH)
