"""A Converse body under construction: what the encoders of its parts share."""

from __future__ import annotations

from dataclasses import dataclass, field

from extproc.core.dialect import Facts
from extproc.core.ir import JSON, Request
from extproc.core.losses import Losses
from extproc.dialects.bedrock_converse.families import Family
from extproc.dialects.bedrock_converse.turns import Turns


@dataclass(slots=True)
class Draft:
    """`inference`, `tools` and `fields` become `inferenceConfig`, `toolConfig` and `additionalModelRequestFields` where they hold anything;
    `members` are the others."""

    request: Request
    turns: Turns
    facts: Facts
    family: Family
    losses: Losses
    inference: dict[str, JSON] = field(default_factory=dict)
    tools: dict[str, JSON] = field(default_factory=dict)
    fields: dict[str, JSON] = field(default_factory=dict)
    members: dict[str, JSON] = field(default_factory=dict)
