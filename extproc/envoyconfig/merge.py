"""How a block of Envoy's configuration is laid over another.

Mappings merge member by member. Lists and scalars replace. A null removes the member. Where Envoy allows only one of several members (a proto
`oneof`), the one that is laid over drops its siblings.
"""

from __future__ import annotations

from typing import Any

_ONE_OF: tuple[frozenset[str], ...] = (
    frozenset({"explicit_http_config", "use_downstream_protocol_config", "auto_config"}),
    frozenset({"validation_context", "combined_validation_context", "validation_context_sds_secret_config"}),
    frozenset({"filename", "inline_bytes", "inline_string", "environment_variable"}),
    frozenset({"ring_hash_lb_config", "maglev_lb_config", "original_dst_lb_config", "least_request_lb_config", "round_robin_lb_config"}),
)


def merge(base: Any, over: Any) -> Any:
    """A new value; neither argument is changed or shared."""
    if not isinstance(over, dict):
        return _copy(over)
    result = dict(base) if isinstance(base, dict) else {}
    for group in _ONE_OF:
        if any(over.get(name) is not None for name in group):
            result = {name: value for name, value in result.items() if name not in group or name in over}
    merged = {name: value if name in over else _copy(value) for name, value in result.items()}
    for name, value in over.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def merge_all(*layers: dict[str, Any] | None) -> dict[str, Any]:
    """Later layers lie over earlier ones; None is an empty one."""
    result: dict[str, Any] = {}
    for layer in layers:
        result = merge(result, layer or {})
    return result


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value
