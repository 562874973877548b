"""Plays the scenes one after the other: sets the faults, lets the applications ask, waits for the traces, compares, shows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from extproc.demo import operator, scenes
from extproc.demo.applications import Applications, Call
from extproc.demo.providers import excerpt
from extproc.demo.sandbox import Sandbox
from extproc.demo.scene import OtherwiseError, Scene, Seen, View, problems
from extproc.demo.screen import Screen
from extproc.demo.traces import Traces, facts_of
from extproc.simulator.faults import Fault, FaultKind

log = logging.getLogger(__name__)


class Show:
    """A `Watcher` of the applications, and the `Stage` of the scenes. `pause` seconds lie between two scenes, for readers."""

    def __init__(self, sandbox: Sandbox, traces: Traces, screen: Screen, pause: float) -> None:
        self._sandbox = sandbox
        self._traces = traces
        self._screen = screen
        self._pause = pause
        self._seen: list[Seen] = []
        self._view = View.EACH
        self._calls: list[Call] = []
        self._before: dict[str, int] = {}

    async def play(self) -> bool:
        """Did every scene go as it should?"""
        applications = Applications(self._sandbox.url, self._traces, self)
        rows: list[tuple[int, Scene, list[Seen], list[str]]] = []
        try:
            for number, scene in enumerate(scenes.SCENES, 1):
                rows.append((number, scene, *await self._scene(number, scene, applications)))
                await asyncio.sleep(self._pause)
        finally:
            await applications.close()
        self._screen.summary(rows)
        return not any(found for *_, found in rows)

    async def _scene(self, number: int, scene: Scene, applications: Applications) -> tuple[list[Seen], list[str]]:
        self._seen, self._calls, self._view = [], [], scene.view
        self._before = {name: simulator.received.total for name, simulator in self._sandbox.simulators.items()}
        self._screen.scene(number, scene, excerpt(scene.excerpt))
        self._sandbox.break_providers(scene.faults)
        found = []
        try:
            await scene.play(applications, self)
        except BrokenPipeError:
            raise
        except OtherwiseError as error:
            found.append(str(error))
        except Exception as error:  # a scene that breaks is a result, and the others are still worth seeing
            log.exception("scene %d", number)
            found.append(f"{type(error).__name__}: {error}")
        finally:
            self._sandbox.mend_providers()
        for call in self._calls:
            await self._arrived(call)
        found += problems(scene.expected, self._seen)
        if scene.view is View.SIDE_BY_SIDE:
            self._screen.side_by_side(self._seen)
        elif scene.view is View.EACH and self._seen:
            self._screen.tree(self._seen[-1].spans)
        self._screen.wrong(found)
        return self._seen, found

    # the stage

    async def command(self, *arguments: str) -> Any:
        said, text = await operator.run(self._sandbox.run_dir, arguments)
        self._screen.commanded(operator.typed(arguments), text)
        return said

    def requests_to(self, provider: str) -> int:
        return self._sandbox.simulators[provider].received.total - self._before[provider]

    def slow(self, provider: str, seconds: float) -> None:
        self._sandbox.break_providers({provider: Fault(FaultKind.SLOW_HEADERS, seconds=seconds)})

    def note(self, text: str) -> None:
        self._screen.noted(text)

    def split(self, phases: Mapping[str, Sequence[Call]]) -> None:
        self._screen.split(phases)

    # the watcher

    def asked(self, sdk: str, model: str, text: str, *, stream: bool = False) -> None:
        self._screen.asked(sdk, model, text, stream=stream)

    def piece(self, text: str) -> None:
        self._screen.piece(text)

    def ran_tool(self, name: str, arguments: Mapping[str, Any], result: str) -> None:
        self._screen.ran_tool(name, arguments, result)

    async def done(self, call: Call) -> None:
        if self._view is View.COUNTED:
            # many of them: their traces are waited for at the end
            self._calls.append(call)
            return
        seen = await self._arrived(call)
        if self._view is View.EACH:
            self._screen.answered(call, seen.facts)

    async def _arrived(self, call: Call) -> Seen:
        spans = await self._traces.arrived(call.trace_id)
        self._seen.append(Seen(call, spans, facts_of(spans)))
        return self._seen[-1]
