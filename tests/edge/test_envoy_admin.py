"""What Envoy's list of clusters says about them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from extproc.edge.envoy_admin import read_clusters


def listed(**clusters: list[dict[str, Any]] | None) -> bytes:
    """Clusters with the health of their hosts; None: Envoy leaves the member out where there are no hosts."""
    statuses = [
        {"name": name} if hosts is None else {"name": name, "host_statuses": [{"health_status": h} for h in hosts]}
        for name, hosts in clusters.items()
    ]
    return orjson.dumps({"cluster_statuses": statuses})


def test_a_cluster_is_out_when_none_of_its_hosts_is_in() -> None:
    out = {"failed_outlier_check": True, "eds_health_status": "HEALTHY"}
    sick = {"failed_active_health_check": True}
    active, ejected = read_clusters(listed(a=[{}], b=[out], c=[out, {}], d=[out, sick]))
    assert active == {"a", "b", "c", "d"}
    assert ejected == {"b", "d"}


def test_a_cluster_whose_name_does_not_resolve_is_out() -> None:
    """It has no hosts, and an attempt there would be Envoy's own final 503."""
    assert read_clusters(listed(a=None, b=[], c=[{}]))[1] == {"a", "b"}


@pytest.mark.parametrize("document", [b"", b"[]", b"null", b'{"cluster_statuses": [{}]}', b'{"cluster_statuses": [1]}'])
def test_anything_else_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match="not a list of clusters"):
        read_clusters(document)
