"""What we answer without a provider: the list of models in the shape of each family's SDK, one model, and what probes ask."""

from __future__ import annotations

from typing import Any

import orjson

from extproc.core.errors import ApiError, ErrorKind
from extproc.registry.types import Registry
from extproc.stages.operations import ANTHROPIC, GEMINI, OLLAMA, Asked, Own, unknown_model

OLLAMA_VERSION = "0.12.6"
"""The version of Ollama's API that we speak: some of its clients refuse to talk to an older one."""

_SOME_DAY = "1970-01-01T00:00:00Z"
_NO_DETAILS = {"parent_model": "", "format": "", "family": "", "families": [], "parameter_size": "", "quantization_level": ""}


def answer(asked: Asked, registry: Registry, started: int, body: Any = None) -> bytes:
    """The body of our answer. `started` is in Unix seconds; `body` the parsed request of one that has a body. Raises `ApiError`: an unknown model."""
    match asked.own:
        case Own.MODELS:
            return _list(registry, asked.dialect, started)
        case Own.MODEL:
            return _one(_known(registry, asked.model.removeprefix("models/") if asked.dialect == GEMINI else asked.model), asked.dialect, started)
        case Own.SHOW:
            name = (body.get("model") or body.get("name")) if isinstance(body, dict) else None
            if not isinstance(name, str) or not name:
                raise ApiError(ErrorKind.INVALID_REQUEST, "`model` is required and must be a string", param="model")
            _known(registry, name)
            shown = {"modelfile": "", "parameters": "", "template": "", "license": "", "details": _NO_DETAILS, "model_info": {}}
            return orjson.dumps({**shown, "capabilities": ["completion", "tools"], "modified_at": _SOME_DAY})
        case Own.VERSION:
            return orjson.dumps({"version": OLLAMA_VERSION})
        case _:
            return b'{"service":"llm-extproc","models":"/v1/models"}'


def _known(registry: Registry, name: str) -> str:
    if registry.resolve(name) is None:
        raise unknown_model(name)
    return name


def _list(registry: Registry, dialect: str, started: int) -> bytes:
    """The models that applications may ask for, exact names and aliases. Wildcards are no names."""
    names = sorted({n for m in registry.models.values() for n in (m.name, *m.aliases) if not n.endswith("*")})
    if dialect == ANTHROPIC:
        data = [_anthropic(n) for n in names]
        return orjson.dumps({"data": data, "has_more": False, "first_id": names[0] if names else None, "last_id": names[-1] if names else None})
    if dialect == GEMINI:
        return orjson.dumps({"models": [_gemini(n) for n in names]})
    if dialect == OLLAMA:
        return orjson.dumps({"models": [_ollama(n) for n in names]})
    return orjson.dumps({"object": "list", "data": [_openai(n, started) for n in names]})


def _one(name: str, dialect: str, started: int) -> bytes:
    if dialect == ANTHROPIC:
        return orjson.dumps(_anthropic(name))
    return orjson.dumps(_gemini(name) if dialect == GEMINI else _openai(name, started))


def _openai(name: str, created: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created, "owned_by": "llm-extproc"}


def _anthropic(name: str) -> dict[str, object]:
    return {"type": "model", "id": name, "display_name": name, "created_at": _SOME_DAY}


def _gemini(name: str) -> dict[str, object]:
    methods = ["generateContent", "streamGenerateContent", "countTokens"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}


def _ollama(name: str) -> dict[str, object]:
    return {"name": name, "model": name, "modified_at": _SOME_DAY, "size": 0, "digest": "", "details": _NO_DETAILS}
