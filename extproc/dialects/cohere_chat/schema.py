"""JSON schemas as Cohere's structured outputs take them.

They enforce a subset: assertions outside it move into the description, where the model still reads them, and `oneOf` becomes `anyOf`. A schema
that needs nothing is returned as it is, the same object. An output schema is an object in which every object requires something.
Source: https://docs.cohere.com/v2/docs/structured-outputs (parameter types support, schema constraints).
"""

from __future__ import annotations

import orjson

from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON

_MAX_DEPTH = 64
_REFUSED = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "contains",
        "patternProperties",
        "propertyNames",
    }
)
_FORMATS = frozenset({"date-time", "uuid", "date", "time"})
_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "allOf", "oneOf")


def fitted(schema: JSON, depth: int = 0) -> JSON:
    """`schema` with what is not enforced described instead. Raises `BadRequestError` if it is nested too deep."""
    if not isinstance(schema, dict):
        return schema
    if depth > _MAX_DEPTH:
        raise BadRequestError(f"the schema is nested deeper than {_MAX_DEPTH} levels", param="response_format")
    out: dict[str, JSON] = {}
    noted: list[str] = []
    changed = False
    for name, value in schema.items():
        if name in _REFUSED or (name == "format" and value not in _FORMATS):
            noted.append(f"{name}: {orjson.dumps(value).decode()}")
            continue
        new, place = value, name
        if name in _MAPS and isinstance(value, dict):
            new = {key: fitted(inner, depth + 1) for key, inner in value.items()}
            if all(new[key] is value[key] for key in value):
                new = value
        elif name in _LISTS and isinstance(value, list):
            place = "anyOf" if name == "oneOf" and "anyOf" not in schema else name
            new = [fitted(inner, depth + 1) for inner in value]
            if all(a is b for a, b in zip(new, value, strict=True)):
                new = value
        elif name == "items":
            new = fitted(value, depth + 1)
        changed = changed or new is not value or place != name
        out[place] = new
    if noted:
        described = schema.get("description")
        text = "{" + ", ".join(noted) + "}"
        out["description"] = f"{described}\n\n{text}" if isinstance(described, str) and described else text
        changed = True
    return out if changed else schema


def complete(schema: JSON) -> bool:
    """Is every object in it closed, and every property required? OpenAI refuses a strict tool with any other schema."""
    if not isinstance(schema, dict):
        return False
    left: list[JSON] = [schema]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += one
        elif isinstance(one, dict):
            properties = one.get("properties")
            named = properties.keys() if isinstance(properties, dict) else set()
            required = one.get("required")
            wanted = set(map(str, required)) if isinstance(required, list) else set()
            if one.get("type") == "object" and (one.get("additionalProperties") is not False or named != wanted):
                return False
            left += _inner(one)
    return True


def enforceable(schema: JSON) -> bool:
    """Is it an object that is enforced as a whole: does every object in it require something?"""
    return isinstance(schema, dict) and schema.get("type") == "object" and _requires(schema)


def _requires(schema: JSON) -> bool:
    left: list[JSON] = [schema]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += one
        elif isinstance(one, dict):
            if one.get("type") == "object" and not one.get("required"):
                return False
            left += _inner(one)
    return True


def _inner(schema: dict[str, JSON]) -> list[JSON]:
    """The schemas inside a schema."""
    found = [schema[name] for name in (*_LISTS, "items") if name in schema]
    for name in _MAPS:
        inner = schema.get(name)
        found += inner.values() if isinstance(inner, dict) else ()
    return found
