"""https providers in the real Envoy: each attempt greets its own provider by name, and a provider must prove its name before it gets a key."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from extproc.registry.types import Credential
from tests.envoy_process import envoy_binary, running_envoy, short_directory
from tests.envoyconfig.recorder import Recorder, recording
from tests.envoyconfig.registries import provider, registry, target
from tests.envoyconfig.upstream import Upstream, upstream


def certificate(root: Path, name: str, alternative: str) -> Path:
    """A certificate for `alternative` (DNS:… or IP:…), signed by the authority of `root`."""
    key, request, signed = (root / f"{name}.{suffix}" for suffix in ("key", "csr", "pem"))
    _openssl("req", "-new", *NEW_KEY, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
    extensions = root / f"{name}.ext"
    extensions.write_text(f"subjectAltName={alternative}\n")
    by = ("-CA", str(root / "ca.pem"), "-CAkey", str(root / "ca.key"), "-CAcreateserial")
    _openssl("x509", "-req", "-in", str(request), *by, "-days", "2", "-extfile", str(extensions), "-out", str(signed))
    signed.write_text(signed.read_text() + key.read_text())
    return signed


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@contextmanager
def tls_upstream(status: int, pem: Path, greeted: list[str | None]) -> Iterator[Upstream]:
    """An upstream behind TLS that remembers by which name it was greeted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.set_alpn_protocols(["http/1.1"])

    def remember(_socket: object, name: str | None, _context: object) -> None:
        greeted.append(name)

    context.sni_callback = remember
    with upstream(status, context=context) as server:
        yield server


def test_names_of_providers() -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make certificates")
    envoy_binary()
    a_greeted: list[str | None] = []
    b_greeted: list[str | None] = []
    with short_directory() as root:
        _openssl("req", "-x509", *NEW_KEY, "-days", "2", "-subj", "/CN=authority", "-keyout", str(root / "ca.key"), "-out", str(root / "ca.pem"))
        one, two, by_address = (
            certificate(root, name, alternative)
            for name, alternative in (("one", "DNS:one.localhost"), ("two", "DNS:two.localhost"), ("address", "IP:127.0.0.1"))
        )
        (root / "key").write_text("secret-key")
        keys = (Credential(file=str(root / "key")),)
        with (
            tls_upstream(503, one, a_greeted) as a,
            tls_upstream(200, two, b_greeted) as b,
            tls_upstream(200, by_address, []) as c,
        ):
            targets = [
                target("one", provider("p1", url=("https", "one.localhost", a.server_port), keys=keys)),
                target("two", provider("p2", url=("https", "two.localhost", b.server_port), keys=keys)),
                target("address", provider("p3", url=("https", "127.0.0.1", c.server_port), keys=keys)),
                # asks for a name that the certificate behind it does not have
                target("impostor", provider("p4", url=("https", "one.localhost", b.server_port), keys=keys)),
                target("impostor-address", provider("p5", url=("https", "127.0.0.1", b.server_port), keys=keys)),
            ]
            with (
                recording(root, Recorder(retry=frozenset({503}))) as recorder,
                running_envoy(registry(*targets), directory=root, ca_file=str(root / "ca.pem")) as envoy,
            ):

                def status(*chain: str) -> int:
                    recorder.chain = list(chain)
                    return httpx.post(f"{envoy.url}/v1/chat/completions", json={}, timeout=20).status_code

                assert status("one", "two") == 200
                assert (a_greeted, b_greeted) == (["one.localhost"], ["two.localhost"])
                assert status("address") == 200
                assert c.requests[0][1]["authorization"] == "Bearer secret-key"
                served = len(b.requests)
                assert status("impostor") == 503
                assert status("impostor-address") == 503
                assert len(b.requests) == served
