"""What a client's parsed body holds, found in one cheap walk, whatever its dialect: texts by role, media, tools.

It is for routing, which needs sizes and a look at the words, so nothing is decoded, checked or copied, and base64 is measured by its length. Two
tables know the formats: `roots.ROOTS` where each has its conversation, `parts.MEMBERS` what the members of messages and parts are in any of them (the
few names that two formats use differently are told apart by the values). A member that neither table knows is never looked into.
"""

from __future__ import annotations

from extproc.core.prompt.found import Media, Prompt
from extproc.core.prompt.roots import read

__all__ = ["Media", "Prompt", "read"]
