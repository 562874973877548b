"""One request's state and its books: what the route stage and the return stage share."""

from __future__ import annotations

from typing import Any

from extproc.core.dialect import Dialect, Wishes
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.exchange import Exchange
from extproc.core.ir import JSON, Loss, Response
from extproc.core.operation import Operation
from extproc.core.plan import AttemptNote, Plan
from extproc.core.usage import Usage, cost_usd
from extproc.registry.types import Registry, Target
from extproc.routing.decision import Decision
from extproc.routing.limits import Admitted
from extproc.routing.signals import RequestSignals
from extproc.stages import learn, operations
from extproc.stages.content_encoding import Unpacker
from extproc.stages.pipes import Pipe, Seen
from extproc.stages.rename import Renamer
from extproc.stages.services import Services, UnderWay
from extproc.stages.upstream import via_of
from extproc.telemetry.record import AttemptRecord, Outcome, RequestRecord

DEADLINE, STALL = "deadline", "stall"
"""The two timers of a request."""


class RequestExchange(Exchange):
    """`record` fills up on the way and is complete when the call has ended; `span` is the chat span's handle for telemetry.

    `client` is the caller's dialect, `notes` the attempts as far as they are known, `winner` the target that answered, `per_try` the seconds that one
    silent attempt may take, `in_doubt` that only Envoy's access log can tell who broke the answer off, `unpack` and `renamer` what must happen to the
    answer's bytes, `here` the shortcut for attempts in this process.
    `collect`: telemetry wants `input_messages` and `answer`. `decision` and `admitted` are None for a request that no model serves (our own answers,
    what is passed on); `signals` are there until it is sent.
    """

    __slots__ = (
        "admitted",
        "answer",
        "client",
        "collect",
        "decision",
        "here",
        "in_doubt",
        "input_messages",
        "last_piece",
        "notes",
        "per_try",
        "pipe",
        "plan",
        "record",
        "registry",
        "renamer",
        "services",
        "signals",
        "span",
        "started",
        "unpack",
        "winner",
        "wishes",
    )

    def __init__(self, services: Services) -> None:
        super().__init__()
        self.services = services
        self.registry: Registry = services.snapshots.current
        self.started = services.monotonic()
        self.last_piece = self.started
        self.client: Dialect = services.dialects[operations.OPENAI]
        self.wishes = Wishes()
        self.collect = False
        self.input_messages: JSON = None
        self.answer: Response | None = None
        self.notes: list[AttemptNote] = []
        self.winner: Target | None = None
        self.pipe: Pipe | None = None
        self.unpack: Unpacker | None = None
        self.renamer: Renamer | None = None
        self.here: UnderWay | None = None
        self.in_doubt = False
        self.per_try = 0.0
        self.plan: Plan | None = None
        self.decision: Decision | None = None
        self.admitted: Admitted | None = None
        self.signals: RequestSignals | None = None
        self.span: Any = None
        self.record = RequestRecord("", Outcome.CLIENT_GONE, 0, 0.0)

    def elapsed_ms(self) -> float:
        return (self.services.monotonic() - self.started) * 1000

    def asked_model(self) -> str:
        """The provider's name of the winner's model."""
        winner = self.winner
        if winner is None:
            return ""
        return winner.model if winner.model != "*" or self.plan is None else self.plan.asked

    def exposed(self) -> list[tuple[str, str]]:
        """The headers that tell a client who served it."""
        options = self.services.options
        headers: list[tuple[str, str]] = []
        if options.expose and self.notes:
            headers.append(("x-llm-attempts", str(self.notes[-1].n)))
            if self.winner is not None:
                headers.append(("x-llm-target", self.winner.name))
        if options.expose_losses and self.record.losses:
            headers.append(("x-llm-losses", ",".join(self.record.losses)))
        return headers

    def lost(self, losses: list[Loss]) -> None:
        """Add what a translation could not carry."""
        if losses:
            self.record.losses = sorted({*self.record.losses, *(loss.code for loss in losses)})

    def saw(self, seen: Seen) -> None:
        """Take over what the answer said about itself."""
        record = self.record
        record.usage, record.finish = seen.usage, seen.finish
        record.response_id, record.response_model = seen.response_id, seen.response_model
        self.lost(seen.losses)
        if self.collect:
            self.answer = seen.response

    def end(self, outcome: Outcome, status: int, error: ApiError | None = None) -> None:
        """Close the books, once: the first end is the true one. `status` is what the client got, 0 for nothing."""
        record = self.record
        if record.ended_ns:
            return
        record.ended_ns = int(self.services.wall() * 1e9)
        record.total_ms = self.elapsed_ms()
        record.outcome, record.status = outcome, status
        if error is not None:
            record.error_type = error.kind.value
        record.attempts = [self._attempt(note) for note in self.notes]
        if self.winner is not None:
            self._served(self.winner)
        learn.over(self)

    def _served(self, winner: Target) -> None:
        record = self.record
        record.target, record.target_model = winner.name, self.asked_model()
        record.provider = winner.provider.kind.otel_name
        via = via_of(winner, self.client)
        record.upstream_dialect = via.name if via is not None else ""
        record.server_address, record.server_port = winner.provider.host, winner.provider.port
        record.cost_usd = self.cost(record.usage)

    def cost(self, usage: Usage | None) -> float | None:
        """US dollars that the winner's answer cost; None where nobody knows, or counts tokens only."""
        winner = self.winner
        if winner is None or usage is None or self.client.operation is Operation.COUNT_TOKENS:
            return None
        price = self.services.facts(winner, self.asked_model())[1]
        return None if price is None else cost_usd(usage, price)

    def _attempt(self, note: AttemptNote) -> AttemptRecord:
        target = self.registry.cluster_target(note.cluster)
        error = note.kind or (None if note.verdict == "pass" else ErrorKind.TIMEOUT.value)
        ms = (note.ended - note.started) * 1000 if note.ended else None
        return AttemptRecord(note.cluster, note.status, note.verdict, error, ms, target.provider.kind.otel_name if target else "")
