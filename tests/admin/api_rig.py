"""The admin API over a live registry, asked without a network; every answer is held to the OpenAPI document."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from jsonschema import Draft202012Validator
from referencing import Registry as Schemas
from referencing import Resource as Schema
from referencing.jsonschema import DRAFT202012

from extproc.admin.api import Api, Explain
from extproc.admin.application import application
from extproc.admin.door import Token
from extproc.admin.endpoints import ENDPOINTS, document
from extproc.dialects.catalog import DIALECTS
from extproc.routing.health import Health
from extproc.stages.services import Services
from tests.admin.live_rig import Rig

_DOCUMENT = document("0")
_SCHEMAS: Any = Schemas().with_resource("openapi", Schema(_DOCUMENT, DRAFT202012))


def no_explanation(raw: bytes, path: str | None, headers: Mapping[str, str], method: str) -> dict[str, Any]:
    raise AssertionError("nobody asked for it")


class ApiRig(Rig):
    """`ask` is a caller; `client` may have another door."""

    def __init__(self, directory: Path, *, explain: Explain = no_explanation, token: Path | None = None, **more: Any) -> None:
        super().__init__(directory, **more)
        self.services = Services(
            snapshots=self.snapshots,
            dialects=DIALECTS,
            health=Health(time.monotonic),
            monotonic=time.monotonic,
            wall=time.time,
            random=random.Random(1),
            new_id=lambda: "id",
        )
        self.api = Api(self.live, self.revise, self.services, explain, "0", lambda: None, self.now)
        app = application(self.api, Token(token) if token is not None else None)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://localhost")

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """`headers` with _ for -. The answer fits the document."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
        response = await self.client.request(method, path, headers=named, **content)
        fits(method, path, response)
        return response

    async def get(self, path: str) -> Any:
        response = await self.ask("GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    async def etag(self, path: str) -> str:
        response = await self.ask("GET", path)
        assert response.status_code == 200, response.text
        return response.headers["etag"]

    async def change(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """With the ETag of what stands there; it must be done."""
        response = await self.ask(method, path, body, if_match=await self.etag(path.partition("?")[0]), **headers)
        assert response.status_code == 200, response.text
        return response.json()


def fits(method: str, path: str, response: httpx.Response) -> None:
    """Raises for an answer that the OpenAPI document does not announce."""
    said = _operation(method, path.partition("?")[0])
    if said is None:
        assert response.status_code in (404, 405)
        schema: Any = {"$ref": "openapi#/components/schemas/Error"}
    else:
        assert str(response.status_code) in said["responses"], f"{method} {path}: {response.status_code} is not announced"
        reference = said["responses"][str(response.status_code)]["content"]["application/json"]["schema"]["$ref"]
        schema = {"$ref": f"openapi{reference}"}
    assert response.headers["content-type"] == "application/json"
    if method != "HEAD":
        Draft202012Validator(schema, registry=_SCHEMAS).validate(response.json())


def _operation(method: str, path: str) -> Any:
    """Templates without parameters first, those of names last."""
    for template in sorted({e.path for e in ENDPOINTS}, key=lambda p: (p.endswith("}"), "{" in p)):
        if _matches(template, path):
            return _DOCUMENT["paths"][template].get(method.lower())
    return None


def _matches(template: str, path: str) -> bool:
    wanted, given = template.split("/"), path.split("/")
    if template.startswith(("/v1/models/", "/v1/tenants/")):
        given = [*given[:3], "/".join(given[3:])]
    return len(wanted) == len(given) and all(w == g or (w.startswith("{") and g) for w, g in zip(wanted, given, strict=True))
