"""The signals of one request (`registry.policy.SIGNALS`), each computed when it is first asked for, and once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from extproc.core.dialect import Ask, Dialect
from extproc.core.ir import JSON
from extproc.core.prompt import Prompt
from extproc.registry.policy import SignalValue


def uncorrected() -> float:
    """No statistics yet."""
    return 1.0


class RequestSignals:
    """`who` are the identity's values, `wall` the Unix time of the request. `family` is the one whose tokens are meant (`tokens.family_of`; "" takes
    that of the model that the client asks for), `ratio` gives real over estimated tokens and is only asked with `prompt_tokens`."""

    def __init__(
        self,
        client: Dialect,
        body: JSON,
        ask: Ask,
        headers: Mapping[str, str],
        who: Mapping[str, str],
        wall: float,
        *,
        family: str = "",
        ratio: Callable[[], float] = uncorrected,
    ) -> None:
        raise NotImplementedError

    def get(self, name: str) -> SignalValue:
        """A signal of `SIGNALS`; None is unknown. Total: no body makes it raise."""
        raise NotImplementedError

    @property
    def prompt(self) -> Prompt:
        """The walked prompt, for estimates of other families than this one's."""
        raise NotImplementedError
