"""Google's and Microsoft's issuers of tokens on this machine: a metadata server, a security token service, and the endpoints of Entra ID."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Issuer(ThreadingHTTPServer):
    """Tokens are `token-<port>-<n>-…`, each another one. `asked` are (path, form or query, headers). `lifetime` in seconds; `refuse`: paths
    that get 400."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.issued: list[str] = []
        self.lifetime = 3600
        self.refuse: set[str] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def token(self, n: int) -> str:
        """The one that is issued after `n` others."""
        return f"token-{self.server_port}-{n}-Zk3v9QmWx81LpTn5RbYc7Ua2"

    def new_token(self) -> str:
        with self._lock:
            self.issued.append(self.token(len(self.issued)))
            return self.issued[-1]

    def about(self, part: str) -> list[dict[str, str]]:
        """The forms of the calls whose path holds `part`."""
        return [form for path, form, _ in self.asked if part in path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Issuer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.asked.append((parts.path, query, dict(self.headers)))
        if parts.path in self.server.refuse:
            self._say(400, {"error": "refused", "access_token": self.server.new_token()})
        elif parts.path.endswith("/token"):
            # the metadata server of Google, and those of Azure's virtual machines and App Service
            token: dict[str, Any] = {"access_token": self.server.new_token(), "token_type": "Bearer", "expires_in": self.server.lifetime}
            if "resource" in query:
                token |= {"expires_on": str(int(time.time()) + self.server.lifetime), "resource": query["resource"]}
            self._say(200, token)
        elif parts.path.endswith("/.well-known/openid-configuration"):
            tenant = f"https://{self.headers['host']}{parts.path.removesuffix('/v2.0/.well-known/openid-configuration')}"
            self._say(
                200,
                {
                    "issuer": f"{tenant}/v2.0",
                    "authorization_endpoint": f"{tenant}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{tenant}/oauth2/v2.0/token",
                },
            )
        elif parts.path.startswith("/computeMetadata/"):
            name = {"email": "sa@acme.iam", "aliases": ["default"], "scopes": []}
            self._say(200, name if "service-accounts" in parts.path else {"project": "acme-prod"})
        else:
            # the answer to a ping
            self._say(200 if parts.path == "/" else 404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self.server.asked.append((self.path, form, dict(self.headers)))
        if self.path in self.server.refuse:
            answer = {"error": "invalid_grant", "error_description": f"refused: {form.get('client_secret', '')} {self.server.new_token()}"}
            self._say(400, answer)
        else:
            kind = "urn:ietf:params:oauth:token-type:access_token"
            content = {"access_token": self.server.new_token(), "token_type": "Bearer", "expires_in": self.server.lifetime}
            self._say(200, {**content, "issued_token_type": kind})

    def _say(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        # how google-auth knows a metadata server
        for name, value in (("content-type", "application/json"), ("content-length", str(len(body))), ("metadata-flavor", "Google")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        with suppress(ssl.SSLError, ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent."""


@contextmanager
def issuing(context: ssl.SSLContext | None = None) -> Iterator[Issuer]:
    """Over TLS with a `context`."""
    server = Issuer()
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
