"""The one table of the admin API: every endpoint with its parameters, what it takes and answers. Routes, index and OpenAPI document come from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from extproc.admin import reports, revisions
from extproc.admin.api import Api
from extproc.admin.ask import Answer, Ask
from extproc.admin.resources import COLLECTIONS, SECTIONS, Resource
from extproc.admin.schemas import SCHEMAS, VALUE, Schema, ref

Handler = Callable[[Api, Ask], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """`place` is query or header."""

    name: str
    place: str
    schema: Schema
    description: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`answers` names a component; `body` is a schema. `refusals` are the statuses beside those that every endpoint may answer."""

    method: str
    path: str
    summary: str
    handler: Handler
    answers: str
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    body_type: str = "application/json"
    refusals: tuple[int, ...] = ()

    @property
    def operation(self) -> str:
        """A unique name: get_v1_models_name."""
        path = "".join("_" if c in "/-." else c for c in self.path if c not in "{}")
        return (self.method.lower() + path).rstrip("_")


_TEXT: Schema = {"type": "string"}
_DRY = Parameter("dry_run", "query", {"type": "boolean"}, "only say what would happen")
_EXPIRES = Parameter("expires", "query", {"type": "string", "pattern": "^[0-9]+[smhd]$"}, "the change falls away by itself after 90s, 30m, 2h or 7d")
_EXPIRES_IN = Parameter("Expires-In", "header", _TEXT, "the same as a header")
_AUTHOR = Parameter("X-Author", "header", _TEXT, "who makes the change; default: the user of the Unix socket's peer")
_MATCH = Parameter("If-Match", "header", _TEXT, "the ETag of what was read; needed for what is there")
_NONE_MATCH = Parameter("If-None-Match", "header", {"type": "string", "enum": ["*"]}, "needed for what is not there yet")
_LIMIT = Parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 1000}, "at most so many")
_CHANGING = (_DRY, _EXPIRES, _EXPIRES_IN, _AUTHOR, _MATCH)
_REFUSALS = (403, 409, 412, 422, 428)
_LOG_LEVEL = reports.LogLevel()


def _collection(name: str) -> list[Endpoint]:
    one, it = f"/v1/{name}/{{name}}", Resource(name)
    what = name.removesuffix("s")
    return [
        Endpoint("GET", f"/v1/{name}", f"every {what}, with its ETag", it.all, "Items"),
        Endpoint("GET", one, f"one {what}, as the registry file would say it", it.get, "Item", refusals=(404,)),
        Endpoint("PUT", one, f"add or replace a {what}", it.put, "Changed", (*_CHANGING, _NONE_MATCH), VALUE, refusals=_REFUSALS),
        Endpoint(
            *("PATCH", one, f"change members of a {what} (JSON merge patch)", it.patch, "Changed", _CHANGING, {"type": "object"}),
            body_type="application/merge-patch+json",
            refusals=(404, *_REFUSALS),
        ),
        Endpoint("DELETE", one, f"remove a {what}", it.delete, "Changed", _CHANGING, refusals=(404, *_REFUSALS)),
    ]


def _section(name: str) -> list[Endpoint]:
    path, it = f"/v1/{name}", Resource(name)
    return [
        Endpoint("GET", path, f"the {name} of the registry", it.get, "Item"),
        Endpoint("PUT", path, f"replace the {name}", it.put, "Changed", _CHANGING, VALUE, refusals=_REFUSALS),
    ]


async def _index(api: Api, ask: Ask) -> Answer:  # noqa: ARG001
    return Answer(api.said({"endpoints": [{"method": e.method, "path": e.path, "summary": e.summary} for e in ENDPOINTS]}))


async def _openapi(api: Api, ask: Ask) -> Answer:  # noqa: ARG001
    return Answer(document(api.version))


_TARGET = Resource("targets")
ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/", "this list", _index, "Index"),
    Endpoint("GET", "/openapi.json", "the OpenAPI document of this API", _openapi, "OpenApi"),
    Endpoint("GET", "/v1/status", "is it serving, with which registry, what is left out and why", reports.status, "Status"),
    Endpoint("GET", "/v1/registry", "the registry in force, changes included", reports.registry, "Document"),
    *(endpoint for name in COLLECTIONS for endpoint in _collection(name)),
    Endpoint(*("POST", "/v1/targets/{name}/drain", "no new requests for a target", _TARGET.drain, "Changed", _CHANGING), refusals=(404, *_REFUSALS)),
    Endpoint(
        *("POST", "/v1/targets/{name}/enable", "new requests for a target again", _TARGET.enable, "Changed", _CHANGING), refusals=(404, *_REFUSALS)
    ),
    *(endpoint for name in SECTIONS for endpoint in _section(name)),
    Endpoint("GET", "/v1/limits/usage", "how much of the limits is used", reports.usage, "Usage"),
    Endpoint("GET", "/v1/overlay", "the changes over the registry file", revisions.overlay, "Overlay"),
    Endpoint(
        "DELETE", "/v1/overlay", "drop all changes: the file alone serves", revisions.drop, "Changed", (_DRY, _AUTHOR, _MATCH), refusals=_REFUSALS
    ),
    Endpoint(*("DELETE", "/v1/overlay/{id}", "drop one change", revisions.drop_one, "Changed", (_DRY, _AUTHOR, _MATCH)), refusals=(404, *_REFUSALS)),
    Endpoint(
        *("POST", "/v1/overlay/resume", "a suspended overlay counts again, over the file as it is now", revisions.resume, "Changed"),
        *((_DRY, _AUTHOR, _MATCH),),
        refusals=_REFUSALS,
    ),
    Endpoint("GET", "/v1/diff", "the registry file against what is in force", revisions.diff, "Diff"),
    Endpoint("GET", "/v1/history", "who changed what and when, the newest first", revisions.history, "History", (_LIMIT,)),
    Endpoint(
        *(
            "POST",
            "/v1/history/{id}/rollback",
            "all changes over the file as they were before (or after) this one; the file stays as it is",
            revisions.roll_back,
            "Changed",
        ),
        (Parameter("to", "query", {"type": "string", "enum": ["before", "after"]}, "default: before"), _DRY, _AUTHOR, _MATCH),
        refusals=(404, *_REFUSALS),
    ),
    Endpoint("GET", "/v1/statistics", "what targets have done lately", reports.statistics, "Statistics"),
    Endpoint(
        *("GET", "/v1/decisions", "the last routing decisions, the newest first", reports.decisions, "Decisions"),
        (Parameter("model", "query", _TEXT, "only those for this model"), _LIMIT),
    ),
    Endpoint(
        *("GET", "/v1/candidates", "who would be asked for a model now, and who would not and why", reports.candidates, "Candidates"),
        (Parameter("model", "query", _TEXT, "the name that a client would use", required=True),),
        refusals=(404,),
    ),
    Endpoint("POST", "/v1/explain", "what would happen to a request now", reports.explain, "Explanation", (), SCHEMAS["Explain"], refusals=(422,)),
    Endpoint("GET", "/v1/log-level", "how much this process logs", _LOG_LEVEL.get, "LevelNow"),
    Endpoint(
        *("PUT", "/v1/log-level", "set it, for a while with expires", _LOG_LEVEL.put, "LevelNow", (_DRY, _EXPIRES, _EXPIRES_IN)),
        SCHEMAS["Level"],
        refusals=(422,),
    ),
)

_ALWAYS = (400, 401, 404, 405, 413, 421, 500, 503)
_MEANINGS = {
    400: "the request makes no sense",
    401: "no token, or a wrong one (over TCP)",
    403: "over the Unix socket only",
    404: "there is no such thing",
    405: "not with this method",
    409: "what is in force does not allow it now",
    412: "it has changed since it was read",
    413: "the body is larger than 1 MiB",
    421: "the Host header names somebody else (over TCP)",
    422: "the registry would not load, or Envoy would not take it; nothing has changed",
    428: "a condition is missing",
    500: "a bug",
    503: "it cannot be done or kept at the moment, and nothing has changed; or the server ends",
}


def document(version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "extproc admin API",
            "version": version,
            "description": "The live registry of the LLM sidecar. On a Unix socket, and on loopback TCP with a bearer token.",
        },
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    named = [part[1:-1] for part in endpoint.path.split("/") if part.startswith("{")]
    parameters: list[dict[str, Any]] = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in named]
    parameters += [
        {"name": p.name, "in": p.place, "schema": p.schema, "description": p.description, "required": p.required} for p in endpoint.parameters
    ]
    done: dict[str, Any] = {"description": endpoint.summary, "content": {"application/json": {"schema": ref(endpoint.answers)}}}
    if endpoint.answers in ("Item", "Items", "Document", "Overlay", "Changed"):
        done["headers"] = {"ETag": {"schema": _TEXT, "description": "the version of what was read or written, for If-Match"}}
    responses: dict[str, Any] = {"200": done}
    for status in sorted({*_ALWAYS, *endpoint.refusals}):
        responses[str(status)] = {"description": _MEANINGS[status], "content": {"application/json": {"schema": ref("Error")}}}
    out: dict[str, Any] = {"operationId": endpoint.operation, "summary": endpoint.summary, "parameters": parameters, "responses": responses}
    if endpoint.body is not None:
        out["requestBody"] = {"required": True, "content": {endpoint.body_type: {"schema": endpoint.body}}}
    return out
