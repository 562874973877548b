"""`data_policy`: what a provider promises about the data it gets, and what is required of one. Words, of which two have a usual spelling."""

from __future__ import annotations

import re

from extproc.registry.fields import Field
from extproc.registry.problems import shown, spelled

_WORD = re.compile(r"[a-z0-9][a-z0-9_]{0,63}\Z")
USUAL = {
    **dict.fromkeys(("notraining", "dont_train", "do_not_train", "no_train", "training_opt_out", "opt_out"), "no_training"),
    **dict.fromkeys(("zdr", "no_retention", "zero_data_retention", "no_logging", "no_storage"), "zero_retention"),
}
"""Other words for the usual ones. They are refused, because a provider's and a requirement's must be the same."""


def read_promises(field: Field | None) -> frozenset[str]:
    """The words of a list, without those that have problems."""
    found: set[str] = set()
    for item in (field.items("a list of words such as [no_training]") if field else None) or []:
        word = item.text("a word such as no_training")
        if word is None:
            continue
        plain = word.lower().replace("-", "_").replace(" ", "_")
        if plain in USUAL:
            item.fail(f"{shown(word)} has another name here", f"use {USUAL[plain]}")
        elif not _WORD.match(word):
            meant = plain if _WORD.match(plain) else "no_training or zero_retention"
            item.fail(f"{shown(word)} is no such word: lower-case letters, digits and underscores", f"such as {spelled([meant])}")
        elif word in found:
            item.fail(f"{shown(word)} is listed twice")
        else:
            found.add(word)
    return frozenset(found)
