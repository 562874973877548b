"""Is a request what Google's published schema allows? Strict: unknown members, wrong types and unknown enum values are refused.

Two oracles. Google's discovery document of Vertex AI v1beta1, which google-api-python-client packages, has the same messages as the Gemini API
but for the members listed here; the types of the google-genai SDK forbid unknown members. Rules that no schema states are checked in words.
"""

import base64
import binascii
import functools
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from google.genai import types

_PREFIX = "GoogleCloudAiplatformV1beta1"
_GEMINI_API_ONLY: dict[str, dict[str, Any]] = {
    "GenerateContentRequest": {
        "serviceTier": {"type": "string", "enum": ["unspecified", "standard", "flex", "priority"]},
        "store": {"type": "boolean"},
    },
    "ToolConfig": {"includeServerSideToolInvocations": {"type": "boolean"}},
    "Tool": {"fileSearch": {"type": "any"}},
    "Part": {"toolCall": {"type": "any"}, "toolResponse": {"type": "any"}},
    "ExecutableCode": {"id": {"type": "string"}},
    "CodeExecutionResult": {"id": {"type": "string"}},
}
"""Members that google-genai sends to the Gemini API (its `_to_mldev` functions) and Vertex AI does not have."""
_NOT_REQUIRED = {("FileData", "mimeType")}
"""Called required, but the Files API knows the type of its own files, and google-genai leaves it out."""

_KINDS = ("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult", "toolCall", "toolResponse")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")


class InvalidRequestError(AssertionError):
    """The request is not what the schema allows; the message starts with the path."""


@functools.cache
def _schemas() -> dict[str, Any]:
    spec = importlib.util.find_spec("googleapiclient")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "discovery_cache" / "documents" / "aiplatform.v1beta1.json"
    return orjson.loads(path.read_bytes())["schemas"]  # type: ignore[no-any-return]


def _check(value: Any, schema: dict[str, Any], path: str) -> None:
    ref = schema.get("$ref")
    if ref is not None:
        _check_message(value, ref.removeprefix(_PREFIX), path)
        return
    kind = schema["type"]
    good: dict[str, Callable[[], bool]] = {
        "any": lambda: True,
        "string": lambda: isinstance(value, str),
        "boolean": lambda: isinstance(value, bool),
        "integer": lambda: isinstance(value, int) and not isinstance(value, bool) and -(1 << 31) <= value < 1 << 31,
        "number": lambda: isinstance(value, int | float) and not isinstance(value, bool),
        "array": lambda: isinstance(value, list),
        "object": lambda: isinstance(value, dict),
    }
    if not good[kind]():
        raise InvalidRequestError(f"{path}: {value!r:.80} is not of type {kind}")
    if "enum" in schema and value not in schema["enum"]:
        raise InvalidRequestError(f"{path}: {value!r:.80} is not one of {schema['enum']}")
    if schema.get("format") == "byte":
        _check_base64(value, path)
    if kind == "array":
        for n, item in enumerate(value):
            _check(item, schema["items"], f"{path}[{n}]")
    if kind == "object" and "additionalProperties" in schema:
        for name, item in value.items():
            _check(item, schema["additionalProperties"], f"{path}.{name}")


def _check_base64(value: str, path: str) -> None:
    try:
        base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error:
        raise InvalidRequestError(f"{path}: not base64") from None


def _check_message(value: Any, name: str, path: str) -> None:
    schema = _schemas()[_PREFIX + name]
    properties = schema.get("properties", {}) | _GEMINI_API_ONLY.get(name, {})
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{path}: not an object")
    for member, item in value.items():
        if member not in properties:
            raise InvalidRequestError(f"{path}.{member}: unknown member of {name}")
        _check(item, properties[member], f"{path}.{member}")
    for member, described in properties.items():
        if described.get("description", "").startswith("Required") and member not in value and (name, member) not in _NOT_REQUIRED:
            raise InvalidRequestError(f"{path}.{member}: required")


def _rules(body: dict[str, Any]) -> None:
    contents = body["contents"]
    if not contents:
        raise InvalidRequestError("contents: empty")
    before: dict[str, Any] = {}
    for n, content in enumerate(contents):
        path = f"contents[{n}]"
        if content.get("role") not in ("user", "model"):
            raise InvalidRequestError(f"{path}.role: not user or model")
        if content["role"] == before.get("role"):
            raise InvalidRequestError(f"{path}.role: twice in a row")
        if not content["parts"]:
            raise InvalidRequestError(f"{path}.parts: empty")
        for m, part in enumerate(content["parts"]):
            if len(part.keys() & set(_KINDS)) != 1:
                raise InvalidRequestError(f"{path}.parts[{m}]: not exactly one kind of data")
        _pairing(before, content, path)
        before = content
    for tool in body.get("tools", []):
        for declaration in tool.get("functionDeclarations", []):
            if _NAME.fullmatch(declaration["name"]) is None:
                raise InvalidRequestError(f"tools: bad function name {declaration['name']!r}")
            if declaration.keys() >= {"parameters", "parametersJsonSchema"}:
                raise InvalidRequestError("tools: parameters and parametersJsonSchema exclude each other")
    config = body.get("generationConfig", {})
    if "responseJsonSchema" in config and ("responseSchema" in config or config.get("responseMimeType") != "application/json"):
        raise InvalidRequestError("generationConfig: responseJsonSchema needs application/json and stands alone")
    if config.get("thinkingConfig", {}).keys() >= {"thinkingBudget", "thinkingLevel"}:
        raise InvalidRequestError("generationConfig.thinkingConfig: budget and level exclude each other")
    if len(config.get("stopSequences", [])) > 5:
        raise InvalidRequestError("generationConfig.stopSequences: more than five")
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    if "allowedFunctionNames" in calling and calling.get("mode") not in ("ANY", "VALIDATED"):
        raise InvalidRequestError("toolConfig: allowedFunctionNames need mode ANY or VALIDATED")


def _pairing(before: dict[str, Any], content: dict[str, Any], path: str) -> None:
    calls = [part["functionCall"] for part in before.get("parts", []) if "functionCall" in part]
    results = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
    if not results:
        return
    if [c["name"] for c in calls] != [r["name"] for r in results] or [c.get("id") for c in calls] != [r.get("id") for r in results]:
        raise InvalidRequestError(f"{path}: function responses do not match the function calls before them")
    if not all("functionResponse" in part for part in content["parts"][: len(results)]):
        raise InvalidRequestError(f"{path}: function responses must come first")


def check_request(raw: bytes) -> dict[str, Any]:
    """The parsed body. Raises `InvalidRequestError` or pydantic's `ValidationError`."""
    body: dict[str, Any] = orjson.loads(raw)
    _check_message(body, "GenerateContentRequest", "body")
    _rules(body)
    for content in body["contents"]:
        types.Content.model_validate(content)
    for tool in body.get("tools", []):
        types.Tool.model_validate(tool)
    types.ToolConfig.model_validate(body.get("toolConfig", {}))
    types.GenerationConfig.model_validate(body.get("generationConfig", {}))
    return body


def check_part_of(value: dict[str, Any], name: str) -> None:
    """Any message of the schema, `CountTokensRequest`. Raises `InvalidRequestError`."""
    _check_message(value, name, name)


def check_answer(answer: dict[str, Any]) -> None:
    """One answer, or one chunk of a stream, for a client. Raises `InvalidRequestError`."""
    _check_message(answer, "GenerateContentResponse", "answer")
    for n, candidate in enumerate(answer.get("candidates", ())):
        for m, part in enumerate(candidate.get("content", {}).get("parts", ())):
            if len(part.keys() & set(_KINDS)) != 1:
                raise InvalidRequestError(f"candidates[{n}].parts[{m}]: not exactly one kind of data")
