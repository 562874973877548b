"""What stands in front of an API's paths: a version, often behind the name of whose API it is. It is part of a provider's URL."""

from __future__ import annotations

import re

_PREFIX = re.compile(
    r"(?:/openai|/api|/inference|/compatibility|/compatible-mode|/anthropic|/upload)?/v\d+(?:(?:alpha|beta)\d*)?(?:/openai)?(?=/|$)|/openai(?=/|$)"
)


def behind_version(path: str) -> str:
    """What stands behind the prefix, "" if that is all; `path` itself where there is none."""
    found = _PREFIX.match(path)
    return path[found.end() :] if found else path
