"""The `response` object and its output items as clients get them, whole or inside a stream's events.

The object repeats the request: what `Reply.echo` holds of it, else the API's defaults, because the SDK's type has no answer without them.
Reference: https://platform.openai.com/docs/api-reference/responses/object
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.core import carrier
from extproc.core.dialect import Reply
from extproc.core.ir import JSON, Image, Thinking, ToolCall
from extproc.core.losses import Losses
from extproc.dialects.openai_responses.tools import Called, custom_input, listed
from extproc.dialects.openai_responses.wire import minted_id, slot

_DEFAULTS: dict[str, JSON] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""Members that repeat the request, and what the API says where the request does not. Nothing is stored of a translated answer."""

_SAID = frozenset(_DEFAULTS) - {"background", "previous_response_id", "service_tier"}
"""Those that are the client's to say; the others say what the provider did."""


def echo(body: JSON) -> dict[str, JSON]:
    """What answers repeat of a request. Total."""
    if not isinstance(body, dict):
        return {}
    said = {name: body[name] for name in _SAID if body.get(name) is not None}
    if tools := listed(body):
        said["tools"] = [_tool(tool) for tool in tools]
    if isinstance(said.get("text"), dict):
        said["text"] = {"format": {"type": "text"}, **said["text"]}
    return said


def _tool(tool: JSON) -> JSON:
    """Functions are repeated with the members that their type requires."""
    if isinstance(tool, dict) and tool.get("type", "function") == "function":
        return {"type": "function", "description": None, "parameters": None, "strict": None, **tool}
    return tool


def response_object(reply: Reply, answer: str, created: int | None, status: str, **members: JSON) -> dict[str, JSON]:
    """The object; `members` are those of the answer: output, usage, incomplete_details."""
    return {
        "id": answer or reply.id,
        "object": "response",
        "created_at": reply.created if created is None else created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": reply.model,
        "output": [],
        "usage": None,
        **_DEFAULTS,
        **reply.echo,
        **members,
    }


class Items:
    """Makes output items. Items of one answer get ids that follow from the answer's and their place.

    Two calls of one answer never share an id, which some vendors give them: clients, the SDK among them, tell calls apart by it.
    """

    __slots__ = ("_answer", "_carried", "_losses", "_names", "_places")

    def __init__(self, answer: str, names: Mapping[str, Called], losses: Losses) -> None:
        self._answer = answer
        self._names = names
        self._losses = losses
        self._places: dict[str, int] = {}
        """Where a call id stands."""
        self._carried: dict[tuple[str, str, str], str] = {}
        """Call ids with the state that they carry."""

    def id(self, prefix: str, place: int) -> str:
        return minted_id(prefix, self._answer, place)

    def message(self, place: int, content: list[JSON], status: str = "completed") -> dict[str, JSON]:
        return {"id": self.id("msg", place), "type": "message", "status": status, "role": "assistant", "content": content}

    def reasoning(self, place: int, thought: Thinking) -> dict[str, JSON]:
        """Hidden thoughts have no summary at all, others one part, be it empty."""
        item: dict[str, JSON] = {"id": self.id("rs", place), "type": "reasoning", "summary": [] if thought.redacted else [summary_part(thought.text)]}
        if thought.opaque is not None:
            own, item["encrypted_content"] = slot(thought.opaque)
            item["id"] = own or item["id"]
        return item

    def call(self, place: int, call: ToolCall, status: str = "completed") -> dict[str, JSON]:
        """A function's or a custom tool's call. The call's own signature rides in its id."""
        known = self._names.get(call.name) or Called(call.name)
        call_id = call.id
        if self._places.setdefault(call_id, place) != place:
            call_id = f"{call_id}_{place}"
            self._losses.add("coerced:tool_id", "two calls of one answer had the same")
        if call.opaque is not None:
            # a stream names each call twice, and to pack the state costs more than all else of it
            key = (call_id, call.opaque.vendor, call.opaque.data)
            carried = self._carried.get(key)
            if carried is None:
                carried = self._carried[key] = carrier.join(call_id, call.opaque, [])
            call_id = carried
        named: dict[str, JSON] = {"call_id": call_id, "name": known.name}
        if known.namespace is not None:
            named["namespace"] = known.namespace
        if known.custom:
            text = custom_input(call.arguments) if status == "completed" else ""
            return {"id": self.id("ctc", place), "type": "custom_tool_call", **named, "input": text}
        given = call.arguments or "{}" if status == "completed" else ""
        return {"id": self.id("fc", place), "type": "function_call", "status": status, **named, "arguments": given}

    def image(self, place: int, image: Image) -> dict[str, JSON] | None:
        """None for an image that is not given as bytes."""
        if image.source.data is None:
            return None
        coding = (image.source.media_type or "image/png").partition("/")[2]
        item: dict[str, JSON] = {"id": self.id("ig", place), "type": "image_generation_call", "status": "completed", "result": image.source.data}
        if coding in ("png", "webp", "jpeg", "gif"):
            item["output_format"] = coding
        return item


def text_part(text: str, annotations: list[JSON] | None = None) -> dict[str, JSON]:
    """A part of a message."""
    return {"type": "output_text", "annotations": annotations or [], "logprobs": [], "text": text}


def refusal_part(text: str) -> dict[str, JSON]:
    """A part of a message."""
    return {"type": "refusal", "refusal": text}


def summary_part(text: str) -> dict[str, JSON]:
    """A part of a reasoning item's summary."""
    return {"type": "summary_text", "text": text}
