"""google-genai."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from google import genai
from google.genai import errors, types

from tests.e2e.sdks import CITY, CLIENT_KEY, NAMES, TIMEOUT, Answer, Sdk, UnfinishedError


class Google(Sdk):
    name = "google-genai"
    errors = errors
    finishes: ClassVar[dict[str, str]] = {"stop": "STOP", "length": "MAX_TOKENS", "tools": "STOP", "filtered": "SAFETY"}

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = genai.Client(api_key=CLIENT_KEY, http_options=types.HttpOptions(base_url=url, timeout=int(TIMEOUT * 1000)))

    def ask(self, model: str, text: str = "hello", /, *, stream: bool = False, request_id: str = "", **more: Any) -> Answer:
        contents = more.pop("messages", None) or self.user(text)
        headers = {"x-request-id": request_id or str(uuid.uuid4())}
        config = types.GenerateContentConfig(http_options=types.HttpOptions(headers=headers), **more)
        if stream:
            chunks = list(self.client.models.generate_content_stream(model=model, contents=contents, config=config))
        else:
            chunks = [self.client.models.generate_content(model=model, contents=contents, config=config)]
        answer = Answer(raw=[])
        blocked = False
        for chunk in chunks:
            if chunk.sdk_http_response is not None and chunk.sdk_http_response.headers:
                answer.headers = {k.lower(): v for k, v in chunk.sdk_http_response.headers.items()}
            blocked |= bool(chunk.prompt_feedback and chunk.prompt_feedback.block_reason)
            usage = chunk.usage_metadata
            if usage is not None:
                answer.usage = (usage.prompt_token_count or 0, (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0))
            for candidate in chunk.candidates or ():
                if candidate.finish_reason is not None:
                    answer.finish = candidate.finish_reason.value
                parts = (candidate.content.parts if candidate.content else None) or []
                answer.raw += parts
                answer.pieces += any(p.text and not p.thought for p in parts)
        answer.text = "".join(p.text for p in answer.raw if p.text and not p.thought)
        answer.thinking = "".join(p.text for p in answer.raw if p.text and p.thought)
        answer.calls = [(p.function_call.id or "", p.function_call.name, p.function_call.args) for p in answer.raw if p.function_call]
        if answer.finish is None and not blocked:
            raise UnfinishedError
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
        if tools:
            declared = [types.FunctionDeclaration(name=n, description=f"tells {n}", parameters_json_schema=CITY) for n in NAMES]
            out["tools"] = [types.Tool(function_declarations=declared)]
        if choice is not None:
            mode = types.FunctionCallingConfigMode.NONE if choice == "none" else types.FunctionCallingConfigMode.ANY
            names = [choice] if choice in NAMES else None
            out["tool_config"] = types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode=mode, allowed_function_names=names))
        if schema is not None:
            out |= {"response_mime_type": "application/json", "response_json_schema": schema}
        if stop is not None:
            out["stop_sequences"] = [stop]
        if limit is not None:
            out["max_output_tokens"] = limit
        if think:
            out["thinking_config"] = types.ThinkingConfig(include_thoughts=True, thinking_budget=2000)
        if system is not None:
            out["system_instruction"] = system
        return out

    def user(self, text: str, *, png: bytes | None = None, pdf: bytes | None = None) -> list[Any]:
        parts = [types.Part(text=text)]
        for mime, data in (("image/png", png), ("application/pdf", pdf)):
            if data is not None:
                parts.append(types.Part.from_bytes(data=data, mime_type=mime))
        return [types.Content(role="user", parts=parts)]

    def turn(self, answer: Answer) -> list[Any]:
        return [types.Content(role="model", parts=answer.raw)]

    def results(self, answer: Answer, said: str) -> list[Any]:
        parts = []
        for call_id, name, _ in answer.calls:
            response = types.FunctionResponse(id=call_id or None, name=name, response={"result": f"{said} {name}"})
            parts.append(types.Part(function_response=response))
        return [types.Content(role="user", parts=parts)]

    def status(self, error: Exception) -> int | None:
        return error.code if isinstance(error, errors.APIError) else None
