"""JSON schemas for structured output: what a vendor refuses moves into the description; for Anthropic and Bedrock every object is closed.

Their constrained decoding wants every object closed (`additionalProperties: false`) and refuses some assertions; other vendors take open objects.
So objects are closed, and assertions that are refused move into the description, where the model still reads them. A schema that needs
nothing is returned as it is, the same object.
Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs (JSON schema limitations), the SDK's `transform_schema`.
"""

from __future__ import annotations

from collections.abc import Callable

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
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "contains",
        "patternProperties",
        "propertyNames",
    }
)
_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "allOf")


def closed(schema: JSON) -> JSON:
    """`schema` with every object closed and refused assertions described instead. Raises `BadRequestError` if it is nested too deep."""
    return described(schema, _refused, close=True)


def _refused(name: str, value: JSON) -> bool:
    return name in _REFUSED or (name == "minItems" and value not in (0, 1))


def described(schema: JSON, refused: Callable[[str, JSON], bool], *, close: bool, depth: int = 0) -> JSON:
    """`schema` with what is `refused(name, value)` in its descriptions instead, `oneOf` as `anyOf`, and with `close` every object closed. The
    same object if nothing changes. Raises `BadRequestError` if it is nested too deep."""
    if not isinstance(schema, dict):
        return schema
    if depth > _MAX_DEPTH:
        raise BadRequestError(f"the schema is nested deeper than {_MAX_DEPTH} levels", param="response_format")
    out: dict[str, JSON] = {}
    noted: list[str] = []
    changed = False
    for name, value in schema.items():
        if refused(name, value):
            noted.append(f"{name}: {orjson.dumps(value).decode()}")
            continue
        new, place = value, name
        if name in _MAPS and isinstance(value, dict):
            new = {key: described(inner, refused, close=close, depth=depth + 1) for key, inner in value.items()}
            if all(new[key] is value[key] for key in value):
                new = value
        elif (name in _LISTS or name == "oneOf") and isinstance(value, list):
            # `oneOf` is refused; what it adds to `anyOf` is that only one matches
            place = "anyOf" if name == "oneOf" and "anyOf" not in schema else name
            new = [described(inner, refused, close=close, depth=depth + 1) for inner in value]
            if all(a is b for a, b in zip(new, value, strict=True)):
                new = value
        elif name == "items":
            new = described(value, refused, close=close, depth=depth + 1)
        changed = changed or new is not value or place != name
        out[place] = new
    if noted:
        said = schema.get("description")
        text = "{" + ", ".join(noted) + "}"
        out["description"] = f"{said}\n\n{text}" if isinstance(said, str) and said else text
        changed = True
    kind = out.get("type")
    is_object = kind == "object" or "properties" in out or (isinstance(kind, list) and "object" in kind)
    if close and is_object and out.get("additionalProperties") is not False:
        out["additionalProperties"] = False
        changed = True
    return out if changed else schema
