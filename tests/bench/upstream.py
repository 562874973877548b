"""Simulated providers in a process of their own: settings in as JSON argument, ports out as one JSON line, ends when its input does."""

from __future__ import annotations

import asyncio
import sys

import orjson
import uvloop

from extproc.simulator import Simulator
from extproc.simulator.faults import fault_from_json


async def serve(settings: dict[str, dict[str, object]]) -> None:
    """`settings`: arguments of `Simulator` by name, and `fault`, a standing one."""
    ports: dict[str, int] = {}
    for name, given in settings.items():
        options = dict(given)
        fault = options.pop("fault", None)
        simulator = Simulator(name, **options)  # type: ignore[arg-type]
        if fault is not None:
            simulator.fault(fault_from_json(fault), times=None)
        await simulator.start()
        ports[name] = simulator.port
    sys.stdout.buffer.write(orjson.dumps(ports) + b"\n")
    sys.stdout.buffer.flush()
    await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    uvloop.run(serve(orjson.loads(sys.argv[1])))
