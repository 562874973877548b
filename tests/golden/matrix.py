"""The golden matrix: every case here, between every client dialect and every upstream, as data.

    requests/<client>/<case>.json   -> <case>.<target>.golden.json   what the provider would get, or why it would get nothing
    responses/<upstream>/<case>.json -> <case>.<client>.golden.json  the provider's whole answer for a client of another dialect
    streams/<upstream>/<case>.sse   -> <case>.<client>.golden.sse    the provider's stream for a client of another dialect

A dialect more is a folder more, and an entry in `TARGETS` or `CLIENTS`. The cases are written by hand. The goldens are written by
`python -m tests.golden --write`, and their difference is what a reviewer reads. Everything goes through the code that serves requests: the
chain's filter, `stages.upstream.encode`, `stages.pipes`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from extproc.core import jsonedit
from extproc.core.dialect import Ask, Facts, Reply
from extproc.core.errors import ApiError
from extproc.core.ir import Loss
from extproc.dialects.catalog import DIALECTS
from extproc.providers.kinds import KINDS, chat
from extproc.providers.vendors import LACKS
from extproc.registry.types import Provider, Target
from extproc.routing.capabilities import lacking
from extproc.stages import pipes, upstream
from tests.golden.frames import framed, unframed

FOLDER = Path(__file__).parent
MARK = ".golden."
CLIENTS = ("openai_chat", "anthropic_messages", "gemini", "openai_responses", "cohere_chat", "bedrock_converse", "ollama_chat")


def _target(name: str, kind: str, facts: Facts) -> Target:
    # one format each: a client that the provider could serve in its own is to be translated here
    only = replace(KINDS[kind], speaks=chat(name.partition("-")[0]))
    provider = Provider(name=name, kind=only, scheme="https", host="host", port=443, base_path="", credentials=(), quirks=facts.quirks)
    return Target(name, provider, facts.model, facts, {need: False for quirk, need in LACKS.items() if quirk in facts.quirks})


def _vendor(kind: str, model: str) -> Target:
    """A vendor of Chat Completions."""
    return _target(f"openai_chat-{kind}", kind, Facts(model, kind, quirks=KINDS[kind].quirks))


TARGETS: dict[str, Target] = {
    t.name: t
    for t in (
        _target("openai_chat", "openai", Facts("gpt-4o", "openai", 16384, 128000)),
        _target("openai_chat-reasoning", "openai", Facts("gpt-5", "openai", 128000, 400000)),
        _target("openai_chat-compatible", "openai-compatible", Facts("some/model", "openai-compatible", quirks=KINDS["openai-compatible"].quirks)),
        _vendor("mistral", "mistral-small-latest"),
        _vendor("groq", "openai/gpt-oss-120b"),
        _vendor("deepseek", "deepseek-v4-flash"),
        _vendor("openrouter", "anthropic/claude-sonnet-4.5"),
        _target("anthropic_messages", "anthropic", Facts("claude-sonnet-4-5", "anthropic", 64000, 200000)),
        _target("anthropic_messages-adaptive", "anthropic", Facts("claude-opus-4-7", "anthropic", 128000, 1000000)),
        _target("gemini", "gemini", Facts("gemini-2.5-flash", "gemini", 65536, 1048576)),
        _target("openai_responses", "openai", Facts("gpt-5", "openai", 128000, 400000)),
        _target("openai_responses-plain", "openai", Facts("gpt-4.1", "openai", 32768, 1047576)),
        _target("gemini-3", "gemini", Facts("gemini-3-flash-preview", "gemini", 65536, 1048576)),
        _target("cohere_chat", "cohere", Facts("command-a-03-2025", "cohere", 8000, 256000)),
        _target("cohere_chat-reasoning", "cohere", Facts("command-a-reasoning-08-2025", "cohere", 32000, 256000)),
        _target("ollama_chat", "ollama", Facts("qwen3:8b", "ollama", quirks=KINDS["ollama"].quirks)),
        _target("ollama_chat-levels", "ollama", Facts("gpt-oss:20b", "ollama", quirks=KINDS["ollama"].quirks)),
        _target("bedrock_converse", "bedrock", Facts("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic", 64000, 200000)),
        _target("bedrock_converse-adaptive", "bedrock", Facts("global.anthropic.claude-opus-4-7", "anthropic", 128000, 1000000)),
        _target("bedrock_converse-nova", "bedrock", Facts("us.amazon.nova-2-lite-v1:0", "bedrock", 65535, 1000000)),
        _target("bedrock_converse-llama", "bedrock", Facts("us.meta.llama4-maverick-17b-instruct-v1:0", "bedrock", 8192, 1000000)),
    )
}
"""Three reference targets, named by their dialect, and models of the same dialects that take other parameters."""

_BY_MODEL = ("full", "thinking", "prefill", "knobs", "output", "tools_loop")
"""Cases, by the start of their name, that come out otherwise for other models of one dialect: only they go to all targets."""


@dataclass(frozen=True)
class Case:
    """One input, and one dialect that it is turned into."""

    kind: str
    source: str
    name: str
    to: str

    @property
    def input(self) -> Path:
        return FOLDER / self.kind / self.source / f"{self.name}.{'sse' if self.kind == 'streams' else 'json'}"

    @property
    def golden(self) -> Path:
        return self.input.with_name(f"{self.name}.{self.to}{MARK}{'sse' if self.kind == 'streams' else 'json'}")

    def __str__(self) -> str:
        return f"{self.kind}/{self.source}/{self.name}>{self.to}"


def cases() -> Iterator[Case]:
    """All of them, in a stable order."""
    for kind in ("requests", "responses", "streams"):
        for path in sorted((FOLDER / kind).glob("*/*")):
            if MARK in path.name:
                continue
            source, name = path.parent.name, path.name.rpartition(".")[0]
            if kind == "requests":
                goals = [t for t in TARGETS if "-" not in t or name.startswith(_BY_MODEL)]
            else:
                goals = [client for client in CLIENTS if client != source]
            yield from (Case(kind, source, name, to) for to in goals)


def _losses(losses: list[Loss]) -> list[str]:
    return [f"{loss.code} ({loss.detail})" if loss.detail else loss.code for loss in losses]


def request(case: Case) -> tuple[Any, bytes | None, list[Loss]]:
    """(the golden, the wire body if there is one, the losses)."""
    raw = case.input.read_bytes()
    client, target = DIALECTS[case.source], TARGETS[case.to]
    via = target.upstream(client.operation, client.name)
    assert via is not None
    dialect = DIALECTS[via.dialect]
    body = jsonedit.load(raw)
    missing = lacking(target, client, dialect, client.needs(body))
    if missing:
        return {"refused": {"lacks": missing}}, None, []
    ask = Ask(str(body.get("model", "")), stream=body.get("stream") is True or case.name.startswith("streamed"))
    try:
        built = upstream.build(raw, body, client=client, upstream=dialect, via=via, target=target, facts=target.facts, ask=ask)
    except ApiError as error:
        return {"refused": {"kind": error.kind.value, "message": error.message, "param": error.param}}, None, []
    shown = {"path": built.path, "headers": built.headers, "losses": _losses(built.losses), "request": json.loads(built.body)}
    return shown, built.body, built.losses


REPLY = Reply("reply-id", 1_700_000_000, "shown-model")


def response(case: Case) -> tuple[Any, bytes, list[Loss]]:
    """(the golden, the client's body, the losses)."""
    client, dialect = DIALECTS[case.to], DIALECTS[case.source]
    try:
        body, _, seen = pipes.translate_whole(case.input.read_bytes(), client, dialect, REPLY, stream=False)
    except ApiError as error:
        status, body = client.encode_error(error)
        return {"error": {"kind": error.kind.value, "status": status}, "response": json.loads(body)}, body, []
    return {"losses": _losses(seen.losses), "finish": seen.finish, "response": json.loads(body)}, body, seen.losses


def stream(case: Case) -> tuple[bytes, list[Loss]]:
    """(the client's bytes, the losses)."""
    pipe = pipes.TranslatedStream(DIALECTS[case.to], DIALECTS[case.source], REPLY)
    return pipe.feed(framed(case.input.read_bytes(), DIALECTS[case.source].stream_type), end=True), pipe.seen.losses


def codes(case: Case) -> set[str]:
    """The codes of the losses on the way."""
    if case.kind == "streams":
        return {loss.code for loss in stream(case)[1]}
    return {loss.code for loss in (request(case) if case.kind == "requests" else response(case))[2]}


def golden(case: Case) -> bytes:
    """The golden's bytes. A stream's losses stand behind it as a comment."""
    if case.kind == "streams":
        out, losses = stream(case)
        return unframed(out, DIALECTS[case.to].answer_type("", stream=True)) + b"".join(b": loss %b\n" % line.encode() for line in _losses(losses))
    shown = request(case)[0] if case.kind == "requests" else response(case)[0]
    # the standard library: it keeps numbers of any size
    return json.dumps(shown, ensure_ascii=False, indent=2).encode() + b"\n"
