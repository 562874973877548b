"""The contents of a Gemini request: roles, parts, function turns and thought signatures, checked as the API checks them.

A thought signature is sealed with a key of the simulator, so that an invented or damaged one is found out in any process.
Wire format: https://ai.google.dev/api/caching#Content, https://ai.google.dev/gemini-api/docs/thought-signatures
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any

import orjson

from extproc.simulator.shapes import base64_size
from extproc.simulator.wire import JSON, Ask, Media, Rejected

_PART = frozenset(
    {
        *("text", "inlineData", "functionCall", "functionResponse", "fileData", "executableCode", "codeExecutionResult", "toolCall", "toolResponse"),
        *("thought", "thoughtSignature", "partMetadata", "videoMetadata", "mediaResolution"),
    }
)
_DATA = ("text", "inlineData", "functionCall", "functionResponse", "fileData", "executableCode", "codeExecutionResult", "toolCall", "toolResponse")
_SKIP = frozenset({"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"})
"""What the documentation lets a client send for a call that Gemini did not make."""
_SIGNING_KEY = b"extproc simulator: gemini thoughts"


def bad(message: str) -> Rejected:
    """Gemini's 400, INVALID_ARGUMENT."""
    return Rejected(400, message)


def camel(name: str) -> str:
    """The camelCase form of a member's name."""
    head, *rest = name.split("_")
    return head + "".join(w[:1].upper() + w[1:] for w in rest)


def seal(nonce: bytes) -> str:
    """A thought signature. `nonce` is 16 bytes."""
    return base64.b64encode(b"\x12\x40" + nonce + hashlib.blake2b(nonce, key=_SIGNING_KEY, digest_size=48).digest()).decode()


def _sealed(signature: Any) -> bool:
    if signature in _SKIP:
        return True
    try:
        raw = base64.b64decode(str(signature).replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return False
    return raw[18:] == hashlib.blake2b(raw[2:18], key=_SIGNING_KEY, digest_size=48).digest()


def _shown(value: Any) -> str:
    return orjson.dumps(value)[:60].decode(errors="replace")


def object_of(value: Any, known: frozenset[str], at: str) -> JSON:
    """`value` with camelCase names; unknown members are refused with the path as Google writes it (snake_case)."""
    if not isinstance(value, dict):
        raise bad(f"Invalid value at '{at}' (object), {_shown(value)}")
    out: JSON = {}
    for name, inner in value.items():
        if camel(name) not in known:
            where = f" at '{at}'" if at else ""
            raise bad(f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.')
        out[camel(name)] = inner
    return out


def list_of(value: Any, at: str) -> list[Any]:
    """A repeated member; absent is empty."""
    if value is None:
        return []
    if isinstance(value, dict):
        # protobuf's JSON reader takes one object for a list of one
        return [value]
    if not isinstance(value, list):
        raise bad(f"Invalid value at '{at}'")
    return value


def read_instruction(value: Any) -> str:
    """The text of systemInstruction."""
    if value is None:
        return ""
    content = object_of(value, frozenset({"role", "parts"}), "system_instruction")
    texts = []
    for j, part in enumerate(list_of(content.get("parts"), "system_instruction.parts")):
        texts.append(str(object_of(part, _PART, f"system_instruction.parts[{j}]").get("text", "")))
    return "\n".join(texts)


def read_parts(content: JSON, i: int, ask: Ask, prompt: list[str]) -> list[JSON]:
    """Checks one content and fills in the last user text and media; its parts come back with camelCase members."""
    role = content.get("role")
    if role not in (None, "user", "model", "function"):
        raise bad("Please use a valid role: user, model.")
    parts = [object_of(p, _PART, f"contents[{i}].parts[{j}]") for j, p in enumerate(list_of(content.get("parts"), f"contents[{i}].parts"))]
    if not parts:
        raise bad(f"* GenerateContentRequest.contents[{i}].parts: contents.parts must not be empty.\n")
    texts: list[str] = []
    for j, part in enumerate(parts):
        at = f"contents[{i}].parts[{j}]"
        held = [k for k in _DATA if k in part]
        if not held:
            raise bad(f"* GenerateContentRequest.{at}.data: required oneof field 'data' must have one initialized field\n")
        if len(held) > 1:
            raise bad(f"Invalid value at '{at}' (oneof), oneof field 'data' is already set. Cannot set '{held[1]}'")
        if "text" in part and not isinstance(part["text"], str):
            raise bad(f"Invalid value at '{at}.text' (TYPE_STRING), {part['text']}")
        if "text" in part and not part.get("thought"):
            texts.append(part["text"])
        elif "inlineData" in part:
            ask.media.append(_blob(part["inlineData"], at))
        elif "fileData" in part:
            uri = object_of(part["fileData"], frozenset({"mimeType", "fileUri", "displayName"}), f"{at}.file_data")
            ask.media.append(Media(_media_kind(str(uri.get("mimeType", ""))), "URI", None))
        elif "functionCall" in part:
            part["functionCall"] = _function(
                part["functionCall"], "args", frozenset({"id", "name", "args", "partialArgs", "willContinue"}), f"{at}.function_call"
            )
            prompt.append(orjson.dumps(part["functionCall"]).decode())
        elif "functionResponse" in part:
            known = frozenset({"id", "name", "response", "parts", "willContinue", "scheduling"})
            part["functionResponse"] = _function(part["functionResponse"], "response", known, f"{at}.function_response")
            prompt.append(orjson.dumps(part["functionResponse"]).decode())
    prompt.extend(texts)
    if role in (None, "user") and texts:
        ask.text = " ".join(texts)
    return parts


def _function(value: Any, payload: str, known: frozenset[str], at: str) -> JSON:
    out = object_of(value, known, at)
    if not isinstance(out.get("name"), str) or not out["name"]:
        raise bad(f"* GenerateContentRequest.{at}.name: Name cannot be empty.\n")
    if payload == "response" and payload not in out:
        raise bad(f"* GenerateContentRequest.{at}.response: response is required.\n")
    if payload in out and not isinstance(out[payload], dict):
        raise bad(f"Invalid value at '{at}.{payload}' (type.googleapis.com/google.protobuf.Struct), {_shown(out[payload])}")
    return out


def _media_kind(mime: str) -> str:
    family = mime.partition("/")[0]
    return family if family in ("image", "audio", "video") else "document"


def _blob(value: Any, at: str) -> Media:
    blob = object_of(value, frozenset({"mimeType", "data", "displayName"}), f"{at}.inline_data")
    mime = blob.get("mimeType")
    if not isinstance(mime, str) or "/" not in mime:
        raise bad(f"* GenerateContentRequest.{at}.inline_data.mime_type: mime_type is required.\n")
    # protobuf reads the web-safe alphabet too, and does without padding
    data = blob["data"].replace("-", "+").replace("_", "/") if isinstance(blob.get("data"), str) else "?"
    size = base64_size(data + "=" * (-len(data) % 4))
    if size is None:
        raise bad(f"Invalid value at '{at}.inline_data.data' (TYPE_BYTES), Base64 decoding failed")
    return Media(_media_kind(mime), mime, size)


def _merged(contents: list[JSON], parts: list[list[JSON]]) -> list[tuple[str, list[JSON]]]:
    """Turns as (role, parts): neighbours of one role count as one, as recorded."""
    out: list[tuple[str, list[JSON]]] = []
    for content, own in zip(contents, parts, strict=True):
        role = "model" if content.get("role") == "model" else "user"
        if out and out[-1][0] == role:
            out[-1] = (role, out[-1][1] + own)
        else:
            out.append((role, own))
    return out


def check_turns(contents: list[JSON], parts: list[list[JSON]], model: str) -> None:
    """Function calls and responses pair up turn by turn; Gemini 3 wants its signature back on the first call of each step of the current turn."""
    turns = _merged(contents, parts)
    current = max((i for i, (role, own) in enumerate(turns) if role == "user" and not _named(own, "functionResponse")), default=-1)
    before: list[str] = []
    for i, (role, own) in enumerate(turns):
        calls, responses = _named(own, "functionCall"), _named(own, "functionResponse")
        if calls and role != "model":
            raise bad("Please ensure that function call turns have the role: model.")
        if responses and role == "model":
            raise bad("Please ensure that function response turns have the role: user.")
        if responses and not before:
            raise bad("Please ensure that function response turn comes immediately after a function call turn.")
        if len(responses) != len(before):
            raise bad(
                "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn."
            )
        if sorted(responses) != sorted(before):
            raise bad("Please ensure that the function response parts have the names of the function call parts of the function call turn.")
        if calls and i == 0:
            raise bad("Please ensure that function call turn comes immediately after a user turn or after a function response turn.")
        if any("thoughtSignature" in p and not _sealed(p["thoughtSignature"]) for p in own):
            raise bad("Thought signature is not valid.")
        first = next((p for p in own if "functionCall" in p), None)
        if first is not None and i > current and re.match(r"gemini-[3-9]", model) and "thoughtSignature" not in first:
            raise bad(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing "
                "thought_signature may lead to degraded model performance. Additional data, function call "
                f"`default_api:{calls[0]}` , position {i + 1}. "
                "Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
            )
        before = calls
    if before:
        raise bad("Please ensure that function call turn is followed by a function response turn.")


def _named(parts: list[JSON], member: str) -> list[str]:
    """Names of the functions that these parts call or answer."""
    return [p[member]["name"] for p in parts if member in p]
