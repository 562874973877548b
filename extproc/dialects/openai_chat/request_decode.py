"""A Chat Completions request to the canonical conversation, and what such a request depends on.

Members that it does not know are never a 400: at the top level they go to `extra`, inside messages, parts and tools they are losses.
Reference: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import orjson

from extproc.core import carrier
from extproc.core.errors import BadRequestError
from extproc.core.ir import (
    JSON,
    Block,
    Foreign,
    Message,
    OutputFormat,
    Refusal,
    Request,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from extproc.core.losses import Losses
from extproc.dialects.openai_chat import details
from extproc.dialects.openai_chat.content import NAME, cache_mark, decode_content
from extproc.dialects.openai_chat.reasoning import MEMBERS, decode_reasoning
from extproc.dialects.openai_chat.signature import google_signature
from extproc.dialects.openai_chat.tools_decode import decode_choice, decode_tools

KNOBS = frozenset(
    {
        "audio",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "metadata",
        "modalities",
        "moderation",
        "n",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "seed",
        "service_tier",
        "store",
        "top_logprobs",
        "user",
        "verbosity",
        "web_search_options",
    }
)
"""Members of the published request schema that the canonical conversation has no place of its own for."""

DEFAULTS: dict[str, JSON] = {
    "n": 1,
    "logprobs": False,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {},
    "modalities": ["text"],
    "service_tier": "auto",
    "metadata": {},
    "store": False,
    "top_logprobs": 0,
    "verbosity": "medium",
    "parallel_tool_calls": True,
    "safe_prompt": False,
}
"""Knobs that say what is so anyway: leaving them out loses nothing."""

_TAKEN = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "tools",
        "functions",
        "tool_choice",
        "function_call",
        "parallel_tool_calls",
        "response_format",
        "random_seed",
    }
    | MEMBERS
)
_ROLES = {"system": Role.SYSTEM, "developer": Role.DEVELOPER, "user": Role.USER, "assistant": Role.ASSISTANT}
_MESSAGE = frozenset({"role", "content", "name", "cache_control"})
_ASSISTANT = _MESSAGE | {
    "refusal",
    "tool_calls",
    "function_call",
    "annotations",
    "audio",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "extra_content",
    "thought_signature",
    "prefix",
}
_TOOL_MESSAGE = _MESSAGE | {"tool_call_id"}
_CALL = frozenset({"id", "type", "function", "index", "cache_control", "extra_content"})
_FORMAT = frozenset({"type", "json_schema"})
_SCHEMA = frozenset({"name", "schema", "strict", "description"})


def wants_usage(body: JSON) -> bool:
    """Did the client ask for the usage chunk of a stream?"""
    options = body.get("stream_options") if isinstance(body, dict) else None
    return isinstance(options, dict) and options.get("include_usage") is True


def wants_functions(body: JSON) -> bool:
    """Does the client speak the older form, `functions` and `function_call`? Its answers must too."""
    return isinstance(body, dict) and bool(body.get("functions")) and not body.get("tools")


def decode_request(body: JSON) -> Request:
    """Raises `BadRequestError` with `param` when a member that must be understood has the wrong shape."""
    if not isinstance(body, dict):
        raise BadRequestError("The request body must be a JSON object.")
    return _Decoder(body).request()


class _Decoder:
    """One request under way. `legacy` holds the ids given to calls of the older form, which has none, by function name."""

    __slots__ = ("body", "legacy", "legacy_count", "losses")

    def __init__(self, body: dict[str, JSON]) -> None:
        self.body = body
        self.losses = Losses()
        self.legacy: dict[str, str] = {}
        self.legacy_count = 0

    def typed(self, name: str, kind: type | tuple[type, ...], word: str) -> JSON:
        """Member `name`, or None; anything but `kind` is the client's error. A boolean is no number."""
        value = self.body.get(name)
        if value is None:
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise BadRequestError(f"{name} must be {word}", param=name)
        return value

    def request(self) -> Request:
        body = self.body
        model = self.typed("model", str, "a string")
        if not model:
            raise BadRequestError("model is required", param="model")
        messages = self.messages()
        tools = decode_tools(self.typed("tools", list, "a list") or [], self.typed("functions", list, "a list") or [], self.losses)
        knobs: dict[str, JSON] = {}
        extra: dict[str, JSON] = {}
        for name, value in body.items():
            if value is None or name in _TAKEN:
                continue
            if name in DEFAULTS and value == DEFAULTS[name]:
                continue
            (knobs if name in KNOBS else extra)[name] = value
        if body.get("random_seed") is not None:
            # Mistral's name for it
            knobs.setdefault("seed", body["random_seed"])
        self.stream_options()
        max_tokens = self.typed("max_completion_tokens", int, "an integer")
        return Request(
            model=model,
            messages=messages,
            stream=self.typed("stream", bool, "a boolean") is True,
            include_usage=wants_usage(body),
            max_tokens=max_tokens if max_tokens is not None else self.typed("max_tokens", int, "an integer"),
            temperature=self.typed("temperature", (int, float), "a number"),
            top_p=self.typed("top_p", (int, float), "a number"),
            top_k=self.typed("top_k", int, "an integer"),
            stop=self.stop(),
            tools=tools,
            tool_choice=decode_choice(body),
            parallel_tool_calls=self.typed("parallel_tool_calls", bool, "a boolean"),
            output=self.output(),
            reasoning=decode_reasoning(body, self.losses),
            knobs=knobs,
            extra=extra,
            extra_from=NAME if extra else "",
            losses=self.losses,
        )

    def stream_options(self) -> None:
        options = self.typed("stream_options", dict, "an object")
        if options:
            self.losses.unknown("stream_options", options, frozenset({"include_usage", "include_obfuscation"}))

    def stop(self) -> list[str]:
        value = self.typed("stop", (str, list), "a string or a list of strings")
        if value is None:
            return []
        stops = [value] if isinstance(value, str) else value
        if not all(isinstance(stop, str) for stop in stops):
            raise BadRequestError("stop must be a string or a list of strings", param="stop")
        return list(stops)

    # messages

    def messages(self) -> list[Message]:
        raw = self.body.get("messages")
        if not isinstance(raw, list):
            raise BadRequestError("messages must be a list", param="messages")
        messages: list[Message] = []
        results: list[Block] | None = None
        for i, message in enumerate(raw):
            if type(message) is dict and len(message) == 2:
                role, text = message.get("role"), message.get("content")
                if type(text) is str and text and type(role) is str and role in _ROLES:
                    # most messages of most histories, at a quarter of what they cost below
                    messages.append(Message(_ROLES[role], [Text(text)]))
                    results = None
                    continue
            where = f"messages[{i}]"
            if not isinstance(message, dict):
                raise BadRequestError("a message must be an object", param=where)
            role = message.get("role")
            if role in ("tool", "function"):
                if results is None:
                    results = []
                    messages.append(Message(Role.USER, results))
                results.append(self.tool_result(message, where))
                continue
            results = None
            if role == "assistant":
                messages.append(self.assistant(message, where))
            elif isinstance(role, str) and role in _ROLES:
                messages.append(Message(_ROLES[role], self.content(message, where, _MESSAGE), self.name(message)))
            else:
                raise BadRequestError("role must be system, developer, user, assistant, tool or function", param=f"{where}.role")
        return messages

    def name(self, message: dict[str, JSON]) -> str | None:
        name = message.get("name")
        return name if isinstance(name, str) else None

    def content(self, message: dict[str, JSON], where: str, known: frozenset[str]) -> list[Block]:
        """The message's content blocks; a cache mark on the message belongs to the last of them."""
        if len(message) > 2:
            self.losses.unknown("messages[]", message, known)
        blocks = decode_content(message.get("content"), f"{where}.content", self.losses.unknown)
        if blocks and "cache_control" in message and not isinstance(blocks[-1], Thinking):
            blocks[-1].cache = cache_mark(message)
        return blocks

    def tool_result(self, message: dict[str, JSON], where: str) -> ToolResult:
        name = self.name(message) or ""
        if message["role"] == "function":
            call_id = self.legacy.get(name, f"call_{name}")
        else:
            carried = message.get("tool_call_id")
            if not isinstance(carried, str):
                raise BadRequestError("tool_call_id must be a string", param=f"{where}.tool_call_id")
            call_id = carrier.split(carried)[0]
        return ToolResult(call_id, self.content(message, where, _TOOL_MESSAGE), name)

    def assistant(self, message: dict[str, JSON], where: str) -> Message:
        blocks = self.content(message, where, _ASSISTANT)
        if isinstance(message.get("refusal"), str) and message["refusal"]:
            blocks.append(Refusal(message["refusal"]))
        if isinstance(message.get("audio"), dict):
            blocks.append(Foreign(NAME, "audio", {"id": message["audio"].get("id")}))
        annotations = message.get("annotations")
        if annotations and blocks and isinstance(blocks[0], Text):
            blocks[0].citations, blocks[0].citations_from = annotations, NAME
        calls, first_thoughts = self.tool_calls(message, where)
        signature = google_signature(message) if not calls else None
        if signature is not None and blocks and isinstance(blocks[0], Text):
            blocks[0].opaque = signature
        thoughts: list[Thinking] = details.decode(message)
        carried = "".join(t.text for t in first_thoughts)
        if first_thoughts:
            # the client echoes both our id and the readable copy of the thoughts in it
            thoughts = [t for t in thoughts if t.opaque is not None or t.text.strip() not in carried]
        # thoughts come first: a vendor that signs them refuses a turn that starts with anything else
        return Message(Role.ASSISTANT, [*first_thoughts, *thoughts, *blocks, *calls], self.name(message))

    def tool_calls(self, message: dict[str, JSON], where: str) -> tuple[list[Block], list[Thinking]]:
        """The calls, each behind the thoughts that its id carried, but those of the first, which are given apart."""
        raw = message.get("tool_calls") or []
        if not isinstance(raw, list):
            raise BadRequestError("tool_calls must be a list", param=f"{where}.tool_calls")
        calls: list[Block] = []
        first: list[Thinking] = []
        for i, call in enumerate(raw):
            place = f"{where}.tool_calls[{i}]"
            if not isinstance(call, dict):
                raise BadRequestError("a tool call must be an object", param=place)
            if call.get("type", "function") != "function" or not isinstance(call.get("function"), dict):
                calls.append(Foreign(NAME, f"{call.get('type')}_tool_call", call))
                continue
            self.losses.unknown("messages[].tool_calls[]", call, _CALL)
            function = call["function"]
            if not isinstance(call.get("id"), str) or not isinstance(function.get("name"), str):
                raise BadRequestError("a tool call must have an id and a function name", param=place)
            call_id, opaque, thoughts = carrier.split(call["id"])
            opaque = opaque or google_signature(call) or (google_signature(message) if not calls else None)
            if calls:
                calls += thoughts
            else:
                first = thoughts
            calls.append(ToolCall(call_id, function["name"], arguments(function.get("arguments")), opaque, cache_mark(call)))
        legacy = message.get("function_call")
        if isinstance(legacy, dict) and isinstance(legacy.get("name"), str):
            call_id = f"call_{self.legacy_count}"
            self.legacy_count += 1
            self.legacy[legacy["name"]] = call_id
            calls.append(ToolCall(call_id, legacy["name"], arguments(legacy.get("arguments"))))
        return calls, first

    # formats

    def output(self) -> OutputFormat | None:
        value = self.typed("response_format", dict, "an object")
        kind = value.get("type") if value else None
        if kind in (None, "text"):
            return None
        self.losses.unknown("response_format", value, _FORMAT)
        if kind == "json_object":
            return OutputFormat("json")
        schema = value.get("json_schema")
        if kind != "json_schema" or not isinstance(schema, dict):
            raise BadRequestError("response_format must be text, json_object or json_schema", param="response_format")
        self.losses.unknown("response_format.json_schema", schema, _SCHEMA)
        name, strict, description = schema.get("name"), schema.get("strict"), schema.get("description")
        return OutputFormat(
            "schema",
            name if isinstance(name, str) else None,
            schema.get("schema"),
            strict if isinstance(strict, bool) else None,
            description if isinstance(description, str) else None,
        )


def arguments(value: JSON) -> str:
    """Tool arguments as raw text. Some clients and vendors send an object where the format wants its text."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()
