"""The goldens of embeddings: every case for every provider, and every answer for every client, one file per case.

    embeddings/requests/<client>/<case>.json    -> <case>.golden.json   {target: what the provider would get, or why it would get nothing}
    embeddings/responses/<upstream>/<case>.json -> <case>.golden.json   {client, its form and encoding: the answer}

`python -m tests.golden --write` writes these too.
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
from extproc.core.operation import Operation
from extproc.dialects.catalog import DIALECTS
from extproc.providers.kinds import KINDS, Speaks
from extproc.registry.types import Provider, Target
from extproc.routing.capabilities import lacking
from extproc.stages import pipes, upstream

FOLDER = Path(__file__).parent / "embeddings"


def _target(name: str, model: str, vendor: str, *quirks: str) -> Target:
    facts = Facts(model, vendor, quirks=frozenset(quirks))
    kind = replace(KINDS["openai-compatible"], speaks=(Speaks(Operation.EMBEDDINGS, name.partition("-")[0]),))
    provider = Provider(name=name, kind=kind, scheme="https", host="host", port=443, base_path="", credentials=(), quirks=facts.quirks)
    return Target(name, provider, model, facts, {})


TARGETS: dict[str, Target] = {
    t.name: t
    for t in (
        _target("openai_embeddings", "text-embedding-3-small", "openai"),
        _target("openai_embeddings-mistral", "codestral-embed", "mistral", *KINDS["mistral"].quirks),
        _target("cohere_embeddings", "embed-v4.0", "cohere"),
        _target("gemini_embeddings", "gemini-embedding-001", "gemini"),
        _target("gemini_embeddings-2", "gemini-embedding-2", "gemini"),
        _target("gemini_embeddings-vertex", "gemini-embedding-001", "gemini", *KINDS["vertex"].quirks),
        _target("vertex_embeddings", "text-embedding-005", "gemini"),
        _target("ollama_embeddings", "nomic-embed-text", "ollama"),
    )
}
"""One for each dialect, and the vendors and models that are told otherwise."""

CLIENTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("openai_embeddings", "", ("float",)),
    ("openai_embeddings", "", ("base64",)),
    ("cohere_embeddings", "", ()),
    ("cohere_embeddings", "", ("float", "base64")),
    ("gemini_embeddings", "", ()),
    ("gemini_embeddings", "batch", ()),
    ("vertex_embeddings", "", ()),
    ("ollama_embeddings", "", ()),
    ("ollama_embeddings", "legacy", ()),
)
"""(dialect, form, encodings) of all who may want an answer."""


@dataclass(frozen=True)
class Case:
    """One input: `kind` is requests or responses, `source` the dialect that it is written in."""

    kind: str
    source: str
    name: str

    @property
    def input(self) -> Path:
        return FOLDER / self.kind / self.source / f"{self.name}.json"

    @property
    def golden(self) -> Path:
        return self.input.with_suffix(".golden.json")

    def __str__(self) -> str:
        return f"{self.kind}/{self.source}/{self.name}"


def inputs() -> Iterator[Path]:
    yield from (path for path in sorted(FOLDER.glob("*/*/*.json")) if not path.name.endswith(".golden.json"))


def cases() -> Iterator[Case]:
    """All of them, in a stable order."""
    for path in inputs():
        yield Case(path.parent.parent.name, path.parent.name, path.stem)


def stale() -> list[Path]:
    """Goldens without a case."""
    wanted = {case.golden for case in cases()}
    return [path for path in FOLDER.glob("*/*/*.golden.json") if path not in wanted]


def form_of(dialect: str, body: Any) -> str:
    """The form that a client of `dialect` has sent `body` in: what its path says."""
    if dialect == "gemini_embeddings" and "requests" in body:
        return "batch"
    return "legacy" if dialect == "ollama_embeddings" and "prompt" in body else ""


def _losses(losses: list[Loss]) -> list[str]:
    return [f"{loss.code} ({loss.detail})" if loss.detail else loss.code for loss in losses]


def request(case: Case, to: str) -> tuple[Any, bytes | None, list[Loss]]:
    """(the golden, the wire body if there is one, the losses)."""
    raw = case.input.read_bytes()
    client, target = DIALECTS[case.source], TARGETS[to]
    via = target.upstream(client.operation, client.name)
    assert via is not None
    dialect = DIALECTS[via.dialect]
    body = jsonedit.load(raw)
    missing = lacking(target, client, dialect, client.needs(body))
    if missing:
        return {"refused": {"lacks": missing}}, None, []
    ask = Ask(str(body.get("model", "the-alias")), form=form_of(case.source, body))
    try:
        built = upstream.build(raw, body, client=client, upstream=dialect, via=via, target=target, facts=target.facts, ask=ask)
    except ApiError as error:
        return {"refused": {"kind": error.kind.value, "message": error.message, "param": error.param}}, None, []
    return {"path": built.path, "losses": _losses(built.losses), "request": json.loads(built.body)}, built.body, built.losses


def reply(form: str, encodings: tuple[str, ...]) -> Reply:
    return Reply("reply-id", 1_700_000_000, "shown-model", form=form, encodings=encodings)


def response(case: Case, client: str, form: str, encodings: tuple[str, ...]) -> tuple[Any, bytes, list[Loss]]:
    """(the golden, the client's body, the losses)."""
    dialect = DIALECTS[client]
    try:
        body, _, seen = pipes.translate_whole(case.input.read_bytes(), dialect, DIALECTS[case.source], reply(form, encodings), stream=False)
    except ApiError as error:
        status, body = dialect.encode_error(error)
        return {"error": {"kind": error.kind.value, "status": status}, "response": json.loads(body)}, body, []
    return {"losses": _losses(seen.losses), "response": json.loads(body)}, body, seen.losses


def golden(case: Case) -> bytes:
    """The golden's bytes."""
    if case.kind == "requests":
        shown = {to: request(case, to)[0] for to in TARGETS}
    else:
        shown = {
            " ".join((client, form, *encodings)).replace("  ", " ").strip(): response(case, client, form, encodings)[0]
            for client, form, encodings in CLIENTS
            if client != case.source
        }
    return json.dumps(shown, ensure_ascii=False, indent=2).encode() + b"\n"
