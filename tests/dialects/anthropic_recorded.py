"""Recorded Anthropic exchanges, and what may differ between a recorded body and our re-encoded one without being a loss."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "recordings"
needs_recordings = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not here")

METADATA = frozenset({"diagnostics"})
"""Members of an answer about the account and its metering, never carried. Of `usage` only the token counts are."""
COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


@cache
def messages() -> list[dict[str, Any]]:
    """Every recorded exchange with a Messages endpoint, of any provider file."""
    found: list[dict[str, Any]] = []
    for path in sorted(RECORDINGS.glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as lines:
            for line in lines:
                if "/v1/messages" not in line:
                    continue
                record = json.loads(line)
                if record["api"] == "messages" and "api.anthropic.com/v1/messages" in record["url"]:
                    found.append(record)
    return found


def streams() -> list[dict[str, Any]]:
    return [r for r in messages() if r["streaming"] and r["status"] == 200]


def body_of(record: dict[str, Any]) -> Any:
    body = record["request_body"]
    return json.loads(body) if isinstance(body, str) else body


def _blocks(content: Any) -> list[Any]:
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())
    return [_block(b) for b in blocks]


def _block(block: dict[str, Any]) -> dict[str, Any]:
    """A block without members that say nothing: nulls, an empty list of citations, `is_error: false`, the direct caller."""
    out = {k: v for k, v in block.items() if v is not None}
    if out.get("caller") == {"type": "direct"}:
        del out["caller"]
    if out.get("citations") == []:
        del out["citations"]
    if out.get("is_error") is False:
        del out["is_error"]
    if out["type"] == "tool_result" and "content" in out:
        out["content"] = _blocks(out["content"])
        if not out["content"]:
            del out["content"]
    return out


def normal_request(body: dict[str, Any], losses: set[str]) -> dict[str, Any]:
    """A request in the one form that several spellings share; changes that `losses` reports are made here too, each by its own rule."""
    out = {k: v for k, v in body.items() if v is not None and not (k == "stream" and v is False)}
    if "output_format" in out:
        out["output_config"] = {**out.get("output_config", {}), "format": out.pop("output_format")}
    if "system" in out:
        out["system"] = _blocks(out["system"])
    choice = out.get("tool_choice")
    if isinstance(choice, dict) and choice.get("disable_parallel_tool_use") is False:
        out["tool_choice"] = {k: v for k, v in choice.items() if k != "disable_parallel_tool_use"}
    out["messages"] = []
    for message in body["messages"]:
        role, blocks = message["role"], _blocks(message["content"])
        if role == "system" and "coerced:system_position" in losses and all(b["type"] == "text" for b in blocks):
            role, blocks = "user", [{**b, "text": f"<system>\n{b['text']}\n</system>"} for b in blocks]
        if "dropped:empty_text" in losses:
            blocks = [b for b in blocks if b["type"] != "text" or b["text"].strip()]
        if out["messages"] and out["messages"][-1]["role"] == role:
            out["messages"][-1]["content"] += blocks
        else:
            out["messages"].append({"role": role, "content": blocks})
    return out


def normal_response(body: dict[str, Any]) -> dict[str, Any]:
    """An answer without metadata and members that say nothing."""
    out = {k: v for k, v in body.items() if v is not None and k not in METADATA}
    out["content"] = [_block(b) for b in body["content"]]
    out["content"] = [b for b in out["content"] if b["type"] != "text" or b["text"] or b.get("citations")]
    usage = out["usage"]
    out["usage"] = {k: usage.get(k) or 0 for k in COUNTS}
    return out


def differences(source: Any, result: Any, path: str = "") -> Iterator[str]:
    """Paths of what `source` has and `result` lacks or has otherwise, and of what only `result` has."""
    if isinstance(source, dict) and isinstance(result, dict):
        for name in source.keys() | result.keys():
            where = f"{path}.{name}"
            if name not in source or name not in result:
                yield where
            else:
                yield from differences(source[name], result[name], where)
    elif isinstance(source, list) and isinstance(result, list) and len(source) == len(result):
        for place, (a, b) in enumerate(zip(source, result, strict=True)):
            yield from differences(a, b, f"{path}.{place}")
    elif source != result:
        yield path
