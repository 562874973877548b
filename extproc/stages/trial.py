"""Tries translations before the chain is fixed: an attempt whose target cannot carry the request is final, although another target might serve.

What a request needs is named beforehand (`Dialect.needs`), and of 13,694 recorded requests by target none failed for anything else. Two things needs
cannot tell: whether something is lost, which `strict: true` forbids, and whether a format takes this very type of an image, a document or a sound.
So every request of a strict model is tried, and one with media where there is a choice: that costs 0.15 ms for 1 MB of an image, because base64 is
passed on uncopied, while trying every conversation would cost 15 ms for 1 MB of messages.
"""

from __future__ import annotations

from collections.abc import Sequence

from extproc.core.dialect import Ask, Dialect, Need
from extproc.core.errors import ApiError, ErrorKind, UntranslatableError
from extproc.core.ir import JSON, Loss
from extproc.registry.types import Registry
from extproc.stages.services import Services
from extproc.stages.upstream import encode, via_of

MEDIA = frozenset({Need.VISION, Need.DOCUMENTS, Need.AUDIO, Need.VIDEO, Need.IMAGE_URL, Need.DOCUMENT_URL})


def carrying(
    services: Services, registry: Registry, client: Dialect, raw: bytes, body: JSON, ask: Ask, clusters: Sequence[str], *, strict: bool
) -> list[str]:
    """Those of `clusters` whose targets carry the request, in their order; with `strict` only those that lose nothing of it.

    Raises `ApiError` where there are none: UNPROCESSABLE, with the reason of the last, or with all the losses.
    """
    tried: dict[str, list[Loss] | UntranslatableError] = {}
    good: list[str] = []
    for cluster in clusters:
        target = registry.cluster_target(cluster)
        assert target is not None
        found = tried.get(target.name)
        if found is None:
            via = via_of(target, client)
            assert via is not None
            upstream = services.dialects[via.dialect]
            try:
                same = upstream is client and not strict
                found = [] if same else encode(raw, body, client, upstream, services.facts(target, ask.model)[0], ask).losses
            except UntranslatableError as error:
                found = error
            tried[target.name] = found
        if not isinstance(found, UntranslatableError) and not (strict and found):
            good.append(cluster)
    if good:
        return good
    if not strict:
        raise next(error for error in reversed(tried.values()) if isinstance(error, UntranslatableError))
    codes = {"untranslatable"} if any(isinstance(found, UntranslatableError) for found in tried.values()) else set()
    codes |= {loss.code for found in tried.values() if not isinstance(found, UntranslatableError) for loss in found}
    said = ", ".join(sorted(codes))
    raise ApiError(ErrorKind.UNPROCESSABLE, f"this model is strict, and every target would lose something of this request: {said}")
