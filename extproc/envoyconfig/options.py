"""What a rendered configuration depends on besides the registry and the YAML files: addresses, directories, limits."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
SHADOW_SOCKET = "shadow.sock"
SMALLEST_BUFFER = 64 * MIB
"""Bytes. An attempt may hold 16 MiB of an answer and the return stage translates whole bodies: below this, answers would be cut."""
LARGEST_BODY = (1 << 30) - 1
"""Bytes. The HTTP/2 connection window is twice the body limit and may not exceed 2^31 - 1."""


@dataclass(frozen=True, slots=True)
class Otlp:
    """Where Envoy's own spans go. `url` is complete for HTTP (`http://collector:4318/v1/traces`), `http://host:port` for gRPC; https means TLS."""

    url: str
    grpc: bool = False
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """All paths are absolute.

    `out_dir`: where the rendered files will lie, as Envoy sees it. `run_dir`: Unix sockets (`admin.sock`, `extproc-N.sock`); at most 90 bytes long.
    `address`, `port`: what Envoy listens on; `listen_socket` an additional Unix socket, None for none.
    `workers`: ext_proc server processes, one socket each. `max_body_bytes`: the largest request body; above it, 413.
    `heap_bytes`: Envoy's memory limit, None for what `bootstrap.yaml` says. `access_log`: a file, "" for no access log at all.
    `token_dir`: where `extproc tokens` puts access tokens, "" for `tokens` in `run_dir`.
    `otlp`: None means that Envoy writes no spans. `service_name`: of those spans.
    `ca_file`: certificate authorities that https providers are checked with.
    """

    out_dir: str
    run_dir: str
    address: str = "127.0.0.1"
    port: int = 10000
    listen_socket: str | None = None
    workers: int = 1
    max_body_bytes: int = 64 * MIB
    heap_bytes: int | None = None
    access_log: str = "/dev/stdout"
    otlp: Otlp | None = None
    service_name: str = "llm-sidecar"
    ca_file: str = "/etc/ssl/certs/ca-certificates.crt"
    token_dir: str = ""

    @property
    def admin_socket(self) -> str:
        return f"{self.run_dir}/admin.sock"

    @property
    def shadow_socket(self) -> str:
        """Where the server sends requests again."""
        return f"{self.run_dir}/{SHADOW_SOCKET}"

    @property
    def server_sockets(self) -> tuple[str, ...]:
        return tuple(f"{self.run_dir}/extproc-{n}.sock" for n in range(self.workers))

    @property
    def tokens(self) -> str:
        """The directory of access tokens."""
        return self.token_dir or f"{self.run_dir}/tokens"

    @property
    def buffer_bytes(self) -> int:
        """Every buffer on a body's way: listener, provider clusters, ext_proc cluster and its stream window."""
        return max(self.max_body_bytes, SMALLEST_BUFFER)
