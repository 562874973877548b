"""Documents made from a JSON schema: arguments for tool calls and structured answers that validate against it.

Understands what tool and output schemas use: types and lists of types, properties, required, items, prefixItems, enum, const, anyOf, oneOf,
allOf, $ref into the same document, numeric and length bounds, common formats, and Gemini's upper-case types with `nullable`.
Repeatable: the same schema and hint give the same document. Bounded in depth, also for recursive schemas.
"""

from __future__ import annotations

import math
from typing import Any

MAX_DEPTH = 24
_OPTIONAL_DEPTH = 5
"""Below this depth only required members are written, so that recursive schemas end."""
_MAX_ITEMS = 64

_FORMATS = {
    "date-time": "2026-11-23T10:00:00Z",
    "date": "2026-11-23",
    "time": "10:00:00Z",
    "duration": "P1D",
    "email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
}


def document(schema: Any, hint: str = "sample") -> Any:
    """A value for `schema`. `hint` becomes the text of strings that nothing else determines."""
    return _value(schema, schema, hint, 0)


def _resolve(ref: str, root: Any) -> Any:
    """The schema that a local reference (`#/$defs/Name`) names; an unknown one allows anything."""
    found = root
    for step in ref.removeprefix("#").split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _merged(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    """`schema` with its $ref and allOf folded in."""
    out = dict(schema)
    for _ in range(MAX_DEPTH):
        ref = out.pop("$ref", None)
        parts = out.pop("allOf", None) or []
        if ref is None and not parts:
            break
        for part in ([_resolve(str(ref), root)] if ref is not None else []) + [p for p in parts if isinstance(p, dict)]:
            for key, value in part.items():
                if key == "properties" and isinstance(out.get(key), dict):
                    out[key] = {**value, **out[key]}
                elif key == "required" and isinstance(out.get(key), list):
                    out[key] = [*out[key], *value]
                elif key in ("$ref", "allOf") or key not in out:
                    out[key] = value
    return out


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if isinstance(kind, str):
        return kind.lower()
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if "minimum" in schema or "maximum" in schema:
        return "number"
    return "string"


def _value(schema: Any, root: Any, hint: str, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return hint if schema is not False and depth <= MAX_DEPTH else None
    schema = _merged(schema, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        options = schema.get(choice)
        if isinstance(options, list) and options:
            rest = {k: v for k, v in schema.items() if k != choice}
            # the last option of a recursive union is its way out ({"type": "null"} as a rule)
            option = options[0] if depth < _OPTIONAL_DEPTH else options[-1]
            merged = {**rest, **option} if isinstance(option, dict) else rest
            if isinstance(option, dict) and "properties" in rest and "properties" in option:
                merged["properties"] = {**rest["properties"], **option["properties"]}
            return _value(merged, root, hint, depth + 1)
    match _kind(schema):
        case "object":
            return _object(schema, root, hint, depth)
        case "array":
            return _array(schema, root, hint, depth)
        case "string":
            return _string(schema, hint)
        case "integer":
            return int(_number(schema, whole=True))
        case "number":
            return _number(schema, whole=False)
        case "boolean":
            return True
    return None


def _object(schema: dict[str, Any], root: Any, hint: str, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    required = schema.get("required")
    required = [k for k in required if isinstance(k, str)] if isinstance(required, list) else []
    names = [k for k in properties if depth < _OPTIONAL_DEPTH or k in required]
    out = {name: _value(properties[name], root, hint, depth + 1) for name in names}
    extra = schema.get("additionalProperties", {})
    for name in required:
        if name not in out:
            out[name] = _value(extra, root, hint, depth + 1)
    return out


def _array(schema: dict[str, Any], root: Any, hint: str, depth: int) -> list[Any]:
    first = schema.get("prefixItems")
    out = [_value(s, root, hint, depth + 1) for s in first[:_MAX_ITEMS]] if isinstance(first, list) else []
    least = schema.get("minItems")
    most = schema.get("maxItems")
    wanted = min(int(least), _MAX_ITEMS) if isinstance(least, (int, float, str)) and str(least).isdecimal() else 0
    if not out and wanted == 0 and depth < _OPTIONAL_DEPTH:
        wanted = 1
    if isinstance(most, int):
        wanted = min(wanted, most)
    items = schema.get("items", {})
    while len(out) < wanted:
        item = _value(items, root, hint, depth + 1)
        if schema.get("uniqueItems") and item in out:
            item = f"{item} {len(out)}" if isinstance(item, str) else item + len(out) if isinstance(item, int) else item
        out.append(item)
    return out


def _string(schema: dict[str, Any], hint: str) -> str:
    known = _FORMATS.get(str(schema.get("format")))
    if known is not None:
        return known
    text = hint
    least, most = schema.get("minLength"), schema.get("maxLength")
    if isinstance(least, int) and len(text) < least:
        text = (text + " ") * (least // (len(text) + 1) + 1)
        text = text[: min(least, 4096)]
    return text[:most] if isinstance(most, int) else text


def _number(schema: dict[str, Any], *, whole: bool) -> float:
    low, high = schema.get("minimum"), schema.get("maximum")
    over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    step = 1 if whole else 0.5
    number: float = 1
    if isinstance(over, (int, float)) and not isinstance(over, bool):
        low = max(over + step, low) if isinstance(low, (int, float)) else over + step
    if isinstance(under, (int, float)) and not isinstance(under, bool):
        high = min(under - step, high) if isinstance(high, (int, float)) else under - step
    if isinstance(low, (int, float)):
        number = max(number, math.ceil(low) if whole else low)
    if isinstance(high, (int, float)):
        number = min(number, math.floor(high) if whole else high)
    multiple = schema.get("multipleOf")
    if isinstance(multiple, (int, float)) and multiple > 0:
        number = math.ceil(number / multiple) * multiple
    return int(number) if whole else number
