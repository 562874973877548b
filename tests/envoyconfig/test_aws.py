"""Requests that the real Envoy signs for AWS, checked by botocore's signer on the other side: names with `:` and `/`, what an earlier attempt left
behind, keys that change, and keys that are not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import pytest

from extproc.envoyconfig import wire
from extproc.registry.types import AwsSource, Credential, Target
from tests.envoy_process import RunningEnvoy, envoy_binary, eventually, running_envoy, short_directory
from tests.envoyconfig.aws import PIECES, FakeBedrock, fake_bedrock
from tests.envoyconfig.recorder import Recorder, recording
from tests.envoyconfig.registries import provider, registry, target
from tests.envoyconfig.upstream import Upstream, upstream

HAIKU = "/model/anthropic.claude-3-haiku-20240307-v1%3A0"
ARN = "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Aapplication-inference-profile%2Fa1b2c3"
ACCOUNTS = {
    "KEYONE": ("secret one", None),
    "KEYTWO": ("secret/two+with=signs", "a/session+token=="),
    "KEYENV": ("secret of the environment", "token"),
}
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "KEYENV",
    "AWS_SECRET_ACCESS_KEY": ACCOUNTS["KEYENV"][0],
    "AWS_SESSION_TOKEN": "token",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def profile(key: str, name: str = "default") -> str:
    secret, token = ACCOUNTS[key]
    lines = [f"[{name}]", f"aws_access_key_id = {key}", f"aws_secret_access_key = {secret}"]
    return "\n".join([*lines, *([f"aws_session_token = {token}"] if token else []), ""])


def signed_target(name: str, at: FakeBedrock, source: AwsSource) -> Target:
    return target(name, provider(f"p-{name}", "bedrock", at.url, (Credential(aws=source),), region="eu-central-1"))


@dataclass
class Setting:
    envoy: RunningEnvoy
    recorder: Recorder
    aws: FakeBedrock
    failing: Upstream
    files: Path

    def post(self, chain: list[str], path: str = f"{HAIKU}/converse", *, whole: bool = True, **more: Any) -> httpx.Response:
        self.recorder.seen.clear()
        self.aws.requests.clear()
        self.failing.requests.clear()
        self.recorder.chain, self.recorder.path, self.recorder.whole = chain, path, whole
        return httpx.post(f"{self.envoy.url}/v1/chat/completions", json={"text": "grüße"}, timeout=20, **more)


@pytest.fixture(scope="module")
def setting() -> Iterator[Setting]:
    envoy_binary()
    with short_directory() as root, fake_bedrock(ACCOUNTS) as aws, upstream(503) as failing:
        files = root / "keys"
        files.mkdir()
        (files / "a").write_text("key-of-a")
        (files / "credentials").write_text(profile("KEYONE") + profile("KEYTWO", "prod"))
        named = str(files / "credentials")
        targets = [
            target("failing", provider("p-failing", url=failing.url, keys=(Credential(file=str(files / "a")),))),
            signed_target("file", aws, AwsSource(named)),
            signed_target("prod", aws, AwsSource(named, "prod")),
            signed_target("no-profile", aws, AwsSource(named, "staging")),
            signed_target("no-file", aws, AwsSource(str(files / "not-there"))),
            signed_target("default", aws, AwsSource()),
            target("key", provider("p-key", "bedrock", aws.url, (Credential(file=str(files / "a")),), region="eu-central-1")),
        ]
        with (
            recording(root, Recorder(retry=frozenset({403, 503}))) as recorder,
            running_envoy(registry(*targets), directory=root, env=ENVIRONMENT) as envoy,
        ):
            yield Setting(envoy, recorder, aws, failing, files)


@pytest.mark.parametrize(
    "path",
    [
        f"{HAIKU}/converse",
        HAIKU.replace("%3A", ":") + "/converse",
        f"{ARN}/converse",
        ARN.replace("%3A", ":") + "/invoke",
        "/model/a.b_c-d~e/converse",
        "/model/x/converse?b=2&a=1&beta=true",
    ],
)
def test_the_path_is_signed_as_aws_reads_it(setting: Setting, path: str) -> None:
    """AWS encodes the path that arrives once more before it signs: `%3A` becomes `%253A`, and `:` becomes `%3A`."""
    assert setting.post(["file"], path).status_code == 200
    [arrived] = setting.aws.requests
    assert (arrived.path, arrived.key, arrived.refusal) == (path, "KEYONE", None)
    assert json.loads(arrived.body) == {"text": "grüße"}


@pytest.mark.parametrize("path", [f"{HAIKU}/converse-stream", f"{ARN}/converse-stream", f"{HAIKU}/invoke-with-response-stream"])
def test_a_stream(setting: Setting, path: str) -> None:
    answer = setting.post(["file"], path, whole=False)
    assert (answer.status_code, answer.content) == (200, b"".join(PIECES))
    assert setting.aws.requests[0].refusal is None


def test_a_session_token_and_a_profile(setting: Setting) -> None:
    assert setting.post(["prod"]).status_code == 200
    [arrived] = setting.aws.requests
    assert arrived.key == "KEYTWO"
    assert arrived.signed == {"content-type", "host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"}


def test_the_default_chain(setting: Setting) -> None:
    assert setting.post(["default"]).status_code == 200
    assert setting.aws.requests[0].key == "KEYENV"


def test_a_key_of_bedrock_in_place_of_a_signature(setting: Setting) -> None:
    assert setting.post(["key"]).status_code == 403
    assert setting.aws.requests[0].headers["authorization"] == "Bearer key-of-a"


@pytest.mark.parametrize("path", [f"{HAIKU}/converse", f"{ARN}/converse-stream"])
def test_after_an_attempt_somewhere_else(setting: Setting, path: str) -> None:
    """What that attempt and the application left in the headers is neither signed nor sent."""
    theirs = {
        "authorization": "AWS4-HMAC-SHA256 Credential=client",
        "x-amz-date": "20200101T000000Z",
        "x-amz-security-token": "of-the-client",
        "x-amz-content-sha256": "0" * 64,
        "x-amz-anything": "else",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-forwarded-for": "10.0.0.1",
    }
    assert setting.post(["failing", "file"], path, headers=theirs).status_code == 200
    [arrived] = setting.aws.requests
    assert (arrived.refusal, arrived.key) == (None, "KEYONE")
    assert not {"x-amz-anything", "x-amz-security-token", "traceparent", "x-forwarded-for"} & set(arrived.headers)
    [(_, at_failing, _)] = setting.failing.requests
    assert at_failing["authorization"] == "Bearer key-of-a"
    text = repr(setting.recorder.seen)
    assert "key-of-a" not in text
    assert "of-the-client" not in text
    assert "AWS4" not in text


def test_what_was_signed_does_not_reach_the_next_provider_nor_the_server(setting: Setting) -> None:
    setting.aws.accounts.pop("KEYONE")
    try:
        assert setting.post(["file", "failing"]).status_code == 503
    finally:
        setting.aws.accounts["KEYONE"] = ACCOUNTS["KEYONE"]
    [(_, after, _)] = setting.failing.requests
    assert after["authorization"] == "Bearer key-of-a"
    assert not [name for name in after if name.startswith("x-amz-")]
    assert not [name for seen in setting.recorder.headers("attempt") for name in seen if name.startswith("x-amz-") or name == "authorization"]


def test_two_accounts_in_one_chain(setting: Setting) -> None:
    setting.aws.accounts.pop("KEYTWO")
    try:
        assert setting.post(["prod", "file"]).status_code == 200
    finally:
        setting.aws.accounts["KEYTWO"] = ACCOUNTS["KEYTWO"]
    assert [(arrived.key, arrived.refusal) for arrived in setting.aws.requests] == [("KEYTWO", "unknown key"), ("KEYONE", None)]
    assert "x-amz-security-token" not in setting.aws.requests[1].headers


@pytest.mark.parametrize("name", ["no-profile", "no-file"])
def test_without_keys_the_request_goes_out_unsigned_and_the_next_target_answers(setting: Setting, name: str) -> None:
    assert setting.post([name]).status_code == 403
    assert setting.aws.requests[0].refusal == "not signed"
    assert setting.post([name, "file"], headers={"authorization": "Bearer of-the-client"}).status_code == 200
    assert [arrived.refusal for arrived in setting.aws.requests] == ["not signed", None]
    assert "authorization" not in setting.aws.requests[0].headers


def test_keys_that_change(setting: Setting) -> None:
    """The last test of this Envoy: it changes the file."""

    def put(text: str) -> None:
        (setting.files / "new").write_text(text)
        (setting.files / "new").rename(setting.files / "credentials")

    def signed_by(name: str) -> str:
        setting.post([name])
        return setting.aws.requests[0].key

    put(profile("KEYTWO") + profile("KEYENV", "prod") + profile("KEYONE", "staging"))
    for name, key in (("file", "KEYTWO"), ("prod", "KEYENV"), ("no-profile", "KEYONE")):
        eventually(lambda name=name, key=key: signed_by(name) == key, f"{name} is signed by {key}")  # type: ignore[misc]
        assert setting.aws.requests[0].refusal is None


class Metadata(BaseHTTPRequestHandler):
    """The credentials of a container, once `answer` is set."""

    answer: Event
    asked: Event

    def do_GET(self) -> None:
        self.asked.set()
        if not self.answer.wait(20):
            return
        content = {"AccessKeyId": "KEYENV", "SecretAccessKey": ACCOUNTS["KEYENV"][0], "Token": "token", "Expiration": "2040-01-01T00:00:00Z"}
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent."""


def test_a_silent_metadata_server_holds_nobody_else_up_and_is_not_final() -> None:
    """Where a role's keys come over the network: Envoy starts, waits with the requests to be signed (four seconds), and sends them
    unsigned in the end."""
    envoy_binary()
    handler = type("Handler", (Metadata,), {"answer": Event(), "asked": Event()})
    metadata = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    metadata.daemon_threads = True
    serving = Thread(target=metadata.serve_forever, args=(0.02,), daemon=True)
    serving.start()
    where = f"http://127.0.0.1:{metadata.server_port}/credentials"
    environment = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": where, "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}
    try:
        with short_directory() as root, fake_bedrock(ACCOUNTS) as aws, upstream(200) as other:
            targets = [signed_target("role", aws, AwsSource()), target("other", provider("p-other", url=other.url))]
            with (
                recording(root, Recorder(retry=frozenset({403}))) as recorder,
                running_envoy(registry(*targets), directory=root, env=environment) as envoy,
            ):

                def status(*chain: str) -> int:
                    recorder.chain, recorder.path = list(chain), f"{HAIKU}/converse"
                    return httpx.post(f"{envoy.url}/v1/chat/completions", json={}, timeout=20).status_code

                assert handler.asked.wait(20)
                assert status("other") == 200
                assert status("role", "other") == 200
                assert [arrived.refusal for arrived in aws.requests] == ["not signed"]
                assert len(other.requests) == 2
    finally:
        handler.answer.set()
        metadata.shutdown()
        metadata.server_close()
        serving.join()


def test_a_signature_is_named_by_what_it_covers_and_covers_the_body() -> None:
    """The list of what is signed keeps what is stripped behind the signer out of it."""
    from extproc.envoyconfig.authorisation import filter_for
    from extproc.envoyconfig.options import Options

    of = provider("p", "bedrock", region="eu-west-1")
    made = filter_for(of, Credential(aws=AwsSource()), "secret", "/out/sds/x.yaml", Options("/out", "/run"))
    assert made is not None
    config = made["typed_config"]
    assert config[wire.TYPE] == wire.AWS_REQUEST_SIGNING
    assert (config["service_name"], config["region"]) == ("bedrock", "eu-west-1")
    assert not config.get("use_unsigned_payload")
    assert "credential_provider" not in config
