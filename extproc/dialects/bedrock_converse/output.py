"""Structured output: a schema where the model has it, else an instruction. Source: `OutputConfig` of the service model."""

from __future__ import annotations

import orjson

from extproc.core.closed_schema import closed
from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON
from extproc.dialects.bedrock_converse.draft import Draft

_JSON_ONLY = "Respond with a single valid JSON object and nothing else: no prose, no code fence."


def encode_output(draft: Draft) -> None:
    """Writes `outputConfig`, or an instruction in the system text. Raises `BadRequestError`."""
    wanted, turns, losses = draft.request.output, draft.turns, draft.losses
    if wanted is None:
        return
    if wanted.kind == "json":
        losses.add("coerced:json_object", "there is no JSON mode: an instruction asks for JSON")
        turns.system.append({"text": _JSON_ONLY})
        return
    if not isinstance(wanted.schema, dict):
        raise BadRequestError("the output schema must be an object", param="response_format")
    if not draft.family.structured:
        losses.add("coerced:response_format", "the model has no structured output: an instruction gives the schema")
        turns.system.append({"text": f"{_JSON_ONLY} It must fit this JSON schema: {_dumps(wanted.schema)}"})
        return
    schema = closed(wanted.schema)
    if schema is not wanted.schema:
        losses.add("coerced:json_schema", "objects were closed, and assertions that are refused were put into descriptions")
    definition: dict[str, JSON] = {"schema": _dumps(schema)}
    if wanted.name:
        definition["name"] = wanted.name
    if wanted.description:
        definition["description"] = wanted.description
    draft.members["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": definition}}}


def _dumps(schema: JSON) -> str:
    try:
        return orjson.dumps(schema).decode()
    except TypeError:
        raise BadRequestError("the output schema cannot be written as JSON", param="response_format") from None
