"""The scenes, in the order in which they are played: answers and streams, tools, fallback, dialects, losses; then how targets are chosen."""

from __future__ import annotations

from typing import Any

from extproc.demo.applications import ANTHROPIC_SDK, HTTP, OPENAI_SDK, TOOL
from extproc.demo.choices import CHOICES
from extproc.demo.scene import Expected, Scene, View
from extproc.demo.spoken import SPOKEN
from extproc.simulator.faults import Fault, FaultKind

_QUESTION = "Who answers me?"
_AROUND: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "OpenAI Chat": ("nova", "bedrock (amazon.nova-lite-v1:0)", ("dropped:seed",)),
    "OpenAI Responses": ("claude", "anthropic (claude-sonnet-4-5)", ()),
    "Anthropic": ("gemini", "gemini (gemini-2.5-flash)", ()),
    "Gemini": ("gpt", "openai (gpt-4o)", ("dropped:top_k",)),
    "Bedrock Converse": ("command", "cohere (command-a-03-2025)", ()),
    "Cohere": ("llama", "ollama (llama3.2)", ()),
    "Ollama": ("gpt-responses", "openai (gpt-4o)", ()),
}
"""Dialect to the model that it asks for, who says the answer, and what is lost on the way. Each is served in the next one's format."""
_TARGETS = {
    "nova": "bedrock",
    "claude": "anthropic",
    "gpt": "openai",
    "gpt-responses": "openai-responses",
    "command": "cohere",
    "llama": "ollama",
}
"""Target of a model, where it is called otherwise."""

_LOSSY: dict[str, Any] = {"logprobs": True, "seed": 7, "frequency_penalty": 0.5}
_LOST = ("dropped:frequency_penalty", "dropped:logprobs", "dropped:seed")

SCENES: list[Scene] = [
    Scene(
        "A plain answer",
        OPENAI_SDK,
        "The application asks for the model “chat”. The registry says who that is.",
        lambda a, _: a.openai_asks("chat", "Who answers me?"),
        (Expected("openai", says=("openai (gpt-4o)", "Who answers me?")),),
    ),
    Scene(
        "A streamed answer",
        OPENAI_SDK,
        "Tokens pass through as the provider sends them.",
        lambda a, _: a.openai_asks("chat", "Repeat: one hostname in front, any provider behind it, and applications never notice.", stream=True),
        (Expected("openai", says=("openai (gpt-4o)", "applications never notice"), streamed=True),),
    ),
    Scene(
        "Tool call, OpenAI → Anthropic",
        OPENAI_SDK,
        "Question, tool call, result and answer are translated both ways. Claude has no `seed`: that is reported, not hidden.",
        lambda a, _: a.openai_uses_tool("claude", "Use get_weather for the city of Lisbon", seed=7, max_tokens=200),
        (
            Expected("anthropic", tool=TOOL, losses=("dropped:seed",)),
            Expected("anthropic", says=("anthropic (claude-sonnet-4-5)", "sunny in Lisbon"), losses=("dropped:seed",)),
        ),
    ),
    Scene(
        "Tool call, Anthropic → Gemini",
        ANTHROPIC_SDK,
        "The other way round: the application speaks Anthropic, the provider Gemini.",
        lambda a, _: a.anthropic_uses_tool("gemini", "Use get_weather for the city of Oslo"),
        (Expected("gemini", tool=TOOL), Expected("gemini", says=("gemini (gemini-2.5-flash)", "sunny in Oslo"))),
    ),
    Scene(
        "Fallback: 429",
        OPENAI_SDK,
        "openai-eu is rate limited for 30 s, longer than the model may wait. The next one answers.",
        lambda a, _: a.openai_asks("drill-429", "Is anybody there?", max_tokens=100),
        (Expected("anthropic", 2, says=("anthropic (claude-sonnet-4-5)", "Is anybody there?")),),
        {"openai-eu": Fault(FaultKind.STATUS, status=429, retry_after=30)},
    ),
    Scene(
        "Fallback: 503",
        ANTHROPIC_SDK,
        "anthropic-eu answers 503. It is tried once more, then the next one answers.",
        lambda a, _: a.anthropic_asks("drill-503", "Is anybody there?"),
        (Expected("gemini", 3, says=("gemini (gemini-2.5-flash)", "Is anybody there?")),),
        {"anthropic-eu": Fault(FaultKind.STATUS, status=503)},
    ),
    Scene(
        "Fallback: silence",
        OPENAI_SDK,
        "gemini-eu takes the request and says nothing. After 1 s without a token the next one answers.",
        lambda a, _: a.openai_asks("drill-silence", "Is anybody there?", stream=True),
        (Expected("openai", 2, says=("openai (gpt-4o)", "Is anybody there?"), streamed=True),),
        {"gemini-eu": Fault(FaultKind.SILENCE)},
    ),
    Scene(
        "Fallback: error in a stream",
        ANTHROPIC_SDK,
        "openai-us says 200 and opens a stream, but its first event is an error. No application sees it.",
        lambda a, _: a.anthropic_asks("drill-error", "Is anybody there?", stream=True),
        (Expected("anthropic", 3, says=("anthropic (claude-sonnet-4-5)", "Is anybody there?"), streamed=True),),
        {"openai-us": Fault(FaultKind.ERROR_EVENT, after=0)},
    ),
    Scene(
        "Everything is down",
        OPENAI_SDK,
        "Three providers, three failures. The SDK raises its usual exception, which lists the attempts.",
        lambda a, _: a.openai_asks("drill-all-down", "Is anybody there?"),
        (
            Expected(
                "gemini-ap",
                3,
                error="openai.InternalServerError",
                says=("3 attempts", "1 openai-ap: 500", "2 anthropic-ap: 529", "3 gemini-ap: 503"),
            ),
        ),
        {
            "openai-ap": Fault(FaultKind.STATUS, status=500),
            "anthropic-ap": Fault(FaultKind.STATUS, status=529),
            "gemini-ap": Fault(FaultKind.STATUS, status=503),
        },
    ),
    Scene(
        "Seven dialects, one question",
        HTTP,
        "The same question in the shape of each API. Each is served by a provider of another one, and answered in its own.",
        lambda a, _: a.every_dialect_asks({name: model for name, (model, _, _) in _AROUND.items()}, _QUESTION),
        tuple(Expected(_TARGETS.get(model, model), says=(who, _QUESTION), losses=lost) for model, who, lost in (_AROUND[s.name] for s in SPOKEN)),
        view=View.SIDE_BY_SIDE,
    ),
    Scene(
        "Bedrock's stream, from Gemini",
        HTTP,
        "AWS's SDKs read a binary event stream with checksums. Gemini's events become one, piece by piece.",
        lambda a, _: a.bedrock_streams("gemini", "Repeat: every event is a frame, every frame has two checksums."),
        (Expected("gemini", says=("gemini (gemini-2.5-flash)", "every frame has two checksums"), streamed=True),),
    ),
    Scene(
        "Embeddings, OpenAI → Gemini",
        OPENAI_SDK,
        "Not only chats: vectors by the OpenAI SDK, which reads base64, from Gemini, which writes numbers. Rerank and token counts go the same way.",
        lambda a, _: a.openai_embeds("vectors", ["one hostname in front", "any provider behind it"]),
        (Expected("gemini-embed", vectors=(3072, 3072)),),
    ),
    Scene(
        "What is lost is said",
        OPENAI_SDK,
        "Claude has none of these parameters and requires a limit of tokens. The answer's header x-llm-losses, the span and the log line name them.",
        lambda a, _: a.openai_asks("claude", _QUESTION, **_LOSSY),
        (Expected("anthropic", says=("anthropic (claude-sonnet-4-5)",), losses=_LOST),),
    ),
    Scene(
        "A strict model refuses",
        OPENAI_SDK,
        "The same request for a model that is `strict` in the registry: 422, with the reasons.",
        lambda a, _: a.openai_asks("claude-exact", _QUESTION, **_LOSSY),
        (Expected("", 0, error="openai.UnprocessableEntityError", says=_LOST),),
    ),
    *CHOICES,
]
