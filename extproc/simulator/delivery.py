"""How an answer goes over the wire, and how a fault spoils it on the way.

`script` turns an answer and a fault into what to send, when to wait and how to end; `perform` does it on a connection. The first is a pure
function, so that each fault can be read and tested as data.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from extproc.simulator import packing
from extproc.simulator.faults import Fault, FaultKind
from extproc.simulator.http1 import LAST_CHUNK, Connection, chunk, response_head
from extproc.simulator.wire import Answer, Call, Headers, Host, Rejected, Stamp, Stream, Wire

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
    encoding: str | None = None
    """What the body is compressed with on its way out, a name of `packing.PACKERS`."""
    reset: bool = False
    """With `whole` False: by a TCP reset."""
    drip: float | None = None


def script(answer: Answer, fault: Fault | None, api: Host, stamp: Stamp, call: Call | None, pause: float) -> Script:
    """What to send for `answer` under `fault`. `pause` is the time in seconds between the tokens of a stream."""
    out = _stream(answer.stream, answer, fault, cast("Wire", api), stamp, call, pause) if answer.stream is not None else _unary(answer, fault)
    if fault is None:
        return out
    match fault.kind:
        case FaultKind.HEADERS_THEN_SILENCE:
            out.steps.insert(0, Wait(fault.seconds or None))
        case FaultKind.SLOW_HEADERS:
            out.before = fault.seconds
        case FaultKind.WRONG_CONTENT_TYPE:
            out.headers = _typed(out.headers, "text/plain; charset=utf-8")
        case FaultKind.GZIP | FaultKind.BROTLI | FaultKind.ZSTD | FaultKind.DEFLATE:
            out.encoding = fault.kind.value
            out.headers = [*out.headers, ("content-encoding", fault.kind.value)]
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
        case FaultKind.RESET_LATER:
            out.steps, out.whole, out.reset = [half], False, True
        case FaultKind.CORRUPT:
            out.steps = [_flipped(body)]
        case FaultKind.END_EARLY | FaultKind.MALFORMED:
            out.steps, out.length = [half], len(half)
        case FaultKind.STALL if fault:
            out.steps = [half, Wait(fault.seconds or None), body[len(half) :]]
        case FaultKind.SLOW_FIRST_TOKEN if fault:
            out.before = fault.seconds
    return out


def _flipped(data: bytes) -> bytes:
    """`data` with another byte in its middle, one that no JSON may hold there."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x80]) + data[middle + 1 :] if data else data


def _crlf(frame: bytes) -> bytes:
    """An event as a pedantic server writes it. Binary frames stay as they are."""
    if not _is_lines(frame):
        return frame
    lines = frame.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return b": a comment\r\n\r\n" + lines + b"\r\n" if frame.startswith((b"data:", b"event:")) else lines


def _is_lines(frame: bytes) -> bool:
    return frame.endswith(b"\n") and not frame.startswith(b"\0")


def _stream(stream: Stream, answer: Answer, fault: Fault | None, wire: Wire, stamp: Stamp, call: Call | None, pause: float) -> Script:
    frames = stream.frames
    steps: list[bytes | Wait] = list(frames)
    whole, reset = True, False
    if fault is not None:
        after = min(DEFAULT_AFTER if fault.after is None else fault.after, len(frames))
        match fault.kind:
            case FaultKind.CUT:
                steps, whole = list(frames[:after]), False
            case FaultKind.RESET_LATER:
                steps, whole, reset = list(frames[:after]), False, True
            case FaultKind.CORRUPT if after < len(frames):
                steps[after] = _flipped(frames[after])
            case FaultKind.CRLF:
                steps = [_crlf(f) for f in frames]
            case FaultKind.NO_LAST_NEWLINE if _is_lines(frames[-1]):
                steps[-1] = frames[-1].rstrip(b"\r\n")
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
                steps = [*frames[:after], wire.malformed_event(call, after), *frames[after:]]
            case FaultKind.ERROR_EVENT:
                steps = [*frames[:after], wire.error_event(fault_problem(wire, fault, call), stamp, call, after)]
            case FaultKind.SLOW_FIRST_TOKEN:
                steps = [*frames[: stream.content], Wait(fault.seconds), *frames[stream.content :]]
    if pause:
        tokens = {id(f) for f in frames[stream.content : stream.finish]}
        steps = list(_paced(steps, tokens, pause))
    return Script(answer.status, answer.headers, None, steps, whole, reset=reset)


def _paced(steps: Iterable[bytes | Wait], tokens: set[int], pause: float) -> Iterator[bytes | Wait]:
    for step in steps:
        if id(step) in tokens:
            yield Wait(pause)
        yield step


def fault_problem(api: Host, fault: Fault, call: Call | None, model: str = "") -> Rejected:
    """The provider's error for a fault that names a status (overloaded, when it names none)."""
    usual = {FaultKind.STATUS: 500, FaultKind.ERROR_200: 500}.get(fault.kind, api.overloaded)
    problem = api.usual(fault.status or usual, model or (call.model if call else ""))
    problem.retry_after = fault.retry_after
    if fault.message is not None:
        problem.message = fault.message
    return problem


async def perform(script: Script, connection: Connection, *, head_only: bool = False) -> None:
    """Sends it. Events that no wait separates go out together, each in a chunk of its own."""
    if script.before:
        await asyncio.sleep(script.before)
    if script.encoding is not None and script.length is not None:
        # the length of the compressed body is known only behind it
        packed = packing.PACKERS[script.encoding]()
        body = packed.piece(b"".join(s for s in script.steps if isinstance(s, bytes))) + packed.end()
        script.steps, script.length, script.encoding = [body], len(body), None
    out = bytearray(response_head(script.status, script.headers, script.length))
    if head_only:
        connection.write(bytes(out))
        return
    packer = packing.PACKERS[script.encoding]() if script.encoding is not None else None
    chunked = script.length is None
    sizes = itertools.cycle((1, 2, 3, 4, 5, 6, 7))
    for step in script.steps:
        if isinstance(step, Wait):
            connection.write(bytes(out))
            out.clear()
            await (asyncio.sleep(step.seconds) if step.seconds is not None else connection.gone.wait())
            continue
        data = packer.piece(step) if packer is not None else step
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
        out += chunk(packer.end())
    if chunked and script.whole:
        out += LAST_CHUNK
    connection.write(bytes(out))
    if script.reset:
        # what was written must have left before: a reset throws away what waits
        await connection.sent()
        connection.reset()
    elif not script.whole:
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
