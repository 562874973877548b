"""What the walk found: the sizes and the texts that routing looks at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from extproc.core.characters import Characters, count
from extproc.core.ir import JSON


@dataclass(slots=True)
class Media:
    """One part that is not text.

    `kind`: image, document, audio or video. `size`: characters of base64, 0 of a URL or a file's id. `head` are its first characters, `form` is the
    media type or format if the part names one, `detail` OpenAI's `low`, `high`, …
    """

    kind: str
    size: int = 0
    head: str = ""
    form: str = ""
    detail: str = ""


@dataclass(slots=True)
class Prompt:
    """`texts` are all pieces of text, also those of `system`, of tools' answers and the arguments of their calls (as JSON), but not `thoughts`, those
    of earlier answers, which most providers leave out.

    `messages` and `calls` count those of the conversation; `tools` are the definitions as JSON, in one piece or more, `tool_count` how many;
    `schema` is the one that the answer must follow, as JSON. `tokens` counts inputs that are tokens already, `opaque` characters of encrypted
    state and results. `elastic`: the provider shortens it where it is too long, or reads its texts one by one, so it may fit whatever its length.
    `users` are the user's messages as they stand.
    """

    texts: list[str] = field(default_factory=list)
    system: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    messages: int = 0
    calls: int = 0
    media: list[Media] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)
    tool_count: int = 0
    schema: list[str] = field(default_factory=list)
    tokens: int = 0
    opaque: int = 0
    elastic: bool = False
    users: list[JSON] = field(default_factory=list, repr=False)
    _last_user: str | None = field(default=None, repr=False)
    _characters: Characters | None = field(default=None, repr=False)
    _thought: Characters | None = field(default=None, repr=False)

    @property
    def last_user(self) -> str:
        """The text of the user's last message that has one, without tools' answers; "" where there is none."""
        if self._last_user is None:
            self._last_user = next(filter(None, map(_said, reversed(self.users))), "")
        return self._last_user

    @property
    def first_user(self) -> str:
        """Likewise of the first one: all turns of one conversation have the same."""
        return next(filter(None, map(_said, self.users)), "")

    @property
    def characters(self) -> Characters:
        """The kinds of characters in `texts`."""
        if self._characters is None:
            self._characters = count(self.texts)
        return self._characters

    @property
    def thought(self) -> Characters:
        """The kinds of characters in `thoughts`."""
        if self._thought is None:
            self._thought = count(self.thoughts)
        return self._thought


def _said(message: JSON) -> str:
    """The text that stands in a message of the user's itself."""
    if isinstance(message, dict):
        content = message.get("content")
        if content is None:
            content = message.get("parts")
        if content is None:
            content = message.get("text")
        message = content
    if isinstance(message, str):
        return message
    parts = message if isinstance(message, list) else [message]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "\n".join(text for text in texts if isinstance(text, str))


Read = Callable[[Prompt, Any, dict[str, Any], int], None]
"""Reads one member: what is found so far, its value (not null), the object that it stands in, the depth."""
