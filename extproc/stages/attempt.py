"""The attempt stage: one upstream try in the chosen target's own cluster.

Request: the client's original body and the plan become this provider's request. Response: judged before Envoy's router sees it, and
either let go (the call is finished; everything held flows on natively) or marked `x-llm-retry`, with a rewritten chain where the
failure picks another successor than the one that stands. A response is never changed here, `:status` least of all: outlier
detection judges what it sees.

An ImmediateResponse is final for the client. It is sent only where no other target can help: the chain is used up, the deadline has
passed, or a provider's refusal never comes to its end. What the attempts before did is not known here: the return stage adds it.
"""

from __future__ import annotations

from dataclasses import replace

from extproc.core.dialect import Dialect
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.exchange import (
    ATTEMPT,
    Action,
    Arm,
    BodyEvent,
    Closed,
    Continue,
    Exchange,
    Finish,
    HeadersEvent,
    Kind,
    State,
    Tick,
)
from extproc.core.headers import foreign_headers
from extproc.core.ir import JSON
from extproc.core.operation import Operation
from extproc.core.plan import ATTEMPTS_NAMESPACE, CLUSTER_NAMESPACE, NAMESPACE, AttemptNote, Plan, clusters_of, groups
from extproc.core.verdict import Action as Verdicts
from extproc.core.verdict import Verdict, about_request, decide
from extproc.registry.types import Registry, Target, Upstream
from extproc.routing.filters import keeps_promises
from extproc.routing.health import Out
from extproc.stages import answers, bodies, learn
from extproc.stages.judge import Judge, Judgement, Sound, judge_for
from extproc.stages.services import Services
from extproc.stages.upstream import build, via_of

LIMIT = "limit"
"""The one timer of an attempt: first token, then stall, never beyond the chain's deadline."""

ENDING = 0.5
"""Seconds that an error body which is whole gets to end: the client may read the provider's own bytes only if they have an end."""


_NOT_THERE = (ErrorKind.NOT_FOUND, ErrorKind.PERMISSION)


class AttemptExchange(Exchange):
    """`note` is what the attempt leaves behind for the return stage; `traceparent` is Envoy's span of this try; like `method` it is
    for telemetry."""

    table = ATTEMPT
    __slots__ = (
        "_asked",
        "_chain",
        "_dialect",
        "_headers",
        "_judge",
        "_registry",
        "_services",
        "_spent",
        "_via",
        "alarm",
        "method",
        "note",
        "plan",
        "target",
        "traceparent",
    )

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._registry: Registry = services.snapshots.current
        self._asked = services.health.now
        self._headers: dict[str, str] = {}
        self._chain: list[str] = []
        self._judge: Judge | None = None
        self._dialect: Dialect | None = None
        self._spent = 0.0
        self._via: Upstream | None = None
        self.plan: Plan | None = None
        self.target: Target | None = None
        self.note: AttemptNote | None = None
        self.traceparent = ""
        self.method = "POST"
        self.alarm = False

    # request side

    def on_request_headers(self, event: HeadersEvent) -> list[Action]:
        meta = event.metadata.get(NAMESPACE, {})
        plan = self.plan = Plan.loads(meta["plan"])
        self._chain = clusters_of(meta.get("priority_groups"))
        self._headers = event.headers
        self.traceparent = event.headers.get("traceparent", "")
        self.method = event.headers.get(":method", "POST")
        cluster = str(event.attributes.get("xds.cluster_name", ""))
        n = int(event.attributes.get("upstream.request_attempt_count", 1))
        now = self._services.wall()
        if n > plan.total or n > len(self._chain):
            return self._end(ApiError(ErrorKind.UNAVAILABLE, "no target is left to try"), "llm_exhausted")
        if now >= plan.deadline_at:
            return self._end(answers.deadline_passed(), "llm_deadline")
        self._registry = self._services.snapshots.get(plan.digest)
        target = self.target = self._registry.cluster_target(cluster)
        self.note = AttemptNote(n, cluster, now)
        if target is None:
            error = ApiError(ErrorKind.INTERNAL, f"Envoy sent an attempt to cluster {cluster!r}, which no target of the registry has")
            return self._end(error, "llm_internal")
        client = self._services.dialects[plan.dialect]
        said = event.metadata.get(CLUSTER_NAMESPACE)
        if said and said.get("endpoint", target.provider.endpoint) != target.provider.endpoint:
            moved = self._moved(target, str(said["endpoint"]), client)
            if moved is None:
                error = ApiError(ErrorKind.UNAVAILABLE, f"target {target.name!r} has moved since this request came; send it again", retry_after=1.0)
                return self._end(error, "llm_unavailable")
            target = self.target = moved
        self._via = via_of(target, client)
        if self._via is None:
            error = ApiError(ErrorKind.INTERNAL, f"target {target.name!r} cannot serve {client.operation.value} and is in a chain for it")
            return self._end(error, "llm_internal")
        self._dialect = self._services.dialects[self._via.dialect]
        if event.end:
            if not plan.path:
                return self._end(ApiError(ErrorKind.INVALID_REQUEST, "the request has no body"), "llm_invalid_request")
            return self._send(Kind.REQUEST_HEADERS, b"")
        self.state = State.BODY
        return [Continue(Kind.REQUEST_HEADERS)]

    def _moved(self, target: Target, endpoint: str, client: Dialect) -> Target | None:
        """`target` as another registry knows it, which Envoy's clusters are made by at this moment; None where that could break what the request
        was promised."""
        for found in self._services.snapshots.at(target.name, endpoint):
            if keeps_promises(found, target) and via_of(found, client) is not None:
                return found
        return None

    def on_request_body(self, event: BodyEvent) -> list[Action]:
        return self._send(Kind.REQUEST_BODY, event.body)

    def _send(self, kind: Kind, raw: bytes) -> list[Action]:
        """The provider's request, in answer to the event of `kind`."""
        plan, target, note, dialect, via = self.plan, self.target, self.note, self._dialect, self._via
        assert plan is not None
        assert target is not None
        assert note is not None
        assert dialect is not None
        assert via is not None
        client = self._services.dialects[plan.dialect]
        here = self._services.under_way.get(plan.key)
        learn.attempted(self._services, here, note, target)
        try:
            upstream = build(
                raw,
                self._parsed(raw) if here is None or here.body is None else here.body,
                client=client,
                upstream=dialect,
                via=via,
                target=target,
                facts=self._services.facts(target, plan.asked)[0],
                ask=plan.ask,
            )
        except ApiError as error:
            return self._end(error, f"llm_{error.kind.value}")
        note.losses = sorted({loss.code for loss in upstream.losses})
        headers = [(":path", upstream.path), (":authority", upstream.authority), *upstream.headers.items()]
        if kind is Kind.REQUEST_BODY:
            headers.append(("content-length", str(len(upstream.body))))
        body = None if upstream.body is raw else upstream.body
        self._headers, leftover = {}, foreign_headers(self._headers, upstream.headers)
        self.state = State.SENT
        limit = plan.first_token if plan.stream and not plan.path else plan.unary
        return [
            Continue(kind, set=headers, remove=leftover, body=body, metadata=self._noted()),
            Arm(LIMIT, self._limit(limit)),
        ]

    def _parsed(self, raw: bytes) -> JSON:
        plan = self.plan
        assert plan is not None
        return None if plan.path else bodies.read(raw, plan.headers)

    # response side

    def on_response_headers(self, event: HeadersEvent) -> list[Action]:
        plan, note, dialect = self.plan, self.note, self._dialect
        assert plan is not None
        assert note is not None
        assert dialect is not None
        note.status = int(event.headers.get(":status", "0") or 0)
        self._spent = learn.limits_left(self._services, note.cluster, event.headers)
        if dialect.operation is Operation.PASSTHROUGH:
            # whatever it is, it is the client's
            return self._judged(Sound.PASS)
        judge = judge_for(dialect, note.status, event.headers, stream=plan.stream, complete=plan.complete)
        if isinstance(judge, ApiError):
            return self._failed(judge)
        self._judge = judge
        if event.end:
            return self._judged(judge.end())
        self.state = State.HOLDING
        # headers behind the first-token limit (only where whole answers are awaited): the timer is spent, and silence must still end
        late = plan.stream and self._services.wall() - note.started >= plan.first_token
        return [Arm(LIMIT, self._limit(plan.stall))] if note.status >= 400 or late else []

    def on_held_piece(self, event: BodyEvent) -> list[Action]:
        judge, plan, note = self._judge, self.plan, self.note
        assert judge is not None
        assert plan is not None
        assert note is not None
        judgement = judge.feed(event.body)
        if plan.stream and plan.complete and judge.content and not note.first:
            note.first = self._services.wall()
        if judgement is None and event.end:
            judgement = judge.end()
        if judgement is not None:
            return self._judged(judgement)
        if judge.whole:
            return [Arm(LIMIT, self._limit(ENDING))]
        # inside a hold Envoy's own idle limit does not see the bytes: stalls are ours to police
        return [Arm(LIMIT, self._limit(plan.stall))] if judge.content and plan.stream else []

    def on_held_end(self, event: HeadersEvent) -> list[Action]:  # noqa: ARG002
        assert self._judge is not None
        return self._judged(self._judge.end())

    def on_silence(self, event: Tick) -> list[Action]:  # noqa: ARG002
        """The provider is too slow. Before its headers there is nothing of it to answer: Envoy's own per-try limit ends that attempt."""
        plan, note = self.plan, self.note
        assert plan is not None
        assert note is not None
        judge = self._judge
        if judge is None:
            return []
        if note.status >= 400:
            # its status has said what it means; only its words are missing
            error = judge.end()
            assert isinstance(error, ApiError)
            return self._failed(error, whole=False)
        what = "first token" if plan.stream and not judge.content else "rest of its answer"
        error = ApiError(ErrorKind.TIMEOUT, f"the provider was silent for too long before the {what}")
        if self._services.wall() >= plan.deadline_at:
            self._close_note("final", error)
            if not learn.cut_short(note, plan.first_token if plan.stream and not plan.complete else plan.unary, plan.deadline_at):
                self._services.health.refused(note.cluster, error.kind, self._asked)
            return self._end(answers.deadline_passed(), "llm_deadline")
        return self._failed(error)

    def on_closed(self, event: Closed) -> list[Action]:  # noqa: ARG002
        self.state = State.CLOSED
        return []

    # verdicts

    def _judged(self, judgement: Judgement) -> list[Action]:
        if isinstance(judgement, ApiError):
            return self._failed(judgement)
        note = self.note
        assert note is not None
        self._close_note("pass", None)
        if judgement is Sound.GIVEN_UP:
            note.losses.append("completeness:given_up")
        if note.status < 500:
            # what passes whatever it is may be a failure
            self._services.health.recovered(note.cluster, self._asked)
        if self._spent:
            self._services.health.cool_down(note.cluster, self._spent, Out.SPENT)
        self.state = State.DONE
        return [Arm(LIMIT, None), Continue(Kind.RESPONSE_HEADERS, metadata=self._noted()), Finish()]

    def _failed(self, error: ApiError, *, whole: bool = True) -> list[Action]:
        """`whole` False: the provider's words never came to an end, so they cannot be what the client gets."""
        plan, note, target = self.plan, self.note, self.target
        assert plan is not None
        assert note is not None
        assert target is not None
        if error.kind is ErrorKind.RATE_LIMITED and error.retry_after is None and self._spent:
            error.retry_after = self._spent
        made = [*self._chain[: note.n - 1], note.cluster]
        verdict = decide(
            error,
            made=made,
            standing=self._chain[note.n :],
            total=plan.total,
            same=plan.same,
            # Envoy draws up to 1.5 times the pause, and the answer behind it needs time too
            wait=min(plan.wait, (plan.deadline_at - self._services.wall()) / 2),
            siblings=lambda c: c != note.cluster and self._registry.cluster_target(c) is target,
            larger=self._larger,
        )
        if error.kind in _NOT_THERE and (plan.refers or (target.model == "*" and error.kind is ErrorKind.NOT_FOUND)):
            # what the client has named is not there, or not theirs: no fault of the target's or of our configuration
            verdict = replace(verdict, cool_down=0.0, alarm=False)
            error = replace(error, kind=ErrorKind.INVALID_REQUEST)
        self._services.health.refused(note.cluster, error.kind, self._asked)
        self._learn(verdict, note.cluster)
        self._close_note("retry" if verdict.retry else "final", error)
        note.cool_down, note.action = verdict.cool_down, verdict.action.value
        if not verdict.retry and not whole and about_request(error.kind):
            return self._end(error, f"llm_{error.kind.value}")
        metadata = self._noted()
        if verdict.successors is not None:
            metadata[NAMESPACE] = {"priority_groups": groups(made + verdict.successors)}
        self.state = State.DONE
        headers: list[tuple[str, str]] = []
        if verdict.retry:
            headers.append(("x-llm-retry", verdict.action.value))
            if verdict.backoff:
                headers.append(("x-llm-backoff", str(verdict.backoff)))
        return [Arm(LIMIT, None), Continue(Kind.RESPONSE_HEADERS, set=headers, metadata=metadata), Finish()]

    def _larger(self, cluster: str) -> bool:
        """Does `cluster` take longer prompts than this attempt's target? One whose window is unknown may."""
        other = self._registry.cluster_target(cluster)
        assert self.target is not None
        if other is None or other is self.target:
            return False
        mine, theirs = self.target.facts.context_window, other.facts.context_window
        return theirs is None or mine is None or theirs > mine

    def _learn(self, verdict: Verdict, cluster: str) -> None:
        self.alarm = verdict.alarm
        if verdict.cool_down > 0:
            self._services.health.cool_down(cluster, verdict.cool_down, Out.of(verdict.alarm, verdict.action is Verdicts.WAIT))

    # notes and limits

    def _limit(self, seconds: float) -> float:
        assert self.plan is not None
        return max(min(seconds, self.plan.deadline_at - self._services.wall()), 0.001)

    def _close_note(self, verdict: str, error: ApiError | None) -> None:
        note = self.note
        assert note is not None
        note.verdict = verdict
        note.ended = self._services.wall()
        if error is not None:
            note.fail(error)

    def _noted(self) -> dict[str, dict[str, object]]:
        assert self.note is not None
        return {ATTEMPTS_NAMESPACE: {f"a{self.note.n}": self.note.dumps()}}

    def _end(self, error: ApiError, details: str) -> list[Action]:
        plan = self.plan
        assert plan is not None
        if self.note is not None and not self.note.verdict:
            self._close_note("final", error)
        self.state = State.DONE
        client = self._services.dialects[plan.dialect]
        return [Arm(LIMIT, None), answers.immediate(client, error, details, final=True), Finish()]
