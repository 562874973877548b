"""The gRPC server on a real Unix socket: against grpc's own client, against bare frames, on both loops; and what is left behind afterwards."""

from __future__ import annotations

import asyncio
import gc
import socket
import stat
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import uvloop

from extproc.edge import llm_extproc_pb2 as pb
from extproc.edge.grpc_call import HIGH_WATER, Method, Rpc, Status
from extproc.edge.grpc_server import GrpcServer
from extproc.edge.hpack import encode
from extproc.edge.http2_frames import PREFACE, Code, Flag, Kind, Setting, frame
from extproc.edge.http2_frames import settings as settings_frame
from extproc.edge.http2_stream import STREAM_WINDOW
from tests.envoy_process import short_directory

PATIENCE = 20.0
MAX_MESSAGE = 8 << 20
Body = pb.HttpBody
REQUEST = encode([(b":method", b"POST"), (b":path", b"/echo"), (b"content-type", b"application/grpc"), (b"te", b"trailers")])


def message(data: bytes) -> bytes:
    packed = Body(body=data).SerializeToString()
    return b"\0" + len(packed).to_bytes(4, "big") + packed


class Service:
    """What its methods saw. `held` begins, and waits for `gate`."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.written = 0

    async def echo(self, rpc: Rpc) -> None:
        while (body := await rpc.read()) is not None:
            await rpc.write(body)

    async def first(self, rpc: Rpc) -> None:
        await rpc.write(await rpc.read())

    async def held(self, rpc: Rpc) -> None:
        self.begun.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        await rpc.write(Body(body=b"late"))

    async def endless(self, rpc: Rpc) -> None:
        try:
            while True:
                await rpc.write(Body(body=b"x" * 10_000))
                self.written += 1
                self.begun.set()
                await asyncio.sleep(0)
        finally:
            self.cancelled.set()

    async def refuses(self, rpc: Rpc) -> None:
        rpc.abort(Status.INVALID_ARGUMENT, rpc.metadata("x-reason") or "100% wrong: ü\n")

    async def broken(self, rpc: Rpc) -> None:
        raise ZeroDivisionError("a prompt")


class Rig:
    def __init__(self, server: GrpcServer, service: Service, path: Path) -> None:
        self.server, self.service, self.path = server, service, path
        self.channel = grpc.aio.insecure_channel(f"unix:{path}", options=[("grpc.max_receive_message_length", -1)])

    def call(self, name: str, **more: Any) -> Any:
        method = self.channel.stream_stream(f"/{name}", request_serializer=Body.SerializeToString, response_deserializer=Body.FromString)
        return method(timeout=more.pop("timeout", PATIENCE), **more)

    async def unary(self, name: str, data: bytes, **more: Any) -> bytes:
        method = self.channel.unary_unary(f"/{name}", request_serializer=Body.SerializeToString, response_deserializer=Body.FromString)
        return bytes((await method(Body(body=data), timeout=PATIENCE, **more)).body)

    async def bare(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        writer.write(data)
        return reader, writer


@asynccontextmanager
async def serving() -> AsyncIterator[Rig]:
    service = Service()
    with short_directory() as directory:
        path = directory / "s.sock"
        methods = {f"/{name}": Method(getattr(service, name), Body.FromString) for name in ("echo", "first", "held", "endless", "refuses", "broken")}
        server = GrpcServer(methods, MAX_MESSAGE)
        await server.listen(path)
        rig = Rig(server, service, path)
        try:
            yield rig
        finally:
            await rig.channel.close()
            await server.stop(0.0)
            assert not server.calls
            assert not server.connections
            assert not path.exists()


def go(test: Callable[[Rig], Awaitable[None]], *, loop: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE), serving() as rig:
            await test(rig)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


loops = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


@loops
@pytest.mark.parametrize("size", [0, 1, 16_384, 100_000, 7_000_000])
def test_unary(size: int, loop: Any) -> None:
    async def test(rig: Rig) -> None:
        assert await rig.unary("echo", b"x" * size) == b"x" * size

    go(test, loop=loop)


@loops
def test_messages_in_both_directions(loop: Any) -> None:
    async def test(rig: Rig) -> None:
        call = rig.call("echo")
        for n in range(100):
            await call.write(Body(body=b"%d" % n * n * 20))
            assert (await call.read()).body == b"%d" % n * n * 20
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK

    go(test, loop=loop)


@loops
def test_many_calls_at_once(loop: Any) -> None:
    async def test(rig: Rig) -> None:
        bodies = [b"%d " % n * 5_000 for n in range(200)]
        assert await asyncio.gather(*(rig.unary("echo", body) for body in bodies)) == bodies

    go(test, loop=loop)


def test_many_large_messages_on_one_call() -> None:
    async def test(rig: Rig) -> None:
        call = rig.call("echo")

        async def ask() -> None:
            for n in range(20):
                await call.write(Body(body=bytes((n,)) * 500_000))
            await call.done_writing()

        asking = asyncio.create_task(ask())
        assert [b.body[:1] * len(b.body) == b.body and b.body[0] async for b in call] == list(range(20))
        await asking

    go(test)


def test_an_early_end() -> None:
    async def test(rig: Rig) -> None:
        call = rig.call("first")
        await call.write(Body(body=b"one"))
        assert (await call.read()).body == b"one"
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        assert await rig.unary("echo", b"on the same connection") == b"on the same connection"
        assert len(rig.server.connections) == 1

    go(test)


def test_an_abort_says_why() -> None:
    async def test(rig: Rig) -> None:
        for reason, said in (("", "100% wrong: ü\n"), ("y" * 5_000, "y" * 1_000)):
            call = rig.call("refuses", metadata=(("x-reason", reason),) if reason else ())
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert await call.details() == said

    go(test)


def test_a_bug_costs_its_call_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def test(rig: Rig) -> None:
        call = rig.call("broken")
        assert await call.code() is grpc.StatusCode.INTERNAL
        assert "prompt" not in await call.details() + caplog.text
        assert caplog.records[0].exception == "ZeroDivisionError"  # type: ignore[attr-defined]
        assert await rig.unary("echo", b"x") == b"x"

    go(test)


def test_an_unknown_method() -> None:
    async def test(rig: Rig) -> None:
        assert await rig.call("other").code() is grpc.StatusCode.UNIMPLEMENTED

    go(test)


def test_a_compressed_message() -> None:
    async def test(rig: Rig) -> None:
        call = rig.call("echo", compression=grpc.Compression.Gzip)
        await call.write(Body(body=b"x" * 10_000))
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED

    go(test)


def test_a_message_over_the_limit_and_one_that_is_none() -> None:
    async def test(rig: Rig) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await rig.unary("echo", b"x" * (MAX_MESSAGE + 1))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        junk = rig.channel.unary_unary("/echo")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await junk(b"\xff\xff\xff", timeout=PATIENCE)
        assert refused.value.code() is grpc.StatusCode.INTERNAL
        assert await rig.unary("echo", b"x") == b"x"

    go(test)


@loops
@pytest.mark.parametrize("how", ["cancel", "deadline", "close"])
def test_a_client_that_gives_up_cancels_the_handler(how: str, loop: Any) -> None:
    async def test(rig: Rig) -> None:
        call = rig.call("held", timeout=0.05 if how == "deadline" else PATIENCE)
        await rig.service.begun.wait()
        if how == "cancel":
            call.cancel()
        elif how == "close":
            await rig.channel.close()
        await rig.service.cancelled.wait()
        while rig.server.calls:
            await asyncio.sleep(0)

    go(test, loop=loop)


@loops
def test_a_client_that_does_not_read_holds_up_the_writer(loop: Any) -> None:
    """Neither its window nor the socket is emptied: what is kept for it stays small."""

    async def test(rig: Rig) -> None:
        endless = encode([(b":method", b"POST"), (b":path", b"/endless"), (b"content-type", b"application/grpc")])
        wide = settings_frame({Setting.INITIAL_WINDOW_SIZE: (1 << 31) - 1}) + frame(Kind.WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big"))
        for beginning, limit in ((settings_frame({}), 65_535 + HIGH_WATER), (wide, 4 << 20)):
            rig.service.begun.clear()
            rig.service.cancelled.clear()
            rig.service.written = 0
            quiet = socket.socket(socket.AF_UNIX)
            quiet.setblocking(False)
            with quiet:
                await asyncio.get_running_loop().sock_connect(quiet, str(rig.path))
                await asyncio.get_running_loop().sock_sendall(quiet, PREFACE + beginning + frame(Kind.HEADERS, Flag.END_HEADERS, 1, endless))
                await rig.service.begun.wait()
                before = -1
                while rig.service.written != before:
                    before = rig.service.written
                    for _ in range(50):
                        await asyncio.sleep(0)
                assert 0 < before * 10_000 <= limit
                assert not rig.service.cancelled.is_set()
            await rig.service.cancelled.wait()

    go(test, loop=loop)


def test_messages_that_nobody_reads_are_kept_up_to_the_streams_window() -> None:
    held = encode([(b":method", b"POST"), (b":path", b"/held"), (b"content-type", b"application/grpc")])
    ping = frame(Kind.PING, 0, 0, b"12345678")

    async def test(rig: Rig) -> None:
        reader, writer = await rig.bare(PREFACE + settings_frame({}) + frame(Kind.HEADERS, 4, 1, held))
        await rig.service.begun.wait()
        small = message(b"x" * 1016)
        assert len(small) == 1024
        writer.write(frame(Kind.DATA, 0, 1, small * 16) * (STREAM_WINDOW // len(small * 16)) + ping)
        said = await reader.readuntil(frame(Kind.PING, Flag.ACK, 0, b"12345678"))
        assert frame(Kind.WINDOW_UPDATE, 0, 1, bytes(4))[:9] not in said
        writer.write(frame(Kind.DATA, 0, 1, b"x"))
        assert (await reader.read()).endswith(Code.FLOW_CONTROL_ERROR.to_bytes(4, "big"))
        await rig.service.cancelled.wait()
        writer.close()

    go(test)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", Code.PROTOCOL_ERROR),
        (PREFACE + settings_frame({}) + frame(Kind.HEADERS, 4, 1, REQUEST) + frame(Kind.PING, 0, 3, bytes(8)), Code.PROTOCOL_ERROR),
        (PREFACE + settings_frame({}) + frame(Kind.HEADERS, 4, 1, b"\x80"), Code.COMPRESSION_ERROR),
    ],
)
def test_bytes_that_are_not_understood_cost_their_connection_only(data: bytes, code: Code) -> None:
    async def test(rig: Rig) -> None:
        other = rig.call("held")
        await rig.service.begun.wait()
        reader, writer = await rig.bare(data)
        said = await reader.read()
        assert said.endswith(code.to_bytes(4, "big"))
        writer.close()
        rig.service.gate.set()
        assert (await other.read()).body == b"late"

    go(test)


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ([(b":method", b"GET"), (b":path", b"/echo")], b"405"),
        ([(b":method", b"POST"), (b":path", b"/echo"), (b"content-type", b"text/html")], b"415"),
    ],
)
def test_what_is_not_grpc(fields: list[tuple[bytes, bytes]], answer: bytes) -> None:
    async def test(rig: Rig) -> None:
        reader, writer = await rig.bare(PREFACE + settings_frame({}) + frame(Kind.HEADERS, 5, 1, encode(fields)))
        expected = encode([(b":status", answer)])
        await reader.readuntil(frame(Kind.HEADERS, 5, 1, expected))
        writer.close()

    go(test)


def test_messages_in_any_split() -> None:
    whole = message(b"one") + message(b"") + message(b"x" * 300) + message(b"last")

    async def test(rig: Rig) -> None:
        for size in (1, 3, 5, 6, 11, len(whole)):
            pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
            data = b"".join(frame(Kind.DATA, 0, 1, piece) for piece in pieces) + frame(Kind.DATA, Flag.END_STREAM, 1)
            reader, writer = await rig.bare(PREFACE + settings_frame({}) + frame(Kind.HEADERS, 4, 1, REQUEST) + data)
            said = await reader.readuntil(encode([(b"grpc-status", b"0")]))
            for text in (b"one", b"x" * 300, b"last"):
                assert message(text) in said
            writer.close()
        reader, writer = await rig.bare(PREFACE + settings_frame({}) + frame(Kind.HEADERS, 4, 1, REQUEST) + frame(Kind.DATA, 1, 1, whole[:-1]))
        await reader.readuntil(b"\x0bgrpc-status" + b"\x0213")
        writer.close()

    go(test)


# listening and the end


def test_a_socket_left_behind_is_replaced_and_other_files_are_not() -> None:
    async def main() -> None:
        with short_directory() as directory:
            path = directory / "s.sock"
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(str(path))
            server = GrpcServer({}, MAX_MESSAGE)
            await server.listen(path)
            assert stat.S_ISSOCK(path.stat().st_mode)
            successor = GrpcServer({}, MAX_MESSAGE)
            await successor.listen(path)
            await server.stop(0.0)
            assert path.exists()
            await successor.stop(0.0)
            assert not path.exists()
            path.write_text("mine")
            with pytest.raises(OSError):
                await server.listen(path)
            assert path.read_text() == "mine"

    asyncio.run(main())


@loops
def test_a_stop_waits_for_calls_and_takes_no_new_ones(loop: Any) -> None:
    async def test(rig: Rig) -> None:
        call = rig.call("held")
        await rig.service.begun.wait()
        stopping = asyncio.create_task(rig.server.stop(PATIENCE))
        await asyncio.sleep(0)
        assert not rig.path.exists()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await rig.unary("echo", b"x")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not stopping.done()
        rig.service.gate.set()
        assert (await call.read()).body == b"late"
        assert await call.code() is grpc.StatusCode.OK
        await stopping

    go(test, loop=loop)


@loops
def test_a_stop_cancels_what_takes_longer(loop: Any) -> None:
    async def test(rig: Rig) -> None:
        call = rig.call("held")
        await rig.service.begun.wait()
        await rig.server.stop(0.01)
        assert rig.service.cancelled.is_set()
        assert await call.code() is grpc.StatusCode.UNAVAILABLE

    go(test, loop=loop)


@loops
def test_a_stop_ends_with_a_peer_that_reads_nothing(loop: Any) -> None:
    async def test(rig: Rig) -> None:
        _, silent = await rig.bare(b"")
        endless = encode([(b":method", b"POST"), (b":path", b"/endless"), (b"content-type", b"application/grpc")])
        _, deaf = await rig.bare(
            PREFACE
            + settings_frame({Setting.INITIAL_WINDOW_SIZE: (1 << 31) - 1})
            + frame(Kind.WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big"))
            + frame(Kind.HEADERS, 4, 1, endless)
        )
        await rig.service.begun.wait()
        await rig.server.stop(0.01)
        assert rig.service.cancelled.is_set()
        silent.close()
        deaf.close()

    go(test, loop=loop)


def _held() -> int:
    """Bytes that the server's own code holds: other tests' servers and clients live on beside this one."""
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/edge/http2*"), tracemalloc.Filter(True, "*/edge/grpc_*")])
    return sum(trace.size for trace in snapshot.traces)


def test_twenty_thousand_calls_leave_nothing() -> None:
    """Also those that were cancelled, refused or broke off: neither bytes nor objects, without the collector."""
    data = frame(Kind.DATA, 0, 1, message(b"x" * 100))

    def one(n: int) -> bytes:
        i = (2 * n + 1).to_bytes(4, "big")
        opened = frame(Kind.HEADERS, 4, 2 * n + 1, REQUEST)
        sent = data[:5] + i + data[9:]
        end = frame(Kind.DATA, Flag.END_STREAM, 2 * n + 1)
        return opened + sent + (end if n % 4 else frame(Kind.RST_STREAM, 0, 2 * n + 1, bytes(4)))

    async def test(rig: Rig) -> None:
        reader, writer = await rig.bare(PREFACE + settings_frame({}) + frame(Kind.WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")))

        async def calls(start: int, count: int) -> None:
            for at in range(start, start + count, 100):
                writer.write(b"".join(one(n) for n in range(at, at + 100)) + frame(Kind.PING, 0, 0, bytes(8)))
                await reader.readuntil(frame(Kind.PING, Flag.ACK, 0, bytes(8)))
                while rig.server.calls:
                    await asyncio.sleep(0)

        await calls(0, 2_000)
        gc.collect()
        gc.disable()
        try:
            tracemalloc.start()
            objects = len(gc.get_objects())
            await calls(2_000, 10_000)
            # caches that fill once, anywhere in the process, have filled by now; a leak goes on
            before = _held()
            await calls(12_000, 10_000)
            after = _held()
            # other tests' servers live on beside this one and make some of their own
            assert len(gc.get_objects()) - objects < 5_000, "one object a call would be 20,000"
            assert after - before < 200_000, "one object a call would be half a megabyte"
        finally:
            tracemalloc.stop()
            gc.enable()
        writer.close()

    go(test)
