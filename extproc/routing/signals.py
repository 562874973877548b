"""The signals of one request (`registry.policy.SIGNALS`), each computed when it is first asked for, and once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from extproc.core.dialect import Ask, Dialect
from extproc.core.ir import JSON
from extproc.registry.policy import SignalValue


class RequestSignals:
    """`who` are the identity's values, `wall` the Unix time of the request; `ratio` corrects the estimate of prompt tokens (1.0: no correction)."""

    def __init__(
        self,
        client: Dialect,
        body: JSON,
        size: int,
        ask: Ask,
        headers: Mapping[str, str],
        who: Mapping[str, str],
        wall: float,
        ratio: Callable[[], float],
    ) -> None:
        raise NotImplementedError

    def get(self, name: str) -> SignalValue:
        """A signal of `SIGNALS`; None is unknown. Total: no body makes it raise."""
        raise NotImplementedError
