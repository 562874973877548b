"""`extproc serve` as a process: alone, without Envoy's files and without Envoy, and what keeps it from starting."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc.aio
import pytest

from extproc.edge import llm_extproc_pb2 as pb
from extproc.edge.server import HEALTH_CHECK
from tests.commands.files import write
from tests.commands.processes import PATIENCE, environment, extproc
from tests.envoy_process import short_directory


@pytest.fixture
def place() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


async def health(path: Path) -> int:
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        check = channel.unary_unary(
            HEALTH_CHECK, request_serializer=pb.HealthCheckRequest.SerializeToString, response_deserializer=pb.HealthCheckResponse.FromString
        )
        answer = await check(pb.HealthCheckRequest(), wait_for_ready=True, timeout=PATIENCE)
        return int(answer.status)


def test_it_serves_without_envoys_files_and_without_envoy(place: Path) -> None:
    file = write(place)
    with extproc("serve", "--registry", str(file), "--run-dir", str(place / "run"), "--worker", "2", env=environment()) as command:
        command.until('"serving"')
        assert asyncio.run(health(place / "run" / "extproc-2.sock")) == pb.HealthCheckResponse.SERVING
        # a change is taken without Envoy, too: there is nobody to ask
        file.write_text(file.read_text().replace("gemini-2.5-flash", "gemini-2.5-pro"))
        command.until('"registry reloaded"')
        file.write_text("nonsense")
        command.until("the changed registry is refused")
        command.signal(signal.SIGTERM)
        assert command.end() == 0
        lines = [json.loads(line) for line in command.text.splitlines()]
        assert [line["message"] for line in lines if line["level"] == "info"][-2:] == ["draining", "stopped"]
        assert "Traceback" not in command.text
        assert [p.name for p in place.iterdir() if p.name not in ("run", "registry.yaml")] == []


def test_a_socket_that_a_dead_server_left_is_no_obstacle(place: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(place / "extproc-0.sock"))
    left.close()
    with extproc("serve", "--registry", str(write(place)), "--run-dir", str(place), env=environment()) as command:
        command.until('"serving"')
        assert asyncio.run(health(place / "extproc-0.sock")) == pb.HealthCheckResponse.SERVING
        command.signal(signal.SIGINT)
        assert command.end() == 0


def test_a_registry_that_is_not_there(place: Path) -> None:
    with extproc("serve", "--registry", str(place / "absent.yaml"), "--run-dir", str(place), env=environment()) as command:
        assert command.end() == 1
        assert command.text == f"{place / 'absent.yaml'}: cannot be read: No such file or directory\n"


def test_a_socket_whose_name_is_too_long(place: Path) -> None:
    with extproc("serve", "--registry", str(write(place)), "--run-dir", str(place / ("x" * 100)), env=environment()) as command:
        assert command.end() == 1
        assert "cannot listen here" in command.text
        assert "Traceback" not in command.text
