"""Collects what a translation could not carry, without letting a hostile body grow the list."""

from __future__ import annotations

from extproc.core.ir import Loss

MAX_LOSSES = 64
"""Different losses kept for one request or answer; real ones have a handful."""

_NAMED = frozenset(
    {
        "allowed_callers",
        "cache_control",
        "caller",
        "citations",
        "defer_loading",
        "eager_input_streaming",
        "input_examples",
        "is_error",
        "toolset_name",
        "transformations",
    }
)
"""Members whose names are known, and so safe as part of a code. Others are in the detail, because codes are labels of metrics."""


class Losses(list[Loss]):
    """A list of losses that holds each one once."""

    __slots__ = ()

    def add(self, code: str, detail: str = "") -> None:
        if len(self) < MAX_LOSSES and not any(known.code == code and known.detail == detail for known in self):
            self.append(Loss(code, detail))

    def member(self, name: str, where: str) -> None:
        """A member that the canonical form has no place for."""
        if name in _NAMED:
            self.add(f"dropped:{name}", where)
        else:
            self.add("dropped:unknown_member", f"{where}.{name[:64]}")
