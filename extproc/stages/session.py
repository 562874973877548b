"""Which conversation a request belongs to, for what goes by sessions: affinity to a warm prompt cache, and draws that keep their place.

The client may say it (`x-llm-session`); otherwise it is the conversation's beginning, which all its turns share. Who asks is always part of it: two
tenants that write the same are not one session.
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.core.prompt import Prompt
from extproc.registry.policy import Policy
from extproc.registry.types import Model
from extproc.routing.signals import RequestSignals

HEADER = "x-llm-session"
LONGEST = 256
"""Characters of the header that count."""
_BEGINNING = 2000
"""Characters of the system's and of the first user's text: enough to tell conversations apart, and bounded."""


def session_of(model: Model, headers: Mapping[str, str], who: Mapping[str, str], signals: RequestSignals) -> str:
    """ "" where the model has no use for it, or nothing tells conversations apart."""
    by_session = model.sticky_by == "session"
    if model.affinity is None and not by_session and model.rank_by.policy is not Policy.COST:
        return ""
    whose = f"{who.get('tenant', '')}\0{who.get('user', '')}\0"
    said = headers.get(HEADER, "")[:LONGEST]
    if said:
        return f"{whose}{said}"
    beginning = _beginning(signals.prompt)
    return f"{whose}\0{beginning}" if beginning else ""


def _beginning(prompt: Prompt) -> str:
    user = prompt.first_user[:_BEGINNING]
    return f"{''.join(prompt.system)[:_BEGINNING]}\0{user}" if user else ""
