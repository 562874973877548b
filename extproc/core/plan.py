"""What the route stage tells the attempts: the one thing that travels between stages, in Envoy's dynamic metadata.

Stages of one request may run in different server processes, and Envoy repeats metadata in every message, so the plan is small (under 2 KB)
and complete: an attempt needs the plan, the original body and the registry, nothing else. It is one JSON string in the namespace
`envoy.llm`, beside `priority_groups`, the list that Envoy's cluster specifier reads and that a failed attempt may rewrite.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson

from extproc.core.dialect import Ask
from extproc.core.errors import ApiError, ErrorKind

NAMESPACE = "envoy.llm"
ATTEMPTS_NAMESPACE = "envoy.llm.attempts"
CLUSTER_NAMESPACE = "envoy.llm.provider"
"""What Envoy says of the cluster that an attempt goes to: `target`, `provider`, `dialect` and `endpoint`, as they were when it was rendered."""
USAGE_NAMESPACE = "envoy.llm.usage"
"""What an answer took, for other filters: see `stages.usage_metadata`."""


@dataclass(slots=True)
class Plan:
    """One request's decision. Times are seconds, `deadline_at` is Unix time; `digest` names the registry that made it.

    `asked` is the model name in the client's body, `model` the registry's model. `headers` are the client's headers that some dialects
    pass on (anthropic-version, anthropic-beta, …). `rid` is Envoy's request id; `key` is ours, random, and names the request inside one process.
    `span` is the request's span's context as a traceparent, or "". `form` and `path` are `Ask`'s. `refers`: does it name something that the client
    left with a provider?
    """

    model: str
    asked: str
    dialect: str
    stream: bool
    complete: bool
    total: int
    same: int
    wait: float
    first_token: float
    stall: float
    unary: float
    deadline_at: float
    digest: str
    rid: str
    key: str = ""
    span: str = ""
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    form: str = ""
    path: str = ""
    refers: bool = False

    @property
    def ask(self) -> Ask:
        """What the client said outside its body."""
        return Ask(self.asked, self.stream, self.headers, self.query, self.form, self.path)

    def dumps(self) -> str:
        return orjson.dumps(self).decode()

    @staticmethod
    def loads(text: str) -> Plan:
        """Raises KeyError, TypeError or ValueError on anything that `dumps` did not write."""
        return Plan(**orjson.loads(text))

    @property
    def whole(self) -> bool:
        """Does nothing flow to the client until the answer is complete?"""
        return self.complete or not self.stream


def groups(clusters: list[str]) -> list[dict[str, Any]]:
    """The value of `priority_groups`: attempt n goes to group n-1. Names must be unique, so they are numbered."""
    return [{"name": f"g{i}", "clusters": [{"cluster_name": c, "weight": 1}]} for i, c in enumerate(clusters)]


def clusters_of(value: Any) -> list[str]:
    """The cluster names in a `priority_groups` value as it comes back from metadata."""
    return [g["clusters"][0]["cluster_name"] for g in value or ()]


@dataclass(slots=True)
class AttemptNote:
    """What one attempt tells the return stage, under the key `a<n>` of `envoy.llm.attempts`. Written when it starts and when it is judged.

    `verdict` "" means that nothing was judged: Envoy ended the attempt itself (reset, no connection, time-out) or it is under way.
    `started` and `ended` are Unix times, `first` is that of the first content of a stream that is held until it is whole (else it is `ended`).
    """

    n: int
    cluster: str
    started: float
    verdict: str = ""
    status: int = 0
    kind: str = ""
    message: str = ""
    ended: float = 0.0
    retry_after: float = 0.0
    code: str | None = None
    param: str | None = None
    action: str = ""
    cool_down: float = 0.0
    losses: list[str] = field(default_factory=list)
    first: float = 0.0

    MESSAGE_LIMIT: ClassVar[int] = 400
    """Characters of an error message that travel: metadata is repeated in every message of the request."""

    def fail(self, error: ApiError) -> None:
        """Keep what a later stage needs to repeat `error`."""
        self.kind = error.kind.value
        self.message = error.message[: self.MESSAGE_LIMIT]
        self.code, self.param = _short(error.code), _short(error.param)
        self.retry_after = error.retry_after or 0.0

    def error(self) -> ApiError:
        """The error that this attempt ended with; a time-out if Envoy ended it without an answer."""
        if not self.kind:
            return ApiError(ErrorKind.TIMEOUT, "the provider did not answer")
        return ApiError(ErrorKind(self.kind), self.message, code=self.code, param=self.param, retry_after=self.retry_after or None)

    def dumps(self) -> str:
        return orjson.dumps(self).decode()


def _short(word: str | None) -> str | None:
    return word[:100] if word else word


def attempt_notes(metadata: dict[str, dict[str, Any]]) -> list[AttemptNote]:
    """The attempts so far, in order."""
    notes = [AttemptNote(**orjson.loads(v)) for k, v in metadata.get(ATTEMPTS_NAMESPACE, {}).items() if k[:1] == "a" and isinstance(v, str)]
    return sorted(notes, key=lambda note: note.n)
