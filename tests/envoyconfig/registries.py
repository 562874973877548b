"""Registries built by hand."""

from __future__ import annotations

from typing import Any

from extproc.core.dialect import Facts
from extproc.providers.kinds import KINDS
from extproc.registry.types import Attempts, Commit, Credential, Model, Provider, Rank, Registry, Target, Timeouts

NO_KEY = (Credential(),)


def provider(
    name: str, kind: str = "openai", url: tuple[str, str, int] = ("https", "llm.test", 443), keys: tuple[Credential, ...] = NO_KEY, **more: Any
) -> Provider:
    scheme, host, port = url
    return Provider(name, KINDS[kind], scheme, host, port, "/v1", keys, **more)


def target(name: str, of: Provider, **more: Any) -> Target:
    return Target(name, of, "a-model", Facts("a-model", of.kind.vendor), **more)


def registry(*targets: Target, timeouts: Timeouts = Timeouts(), attempts: Attempts = Attempts()) -> Registry:  # noqa: B008
    ranks = tuple(Rank(((t.name, 1.0),)) for t in targets)
    model = Model("chat", (), ranks, timeouts, attempts, Commit.FIRST_TOKEN, strict=False)
    return Registry({t.provider.name: t.provider for t in targets}, {t.name: t for t in targets}, {"chat": model}, "0123456789ab", "registry.yaml")
