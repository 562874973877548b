"""The return stage: what the client gets of the final response.

The winner is known from `xds.cluster_name`. Its own dialect passes byte for byte and is only watched; another dialect is translated; a failure
is said in the client's envelope. Envoy's own answers, and an attempt's last word, come by here too and must not be taken for the
provider's.

What a client gets after headers went out can no longer be an error status: a stream that the provider cuts or lets stall ends as a
failure that the SDK sees, never as a finish.
"""

from __future__ import annotations

from typing import Any

from extproc.core.dialect import Dialect, Reply
from extproc.core.errors import STATUS, ApiError, ErrorKind, UpstreamFormatError, kind_of_status
from extproc.core.exchange import Abort, Action, Arm, BodyEvent, Continue, Finish, HeadersEvent, Kind, Mode, State, Tick
from extproc.core.headers import RESPONSE_REMOVED, is_stream, media_type
from extproc.core.operation import ANY_MEDIA, Operation
from extproc.core.plan import AttemptNote, attempt_notes
from extproc.core.verdict import about_request
from extproc.registry.types import Target
from extproc.stages import answers, learn
from extproc.stages.content_encoding import encodings, unpacker
from extproc.stages.pipes import Prepared, Seen, TranslatedStream, Unread, WatchedBody, WatchedStream, translate_whole
from extproc.stages.rename import MEMBERS, Renamer
from extproc.stages.request import DEADLINE, STALL, RequestExchange
from extproc.stages.upstream import via_of
from extproc.stages.usage_metadata import usage_metadata
from extproc.telemetry.record import Outcome

_KINDS = {kind.value: kind for kind in ErrorKind}


class ReplyStage(RequestExchange):
    """The handlers of the response side."""

    __slots__ = ()

    def on_early_response(self, event: HeadersEvent) -> list[Action]:
        """Envoy answers before it could show us the body: too large, too slow, overloaded."""
        return self._local(event)

    def on_response_headers(self, event: HeadersEvent) -> list[Action]:
        self.notes = attempt_notes(event.metadata)
        answers.settle(self.notes, self.per_try, self.services.wall())
        learn.heard(self, event.headers.get("x-llm-local", ""))
        if self.here is not None:
            # an answer has begun: no further attempt will need the body
            self.here.body = None
        if answers.FINAL in event.headers:
            return self._finally(event)
        if "x-llm-local" in event.headers:
            return self._local(event)
        self.winner = self.registry.cluster_target(str(event.attributes.get("xds.cluster_name", "")))
        note = self.notes[-1] if self.notes else None
        if self.winner is None or note is None:
            error = ApiError(ErrorKind.INTERNAL, "the answer came from a cluster that no target of the registry has")
            return self._instead(error, Outcome.INTERNAL_ERROR)
        self.record.losses = list(note.losses)
        status = int(event.headers.get(":status", "0") or 0)
        if self.client.operation is Operation.PASSTHROUGH:
            self.record.status = status
            return self._passed_on(event, status)
        upstream = self._upstream(self.winner)
        if note.verdict != "pass" or status >= 400:
            return self._failure(note, event, status, upstream)
        self.record.status = status
        return self._answer(event, upstream)

    def _answer(self, event: HeadersEvent, upstream: Dialect) -> list[Action]:
        """A provider's answer begins: choose how its body travels."""
        plan = self.plan
        assert plan is not None
        self.last_piece = self.services.monotonic()
        form, client = plan.form, self.client
        same = upstream.name == client.name
        streams = plan.stream and is_stream(event.headers, upstream.stream_type, strict=upstream.operation in ANY_MEDIA)
        remove = [n for n in RESPONSE_REMOVED if n in event.headers]
        answer = Continue(Kind.RESPONSE_HEADERS, set=self.exposed(), remove=remove, mode=Mode.STREAMED)
        actions: list[Action] = [Arm(DEADLINE, None), answer]
        self.state = State.STREAMING
        self.unpack = unpacker(event.headers)
        if same and self.services.options.show_alias and client.name in MEMBERS:
            self.renamer = Renamer(client.name, plan.asked)
        if self.unpack is not None:
            remove += ["content-encoding", "content-length"]
        if streams:
            actions.append(Arm(STALL, plan.stall))
            content_type = client.answer_type(form, stream=True)
            other_type = not same or content_type != upstream.stream_type
            if same:
                observer = upstream.stream_observer(hide_usage=not self.wishes.usage, form=form)
                passes = self.wishes.usage and not other_type
                self.pipe = WatchedStream(client, observer, form=form, collect=self.collect, passes=passes)
            else:
                self.pipe = TranslatedStream(client, upstream, self._reply(), collect=self.collect)
            if other_type or media_type(event.headers) != content_type:
                answer.set.append(("content-type", content_type))
            # a usage chunk may go, an error event may come
            remove.append("content-length")
        elif same and self.renamer is None and (not plan.stream or upstream.operation is not Operation.CHAT):
            is_json = upstream.operation not in ANY_MEDIA or media_type(event.headers) == "application/json"
            self.pipe = WatchedBody(upstream) if is_json else Unread()
        else:
            # the whole answer comes in one message and is replaced
            answer.mode = Mode.BUFFERED
            self.state = State.COLLECTING
        if self.pipe is not None and (self.unpack is not None or self.renamer is not None):
            self.pipe = Prepared(self.pipe, self.unpack, self.renamer)
        return actions

    def _passed_on(self, event: HeadersEvent, status: int) -> list[Action]:
        """The answer to a request that was passed on as it is: untouched, whatever it is. It is watched for its end."""
        answer = Continue(Kind.RESPONSE_HEADERS, set=self.exposed(), remove=[n for n in RESPONSE_REMOVED if n in event.headers])
        if status >= 400:
            error = ApiError(kind_of_status(status), f"the provider answered with status {status}")
            self.end(Outcome.REJECTED if status < 500 else Outcome.UPSTREAM_ERROR, status, error)
        elif event.end:
            self.end(Outcome.OK, status)
        if event.end:
            self.state = State.DONE
        else:
            self.state, self.pipe, answer.mode = State.STREAMING, Unread(), Mode.STREAMED
        return [Arm(DEADLINE, None), answer]

    def on_response_piece(self, event: BodyEvent) -> list[Action]:
        pipe, record = self.pipe, self.record
        assert pipe is not None
        self.last_piece = self.services.monotonic()
        try:
            out = pipe.feed(event.body, event.end)
        except UpstreamFormatError as error:
            # a part of a body could pass for the whole: the client must see that it is none
            self.state = State.DONE
            self.end(Outcome.CUT, record.status, error)
            return [Abort(error.message)]
        record.bytes_out += len(out)
        seen = pipe.seen
        if record.ttft_ms is None and seen.content:
            record.ttft_ms = self.elapsed_ms()
        answer = Continue(Kind.RESPONSE_BODY, body=None if out is event.body else out)
        if event.end or seen.ended:
            # many clients leave with the last event, before the end of the body
            answer.metadata = self._took(seen)
        if not event.end and seen.error is None:
            return [answer]
        if event.end:
            self.saw(seen)
        self.end(Outcome.OK if seen.error is None else Outcome.CUT, record.status, seen.error)
        return [answer, Arm(STALL, None)]

    def on_response_body(self, event: BodyEvent) -> list[Action]:
        """The whole answer of another dialect, or a plain answer where the client asked for a stream."""
        plan, winner, record = self.plan, self.winner, self.record
        assert plan is not None
        assert winner is not None
        self.state = State.DONE
        upstream = self._upstream(winner)
        try:
            raw = event.body if self.unpack is None else self.unpack.feed(event.body, end=True)
            if upstream.name == self.client.name and not plan.stream:
                seen = Seen()
                seen.whole(upstream.decode_response(raw))
                body, content_type = raw if self.renamer is None else self.renamer.whole(raw), ""
            else:
                body, content_type, seen = translate_whole(raw, self.client, upstream, self._reply(), stream=plan.stream)
        except ApiError as failure:
            error = answers.for_client(failure, self.notes, expose=self.services.options.expose)
            status, body = self.client.encode_error(error)
            self.end(Outcome.UPSTREAM_ERROR, status, error)
            headers = [(":status", str(status)), answers.JSON_TYPE, ("content-length", str(len(body)))]
            return [Continue(Kind.RESPONSE_BODY, set=headers, body=body)]
        self.saw(seen)
        record.bytes_out = len(body)
        self.end(Outcome.OK, record.status)
        headers = [("content-length", str(len(body))), *self.exposed()]
        if content_type:
            headers.append(("content-type", content_type))
        return [Continue(Kind.RESPONSE_BODY, set=headers, body=body, metadata=self._took(seen))]

    def on_final_headers(self, event: HeadersEvent) -> list[Action]:
        """Headers after our own answer: Envoy shows the client's filters even what this filter said itself."""
        return [Continue(Kind.RESPONSE_HEADERS, remove=[n for n in RESPONSE_REMOVED if n in event.headers])]

    def on_late_body(self, event: BodyEvent) -> list[Action]:  # noqa: ARG002
        """A piece that was under way when the last answer went out; it passes as it is."""
        return [Continue(Kind.RESPONSE_BODY)]

    def on_response_trailers(self, event: HeadersEvent) -> list[Action]:  # noqa: ARG002
        """Where trailers follow (HTTP/2), no piece says that it is the last."""
        pipe, record = self.pipe, self.record
        if pipe is None or self.state is not State.STREAMING or record.ended_ns:
            return [Continue(Kind.RESPONSE_TRAILERS)]
        self.state = State.DONE
        left = pipe.feed(b"", True)
        self.saw(pipe.seen)
        self.end(Outcome.OK if pipe.seen.error is None else Outcome.CUT, record.status, pipe.seen.error)
        # what would still have to be said has no place in front of trailers
        if left:
            return [Arm(STALL, None), Abort("the provider's answer ended before it was complete")]
        return [Arm(STALL, None), Continue(Kind.RESPONSE_TRAILERS, metadata=self._took(pipe.seen))]

    def on_stall(self, event: Tick) -> list[Action]:  # noqa: ARG002
        """The provider has gone silent in a flowing answer. Nothing can be added between two pieces, so the client's stream is broken off."""
        plan = self.plan
        assert plan is not None
        silent = self.services.monotonic() - self.last_piece
        if silent < plan.stall:
            return [Arm(STALL, plan.stall - silent)]
        self.state = State.DONE
        if self.pipe is not None:
            self.saw(self.pipe.seen)
        self.end(Outcome.STALLED, self.record.status, ApiError(ErrorKind.TIMEOUT, f"silent for {plan.stall:g} s in the middle of an answer"))
        return [Abort(f"the provider was silent for {plan.stall:g} s")]

    # failures

    def _local(self, event: HeadersEvent) -> list[Action]:
        """Envoy's own answer, put into the client's envelope. Its cause is in `x-llm-local` (RESPONSE_CODE_DETAILS)."""
        status = int(event.headers.get(":status", "503") or 503)
        details = event.headers.get("x-llm-local", "")
        error = _local_error(status, details)
        if self.notes:
            error = answers.for_client(error, self.notes, expose=self.services.options.expose)
        outcome = Outcome.CLIENT_ERROR if status in (408, 413) else Outcome.DEADLINE if details == "response_timeout" else Outcome.EXHAUSTED
        return self._replace(error, outcome)

    def _finally(self, event: HeadersEvent) -> list[Action]:
        """An attempt has given the last word itself. What it could not know, the other attempts, is added here."""
        details, expose = event.headers[answers.FINAL], self.services.options.expose
        if details == "llm_exhausted":
            last = self.notes[-1].error() if self.notes else ApiError(ErrorKind.UNAVAILABLE, "no target could be tried")
            return self._replace(answers.for_client(last, self.notes, expose=expose), Outcome.EXHAUSTED)
        if details == "llm_deadline":
            return self._replace(answers.deadline_passed(self.notes, expose=expose), Outcome.DEADLINE)
        self.state = State.DONE
        status = int(event.headers.get(":status", "500") or 500)
        error = ApiError(_KINDS.get(details.removeprefix("llm_"), ErrorKind.INTERNAL), details)
        if status >= 500:
            outcome = Outcome.INTERNAL_ERROR
        elif self.notes:
            outcome = Outcome.REJECTED
        else:
            outcome = Outcome.REFUSED if status == STATUS[ErrorKind.UNPROCESSABLE] else Outcome.CLIENT_ERROR
        self.end(outcome, status, error)
        remove = [n for n in RESPONSE_REMOVED if n in event.headers]
        return [Arm(DEADLINE, None), Continue(Kind.RESPONSE_HEADERS, set=self.exposed(), remove=remove)]

    def _failure(self, note: AttemptNote, event: HeadersEvent, status: int, upstream: Dialect) -> list[Action]:
        """The last word of the chain is an error. Also one that should have been retried, where Envoy had no retry to spare."""
        error = note.error() if note.kind else ApiError(ErrorKind.UPSTREAM, f"the provider answered with status {status}")
        if not about_request(error.kind):
            return self._instead(answers.for_client(error, self.notes, expose=self.services.options.expose), Outcome.EXHAUSTED)
        if upstream is self.client and status >= 400 and media_type(event.headers) == "application/json":
            # the provider's own words in the client's own dialect: nothing to add
            self.end(Outcome.REJECTED, status, error)
            answer = Continue(Kind.RESPONSE_HEADERS, set=self.exposed(), remove=list(RESPONSE_REMOVED))
            self.state = State.DONE
            if encodings(event.headers) and not event.end:
                self.state, self.pipe, answer.mode = State.STREAMING, Prepared(Unread(), unpacker(event.headers), None), Mode.STREAMED
                answer.remove += ["content-encoding", "content-length"]
            return [Arm(DEADLINE, None), answer]
        return self._instead(error, Outcome.REJECTED)

    def _instead(self, error: ApiError, outcome: Outcome) -> list[Action]:
        """Send `error` and drop the provider's answer with its headers. At once: its body may be slow to end, or never end."""
        answer = answers.immediate(self.client, error, f"llm_{outcome.value}")
        answer.headers += self.exposed()
        self.state = State.DONE
        self.end(outcome, answer.status, error)
        return [Arm(DEADLINE, None), answer, Finish()]

    def _replace(self, error: ApiError, outcome: Outcome) -> list[Action]:
        """Say `error` in place of an answer that Envoy or an attempt gave itself, which is whole already."""
        answer = answers.immediate(self.client, error, "")
        self.state = State.DONE
        self.end(outcome, answer.status, error)
        headers = [(":status", str(answer.status)), *answer.headers, *self.exposed(), ("content-length", str(len(answer.body)))]
        names = {name for name, _ in headers}
        return [
            Arm(DEADLINE, None),
            Continue(
                Kind.RESPONSE_HEADERS,
                set=headers,
                remove=[n for n in (*RESPONSE_REMOVED, "content-encoding", "transfer-encoding") if n not in names],
                body=answer.body,
                replace=True,
            ),
        ]

    def _upstream(self, winner: Target) -> Dialect:
        """The dialect that `winner` answered in."""
        via = via_of(winner, self.client)
        assert via is not None
        return self.services.dialects[via.dialect]

    def _took(self, seen: Seen) -> dict[str, dict[str, Any]] | None:
        """What the answer took, for the filters around us. Counting tokens takes none."""
        if self.winner is None or self.client.operation is Operation.COUNT_TOKENS:
            return None
        return usage_metadata(seen.usage, self.cost(seen.usage), self.winner.name, self.record.model)

    def _reply(self) -> Reply:
        form = self.plan.form if self.plan is not None else ""
        wishes = self.wishes
        shown = self.plan.asked if self.plan is not None and self.services.options.show_alias else self.asked_model()
        return Reply(
            self.services.new_id(),
            int(self.services.wall()),
            shown,
            wishes.usage,
            wishes.functions,
            form,
            wishes.encodings,
            wishes.echo,
            wishes.tool_names,
        )


def _local_error(status: int, details: str) -> ApiError:
    """Envoy's own answer as an error of ours. What follows a brace in the details names internal addresses."""
    cause = details.partition("{")[0] or str(status)
    match status:
        case 413:
            return ApiError(ErrorKind.TOO_LARGE, "the request is larger than this gateway accepts")
        case 408:
            return ApiError(ErrorKind.TIMEOUT, "the request did not arrive in time", status=408)
        case 504:
            return ApiError(ErrorKind.TIMEOUT, "no provider answered in time")
        case _:
            if 400 <= status < 500:
                return ApiError(kind_of_status(status), f"the request was refused ({cause})", status=status)
            return ApiError(ErrorKind.UNAVAILABLE, f"no provider could be reached ({cause})", retry_after=1.0)
