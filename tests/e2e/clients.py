"""Conversations with tools by real clients, each in its own words: a question, the calls, their results, the answer.

`converse(url, model, stream)` of each asks for two tools, runs them, gives the results back, and returns what an application would show in the
end and the names of the tools that it ran. No client knows where it is: its base URL is all that is set.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

TIMEOUT = 30.0
KEY = "the-applications-own-key"
QUESTION = "call get_weather and get_time, both, for the city of Paris"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = {"get_weather": "tells the weather", "get_time": "tells the time"}

Outcome = tuple[str, list[str]]
Conversation = Callable[[str, str, bool], Outcome]


def result_of(name: str, arguments: Any) -> str:
    """What the application's tool says."""
    city = (json.loads(arguments) if isinstance(arguments, str) else arguments)["city"]
    return f"{name} says fine in {city}"


def _functions() -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": n, "description": d, "parameters": SCHEMA}} for n, d in TOOLS.items()]


def _chat(client: Any, model: str, stream: bool) -> Outcome:
    """Any SDK with the face of `client.chat.completions.create`."""
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    ran: list[str] = []
    text = ""
    for _ in range(2):
        calls: list[dict[str, Any]] = []
        text = ""
        if stream:
            for chunk in client.chat.completions.create(model=model, messages=messages, tools=_functions(), stream=True):
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                    for piece in choice.delta.tool_calls or ():
                        while len(calls) <= piece.index:
                            calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
                        call = calls[piece.index]
                        call["id"] = piece.id or call["id"]
                        call["function"]["name"] += piece.function.name or ""
                        call["function"]["arguments"] += piece.function.arguments or ""
        else:
            message = client.chat.completions.create(model=model, messages=messages, tools=_functions()).choices[0].message
            text = message.content or ""
            calls = [
                {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
                for c in message.tool_calls or ()
            ]
        if not calls:
            break
        messages.append({"role": "assistant", "content": text or None, "tool_calls": calls})
        for call in calls:
            function = call["function"]
            ran.append(function["name"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result_of(function["name"], function["arguments"])})
    return text, ran


def openai_chat(url: str, model: str, stream: bool) -> Outcome:
    import openai

    return _chat(openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT), model, stream)


def azure(url: str, model: str, stream: bool) -> Outcome:
    import openai

    client = openai.AzureOpenAI(azure_endpoint=url, api_key=KEY, api_version="2025-04-01-preview", max_retries=0, timeout=TIMEOUT)
    return _chat(client, model, stream)


def groq(url: str, model: str, stream: bool) -> Outcome:
    import groq as sdk

    return _chat(sdk.Groq(base_url=url, api_key=KEY, max_retries=0, timeout=TIMEOUT), model, stream)


def openai_responses(url: str, model: str, stream: bool) -> Outcome:
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT)
    tools: Any = [{"type": "function", "name": n, "description": d, "parameters": SCHEMA, "strict": False} for n, d in TOOLS.items()]
    items: list[Any] = [{"role": "user", "content": QUESTION}]
    ran: list[str] = []
    text = ""
    for _ in range(2):
        if stream:
            with client.responses.stream(model=model, input=items, tools=tools, store=False) as events:
                for _ in events:
                    pass
                answer: Any = events.get_final_response()
        else:
            answer = client.responses.create(model=model, input=items, tools=tools, store=False)
        text = answer.output_text
        items += [item.model_dump(mode="json", exclude_none=True, exclude={"parsed_arguments"}) for item in answer.output]
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            break
        for call in calls:
            ran.append(call.name)
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": result_of(call.name, call.arguments)})
    return text, ran


def anthropic(url: str, model: str, stream: bool) -> Outcome:
    import anthropic as sdk

    client = sdk.Anthropic(base_url=url, api_key=KEY, max_retries=0, timeout=TIMEOUT)
    tools: Any = [{"name": n, "description": d, "input_schema": SCHEMA} for n, d in TOOLS.items()]
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    ran: list[str] = []
    text = ""
    for _ in range(2):
        if stream:
            with client.messages.stream(model=model, max_tokens=500, messages=messages, tools=tools) as events:
                answer: Any = events.get_final_message()
        else:
            answer = client.messages.create(model=model, max_tokens=500, messages=messages, tools=tools)
        text = "".join(b.text for b in answer.content if b.type == "text")
        calls = [b for b in answer.content if b.type == "tool_use"]
        if not calls:
            break
        ran += [c.name for c in calls]
        messages += [
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": c.id, "content": result_of(c.name, c.input)} for c in calls]},
        ]
    return text, ran


def google_genai(url: str, model: str, stream: bool) -> Outcome:
    """With the SDK's own automatic function calling where it does not stream, by hand where it does."""
    from google import genai
    from google.genai import types

    client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=url, timeout=int(TIMEOUT * 1000)))
    ran: list[str] = []

    def get_weather(city: str) -> str:
        """tells the weather"""
        ran.append("get_weather")
        return result_of("get_weather", {"city": city})

    def get_time(city: str) -> str:
        """tells the time"""
        ran.append("get_time")
        return result_of("get_time", {"city": city})

    if not stream:
        chat = client.chats.create(model=model, config=types.GenerateContentConfig(tools=[get_weather, get_time]))
        return chat.send_message(QUESTION).text or "", ran
    declarations = [types.FunctionDeclaration(name=n, description=d, parameters_json_schema=SCHEMA) for n, d in TOOLS.items()]
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=declarations)])
    contents: list[Any] = [types.Content(role="user", parts=[types.Part(text=QUESTION)])]
    text = ""
    for _ in range(2):
        text, parts = "", []
        for chunk in client.models.generate_content_stream(model=model, contents=contents, config=config):
            for candidate in chunk.candidates or ():
                parts += (candidate.content.parts if candidate.content else None) or []
        text = "".join(p.text for p in parts if p.text and not p.thought)
        calls = [p.function_call for p in parts if p.function_call]
        if not calls:
            break
        contents.append(types.Content(role="model", parts=parts))
        answers = []
        for call in calls:
            ran.append(call.name or "")
            answer = {"result": result_of(call.name or "", call.args)}
            answers.append(types.Part.from_function_response(name=call.name or "", response=answer))
        contents.append(types.Content(role="user", parts=answers))
    return text, ran


def boto3(url: str, model: str, stream: bool) -> Outcome:
    import boto3 as sdk
    from botocore.config import Config

    client = sdk.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id="application",
        aws_secret_access_key=KEY,
        config=Config(retries={"max_attempts": 1}, read_timeout=TIMEOUT),
    )
    tools: Any = {"tools": [{"toolSpec": {"name": n, "description": d, "inputSchema": {"json": SCHEMA}}} for n, d in TOOLS.items()]}
    messages: list[Any] = [{"role": "user", "content": [{"text": QUESTION}]}]
    ran: list[str] = []
    text = ""
    for _ in range(2):
        if stream:
            message = _bedrock_stream(client.converse_stream(modelId=model, messages=messages, toolConfig=tools)["stream"])
        else:
            message = client.converse(modelId=model, messages=messages, toolConfig=tools)["output"]["message"]
        text = "".join(b.get("text", "") for b in message["content"])
        calls = [b["toolUse"] for b in message["content"] if "toolUse" in b]
        if not calls:
            break
        ran += [c["name"] for c in calls]
        results = [{"toolResult": {"toolUseId": c["toolUseId"], "content": [{"text": result_of(c["name"], c["input"])}]}} for c in calls]
        messages += [message, {"role": "user", "content": results}]
    return text, ran


def _bedrock_stream(events: Any) -> dict[str, Any]:
    blocks: dict[int, dict[str, Any]] = {}
    stopped = False
    for event in events:
        if "contentBlockStart" in event:
            start = event["contentBlockStart"]
            blocks[start["contentBlockIndex"]] = {"toolUse": {**start["start"]["toolUse"], "input": ""}}
        elif "contentBlockDelta" in event:
            index, delta = event["contentBlockDelta"]["contentBlockIndex"], event["contentBlockDelta"]["delta"]
            if "text" in delta:
                block = blocks.setdefault(index, {"text": ""})
                block["text"] += delta["text"]
            elif "toolUse" in delta:
                blocks[index]["toolUse"]["input"] += delta["toolUse"]["input"]
        elif "messageStop" in event:
            stopped = True
    assert stopped
    content = [blocks[i] for i in sorted(blocks)]
    for block in content:
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
    return {"role": "assistant", "content": content}


def cohere(url: str, model: str, stream: bool) -> Outcome:
    import cohere as sdk

    client = sdk.ClientV2(api_key=KEY, base_url=url, timeout=TIMEOUT)
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    tools: Any = _functions()
    ran: list[str] = []
    text = ""
    for _ in range(2):
        if stream:
            text, calls, plan = _cohere_stream(client.chat_stream(model=model, messages=messages, tools=tools))
        else:
            message = client.chat(model=model, messages=messages, tools=tools).message
            text = "".join(getattr(c, "text", "") for c in message.content or ())
            calls, plan = [c.model_dump(mode="json") for c in message.tool_calls or ()], message.tool_plan
        if not calls:
            break
        messages.append({"role": "assistant", "tool_calls": calls, **({"tool_plan": plan} if plan else {})})
        for call in calls:
            ran.append(call["function"]["name"])
            said = result_of(call["function"]["name"], call["function"]["arguments"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": said})
    return text, ran


def _cohere_stream(events: Any) -> tuple[str, list[dict[str, Any]], str]:
    text, plan = "", ""
    calls: list[dict[str, Any]] = []
    ended = False
    for event in events:
        match event.type:
            case "content-delta":
                text += event.delta.message.content.text or ""
            case "tool-plan-delta":
                plan += event.delta.message.tool_plan or ""
            case "tool-call-start":
                calls.append(event.delta.message.tool_calls.model_dump(mode="json"))
            case "tool-call-delta":
                calls[-1]["function"]["arguments"] += event.delta.message.tool_calls.function.arguments or ""
            case "message-end":
                ended = True
            case _:
                pass
    assert ended
    return text, calls, plan


def mistral(url: str, model: str, stream: bool) -> Outcome:
    from mistralai.client import Mistral

    client = Mistral(api_key=KEY, server_url=url, timeout_ms=int(TIMEOUT * 1000))
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    tools: Any = _functions()
    ran: list[str] = []
    text = ""
    for _ in range(2):
        text = ""
        calls: list[Any] = []
        usage: Any = None
        if stream:
            for event in client.chat.stream(model=model, messages=messages, tools=tools, tool_choice="auto", random_seed=1):
                delta = event.data.choices[0].delta if event.data.choices else None
                text += delta.content if delta is not None and isinstance(delta.content, str) else ""
                calls = _merged(calls, (delta.tool_calls if delta is not None else None) or [])
                usage = event.data.usage or usage
            assert usage is not None
            assert usage.completion_tokens > 0
        else:
            message = client.chat.complete(model=model, messages=messages, tools=tools, tool_choice="auto", random_seed=1).choices[0].message
            text, calls = str(message.content or ""), [c.model_dump(mode="json") for c in message.tool_calls or ()]
        if not calls:
            break
        messages.append({"role": "assistant", "content": text, "tool_calls": calls})
        for call in calls:
            name = call["function"]["name"]
            ran.append(name)
            said = result_of(name, call["function"]["arguments"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "name": name, "content": said})
    return text, ran


def _merged(calls: list[Any], pieces: Any) -> list[Any]:
    for piece in pieces:
        one = piece.model_dump(mode="json")
        index = one.get("index") or 0
        if index < len(calls):
            calls[index]["function"]["arguments"] += one["function"]["arguments"]
        else:
            calls.append(one)
    return calls


def ollama(url: str, model: str, stream: bool) -> Outcome:
    import ollama as sdk

    client = sdk.Client(url, headers={"authorization": f"Bearer {KEY}"}, timeout=TIMEOUT)
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    ran: list[str] = []
    text = ""
    for _ in range(2):
        if stream:
            text, calls = "", []
            last: Any = None
            for last in client.chat(model, messages, tools=_functions(), stream=True):
                text += last.message.content or ""
                calls += last.message.tool_calls or []
            assert last is not None
            assert last.done
        else:
            message = client.chat(model, messages, tools=_functions(), stream=False).message
            text, calls = message.content or "", list(message.tool_calls or [])
        if not calls:
            break
        messages.append({"role": "assistant", "content": text, "tool_calls": calls})
        for call in calls:
            ran.append(call.function.name)
            messages.append(
                {"role": "tool", "tool_name": call.function.name, "content": result_of(call.function.name, dict(call.function.arguments))}
            )
    return text, ran


def _langchain(llm: Any, stream: bool) -> Outcome:
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import StructuredTool
    from pydantic import BaseModel

    class City(BaseModel):
        city: str

    ran: list[str] = []

    def tool(name: str) -> StructuredTool:
        return StructuredTool.from_function(lambda city: result_of(name, {"city": city}), name=name, description=TOOLS[name], args_schema=City)

    tools = {name: tool(name) for name in TOOLS}
    bound = llm.bind_tools(list(tools.values()))
    messages: list[Any] = [HumanMessage(QUESTION)]
    answer: Any = None
    for _ in range(2):
        if stream:
            answer = None
            for chunk in bound.stream(messages):
                answer = chunk if answer is None else answer + chunk
        else:
            answer = bound.invoke(messages)
        messages.append(answer)
        if not answer.tool_calls:
            break
        for call in answer.tool_calls:
            ran.append(call["name"])
            messages.append(ToolMessage(tools[call["name"]].invoke(call["args"]), tool_call_id=call["id"]))
    return answer.text if isinstance(answer.text, str) else answer.text(), ran


def langchain_openai(url: str, model: str, stream: bool) -> Outcome:
    from langchain_openai import ChatOpenAI

    return _langchain(ChatOpenAI(model=model, base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=TIMEOUT), stream)


def langchain_anthropic(url: str, model: str, stream: bool) -> Outcome:
    from langchain_anthropic import ChatAnthropic

    return _langchain(ChatAnthropic(model=model, base_url=url, api_key=KEY, max_retries=0, timeout=TIMEOUT, max_tokens=500), stream)


def _pydantic_ai(model: Any, stream: bool) -> Outcome:
    from pydantic_ai import Agent

    agent = Agent(model)
    ran: list[str] = []

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """tells the weather"""
        ran.append("get_weather")
        return result_of("get_weather", {"city": city})

    @agent.tool_plain
    def get_time(city: str) -> str:
        """tells the time"""
        ran.append("get_time")
        return result_of("get_time", {"city": city})

    if not stream:
        return str(agent.run_sync(QUESTION).output), ran

    async def streamed() -> str:
        async with agent.run_stream(QUESTION) as run:
            return "".join([piece async for piece in run.stream_text(delta=True)])

    import asyncio

    return asyncio.run(streamed()), ran


def pydantic_ai_openai(url: str, model: str, stream: bool) -> Outcome:
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return _pydantic_ai(OpenAIChatModel(model, provider=OpenAIProvider(base_url=f"{url}/v1", api_key=KEY)), stream)


def pydantic_ai_responses(url: str, model: str, stream: bool) -> Outcome:
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return _pydantic_ai(OpenAIResponsesModel(model, provider=OpenAIProvider(base_url=f"{url}/v1", api_key=KEY)), stream)


def pydantic_ai_google(url: str, model: str, stream: bool) -> Outcome:
    from pydantic_ai.models.google import GoogleModel
    from pydantic_ai.providers.google import GoogleProvider

    return _pydantic_ai(GoogleModel(model, provider=GoogleProvider(api_key=KEY, base_url=url)), stream)


CLIENTS: dict[str, tuple[Conversation, str]] = {
    "openai": (openai_chat, "openai_chat"),
    "openai-responses": (openai_responses, "openai_responses"),
    "azure": (azure, "openai_chat"),
    "groq": (groq, "openai_chat"),
    "anthropic": (anthropic, "anthropic_messages"),
    "google-genai": (google_genai, "gemini"),
    "boto3": (boto3, "bedrock_converse"),
    "cohere": (cohere, "cohere_chat"),
    "mistralai": (mistral, "openai_chat"),
    "ollama": (ollama, "ollama_chat"),
    "langchain-openai": (langchain_openai, "openai_chat"),
    "langchain-anthropic": (langchain_anthropic, "anthropic_messages"),
    "pydantic-ai-openai": (pydantic_ai_openai, "openai_chat"),
    "pydantic-ai-responses": (pydantic_ai_responses, "openai_responses"),
    "pydantic-ai-google": (pydantic_ai_google, "gemini"),
}
"""By name: the conversation, and the dialect that the client speaks."""
