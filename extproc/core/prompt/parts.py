"""Messages and parts of any dialect, member by member."""

from __future__ import annotations

import json
from typing import Any

import orjson

from extproc.core.ir import JSON
from extproc.core.prompt import media
from extproc.core.prompt.found import Prompt, Read

_CALLS = ("tool_use", "function_call", "custom_tool_call", "server_tool_use", "mcp_tool_use")
"""Types of parts that are calls of tools themselves; elsewhere a call is a member."""
DEEPEST = 12
"""Parts inside parts. A tool's answer with a document of parts in it is four deep; what lies deeper is not counted."""


def as_json(value: JSON) -> str:
    """`value` as JSON; "" for what is nested too deep to be written."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # whole numbers beyond 64 bits, text that is not Unicode
        try:
            return json.dumps(value, separators=(",", ":"))
        except (RecursionError, TypeError, ValueError):
            return ""


def content(found: Prompt, value: Any, _: dict[str, Any], depth: int) -> None:
    """Text, a part, or a list of them."""
    if type(value) is str:
        found.texts.append(value)
    elif type(value) is list:
        texts = found.texts
        for part in value:
            if type(part) is dict:
                text = part.get("text")
                if type(text) is str:
                    # Gemini's thoughts are parts of text with a flag
                    (found.thoughts if "thought" in part and part["thought"] is True else texts).append(text)
                elif depth < DEEPEST:
                    part_of(found, part, depth + 1)
            elif type(part) is str:
                texts.append(part)
    elif type(value) is dict and depth < DEEPEST:
        part_of(found, value, depth + 1)


def part_of(found: Prompt, part: dict[str, Any], depth: int) -> None:
    """A message or a part, whatever its kind."""
    for name, value in part.items():
        if value is not None and name in MEMBERS:
            MEMBERS[name](found, value, part, depth)


def _thoughts(found: Prompt, value: Any, part: dict[str, Any], depth: int) -> None:
    before = len(found.texts)
    content(found, value, part, depth)
    found.thoughts += found.texts[before:]
    del found.texts[before:]


def _calls(found: Prompt, value: Any, part: dict[str, Any], depth: int) -> None:
    found.calls += len(value) if type(value) is list else 1
    content(found, value, part, depth)


def arguments(found: Prompt, value: Any, part: dict[str, Any], depth: int) -> None:  # noqa: ARG001 - as all readers
    """JSON, as text or as a value."""
    kind = part.get("type")
    if type(kind) is str and kind in _CALLS:
        found.calls += 1
    if type(value) is str:
        found.texts.append(value)
    elif value:
        found.texts.append(as_json(value))


def _opaque(found: Prompt, value: Any, _: dict[str, Any], depth: int) -> None:  # noqa: ARG001
    if type(value) is str:
        found.opaque += len(value)


def _data(found: Prompt, value: Any, part: dict[str, Any], depth: int) -> None:
    """Anthropic's hidden thoughts. Other members of this name belong to media, which are read where they stand."""
    if part.get("type") == "redacted_thinking":
        _opaque(found, value, part, depth)


def documents(found: Prompt, value: Any, _: dict[str, Any], depth: int) -> None:
    """Those that Cohere is given to cite from or to rank: strings, or objects with any members."""
    for document in value if type(value) is list else ():
        if type(document) is dict and ("image" in document or "content" in document):
            part_of(found, document, depth)
        else:
            data = document.get("data") if type(document) is dict else None
            arguments(found, document if data is None else data, {}, depth)


def tools_of(found: Prompt, value: Any, _: dict[str, Any], depth: int) -> None:  # noqa: ARG001
    """The definitions: a list of tools, of groups of them (Gemini), or an object that holds the list (Bedrock)."""
    if type(value) is dict and type(value.get("tools")) is list:
        value = value["tools"]
    for tool in value if type(value) is list else (value,):
        inner = None
        if type(tool) is dict:
            inner = tool.get("functionDeclarations", tool.get("function_declarations", tool.get("tools")))
        found.tool_count += len(inner) if type(inner) is list else 1
    if value:
        found.tools.append(as_json(value))


def media_of(kind: str) -> Read:
    """A reader of media that are of one kind wherever they stand."""

    def reader(found: Prompt, value: Any, part: dict[str, Any], depth: int) -> None:
        _medium(found, kind, value, part, depth)

    return reader


def images_of(found: Prompt, value: Any, part: dict[str, Any], depth: int) -> None:
    """A list of images."""
    for image in value if type(value) is list else ():
        _medium(found, "image", image, part, depth)


def _medium(found: Prompt, kind: str, value: Any, part: dict[str, Any], depth: int) -> None:
    inner = media.medium(found, kind, value, part)
    if inner is not None:
        content(found, inner, part, depth)


def _by_form(found: Prompt, value: Any, part: dict[str, Any], depth: int) -> None:
    _medium(found, media.by_form(value), value, part, depth)


def _source(found: Prompt, value: Any, part: dict[str, Any], depth: int) -> None:
    """Anthropic's media say beside it what they are."""
    _medium(found, "image" if part.get("type") == "image" else "document", value, part, depth)


def _document(found: Prompt, value: Any, part: dict[str, Any], depth: int) -> None:
    """A file (Bedrock), or text with its fields (Cohere)."""
    if type(value) is dict and "source" in value:
        _medium(found, "document", value, part, depth)
    else:
        documents(found, [value], part, depth)


def _file_id(found: Prompt, value: Any, part: dict[str, Any], depth: int) -> None:
    _medium(found, "image" if part.get("type") == "input_image" else "document", value, part, depth)


def _result(found: Prompt, value: Any, part: dict[str, Any], depth: int) -> None:
    """An image that the model made earlier."""
    if part.get("type") == "image_generation_call":
        _medium(found, "image", value, part, depth)


MEMBERS: dict[str, Read] = {
    **dict.fromkeys(("text", "content", "parts", "output", "outputs", "results", "refusal", "title", "context"), content),
    **dict.fromkeys(("thinking", "reasoning", "reasoning_content", "reasoningContent", "summary"), _thoughts),
    "reasoningText": content,
    **dict.fromkeys(("guardContent", "citationsContent", "toolResult", "functionResponse", "function"), content),
    **dict.fromkeys(("executableCode", "executable_code", "codeExecutionResult", "code_execution_result"), content),
    **dict.fromkeys(("function_response", "code", "logs", "stdout", "stderr"), content),
    **dict.fromkeys(("tool_calls", "function_call", "functionCall", "toolUse"), _calls),
    **dict.fromkeys(("input", "arguments", "args", "response", "json"), arguments),
    **dict.fromkeys(("encrypted_content", "redactedContent", "thoughtSignature", "thought_signature"), _opaque),
    **dict.fromkeys(("inlineData", "inline_data", "fileData", "file_data"), _by_form),
    **dict.fromkeys(("image", "image_url"), media_of("image")),
    **dict.fromkeys(("audio", "audio_url", "input_audio"), media_of("audio")),
    **dict.fromkeys(("video", "video_url"), media_of("video")),
    **dict.fromkeys(("file", "document_url", "file_url"), media_of("document")),
    "file_id": _file_id,
    "source": _source,
    "images": images_of,
    "document": _document,
    "result": _result,
    "data": _data,
    "tools": tools_of,
}
"""Members of messages and parts, of any dialect."""
