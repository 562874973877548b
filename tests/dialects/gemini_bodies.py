"""Requests for encoder tests: every body passes the strict validator before a test looks at it."""

from typing import Any

from extproc.core.dialect import Facts
from extproc.core.ir import Block, Message, Request, Role, Text
from extproc.dialects.gemini import GEMINI
from tests.validators.gemini_discovery import check_request

FLASH = Facts("gemini-2.5-flash", "gemini")
GEMINI3 = Facts("gemini-3-flash-preview", "gemini")


def user(*blocks: Block) -> Message:
    return Message(Role.USER, list(blocks))


def model(*blocks: Block) -> Message:
    return Message(Role.ASSISTANT, list(blocks))


def encode(*messages: Message, facts: Facts = FLASH, **members: Any) -> tuple[dict[str, Any], list[str]]:
    """(body, loss codes) of a request that starts with a question unless messages say otherwise."""
    encoded = GEMINI.encode_request(Request("asked", list(messages) or [user(Text("q"))], **members), facts)
    assert encoded.headers == {"content-type": "application/json"}
    return check_request(encoded.body), [loss.code for loss in encoded.losses]


NAMES = ["ok", "_ok.1:x-y", "1st", "-dash", "has space", "naïve", "llm1_taken", "llm1_.20.", "a/b", "名前", "x" * 128]
"""Tool names, good and bad for Gemini."""
