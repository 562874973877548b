"""The emitted names: documented one by one, and the same as in the published conventions."""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes

from extproc.core.operation import Operation
from extproc.providers.kinds import KINDS
from extproc.telemetry import semconv

NAMES = {k: v for k, v in vars(semconv).items() if k.isupper() and k not in ("SCHEMA_URL", "OPERATION_CHAT", "OPERATION_COMPLETIONS")}
RENAMED = {"gen_ai.system", "gen_ai.prompt", "gen_ai.completion", "gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens"}


def test_names_are_those_of_the_conventions() -> None:
    published = {v for module in (gen_ai, error_attributes, http_attributes, server_attributes) for v in vars(module).values() if isinstance(v, str)}
    foreign = {v for v in NAMES.values() if not v.startswith("llm.")}
    assert len(foreign) > 25
    assert foreign - published == set()
    assert foreign & RENAMED == set()


def test_constants_spell_the_name_they_hold() -> None:
    assert {k: v.upper().replace(".", "_") for k, v in NAMES.items()} == {k: k for k in NAMES}


def test_values_are_those_of_the_conventions() -> None:
    words = gen_ai.GenAiOperationNameValues
    assert (words.CHAT.value, words.TEXT_COMPLETION.value) == (semconv.OPERATION_CHAT, semconv.OPERATION_COMPLETIONS)
    assert words.EMBEDDINGS.value == Operation.EMBEDDINGS.value
    known = {v.value for v in gen_ai.GenAiProviderNameValues}
    # a vendor that the conventions do not know goes by its own name
    assert [k.name for k in KINDS.values() if k.otel_name not in known and k.otel_name != k.name] == []


def test_every_name_is_documented() -> None:
    body = ast.parse(Path(semconv.__file__).read_text()).body
    documented = {
        a.targets[0].id
        for a, b in pairwise(body)
        if isinstance(a, ast.Assign) and isinstance(a.targets[0], ast.Name) and isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant)
    }
    assert set(NAMES) <= documented
