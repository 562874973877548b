"""The route stage and the return stage: the listener's side of one request, from the client's bytes to the client's bytes.

Route: parse once, find the model, choose the chain, write the plan. Return: the winner is known from `xds.cluster_name`; the same dialect
passes byte for byte and is only watched, another dialect is translated, errors are said in the client's envelope.

What a client gets after headers went out can no longer be an error status. A stream that the provider cuts is therefore never given
a clean end: it ends in the dialect's error event, or the call is aborted and Envoy resets the client's stream.
"""

from __future__ import annotations

from typing import Any

from extproc.core import jsonedit
from extproc.core.dialect import Dialect, Reply, StreamDecoder, StreamEncoder, StreamObserver
from extproc.core.errors import STATUS, ApiError, ErrorKind, UntranslatableError
from extproc.core.exchange import (
    ROUTE,
    Abort,
    Action,
    Arm,
    BodyEvent,
    Closed,
    Continue,
    Exchange,
    Finish,
    HeadersEvent,
    Immediate,
    Kind,
    Mode,
    State,
    Tick,
)
from extproc.core.headers import RESPONSE_REMOVED, kept
from extproc.core.ir import Finish as FinishEvent
from extproc.core.ir import Loss, MessageStart, StreamError, UsageUpdate, is_content
from extproc.core.plan import NAMESPACE, AttemptNote, Plan, attempt_notes, groups
from extproc.core.usage import cost_usd
from extproc.core.verdict import ACTION
from extproc.core.verdict import Action as Verdict
from extproc.registry.types import Commit, Model, Registry, Target
from extproc.routing import chain as chains
from extproc.routing.health import Out
from extproc.stages import answers, operations
from extproc.stages.operations import Asked, Operation
from extproc.stages.replay import events_of
from extproc.stages.services import Services, UnderWay
from extproc.stages.upstream import encode
from extproc.telemetry.record import AttemptRecord, Outcome, RequestRecord

DEADLINE, STALL = "deadline", "stall"

OBSERVED_BODY = 4 << 20
"""Bytes of a unary same-dialect answer that are kept to read its usage from; a larger one goes through unread."""
PER_TRY_GRACE = 0.25
"""Seconds by which Envoy's own per-try limit is longer than ours: where both could act, the stage's verdict should."""
DEADLINE_GRACE = 1.0
"""Seconds by which Envoy's route time-out outlasts our deadline; it only acts if this process hangs."""


_KINDS = {kind.value: kind for kind in ErrorKind}


class RouteExchange(Exchange):
    """One request. `record` fills up on the way and is complete when the call has ended; `span` is the chat span's handle for telemetry."""

    table = ROUTE
    __slots__ = (
        "_asked",
        "_body",
        "_client",
        "_decoder",
        "_encoder",
        "_headers",
        "_here",
        "_include_usage",
        "_last_piece",
        "_model",
        "_notes",
        "_observer",
        "_per_try",
        "_registry",
        "_services",
        "_started",
        "_stream_answer",
        "_winner",
        "plan",
        "record",
        "span",
    )

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        self._registry: Registry = services.snapshots.current
        self._started = services.monotonic()
        self._last_piece = self._started
        self._headers: dict[str, str] = {}
        self._asked: Asked | None = None
        self._client: Dialect = services.dialects[operations.OPENAI]
        self._model: Model | None = None
        self._include_usage = True
        self._notes: list[AttemptNote] = []
        self._winner: Target | None = None
        self._observer: StreamObserver | None = None
        self._decoder: StreamDecoder | None = None
        self._encoder: StreamEncoder | None = None
        self._body: bytearray | None = None
        self._stream_answer = False
        self._here: UnderWay | None = None
        self._per_try = 0.0
        self.plan: Plan | None = None
        self.span: Any = None
        self.record = RequestRecord("", Outcome.CLIENT_GONE, 0, 0.0)

    # route stage

    def on_request_headers(self, event: HeadersEvent) -> list[Action]:
        headers = self._headers = event.headers
        record = self.record
        record.request_id = headers.get("x-request-id", "")
        method, path = headers.get(":method", ""), headers.get(":path", "/")
        self._client = self._services.dialects[operations.guess_dialect(path.partition("?")[0], headers)]
        record.client_dialect = self._client.name
        try:
            asked = self._asked = operations.find(method, path, headers)
            self._client = self._services.dialects[asked.dialect]
            record.client_dialect = asked.dialect
            if asked.operation is not Operation.CHAT:
                return self._own_answer(asked)
            self._check_headers(event)
        except ApiError as error:
            return self._refuse(error)
        self.state = State.BODY
        return [Continue(Kind.REQUEST_HEADERS)]

    def _check_headers(self, event: HeadersEvent) -> None:
        headers = event.headers
        if event.end:
            raise ApiError(ErrorKind.INVALID_REQUEST, "the request has no body; send a JSON object")
        encoding = headers.get("content-encoding", "identity").lower()
        if encoding not in ("", "identity"):
            raise ApiError(ErrorKind.UNSUPPORTED_MEDIA_TYPE, f"content-encoding {encoding[:40]} is not supported for requests; send plain JSON")
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._services.options.max_body:
            raise ApiError(ErrorKind.TOO_LARGE, f"the body is larger than the limit of {self._services.options.max_body} bytes")

    def on_request_body(self, event: BodyEvent) -> list[Action]:
        self.record.bytes_in = len(event.body)
        try:
            return self._route(event.body)
        except ApiError as error:
            return self._refuse(error)

    def _route(self, raw: bytes) -> list[Action]:
        services, client, asked = self._services, self._client, self._asked
        assert asked is not None
        body = jsonedit.load(raw)
        name, stream = operations.model_and_stream(body)
        model = self._model = self._registry.resolve(name)
        record = self.record
        record.model = name if model is not None else ""
        if model is None:
            raise operations.unknown_model(name)
        needs = client.needs(body)
        chain = chains.build(model, self._registry.targets, services.dialects, client, needs, services.health, services.random)
        clusters = chain.clusters
        if model.strict:
            clusters = self._lossless(raw, body, clusters, name)
        total = model.attempts.total
        times = model.timeouts
        self.span, context = services.start_span(self._headers, name, stream)
        plan = self.plan = Plan(
            model=model.name,
            asked=name,
            dialect=client.name,
            stream=stream,
            complete=model.commit is Commit.COMPLETE,
            total=total,
            same=model.attempts.same_target,
            wait=model.attempts.wait_at_most,
            first_token=times.first_token,
            stall=times.stall,
            unary=times.unary_attempt,
            deadline_at=services.wall() + times.deadline,
            digest=self._registry.digest,
            rid=record.request_id,
            key=services.new_id(),
            span=context,
            query=asked.query,
            headers=kept(self._headers),
        )
        self._here = services.under_way[plan.key] = UnderWay(body)
        record.stream, record.commit, record.registry = stream, model.commit.value, self._registry.digest
        self._include_usage = client.wants_usage(body)
        self._per_try = plan.first_token if stream and not plan.complete else plan.unary
        headers = [
            ("x-llm-route", "whole" if plan.whole else "stream"),
            ("x-envoy-max-retries", str(total - 1)),
            ("x-envoy-upstream-rq-per-try-timeout-ms", str(int((self._per_try + PER_TRY_GRACE) * 1000))),
        ]
        if plan.whole:
            # would cut a flowing stream, so only where nothing flows before the answer is whole
            headers.append(("x-envoy-upstream-rq-timeout-ms", str(int((times.deadline + DEADLINE_GRACE) * 1000))))
        self.state = State.SENT
        answer = Continue(
            Kind.REQUEST_BODY,
            set=headers,
            clear_route_cache=True,
            metadata={NAMESPACE: {"plan": plan.dumps(), "priority_groups": groups(clusters[:total]), "model": name}},
        )
        return [answer, Arm(DEADLINE, times.deadline)]

    def _lossless(self, raw: bytes, body: Any, clusters: list[str], name: str) -> list[str]:
        """`strict: true`: only the targets that carry the request without any loss."""
        good: list[str] = []
        lost: list[Loss] = []
        for cluster in clusters:
            target = self._registry.cluster_target(cluster)
            assert target is not None
            upstream = self._services.dialects[target.provider.kind.dialect]
            try:
                losses = encode(raw, body, self._client, upstream, target, name, kept(self._headers)).losses
            except UntranslatableError as error:
                lost.append(Loss("untranslatable", error.message))
                continue
            if losses:
                lost += losses
            else:
                good.append(cluster)
        if not good:
            codes = ", ".join(sorted({loss.code for loss in lost}))
            raise ApiError(ErrorKind.UNPROCESSABLE, f"this model is strict, and every target would lose something of this request: {codes}")
        return good

    def _own_answer(self, asked: Asked) -> list[Action]:
        """Operations that need no provider."""
        started = int(self._services.wall())
        headers = [answers.JSON_TYPE]
        if asked.operation is Operation.PROBE:
            body = b'{"service":"llm-extproc","models":"/v1/models"}'
        elif asked.operation is Operation.MODELS:
            body = answers.model_list(self._registry, asked.dialect, started)
        else:
            if self._registry.resolve(asked.argument) is None:
                raise operations.unknown_model(asked.argument)
            body = answers.one_model(asked.argument, asked.dialect, started)
        self.state = State.DONE
        self._ended(Outcome.OK, 200)
        return [Immediate(200, headers, body, f"llm_{asked.operation.value}"), Finish()]

    def _refuse(self, error: ApiError) -> list[Action]:
        """Our own no, before any provider saw the request."""
        self.state = State.DONE
        client_fault = error.kind not in (ErrorKind.UNPROCESSABLE, ErrorKind.RATE_LIMITED, ErrorKind.UNAVAILABLE)
        answer = answers.immediate(self._client, error, f"llm_{error.kind.value}")
        self._ended(Outcome.CLIENT_ERROR if client_fault else Outcome.REFUSED, answer.status, error)
        return [Arm(DEADLINE, None), answer, Finish()]

    def on_deadline(self, event: Tick) -> list[Action]:  # noqa: ARG002
        """No answer began in time. The attempt under way is Envoy's to drop when the client has its 504."""
        if self._here is not None:
            self._notes = [self._here.notes[n] for n in sorted(self._here.notes)]
            # what was still under way was silent until now
            answers.settle(self._notes[:-1], self._per_try, self._services.wall())
            answers.settle(self._notes[-1:], 0.0, self._services.wall())
        error = answers.deadline_passed(self._notes, expose=self._services.options.expose)
        self.state = State.DONE
        answer = answers.immediate(self._client, error, "llm_deadline")
        self._ended(Outcome.DEADLINE, answer.status, error)
        return [answer, Finish()]

    # the return stage

    def on_early_response(self, event: HeadersEvent) -> list[Action]:
        """Envoy answers before it could show us the body: too large, too slow, overloaded."""
        return self._local(event)

    def _local(self, event: HeadersEvent) -> list[Action]:
        """Envoy's own answer, put into the client's envelope. Its cause is in `x-llm-local` (RESPONSE_CODE_DETAILS)."""
        status = int(event.headers.get(":status", "503") or 503)
        details = event.headers.get("x-llm-local", "")
        error = _local_error(status, details)
        if self._notes:
            error = answers.for_client(error, self._notes, expose=self._services.options.expose)
        outcome = Outcome.CLIENT_ERROR if status in (408, 413) else Outcome.DEADLINE if details == "response_timeout" else Outcome.EXHAUSTED
        return self._replace(error, outcome)

    def _replace(self, error: ApiError, outcome: Outcome) -> list[Action]:
        """Drop what was going to the client and send `error` instead."""
        status, body = self._client.encode_error(error)
        answer = answers.immediate(self._client, error, "")
        self.state = State.DONE
        self._ended(outcome, status, error)
        headers = [(":status", str(status)), *answer.headers, *self._exposed(), ("content-length", str(len(body)))]
        keep = {name for name, _ in headers}
        return [
            Arm(DEADLINE, None),
            Continue(
                Kind.RESPONSE_HEADERS,
                set=headers,
                remove=[n for n in (*RESPONSE_REMOVED, "content-encoding", "transfer-encoding") if n not in keep],
                body=body,
                replace=True,
            ),
        ]

    def on_response_headers(self, event: HeadersEvent) -> list[Action]:
        self._notes = attempt_notes(event.metadata)
        answers.settle(self._notes, self._per_try, self._services.wall())
        if self._here is not None:
            # an answer has begun: no further attempt will need the body
            self._here.body = None
        if answers.FINAL in event.headers:
            return self._finally(event)
        if "x-llm-local" in event.headers:
            return self._local(event)
        plan = self.plan
        assert plan is not None
        cluster = str(event.attributes.get("xds.cluster_name", ""))
        target = self._winner = self._registry.cluster_target(cluster)
        note = self._notes[-1] if self._notes else None
        if target is None or note is None:
            error = ApiError(ErrorKind.INTERNAL, "the answer came from a cluster that no target of the registry has")
            return self._replace(error, Outcome.INTERNAL_ERROR)
        self._share_health()
        status = int(event.headers.get(":status", "0") or 0)
        upstream = self._services.dialects[target.provider.kind.dialect]
        record = self.record
        record.losses = list(note.losses)
        if note.verdict == "final" or status >= 400:
            return self._failure(note, status, upstream)
        record.status = status
        self.state = State.STREAMING
        self._last_piece = self._services.monotonic()
        same = upstream.name == self._client.name
        is_stream = event.headers.get("content-type", "").partition(";")[0].strip().lower() == upstream.stream_type
        self._stream_answer = plan.stream and is_stream
        remove = [n for n in RESPONSE_REMOVED if n in event.headers]
        answer = Continue(Kind.RESPONSE_HEADERS, set=self._exposed(), remove=remove, mode=Mode.STREAMED)
        actions: list[Action] = [Arm(DEADLINE, None), answer]
        if self._stream_answer:
            actions.append(Arm(STALL, plan.stall))
            if same:
                self._observer = upstream.stream_observer(hide_usage=not self._include_usage)
                if not self._include_usage:
                    remove.append("content-length")
            else:
                self._decoder = upstream.stream_decoder()
                self._encoder = self._client.stream_encoder(self._reply(target))
                remove.append("content-length")
                answer.set.append(("content-type", self._client.stream_type))
            return actions
        if same and not plan.stream:
            self._body = bytearray()
            return actions
        # the whole answer comes in one message and is replaced
        answer.mode = Mode.BUFFERED
        self.state = State.COLLECTING
        self._body = bytearray()
        return actions

    def _finally(self, event: HeadersEvent) -> list[Action]:
        """An attempt has given the last word itself. What it could not know, the other attempts, is added here."""
        details = event.headers[answers.FINAL]
        if details == "llm_exhausted":
            last = self._notes[-1].error() if self._notes else ApiError(ErrorKind.UNAVAILABLE, "no target could be tried")
            return self._replace(answers.for_client(last, self._notes, expose=self._services.options.expose), Outcome.EXHAUSTED)
        if details == "llm_deadline":
            return self._replace(answers.deadline_passed(self._notes, expose=self._services.options.expose), Outcome.DEADLINE)
        self.state = State.DONE
        status = int(event.headers.get(":status", "500") or 500)
        error = ApiError(_KINDS.get(details.removeprefix("llm_"), ErrorKind.INTERNAL), details)
        outcome = Outcome.INTERNAL_ERROR if status >= 500 else Outcome.REFUSED if status == STATUS[ErrorKind.UNPROCESSABLE] else Outcome.CLIENT_ERROR
        self._ended(outcome, status, error)
        remove = [n for n in RESPONSE_REMOVED if n in event.headers]
        return [Arm(DEADLINE, None), Continue(Kind.RESPONSE_HEADERS, set=self._exposed(), remove=remove)]

    def _failure(self, note: AttemptNote, status: int, upstream: Dialect) -> list[Action]:
        """The last word of the chain is an error."""
        error = note.error() if note.kind else ApiError(ErrorKind.UPSTREAM, f"the provider answered with status {status}")
        verdict = ACTION[error.kind]
        if verdict in (Verdict.STOP, Verdict.LARGER):
            if upstream.name == self._client.name and status >= 400:
                # the provider's own words in the client's own dialect: nothing to add
                self.state = State.DONE
                self._ended(Outcome.REJECTED, status, error)
                return [Arm(DEADLINE, None), Continue(Kind.RESPONSE_HEADERS, set=self._exposed(), remove=list(RESPONSE_REMOVED))]
            return self._replace(error, Outcome.REJECTED)
        return self._replace(answers.for_client(error, self._notes, expose=self._services.options.expose), Outcome.EXHAUSTED)

    def on_final_headers(self, event: HeadersEvent) -> list[Action]:
        """Headers after our own answer: Envoy shows the client's filters even what this filter said itself."""
        return [Continue(Kind.RESPONSE_HEADERS, remove=[n for n in RESPONSE_REMOVED if n in event.headers])]

    def on_late_body(self, event: BodyEvent) -> list[Action]:  # noqa: ARG002
        """A piece that was under way when the last answer went out; it passes as it is."""
        return [Continue(Kind.RESPONSE_BODY)]

    def on_response_piece(self, event: BodyEvent) -> list[Action]:
        self._last_piece = self._services.monotonic()
        if self._observer is not None:
            return self._observed(self._observer, event)
        if self._decoder is not None and self._encoder is not None:
            return self._translated(self._decoder, self._encoder, event)
        body = self._body
        self.record.bytes_out += len(event.body)
        if body is not None:
            body += event.body
            if len(body) > OBSERVED_BODY:
                self._body = body = None
        if event.end:
            self._unary_end(bytes(body) if body is not None else None)
        return [Continue(Kind.RESPONSE_BODY)]

    def _observed(self, observer: StreamObserver, event: BodyEvent) -> list[Action]:
        out = observer.feed(event.body)
        if event.end:
            out += observer.close()
        record = self.record
        if record.ttft_ms is None and observer.content:
            record.ttft_ms = self._elapsed_ms()
        actions: list[Action] = []
        if event.end:
            error = observer.error
            if error is None and observer.finish is None:
                error = ApiError(ErrorKind.UPSTREAM, "the provider's stream ended before it was complete")
                out += self._client.encode_stream_error(error)
            record.usage = observer.usage
            if observer.start is not None:
                record.response_id, record.response_model = observer.start.id, observer.start.model
            if observer.finish is not None:
                record.finish = observer.finish.reason.value
            self._stream_end(error)
            actions.append(Arm(STALL, None))
        record.bytes_out += len(out)
        # bytes compare in no time when they are the same object: what did not change is not sent back
        return [Continue(Kind.RESPONSE_BODY, body=None if out is event.body else out), *actions]

    def _translated(self, decoder: StreamDecoder, encoder: StreamEncoder, event: BodyEvent) -> list[Action]:
        events = decoder.feed(event.body)
        if event.end:
            events += decoder.close()
        record = self.record
        out: list[bytes] = []
        error: ApiError | None = None
        for item in events:
            if isinstance(item, StreamError):
                error = item.error
                out.append(self._client.encode_stream_error(error))
                break
            if record.ttft_ms is None and is_content(item):
                record.ttft_ms = self._elapsed_ms()
            if isinstance(item, UsageUpdate):
                record.usage = item.usage
            elif isinstance(item, FinishEvent):
                record.finish = item.reason.value
            elif isinstance(item, MessageStart):
                record.response_id, record.response_model = item.id, item.model
            out.append(encoder.encode(item))
        actions: list[Action] = []
        if error is None and event.end and not record.finish:
            error = ApiError(ErrorKind.UPSTREAM, "the provider's stream ended before it was complete")
            out.append(self._client.encode_stream_error(error))
        body = b"".join(out)
        record.bytes_out += len(body)
        if error is not None or event.end:
            self._note_losses([*decoder.losses, *encoder.losses])
            self._stream_end(error)
            actions.append(Arm(STALL, None))
            if error is not None:
                # the client's stream is over; whatever the provider still sends is dropped piece by piece
                self._decoder = self._encoder = None
                self._observer = _Silence()
                self.state = State.DONE if event.end else State.STREAMING
        return [Continue(Kind.RESPONSE_BODY, body=body), *actions]

    def on_response_body(self, event: BodyEvent) -> list[Action]:
        """The whole answer of another dialect, or a plain answer where the client asked for a stream."""
        plan, target = self.plan, self._winner
        assert plan is not None
        assert target is not None
        upstream = self._services.dialects[target.provider.kind.dialect]
        self.state = State.DONE
        record = self.record
        record.ttft_ms = None
        try:
            response = upstream.decode_response(event.body)
        except ApiError as error:
            return self._bad_body(answers.for_client(error, self._notes, expose=self._services.options.expose))
        losses: list[Loss] = list(response.losses)
        reply = self._reply(target)
        if plan.stream:
            encoder = self._client.stream_encoder(reply)
            body = b"".join(encoder.encode(item) for item in events_of(response))
            losses += encoder.losses
            content_type = self._client.stream_type
        else:
            body, more = self._client.encode_response(response, reply)
            losses += more
            content_type = "application/json"
        self._note_losses(losses)
        record.usage, record.finish = response.usage, response.finish.value
        record.response_id, record.response_model = response.id, response.model
        record.bytes_out = len(body)
        self._ended(Outcome.OK, record.status)
        headers = [("content-type", content_type), ("content-length", str(len(body)))]
        if self._services.options.expose_losses and record.losses:
            headers.append(("x-llm-losses", ",".join(record.losses)))
        return [Continue(Kind.RESPONSE_BODY, set=headers, body=body)]

    def _bad_body(self, error: ApiError) -> list[Action]:
        status, body = self._client.encode_error(error)
        self._ended(Outcome.UPSTREAM_ERROR, status, error)
        headers = [(":status", str(status)), answers.JSON_TYPE, ("content-length", str(len(body)))]
        return [Continue(Kind.RESPONSE_BODY, set=headers, body=body)]

    def on_response_trailers(self, event: HeadersEvent) -> list[Action]:  # noqa: ARG002
        return [Continue(Kind.RESPONSE_TRAILERS)]

    def on_stall(self, event: Tick) -> list[Action]:  # noqa: ARG002
        """The provider has gone silent in a flowing answer. Nothing can be added between two pieces, so the client's stream is broken off:
        its SDK sees a failure, not a finish."""
        plan = self.plan
        assert plan is not None
        silent = self._services.monotonic() - self._last_piece
        if silent < plan.stall:
            return [Arm(STALL, plan.stall - silent)]
        self.state = State.DONE
        self._ended(Outcome.STALLED, self.record.status, ApiError(ErrorKind.TIMEOUT, f"silent for {plan.stall:g} s in the middle of an answer"))
        return [Abort(f"the provider was silent for {plan.stall:g} s")]

    def on_closed(self, event: Closed) -> list[Action]:  # noqa: ARG002
        if not self.record.ended_ns:
            # headers went out: the client left or the provider cut, and only Envoy's access log can tell which
            self._ended(Outcome.CUT if self.record.status else Outcome.CLIENT_GONE, self.record.status)
        if self.plan is not None:
            self._services.under_way.pop(self.plan.key, None)
        self.state = State.CLOSED
        return []

    @property
    def passing(self) -> bool:
        """Does the answer only pass through? Then the call may end without harm: the rest flows natively, unseen."""
        return self.state is State.STREAMING and self._decoder is None and (self._observer is None or self._include_usage)

    def fail(self, outcome: Outcome, status: int, error: ApiError) -> None:
        """Close the books from outside: the edge's word on a bug or a shutdown."""
        self._ended(outcome, status, error)

    # books

    def _reply(self, target: Target) -> Reply:
        model = target.model if target.model != "*" else (self.plan.asked if self.plan else "")
        return Reply(self._services.new_id(), int(self._services.wall()), model, self._include_usage)

    def _exposed(self) -> list[tuple[str, str]]:
        if not self._services.options.expose or not self._notes:
            return []
        headers = [("x-llm-attempts", str(self._notes[-1].n))]
        if self._winner is not None:
            headers.append(("x-llm-target", self._winner.name))
        if self._services.options.expose_losses and self.record.losses:
            headers.append(("x-llm-losses", ",".join(self.record.losses)))
        return headers

    def _share_health(self) -> None:
        """What attempts in other processes learned about their targets."""
        for note in self._notes:
            if note.cool_down > 0:
                why = Out.KEY_REFUSED if note.action == Verdict.KEY.value else Out.LIMITED
                self._services.health.cool_down(note.cluster, note.cool_down - (self._services.wall() - note.ended), why)

    def _note_losses(self, losses: list[Loss]) -> None:
        self.record.losses = sorted({*self.record.losses, *(loss.code for loss in losses)})

    def _unary_end(self, body: bytes | None) -> None:
        record = self.record
        if body is not None and self._winner is not None:
            try:
                response = self._services.dialects[self._winner.provider.kind.dialect].decode_response(body)
            except ApiError as error:
                self._ended(Outcome.UPSTREAM_ERROR, record.status, error)
                return
            record.usage, record.finish = response.usage, response.finish.value
            record.response_id, record.response_model = response.id, response.model
        self._ended(Outcome.OK, record.status)

    def _stream_end(self, error: ApiError | None) -> None:
        self._ended(Outcome.OK if error is None else Outcome.CUT, self.record.status, error)

    def _elapsed_ms(self) -> float:
        return (self._services.monotonic() - self._started) * 1000

    def _ended(self, outcome: Outcome, status: int, error: ApiError | None = None) -> None:
        """Close the books, once: the first end is the true one."""
        record = self.record
        if record.ended_ns:
            return
        record.ended_ns = int(self._services.wall() * 1e9)
        record.total_ms = self._elapsed_ms()
        record.outcome, record.status = outcome, status
        if error is not None:
            record.error_type = error.kind.value
        for note in self._notes:
            target = self._registry.cluster_target(note.cluster)
            record.attempts.append(
                AttemptRecord(
                    note.cluster,
                    note.status,
                    note.verdict,
                    note.kind or (None if note.verdict == "pass" else ErrorKind.TIMEOUT.value),
                    (note.ended - note.started) * 1000 if note.ended else None,
                    target.provider.kind.otel_name if target else "",
                )
            )
        winner = self._winner
        if winner is not None:
            record.target, record.target_model = winner.name, winner.model
            record.provider = winner.provider.kind.otel_name
            record.upstream_dialect = winner.provider.kind.dialect
            record.server_address, record.server_port = winner.provider.host, winner.provider.port
            if record.usage is not None and winner.price is not None:
                record.cost_usd = cost_usd(record.usage, winner.price)


class _Silence:
    """Takes every further byte of a stream whose client has already been told that it failed."""

    start = usage = finish = None
    content = ended = False
    error = ApiError(ErrorKind.UPSTREAM, "the stream has already failed")

    def feed(self, data: bytes) -> bytes:  # noqa: ARG002
        return b""

    def close(self) -> bytes:
        return b""


def _local_error(status: int, details: str) -> ApiError:
    """Envoy's own answer as an error of ours."""
    match status:
        case 413:
            return ApiError(ErrorKind.TOO_LARGE, "the request is larger than this gateway accepts")
        case 408:
            return ApiError(ErrorKind.TIMEOUT, "the request did not arrive in time", status=408)
        case 504:
            return ApiError(ErrorKind.TIMEOUT, "no provider answered in time")
        case _:
            return ApiError(ErrorKind.UNAVAILABLE, f"no provider could be reached ({details or status})", retry_after=1.0)
