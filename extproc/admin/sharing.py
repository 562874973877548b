"""What the live registry asks of a state that replicas share, such as Redis."""

from __future__ import annotations

from typing import Protocol


class SharedDocument(Protocol):
    """`version` grows by one with every document that is put; the first has any, so that after a loss of everything none comes again."""

    @property
    def version(self) -> int: ...
    @property
    def document(self) -> bytes: ...


class SharedOverlay(Protocol):
    """One document, put by any replica. `get` and `put` raise OSError while the shared state cannot be reached."""

    async def get(self) -> SharedDocument | None:
        """None where nothing was ever put, or all was lost."""
        ...

    async def put(self, document: bytes, expected: int) -> int | None:
        """Replaces the document if its version is `expected` (0: there is none). Returns the new version, or None if it is another one."""
        ...

    async def changed(self) -> None:
        """Returns when somebody may have put another document: told, or after the connection was lost and is back."""
        ...
