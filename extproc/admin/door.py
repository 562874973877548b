"""Who may speak to the admin API: over the Unix socket whoever may open it (its user, by the file's mode), over loopback TCP whoever has the token.

A browser on the same machine is kept out by the token, and by the Host header even where a name is made to point to 127.0.0.1 (DNS rebinding); no
answer carries a CORS header.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path

from extproc.admin.refusal import Refused

SHORTEST = 16
"""Characters of a token."""
_MAX_FILE = 4096
_HOST = re.compile(r"(?:localhost|\[::1\]|127(?:\.[0-9]{1,3}){3})(?::[0-9]{1,5})?\Z", re.IGNORECASE)


class DoorError(Exception):
    """The API cannot be opened as it was asked for; the text is for the terminal."""


class Token:
    """The bearer token in `file`, read for every request, so that it can be replaced. Raises `DoorError` for a file without one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._read()
        except (OSError, ValueError) as error:
            raise DoorError(f"--admin-token-file {file}: {error}") from error

    def _read(self) -> bytes:
        with self._file.open("rb") as file:
            token = file.read(_MAX_FILE).strip()
        if len(token) < SHORTEST:
            raise ValueError(f"a token of at least {SHORTEST} characters is needed")
        return token

    def matches(self, given: str) -> bool:
        """In constant time. Nothing matches a file that cannot be read. `given` as a header's value is decoded: Latin-1."""
        try:
            token = self._read()
        except (OSError, ValueError):
            return False
        return hmac.compare_digest(hashlib.sha256(given.encode("latin-1", "replace")).digest(), hashlib.sha256(token).digest())


def loopback(host: str) -> str:
    """The address of `host`. Raises `DoorError` for any other but the machine itself."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise DoorError(f"--admin-listen: {host} is not a loopback address; the admin API is for this machine only (use a tunnel)")
    return str(address)


def let_in(headers: Mapping[str, str], token: Token) -> None:
    """Over TCP. Raises `Refused` with 401 or 421."""
    if not _HOST.match(headers.get("host", "")):
        raise Refused(421, "wrong_host", "the Host header must be localhost or a loopback address")
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.matches(given.strip()):
        raise Refused(401, "no_token", "send Authorization: Bearer TOKEN")
