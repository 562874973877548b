"""A provider that checks signatures of AWS as Bedrock does, with botocore's own signer over the request as it arrived on the wire."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, ?"
    r"SignedHeaders=(?P<signed>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})\Z"
)
PIECES = (b"one ", b"two ", b"three")


@dataclass(frozen=True)
class Arrived:
    """`path` is the request target as it was on the wire, `refusal` why the signature does not hold, None if it does."""

    path: str
    headers: dict[str, str]
    body: bytes
    key: str
    signed: frozenset[str]
    refusal: str | None


class FakeBedrock(ThreadingHTTPServer):
    """`accounts` maps access key ids to (secret, session token or None). Answers 200, 403 for a signature that does not hold; a path that ends with
    `-stream` is answered in pieces. `answers`: (end of the path, content type, body) of other answers than these."""

    daemon_threads = True

    def __init__(self, accounts: Mapping[str, tuple[str, str | None]], region: str, service: str) -> None:
        self.accounts = dict(accounts)
        self.region, self.service = region, service
        self.requests: list[Arrived] = []
        self.answers: list[tuple[str, str, bytes]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> tuple[str, str, int]:
        return ("http", "127.0.0.1", self.server_port)

    def judged(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Arrived:
        found = _AUTHORIZATION.match(headers.get("authorization", ""))
        if found is None:
            return Arrived(path, headers, body, "", frozenset(), "not signed")
        names = frozenset(found["signed"].split(";"))

        def arrived(refusal: str | None) -> Arrived:
            return Arrived(path, headers, body, found["key"], names, refusal)

        if (found["region"], found["service"]) != (self.region, self.service):
            return arrived("scope")
        if found["key"] not in self.accounts:
            return arrived("unknown key")
        if abs((datetime.strptime(headers["x-amz-date"], SIGV4_TIMESTAMP).replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()) > 300:
            return arrived("date")
        if headers.get("x-amz-content-sha256") != hashlib.sha256(body).hexdigest():
            return arrived("body")
        secret, token = self.accounts[found["key"]]
        if headers.get("x-amz-security-token") != token:
            return arrived("session token")
        needed = {"host", *(name for name in headers if name.startswith("x-amz-"))}
        if not needed <= names:
            return arrived(f"unsigned: {needed - names}")
        return arrived(None if _signature(self, found["key"], secret, method, path, headers, names, body) == found["signature"] else "signature")


def _signature(
    server: FakeBedrock, key: str, secret: str, method: str, path: str, headers: dict[str, str], names: frozenset[str], body: bytes
) -> str:
    """What botocore signs for the same request. Without the token: it is one of the headers already."""
    request = AWSRequest(method=method, url=f"http://{headers['host']}{path}", data=body, headers={n: v for n, v in headers.items() if n in names})
    request.context["timestamp"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials(key, secret), server.service, server.region)
    return str(signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeBedrock

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        arrived = self.server.judged("POST", self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        self.server.requests.append(arrived)
        answer = next(((kind, body) for end, kind, body in self.server.answers if self.path.endswith(end)), None)
        if arrived.refusal is not None:
            self._whole(403, b'{"message":"The security token included in the request is invalid."}')
        elif answer is not None:
            self._whole(200, answer[1], answer[0])
        elif self.path.partition("?")[0].endswith("-stream"):
            self.send_response(200)
            self.send_header("content-type", "application/vnd.amazon.eventstream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in PIECES:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self._whole(200, b'{"ok":true}')

    def _whole(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent."""


@contextmanager
def fake_bedrock(accounts: Mapping[str, tuple[str, str | None]], region: str = "eu-central-1", service: str = "bedrock") -> Iterator[FakeBedrock]:
    server = FakeBedrock(accounts, region, service)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
