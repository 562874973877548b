"""The signals that end a command which has children: Ctrl-C, a supervisor's SIGTERM, and the terminal being closed.

The children are in sessions of their own and get none of these, so whoever started them must not just die.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable


def on_stop(act: Callable[[], object]) -> None:
    """Calls `act` on the running loop for each such signal. A SIGHUP that is ignored (nohup) stays ignored."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, act)
