"""What a client's parsed body holds, found in one cheap walk, whatever its dialect: texts by role, media, tools.

It is for routing, which needs sizes and a look at the words, so nothing is decoded, checked or copied, and base64 is measured by its length.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from extproc.core.ir import JSON


@dataclass(slots=True)
class Media:
    """One part that is not text. `kind`: image, document, audio or video. `size` characters of base64 (0: a URL or the id of a file), `head` the
    first few of them, `form` the media type or format if the part names one, `detail` OpenAI's `low`, `high`, …"""

    kind: str
    size: int = 0
    head: str = ""
    form: str = ""
    detail: str = ""


@dataclass(slots=True)
class Prompt:
    """`texts` are all pieces of text, also those of `system`, of tools' answers and the arguments of their calls (as JSON); `tools` the definitions
    as JSON text. `last_user` is the text of the last message of the user's that has one. `messages` counts those of the conversation."""

    texts: list[str] = field(default_factory=list)
    system: list[str] = field(default_factory=list)
    last_user: str = ""
    messages: int = 0
    calls: int = 0
    media: list[Media] = field(default_factory=list)
    tools: bytes = b""
    tool_count: int = 0
    schema: bytes = b""


def read(dialect: str, body: JSON) -> Prompt:
    """`dialect` is a `Dialect.name`. Total: never raises, whatever the shape; linear in the body."""
    raise NotImplementedError
