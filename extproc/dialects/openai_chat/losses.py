"""Collects what a translation could not carry: each loss once, and never more than a hostile body could make it."""

from __future__ import annotations

from extproc.core.ir import JSON, Loss

MAX_LOSSES = 64
"""Different losses kept for one request or answer; real ones have a handful."""

_NAMED = frozenset({"closed", "eager_input_streaming", "index", "prefix", "include_obfuscation"})
"""Members that vendors document, so safe as part of a code. Other names are in the detail: codes are labels of metrics, names are the client's."""


class Losses(list[Loss]):
    """A list of losses without repeats."""

    __slots__ = ()

    def add(self, code: str, detail: str = "") -> None:
        if len(self) < MAX_LOSSES and not any(loss.code == code and loss.detail == detail for loss in self):
            self.append(Loss(code, detail))

    def unknown(self, where: str, value: dict[str, JSON], known: frozenset[str]) -> None:
        """The members of `value` that are not `known` and say something."""
        for name in (m for m in value if m not in known):
            if value[name] not in (None, [], {}, ""):
                self.member(name, where)

    def member(self, name: str, where: str) -> None:
        """A member `name` of `where` that the canonical form has no place for."""
        if name in _NAMED:
            self.add(f"dropped:{name}", where)
        else:
            self.add("dropped:unknown_member", f"{where}.{name[:64]}" if where else name[:64])
