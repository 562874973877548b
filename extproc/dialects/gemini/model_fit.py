"""What a Gemini request must say otherwise, because its client named another model than the one that gets it.

Generations refuse each other's settings with a 400: levels of thinking, budgets outside a model's range, thinking where there is none, penalties,
too high a limit. All of them stand in `generationConfig`, in either spelling.
"""

from __future__ import annotations

from extproc.core.dialect import Facts
from extproc.core.ir import JSON
from extproc.core.losses import Losses
from extproc.dialects.gemini.thinking import generation, reasoning_of, thinking_config
from extproc.dialects.gemini.wire import camel

_PENALTIES = {"presencePenalty": "presence_penalty", "frequencyPenalty": "frequency_penalty"}


def fit_to_model(body: dict[str, JSON], facts: Facts, losses: Losses) -> tuple[str, dict[str, JSON]] | None:
    """(the member, its new value) where something of `generationConfig` must change. Total: what has a wrong shape is the provider's to refuse."""
    where = next((name for name in ("generationConfig", "generation_config") if isinstance(body.get(name), dict)), None)
    model = facts.model.rpartition("/")[2]
    series = generation(model)
    if where is None or series is None:
        return None
    said = camel(body[where])
    config = dict(said)
    limit, most = config.get("maxOutputTokens"), facts.max_output_tokens
    if isinstance(limit, int) and most is not None and limit > most:
        config["maxOutputTokens"] = most
        losses.add("coerced:max_tokens", f"{model} writes at most {most} tokens")
    for name, knob in _PENALTIES.items() if series >= 2.5 else ():
        if config.get(name) and config.pop(name):
            losses.add(f"dropped:{knob}", f"{model} refuses penalties")
    if isinstance(config.get("thinkingConfig"), dict):
        thinking = camel(config["thinkingConfig"])
        if not _fits(thinking, series):
            kept = {name: value for name, value in thinking.items() if name not in ("thinkingLevel", "thinkingBudget")} if series >= 2.5 else {}
            config["thinkingConfig"] = kept | thinking_config(reasoning_of(thinking), model, losses)
            if not config["thinkingConfig"]:
                del config["thinkingConfig"]
    return None if config == said else (where, config)


def _fits(thinking: dict[str, JSON], series: float) -> bool:
    """May it stay as it is? Models since 3 take budgets too, but none of zero."""
    if series >= 3:
        return "thinkingBudget" not in thinking or ("thinkingLevel" not in thinking and thinking["thinkingBudget"] != 0)
    return series >= 2.5 and "thinkingLevel" not in thinking and "thinkingBudget" not in thinking
