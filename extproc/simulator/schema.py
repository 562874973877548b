"""Documents made from a JSON schema: arguments for tool calls and structured answers that validate against it.

Understands what tool and output schemas use: types and lists of types, properties, required, items, prefixItems, enum, const, anyOf, oneOf,
allOf, $ref into the same document, numeric and length bounds, common formats, and Gemini's upper-case types with `nullable`.
Repeatable: the same schema and hint give the same document. Bounded in depth, also for recursive schemas.
"""

from __future__ import annotations

import math
from typing import Any

MAX_DEPTH = 24
MAX_VALUES = 10_000
_OPTIONAL_DEPTH = 5
"""Below this depth only required members are written, so that recursive schemas end."""
_MAX_ITEMS = 64
_MAX_LENGTH = 4096

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
    return _value(schema, _Frame(schema, hint), 0)


class _Frame:
    """What one document is made with. `left` bounds its size: schemas that refer to themselves twice would double at every level."""

    __slots__ = ("hint", "left", "root")

    def __init__(self, root: Any, hint: str) -> None:
        self.root = root
        self.hint = hint
        self.left = MAX_VALUES


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
        parts = _list(out.pop("allOf", None))
        if ref is None and not parts:
            break
        for part in ([_resolve(str(ref), root)] if ref is not None else []) + [p for p in parts if isinstance(p, dict)]:
            for key, value in part.items():
                if key == "properties" and isinstance(out.get(key), dict) and isinstance(value, dict):
                    out[key] = {**value, **out[key]}
                elif key == "required" and isinstance(out.get(key), list):
                    out[key] = [*out[key], *_list(value)]
                elif key in ("$ref", "allOf") or key not in out:
                    out[key] = value
    return out


def _list(value: Any) -> list[Any]:
    """A schema is a client's text: a member of another type counts as absent."""
    return value if isinstance(value, list) else []


def _int(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        # protobuf writes 64-bit numbers as strings
        return int(value)
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9 else None


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


def _value(schema: Any, frame: _Frame, depth: int) -> Any:
    frame.left -= 1
    if depth > MAX_DEPTH or frame.left < 0 or schema is False:
        return None
    if not isinstance(schema, dict):
        return frame.hint
    schema = _merged(schema, frame.root)
    if "const" in schema:
        return schema["const"]
    if _list(schema.get("enum")):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        options = _list(schema.get(choice))
        if options:
            rest = {k: v for k, v in schema.items() if k != choice}
            # the last option of a recursive union is its way out ({"type": "null"} as a rule)
            option = options[0] if depth < _OPTIONAL_DEPTH else options[-1]
            merged = {**rest, **option} if isinstance(option, dict) else rest
            if isinstance(option, dict) and isinstance(rest.get("properties"), dict) and isinstance(option.get("properties"), dict):
                merged["properties"] = {**rest["properties"], **option["properties"]}
            return _value(merged, frame, depth + 1)
    match _kind(schema):
        case "object":
            return _object(schema, frame, depth)
        case "array":
            return _array(schema, frame, depth)
        case "string":
            return _string(schema, frame.hint)
        case "integer":
            return int(_number(schema, whole=True))
        case "number":
            return _number(schema, whole=False)
        case "boolean":
            return True
    return None


def _object(schema: dict[str, Any], frame: _Frame, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    required = [k for k in _list(schema.get("required")) if isinstance(k, str)]
    names = [k for k in properties if depth < _OPTIONAL_DEPTH or k in required]
    out = {name: _value(properties[name], frame, depth + 1) for name in names}
    extra = schema.get("additionalProperties", {})
    for name in required:
        if name not in out:
            out[name] = _value(extra, frame, depth + 1)
    return out


def _array(schema: dict[str, Any], frame: _Frame, depth: int) -> list[Any]:
    out = [_value(s, frame, depth + 1) for s in _list(schema.get("prefixItems"))[:_MAX_ITEMS]]
    most = _int(schema.get("maxItems"))
    wanted = min(_int(schema.get("minItems")) or 0, _MAX_ITEMS)
    if not out and wanted == 0 and depth < _OPTIONAL_DEPTH:
        wanted = 1
    if most is not None:
        wanted = min(wanted, most)
    items = schema.get("items", {})
    while len(out) < wanted:
        item = _value(items, frame, depth + 1)
        if schema.get("uniqueItems") and item in out:
            item = f"{item} {len(out)}" if isinstance(item, str) else item + len(out) if isinstance(item, int) else item
        out.append(item)
    return out


def _string(schema: dict[str, Any], hint: str) -> str:
    known = _FORMATS.get(str(schema.get("format")))
    if known is not None:
        return known
    text = hint
    least, most = _int(schema.get("minLength")), _int(schema.get("maxLength"))
    if least is not None and len(text) < least:
        least = min(least, _MAX_LENGTH)
        text = ((text + " ") * (least // (len(text) + 1) + 1))[:least]
    return text[: max(most, 0)] if most is not None else text


def _number(schema: dict[str, Any], *, whole: bool) -> float:
    low, high, over, under = (_finite(schema.get(k)) for k in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
    step = 1 if whole else 0.5
    number: float = 1
    if over is not None:
        low = over + step if low is None else max(over + step, low)
    if under is not None:
        high = under - step if high is None else min(under - step, high)
    if low is not None:
        number = max(number, math.ceil(low) if whole else low)
    if high is not None:
        number = min(number, math.floor(high) if whole else high)
    multiple = _finite(schema.get("multipleOf"))
    if multiple is not None and multiple > 1e-9:
        number = math.ceil(number / multiple) * multiple
    return int(number) if whole else number


def _finite(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15 else None
