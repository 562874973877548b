"""What we answer without a provider: the list of models in the shape of each family's SDK, one model, and what probes ask."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from extproc.core.dialect import Need
from extproc.core.errors import ApiError, ErrorKind
from extproc.core.operation import Operation
from extproc.registry.policy import Tenant
from extproc.registry.types import Model, Registry
from extproc.routing.filters import permits
from extproc.stages.operations import ANTHROPIC, COHERE, GEMINI, MISTRAL, OLLAMA, Asked, Own, unknown_model

OLLAMA_VERSION = "0.12.6"
"""The version of Ollama's API that we speak: some of its clients refuse to talk to an older one."""

_SOME_DAY = "1970-01-01T00:00:00Z"
_NO_DETAILS = {"parent_model": "", "format": "", "family": "", "families": [], "parameter_size": "", "quantization_level": ""}
_GEMINI_METHODS = {
    Operation.CHAT: ("generateContent", "streamGenerateContent"),
    Operation.COUNT_TOKENS: ("countTokens",),
    Operation.EMBEDDINGS: ("embedContent", "batchEmbedContents"),
}
_COHERE_ENDPOINTS = {Operation.CHAT: "chat", Operation.EMBEDDINGS: "embed", Operation.RERANK: "rerank"}


@dataclass(frozen=True, slots=True)
class _Card:
    """What is told of a model: what some target of it may do, and the largest windows (tokens) that are known of one."""

    name: str
    operations: frozenset[Operation]
    needs: frozenset[str]
    window: int | None
    most: int | None


def answer(asked: Asked, registry: Registry, started: int, body: Any = None, tenant: Tenant | None = None) -> bytes:
    """The body of our answer. `started` is in Unix seconds; `body` the parsed request of one that has a body. `tenant` is who asks: there is no model
    that is not theirs to use. Raises `ApiError`: an unknown model."""
    dialect = asked.form or asked.dialect
    match asked.own:
        case Own.MODELS:
            # the names that applications may ask for, aliases too; wildcards are no names
            models = registry.models.values()
            names = sorted({n for m in models for n in (m.name, *m.aliases) if not n.endswith("*") and (tenant is None or permits(tenant, m, n))})
            return orjson.dumps(_list([_card(name, registry, tenant) for name in names], dialect, started))
        case Own.MODEL:
            name = asked.model.removeprefix("models/") if dialect == GEMINI else asked.model
            return orjson.dumps(_one(_card(name, registry, tenant), dialect, started))
        case Own.SHOW:
            asked_for = (body.get("model") or body.get("name")) if isinstance(body, dict) else None
            if not isinstance(asked_for, str) or not asked_for:
                raise ApiError(ErrorKind.INVALID_REQUEST, "`model` is required and must be a string", param="model")
            return orjson.dumps(_shown(_card(asked_for, registry, tenant)))
        case Own.VERSION:
            return orjson.dumps({"version": OLLAMA_VERSION})
        case _:
            return b'{"service":"llm-extproc","models":"/v1/models"}'


def _card(name: str, registry: Registry, tenant: Tenant | None) -> _Card:
    model: Model | None = registry.resolve(name)
    if model is None or (tenant is not None and not permits(tenant, model, name)):
        raise unknown_model(name)
    targets = [registry.targets[target] for rank in model.ranks for target, _ in rank.targets]
    return _Card(
        name,
        frozenset(upstream.operation for target in targets for upstream in target.upstreams),
        frozenset(need for need in (Need.TOOLS, Need.VISION) if any(target.capabilities.get(need, True) for target in targets)),
        _largest(target.facts.context_window for target in targets),
        _largest(target.facts.max_output_tokens for target in targets),
    )


def _largest(numbers: Iterable[int | None]) -> int | None:
    return max((n for n in numbers if n is not None), default=None)


def _list(cards: list[_Card], dialect: str, started: int) -> dict[str, object]:
    models = [_one(card, dialect, started) for card in cards]
    if dialect == ANTHROPIC:
        return {"data": models, "has_more": False, "first_id": cards[0].name if cards else None, "last_id": cards[-1].name if cards else None}
    if dialect in (GEMINI, OLLAMA, COHERE):
        return {"models": models}
    return {"object": "list", "data": models}


def _one(card: _Card, dialect: str, started: int) -> dict[str, object]:
    """Sources: the list of models in the reference of each API, and what their SDKs require of an entry."""
    name, window = card.name, card.window
    if dialect == ANTHROPIC:
        return {"type": "model", "id": name, "display_name": name, "created_at": _SOME_DAY, "max_input_tokens": window, "max_tokens": card.most}
    if dialect == GEMINI:
        methods = [method for operation, found in _GEMINI_METHODS.items() if operation in card.operations for method in found]
        limits = {"inputTokenLimit": window, "outputTokenLimit": card.most}
        known = {limit: number for limit, number in limits.items() if number is not None}
        return {"name": f"models/{name}", "displayName": name, **known, "supportedGenerationMethods": methods}
    if dialect == COHERE:
        endpoints = [endpoint for operation, endpoint in _COHERE_ENDPOINTS.items() if operation in card.operations]
        return {"name": name, "is_deprecated": False, "endpoints": endpoints, "finetuned": False, "context_length": window, "features": None}
    if dialect == OLLAMA:
        return {"name": name, "model": name, "modified_at": _SOME_DAY, "size": 0, "digest": "", "details": _NO_DETAILS}
    entry: dict[str, object] = {"id": name, "object": "model", "created": started, "owned_by": "llm-extproc"}
    if dialect == MISTRAL:
        able = {
            "completion_chat": Operation.CHAT in card.operations,
            "function_calling": Need.TOOLS in card.needs,
            "vision": Need.VISION in card.needs,
        }
        entry |= {"type": "base", "name": name, "aliases": [], "capabilities": able}
        if window is not None:
            entry["max_context_length"] = window
    return entry


def _shown(card: _Card) -> dict[str, object]:
    """Ollama's /api/show: clients look for `capabilities` there."""
    able = [
        *(["completion"] if Operation.CHAT in card.operations else []),
        *(["embedding"] if Operation.EMBEDDINGS in card.operations else []),
        *(need for need in ("tools", "vision") if need in card.needs and Operation.CHAT in card.operations),
    ]
    known = {"general.architecture": "llm", "llm.context_length": card.window} if card.window is not None else {}
    texts = {"modelfile": "", "parameters": "", "template": "", "license": ""}
    return {**texts, "details": _NO_DETAILS, "model_info": known, "capabilities": able, "modified_at": _SOME_DAY}
