"""How an answer goes over the wire, and how a fault spoils it on the way.

`script` turns an answer and a fault into what to send, when to wait and how to end; `perform` does it on a connection. The first is a pure
function, so that each fault can be read and tested as data.
"""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from extproc.simulator.faults import Fault, FaultKind
from extproc.simulator.http1 import LAST_CHUNK, Connection, chunk, response_head
from extproc.simulator.wire import Answer, Call, Headers, Rejected, Stamp, Wire

DEFAULT_AFTER = 2
"""Events before a fault in the middle of a stream, when it does not say."""
_FLUSH = 256 << 10


@dataclass(frozen=True, slots=True)
class Wait:
    """A pause in seconds; None lasts until the client goes away."""

    seconds: float | None


@dataclass(slots=True)
class Script:
    """`length` None is a chunked body. `whole` False: the connection is closed where the steps end, whatever was promised."""

    status: int
    headers: Headers
    length: int | None
    steps: list[bytes | Wait]
    whole: bool = True
    before: float = 0.0
    gzip: bool = False
    drip: float | None = None


def script(answer: Answer, fault: Fault | None, wire: Wire, stamp: Stamp, call: Call | None, pause: float) -> Script:
    """What to send for `answer` under `fault`. `pause` is the time in seconds between the tokens of a stream."""
    out = _stream(answer, fault, wire, stamp, call, pause) if answer.stream is not None else _unary(answer, fault)
    if fault is None:
        return out
    match fault.kind:
        case FaultKind.HEADERS_THEN_SILENCE:
            out.steps.insert(0, Wait(fault.seconds or None))
        case FaultKind.SLOW_HEADERS:
            out.before = fault.seconds
        case FaultKind.WRONG_CONTENT_TYPE:
            out.headers = _typed(out.headers, "text/plain; charset=utf-8")
        case FaultKind.GZIP:
            out.gzip = True
            out.headers = [*out.headers, ("content-encoding", "gzip")]
        case FaultKind.DRIP:
            out.drip = fault.seconds
    return out


def _typed(headers: Headers, content_type: str) -> Headers:
    return [("content-type", content_type), *((k, v) for k, v in headers if k != "content-type")]


def _unary(answer: Answer, fault: Fault | None) -> Script:
    body = answer.body
    half = body[: len(body) // 2]
    out = Script(answer.status, answer.headers, len(body), [body])
    match fault.kind if fault else None:
        case FaultKind.CUT | FaultKind.TRUNCATED:
            out.steps, out.whole = [half], False
        case FaultKind.END_EARLY | FaultKind.MALFORMED:
            out.steps, out.length = [half], len(half)
        case FaultKind.STALL if fault:
            out.steps = [half, Wait(fault.seconds or None), body[len(half) :]]
        case FaultKind.SLOW_FIRST_TOKEN if fault:
            out.before = fault.seconds
    return out


def _stream(answer: Answer, fault: Fault | None, wire: Wire, stamp: Stamp, call: Call | None, pause: float) -> Script:
    stream = answer.stream
    assert stream is not None
    frames = stream.frames
    steps: list[bytes | Wait] = list(frames)
    whole = True
    array = call is not None and call.array
    if fault is not None:
        after = min(DEFAULT_AFTER if fault.after is None else fault.after, len(frames))
        match fault.kind:
            case FaultKind.CUT:
                steps, whole = list(frames[:after]), False
            case FaultKind.TRUNCATED:
                middle = len(frames) // 2
                steps, whole = [*frames[:middle], frames[middle][: len(frames[middle]) // 2]], False
            case FaultKind.END_EARLY:
                steps = list(frames[: stream.finish if fault.after is None else min(after, stream.finish)])
            case FaultKind.NO_TERMINATOR:
                steps = list(frames[: stream.last])
            case FaultKind.STALL:
                steps = [*frames[:after], Wait(fault.seconds or None), *frames[after:]]
            case FaultKind.MALFORMED:
                steps = [*frames[:after], wire.malformed_event(array=array, first=not after), *frames[after:]]
            case FaultKind.ERROR_EVENT:
                steps = [*frames[:after], wire.error_event(fault_problem(wire, fault, call), stamp, array=array, first=not after)]
            case FaultKind.SLOW_FIRST_TOKEN:
                steps = [*frames[: stream.content], Wait(fault.seconds), *frames[stream.content :]]
    if pause:
        tokens = {id(f) for f in frames[stream.content : stream.finish]}
        steps = list(_paced(steps, tokens, pause))
    return Script(answer.status, answer.headers, None, steps, whole)


def _paced(steps: Iterable[bytes | Wait], tokens: set[int], pause: float) -> Iterator[bytes | Wait]:
    for step in steps:
        if id(step) in tokens:
            yield Wait(pause)
        yield step


def fault_problem(wire: Wire, fault: Fault, call: Call | None, model: str = "") -> Rejected:
    """The provider's error for a fault that names a status (overloaded, when it names none)."""
    overloaded = 529 if wire.dialect == "anthropic_messages" else 503
    usual = {FaultKind.STATUS: 500, FaultKind.ERROR_200: 500}.get(fault.kind, overloaded)
    problem = wire.usual(fault.status or usual, model or (call.model if call else ""))
    problem.retry_after = fault.retry_after
    if fault.message is not None:
        problem.message = fault.message
    return problem


async def perform(script: Script, connection: Connection, *, head_only: bool = False) -> None:
    """Sends it. Events that no wait separates go out together, each in a chunk of its own."""
    if script.before:
        await asyncio.sleep(script.before)
    if script.gzip and script.length is not None:
        # the length of the compressed body is known only behind it
        packed = zlib.compressobj(wbits=31)
        body = packed.compress(b"".join(s for s in script.steps if isinstance(s, bytes))) + packed.flush()
        script.steps, script.length, script.gzip = [body], len(body), False
    out = bytearray(response_head(script.status, script.headers, script.length))
    if head_only:
        connection.write(bytes(out))
        return
    packer = zlib.compressobj(wbits=31) if script.gzip else None
    chunked = script.length is None
    sizes = itertools.cycle((1, 2, 3, 4, 5, 6, 7))
    for step in script.steps:
        if isinstance(step, Wait):
            connection.write(bytes(out))
            out.clear()
            await (asyncio.sleep(step.seconds) if step.seconds is not None else connection.gone.wait())
            continue
        data = packer.compress(step) + packer.flush(zlib.Z_SYNC_FLUSH) if packer is not None else step
        if script.drip is not None:
            connection.write(bytes(out))
            out.clear()
            await _drip(data, sizes, script.drip, connection, chunked=chunked)
            continue
        out += chunk(data) if chunked else data
        if len(out) >= _FLUSH:
            connection.write(bytes(out))
            out.clear()
            await connection.drain()
    if packer is not None and script.whole:
        out += chunk(packer.flush())
    if chunked and script.whole:
        out += LAST_CHUNK
    connection.write(bytes(out))
    if not script.whole:
        connection.close()
    await connection.drain()


async def _drip(data: bytes, sizes: Iterator[int], seconds: float, connection: Connection, *, chunked: bool) -> None:
    start = 0
    while start < len(data) and not connection.gone.is_set():
        piece = data[start : start + next(sizes)]
        start += len(piece)
        connection.write(chunk(piece) if chunked else piece)
        await connection.drain()
        await asyncio.sleep(seconds)
