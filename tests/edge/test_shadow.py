"""Sending copies: bounded, a few at a time, and whatever the other side does, nobody waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from extproc.edge import shadow
from extproc.edge.shadow import Shadows
from extproc.stages.shadow import Copy
from tests.envoy_process import short_directory

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def copy(body: bytes = b"{}") -> Copy:
    return Copy("c", "POST", "/v1/chat/completions", {"content-type": "application/json"}, body, {}, "")


@contextlib.asynccontextmanager
async def running(handle: Handle | None, directory: Path, at_once: int = 2) -> AsyncIterator[Shadows]:
    path = directory / "shadow.sock"
    server = await asyncio.start_unix_server(handle, path) if handle is not None else None
    shadows = Shadows(str(path), at_once=at_once)
    task = asyncio.create_task(shadows.run())
    try:
        yield shadows
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if server is not None:
            server.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return head + await reader.readexactly(length)


def test_a_copy_arrives_as_it_was_with_its_header_and_the_answer_is_dropped() -> None:
    got: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await _request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000)
        await writer.drain()

    async def test() -> None:
        with short_directory() as directory:
            async with running(handle, directory) as shadows:
                shadows.send(copy(b'{"a":1}'), "said")
                await until(lambda: shadows.sent == 1)

    asyncio.run(test())
    head, _, body = got[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1")
    assert b"x-llm-shadow: said" in head
    assert body == b'{"a":1}'


def test_nobody_there_a_cut_and_an_error_cost_that_copy_only() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        writer.close()

    async def test() -> None:
        with short_directory() as directory:
            async with running(None, directory) as shadows:
                shadows.send(copy(), "h")
                await until(lambda: shadows.failed == 1)
        with short_directory() as directory:
            async with running(cut, directory) as shadows:
                for _ in range(3):
                    shadows.send(copy(), "h")
                await until(lambda: shadows.failed == 3)

    asyncio.run(test())


def test_a_few_at_a_time_and_what_has_no_room_is_left() -> None:
    under_way, most = 0, 0
    go_on = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        await _request(reader)
        under_way += 1
        most = max(most, under_way)
        await go_on.wait()
        under_way -= 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    async def test() -> None:
        with short_directory() as directory:
            async with running(slow, directory) as shadows:
                for _ in range(shadow.WAITING + 20):
                    shadows.send(copy(), "h")
                assert shadows.left_out == 20
                await until(lambda: under_way == 2)
                go_on.set()
                await until(lambda: shadows.sent == shadow.WAITING)
                assert most == 2
                large = copy(b"x" * (shadow.WAITING_BYTES // 2 + 1))
                shadows.send(large, "h")
                shadows.send(large, "h")
                assert shadows.left_out == 21

    asyncio.run(test())
