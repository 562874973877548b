"""Plays the scenes one after the other: sets the faults, lets the applications ask, waits for the traces, compares, shows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from extproc.demo import scenes
from extproc.demo.applications import Applications, Call
from extproc.demo.sandbox import Sandbox
from extproc.demo.scenes import Scene, Seen
from extproc.demo.screen import Screen
from extproc.demo.traces import Traces, facts_of

log = logging.getLogger(__name__)


class Show:
    """A `Watcher` of the applications. `pause` seconds lie between two scenes, for readers."""

    def __init__(self, sandbox: Sandbox, traces: Traces, screen: Screen, pause: float) -> None:
        self._sandbox = sandbox
        self._traces = traces
        self._screen = screen
        self._pause = pause
        self._seen: list[Seen] = []
        self._in_table = False

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
        self._seen = []
        self._in_table = scene.table
        self._screen.scene(number, scene)
        self._sandbox.break_providers(scene.faults)
        found = []
        try:
            await scene.play(applications)
        except BrokenPipeError:
            raise
        except Exception as error:  # a scene that breaks is a result, and the others are still worth seeing
            log.exception("scene %d", number)
            found.append(f"{type(error).__name__}: {error}")
        finally:
            self._sandbox.mend_providers()
        found += scenes.problems(scene.expected, self._seen)
        if scene.table:
            self._screen.side_by_side(self._seen)
        elif self._seen:
            self._screen.tree(self._seen[-1].spans)
        self._screen.wrong(found)
        return self._seen, found

    def asked(self, sdk: str, model: str, text: str, *, stream: bool = False) -> None:
        self._screen.asked(sdk, model, text, stream=stream)

    def piece(self, text: str) -> None:
        self._screen.piece(text)

    def ran_tool(self, name: str, arguments: Mapping[str, Any], result: str) -> None:
        self._screen.ran_tool(name, arguments, result)

    async def done(self, call: Call) -> None:
        spans = await self._traces.arrived(call.trace_id)
        seen = Seen(call, spans, facts_of(spans))
        self._seen.append(seen)
        if not self._in_table:
            self._screen.answered(call, seen.facts)
