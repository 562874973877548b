"""Registry and YAML files to the files that Envoy reads. Pure: the same input gives the same bytes."""

from __future__ import annotations

from typing import Any

from extproc.envoyconfig import clusters, listener, routes, wire
from extproc.envoyconfig.merge import merge_all
from extproc.envoyconfig.options import Options
from extproc.envoyconfig.sources import Sources
from extproc.registry.types import Registry

BOOTSTRAP, CDS, RDS = "envoy.yaml", "cds.yaml", "rds.yaml"
_COMMENT = "Rendered by extproc; changes here are overwritten."


def render(registry: Registry, options: Options, sources: Sources) -> dict[str, bytes]:
    """File name (below `options.out_dir`) → content: `envoy.yaml`, `cds.yaml`, `rds.yaml` and `sds/<cluster>.yaml` for each key.

    Expects what `check` accepted. No file holds a key, but `envoy.yaml` holds the headers of `options.otlp`.
    """
    files = {f"sds/{name}": wire.dump(content, _COMMENT) for name, content in clusters.secrets(registry, options).items()}
    provider_clusters = [{wire.TYPE: wire.CLUSTER, **cluster} for cluster in clusters.provider_clusters(registry, options, sources)]
    files[CDS] = wire.dump({"resources": provider_clusters}, f"{_COMMENT} Registry: {registry.path} ({registry.digest}).")
    files[RDS] = wire.dump({"resources": [routes.route_configuration(options, sources)]}, _COMMENT)
    files[BOOTSTRAP] = wire.dump(bootstrap(options, sources), _COMMENT)
    return files


def bootstrap(options: Options, sources: Sources) -> dict[str, Any]:
    """The static part: admin socket, listeners, ext_proc cluster, collector, and where the dynamic files are."""
    data = sources.bootstrap.data
    own = (data.get("static_resources") or {}).get("clusters") or []
    static = [*own, clusters.ext_proc_cluster(options, sources)]
    if options.otlp is not None:
        static.append(clusters.otel_cluster(options))
    result = merge_all(
        data,
        {
            "admin": {"address": {"pipe": {"path": options.admin_socket, "mode": 0o600}}},
            "static_resources": {"listeners": [listener.listener(options, sources), listener.shadow_listener(options, sources)], "clusters": static},
            "dynamic_resources": {
                "cds_config": {
                    "path_config_source": {"path": f"{options.out_dir}/{CDS}", "watched_directory": {"path": options.out_dir}},
                    "resource_api_version": "V3",
                }
            },
        },
    )
    if options.heap_bytes is not None:
        for monitor in (result.get("overload_manager") or {}).get("resource_monitors") or []:
            if monitor.get("name") == wire.FIXED_HEAP:
                monitor["typed_config"]["max_heap_size_bytes"] = options.heap_bytes
    return result
