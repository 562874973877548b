"""Slow work on registries, aside of the loop: in a thread, and with the collector of cycles at rest meanwhile.

A large registry is hundreds of thousands of objects and not one cycle. The collector would look through them again and again while they are made,
for a tenth of a second each time, and nothing else runs meanwhile, in no thread.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def aside(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns or raises."""

    def quietly() -> T:
        runs = gc.isenabled()
        gc.disable()
        try:
            return work(*args, **kwargs)
        finally:
            if runs:
                gc.enable()

    return await asyncio.to_thread(quietly)
