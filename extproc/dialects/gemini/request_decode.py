"""A Gemini client's request to the canonical conversation.

The model and whether to stream are in the path, not in the body (`/models/{model}:streamGenerateContent`): whoever reads the path sets
`Request.model` and `Request.stream`. Function calls often carry no id; they get one by their position, and results without an id are paired
by name, then by order. Top-level members that the canonical form lacks (`safetySettings`, `cachedContent`, …) go to `Request.extra`,
members of parts are losses.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from extproc.core import carrier
from extproc.core.errors import BadRequestError
from extproc.core.ir import (
    JSON,
    Block,
    Foreign,
    ForeignTool,
    Message,
    Opaque,
    OutputFormat,
    Request,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from extproc.core.losses import Losses
from extproc.dialects.gemini import signature
from extproc.dialects.gemini.schema import json_schema
from extproc.dialects.gemini.thinking import reasoning_of
from extproc.dialects.gemini.turn import ModelTurn
from extproc.dialects.gemini.wire import (
    CALLING_MODES,
    ENUM_OUTPUT,
    MODALITIES,
    NAME,
    camel,
    enum_name,
    json_object,
    media_block,
    raw_json,
    synthetic_id,
)

_KIND_MEMBERS = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
_ROLES = {"user": Role.USER, "model": Role.ASSISTANT, "function": Role.USER, None: Role.USER, "": Role.USER}
_ASSISTANT = Role.ASSISTANT  # a member looked up on its enumeration costs four times as much
_SERVICE_TIERS = {"standard": "default", "flex": "flex", "priority": "priority"}


def decode_request(body: JSON) -> Request:
    """Raises `BadRequestError`. `model` and `stream` stay at their defaults unless the body names them."""
    root = camel(_object(body, "body"))
    model = root.get("model")
    losses = Losses()
    request = Request(model=model.removeprefix("models/") if isinstance(model, str) else "", messages=[], extra_from=NAME, losses=losses)
    _system(root.get("systemInstruction"), request, losses)
    _Contents(request, losses).decode(root.get("contents"))
    _tools(root.get("tools"), request)
    _tool_config(root.get("toolConfig"), request)
    _generation_config(root.get("generationConfig"), request, losses)
    tier = root.get("serviceTier")
    if isinstance(tier, str) and tier.lower() in _SERVICE_TIERS:
        request.knobs["service_tier"] = _SERVICE_TIERS[tier.lower()]
    elif tier is not None:
        request.extra["serviceTier"] = tier
    for name, value in root.items():
        if name not in _ROOT and value not in (None, [], {}, ""):
            request.extra[name] = value
    return request


_ROOT = frozenset({"model", "systemInstruction", "contents", "tools", "toolConfig", "generationConfig", "serviceTier"})


def _object(value: JSON, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRequestError(f"{where} must be an object", param=where)
    return value


def _list(value: JSON) -> list[Any]:
    """Google takes one object where a list is meant."""
    return [] if value is None else value if isinstance(value, list) else [value]


def _string(value: JSON, where: str) -> str:
    if not isinstance(value, str):
        raise BadRequestError(f"{where} must be a string", param=where)
    return value


def _number(value: JSON, where: str) -> float | None:
    """Proto3 JSON allows numbers as strings."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) > 1e18:
        raise BadRequestError(f"{where} must be a number", param=where)
    return value


def _integer(value: JSON, where: str) -> int | None:
    number = _number(value, where)
    if number is not None and number != int(number):
        raise BadRequestError(f"{where} must be an integer", param=where)
    return None if number is None else int(number)


def _system(value: JSON, request: Request, losses: Losses) -> None:
    if value is None:
        return
    if isinstance(value, str):
        request.messages.append(Message(Role.SYSTEM, [Text(value)]))
        return
    content = _object(value, "systemInstruction")
    blocks: list[Block] = []
    for part in _list(content.get("parts")):
        text = _object(part, "systemInstruction.parts").get("text")
        if text is None:
            losses.add("dropped:system_content", "the system instruction takes text only")
        else:
            blocks.append(Text(_string(text, "systemInstruction.parts.text")))
    if blocks:
        request.messages.append(Message(Role.SYSTEM, blocks))


class _Contents:
    """Reads `contents` in order, remembering which calls still wait for their result."""

    def __init__(self, request: Request, losses: Losses) -> None:
        self._request = request
        self._losses = losses
        self._calls = 0
        self._turn: ModelTurn | None = None
        self._ids: set[str] = set()
        self._waiting: dict[str, deque[str]] = {}
        self._answered: set[str] = set()

    def decode(self, contents: JSON) -> None:
        for i, content in enumerate(_list(contents)):
            if isinstance(content, str):
                content = {"parts": [{"text": content}]}
            if not isinstance(content, dict):
                raise BadRequestError(f"contents[{i}] must be an object", param=f"contents[{i}]")
            role_name = content.get("role")
            role = _ROLES.get(role_name) if role_name is None or isinstance(role_name, str) else None
            if role is None:
                raise BadRequestError(f"contents[{i}].role must be user or model", param=f"contents[{i}].role")
            if role is _ASSISTANT and self._turn is not None:
                self._turn.next_content()
                blocks = self._turn.blocks
            else:
                if self._turn is not None:
                    self._turn.close()
                self._turn = ModelTurn() if role is _ASSISTANT else None
                blocks = self._turn.blocks if self._turn is not None else []
                self._request.messages.append(Message(role, blocks))
            for j, part in enumerate(_list(content.get("parts"))):
                if type(part) is dict and len(part) == 1 and type(part.get("text")) is str:
                    # most parts of most histories, at a tenth of what they cost below
                    blocks.append(Text(part["text"]))
                    continue
                where = f"contents[{i}].parts[{j}]"
                thoughts = self._part(camel(_object(part, where)), where, blocks)
                if thoughts and self._turn is not None:
                    self._turn.carry(thoughts)
        if self._turn is not None:
            self._turn.close()

    def _part(self, part: dict[str, Any], where: str, blocks: list[Block]) -> list[Thinking]:
        """Appends the part's block. Gives the signed thoughts that came with it and belong before it."""
        kind = next((name for name in _KIND_MEMBERS if part.get(name) is not None), None)
        call_id, opaque, thoughts = signature.read(part.get("thoughtSignature"))
        rest = [name for name in part if name not in (kind, "thoughtSignature", "thought") and part[name] is not None]
        if kind is None and (part.get("thought") is True or part.get("thoughtSignature") is not None) and not rest:
            blocks.append(Thinking("", opaque) if part.get("thought") is True else Text("", opaque=opaque))
            return thoughts
        if kind is None:
            blocks.append(Foreign(NAME, rest[0] if rest else "part", part))
            return thoughts
        for name in rest:
            self._losses.member(name, where)
        value = part[kind]
        if kind == "text":
            text = _string(value, f"{where}.text")
            blocks.append(Thinking(text, opaque) if part.get("thought") is True else Text(text, opaque=opaque))
        elif kind == "functionCall":
            call, more = self._call(camel(_object(value, f"{where}.functionCall")), where, call_id, opaque)
            blocks.append(call)
            return thoughts or more
        elif kind == "functionResponse":
            blocks.append(self._result(camel(_object(value, f"{where}.functionResponse")), where))
        else:
            blocks.append(self._media(kind, value, where))
            if opaque is not None:
                self._losses.member("thoughtSignature", where)
        return thoughts

    def _media(self, kind: str, value: JSON, where: str) -> Block:
        media = camel(_object(value, f"{where}.{kind}"))
        mime = media.get("mimeType")
        mime = mime if isinstance(mime, str) and mime else None
        if media.get("displayName") is not None:
            self._losses.member("displayName", where)
        if kind == "inlineData":
            return media_block(mime, _string(media.get("data", ""), f"{where}.inlineData.data"), None)
        return media_block(mime, None, _string(media.get("fileUri"), f"{where}.fileData.fileUri"))

    def _call(self, call: dict[str, Any], where: str, carried: str, opaque: Opaque | None) -> tuple[ToolCall, list[Thinking]]:
        """The call, and signed thoughts that came in its id (from a history that another dialect's client began). `carried` is the id in its slot."""
        name = _string(call.get("name"), f"{where}.functionCall.name")
        sent = call.get("id")
        call_id, foreign, thoughts = carrier.split(sent) if isinstance(sent, str) and sent else (carried, None, [])
        call_id = call_id or synthetic_id("history", self._calls)
        self._calls += 1
        for member in (m for m in call if m not in {"id", "name", "args"}):
            self._losses.member(member, f"{where}.functionCall")
        args = call.get("args")
        self._waiting.setdefault(name, deque()).append(call_id)
        self._ids.add(call_id)
        return ToolCall(call_id, name, "" if args is None else raw_json(args, BadRequestError), opaque or foreign), thoughts

    def _result(self, result: dict[str, Any], where: str) -> ToolResult:
        name = _string(result.get("name", ""), f"{where}.functionResponse.name")
        carried = result.get("id")
        call_id = carrier.split(carried)[0] if isinstance(carried, str) and carried else ""
        if call_id not in self._ids:
            # no id, or one that the client kept here but not on the call
            call_id = self._oldest(name) or call_id or synthetic_id("orphan", len(self._answered))
        self._answered.add(call_id)
        content, is_error = _result_content(result.get("response"))
        for part in _list(result.get("parts")):
            part = camel(_object(part, f"{where}.functionResponse.parts"))
            kind = next((k for k in ("inlineData", "fileData") if k in part), None)
            if kind is None:
                self._losses.member("parts", f"{where}.functionResponse")
            else:
                content.append(self._media(kind, part[kind], where))
        for member in (m for m in result if m not in {"id", "name", "response", "parts"}):
            self._losses.member(member, f"{where}.functionResponse")
        return ToolResult(call_id, content, name, is_error)

    def _oldest(self, name: str) -> str:
        """The first call of `name` that has no result yet, "" if there is none."""
        waiting = self._waiting.get(name)
        while waiting:
            call_id = waiting.popleft()
            if call_id not in self._answered:
                return call_id
        return ""


def _result_content(response: JSON) -> tuple[list[Block], bool]:
    """The result as text. `{"result": text}` and `{"error": …}` are only wrappings; any other object is the result itself."""
    if response is None:
        return [], False
    if isinstance(response, dict) and len(response) == 1:
        (key, value), *_ = response.items()
        if key in ("result", "error") and isinstance(value, str) and json_object(value) is None:
            return [Text(value)], key == "error"
        if key == "error" and isinstance(value, dict):
            return [Text(raw_json(value, BadRequestError))], True
    return [Text(raw_json(response, BadRequestError))], False


def _tools(value: JSON, request: Request) -> None:
    for i, entry in enumerate(_list(value)):
        tool = camel(_object(entry, f"tools[{i}]"))
        for kind, content in tool.items():
            if kind != "functionDeclarations":
                if content is not None:
                    request.tools.append(ForeignTool(NAME, kind, {kind: content}))
                continue
            for declaration in _list(content):
                request.tools.append(_declaration(camel(_object(declaration, f"tools[{i}].functionDeclarations")), i, request))


def _declaration(declaration: dict[str, Any], i: int, request: Request) -> Tool:
    name = _string(declaration.get("name"), f"tools[{i}].functionDeclarations.name")
    description = declaration.get("description")
    parameters = _schema(declaration.get("parametersJsonSchema"), declaration.get("parameters"))
    rest = {k: v for k, v in declaration.items() if k not in ("name", "description", "parameters", "parametersJsonSchema")}
    if rest:
        request.extra.setdefault("functionDeclarations", {})[name] = rest
    return Tool(name, description if isinstance(description, str) else None, parameters)


def _schema(newer: JSON, older: JSON) -> JSON:
    """JSON schema, from whichever member has it. gemini-cli writes the types of the older language into the newer member, and Gemini takes them."""
    if newer is None:
        return json_schema(older)
    kind = newer.get("type") if isinstance(newer, dict) else None
    return json_schema(newer) if isinstance(kind, str) and kind.isupper() else newer


def _tool_config(value: JSON, request: Request) -> None:
    if value is None:
        return
    config = camel(_object(value, "toolConfig"))
    rest = {k: v for k, v in config.items() if k != "functionCallingConfig" and v is not None}
    calling = config.get("functionCallingConfig")
    if calling is not None:
        calling = camel(_object(calling, "toolConfig.functionCallingConfig"))
        mode = enum_name(calling.get("mode"), CALLING_MODES) or "AUTO"
        names = [_string(n, "allowedFunctionNames") for n in _list(calling.get("allowedFunctionNames"))] or None
        if mode == "ANY":
            single = names[0] if names and len(names) == 1 else None
            request.tool_choice = ToolChoice("tool", name=single) if single else ToolChoice("required", allowed=names)
        else:
            request.tool_choice = ToolChoice("none" if mode == "NONE" else "auto", allowed=names)
        other = {k: v for k, v in calling.items() if k not in ("mode", "allowedFunctionNames")}
        if mode not in ("AUTO", "ANY", "NONE") and not (mode == "VALIDATED" and names):
            other["mode"] = mode
        if other:
            rest["functionCallingConfig"] = other
    if rest:
        request.extra["toolConfig"] = rest


_KNOBS = {
    "candidateCount": "n",
    "seed": "seed",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "responseLogprobs": "logprobs",
    "logprobs": "top_logprobs",
}


_DEFAULTS: dict[str, JSON] = {"candidateCount": 1, "presencePenalty": 0, "frequencyPenalty": 0, "responseLogprobs": False}
"""Values that say what is so anyway."""


def _generation_config(value: JSON, request: Request, losses: Losses) -> None:
    if value is None:
        return
    where = "generationConfig"
    config = camel(_object(value, where))
    rest: dict[str, Any] = {}
    for name, item in config.items():
        if item is None:
            continue
        at = f"{where}.{name}"
        if name == "temperature":
            request.temperature = _number(item, at)
        elif name == "topP":
            request.top_p = _number(item, at)
        elif name == "topK":
            request.top_k = _integer(item, at)
        elif name == "maxOutputTokens":
            request.max_tokens = _integer(item, at)
        elif name == "stopSequences":
            request.stop = [_string(s, at) for s in _list(item)]
        elif name in _KNOBS:
            if item != _DEFAULTS.get(name):
                request.knobs[_KNOBS[name]] = item
        elif name == "thinkingConfig":
            thinking = camel(_object(item, at))
            request.reasoning = reasoning_of(thinking)
            known = {"includeThoughts", "thinkingBudget"} | ({"thinkingLevel"} if isinstance(thinking.get("thinkingLevel"), str) else set())
            unknown = {k: v for k, v in thinking.items() if k not in known}
            if unknown:
                rest[name] = unknown
        elif name == "responseModalities":
            # ["TEXT"] is the default and says nothing
            modalities = [name.lower() for m in _list(item) if (name := enum_name(m, MODALITIES))]
            if modalities != ["text"]:
                request.knobs["modalities"] = modalities
        elif name not in ("responseMimeType", "responseSchema", "responseJsonSchema"):
            rest[name] = item
    _output(config, request, rest, losses)
    if rest:
        request.extra[where] = rest


def _output(config: dict[str, Any], request: Request, rest: dict[str, Any], losses: Losses) -> None:
    mime = config.get("responseMimeType")
    schema = _schema(config.get("responseJsonSchema"), config.get("responseSchema"))
    if mime == "application/json" or (mime is None and schema is not None):
        request.output = OutputFormat("json") if schema is None else OutputFormat("schema", schema=schema)
    elif mime == ENUM_OUTPUT and isinstance(schema, dict) and isinstance(schema.get("enum"), list):
        losses.add("coerced:response_format", "no other format answers with a bare word of a list: an instruction asks for it")
        wanted = f"Respond with exactly one of these values and nothing else, without quotes: {raw_json(schema['enum'], BadRequestError)}"
        behind = int(bool(request.messages) and request.messages[0].role is Role.SYSTEM)
        request.messages.insert(behind, Message(Role.SYSTEM, [Text(wanted)]))
    elif mime not in (None, "text/plain"):
        rest |= {k: v for k, v in config.items() if k in ("responseMimeType", "responseSchema", "responseJsonSchema")}
