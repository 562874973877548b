"""What a simulated model says: decided by the request alone, the same for every wire format.

By default one sentence that names the simulator and the model and echoes the question; a tool call where one is asked for; the tool's result
quoted; a document for a schema; thinking when asked. Tokens are words: one piece of streamed text each.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import orjson

from extproc.simulator import schema
from extproc.simulator.wire import Ask, Media, Reply, Tool

_ECHO = 200
"""Characters of the question, or of a tool's result, that an answer repeats."""
_PIECE = re.compile(r"\s*\S+|\s+$")
_ARGUMENT_PIECE = re.compile(r".{1,6}", re.DOTALL)
_FILLER = ("and", "then", "the", "model", "went", "on", "for", "one", "more", "word")


def pieces(text: str) -> list[str]:
    """Text as a model streams it: a word at a time, its space in front."""
    return _PIECE.findall(text)


def argument_pieces(arguments: str) -> list[str]:
    """A tool call's JSON arguments as they are streamed."""
    return _ARGUMENT_PIECE.findall(arguments)


def arguments_json(arguments: dict[str, Any]) -> str:
    """A tool call's arguments as a model writes them."""
    return orjson.dumps(arguments).decode()


def tokens(text: str) -> int:
    """The usual estimate: four characters a token."""
    return (len(text) + 3) // 4


def compose(name: str, ask: Ask, words: int | None) -> Reply:
    """The answer to `ask` by the simulator called `name`, of at least `words` words if given."""
    reply = Reply(reasoning_tokens=ask.thinking)
    if ask.thinking and ask.show_thinking:
        reply.thinking = f"The user said: {_short(ask.text)!r}. I will answer as {name}."
        reply.reasoning_tokens = max(len(pieces(reply.thinking)), 1)
    budget = ask.max_tokens
    if budget is not None and reply.reasoning_tokens >= budget:
        reply.reasoning_tokens = reply.output_tokens = budget
        reply.thinking = "".join(pieces(reply.thinking)[:budget])
        reply.finish = "length"
        return reply
    left = None if budget is None else budget - reply.reasoning_tokens
    wanted = _wanted_tools(ask)
    if wanted and (left is None or left >= 4):
        hint = _hint(ask.text)
        for tool in wanted:
            arguments = schema.document(tool.schema, hint)
            reply.calls.append((tool.name, arguments if isinstance(arguments, dict) else {}))
        reply.finish = "tools"
        spent = sum(len(argument_pieces(arguments_json(a))) + 2 for _, a in reply.calls)
        reply.output_tokens = reply.reasoning_tokens + (spent if left is None else min(spent, left))
        return reply
    text, reply.stopped_by = _until_stop(_text(name, ask, words), ask.stops)
    if reply.stopped_by is not None:
        reply.finish = "stop_sequence"
    said = pieces(text)
    if left is not None and len(said) > left:
        said = said[:left]
        reply.finish, reply.stopped_by = "length", None
    reply.text = "".join(said)
    reply.output_tokens = reply.reasoning_tokens + max(len(said), 1)
    return reply


def refusal() -> Reply:
    """The same model declining to answer."""
    text = "I'm sorry, but I can't assist with that request."
    return Reply(text=text, finish="refusal", output_tokens=len(pieces(text)))


def filtered(reply: Reply) -> Reply:
    """The answer cut by the provider's content filter after a few words."""
    said = pieces(reply.text or "The answer was going to be this")[:3]
    return Reply(text="".join(said), finish="filtered", output_tokens=len(said))


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _ECHO else flat[:_ECHO] + "…"


def _wanted_tools(ask: Ask) -> list[Tool]:
    if not ask.tools or ask.tool_choice == "none":
        return []
    both = re.search(r"\bboth\b", ask.text, re.IGNORECASE) is not None
    count = 2 if both and ask.parallel else 1
    if ask.forced:
        named = [t for t in ask.tools if t.name == ask.tool_choice]
        return (named * count)[:count]
    if ask.results and ask.tool_choice != "any":
        return []
    text = ask.text.lower()
    mentioned = [t for t in ask.tools if t.name.lower() in text or t.name.lower().replace("_", " ") in text]
    if mentioned:
        others = mentioned + [t for t in ask.tools if t not in mentioned]
        return list(itertools.islice(itertools.cycle(others), count))
    if ask.tool_choice == "any" or both:
        return list(itertools.islice(itertools.cycle(ask.tools), count))
    return []


def _hint(text: str) -> str:
    """What a tool's string arguments say: the last name in the question (a capitalised word that does not start a sentence)."""
    names = re.findall(r"(?<=[a-z,:] )[A-Z][\w'-]+", text)
    return str(names[-1]) if names else "sample"


def _text(name: str, ask: Ask, words: int | None) -> str:
    if ask.schema is not None:
        document = schema.document(ask.schema, _hint(ask.text)) if ask.schema else {"heard": _short(ask.text)}
        return orjson.dumps(document).decode()
    if ask.results:
        quoted = "; ".join(f'"{_short(r)}"' for r in ask.results)
        text = f"{name} ({ask.model}) got {len(ask.results)} tool result{'s' if len(ask.results) > 1 else ''}: {quoted}"
    else:
        text = f"{name} ({ask.model}) heard: {_short(ask.text)}"
    if ask.media:
        text += f" [saw {_media(ask.media)}]"
    if words is not None:
        have = len(pieces(text))
        text += "".join(f" {word}" for word in itertools.islice(itertools.cycle(_FILLER), max(words - have, 0)))
    return text


def _media(media: list[Media]) -> str:
    """`2 images (image/png, 68 bytes; image/jpeg, by reference), 1 document (application/pdf, 1200 bytes)`."""
    parts = []
    for kind in dict.fromkeys(m.kind for m in media):
        own = [m for m in media if m.kind == kind]
        each = "; ".join(f"{m.mime}, {'by reference' if m.size is None else f'{m.size} bytes'}" for m in own[:8])
        parts.append(f"{len(own)} {kind}{'s' if len(own) > 1 else ''} ({each})")
    return ", ".join(parts)


def _until_stop(text: str, stops: list[str]) -> tuple[str, str | None]:
    found = [(text.find(s), s) for s in stops if s and s in text]
    if not found:
        return text, None
    at, stop = min(found)
    return text[:at], stop
