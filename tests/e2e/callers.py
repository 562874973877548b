"""Seven SDKs, each a caller of its own dialect. No SDK repeats anything by itself: every retry would hide something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import orjson

from tests.e2e.caller import SCHEMA, TOOL, TOOL_SAYS, Caller, Heard, Question, UnfinishedError, arguments_of, finish, finished
from tests.validators.genai_sdk import parse_answer

KEY = "the-applications-own-key"
TIMEOUT = 30.0
"""Seconds after which an SDK gives up: hang protection, never what is tested."""
LONGEST = 200
"""Output tokens that are asked for where a dialect makes one say so."""


class OpenAI(Caller):
    name, dialect = "openai", "openai_chat"

    def __init__(self, url: str) -> None:
        import openai

        super().__init__(url)
        self.errors = (openai.APIError,)
        self.sdk = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT)

    def ask(self, model: str, question: Question, request_id: str) -> Heard:
        more: dict[str, Any] = {"messages": [{"role": "user", "content": question.text}], **question.more}
        if question.max_tokens is not None:
            more["max_completion_tokens"] = question.max_tokens
        if question.tool:
            more["tools"] = [{"type": "function", "function": {"name": TOOL, "description": TOOL_SAYS, "parameters": SCHEMA}}]
            more["tool_choice"] = "required"
        if question.shape:
            more["response_format"] = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
        create = self.sdk.chat.completions.with_raw_response.create
        if not question.stream:
            raw: Any = create(model=model, extra_headers={"x-request-id": request_id}, **more)
            answer = raw.parse()
            choice = answer.choices[0]
            calls = [(c.function.name, arguments_of(c.function.arguments)) for c in choice.message.tool_calls or ()]
            heard = Heard(choice.message.content or "", self._thoughts(choice.message), calls, headers=raw.headers)
            heard.finish = finish(choice.finish_reason, calls)
            heard.usage = self._usage(answer.usage)
            return heard
        more.setdefault("stream_options", {"include_usage": True})
        raw = create(model=model, stream=True, extra_headers={"x-request-id": request_id}, **more)
        heard = Heard(headers=raw.headers)
        names: dict[int, str] = {}
        arguments: dict[int, str] = {}
        last = None
        for chunk in raw.parse():
            heard.usage = self._usage(chunk.usage) or heard.usage
            for choice in chunk.choices[:1]:
                text, thoughts = self._content(choice.delta)
                heard.text += text
                heard.thoughts += thoughts or self._thoughts(choice.delta)
                heard.pieces += 1
                for place, call in enumerate(choice.delta.tool_calls or ()):
                    index = place if call.index is None else call.index
                    names[index] = names.get(index, "") + (call.function.name or "")
                    arguments[index] = arguments.get(index, "") + (call.function.arguments or "")
                last = choice.finish_reason or last
        heard.calls = [(names[index], arguments_of(arguments[index])) for index in sorted(names)]
        heard.finish = finish(last, heard.calls)
        return finished(heard)

    @staticmethod
    def _content(delta: Any) -> tuple[str, str]:
        """Mistral's thoughts stand in content parts, which this SDK hands on as they are."""
        if not isinstance(delta.content, list):
            return delta.content or "", ""
        thoughts = "".join(t["text"] for part in delta.content if part["type"] == "thinking" for t in part["thinking"])
        return "".join(part["text"] for part in delta.content if part["type"] == "text"), thoughts

    @staticmethod
    def _thoughts(message: Any) -> str:
        return getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None) or ""

    @staticmethod
    def _usage(usage: Any) -> tuple[int, int] | None:
        return (usage.prompt_tokens, usage.completion_tokens) if usage else None


class Responses(Caller):
    name, dialect = "openai-responses", "openai_responses"

    def __init__(self, url: str) -> None:
        import openai

        super().__init__(url)
        self.errors = (openai.APIError,)
        self.sdk = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT)

    def ask(self, model: str, question: Question, request_id: str) -> Heard:
        more: dict[str, Any] = {"input": question.text, "store": False, **question.more}
        if question.max_tokens is not None:
            more["max_output_tokens"] = question.max_tokens
        if question.tool:
            more["tools"] = [{"type": "function", "name": TOOL, "description": TOOL_SAYS, "parameters": SCHEMA, "strict": False}]
            more["tool_choice"] = "required"
        if question.shape:
            more["text"] = {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}}
        raw: Any = self.sdk.responses.with_raw_response.create(
            model=model, stream=question.stream, extra_headers={"x-request-id": request_id}, **more
        )
        answer, pieces, deltas = raw.parse(), 0, ""
        if question.stream:
            events, answer = answer, None
            for event in events:
                pieces += event.type.endswith(".delta")
                deltas += event.delta if event.type == "response.output_text.delta" else ""
                if event.type in ("response.completed", "response.incomplete"):
                    answer = event.response
                elif event.type in ("response.failed", "error"):
                    raise UnfinishedError(event.model_dump_json())
            if answer is None:
                raise UnfinishedError
        heard = Heard(headers=raw.headers, pieces=pieces)
        for item in answer.output:
            if item.type == "message":
                heard.text += "".join(part.text for part in item.content if part.type == "output_text")
            elif item.type == "function_call":
                heard.calls.append((item.name, arguments_of(item.arguments)))
            elif item.type == "reasoning":
                heard.thoughts += "".join(part.text for part in (*item.summary, *(item.content or ())))
        assert not question.stream or deltas == heard.text
        why = answer.incomplete_details.reason if answer.incomplete_details else "completed"
        heard.finish = finish(why, heard.calls)
        heard.usage = (answer.usage.input_tokens, answer.usage.output_tokens) if answer.usage else None
        return heard


class Anthropic(Caller):
    name, dialect = "anthropic", "anthropic_messages"

    def __init__(self, url: str) -> None:
        import anthropic

        super().__init__(url)
        self.errors = (anthropic.APIError,)
        self.sdk = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0, timeout=TIMEOUT)

    def ask(self, model: str, question: Question, request_id: str) -> Heard:
        more: dict[str, Any] = {"messages": [{"role": "user", "content": question.text}], **question.more}
        more["max_tokens"] = question.max_tokens or LONGEST
        if question.tool:
            more["tools"] = [{"name": TOOL, "description": TOOL_SAYS, "input_schema": SCHEMA}]
            more["tool_choice"] = {"type": "any"}
        if question.shape:
            more["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        headers, pieces = {"x-request-id": request_id}, 0
        if question.stream:
            with self.sdk.messages.stream(model=model, extra_headers=headers, **more) as events:
                ended = False
                for event in events:
                    pieces += event.type == "content_block_delta"
                    ended = ended or event.type == "message_stop"
                message: Any = events.get_final_message()
                got = dict(events.response.headers)
            if not ended:
                raise UnfinishedError
        else:
            raw = self.sdk.messages.with_raw_response.create(model=model, extra_headers=headers, **more)
            message, got = raw.parse(), dict(raw.headers)
        heard = Heard(headers=got, pieces=pieces)
        heard.text = "".join(block.text for block in message.content if block.type == "text")
        heard.thoughts = "".join(block.thinking for block in message.content if block.type == "thinking")
        heard.calls = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
        heard.finish = finish(message.stop_reason, ())
        usage = message.usage
        heard.usage = (usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0), usage.output_tokens)
        return finished(heard)


class Genai(Caller):
    name, dialect = "google-genai", "gemini"

    def __init__(self, url: str) -> None:
        from google import genai
        from google.genai import errors, types

        super().__init__(url)
        self.types = types
        self.errors = (errors.APIError,)
        self.sdk = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=url, timeout=int(TIMEOUT * 1000)))

    def status(self, error: Exception) -> int:
        return int(getattr(error, "code", 0))

    def ask(self, model: str, question: Question, request_id: str) -> Heard:
        more: dict[str, Any] = dict(question.more)
        if question.max_tokens is not None:
            more["max_output_tokens"] = question.max_tokens
        if question.tool:
            more["tools"] = [{"function_declarations": [{"name": TOOL, "description": TOOL_SAYS, "parameters_json_schema": SCHEMA}]}]
            more["tool_config"] = {"function_calling_config": {"mode": "ANY"}}
        if question.shape:
            more |= {"response_mime_type": "application/json", "response_json_schema": SCHEMA}
        options = self.types.HttpOptions(headers={"x-request-id": request_id})
        config = self.types.GenerateContentConfig(
            http_options=options, automatic_function_calling=self.types.AutomaticFunctionCallingConfig(disable=True), **more
        )
        models = self.sdk.models
        if question.stream:
            return self.folded(models.generate_content_stream(model=model, contents=question.text, config=config))
        return self.folded([models.generate_content(model=model, contents=question.text, config=config)])

    def folded(self, chunks: Iterable[Any]) -> Heard:
        heard = Heard()
        last = None
        for chunk in chunks:
            heard.pieces += 1
            heard.headers = chunk.sdk_http_response.headers if chunk.sdk_http_response else heard.headers
            usage = chunk.usage_metadata
            if usage and (usage.prompt_token_count or usage.candidates_token_count):
                sent = (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0)
                heard.usage = (sent, (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0))
            if chunk.prompt_feedback and chunk.prompt_feedback.block_reason:
                last = "SAFETY"
            for candidate in (chunk.candidates or ())[:1]:
                last = candidate.finish_reason or last
                for part in (candidate.content.parts if candidate.content else None) or ():
                    if part.function_call:
                        heard.calls.append((part.function_call.name, part.function_call.args or {}))
                    elif part.thought:
                        heard.thoughts += part.text or ""
                    else:
                        heard.text += part.text or ""
        heard.finish = finish(last, heard.calls)
        return finished(heard)


class GenaiArray(Genai):
    """Its API's other form of a stream, one JSON array, which no SDK asks for; each of whose elements the SDK reads."""

    name = "gemini-array"

    def ask(self, model: str, question: Question, request_id: str) -> Heard:
        assert question.stream
        answer = httpx.post(
            f"{self.url}/v1beta/models/{model}:streamGenerateContent",
            json={"contents": [{"role": "user", "parts": [{"text": question.text}]}]},
            headers={"x-request-id": request_id, "x-goog-api-key": KEY},
            timeout=TIMEOUT,
        )
        answer.raise_for_status()
        assert answer.headers["content-type"].startswith("application/json")
        return self.folded(parse_answer(orjson.dumps(chunk)) for chunk in answer.json())


class Boto3(Caller):
    name, dialect = "boto3", "bedrock_converse"

    def __init__(self, url: str) -> None:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        super().__init__(url)
        self.errors = (ClientError, BotoCoreError)
        self._id = ""
        self.sdk = boto3.client(
            "bedrock-runtime",
            endpoint_url=url,
            region_name="eu-central-1",
            aws_access_key_id="application",
            aws_secret_access_key=KEY,
            config=Config(retries={"total_max_attempts": 1}, read_timeout=TIMEOUT),
        )
        self.sdk.meta.events.register("before-sign.bedrock-runtime", self._name)

    def _name(self, request: Any, **_: Any) -> None:
        request.headers["x-request-id"] = self._id

    def status(self, error: Exception) -> int:
        response = getattr(error, "response", None) or {}
        return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))

    def ask(self, model: str, question: Question, request_id: str) -> Heard:
        more: dict[str, Any] = {"messages": [{"role": "user", "content": [{"text": question.text}]}], **question.more}
        if question.max_tokens is not None:
            more["inferenceConfig"] = {"maxTokens": question.max_tokens}
        if question.tool:
            tool = {"toolSpec": {"name": TOOL, "description": TOOL_SAYS, "inputSchema": {"json": SCHEMA}}}
            more["toolConfig"] = {"tools": [tool], "toolChoice": {"any": {}}}
        assert not question.shape, "this API has no output format"
        self._id = request_id
        if question.stream:
            answer = self.sdk.converse_stream(modelId=model, **more)
            heard = self._streamed(answer["stream"])
        else:
            answer = self.sdk.converse(modelId=model, **more)
            heard = Heard(usage=self._usage(answer["usage"]))
            for block in answer["output"]["message"]["content"]:
                heard.text += block.get("text", "")
                heard.thoughts += block.get("reasoningContent", {}).get("reasoningText", {}).get("text", "")
                if "toolUse" in block:
                    heard.calls.append((block["toolUse"]["name"], block["toolUse"]["input"]))
            heard.finish = finish(answer["stopReason"], ())
        heard.headers = answer["ResponseMetadata"]["HTTPHeaders"]
        return finished(heard)

    def _streamed(self, events: Iterable[Any]) -> Heard:
        heard = Heard()
        names: dict[int, str] = {}
        inputs: dict[int, str] = {}
        for event in events:
            heard.pieces += 1
            if "contentBlockStart" in event and "toolUse" in event["contentBlockStart"]["start"]:
                names[event["contentBlockStart"]["contentBlockIndex"]] = event["contentBlockStart"]["start"]["toolUse"]["name"]
            elif "contentBlockDelta" in event:
                index, delta = event["contentBlockDelta"]["contentBlockIndex"], event["contentBlockDelta"]["delta"]
                heard.text += delta.get("text", "")
                heard.thoughts += delta.get("reasoningContent", {}).get("text", "")
                inputs[index] = inputs.get(index, "") + delta.get("toolUse", {}).get("input", "")
            elif "messageStop" in event:
                heard.finish = finish(event["messageStop"]["stopReason"], ())
            elif "metadata" in event:
                heard.usage = self._usage(event["metadata"]["usage"])
        heard.calls = [(names[index], arguments_of(inputs.get(index, ""))) for index in sorted(names)]
        return heard

    @staticmethod
    def _usage(usage: Mapping[str, int]) -> tuple[int, int]:
        cached = usage.get("cacheReadInputTokens", 0) + usage.get("cacheWriteInputTokens", 0)
        return usage["inputTokens"] + cached, usage["outputTokens"]


class Cohere(Caller):
    """The plan that stands in place of text where tools are called counts as text."""

    name, dialect = "cohere", "cohere_chat"

    def __init__(self, url: str) -> None:
        import cohere
        from cohere.core.api_error import ApiError

        super().__init__(url)
        self.errors = (ApiError,)
        self._http = httpx.Client(timeout=TIMEOUT)
        self.sdk = cohere.ClientV2(api_key=KEY, base_url=url, httpx_client=self._http)

    def ask(self, model: str, question: Question, request_id: str) -> Heard:
        more: dict[str, Any] = {"messages": [{"role": "user", "content": question.text}], **question.more}
        more["request_options"] = {"additional_headers": {"x-request-id": request_id}, "max_retries": 0}
        if question.max_tokens is not None:
            more["max_tokens"] = question.max_tokens
        if question.tool:
            more["tools"] = [{"type": "function", "function": {"name": TOOL, "description": TOOL_SAYS, "parameters": SCHEMA}}]
            more["tool_choice"] = "REQUIRED"
        if question.shape:
            more["response_format"] = {"type": "json_object", "schema": SCHEMA}
        if not question.stream:
            with_headers = self.sdk.with_raw_response.chat(model=model, **more)
            answer = with_headers.data
            heard = Heard(headers=with_headers.headers)
            for part in answer.message.content or ():
                heard.text += getattr(part, "text", "") or ""
                heard.thoughts += getattr(part, "thinking", "") or ""
            heard.calls = [(c.function.name, arguments_of(c.function.arguments)) for c in answer.message.tool_calls or ()]
            heard.text += answer.message.tool_plan or ""
            heard.usage = self._usage(answer.usage)
            heard.finish = self._finish(answer.finish_reason)
            return finished(heard)
        heard = Heard()
        calls: list[tuple[str, str]] = []
        for event in self.sdk.chat_stream(model=model, **more):
            heard.pieces += 1
            match event.type:
                case "content-delta":
                    content = event.delta.message.content
                    heard.text += content.text or ""
                    heard.thoughts += getattr(content, "thinking", None) or ""
                case "content-start":
                    heard.text += getattr(event.delta.message.content, "text", None) or ""
                    heard.thoughts += getattr(event.delta.message.content, "thinking", None) or ""
                case "tool-plan-delta":
                    heard.text += event.delta.message.tool_plan or ""
                case "tool-call-start":
                    function = event.delta.message.tool_calls.function
                    calls.append((function.name, function.arguments or ""))
                case "tool-call-delta":
                    name, arguments = calls[-1]
                    calls[-1] = (name, arguments + (event.delta.message.tool_calls.function.arguments or ""))
                case "message-end":
                    heard.finish = self._finish(event.delta.finish_reason)
                    heard.usage = self._usage(event.delta.usage)
                    finished(heard)
        heard.calls = [(name, arguments_of(arguments)) for name, arguments in calls]
        return finished(heard)

    def _finish(self, word: Any) -> str:
        """This SDK hands a failure on as the last event's word."""
        return "" if word in ("ERROR", "TIMEOUT") else finish(word, ())

    def close(self) -> None:
        self._http.close()

    @staticmethod
    def _usage(usage: Any) -> tuple[int, int] | None:
        return (int(usage.tokens.input_tokens or 0), int(usage.tokens.output_tokens or 0)) if usage and usage.tokens else None


class Ollama(Caller):
    name, dialect = "ollama", "ollama_chat"

    def __init__(self, url: str) -> None:
        import ollama

        super().__init__(url)
        self.errors = (ollama.ResponseError,)
        self.sdk = ollama.Client(url, headers={"authorization": f"Bearer {KEY}"}, timeout=TIMEOUT)

    def ask(self, model: str, question: Question, request_id: str) -> Heard:
        more: dict[str, Any] = dict(question.more)
        if question.max_tokens is not None:
            more["options"] = {"num_predict": question.max_tokens}
        if question.tool:
            more["tools"] = [{"type": "function", "function": {"name": TOOL, "description": TOOL_SAYS, "parameters": SCHEMA}}]
        if question.shape:
            more["format"] = SCHEMA
        self.sdk._client.headers["x-request-id"] = request_id
        answer = self.sdk.chat(model, [{"role": "user", "content": question.text}], stream=question.stream, **more)
        heard = Heard()
        last, done = None, False
        for chunk in answer if question.stream else [answer]:
            heard.pieces += 1
            heard.text += chunk.message.content or ""
            heard.thoughts += chunk.message.thinking or ""
            heard.calls += [(c.function.name, dict(c.function.arguments)) for c in chunk.message.tool_calls or ()]
            last, done = chunk.done_reason, bool(chunk.done)
            if chunk.eval_count is not None or chunk.prompt_eval_count is not None:
                heard.usage = (chunk.prompt_eval_count or 0, chunk.eval_count or 0)
        heard.finish = finish(last or "stop", heard.calls) if done else ""
        return finished(heard)

    def close(self) -> None:
        self.sdk._client.close()


CALLERS: dict[str, type[Caller]] = {c.name: c for c in (OpenAI, Responses, Anthropic, Genai, Boto3, Cohere, Ollama)}
"""Every caller by the name of its SDK."""


@contextmanager
def all_callers(url: str) -> Iterator[dict[str, Caller]]:
    callers = {name: make(url) for name, make in CALLERS.items()}
    try:
        yield callers
    finally:
        for caller in callers.values():
            caller.close()
