"""Whether a TCP port is free. Envoy shares its ports (SO_REUSEPORT): a second one on the same port would start, and take half of the calls."""

from __future__ import annotations

import errno
import socket


def is_taken(host: str, port: int) -> bool:
    """Does something listen on it? False where that cannot be said (a host that is not ours): Envoy then says what is wrong."""
    if port == 0:
        return False
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def a_free_one(host: str, preferred: int, more: int = 20) -> int:
    """`preferred`, else one of the next `more`, else any. 0 prefers none."""
    wanted = range(preferred, min(preferred + more, 65535) + 1) if preferred else ()
    for port in wanted:
        if not is_taken(host, port):
            return port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
