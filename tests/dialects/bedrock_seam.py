"""Converse requests and answers pushed through the seam between two dialects."""

from __future__ import annotations

from typing import Any

from extproc.dialects.catalog import DIALECTS
from tests.dialects.seam import send

BEDROCK = DIALECTS["bedrock_converse"]
NOVA, LLAMA = "bedrock_converse-nova", "bedrock_converse-llama"
SPEC: dict[str, Any] = {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}}}
PNG = "iVBORw0KGgo="


def said(*content: Any, stop: str = "end_turn", **usage: int) -> dict[str, Any]:
    counts = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2, **usage}
    return {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop, "usage": counts, "metrics": {"latencyMs": 1}}


def use(call_id: str = "tooluse_1", given: Any = None) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": call_id, "name": "f", "input": given or {}}}


def converse(to: str, *turns: Any, **members: Any) -> tuple[dict[str, Any], set[str]]:
    """(what `to` gets, the codes of the losses) for a Bedrock client's request."""
    return send("bedrock_converse", to, *[{"role": "assistant" if n % 2 else "user", "content": list(t)} for n, t in enumerate(turns)], **members)


ASKED = [{"text": "q"}]
