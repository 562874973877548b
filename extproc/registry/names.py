"""Which model a client's name means: exact name or alias first, then the longest wildcard. On the path of every request.

A name that a wildcard lets in may go through to a provider's body or URL (`model: "*"`), so only names that are safe there match one; what
else a client sends is an unknown model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

MAX_NAME = 200
"""Characters of a model name. The longest in use are resource names of fine-tuned models, about 120."""

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]*(?:/[A-Za-z0-9][A-Za-z0-9._:@+-]*)*\Z")


def safe_model_name(name: str) -> bool:
    """True if `name` can stand in a URL path or a header: no `..`, no empty segment, nothing to escape but `/` and `:`."""
    return len(name) <= MAX_NAME and _SAFE.match(name) is not None


class Named(Protocol):
    """What is looked up: its name and aliases, each of which may end with one `*`."""

    @property
    def name(self) -> str: ...

    @property
    def aliases(self) -> tuple[str, ...]: ...


M = TypeVar("M", bound=Named)


class ModelNames(Generic[M]):
    """The index, built once per registry. A lookup is one dictionary access per length of wildcard in the file, at most.

    Of two equal names the first one wins; the loader refuses such a file.
    """

    __slots__ = ("_exact", "_lengths", "_prefixes")

    def __init__(self, models: Iterable[M]) -> None:
        self._exact: dict[str, M] = {}
        self._prefixes: dict[str, M] = {}
        for model in models:
            for name in (model.name, *model.aliases):
                if name.endswith("*"):
                    self._prefixes.setdefault(name[:-1], model)
                else:
                    self._exact.setdefault(name, model)
        self._lengths = sorted({len(p) for p in self._prefixes}, reverse=True)

    def find(self, name: str) -> M | None:
        found = self._exact.get(name)
        if found is not None or not self._lengths or not safe_model_name(name):
            return found
        for length in self._lengths:
            # `*` may stand for nothing, but the name must hold the whole prefix
            if length <= len(name) and (found := self._prefixes.get(name[:length])) is not None:
                return found
        return None
