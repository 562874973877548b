"""One turn of the model as its clients send it back, put together again.

Chat sessions of Google's SDKs keep every chunk of a stream as a content of its own, so that text and thoughts arrive in the pieces in which they
were streamed. And another vendor's signed thoughts arrive in the slot of the function call that they led to (`signature.py`), while what the
client was shown of them stands before it, unsigned, or was left out. One pass over the turn, whatever a client makes of it.
"""

from __future__ import annotations

from dataclasses import replace

from extproc.core.ir import Block, Text, Thinking, ToolCall


class ModelTurn:
    """`blocks` grows part by part, then `close` puts it together in place."""

    __slots__ = ("_carried", "_cuts", "blocks")

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._cuts: list[int] = []
        self._carried: dict[int, list[Thinking]] = {}

    def next_content(self) -> None:
        """The next block comes from the next content."""
        if self.blocks:
            self._cuts.append(len(self.blocks))

    def carry(self, thoughts: list[Thinking]) -> None:
        """Signed `thoughts` came with the block that was added last."""
        self._carried[len(self.blocks) - 1] = thoughts

    def close(self) -> None:
        if not self._cuts and not self._carried:
            return
        blocks, done, pieces, cuts = self.blocks, list[Block](), list[str](), set(self._cuts)
        step = 0
        for n, block in enumerate(blocks):
            joins = n in cuts and bool(done) and _joins(done[-1], block)
            if joins:
                assert isinstance(block, Text | Thinking)
                pieces.append(block.text)
                done[-1] = replace(block, text="")
            elif n in cuts and isinstance(block, Text) and not block.text and block.opaque is None and n not in self._carried:
                continue  # the last chunk of a stream is often an empty text
            else:
                _finish(done, pieces)
                pieces = [block.text] if isinstance(block, Text | Thinking) else []
                done.append(block)
            if n in self._carried:
                _finish(done, pieces)
                last = done.pop()
                pieces = [last.text] if isinstance(last, Text | Thinking) else []
                done[step:] = _with_thoughts(done[step:], self._carried[n])
                done.append(last)
            if isinstance(block, ToolCall) or n in self._carried:
                step = len(done)
        _finish(done, pieces)
        blocks[:] = done


def _joins(before: Block, after: Block) -> bool:
    """Are they pieces of one block? A signature ends a text or a thought."""
    return isinstance(before, Text | Thinking) and type(before) is type(after) and before.opaque is None


def _finish(done: list[Block], pieces: list[str]) -> None:
    if len(pieces) > 1:
        last = done[-1]
        assert isinstance(last, Text | Thinking)
        last.text = "".join(pieces)


def _with_thoughts(step: list[Block], thoughts: list[Thinking]) -> list[Block]:
    """`step` with the signed `thoughts` where they were shown unsigned, the others before what follows."""
    shown: dict[str, list[int]] = {}
    for n in range(len(step) - 1, -1, -1):
        block = step[n]
        if isinstance(block, Thinking) and block.opaque is None and block.text:
            shown.setdefault(block.text, []).append(n)
    out: list[Block] = []
    at = 0
    for thought in thoughts:
        places = shown.get(thought.text)
        while places and places[-1] < at:
            places.pop()
        if places:
            place = places.pop()
            out += step[at:place]
            at = place + 1
        out.append(thought)
    return out + step[at:]
