"""Gemini's older schema language to JSON schema.

`parameters` and `responseSchema` hold a subset of OpenAPI 3.0 (upper-case types, `nullable`, 64-bit counts as strings, `propertyOrdering`);
other dialects want JSON schema. The other direction needs no conversion: `parametersJsonSchema` and `responseJsonSchema` take JSON schema.
Reference: https://ai.google.dev/api/caching#Schema.
"""

from __future__ import annotations

import re
from typing import Any

from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON

_MAX_DEPTH = 100
_BY_NUMBER = ("", "string", "number", "integer", "boolean", "array", "object", "null")
"""`Type` of google/ai/generativelanguage and google/cloud/aiplatform."""
_TYPES = frozenset(name.upper() for name in _BY_NUMBER[1:])
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_COUNT = re.compile(r"[0-9]{1,18}")
"""What 64 bits hold."""
_NAMES = {
    "any_of": "anyOf",
    "max_items": "maxItems",
    "min_items": "minItems",
    "max_length": "maxLength",
    "min_length": "minLength",
    "max_properties": "maxProperties",
    "min_properties": "minProperties",
    "property_ordering": "propertyOrdering",
    "additional_properties": "additionalProperties",
}


def json_schema(schema: JSON, depth: int = 0) -> JSON:
    """The JSON schema of a Gemini `Schema`. A schema that is already JSON schema comes back equal. Raises `BadRequestError` if too deep."""
    if not isinstance(schema, dict):
        return schema
    if depth > _MAX_DEPTH:
        raise BadRequestError("a schema is nested too deep", param="tools")
    out: dict[str, Any] = {}
    ordering: list[str] = []
    nullable = False
    for raw_key, value in schema.items():
        key = _NAMES.get(raw_key) or raw_key
        if key == "type" and type(value) is int:
            # clients built on Google's REST transport write enums as numbers
            if 0 < value < len(_BY_NUMBER):
                out["type"] = _BY_NUMBER[value]
        elif key == "type" and isinstance(value, str):
            if value != "TYPE_UNSPECIFIED":
                out["type"] = value.lower() if value in _TYPES else value
        elif key == "nullable":
            nullable = value is True
        elif key == "propertyOrdering" and isinstance(value, list):
            ordering = [name for name in value if isinstance(name, str)]
        elif key == "properties" and isinstance(value, dict):
            out[key] = {name: json_schema(child, depth + 1) for name, child in value.items()}
        elif key in ("defs", "$defs") and isinstance(value, dict):
            out["$defs"] = {name: json_schema(child, depth + 1) for name, child in value.items()}
        elif key in ("items", "additionalProperties"):
            out[key] = json_schema(value, depth + 1)
        elif key in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list):
            out[key] = [json_schema(child, depth + 1) for child in value]
        elif key in _COUNTS and isinstance(value, str) and _COUNT.fullmatch(value):
            out[key] = int(value)
        elif key == "ref":
            out["$ref"] = value
        elif key == "example":
            out["examples"] = [value]
        else:
            out[key] = value
    if ordering and isinstance(out.get("properties"), dict):
        properties = out["properties"]
        first = {name: properties[name] for name in ordering if name in properties}
        out["properties"] = first | {name: child for name, child in properties.items() if name not in first}
    return _nullable(out) if nullable else out


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """`nullable: true` in JSON schema's words."""
    kind = schema.get("type")
    if isinstance(kind, str):
        schema["type"] = [kind, "null"]
        if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
    elif isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    return schema
