"""Which of a request's needs a target cannot meet: by what the registry states of it, or because its wire format has no word for them. Pure."""

from __future__ import annotations

from extproc.core.dialect import Dialect, Need
from extproc.registry.types import Target

_FORMAT_NEEDS = frozenset({Need.CHOICES, Need.FILE_ID, Need.SERVER_TOOLS, Need.STATE})
"""Needs that only the client's own dialect can meet, whatever a target claims."""
_TRANSLATED = frozenset({Need.FUNCTIONS})
"""Needs that every translation meets, because the client's own dialect writes the answer."""


def lacking(target: Target, client: Dialect, upstream: Dialect, needs: frozenset[str]) -> list[str]:
    """The needs that `target` cannot meet: by its stated capabilities, or because its wire format has no word for them."""
    stated = target.capabilities
    missing = [n for n in needs if stated.get(n) is False]
    if upstream.name != client.name:
        carried = upstream.carries | target.carries
        missing += [n for n in needs if (n not in carried or n in _FORMAT_NEEDS) and n not in _TRANSLATED and n not in missing]
    elif upstream is not client:
        # the same format in a provider's envelope, which may lack what the plain one has
        missing += [n for n in needs if n in client.carries and n not in upstream.carries | target.carries and n not in missing]
    return sorted(missing)
