"""`extproc tokens` as a process, with the real libraries of Google and Microsoft against issuers on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from extproc.__main__ import main
from extproc.tokens.files import STATE, State, read_states, write_states
from tests.commands.processes import environment, extproc
from tests.envoy_process import eventually
from tests.envoyconfig.test_tls import NEW_KEY, _openssl, certificate
from tests.tokens.issuer import Issuer, issuing

TENANT = "contoso.onmicrosoft.com"
CLIENT = "0c7d0b7e-4e7c-4b0a-9d3a-2f1f2b3c4d5e"
OTHER_CLIENT = "11111111-2222-3333-4444-555555555555"
SECRET = "a-client-secret-Qm8x"


@dataclass
class Place:
    root: Path
    plain: Issuer
    secure: Issuer
    env: dict[str, str]

    @property
    def tokens(self) -> Path:
        return self.root / "tokens"

    def registry(self, providers: str) -> str:
        path = self.root / "registry.yaml"
        targets = "targets: {t: {provider: plain, model: m}}\nmodels: {chat: {targets: [t]}}\n"
        plain = '  plain: {kind: openai-compatible, url: "http://127.0.0.1:1"}\n'
        (self.root / "new.yaml").write_text(f"version: 1\nproviders:\n{plain}{providers}\n{targets}")
        (self.root / "new.yaml").rename(path)
        return str(path)

    def arguments(self, providers: str, *more: str) -> list[str]:
        return ["tokens", "--registry", self.registry(providers), "--dir", str(self.tokens), *more]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An environment in which every default of both libraries leads to this machine."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make certificates")
    subject = ("-subj", "/CN=authority")
    _openssl("req", "-x509", *NEW_KEY, "-days", "2", *subject, "-keyout", str(tmp_path / "ca.key"), "-out", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path, "login", "IP:127.0.0.1"))
    (tmp_path / "home").mkdir()
    (tmp_path / "federated").write_text("a-federated-token")
    with issuing() as plain, issuing(context) as secure:
        mine = {k: v for k, v in environment().items() if not k.startswith(("AZURE_", "GOOGLE_", "GCE_", "CLOUDSDK_", "IDENTITY_", "MSI_"))}
        env = {
            **mine,
            "HOME": str(tmp_path / "home"),
            "REQUESTS_CA_BUNDLE": str(tmp_path / "ca.pem"),
            "GCE_METADATA_HOST": plain.address,
            "GCE_METADATA_IP": plain.address,
            "AZURE_AUTHORITY_HOST": f"https://{secure.address}",
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": OTHER_CLIENT,
            "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "federated"),
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://{plain.address}",
            "THE_SECRET": SECRET,
        }
        yield Place(tmp_path, plain, secure, env)


def service_account(place: Place) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    path = place.root / "service-account.json"
    content = {
        "type": "service_account",
        "project_id": "acme-prod",
        "client_email": "sa@acme-prod.iam.gserviceaccount.com",
        "private_key_id": "1",
        "private_key": pem,
        "token_uri": f"http://{place.plain.address}/service-account/oauth",
    }
    path.write_text(json.dumps(content))
    return path


def federation(place: Place) -> Path:
    """Workload identity of another platform: a file with its token, changed for one of Google's."""
    path = place.root / "federation.json"
    content = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"http://{place.plain.address}/sts/exchange",
        "credential_source": {"file": str(place.root / "federated")},
    }
    path.write_text(json.dumps(content))
    return path


def run(place: Place, *arguments: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", "extproc", *arguments], env=place.env, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


AZURE = 'kind: azure-openai, url: "https://acme.openai.azure.com"'
VERTEX = "kind: vertex, project: acme-prod, location: global"
GOOGLE = f"  metadata: {{{VERTEX}, credential: {{google: default}}}}\n"


def test_every_issuer_and_way(place: Place) -> None:
    (place.root / "secret").write_text(SECRET + "\n")
    providers = GOOGLE + (
        f"  also-metadata: {{{VERTEX}, credential: {{google: default}}}}\n"
        f"  pool: {{{VERTEX}, credentials: {{a: {{google: {{file: {service_account(place)}}}}}, b: {{google: {{file: {federation(place)}}}}}}}}}\n"
        f"  workload: {{{AZURE}, credential: {{entra: workload-identity}}}}\n"
        f"  app: {{{AZURE}, credential: {{entra: {{tenant: {TENANT}, client: {CLIENT}, env: THE_SECRET}}}}}}\n"
        f"  app-file: {{{AZURE}, credential: {{entra: {{tenant: other.example, client: {CLIENT}, file: {place.root}/secret}}}}}}\n"
    )
    before = time.time()
    code, text = run(place, *place.arguments(providers, "--once"))
    assert code == 0, text
    names = {"metadata", "also-metadata", "pool@a", "pool@b", "workload", "app", "app-file"}
    found = {path.name: path.read_text() for path in place.tokens.iterdir() if path.name != STATE}
    assert set(found) == names
    issued = place.plain.issued + place.secure.issued
    assert set(found.values()) <= set(issued)
    # two providers that ask the same of the same issuer share a token
    assert found["metadata"] == found["also-metadata"]
    assert len(set(found.values())) == len(names) - 1
    # what each was asked
    [sa] = place.plain.about("/service-account/oauth")
    assert sa["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    [sts] = place.plain.about("/sts/exchange")
    assert (sts["subject_token"], sts["scope"]) == ("a-federated-token", "https://www.googleapis.com/auth/cloud-platform")
    applications = place.secure.about(f"/{TENANT}/oauth2/v2.0/token") + place.secure.about("/other.example/oauth2/v2.0/token")
    assert {(form["client_id"], form.get("client_secret"), form.get("client_assertion")) for form in applications} == {
        (OTHER_CLIENT, None, "a-federated-token"),
        (CLIENT, SECRET, None),
    }
    assert {form["scope"].split()[0] for form in applications} == {"https://cognitiveservices.azure.com/.default"}
    # files
    for path in place.tokens.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert place.tokens.stat().st_mode & 0o777 == 0o700
    states = read_states(place.tokens)
    assert set(states) == names
    assert all(before + 3000 < state.expires_at < time.time() + 3700 and not state.error for state in states.values())
    # and nothing of it is said
    said = text + (place.tokens / STATE).read_text()
    assert not [secret for secret in (*issued, SECRET, "a-federated-token") if secret in said]


def on_a_machine(place: Place) -> None:
    """Not in a cluster: with the variables of workload identity, that is what a managed identity is taken for."""
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"):
        del place.env[name]


def test_the_identity_of_a_machine(place: Place) -> None:
    on_a_machine(place)
    providers = (
        f"  own: {{{AZURE}, credential: {{entra: {{managed_identity: {CLIENT}}}}}}}\n"
        f"  only: {{{AZURE}, credential: {{entra: managed-identity}}}}\n"
        f"  found: {{{AZURE}, credential: {{entra: default}}}}\n"
    )
    code, text = run(place, *place.arguments(providers, "--once"))
    assert code == 0, text
    asked = place.plain.about("/metadata/identity/oauth2/token")
    assert sorted(form.get("client_id", "") for form in asked if "resource" in form) == ["", "", CLIENT]
    assert {form["resource"] for form in asked if "resource" in form} == {"https://cognitiveservices.azure.com"}


def test_one_failure_is_no_other_providers(place: Place) -> None:
    """And what the issuer's refusal repeats of the secret, or holds of a token, is not said."""
    place.secure.refuse.add(f"/{TENANT}/oauth2/v2.0/token")
    providers = (
        GOOGLE
        + f"  app: {{{AZURE}, credential: {{entra: {{tenant: {TENANT}, client: {CLIENT}, env: THE_SECRET}}}}}}\n"
        + f"  no-file: {{{VERTEX}, credential: {{google: {{file: {place.root}/not-there.json}}}}}}\n"
        + f"  no-secret: {{{AZURE}, credential: {{entra: {{tenant: {TENANT}, client: {CLIENT}, env: NOT_SET}}}}}}\n"
    )
    code, text = run(place, *place.arguments(providers, "--once"))
    assert code == 1
    assert (place.tokens / "metadata").read_text() in place.plain.issued
    assert sorted(path.name for path in place.tokens.iterdir()) == [STATE, "metadata"]
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    why = {line["files"][0]: line["why"] for line in lines if line["level"] == "warn"}
    assert set(why) == {"app", "no-file", "no-secret"}
    assert "invalid_grant" in why["app"] or "refused" in why["app"]
    assert "was not found" in why["no-file"]
    assert why["no-secret"] == "IssuerError: the environment variable NOT_SET is not set"
    assert not [token for token in place.secure.issued + place.plain.issued if token in text + (place.tokens / STATE).read_text()]
    assert {name: bool(state.error) for name, state in read_states(place.tokens).items()} == {
        "metadata": False,
        "app": True,
        "no-file": True,
        "no-secret": True,
    }


def test_it_follows_the_registry_and_stops(place: Place) -> None:
    on_a_machine(place)
    with extproc(*place.arguments(GOOGLE), env=place.env) as tokens:
        tokens.until('"message":"access token"')
        first = (place.tokens / "metadata").read_text()
        # a mistake stops nothing
        place.registry("  metadata: {kind: vortex}\n")
        tokens.until("the changed registry is refused")
        assert (place.tokens / "metadata").read_text() == first
        place.registry(GOOGLE + f"  machine: {{{AZURE}, credential: {{entra: managed-identity}}}}\n")
        tokens.until("registry read again")
        eventually((place.tokens / "machine").is_file, "the new provider has a token")
        # which did not need another one for the old
        assert (place.tokens / "metadata").read_text() == first
        place.registry(f"  machine: {{{AZURE}, credential: {{entra: managed-identity}}}}\n")
        eventually(lambda: not (place.tokens / "metadata").exists(), "the token that nobody needs is gone")
        tokens.signal(signal.SIGTERM)
        assert tokens.end() == 0
        assert "Traceback" not in tokens.text
        assert not [token for token in place.plain.issued if token in tokens.text]
    assert (place.tokens / "machine").is_file()


def test_nothing_to_do_is_no_mistake(place: Place) -> None:
    assert run(place, *place.arguments("", "--once"))[0] == 0
    with extproc(*place.arguments(""), env=place.env) as tokens:
        tokens.until("keeping access tokens fresh")
        tokens.signal(signal.SIGTERM)
        assert tokens.end() == 0
    assert place.plain.asked == []


def test_a_probe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = tmp_path / "registry.yaml"
    vertex = f"{{{VERTEX}, credential: {{google: default}}}}"
    registry.write_text(
        f"version: 1\nproviders: {{v: {vertex}}}\ntargets: {{t: {{provider: v, model: gemini-2.5-pro}}}}\nmodels: {{chat: {{targets: [t]}}}}\n"
    )
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    check = ["tokens", "--registry", str(registry), "--dir", str(tokens), "--check"]

    def probe() -> tuple[int, str]:
        return main(check), capsys.readouterr().err

    assert probe() == (1, "v: no token that is still good\n")
    write_states(tokens, {"v": State(time.time() + 60, time.time())})
    assert probe()[0] == 1
    (tokens / "v").write_text("x")
    assert probe() == (0, "")
    # a failed renewal is none of the probe's business while the token is good
    write_states(tokens, {"v": State(time.time() + 60, time.time(), "IssuerError: busy")})
    assert probe() == (0, "")
    write_states(tokens, {"v": State(time.time() - 1, time.time(), "IssuerError: busy")})
    assert probe() == (1, "v: IssuerError: busy\n")


def test_without_the_libraries(place: Place) -> None:
    """The message says what to install; nothing is imported before it is needed."""
    hide = (
        "import sys, importlib.util as u\n"
        "real = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name in ('google.auth', 'azure.identity') else real(name, *more)\n"
        "from extproc.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = place.arguments(GOOGLE, "--once")
    done = subprocess.run([sys.executable, "-c", hide, *arguments], env=place.env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == "extproc tokens: access tokens of google need google-auth[requests]: pip install 'llm-extproc[tokens]'\n"


@pytest.mark.parametrize("module", ["extproc.app", "extproc.commands.serve"])
def test_the_server_knows_nothing_of_tokens(module: str) -> None:
    """Neither our code nor the libraries that fetch them are in the server's process."""
    program = f"import sys, {module}; print([m for m in sys.modules if m.split('.')[0] in ('google', 'azure', 'msal') and 'protobuf' not in m]); "
    program += "print([m for m in sys.modules if m.startswith('extproc.tokens')])"
    done = subprocess.run([sys.executable, "-c", program], env=dict(os.environ), capture_output=True, text=True, timeout=60, check=True)
    theirs, ours = done.stdout.splitlines()
    assert set(eval(theirs)) <= {"google", "google._upb", "google._upb._message", "google.rpc", "google.rpc.status_pb2"}
    assert ours == "[]"
