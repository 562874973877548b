"""A Responses request to the canonical conversation.

Members that it does not know are never a 400: at the top level they go to `extra` (Codex sends `client_metadata`), inside items and tools they
are losses. What asks for stored state goes there too, and is a need.
Reference: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from extproc.core.errors import BadRequestError
from extproc.core.ir import JSON, ForeignTool, Message, OutputFormat, Reasoning, Request, Role, Text, Tool
from extproc.core.losses import Losses
from extproc.dialects.openai_responses.items_decode import decode_input
from extproc.dialects.openai_responses.tools import decode_additional, decode_choice, decode_tools
from extproc.dialects.openai_responses.wire import NAME

KNOBS = frozenset(
    {
        "context_management",
        "include",
        "max_tool_calls",
        "metadata",
        "moderation",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "top_logprobs",
        "truncation",
        "user",
    }
)
"""Members of the published request schema that the canonical conversation has no place of its own for."""

DEFAULTS: dict[str, JSON] = {
    "context_management": [],
    "metadata": {},
    "service_tier": "auto",
    "store": False,
    "top_logprobs": 0,
    "truncation": "disabled",
}
"""Knobs that say what is so anyway: leaving them out loses nothing. Answers are stored unless `store` says otherwise, but a translated answer is
never one that its provider could be asked for again."""

ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"

_TAKEN = frozenset(
    {
        "background",
        "input",
        "instructions",
        "max_output_tokens",
        "model",
        "parallel_tool_calls",
        "reasoning",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_p",
    }
)
_REASONING = frozenset({"effort", "summary", "generate_summary"})
_TEXT = frozenset({"format", "verbosity"})
_FORMAT = frozenset({"type", "name", "schema", "strict", "description"})


def decode_request(body: JSON) -> Request:
    """Raises `BadRequestError` with `param` when a member that must be understood has the wrong shape."""
    if not isinstance(body, dict):
        raise BadRequestError("The request body must be a JSON object.")
    return _Decoder(body).request()


class _Decoder:
    """One request under way."""

    __slots__ = ("body", "losses")

    def __init__(self, body: dict[str, JSON]) -> None:
        self.body = body
        self.losses = Losses()

    def typed(self, name: str, kind: type | tuple[type, ...], word: str) -> JSON:
        """Member `name`, or None; anything but `kind` is the client's error. A boolean is no number."""
        value = self.body.get(name)
        if value is None:
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise BadRequestError(f"{name} must be {word}", param=name)
        return value

    def request(self) -> Request:
        model = self.typed("model", str, "a string")
        if not model:
            raise BadRequestError("model is required", param="model")
        instructions = self.typed("instructions", str, "a string")
        messages = [Message(Role.SYSTEM, [Text(instructions)])] if instructions else []
        messages += decode_input(self.body.get("input"), self.losses)
        out = Request(
            model=model,
            messages=messages,
            stream=self.typed("stream", bool, "a boolean") is True,
            include_usage=True,  # this format always reports it
            max_tokens=self.typed("max_output_tokens", int, "an integer"),
            temperature=self.typed("temperature", (int, float), "a number"),
            top_p=self.typed("top_p", (int, float), "a number"),
            tools=self.tools(),
            parallel_tool_calls=self.typed("parallel_tool_calls", bool, "a boolean"),
            reasoning=self.reasoning(),
            losses=self.losses,
        )
        choice = self.body.get("tool_choice")
        if choice is not None:
            out.tool_choice = decode_choice(choice)
        self.text(out)
        self.rest(out)
        return out

    def tools(self) -> list[Tool | ForeignTool]:
        """Every tool that the request makes available. One that an item defines anew is what the item says."""
        own = decode_tools(self.typed("tools", list, "a list") or [], self.losses)
        added = decode_additional(self.body.get("input"), self.losses)
        if not added:
            return own
        newest = {tool.name: tool for tool in added if isinstance(tool, Tool)}
        rest = [tool for tool in own if not isinstance(tool, Tool) or tool.name not in newest]
        return [*rest, *(tool for tool in added if isinstance(tool, ForeignTool)), *newest.values()]

    def reasoning(self) -> Reasoning | None:
        value = self.typed("reasoning", dict, "an object")
        if not value:
            return None
        self.losses.unknown("reasoning", value, _REASONING)
        effort, summary = value.get("effort"), value.get("summary") or value.get("generate_summary")
        out = Reasoning(effort=effort if isinstance(effort, str) else None, show=True if summary else None)
        if out.effort == "none":
            out.enabled = False
        return out if out != Reasoning() else None

    def text(self, out: Request) -> None:
        """`text: {format, verbosity}`."""
        value = self.typed("text", dict, "an object")
        if not value:
            return
        self.losses.unknown("text", value, _TEXT)
        if value.get("verbosity") not in (None, "medium"):
            out.knobs["verbosity"] = value["verbosity"]
        wanted = value.get("format")
        kind = wanted.get("type") if isinstance(wanted, dict) else None
        if wanted is None or kind == "text":
            return
        if kind == "json_object":
            out.output = OutputFormat("json")
            return
        if kind != "json_schema":
            raise BadRequestError("text.format must be text, json_object or json_schema", param="text.format")
        self.losses.unknown("text.format", wanted, _FORMAT)
        name, strict, description = wanted.get("name"), wanted.get("strict"), wanted.get("description")
        out.output = OutputFormat(
            "schema",
            name if isinstance(name, str) else None,
            wanted.get("schema"),
            strict if isinstance(strict, bool) else None,
            description if isinstance(description, str) else None,
        )

    def rest(self, out: Request) -> None:
        """Knobs, and what this format alone knows."""
        self.typed("stream_options", dict, "an object")
        for name, value in self.body.items():
            if value is None or name in _TAKEN:
                continue
            if name not in KNOBS:
                out.extra[name] = value
            elif name != "include" and (name not in DEFAULTS or value != DEFAULTS[name]):
                out.knobs[name] = value
        include = self.typed("include", list, "a list") or []
        if LOGPROBS in include or "top_logprobs" in out.knobs:
            out.knobs["logprobs"] = True
        # reasoning comes with its state in any case, and the others enlarge what the vendor's own tools report
        others = [name for name in include if name not in (ENCRYPTED, LOGPROBS)]
        if others:
            out.knobs["include"] = others
        out.extra_from = NAME if out.extra else ""
