"""The admin API as an ASGI application: routes from the table of endpoints, errors as JSON, bodies with an end.

One application per door: what comes over the Unix socket never mixes with what comes over TCP.
"""

from __future__ import annotations

import asyncio
import logging
import pwd
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from extproc.admin.api import Api
from extproc.admin.ask import MAX_BODY, Ask
from extproc.admin.door import Token, let_in
from extproc.admin.endpoints import ENDPOINTS, Endpoint
from extproc.admin.refusal import Refused

log = logging.getLogger(__name__)

BODY_WITHIN = 30.0
"""Seconds in which a body must have come."""
PEER = "unix"
"""The first part of a scope's `client` for a Unix socket; the second is the peer's user id."""


def application(api: Api, token: Token | None = None) -> Starlette:
    """`token` None: for the Unix socket. Else for TCP, and nothing is answered without it."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    # a model's name may hold slashes, and only what is said after it may follow it
    paths = sorted(by_path, key=lambda path: path.endswith("{name}"))
    routes = [Route(_pattern(path), _serve(api, by_path[path], token), methods=list(by_path[path])) for path in paths]
    return Starlette(routes=routes, exception_handlers={HTTPException: _http_error(token)})


def _pattern(path: str) -> str:
    return path.replace("/v1/models/{name}", "/v1/models/{name:path}").replace("/v1/tenants/{name}", "/v1/tenants/{name:path}")


def _serve(api: Api, endpoints: dict[str, Endpoint], token: Token | None) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        try:
            if token is not None:
                let_in(_headers(request), token)
        except Refused as refused:
            return _refused(refused)
        try:
            ask = await _ask(request, private=token is None)
            endpoint = endpoints["GET" if request.method == "HEAD" else request.method]
            ask.must_know([p.name for p in endpoint.parameters if p.place == "query"])
            answer = await endpoint.handler(api, ask)
        except Refused as refused:
            return _refused(refused, overlay=api.live.overlay.state)
        except ClientDisconnect:
            return Response(status_code=400)
        except asyncio.CancelledError:
            # uvicorn's, when its last seconds are over
            return _refused(Refused(503, "ending", "the server ends; the history says whether a change was made"))
        except Exception:
            log.exception("a bug in the admin API")
            return _refused(Refused(500, "internal", "internal error; the server's log says where"))
        return _json(answer.body, answer.status, dict(answer.headers))

    return serve


def _http_error(token: Token | None) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        try:
            if token is not None:
                let_in(_headers(request), token)
        except Refused as refused:
            return _refused(refused)
        message = {404: "there is no such endpoint; GET / lists them", 405: "not with this method"}.get(error.status_code, error.detail)
        code = {404: "unknown_endpoint", 405: "method_not_allowed"}.get(error.status_code, "error")
        return _json({"error": {"code": code, "message": message}}, error.status_code, dict(error.headers or {}))

    return handle


async def _ask(request: Request, *, private: bool) -> Ask:
    raw = await _body(request)
    peer = _peer(request.scope) if private else "bearer token"
    return Ask(request.path_params, request.query_params, _headers(request), raw, private, peer)


def _headers(request: Request) -> dict[str, str]:
    """Lower-case names; several values of one name are joined."""
    out: dict[str, str] = {}
    for name, value in request.headers.items():
        out[name] = f"{out[name]}, {value}" if name in out else value
    return out


async def _body(request: Request) -> bytes:
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY:
        raise _too_large()
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY:
                    raise _too_large()
                parts.append(part)
    except TimeoutError:
        raise Refused(400, "too_slow", f"the body did not come within {BODY_WITHIN:g} s") from None
    return b"".join(parts)


def _too_large() -> Refused:
    return Refused(413, "too_large", f"a body may have {MAX_BODY >> 20} MiB")


def _peer(scope: Scope) -> str:
    """The name of the user at the other end of the Unix socket."""
    client = scope.get("client")
    if not client or client[0] != PEER:
        return ""
    try:
        return pwd.getpwuid(client[1]).pw_name
    except KeyError:
        return f"uid {client[1]}"


def _refused(refused: Refused, **more: str) -> Response:
    error: dict[str, Any] = {"code": refused.code, "message": refused.message}
    if refused.problems:
        error["problems"] = refused.problems
    headers = {"www-authenticate": "Bearer"} if refused.status == 401 else {}
    return _json({"error": error, **more}, refused.status, headers)


def _json(body: dict[str, Any], status: int, headers: dict[str, str]) -> Response:
    # nobody but the one who asked may keep it, and no browser may take it for anything else
    headers |= {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS), status, headers, "application/json")
