"""What targets have done lately: measured at the end of every attempt, decayed, bounded, read by policies without a lock.

Writers are the stages (one process, under the interpreter's lock); readers take single attributes, which are always whole, or copies. Times are
seconds of the monotonic clock that is handed in. Bounded: clusters and models are the registry's (`keep`), kinds those of `core.errors`.

Replicas share through `export` and `absorb`, in plain dicts {name: {field: number}}. A name is a cluster, or `model:` and a model of the registry;
the fields of a cluster are `SUMS`, decayed to the time of the export, the durations `TIMES`, and `kind:` with an outcome. What an `export` holds is
what this process measured itself, never what it absorbed, so nothing is counted twice; a replica's next word replaces its last.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from extproc.routing.measured import CLIENT_GONE, CUT, HALF_LIFE, NO_ANSWER, OK, STALLED, Measured, Sample

__all__ = ["CLIENT_GONE", "CUT", "NO_ANSWER", "OK", "STALLED", "Measured", "Sample", "Statistics"]

REPLICAS = 256
"""Whose words are kept at most; the oldest goes first."""


class Statistics:
    """By cluster. `of` never creates: an unknown cluster has the empty statistics."""

    def __init__(self) -> None:
        self._by_cluster: dict[str, Measured] = {}
        self._by_model: dict[str, tuple[float, float, float]] = {}
        """(output tokens, answers, at)."""
        self._replicas: dict[str, tuple[float, dict[str, dict[str, float]]]] = {}
        self._models_elsewhere: dict[str, tuple[float, float, float]] = {}
        self._known: tuple[frozenset[str], frozenset[str]] | None = None
        """The registry's clusters and models; None while nobody has said them."""

    # what the stages tell

    def began(self, cluster: str) -> None:
        """A request is on its way to `cluster`."""
        self._open(cluster).in_flight += 1

    def ended(self, cluster: str) -> None:
        """It is over, or has gone elsewhere."""
        measured = self._by_cluster.get(cluster)
        if measured is not None and measured.in_flight > 0:
            # without a call in between: requests with large bodies count in threads
            measured.in_flight -= 1

    def limits_left(self, cluster: str, said: dict[str, str], now: float) -> None:
        """What a response of `cluster` said of its rate limits (`core.rate_limits.said`)."""
        self._open(cluster).limits_left(said, now)

    def record(self, sample: Sample, now: float) -> None:
        """One attempt's end."""
        self._open(sample.cluster).add(sample, now)
        usage = sample.usage
        if usage is not None and sample.outcome == OK and sample.model and (self._known is None or sample.model in self._known[1]):
            tokens, answers, at = self._by_model.get(sample.model, (0.0, 0.0, now))
            fade = 2.0 ** ((at - now) / HALF_LIFE)
            self._by_model[sample.model] = (tokens * fade + usage.output_tokens, answers * fade + 1.0, now)

    # what policies read

    def of(self, cluster: str) -> Measured:
        """What is known of `cluster`; to be read only."""
        return self._by_cluster.get(cluster) or _NOTHING

    def output_tokens(self, model: str) -> float | None:
        """The mean length of the answers of a model of the registry, here and at the replicas; None while nobody knows."""
        tokens, answers, _ = self._by_model.get(model, _NO_MODEL)
        more = self._models_elsewhere.get(model)
        if more is not None:
            tokens, answers = tokens + more[0], answers + more[1]
        return tokens / answers if answers > 0 else None

    # upkeep and readers

    def keep(self, clusters: Collection[str], models: Collection[str]) -> None:
        """The registry's clusters and models: forget all others, and take no others over."""
        self._known = (frozenset(clusters), frozenset(models))
        for _, words in self._replicas.values():
            for name in [name for name in words if not self._ours(name)]:
                fields = words.pop(name)
                if name in self._by_cluster:
                    self._by_cluster[name].elsewhere(fields, 0.0, None, 0.0)
        for cluster, measured in tuple(self._by_cluster.items()):
            if cluster not in self._known[0] and not measured.in_flight:
                self._by_cluster.pop(cluster, None)
        for models in (self._by_model, self._models_elsewhere):
            for model in tuple(models):
                if model not in self._known[1]:
                    models.pop(model, None)

    def age(self, now: float) -> None:
        """Let time pass also for clusters that nobody asks: their counts fade, so that they become unknown again."""
        for measured in tuple(self._by_cluster.values()):
            measured.age(now)

    def snapshot(self, now: float, wall: float = 0.0) -> dict[str, Any]:
        """All of it for readers, as JSON. Safe in another thread. `wall` (Unix seconds) is for resets of limits that are points in time."""
        clusters = {name: measured.shown(now, wall) for name, measured in dict(self._by_cluster).items()}
        models = {name: {"output_tokens": self.output_tokens(name)} for name in dict(self._by_model)}
        return {"clusters": clusters, "models": models, "replicas": len(self._replicas)}

    # replicas and restarts

    def export(self, now: float) -> dict[str, dict[str, float]]:
        """What this process measured itself, for `absorb` elsewhere."""
        said = {name: fields for name, measured in dict(self._by_cluster).items() if (fields := measured.fields(now))}
        for model, (tokens, answers, at) in dict(self._by_model).items():
            fade = 2.0 ** ((at - now) / HALF_LIFE)
            said[_MODEL + model] = {"output": tokens * fade, "answers": answers * fade}
        return said

    def absorb(self, replica: str, said: Mapping[str, Mapping[str, float]], now: float) -> None:
        """What `replica` exported, just now; {} forgets it. Total: what is no number, or of no cluster of ours, is left out."""
        self._replace(replica, self._clean(said), now)
        while len(self._replicas) > REPLICAS:
            self._replace(next(iter(self._replicas)), {}, now)

    def _replace(self, replica: str, words: dict[str, dict[str, float]], now: float) -> None:
        at, before = self._replicas.pop(replica, (now, _NO_WORDS))
        if words:
            self._replicas[replica] = (now, words)
        left = 2.0 ** ((at - now) / HALF_LIFE)
        for name in before.keys() | words.keys():
            old, new = before.get(name), words.get(name)
            if not name.startswith(_MODEL):
                self._open(name).elsewhere(old, left, new, now)
                continue
            tokens, answers, since = self._models_elsewhere.get(name[len(_MODEL) :], (0.0, 0.0, now))
            fade = 2.0 ** ((since - now) / HALF_LIFE)
            sums = [tokens * fade, answers * fade]
            for i, field in enumerate(("output", "answers")):
                sums[i] += (new or _NO_FIELDS).get(field, 0.0) - left * (old or _NO_FIELDS).get(field, 0.0)
            self._models_elsewhere[name[len(_MODEL) :]] = (max(sums[0], 0.0), sums[1] if sums[1] > 1e-6 else 0.0, now)

    def dump(self, now: float) -> dict[str, Any]:
        """What `load` takes, as JSON."""
        return {"measured": self.export(now), "sketches": {name: measured.sketches(now) for name, measured in dict(self._by_cluster).items()}}

    def load(self, saved: Any, now: float, elapsed: float = 0.0) -> None:
        """Take over what `dump` gave, aged by `elapsed`, the seconds between. Total, like `absorb`. To be called before anything is recorded."""
        at = now - elapsed
        parts = saved if isinstance(saved, dict) else {}
        sketches = parts.get("sketches")
        for name, fields in self._clean(parts.get("measured")).items():
            if name.startswith(_MODEL):
                self._by_model[name[len(_MODEL) :]] = (fields.get("output", 0.0), fields.get("answers", 0.0), at)
            else:
                self._open(name).restore(fields, sketches.get(name) if isinstance(sketches, dict) else None, at)
        self.age(now)

    def _clean(self, said: Any) -> dict[str, dict[str, float]]:
        """The numbers of what is ours."""
        return {
            name: {field: float(value) for field, value in fields.items() if isinstance(value, int | float) and 0 <= value <= _MOST}
            for name, fields in (said.items() if isinstance(said, Mapping) else ())
            if isinstance(fields, Mapping) and self._ours(name)
        }

    def _ours(self, name: str) -> bool:
        if self._known is None:
            return True
        return name[len(_MODEL) :] in self._known[1] if name.startswith(_MODEL) else name in self._known[0]

    def _open(self, cluster: str) -> Measured:
        return self._by_cluster.get(cluster) or self._by_cluster.setdefault(cluster, Measured())


_MODEL = "model:"
_NO_MODEL = (0.0, 0.0, 0.0)
_NO_WORDS: dict[str, dict[str, float]] = {}
_NO_FIELDS: dict[str, float] = {}
_MOST = 1e18
_NOTHING = Measured()
