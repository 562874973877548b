"""JSON schemas as Cohere's structured outputs take them.

They enforce a subset: assertions outside it move into the description, where the model still reads them, and `oneOf` becomes `anyOf`. A schema
that needs nothing is returned as it is, the same object. An output schema is an object in which every object requires something.
Source: https://docs.cohere.com/v2/docs/structured-outputs (parameter types support, schema constraints).
"""

from __future__ import annotations

from extproc.core.closed_schema import described
from extproc.core.ir import JSON

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
_FORMATS = ("date-time", "uuid", "date", "time")
_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "allOf", "oneOf")


def fitted(schema: JSON) -> JSON:
    """`schema` with what is not enforced described instead. Raises `BadRequestError` if it is nested too deep."""
    return described(schema, lambda name, value: name in _REFUSED or (name == "format" and value not in _FORMATS), close=False)


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
