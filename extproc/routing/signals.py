"""The signals of one request (`registry.policy.SIGNALS`), each computed when it is first asked for, and once.

Those of single members (tools, stream, who asks, …) cost nothing; only those that need its words or its size walk the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from extproc.core import prompt as prompts
from extproc.core import wanted
from extproc.core.dialect import Ask, Dialect, Need
from extproc.core.ir import JSON
from extproc.core.operation import Operation
from extproc.core.prompt import Prompt
from extproc.registry.policy import WHO, SignalValue
from extproc.routing import tokens
from extproc.routing.code import has_code
from extproc.routing.complexity import complexity
from extproc.routing.language import language
from extproc.routing.task import task

TASK_HEADER = "x-llm-task"
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MEDIA = {Need.VISION: "image", Need.DOCUMENTS: "document", Need.AUDIO: "audio", Need.VIDEO: "video"}
_WORD = re.compile(r"[a-z0-9_-]{1,64}")
_SYSTEM_READ = 2000
"""Characters of the system's text that signals look at."""
_UNASKED = object()


def uncorrected() -> float:
    """No statistics yet."""
    return 1.0


class RequestSignals:
    """`needs` are the client dialect's of this body, `who` the identity's values, `wall` the Unix time of the request.

    `family` is the one whose tokens are meant (`tokens.family_of`; "" takes that of the model that the client asks for), `ratio` gives real over
    estimated tokens and is only asked with `prompt_tokens`.
    """

    __slots__ = ("_ask", "_body", "_client", "_headers", "_needs", "_prompt", "_ratio", "_wall", "_who", "estimated", "family", "known")

    def __init__(
        self,
        client: Dialect,
        body: JSON,
        ask: Ask,
        needs: frozenset[str],
        headers: Mapping[str, str],
        who: Mapping[str, str],
        wall: float,
        *,
        family: str = "",
        ratio: Callable[[], float] = uncorrected,
    ) -> None:
        self._client = client
        self._body = body
        self._ask = ask
        self._needs = needs
        self._headers = headers
        self._who = who
        self._wall = wall
        self.family = family or tokens.family_of(ask.model)
        self._ratio = ratio
        self.known: dict[str, SignalValue] = {}
        """What was asked for so far."""
        self.estimated = 0
        """Tokens of the prompt, uncorrected; 0 while nobody has asked."""
        self._prompt: Prompt | None = None

    def get(self, name: str) -> SignalValue:
        """A signal of `SIGNALS`; None is unknown. Total: no body makes it raise. A name that is no signal is a KeyError."""
        value = self.known.get(name, _UNASKED)
        if value is _UNASKED:
            value = self.known[name] = _COMPUTED[name](self)
        return value  # type: ignore[return-value] # the mark never comes out

    def prompt_tokens(self) -> float:
        """The signal as a number."""
        value = self.get("prompt_tokens")
        return float(value) if isinstance(value, int | float) else 0.0

    @property
    def prompt(self) -> Prompt:
        """The walked prompt, for estimates of other families than this one's."""
        if self._prompt is None:
            self._prompt = prompts.read(self._client.name, self._body)
        return self._prompt

    def _system(self) -> str:
        return "\n".join(text[:_SYSTEM_READ] for text in self.prompt.system[:8])[:_SYSTEM_READ]

    def _prompt_tokens(self) -> SignalValue:
        self.estimated = tokens.estimate(self.prompt, self.family)
        return int(self.estimated * tokens.clamped(self._ratio()))

    def _max_output_tokens(self) -> SignalValue:
        return wanted.max_output_tokens(self._client.name, self._body)

    def _turns(self) -> SignalValue:
        return self.prompt.messages

    def _modalities(self) -> SignalValue:
        found = {word for need, word in _MEDIA.items() if need in self._needs}
        if self._client.operation is Operation.TRANSCRIPTION:
            return frozenset({"audio"})
        if self._client.operation is Operation.IMAGES and self._ask.form in ("edits", "variations"):
            found.add("image")
        if not found or self.prompt.texts or self.prompt.tokens:
            found.add("text")
        return frozenset(found)

    def _tools(self) -> SignalValue:
        offered = wanted.tools(self._client.name, self._body)
        # Responses may have them among the items of the conversation
        return offered or (self._client.name == "openai_responses" and not self._needs.isdisjoint((Need.TOOLS, Need.SERVER_TOOLS)))

    def _output_format(self) -> SignalValue:
        return "json_schema" if Need.JSON_SCHEMA in self._needs else "json_object" if Need.JSON_OBJECT in self._needs else "text"

    def _reasoning(self) -> SignalValue:
        return wanted.reasoning(self._client.name, self._body)

    def _language(self) -> SignalValue:
        return language(self.prompt.last_user)

    def _code(self) -> SignalValue:
        return has_code(self.prompt.texts)

    def _complexity(self) -> SignalValue:
        found = self.prompt
        return complexity(found.last_user, self._system(), found.tool_count, found.messages)

    def _task(self) -> SignalValue:
        for said in (self._headers.get(TASK_HEADER), wanted.task(self._client.name, self._body)):
            word = said.strip().lower() if said is not None and len(said) < 200 else ""
            if _WORD.fullmatch(word):
                return word
        if self._client.operation not in (Operation.CHAT, Operation.COUNT_TOKENS, Operation.COMPLETIONS):
            return self._client.operation.value
        return task(self.prompt.last_user, self._system())

    def _stream(self) -> SignalValue:
        return self._ask.stream

    def _dialect(self) -> SignalValue:
        return self._client.name

    def _operation(self) -> SignalValue:
        return self._client.operation.value

    def _asked(self) -> SignalValue:
        return self._ask.model

    def _time(self) -> SignalValue:
        return int(self._wall // 60) % 1440

    def _weekday(self) -> SignalValue:
        # the first of January 1970 was a Thursday
        return WEEKDAYS[(int(self._wall // 86_400) + 3) % 7]


def _of_who(dimension: str) -> Callable[[RequestSignals], SignalValue]:
    return lambda signals: signals._who.get(dimension) or None


_COMPUTED: dict[str, Callable[[RequestSignals], SignalValue]] = {
    "prompt_tokens": RequestSignals._prompt_tokens,
    "max_output_tokens": RequestSignals._max_output_tokens,
    "turns": RequestSignals._turns,
    "modalities": RequestSignals._modalities,
    "tools": RequestSignals._tools,
    "output_format": RequestSignals._output_format,
    "reasoning": RequestSignals._reasoning,
    "language": RequestSignals._language,
    "code": RequestSignals._code,
    "complexity": RequestSignals._complexity,
    "task": RequestSignals._task,
    "stream": RequestSignals._stream,
    "dialect": RequestSignals._dialect,
    "operation": RequestSignals._operation,
    "asked": RequestSignals._asked,
    "time": RequestSignals._time,
    "weekday": RequestSignals._weekday,
    **{dimension: _of_who(dimension) for dimension in WHO},
}
