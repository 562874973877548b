"""What a Gemini request depends on, read off the parsed body before anything is translated. Cheap, and total over every shape."""

from __future__ import annotations

from typing import Any

from extproc.core.dialect import Need
from extproc.core.ir import JSON
from extproc.dialects.gemini.wire import ENUM_OUTPUT, MODALITIES, camel, enum_name, is_google_file

_MEDIA = {"image": Need.VISION, "audio": Need.AUDIO, "video": Need.VIDEO}
_BY_URL = {"image": Need.IMAGE_URL, "audio": Need.AUDIO_URL}
_SERVER_PARTS = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
_OUTPUTS = {"IMAGE": Need.OUTPUT_IMAGE, "AUDIO": Need.OUTPUT_AUDIO}


def _objects(value: JSON) -> list[dict[str, Any]]:
    values = value if isinstance(value, list) else [value]
    return [camel(v) for v in values if isinstance(v, dict)]


def _object(value: JSON) -> dict[str, Any]:
    return camel(value) if isinstance(value, dict) else {}


def needs(body: JSON) -> frozenset[str]:
    """Values of `Need`."""
    root = _object(body)
    found: set[str] = set()
    role = None
    contents = root.get("contents")
    for content in contents if isinstance(contents, list) else [contents]:
        if not isinstance(content, dict):
            continue
        role = content.get("role")
        parts = content.get("parts")
        for part in parts if isinstance(parts, list) else [parts]:
            if isinstance(part, dict) and "text" not in part:
                _part(camel(part), found)
    if role == "model":
        found.add(Need.PREFILL)
    if root.get("cachedContent"):
        # a part of the prompt that lies with Google
        found.add(Need.FILE_ID)
    for tool in _objects(root.get("tools")):
        found.update(Need.TOOLS if kind == "functionDeclarations" else Need.SERVER_TOOLS for kind, value in tool.items() if value is not None)
    _config(_object(root.get("generationConfig")), found)
    return frozenset(found)


def tool_names(body: JSON) -> list[object]:
    """What the declared functions call themselves."""
    tools = _objects(_object(body).get("tools"))
    return [function.get("name") for tool in tools for function in _objects(tool.get("functionDeclarations"))]


def _part(part: dict[str, Any], found: set[str]) -> None:
    if "functionCall" in part:
        found.add(Need.TOOLS)
    elif "functionResponse" in part:
        found.add(Need.TOOLS)
        for inner in _objects(_object(part["functionResponse"]).get("parts")):
            _media(inner, found)
    elif any(kind in part for kind in _SERVER_PARTS):
        found.add(Need.SERVER_TOOLS)
    else:
        _media(part, found)


def _media(part: dict[str, Any], found: set[str]) -> None:
    inline = "inlineData" in part
    media = _object(part.get("inlineData") if inline else part.get("fileData"))
    if not media:
        return
    kind = str(media.get("mimeType") or "").partition("/")[0]
    found.add(_MEDIA.get(kind, Need.DOCUMENTS))
    if not inline:
        uri = media.get("fileUri")
        if isinstance(uri, str) and is_google_file(uri):
            found.add(Need.FILE_ID)
        else:
            found.add(_BY_URL.get(kind, Need.DOCUMENT_URL))


def _config(config: dict[str, Any], found: set[str]) -> None:
    mime = config.get("responseMimeType")
    if (config.get("responseJsonSchema") is not None or config.get("responseSchema") is not None) and mime != ENUM_OUTPUT:
        found.add(Need.JSON_SCHEMA)
    elif mime == "application/json":
        found.add(Need.JSON_OBJECT)
    count = config.get("candidateCount")
    if isinstance(count, int) and count > 1:
        found.add(Need.CHOICES)
    modalities = config.get("responseModalities")
    for modality in modalities if isinstance(modalities, list) else ():
        name = enum_name(modality, MODALITIES)
        if name in _OUTPUTS:
            found.add(_OUTPUTS[name])
