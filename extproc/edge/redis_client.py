"""Connects to the Redis of the registry's `state`. The password is read from its file whenever a connection is made, so a rotated one is used by the
next; it stays inside the client and is never logged. TLS by `rediss://`, against the system's authorities (or those of SSL_CERT_FILE)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError

from extproc.registry.policy import State

LONGEST_PASSWORD = 64 << 10


class PasswordFileError(AuthenticationError):
    """The password file cannot be used; the message says why and never what is in it."""


class _PasswordFile(CredentialProvider):
    def __init__(self, username: str | None, path: str) -> None:
        self._username = username
        self._path = Path(path)

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        try:
            with self._path.open("rb") as file:
                password = file.read(LONGEST_PASSWORD).decode().strip()
        except OSError as error:
            raise PasswordFileError(f"the password file {self._path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise PasswordFileError(f"the password file {self._path} is no text") from None
        if not password:
            raise PasswordFileError(f"the password file {self._path} is empty")
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return await asyncio.to_thread(self.get_credentials)


def connect(state: State, timeout: float) -> Redis:
    """A client that connects with its first command. `timeout` in seconds, for connecting and for each answer; nothing is tried twice here."""
    credentials = _PasswordFile(state.username, state.password_file) if state.password_file is not None else None
    return Redis.from_url(
        state.url,
        credential_provider=credentials,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),
        # what every Redis since 2.0 and every proxy speaks; nothing is said at connect but the password
        protocol=2,
        driver_info=None,
    )


def key(state: State, name: str) -> str:
    """A key of ours: below the prefix, which is the hash tag too (all keys lie on one node of a cluster), with the version of the format."""
    return f"{{{state.prefix}}}:1:{name}"
