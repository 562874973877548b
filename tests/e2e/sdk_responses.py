"""The openai SDK's Responses, stateless: encrypted reasoning travels with the conversation."""

from __future__ import annotations

import json
import uuid
from typing import Any, ClassVar

import openai

from tests.e2e.sdks import CITY, CLIENT_KEY, NAMES, TIMEOUT, Answer, Sdk, UnfinishedError, base64_of


class Responses(Sdk):
    name = "openai-responses"
    errors = openai
    finishes: ClassVar[dict[str, str]] = {"stop": "completed", "length": "max_output_tokens", "tools": "completed", "filtered": "content_filter"}
    stops = False

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=CLIENT_KEY, max_retries=0, timeout=TIMEOUT)

    def ask(self, model: str, text: str = "hello", /, *, stream: bool = False, request_id: str = "", **more: Any) -> Answer:
        items = more.pop("messages", None) or self.user(text)
        headers = {"x-request-id": request_id or str(uuid.uuid4())}
        raw = self.client.responses.with_raw_response.create(model=model, input=items, stream=stream, store=False, extra_headers=headers, **more)
        pieces = 0
        response: Any = None
        if stream:
            sequence = -1
            for event in raw.parse():
                assert event.sequence_number == sequence + 1
                sequence = event.sequence_number
                pieces += event.type == "response.output_text.delta"
                if event.type in ("response.completed", "response.incomplete"):
                    response = event.response
        else:
            response = raw.parse()
        if response is None or response.status not in ("completed", "incomplete"):
            raise UnfinishedError
        summaries = [s.text for item in response.output if item.type == "reasoning" for s in item.summary]
        return Answer(
            text=response.output_text,
            thinking="".join(summaries),
            calls=[(item.call_id, item.name, json.loads(item.arguments)) for item in response.output if item.type == "function_call"],
            finish=response.incomplete_details.reason if response.incomplete_details else response.status,
            usage=(response.usage.input_tokens, response.usage.output_tokens),
            headers=dict(raw.headers),
            pieces=pieces,
            raw=response,
        )

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
        if tools:
            out["tools"] = [{"type": "function", "name": n, "description": f"tells {n}", "parameters": CITY, "strict": True} for n in NAMES]
        if choice is not None:
            out["tool_choice"] = {"any": "required", "none": "none"}.get(choice) or {"type": "function", "name": choice}
        if schema is not None:
            out["text"] = {"format": {"type": "json_schema", "name": "city", "schema": schema, "strict": True}}
        if limit is not None:
            out["max_output_tokens"] = limit
        if think:
            out |= {"reasoning": {"effort": "high", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}
        if system is not None:
            out["instructions"] = system
        return out

    def user(self, text: str, *, png: bytes | None = None, pdf: bytes | None = None) -> list[Any]:
        content: list[dict[str, Any]] = [{"type": "input_text", "text": text}]
        if png is not None:
            content.append({"type": "input_image", "image_url": f"data:image/png;base64,{base64_of(png)}"})
        if pdf is not None:
            content.append({"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{base64_of(pdf)}"})
        return [{"role": "user", "content": content}]

    def turn(self, answer: Answer) -> list[Any]:
        return [item.model_dump(mode="json", exclude_none=True) for item in answer.raw.output]

    def results(self, answer: Answer, said: str) -> list[Any]:
        return [{"type": "function_call_output", "call_id": i, "output": f"{said} {n}"} for i, n, _ in answer.calls]
