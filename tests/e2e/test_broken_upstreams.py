"""Providers that do not keep to their format, in every format and to the SDK of every dialect: what is sound in spite of its form is heard whole, and
everything else is a failure that the SDK raises, never an answer that looks finished."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e import spoken
from tests.e2e.caller import Heard, Question
from tests.e2e.callers import CALLERS
from tests.e2e.replay_stack import Replaying, running_replaying
from tests.e2e.replay_upstream import End, Take
from tests.e2e.spoken import SSE, Spoken

HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>"
NAMES = list(CALLERS)
SAYS = {s.dialect: s for s in spoken.ALL}


@pytest.fixture(scope="module")
def replaying() -> Iterator[Replaying]:
    with running_replaying() as stage:
        yield stage


def askers(provider: Spoken, case: str, others: int = 2) -> list[str]:
    """The SDK of the provider's dialect, and others in turn, so that every case meets all of them."""
    [own] = [name for name, caller in CALLERS.items() if caller.dialect == provider.dialect]
    rest = [name for name in NAMES if name != own]
    place = list(SAYS).index(provider.dialect) + sum(case.encode())
    return [own, *(rest[(place + n) % len(rest)] for n in range(others))]


def ask(stage: Replaying, provider: Spoken, name: str, take: Take, *, stream: bool) -> tuple[Heard | Exception, dict[str, Any]]:
    """(what the SDK heard or raised, the log line)."""
    request_id = str(uuid.uuid4())
    question = Question(stage.upstream.play("broken", take), stream=stream)
    try:
        said: Heard | Exception = stage.callers[name].ask(provider.model, question, request_id)
    except Exception as error:
        said = error
    return said, stage.stack.lines.of(request_id)


# sound in spite of its form


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    """`change` of the lines of each event."""
    return lambda stream: b"".join(b"\n".join(change(event.split(b"\n"))) + b"\n\n" for event in stream.rstrip(b"\n").split(b"\n\n"))


def broken_over_lines(event: list[bytes]) -> list[bytes]:
    """Each JSON value over several `data:` lines, cut between two members."""
    return [part for line in event for part in (line.replace(b',"', b',\ndata: "').split(b"\n") if line.startswith(b"data: {") else [line])]


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "CRLF": lambda stream: stream.replace(b"\n", b"\r\n"),
    "CR": lambda stream: stream.replace(b"\n", b"\r"),
    "comments": lines(lambda event: [b": keep-alive", *event, b":"]),
    "fields that nobody knows": lines(lambda event: [b"id: 7", b"retry: 100", b"nonsense", *event]),
    "no space behind the colon": lambda stream: stream.replace(b"data: ", b"data:").replace(b"event: ", b"event:"),
    "data over several lines": lines(broken_over_lines),
    "a byte order mark": lambda stream: b"\xef\xbb\xbf" + stream,
    "blank lines before and between": lambda stream: b"\n\n" + stream.replace(b"\n\n", b"\n\n\n\n"),
    "no blank line at the end": lambda stream: stream.rstrip(b"\n"),
    "events that nobody knows": lambda stream: stream.replace(b"\n\n", b'\n\nevent: ping\ndata: {"type": "ping"}\n\n', 1),
}
FORMS_OF_ALL = ("text/plain", "application/octet-stream", "", "a length")
"""Content types that are wrong, and a body that says how long it is."""


UNNAMED = ("openai_chat", "gemini")
"""Formats whose events have no names: whatever comes is a chunk."""


@pytest.mark.parametrize(
    ("dialect", "form"),
    [
        (s.dialect, form)
        for s in spoken.ALL
        if s.content_type == SSE
        for form in FORMS
        if s.dialect not in UNNAMED or form != "events that nobody knows"
    ],
)
def test_sound_events(replaying: Replaying, dialect: str, form: str) -> None:
    """The SDK of the same dialect gets the bytes as they are: what it cannot read, it cannot read without us either."""
    provider = SAYS[dialect]
    sound = Take(FORMS[form](provider.stream), content_type=SSE)
    own, *others = askers(provider, form)
    for name in others:
        said, line = ask(replaying, provider, name, sound, stream=True)
        assert isinstance(said, Heard), f"{name}: {said!r}"
        assert (said.text, said.finish, said.usage) == (spoken.TEXT, "stop", spoken.USAGE), name
        assert line["outcome"] == "ok"
    said, line = ask(replaying, provider, own, sound, stream=True)
    assert line["outcome"] == "ok"
    if isinstance(said, Heard):
        assert (said.text, said.finish, said.usage) == (spoken.TEXT, "stop", spoken.USAGE)
    else:
        with pytest.raises(type(said)):
            replaying.direct[own].ask(provider.model, Question(replaying.upstream.play("direct", sound), stream=True), "")


@pytest.mark.parametrize("form", FORMS_OF_ALL)
@pytest.mark.parametrize("dialect", SAYS)
def test_sound_but_for_its_headers(replaying: Replaying, dialect: str, form: str, stream: bool) -> None:
    provider = SAYS[dialect]
    body = provider.stream if stream else provider.whole
    right = provider.content_type if stream else "application/json"
    take = Take(body, content_type=right, length=len(body)) if form == "a length" else Take(body, content_type=form)
    for name in askers(provider, form):
        said, line = ask(replaying, provider, name, take, stream=stream)
        assert isinstance(said, Heard), f"{name}: {said!r}"
        assert (said.text, said.finish, said.usage) == (spoken.TEXT, "stop", spoken.USAGE), name
        assert line["outcome"] == "ok"


# never an answer


@dataclass(frozen=True)
class Case:
    """`take` makes the answer of a provider's words. `begun`: the client has its beginning before it fails, else it gets an error of `kind` ("": the
    kind that the provider's words have). `cut`: the connection breaks, else the failure is said inside of the stream."""

    take: Callable[[Spoken], Take]
    stream: bool = True
    begun: bool = False
    cut: bool = False
    kind: str = "upstream"


def _take(provider: Spoken, *parts: bytes, **more: Any) -> Take:
    return Take(b"".join(parts), content_type=provider.content_type, **more)


def _begun(provider: Spoken) -> bytes:
    return b"".join((*provider.start, *provider.content))


PAUSE = 0.03
"""Seconds in which what was said reaches the client."""
PAGE = "text/html; charset=utf-8"
CASES: dict[str, Case] = {
    "a page with 200": Case(lambda p: Take(HTML, content_type=PAGE)),
    "a page with 200, whole": Case(lambda p: Take(HTML, content_type=PAGE), stream=False),
    "a page with 502": Case(lambda p: Take(HTML, 502, PAGE)),
    "a page that calls itself a stream": Case(lambda p: Take(HTML, content_type=p.content_type)),
    "an error with 200": Case(lambda p: Take(p.refuses), kind=""),
    "an error with 200, whole": Case(lambda p: Take(p.refuses), stream=False, kind=""),
    "an error that calls itself a stream": Case(lambda p: Take(p.refuses, content_type=p.content_type), kind="?"),
    "nothing": Case(lambda p: Take(b"", content_type=p.content_type)),
    "nothing, whole": Case(lambda p: Take(b""), stream=False),
    "null, whole": Case(lambda p: Take(b"null"), stream=False),
    "half of an answer, whole": Case(lambda p: Take(p.whole[:-20]), stream=False),
    "a length that is too short, whole": Case(lambda p: Take(p.whole, length=len(p.whole) - 20), stream=False),
    "only a beginning": Case(lambda p: _take(p, *p.start)),
    "an error as the first event": Case(lambda p: _take(p, *p.start, p.fails), kind=""),
    "an error in the middle": Case(lambda p: _take(p, *p.start, p.content[0], p.fails, p.content[1], *p.end), begun=True),
    "an end without a finish": Case(lambda p: _take(p, _begun(p)), begun=True),
    "an end inside of an event": Case(lambda p: _take(p, _begun(p), b"".join(p.end)[:25]), begun=True),
    "a length that is too short": Case(lambda p: _take(p, p.stream, length=len(_begun(p))), begun=True),
    "a length that is too long": Case(lambda p: _take(p, _begun(p), length=len(p.stream), end=End.CLOSE, pause=PAUSE), begun=True, cut=True),
    "closed in the middle": Case(lambda p: _take(p, _begun(p), end=End.CLOSE, pause=PAUSE), begun=True, cut=True),
    "reset in the middle": Case(lambda p: _take(p, _begun(p), end=End.RESET, pause=PAUSE), begun=True, cut=True),
}

STATUS = {"upstream": 502, "overloaded": 503, "unavailable": 503, "rate_limited": 429}
OWN_STATUS = {("anthropic", "overloaded"): 529, ("boto3", "upstream"): 424}
RAISED: dict[str, dict[int, str]] = {
    "openai": {429: "RateLimitError", 502: "InternalServerError", 503: "InternalServerError"},
    "openai-responses": {429: "RateLimitError", 502: "InternalServerError", 503: "InternalServerError"},
    "anthropic": {429: "RateLimitError", 502: "InternalServerError", 503: "ServiceUnavailableError", 529: "OverloadedError"},
    "google-genai": {429: "ClientError", 502: "ServerError", 503: "ServerError"},
    "boto3": {424: "ModelErrorException", 429: "ThrottlingException", 503: "ServiceUnavailableException"},
    "cohere": {429: "TooManyRequestsError", 502: "ApiError", 503: "ServiceUnavailableError"},
    "ollama": dict.fromkeys((429, 502, 503), "ResponseError"),
}
"""What each SDK makes of an error's status."""
RAISED_IN_STREAM: dict[str, tuple[str, ...]] = {
    "openai": ("APIError",),
    # it hands `response.failed` on as an event, and so does Cohere's with the word that ends the last one
    "openai-responses": ("APIError", "UnfinishedError"),
    "anthropic": ("APIStatusError",),
    "google-genai": ("ServerError", "ClientError"),
    "boto3": ("EventStreamError",),
    "cohere": ("UnfinishedError",),
    "ollama": ("ResponseError",),
}
"""What each SDK makes of a failure that a stream under way holds."""
RAISED_BY_A_PART = {
    **dict.fromkeys(("openai", "openai-responses", "anthropic", "ollama"), ("JSONDecodeError",)),
    "google-genai": ("UnknownApiResponseError",),
    "boto3": ("ProtocolError", "ClientError"),
    "cohere": (),
}
"""What else each SDK makes of a part of an event, which its own dialect hands on as it came."""
RAISED_BY_A_CUT = {
    "openai": "APIConnectionError",
    "openai-responses": "APIConnectionError",
    "anthropic": "RemoteProtocolError",
    "google-genai": "RemoteProtocolError",
    "boto3": "ProtocolError",
    "cohere": "RemoteProtocolError",
    "ollama": "RemoteProtocolError",
}
"""What each SDK makes of a connection that breaks."""


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dialect", SAYS)
def test_never_an_answer(replaying: Replaying, dialect: str, case: str) -> None:
    provider, want = SAYS[dialect], CASES[case]
    for name in askers(provider, case):
        said, line = ask(replaying, provider, name, want.take(provider), stream=want.stream)
        assert isinstance(said, Exception), f"{name} took it for an answer: {said}"
        raised = type(said).__name__
        if want.cut:
            assert raised == RAISED_BY_A_CUT[name], f"{name}: {said!r}"
        elif want.begun:
            own = replaying.callers[name].dialect == dialect
            assert raised in (*RAISED_IN_STREAM[name], *(RAISED_BY_A_PART[name] if own else ())), f"{name}: {said!r}"
        if want.begun:
            assert (line["outcome"], line["status"]) == ("cut", 200)
            assert "finish" not in line
            continue
        kinds = {provider.kind} if not want.kind else {provider.kind, "upstream"} if want.kind == "?" else {want.kind}
        assert line["error_type"] in kinds, f"{name}: {said!r}"
        status = OWN_STATUS.get((name, line["error_type"])) or STATUS[line["error_type"]]
        assert (replaying.callers[name].status(said), raised) == (status, RAISED[name][status]), f"{name}: {said!r}"
        assert (line["outcome"], line["status"]) == ("exhausted", status)


@pytest.mark.parametrize("dialect", SAYS)
def test_a_whole_answer_that_breaks_off(replaying: Replaying, dialect: str) -> None:
    """Another dialect's answer is held until it is whole, so nothing of it is on its way: Envoy says so itself, and the books know what it said."""
    provider = SAYS[dialect]
    take = Take(provider.whole, length=len(provider.whole) + 50, end=End.CLOSE, pause=PAUSE)
    for name in askers(provider, "breaks off")[1:]:
        said, line = ask(replaying, provider, name, take, stream=False)
        assert isinstance(said, replaying.callers[name].errors), f"{name}: {said!r}"
        assert replaying.callers[name].status(said) == 502
        assert (line["outcome"], line["status"], line["error_type"]) == ("exhausted", 502, "upstream")
