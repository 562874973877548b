"""What an answer took, as Envoy's dynamic metadata: for the rate limit filter, access logs and whatever else runs beside us.

Set with the answer to the last message of a response, so it is there when Envoy closes the request's books. Nothing is said of an answer whose
usage nobody knows: one that its provider did not count, a passed-on path, a stream that its client left before the end.
"""

from __future__ import annotations

from typing import Any

from extproc.core.plan import USAGE_NAMESPACE
from extproc.core.usage import Usage


def usage_metadata(usage: Usage | None, usd: float | None, target: str, model: str) -> dict[str, dict[str, Any]] | None:
    """{`envoy.llm.usage`: {input_tokens, output_tokens, total_tokens, cost_microusd, target, model}}.

    Tokens in OpenTelemetry's convention (`core.usage`); the cost in millionths of a US dollar, rounded to whole ones, and not there where no price
    is known. `target` is the registry's name of what answered, `model` the name that the client asked for.
    """
    if usage is None:
        return None
    tokens_in, tokens_out = max(usage.input_tokens, 0), max(usage.output_tokens, 0)
    said: dict[str, Any] = {
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "target": target,
        "model": model,
    }
    if usd is not None:
        said["cost_microusd"] = round(max(usd, 0.0) * 1e6)
    return {USAGE_NAMESPACE: said}
