"""boto3's Converse."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any, ClassVar

import boto3
from botocore import exceptions
from botocore.config import Config

from tests.e2e.sdks import CITY, NAMES, TIMEOUT, Answer, Sdk, UnfinishedError


class Boto3(Sdk):
    name = "boto3"
    errors = exceptions
    finishes: ClassVar[dict[str, str]] = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use", "filtered": "content_filtered"}

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._local = threading.local()
        self.client = boto3.client(
            "bedrock-runtime",
            endpoint_url=url,
            region_name="eu-central-1",
            aws_access_key_id="application",
            aws_secret_access_key="of-the-application",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=TIMEOUT, max_pool_connections=50),
        )
        self.client.meta.events.register("before-sign.bedrock-runtime.*", self._name_request)

    def _name_request(self, request: Any, **_: Any) -> None:
        request.headers["x-request-id"] = self._local.request_id

    def ask(self, model: str, text: str = "hello", /, *, stream: bool = False, request_id: str = "", **more: Any) -> Answer:
        self._local.request_id = request_id or str(uuid.uuid4())
        messages = more.pop("messages", None) or self.user(text)
        if not stream:
            got = self.client.converse(modelId=model, messages=messages, **more)
            content, finish, usage, pieces = got["output"]["message"]["content"], got["stopReason"], got["usage"], 0
        else:
            got = self.client.converse_stream(modelId=model, messages=messages, **more)
            content, finish, usage, pieces = _collected(got["stream"])
        answer = Answer(finish=finish, pieces=pieces, raw=content, headers=got["ResponseMetadata"]["HTTPHeaders"])
        answer.text = "".join(b.get("text", "") for b in content)
        shown = [b["reasoningContent"].get("reasoningText", {}).get("text", "") for b in content if "reasoningContent" in b]
        answer.thinking = "".join(shown)
        answer.calls = [(b["toolUse"]["toolUseId"], b["toolUse"]["name"], b["toolUse"]["input"]) for b in content if "toolUse" in b]
        if usage is not None:
            answer.usage = usage["inputTokens"], usage["outputTokens"]
        return answer

    def options(
        self,
        *,
        tools: bool = False,
        choice: str | None = None,
        schema: dict[str, Any] | None = None,
        stop: str | None = None,
        limit: int | None = None,
        think: bool = False,
        system: str | None = None,
    ) -> dict[str, Any]:
        out: dict[str, Any] = {}
        config: dict[str, Any] = {}
        # Converse has no word for "call none": the application leaves the tools out
        if tools and choice != "none":
            specs = [{"toolSpec": {"name": n, "description": f"tells {n}", "inputSchema": {"json": CITY}}} for n in NAMES]
            out["toolConfig"] = {"tools": specs}
            if choice is not None:
                out["toolConfig"]["toolChoice"] = {"any": {}} if choice == "any" else {"tool": {"name": choice}}
        if schema is not None:
            form = {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(schema), "name": "city"}}}
            out["outputConfig"] = {"textFormat": form}
        if stop is not None:
            config["stopSequences"] = [stop]
        if limit is not None:
            config["maxTokens"] = limit
        if think:
            out["additionalModelRequestFields"] = {"thinking": {"type": "enabled", "budget_tokens": 2000}}
            config["maxTokens"] = 4000
        if system is not None:
            out["system"] = [{"text": system}]
        if config:
            out["inferenceConfig"] = config
        return out

    def user(self, text: str, *, png: bytes | None = None, pdf: bytes | None = None) -> list[Any]:
        content: list[dict[str, Any]] = [{"text": text}]
        if png is not None:
            content.append({"image": {"format": "png", "source": {"bytes": png}}})
        if pdf is not None:
            content.append({"document": {"format": "pdf", "name": "a", "source": {"bytes": pdf}}})
        return [{"role": "user", "content": content}]

    def turn(self, answer: Answer) -> list[Any]:
        return [{"role": "assistant", "content": answer.raw}]

    def results(self, answer: Answer, said: str) -> list[Any]:
        return [{"role": "user", "content": [{"toolResult": {"toolUseId": i, "content": [{"text": f"{said} {n}"}]}} for i, n, _ in answer.calls]}]

    def status(self, error: Exception) -> int | None:
        if not isinstance(error, exceptions.ClientError) or isinstance(error, exceptions.EventStreamError):
            return None
        code: int = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return code


def _collected(events: Any) -> tuple[list[dict[str, Any]], str, dict[str, int] | None, int]:
    """Content, stop reason, usage and the number of pieces of text."""
    blocks: dict[int, dict[str, Any]] = {}
    finish: str | None = None
    usage = None
    pieces = 0
    for event in events:
        if "contentBlockStart" in event:
            start = event["contentBlockStart"]
            blocks[start["contentBlockIndex"]] = {"toolUse": {**start["start"]["toolUse"], "input": ""}}
        elif "contentBlockDelta" in event:
            index, delta = event["contentBlockDelta"]["contentBlockIndex"], event["contentBlockDelta"]["delta"]
            if "text" in delta:
                block = blocks.setdefault(index, {"text": ""})
                block["text"] += delta["text"]
                pieces += 1
            elif "toolUse" in delta:
                blocks[index]["toolUse"]["input"] += delta["toolUse"]["input"]
            elif "reasoningContent" in delta:
                _reason(blocks.setdefault(index, {"reasoningContent": {}})["reasoningContent"], delta["reasoningContent"])
        elif "messageStop" in event:
            finish = event["messageStop"]["stopReason"]
        elif "metadata" in event:
            usage = event["metadata"]["usage"]
    if finish is None:
        raise UnfinishedError
    content = [blocks[i] for i in sorted(blocks)]
    for block in content:
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
    return content, finish, usage, pieces


def _reason(block: dict[str, Any], delta: dict[str, Any]) -> None:
    if "redactedContent" in delta:
        block["redactedContent"] = block.get("redactedContent", b"") + delta["redactedContent"]
        return
    said = block.setdefault("reasoningText", {"text": ""})
    said["text"] += delta.get("text", "")
    if "signature" in delta:
        said["signature"] = said.get("signature", "") + delta["signature"]
