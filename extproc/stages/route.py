"""The route stage: from the client's bytes to a plan. Parse once, find the model, choose the chain, tell Envoy.

What we refuse, we refuse here, in the caller's dialect, before any provider sees the request.
"""

from __future__ import annotations

from extproc.core.dialect import Ask
from extproc.core.errors import ApiError, ErrorKind, kind_of_status
from extproc.core.exchange import ROUTE, Action, Arm, BodyEvent, Closed, Continue, Finish, HeadersEvent, Immediate, Kind, State, Tick
from extproc.core.headers import CLIENT_KEPT, PASSED, kept, media_type
from extproc.core.ir import JSON
from extproc.core.multipart import MULTIPART
from extproc.core.plan import NAMESPACE, Plan, groups
from extproc.registry.types import Commit, Model
from extproc.routing import filters
from extproc.routing.identity import identify
from extproc.routing.signals import RequestSignals
from extproc.routing.tokens import estimate
from extproc.stages import answers, bodies, learn, operations, own, shadow
from extproc.stages.choose import ONE_TARGET, choose, count
from extproc.stages.operations import Asked, Own
from extproc.stages.reply import ReplyStage
from extproc.stages.request import DEADLINE
from extproc.stages.services import Services, UnderWay
from extproc.stages.shadow import IN_ONE_ACCOUNT, Copy, Shadowed
from extproc.stages.trial import MEDIA, carrying
from extproc.telemetry.record import Outcome

PER_TRY_GRACE = 0.25
"""Seconds by which Envoy's own per-try limit is longer than ours: where both could act, the stage's verdict should."""
TOLD = ("tenant", "application", "tier")
"""What of the caller's identity Envoy's other filters are told, such as the one that asks a rate limit service. Not the user: it may be a person."""
LONGEST_CHAIN = 12
"""Clusters: the plan with its chain stays under 2 KB, which Envoy repeats in every message."""
LONGEST_PATH = 1024
"""Characters of a passed-on path with its query: they are part of the plan."""
DEADLINE_GRACE = 1.0
"""Seconds by which Envoy's route time-out outlasts our deadline; it only acts if this process hangs."""


class RouteExchange(ReplyStage):
    """One request, from its first byte to its last: the handlers of the request side on top of the return stage's."""

    table = ROUTE
    __slots__ = ("_asked", "copy", "headers", "refers", "shadowed", "who")

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self.headers: dict[str, str] = {}
        self._asked: Asked | None = None
        self.who: dict[str, str] = {}
        """Who asks: the identity's values."""
        self.shadowed: Shadowed | None = None
        self.refers = False
        """Does it name something that lies with a provider?"""
        self.copy: Copy | None = None
        """What is to be sent again when this request has ended well."""

    def on_request_headers(self, event: HeadersEvent) -> list[Action]:
        headers = self.headers = event.headers
        record = self.record
        record.request_id = headers.get("x-request-id", "")
        method, path = headers.get(":method", ""), headers.get(":path", "/")
        dialects = self.services.dialects
        try:
            asked = self._asked = operations.find(method, path, headers, self.registry.passthrough)
            self.client = operations.speaker(asked.dialect, dialects)
            record.client_dialect = asked.dialect
            if asked.own is not None:
                if self.registry.tenants:
                    # what a tenant may not use does not exist for it
                    self._identify(event)
                if asked.own is Own.SHOW and not event.end:
                    self.state = State.BODY
                    return [Continue(Kind.REQUEST_HEADERS)]
                return self._own_answer(asked, b"")
            record.operation = self.client.operation.value
            self._identify(event)
            self._check_headers(event, asked)
            if event.end:
                return self._pass_on(asked, Kind.REQUEST_HEADERS)
        except ApiError as error:
            if self._asked is None:
                self.client = operations.speaker(operations.guess_dialect(path.partition("?")[0], headers), dialects)
                record.client_dialect = self.client.name
            return self._refuse(error)
        self.state = State.BODY
        return [Continue(Kind.REQUEST_HEADERS)]

    def _identify(self, event: HeadersEvent) -> None:
        """Who asks; a copy says it itself, for it comes through a door that only this server has the key to."""
        said = event.headers.get(shadow.HEADER)
        if said is not None:
            try:
                shadowed = self.shadowed = shadow.read_header(said)
            except ValueError as error:
                raise ApiError(ErrorKind.INVALID_REQUEST, str(error)) from None
            self.who, self.record.shadow = shadowed.who, shadowed.first
            if shadowed.task:
                event.headers["x-llm-task"] = shadowed.task
        elif self.registry.identity.sources or self.registry.identity.otherwise:
            self.who = identify(self.registry.identity, event.headers, event.attributes, event.metadata)
        self.record.tenant = self.who.get("tenant", "")

    def _check_headers(self, event: HeadersEvent, asked: Asked) -> None:
        headers = event.headers
        if asked.dialect not in self.services.dialects:
            raise ApiError(ErrorKind.NOT_IMPLEMENTED, "this operation is not implemented here")
        if asked.cluster and len(asked.path) + len(asked.query) > LONGEST_PATH:
            raise ApiError(ErrorKind.INVALID_REQUEST, f"the path and its query are longer than {LONGEST_PATH} characters")
        if event.end and not asked.cluster:
            raise ApiError(ErrorKind.INVALID_REQUEST, "the request has no body; send a JSON object")
        encoding = headers.get("content-encoding", "identity").lower()
        if encoding not in ("", "identity") and not asked.cluster:
            raise ApiError(ErrorKind.UNSUPPORTED_MEDIA_TYPE, f"content-encoding {encoding[:40]} is not supported for requests; send plain JSON")
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self.services.options.max_body:
            raise ApiError(ErrorKind.TOO_LARGE, f"the body is larger than the limit of {self.services.options.max_body} bytes")

    def on_request_body(self, event: BodyEvent) -> list[Action]:
        self.record.bytes_in = len(event.body)
        asked = self._asked
        assert asked is not None
        try:
            if asked.own is not None:
                return self._own_answer(asked, event.body)
            if asked.cluster:
                return self._pass_on(asked, Kind.REQUEST_BODY)
            return self._route(event.body, asked)
        except ApiError as error:
            return self._refuse(error)

    def _route(self, raw: bytes, asked: Asked) -> list[Action]:
        services, client, seen = self.services, self.client, self.headers
        is_form = asked.form_data and media_type(seen) == MULTIPART
        headers = kept(seen, (*CLIENT_KEPT, "content-type") if is_form else CLIENT_KEPT)
        body = bodies.read(raw, headers)
        name, stream = operations.model_and_stream(body, asked)
        bodies.check(raw, body)
        ask = Ask(name, stream, headers, asked.query, asked.form)
        record = self.record
        record.model, record.stream = name, stream
        model = self.registry.resolve(name)
        if model is None:
            raise operations.unknown_model(name)
        record.commit, record.registry = model.commit.value, self.registry.digest
        needs = client.needs(body)
        self.refers = not needs.isdisjoint(IN_ONE_ACCOUNT)
        model, ask, decision, session = choose(self, model, ask, needs, body, len(raw))
        record.commit = model.commit.value
        clusters = decision.clusters
        if model.strict or (len(clusters) > 1 and needs & MEDIA):
            clusters = decision.clusters = carrying(services, self.registry, client, raw, body, ask, clusters, strict=model.strict)
        # longer than the attempts that are allowed: a failure may pick a sibling key or a larger window from behind
        clusters = clusters[:LONGEST_CHAIN]
        if len(clusters) == 1:
            # Envoy retries a lost connection by itself, but only with a successor to go to
            clusters = clusters * (1 + model.attempts.same_target)
        self.wishes = client.wishes(body)
        if model.shadow is not None and self.shadowed is None and services.random.random() < model.shadow.share:
            self.copy = shadow.copy_of(model, decision.rule, needs, seen, raw, self.who)
        return self._send(model, ask, clusters, Kind.REQUEST_BODY, body, session)

    def _pass_on(self, asked: Asked, kind: Kind) -> list[Action]:
        """A path of the registry's `passthrough`: to its one cluster, whatever the body."""
        self.record.stream, self.record.registry = False, self.registry.digest
        registry, who = self.registry, self.who
        target = registry.cluster_target(asked.cluster)
        if target is None:
            raise ApiError(
                ErrorKind.UNAVAILABLE, f"the passthrough of this path names the cluster {asked.cluster!r}, which no target of the registry has"
            )
        filters.check_passage(filters.tenant_of(who, registry), target, who.get("tenant", ""))
        if registry.limits:
            self.admitted = count(self)
        ask = Ask("", bool(asked.stream), kept(self.headers, PASSED), asked.query, asked.form, asked.path)
        return self._send(ONE_TARGET, ask, [asked.cluster] * ONE_TARGET.attempts.total, kind, None)

    def _send(self, model: Model, ask: Ask, clusters: list[str], kind: Kind, body: JSON, session: str = "") -> list[Action]:
        """The request's plan to Envoy, in answer to the event of `kind`."""
        services = self.services
        plan = self._planned(model, ask, clusters)
        self.here = services.under_way[plan.key] = UnderWay(body, session=session)
        if self.signals is not None:
            if self.signals.estimated:
                self._estimate(self.here, self.signals, clusters[0], ask.model)
            # they hold the body, and nobody asks for more
            self.signals = None
        learn.departed(services, self.here, clusters[0])
        if self.collect and isinstance(body, dict):
            self.input_messages = body.get("messages")
        deadline = model.timeouts.deadline
        self.per_try = plan.first_token if plan.stream and not plan.complete and not plan.path else plan.unary
        if len(set(clusters)) > 1 and self.per_try >= deadline:
            # an attempt that may take all the time there is would leave none for the next target
            self.per_try = deadline / 2
        headers = [
            ("x-llm-route", "once" if plan.path else "whole" if plan.whole else "stream"),
            ("x-envoy-max-retries", str(plan.total - 1)),
            ("x-envoy-upstream-rq-per-try-timeout-ms", str(int((self.per_try + PER_TRY_GRACE) * 1000))),
        ]
        if plan.whole:
            # would cut a flowing stream, so only where nothing flows before the answer is whole
            headers.append(("x-envoy-upstream-rq-timeout-ms", str(int((deadline + DEADLINE_GRACE) * 1000))))
        self.state = State.SENT
        said = {"plan": plan.dumps(), "priority_groups": groups(clusters), "model": ask.model, "request_id": self.record.request_id}
        said.update((name, value) for name, value in self.who.items() if name in TOLD)
        return [Continue(kind, set=headers, clear_route_cache=True, metadata={NAMESPACE: said}), Arm(DEADLINE, deadline)]

    def _estimate(self, here: UnderWay, signals: RequestSignals, cluster: str, asked: str) -> None:
        """The tokens of the prompt as the first target counts them, to be compared with what it says. The signal's are those of the first in the
        file."""
        target = self.registry.cluster_target(cluster)
        assert target is not None
        here.family = learn.counts_as(target, asked)
        here.estimated = signals.estimated if here.family == signals.family else estimate(signals.prompt, here.family)

    def _planned(self, model: Model, ask: Ask, clusters: list[str]) -> Plan:
        services, times = self.services, model.timeouts
        first = self.registry.cluster_target(clusters[0])
        self.span, context = services.start_span(self.headers, ask.model, self.record.stream, first, self.record.operation)
        self.collect = self.span is not None and self.span.wants_content
        self.plan = Plan(
            model=model.name,
            asked=ask.model,
            dialect=self.client.name,
            stream=ask.stream,
            complete=model.commit is Commit.COMPLETE,
            total=model.attempts.total,
            same=model.attempts.same_target,
            wait=model.attempts.wait_at_most,
            first_token=times.first_token,
            stall=times.stall,
            unary=times.unary_attempt,
            deadline_at=services.wall() + times.deadline,
            digest=self.registry.digest,
            rid=self.record.request_id,
            key=services.new_id(),
            span=context,
            query=ask.query,
            headers=dict(ask.headers),
            form=ask.form,
            path=ask.path,
            refers=self.refers,
        )
        return self.plan

    def _own_answer(self, asked: Asked, raw: bytes) -> list[Action]:
        """What needs no provider."""
        assert asked.own is not None
        tenant = filters.tenant_of(self.who, self.registry)
        body = own.answer(asked, self.registry, int(self.services.wall()), bodies.read(raw, {}) if raw else None, tenant)
        self.state = State.DONE
        self.end(Outcome.OK, 200)
        return [Immediate(200, [answers.JSON_TYPE], body, f"llm_{asked.own.value}"), Finish()]

    def _refuse(self, error: ApiError) -> list[Action]:
        """Our own no, before any provider saw the request."""
        self.state = State.DONE
        client_fault = error.kind not in (ErrorKind.UNPROCESSABLE, ErrorKind.RATE_LIMITED, ErrorKind.UNAVAILABLE)
        answer = answers.immediate(self.client, error, f"llm_{error.kind.value}")
        if self.span is None:
            # names of spans stay few: one that the registry does not know is not among them
            known = self.record.model if self.record.registry else ""
            self.span, _ = self.services.start_span(self.headers, known, self.record.stream, None, self.record.operation)
        self.end(Outcome.CLIENT_ERROR if client_fault else Outcome.REFUSED, answer.status, error)
        return [Arm(DEADLINE, None), answer, Finish()]

    def on_deadline(self, event: Tick) -> list[Action]:  # noqa: ARG002
        """No answer began in time. The attempt under way is Envoy's to drop when the client has its 504."""
        if self.here is not None:
            self.notes = [self.here.notes[n] for n in sorted(self.here.notes)]
            # what was still under way was silent until now
            answers.settle(self.notes[:-1], self.per_try, self.services.wall())
            answers.settle(self.notes[-1:], 0.0, self.services.wall())
        error = answers.deadline_passed(self.notes, expose=self.services.options.expose)
        self.state = State.DONE
        answer = answers.immediate(self.client, error, "llm_deadline")
        self.end(Outcome.DEADLINE, answer.status, error)
        return [answer, Finish()]

    def on_closed(self, event: Closed) -> list[Action]:  # noqa: ARG002
        if not self.record.ended_ns:
            if self.pipe is not None:
                self.saw(self.pipe.seen)
            # an answer was flowing, or one that passed had not come this far: who broke it off only Envoy's access log can tell
            passed = self.here is not None and any(note.verdict == "pass" for note in self.here.notes.values())
            self.in_doubt = self.record.status != 0 or passed
            if self.here is not None and not self.notes:
                self.notes = [self.here.notes[n] for n in sorted(self.here.notes)]
            self.end(Outcome.CUT if self.record.status else Outcome.CLIENT_GONE, self.record.status)
        if self.plan is not None:
            self.services.under_way.pop(self.plan.key, None)
        self.state = State.CLOSED
        return []

    def broken_by(self, outcome: Outcome, status: int) -> None:
        """The access log's word on an end in doubt; `status` is what the client got."""
        record = self.record
        if outcome is Outcome.CLIENT_GONE:
            # some clients leave as soon as they have read an answer's last event, and were served
            whole = self.pipe is not None and self.pipe.seen.ended and self.pipe.seen.error is None and record.finish != ""
            record.outcome = Outcome.OK if whole else outcome
        elif status >= 400:
            # nothing of the answer was on its way yet: Envoy has said so itself
            record.outcome, record.status, record.error_type = Outcome.EXHAUSTED, status, kind_of_status(status).value
        else:
            record.outcome, record.status = outcome, status or record.status

    @property
    def passing(self) -> bool:
        """Does the answer only pass through? Then the call may end without harm: the rest flows natively, unseen."""
        return self.state is State.STREAMING and self.pipe is not None and self.pipe.passes
