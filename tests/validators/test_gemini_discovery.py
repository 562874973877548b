"""The validator must be able to say no: without that it would prove nothing."""

import copy
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from tests.validators.gemini_discovery import InvalidRequestError, check_request

GOOD: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "s"}]},
    "contents": [
        {"role": "user", "parts": [{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"x": 1}, "id": "c"}, "thoughtSignature": "c2ln"}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "r"}, "id": "c"}}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object", "$ref": "#"}}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {"temperature": 1, "maxOutputTokens": 5, "stopSequences": ["x"], "thinkingConfig": {"thinkingLevel": "LOW"}},
}


def test_takes_a_good_request() -> None:
    assert check_request(orjson.dumps(GOOD)) == GOOD


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("stream", True),
        ("contents", []),
        ("contents.0.role", "assistant"),
        ("contents.1.role", "user"),
        ("contents.0.parts", []),
        ("contents.0.parts.0.type", "text"),
        ("contents.0.parts.0.text", 5),
        ("contents.0.parts.0.inlineData", {"mimeType": "image/png", "data": "aGk="}),
        ("contents.0.parts.1.inlineData.data", "%%%"),
        ("contents.0.parts.1.inlineData", {"data": "aGk="}),
        ("contents.1.parts.0.functionCall.args", "{}"),
        ("contents.2.parts.0.functionResponse.response", "text"),
        ("contents.2.parts.0.functionResponse.name", "g"),
        ("contents.2.parts.0.functionResponse.id", "other"),
        ("contents.2.parts", [{"text": "first"}, {"functionResponse": {"name": "f", "response": {}, "id": "c"}}]),
        ("tools.0.functionDeclarations.0.name", "1f"),
        ("tools.0.functionDeclarations.0.parameters", {"type": "OBJECT"}),
        ("tools.0.functionDeclarations.0.strict", True),
        ("toolConfig.functionCallingConfig.mode", "REQUIRED"),
        ("toolConfig.functionCallingConfig.mode", "AUTO"),
        ("generationConfig.maxOutputTokens", 5.5),
        ("generationConfig.maxOutputTokens", 1 << 31),
        ("generationConfig.stopSequences", "x"),
        ("generationConfig.stopSequences", list("abcdef")),
        ("generationConfig.max_tokens", 5),
        ("generationConfig.thinkingConfig.thinkingLevel", "XLOW"),
        ("generationConfig.thinkingConfig.thinkingBudget", 5),
        ("generationConfig.responseJsonSchema", {}),
    ],
)
def test_refuses(path: str, value: Any) -> None:
    body = copy.deepcopy(GOOD)
    place: Any = body
    *way, last = path.split(".")
    for step in way:
        place = place[int(step) if isinstance(place, list) else step]
    place[int(last) if isinstance(place, list) else last] = value
    with pytest.raises((InvalidRequestError, ValidationError)):
        check_request(orjson.dumps(body))
