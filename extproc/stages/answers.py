"""What we say when something is wrong: refusals, used-up chains, passed deadlines; each in the caller's dialect.

`for_client` is the one place that decides how a provider's failure looks to the client. A provider that refuses the gateway's own key must
not look like the application's key being wrong, so such errors become 502.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from extproc.core.dialect import Dialect
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.exchange import Immediate
from extproc.core.plan import AttemptNote
from extproc.core.verdict import ACTION, Action, about_request

JSON_TYPE = ("content-type", "application/json")
FINAL = "x-llm-final"
"""Marks an attempt's own answer for the return stage, which must not take it for the provider's; its value is the answer's `details`."""


def immediate(client: Dialect, error: ApiError, details: str, *, final: bool = False) -> Immediate:
    """`error` as the whole answer, in the client's envelope."""
    headers = [JSON_TYPE]
    if error.kind is ErrorKind.METHOD_NOT_ALLOWED and error.param:
        # it belongs into a header and is no parameter of the request
        headers.append(("allow", error.param))
        error = ApiError(error.kind, error.message, code=error.code)
    status, body = client.encode_error(error)
    if error.retry_after is not None:
        headers.append(("retry-after", str(max(1, ceil(error.retry_after)))))
    if final:
        headers.append((FINAL, details))
    return Immediate(status, headers, body, details)


def _story(notes: Sequence[AttemptNote]) -> str:
    """One attempt after the other, for the error text."""
    parts = []
    for note in notes:
        what = f"{note.status} {note.kind}" if note.status and note.kind else note.kind or "no answer"
        parts.append(f"{note.n} {note.cluster}: {what}")
    return "; ".join(parts)


def for_client(error: ApiError, notes: Sequence[AttemptNote], *, expose: bool) -> ApiError:
    """The last error of a chain as the client should see it: its own kind where the client can act on it, with the attempts listed."""
    if about_request(error.kind):
        return error
    kind, message = error.kind, error.message
    if ACTION[kind] is Action.KEY and kind is not ErrorKind.QUOTA:
        kind, message = ErrorKind.UPSTREAM, f"the provider refused the gateway's own configuration ({error.kind.value}): {message}"
    elif kind is ErrorKind.INTERNAL:
        kind = ErrorKind.UPSTREAM
    story = _story(notes) if expose else ""
    if story:
        message = f"{message} [{len(notes)} attempt{'s' * (len(notes) != 1)}: {story}]"
    limited = bool(notes) and all(n.kind in (ErrorKind.RATE_LIMITED, ErrorKind.QUOTA) for n in notes)
    waits = [n.retry_after for n in notes if n.retry_after > 0]
    retry_after = min(waits) if limited and waits else error.retry_after
    return ApiError(kind, message, code=error.code, param=error.param, retry_after=retry_after)


def settle(notes: Sequence[AttemptNote], limit: float, now: float) -> None:
    """Say what became of attempts that no stage judged: Envoy ended them. As long as the limit (seconds) means silence, shorter a lost connection."""
    for i, note in enumerate(notes):
        if note.verdict:
            continue
        note.ended = notes[i + 1].started if i + 1 < len(notes) else now
        if note.ended - note.started >= limit * 0.9:
            note.fail(ApiError(ErrorKind.TIMEOUT, "the provider was silent for too long"))
        else:
            note.fail(ApiError(ErrorKind.UNAVAILABLE, "the provider could not be reached, or broke the connection before it answered"))


def deadline_passed(notes: Sequence[AttemptNote] = (), *, expose: bool = True) -> ApiError:
    """The deadline over the whole chain came before an answer."""
    return for_client(ApiError(ErrorKind.TIMEOUT, "no provider answered before the deadline of this model"), notes, expose=expose)
