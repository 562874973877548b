"""Converse requests for tests: short names for turns, an encoding that is checked against AWS's own model, and bodies of any shape."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import strategies as st

from extproc.core.dialect import Facts
from extproc.core.ir import (
    Message,
    Request,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from extproc.dialects.bedrock_converse import BedrockConverse
from tests.validators.bedrock_service import check_converse_request

DIALECT = BedrockConverse()
CLAUDE = Facts("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic", 64000)
ADAPTIVE = Facts("us.anthropic.claude-sonnet-4-6", "anthropic", 128000)
NOVA = Facts("us.amazon.nova-2-lite-v1:0", "bedrock")
PNG = "iVBORw0KGgo="
TOOL = Tool("f", "does it", {"type": "object", "properties": {"a": {"type": "integer"}}})


def user(*blocks: Any) -> Message:
    return Message(Role.USER, [Text(b) if isinstance(b, str) else b for b in blocks])


def assistant(*blocks: Any) -> Message:
    return Message(Role.ASSISTANT, [Text(b) if isinstance(b, str) else b for b in blocks])


def encode(*messages: Message, facts: Facts = CLAUDE, **members: Any) -> tuple[dict[str, Any], set[str]]:
    """(the body, the losses' codes); the body is valid by AWS's own model."""
    encoded = DIALECT.encode_request(Request("m", list(messages) or [user("q")], **members), facts)
    check_converse_request(encoded.body)
    return orjson.loads(encoded.body), {loss.code for loss in encoded.losses}


LOOP = (user("q"), assistant(ToolCall("c1", "f", '{"a":1}')), user(ToolResult("c1", [Text("r")])))

MEMBERS = (
    *(
        "messages",
        "role",
        "content",
        "text",
        "image",
        "document",
        "video",
        "audio",
        "source",
        "bytes",
        "format",
        "s3Location",
        "toolUse",
        "toolResult",
    ),
    *("toolUseId", "name", "input", "status", "type", "reasoningContent", "reasoningText", "signature", "redactedContent", "cachePoint", "ttl"),
    *(
        "guardContent",
        "citationsContent",
        "citations",
        "system",
        "toolConfig",
        "tools",
        "toolSpec",
        "inputSchema",
        "json",
        "toolChoice",
        "any",
        "tool",
    ),
    *("inferenceConfig", "maxTokens", "stopSequences", "outputConfig", "textFormat", "structure", "jsonSchema", "schema", "thinking", "top_k"),
    *("additionalModelRequestFields", "guardrailConfig", "serviceTier", "requestMetadata"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.sampled_from(["", "text", "user", "auto", "aa"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=4),
    max_leaves=25,
)
"""Bodies made of the words that the format knows, in any shape."""
