"""What the simulated models say to a client: the tools that it is to call, step by step, and then what the tools told them.

Every tool's result holds a word that nobody else knows. A step is asked for when the words of the steps before it have reached the provider,
and once only, so a client that does not run its tools, or loses their results, cannot get to the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from extproc.simulator.wire import Ask, Reply

Composer = Callable[[str, Ask, int | None], Reply]


@dataclass(frozen=True)
class Step:
    """Calls of one answer, and the words in their results."""

    calls: list[tuple[str, dict[str, Any]]]
    words: list[str]


@dataclass
class Script:
    """`compose` is what a simulator asks for its answers. Requests without the script's tools (titles, routing) get `other`'s.

    `asked` counts the steps that were asked for, `thought` the requests that came with thinking on.
    """

    steps: list[Step]
    other: Composer
    asked: int = 0
    thought: int = 0
    told: set[str] = field(default_factory=set)
    """The words that have arrived."""
    lost: list[str] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        return [word for step in self.steps for word in step.words]

    @property
    def answer(self) -> str:
        """What the client shows in the end."""
        return f"The tools said {' and '.join(self.words)}."

    def compose(self, name: str, ask: Ask, words: int | None) -> Reply:
        tools = {tool.name for tool in ask.tools}
        if not all(tool in tools for step in self.steps for tool, _ in step.calls):
            return self.other(name, ask, words)
        self.told.update(word for word in self.words if word in ask.prompt or any(word in result for result in ask.results))
        self.thought += bool(ask.thinking)
        thinking = "I weigh the next step." if ask.thinking and ask.show_thinking else ""
        step = next((i for i, step in enumerate(self.steps) if not self.told.issuperset(step.words)), None)
        reply = Reply(thinking=thinking, reasoning_tokens=ask.thinking, output_tokens=20 + ask.thinking)
        if step is None:
            reply.text = self.answer
        elif step < self.asked:
            self.lost += sorted(set(self.steps[step].words) - self.told)
            reply.text = f"The results of step {step + 1} did not come."
        else:
            self.asked = step + 1
            # some models say something before they call
            reply.text = "I look." if step == 0 else ""
            reply.calls, reply.finish = list(self.steps[step].calls), "tools"
        return reply
