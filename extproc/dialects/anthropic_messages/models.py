"""What the published Claude models take, as far as encoding a request depends on it.

Some generations changed what is valid, and the API answers 400 for what a model does not take:

* 3.7 brought manual thinking, 4.1 refuses temperature and top_p together.
* 4.6 brought adaptive thinking and `output_config.effort` (effort alone came with Opus 4.5); forced tools are allowed beside it. It refuses
  an assistant's turn at the end.
* 4.7 refuses manual thinking budgets and sampling parameters, and knows effort `xhigh`.

The version is read from the name (`claude-opus-4-6`, `claude-3-7-sonnet-20250219`, `eu.anthropic.claude-sonnet-4-5-20250929-v1:0`). A
Claude whose version cannot be read counts as the newest, another vendor's model as one that takes the classic parameters.
Source: https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking and recorded answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?")
_NEWEST = (9, 9)


@dataclass(frozen=True, slots=True)
class Model:
    """`adaptive`: takes `thinking: {type: adaptive}` and an effort. `budget`: takes a manual budget. `sampling`: takes temperature, top_p or top_k.
    `both`: takes temperature and top_p in one request. `prefill`: goes on with an assistant's last turn."""

    adaptive: bool = False
    budget: bool = True
    sampling: bool = True
    both: bool = True
    prefill: bool = True
    efforts: tuple[str, ...] = ()


_CLASSIC = Model()


@lru_cache(maxsize=256)
def model(name: str) -> Model:
    """The facts for a provider's model name."""
    if "claude" not in name:
        return _CLASSIC
    found = _VERSION.search(name)
    version = (int(found[1]), int(found[2] or 0)) if found else _NEWEST
    if version < (3, 7):
        return Model(budget=False)
    if version < (4, 6):
        return Model(both=version < (4, 1))
    if version < (4, 7):
        return Model(adaptive=True, both=False, prefill=False, efforts=("low", "medium", "high", "max"))
    return Model(adaptive=True, budget=False, sampling=False, both=False, prefill=False, efforts=("low", "medium", "high", "xhigh", "max"))
