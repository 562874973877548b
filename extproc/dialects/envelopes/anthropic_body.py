"""Anthropic's request body as the clouds take it: the model in the path, the API's version and sometimes the betas in the body.

Both clouds answer 400 for a beta that they do not know, and Claude Code sends several of those; so only known ones go on, and what is left out is a
loss. Likewise members of the body that are about an account of Anthropic's own.
Sources: the anthropic SDK's `lib/bedrock` and `lib/vertex`;
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html; reports of refused requests.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import orjson

from extproc.core import jsonedit
from extproc.core.dialect import Encoded
from extproc.core.losses import Losses

BETA_HEADER = "anthropic-beta"
VERSION_HEADER = "anthropic-version"
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_FIRST = "2023-06-01"
"""The API's version that the clouds know by names of their own; later ones they take by Anthropic's (anthropic SDK 2: 2026-10-21)."""


def betas(encoded: Encoded, known: re.Pattern[str], losses: Losses) -> list[str]:
    """The betas in the header of `encoded` that are `known`, each once."""
    stated = [name.strip() for name in encoded.headers.get(BETA_HEADER, "").split(",")]
    kept = [name for name in dict.fromkeys(stated) if name and known.fullmatch(name)]
    for name in stated:
        if name and name not in kept:
            losses.add("dropped:anthropic_beta", f"{name[:64]} is not known to this provider")
    return kept


def wrapped(encoded: Encoded, path: str, version: str, removed: Collection[str], kept: list[str], losses: Losses, *, in_body: bool) -> Encoded:
    """`encoded` as its provider takes it: without its `model` and the members `removed`, the betas in the body or the header.

    `version` is the provider's name for the API's first version; a later one that the client asks for goes on as it is.
    Raises `BadRequestError` if the body is not one JSON object.
    """
    layout = jsonedit.scan(encoded.body)
    stated = encoded.headers.get(VERSION_HEADER, "")
    newer = _DATE.fullmatch(stated) is not None and stated > _FIRST
    edits: dict[str, bytes | None] = {"anthropic_version": orjson.dumps(stated if newer else version), "model": None}
    for name in removed:
        if name in layout.members:
            edits[name] = None
            if name != "stream":
                losses.add(f"dropped:{name}", "the provider refuses it")
    headers = {name: value for name, value in encoded.headers.items() if name not in {BETA_HEADER, VERSION_HEADER}}
    if kept and in_body:
        place = layout.members.get("anthropic_beta")
        given = orjson.loads(encoded.body[place.start : place.end]) if place is not None else []
        edits["anthropic_beta"] = orjson.dumps(list(dict.fromkeys([*(given if isinstance(given, list) else []), *kept])))
    elif kept:
        headers[BETA_HEADER] = ",".join(kept)
    body = jsonedit.splice(encoded.body, {name: value for name, value in edits.items() if value is not None or name in layout.members}, layout)
    return Encoded(body, path, headers, [*encoded.losses, *losses])
