"""What the server says of itself through the API: its state, the registry in force, what it measured, what it decided and why, and its log level."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any

import orjson

from extproc.admin import hidden
from extproc.admin.api import Api, time_said
from extproc.admin.ask import Answer, Ask, etag_of
from extproc.admin.refusal import Refused

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_MOST_COUNTERS = 1000
"""Of each window: values come from clients."""


async def status(api: Api, ask: Ask) -> Answer:  # noqa: ARG001
    """Am I serving, and with what?"""
    live, health = api.live, api.services.health
    registry = live.registry
    clusters = sorted(registry.clusters)
    states = {cluster: health.state(cluster) for cluster in clusters}
    body: dict[str, Any] = {
        "serving": not api.draining,
        "version": api.version,
        "started": time_said(api.started),
        "base": live.base.digest,
        "file": str(live.path),
        "source": "last good" if live.from_last_good else "file",
        "loaded": time_said(live.loaded_at),
        "last_error": live.last_error,
        "changes": len(live.overlay.entries),
        "reaches": api.revise.reaches(),
        "worker": live.worker,
        "workers": live.workers,
        "clusters": clusters,
        "drained": sorted(c for target in registry.targets.values() if target.drained for c in target.clusters),
        "cooling": {c: {"why": state["out"], "seconds": state.get("seconds", 0.0)} for c, state in states.items() if "out" in state},
        "envoy": {
            "answers": api.answering(),
            "active": sorted(health.active) if health.active is not None else None,
            "ejected": sorted(health.ejected),
        },
    }
    suspended = live.overlay.suspended
    if suspended is not None:
        body["suspended"] = suspended.said() | {"at": time_said(suspended.at)}
    if api.sharing is not None and api.sharing.on:
        body["shared_state"] = {"answers": api.sharing.reached, "version": live.overlay.version, "unshared": live.overlay.unshared}
    return Answer(api.said(body))


async def registry(api: Api, ask: Ask) -> Answer:  # noqa: ARG001
    """The document in force."""
    said, base, tree = api.said({}), api.live.base.digest, api.live.tree

    def answer() -> Answer:
        return Answer(said | {"base": base, "value": hidden.shown(tree)}, headers={"etag": f'"{etag_of(tree)}"'})

    return await asyncio.to_thread(answer)


async def statistics(api: Api, ask: Ask) -> Answer:  # noqa: ARG001
    """What targets have done lately."""
    services = api.services
    return Answer(api.said(await asyncio.to_thread(services.statistics.snapshot, services.monotonic(), services.wall())))


async def decisions(api: Api, ask: Ask) -> Answer:
    """The last ones, the newest first."""
    limit = ask.number("limit", 20, 1000)
    model = ask.query.get("model")
    kept = [d for d in reversed(list(api.services.decisions)) if model in (None, d.decision.model, d.record.model)]
    return Answer(api.said({"decisions": [d.said() for d in kept[:limit]]}))


async def candidates(api: Api, ask: Ask) -> Answer:
    """Who would be considered for a short request to a model now, in which order, and who would not and why."""
    model = ask.query.get("model")
    if not model:
        raise Refused(400, "bad_parameter", "which model? Say ?model=NAME")
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    known = api.live.registry.resolve(model)
    if known is None:
        raise Refused(404, "unknown", f"no model is called {model}")
    names = [name for rank in known.ranks for name, _ in rank.targets]
    try:
        found = await asyncio.to_thread(api.explain, orjson.dumps(body), "/v1/chat/completions", {}, "POST")
    except Refused as refused:
        if refused.code != "would_be_refused":
            raise
        found = {"refused": refused.message}
    kept: dict[str, Any] = {key: found[key] for key in ("rule", "rank_by", "chain", "ranked", "excluded", "last_resort", "refused") if key in found}
    return Answer(api.said({"model": known.name, "targets": names, **kept}))


async def explain(api: Api, ask: Ask) -> Answer:
    """What would happen to a request now."""
    asked = await asyncio.to_thread(ask.object)
    unknown = sorted(asked.keys() - {"path", "method", "headers", "body", "body_base64"})
    if unknown:
        raise Refused(400, "bad_parameter", f"unknown members: {', '.join(unknown)}; known are path, method, headers, body and body_base64")
    path, method, headers = asked.get("path"), asked.get("method", "POST"), asked.get("headers", {})
    if not isinstance(path, str | None) or (path is not None and not path.startswith("/")) or not isinstance(method, str) or not method:
        raise Refused(400, "bad_parameter", "path must begin with /, method be a word")
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        raise Refused(400, "bad_parameter", "headers must be an object of text")
    lower = {name.lower(): value for name, value in headers.items()}
    found = await asyncio.to_thread(api.explain, _body(asked), path, lower, method)
    return Answer(api.said(found))


def _body(asked: dict[str, Any]) -> bytes:
    if "body_base64" in asked:
        try:
            return base64.b64decode(asked["body_base64"], validate=True)
        except (TypeError, ValueError):
            raise Refused(400, "bad_parameter", "body_base64 is not base64") from None
    body = asked.get("body")
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else orjson.dumps(body)


async def usage(api: Api, ask: Ask) -> Answer:  # noqa: ARG001
    """How much of the limits is used, as far as this process knows."""
    windows = await asyncio.to_thread(api.services.limits.usage, api.services.wall())
    cut = {name: dict(sorted(counters.items(), key=lambda item: -item[1])[:_MOST_COUNTERS]) for name, counters in windows.items()}
    limits = [{"key": limit.key, "for": dict(limit.by)} for limit in api.live.registry.limits]
    return Answer(api.said({"limits": limits, "windows": cut}))


class LogLevel:
    """How much the process logs. A level may be set for a while."""

    def __init__(self) -> None:
        self._back: asyncio.TimerHandle | None = None
        self._before = logging.NOTSET

    async def get(self, api: Api, ask: Ask) -> Answer:  # noqa: ARG002
        return Answer(api.said({"level": self._level()}))

    async def put(self, api: Api, ask: Ask) -> Answer:
        level = ask.object().get("level")
        if not isinstance(level, str) or level not in LEVELS:
            raise Refused(422, "invalid", "not a level", [{"path": "level", "message": f"must be one of {', '.join(LEVELS)}"}])
        lasts = ask.lasts()
        if not ask.flag("dry_run"):
            root = logging.getLogger()
            before = self._before if self._back is not None else root.level
            self._end()
            root.setLevel(LEVELS[level])
            if lasts is not None:
                self._before = before
                self._back = asyncio.get_running_loop().call_later(lasts, self._restore)
        return Answer(api.said({"level": self._level(), "reaches": "this process"}))

    def _restore(self) -> None:
        logging.getLogger().setLevel(self._before)
        self._back = None

    def _end(self) -> None:
        if self._back is not None:
            self._back.cancel()
            self._back = None

    @staticmethod
    def _level() -> str:
        number = logging.getLogger().level
        return next((name for name, value in LEVELS.items() if value >= number), "error")
