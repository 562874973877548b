"""An Ollama client's request, `/api/chat` or `/api/generate`, to the canonical conversation.

Every tuning knob stands in `options`. Those that only Ollama's runtime has (`num_ctx`, `mirostat`, …) go to `Request.extra`, under their full place.
"""

from __future__ import annotations

from collections import deque

from extproc.core import carrier
from extproc.core.errors import BadRequestError
from extproc.core.ir import (
    JSON,
    Block,
    Image,
    Message,
    OutputFormat,
    Reasoning,
    Request,
    Role,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from extproc.core.losses import Losses
from extproc.core.raw_json import raw_json
from extproc.dialects.ollama_chat.wire import KNOBS, NAME, OPTIONS

_ROLES = {"system": Role.SYSTEM, "developer": Role.DEVELOPER, "user": Role.USER, "assistant": Role.ASSISTANT}
_READ = frozenset(
    ("model", "messages", "stream", "tools", "format", "options", "think", "logprobs", "top_logprobs", "prompt", "system", "images"),
)
_MESSAGE = frozenset(("role", "content", "thinking", "images", "tool_calls", "tool_name", "tool_call_id", "name"))
_MAGIC = {"iVBORw0KGgo": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp", "Qk": "image/bmp"}


def decode_request(body: JSON) -> Request:
    """Raises `BadRequestError`."""
    if not isinstance(body, dict):
        raise BadRequestError("the body must be a JSON object")
    losses = Losses()
    model = body.get("model")
    request = Request(model=model if isinstance(model, str) else "", messages=[], extra_from=NAME, losses=losses)
    request.stream = body.get("stream") is not False
    request.include_usage = True
    if "messages" in body or "prompt" not in body:
        _Messages(request.messages, losses).decode(body.get("messages"))
        if not request.messages:
            raise BadRequestError("`messages` must hold at least one message; without one Ollama only loads the model", param="messages")
    else:
        _prompt(body, request)
    _tools(body.get("tools"), request, losses)
    _format(body.get("format"), request)
    _options(body.get("options"), request)
    request.reasoning = _think(body.get("think"))
    for name in ("logprobs", "top_logprobs"):
        if body.get(name):
            request.knobs[name] = body[name]
    for name, value in body.items():
        if name not in _READ and value not in (None, "", [], {}, False):
            request.extra[name] = value
    return request


def _prompt(body: dict[str, JSON], request: Request) -> None:
    """`/api/generate`."""
    prompt, system = body.get("prompt"), body.get("system")
    if not isinstance(prompt, str) or not prompt:
        raise BadRequestError("`prompt` must be text; without it Ollama only loads the model", param="prompt")
    if isinstance(system, str) and system:
        request.messages.append(Message(Role.SYSTEM, [Text(system)]))
    request.messages.append(Message(Role.USER, [Text(prompt), *_images(body.get("images"), "images")]))


class _OpenCalls:
    """Calls that no result has answered yet: the first of an id, of a name, or of all, each in constant time whatever there are."""

    def __init__(self, calls: list[ToolCall]) -> None:
        self._calls = calls
        self._open = set(range(len(calls)))
        self._places: dict[tuple[bool, str | None], deque[int]] = {}
        for place, call in enumerate(calls):
            for key in ((True, call.id), (False, call.name), (False, None)):
                self._places.setdefault(key, deque()).append(place)

    def take(self, wanted: str | None, *, by_id: bool = False) -> ToolCall | None:
        """The first of the id or name `wanted`, of all if that is None. It is open no longer."""
        places = self._places.get((by_id, wanted))
        while places:
            place = places.popleft()
            if place in self._open:
                self._open.remove(place)
                return self._calls[place]
        return None


_NOTHING_OPEN = _OpenCalls([])


class _Messages:
    """Reads the history, and gives calls and results the ids that the format lacks: a call's from its place, a result's from its call."""

    def __init__(self, out: list[Message], losses: Losses) -> None:
        self._out = out
        self._losses = losses
        self._open = _NOTHING_OPEN
        self._results: Message | None = None

    def decode(self, messages: JSON) -> None:
        if not isinstance(messages, list):
            raise BadRequestError("`messages` must be a list", param="messages")
        for i, message in enumerate(messages):
            if type(message) is dict and len(message) == 2:
                role, text = message.get("role"), message.get("content")
                if type(text) is str and text and type(role) is str and role in _ROLES:
                    # most messages of most histories, at a third of what they cost below
                    self._out.append(Message(_ROLES[role], [Text(text)]))
                    self._results = None
                    if role == "assistant":
                        self._open = _NOTHING_OPEN
                    continue
            where = f"messages[{i}]"
            if not isinstance(message, dict):
                raise BadRequestError("a message must be an object", param=where)
            role = message.get("role")
            if len(message) > 2:
                self._losses.unknown("messages[]", message, _MESSAGE)
            if role == "tool":
                self._result(message, where, i)
                continue
            self._results = None
            known = _ROLES.get(role) if isinstance(role, str) else None
            if known is None:
                raise BadRequestError("role must be system, user, assistant or tool", param=f"{where}.role")
            blocks = self._blocks(message, where, i) if known is Role.ASSISTANT else self._content(message, where)
            self._out.append(Message(known, blocks))

    def _content(self, message: dict[str, JSON], where: str) -> list[Block]:
        content = message.get("content")
        if content is not None and not isinstance(content, str):
            raise BadRequestError("content must be a string", param=f"{where}.content")
        return [*([Text(content)] if content else []), *_images(message.get("images"), f"{where}.images")]

    def _blocks(self, message: dict[str, JSON], where: str, i: int) -> list[Block]:
        thinking = message.get("thinking")
        blocks: list[Block] = [Thinking(thinking)] if isinstance(thinking, str) and thinking else []
        calls, signed = self._calls(message.get("tool_calls"), f"{where}.tool_calls", i)
        if signed:
            # the same thoughts, with what proves them
            blocks = list(signed)
        blocks += self._content(message, where)
        self._open = _OpenCalls(calls)
        return [*blocks, *calls]

    def _calls(self, raw: JSON, where: str, i: int) -> tuple[list[ToolCall], list[Thinking]]:
        if raw is None:
            return [], []
        if not isinstance(raw, list):
            raise BadRequestError("tool_calls must be a list", param=where)
        calls: list[ToolCall] = []
        signed: list[Thinking] = []
        for n, one in enumerate(raw):
            function = one.get("function") if isinstance(one, dict) else None
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                raise BadRequestError("a tool call needs a function with a name", param=f"{where}[{n}].function")
            given = one.get("id")
            call_id, opaque, thoughts = carrier.split(given) if isinstance(given, str) and given else (f"call_{i}_{n}", None, [])
            signed += thoughts
            arguments = function.get("arguments")
            text = arguments if isinstance(arguments, str) else "" if arguments is None else raw_json(arguments)
            calls.append(ToolCall(call_id, function["name"], text, opaque))
        return calls, signed

    def _result(self, message: dict[str, JSON], where: str, i: int) -> None:
        call = self._called(message)
        # a result that answers no call has no name either: nothing in the history says that there was such a call
        result = ToolResult(call.id if call else f"call_{i}_orphan", self._content(message, where), call.name if call else "")
        if self._results is None:
            self._results = Message(Role.USER, [])
            self._out.append(self._results)
        self._results.blocks.append(result)

    def _called(self, message: dict[str, JSON]) -> ToolCall | None:
        """The call that a result answers: by id, else the first open one of its name, else the first open one if the result names none."""
        given = message.get("tool_call_id")
        wanted = carrier.split(given)[0] if isinstance(given, str) and given else None
        if wanted is not None:
            return self._open.take(wanted, by_id=True)
        name = message.get("tool_name") or message.get("name") or None
        return self._open.take(name) if name is None or isinstance(name, str) else None


def _images(raw: JSON, where: str) -> list[Image]:
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise BadRequestError("images must be a list of base64 strings", param=where)
    out = []
    for n, data in enumerate(raw):
        if not isinstance(data, str) or not data:
            raise BadRequestError("an image must be a base64 string", param=f"{where}[{n}]")
        out.append(Image(Source(next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None), data)))
    return out


def _tools(raw: JSON, request: Request, losses: Losses) -> None:
    if raw is None:
        return
    if not isinstance(raw, list):
        raise BadRequestError("tools must be a list", param="tools")
    for n, one in enumerate(raw):
        function = one.get("function") if isinstance(one, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRequestError("a tool needs a function with a name", param=f"tools[{n}].function")
        losses.unknown("tools[].function", function, frozenset(("name", "description", "parameters")))
        description = function.get("description")
        request.tools.append(Tool(function["name"], description if isinstance(description, str) else None, function.get("parameters")))


def _format(raw: JSON, request: Request) -> None:
    if isinstance(raw, dict):
        request.output = OutputFormat("schema", schema=raw)
    elif raw == "json":
        request.output = OutputFormat("json")
    elif raw not in (None, ""):
        raise BadRequestError('format must be "json" or a JSON schema', param="format")


def _options(raw: JSON, request: Request) -> None:
    if raw is None:
        return
    if not isinstance(raw, dict):
        raise BadRequestError("options must be an object", param="options")
    for name, value in raw.items():
        if value is None:
            continue
        if name in OPTIONS:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise BadRequestError(f"{name} must be a number", param=f"options.{name}")
            if name == "num_predict" and value < 1:
                # -1 and -2: as much as there is room for, which is what no limit says
                continue
            setattr(request, OPTIONS[name], int(value) if name in ("num_predict", "top_k") else value)
        elif name == "stop":
            stops = [value] if isinstance(value, str) else value
            if not isinstance(stops, list) or not all(isinstance(s, str) for s in stops):
                raise BadRequestError("stop must be a string or a list of strings", param="options.stop")
            request.stop = [s for s in stops if s]
        elif name in KNOBS:
            request.knobs[name] = value
        else:
            request.extra[f"options.{name}"] = value


def _think(raw: JSON) -> Reasoning | None:
    if raw is None:
        return None
    if isinstance(raw, bool):
        return Reasoning(enabled=raw, show=raw or None)
    if isinstance(raw, str) and raw in ("low", "medium", "high"):
        return Reasoning(enabled=True, effort=raw, show=True)
    raise BadRequestError('think must be true, false, "low", "medium" or "high"', param="think")
