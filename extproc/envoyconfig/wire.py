"""Names of Envoy's messages and extensions, and how a rendered value becomes the text of a file."""

from __future__ import annotations

import re
from typing import Any

import yaml

TYPE = "@type"
_PREFIX = "type.googleapis.com/"

HTTP_GRPC_ACCESS_LOG = _PREFIX + "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
HTTP_CONNECTION_MANAGER = _PREFIX + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
EXT_PROC = _PREFIX + "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"
EXTENSION_WITH_MATCHER = _PREFIX + "envoy.extensions.common.matching.v3.ExtensionWithMatcher"
COMPOSITE = _PREFIX + "envoy.extensions.filters.http.composite.v3.Composite"
EXECUTE_FILTER = _PREFIX + "envoy.extensions.filters.http.composite.v3.ExecuteFilterAction"
REQUEST_HEADER = _PREFIX + "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
HEADER_MUTATION = _PREFIX + "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
CREDENTIAL_INJECTOR = _PREFIX + "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector"
AWS_REQUEST_SIGNING = _PREFIX + "envoy.extensions.filters.http.aws_request_signing.v3.AwsRequestSigning"
GENERIC_CREDENTIAL = _PREFIX + "envoy.extensions.http.injected_credentials.generic.v3.Generic"
JWT_AUTHN = _PREFIX + "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
BODY_SIZE_LIMIT = _PREFIX + "envoy.extensions.filters.http.body_size_limit.v3.BodySizeLimit"
UPSTREAM_CODEC = _PREFIX + "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
ROUTER = _PREFIX + "envoy.extensions.filters.http.router.v3.Router"
PRIORITY_GROUP = _PREFIX + "envoy.extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier"
PREVIOUS_HOSTS = _PREFIX + "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
CEL_FILTER = _PREFIX + "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
OPENTELEMETRY = _PREFIX + "envoy.config.trace.v3.OpenTelemetryConfig"
RESOURCE_ENVIRONMENT = _PREFIX + "envoy.extensions.tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig"
UPSTREAM_TLS = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
HTTP_11_PROXY = _PREFIX + "envoy.extensions.transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport"
SECRET = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
ROUTE_CONFIGURATION = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
HTTP_OPTIONS_TYPE = _PREFIX + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
"""Key of `typed_extension_protocol_options`."""
FIXED_HEAP = "envoy.resource_monitors.fixed_heap"
PROXY_SOCKET = "envoy.transport_sockets.http_11_proxy"
TLS_SOCKET = "envoy.transport_sockets.tls"

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{2,}")
_WORDS_OF_YAML = frozenset({"yes", "no", "on", "off", "true", "false", "null"})


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """YAML 1.1 in which no string can be read as anything else: Envoy's parser knows more words for true and false than PyYAML."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(value) is not None and value.lower() not in _WORDS_OF_YAML
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def dump(value: dict[str, Any], comment: str) -> bytes:
    """The file: one comment line, then `value` in the order it was built."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=160)
    return f"# {comment}\n{text}".encode()


def named(name: str, type_url: str, config: dict[str, Any] | None = None) -> dict[str, Any]:
    """Envoy's `{name, typed_config}` pair."""
    return {"name": name, "typed_config": {TYPE: type_url, **(config or {})}}
