"""`extproc check`: exit codes, everything at once with file, line and path, with and without Envoy's own word."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.__main__ import parser_for
from extproc.commands import arguments, check
from extproc.commands.arguments import UsageError, envoy_options, host_port, system_ca_file
from extproc.commands.check import problems_of
from extproc.envoyconfig.binary import EnvoyNotFoundError
from extproc.envoyconfig.options import MIB
from tests.commands.files import REGISTRY, run, write
from tests.envoy_process import envoy_binary

BAD = """\
version: 1
providers:
  openai: {kind: opneai, credential: {env: K}}
targets:
  gpt: {provider: openai, model: gpt-4o, colour: red}
models:
  chat: {targets: [nowhere]}
  empty: {targets: []}
"""


@pytest.fixture
def no_envoy(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(_: str | None) -> Path:
        raise EnvoyNotFoundError("no Envoy here")

    monkeypatch.setattr(check, "find_envoy", find)


@pytest.fixture
def envoy_says(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Envoy's answer, without Envoy."""

    def say(refusal: str | None) -> None:
        monkeypatch.setattr(check, "find_envoy", lambda _: Path("envoy"))
        monkeypatch.setattr(check, "validate_with_envoy", lambda binary, directory: refusal)

    return say


@pytest.mark.usefixtures("no_envoy")
def test_a_good_registry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path)
    code, out, err = run(capsys, "check", "--registry", file)
    assert (code, err) == (0, "")
    assert out == f"{file}: good (7 models, 5 targets, 4 providers); not validated by Envoy itself: no Envoy here\n"


@pytest.mark.usefixtures("no_envoy")
def test_an_envoy_that_was_named_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "check", "--registry", write(tmp_path), "--envoy", "no/envoy")
    assert (code, out) == (1, "")
    assert err == "no Envoy here\n1 problem\n"


@pytest.mark.usefixtures("no_envoy")
def test_everything_that_is_wrong_is_said_at_once_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, BAD)
    sources = tmp_path / "envoy"
    sources.mkdir()
    (sources / "routes.yaml").write_text("stream:\n  retry_policy: {num_retries: 1}\n  retry_policy: {num_retries: 2}\n")
    (sources / "cluster.yml").write_text("{}")
    code, out, err = run(capsys, "check", "--registry", file, "--envoy-dir", sources)
    assert (code, out) == (1, "")
    *problems, last = err.splitlines()
    for place in (
        f"{file}:3: providers.openai.kind:",
        f"{file}:5: targets.gpt.colour:",
        f"{file}:7: models.chat.targets[0]:",
        f"{file}:8: models.empty",
    ):
        assert any(p.startswith(place) for p in problems), place
    assert any(p.startswith(f"{sources / 'routes.yaml'}:3: ") for p in problems)
    assert any(p.startswith(f"{sources / 'cluster.yml'}: ") for p in problems)
    assert last == f"{len(problems)} problems"


@pytest.mark.usefixtures("no_envoy")
def test_problems_of_envoys_blocks_name_lines_of_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = REGISTRY.replace("model: gpt-4o}", "model: gpt-4o,\n    envoy: {connectTimeout: 1s,\n      load_assignment: {}}}")
    file = write(tmp_path, text)
    sources = tmp_path / "envoy"
    sources.mkdir()
    (sources / "routes.yaml").write_text("both:\n  retry_policy:\n    retry_on: 5xx\n")
    code, _, err = run(capsys, "check", "--registry", file, "--envoy-dir", sources)
    assert code == 1
    lines = text.splitlines()
    spelled = 1 + next(i for i, line in enumerate(lines) if "connectTimeout" in line)
    assert f"{file}:{spelled}: targets.gpt.envoy.connectTimeout: write it in lower case" in err
    assert f"{file}:{spelled + 1}: targets.gpt.envoy.load_assignment" in err
    assert f"{sources / 'routes.yaml'}:3: both.retry_policy.retry_on" in err


def test_what_envoy_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str], envoy_says: Callable[[str | None], None]) -> None:
    envoy_says("no such field\nanother: " + "x" * 50_000)
    code, out, err = run(capsys, "check", "--registry", write(tmp_path))
    assert (code, out) == (1, "")
    first, second, last = err.splitlines()
    assert first == "envoy: no such field"
    assert second.startswith("envoy: another: xxx")
    assert len(second) < 1100, "Envoy quotes whole configurations"
    assert last == "2 problems"


def test_what_envoy_accepts(tmp_path: Path, capsys: pytest.CaptureFixture[str], envoy_says: Callable[[str | None], None]) -> None:
    envoy_says(None)
    code, out, err = run(capsys, "check", "--registry", write(tmp_path))
    assert (code, err) == (0, "")
    assert out.endswith("; Envoy accepts the configuration\n")


def test_the_real_envoy_accepts_keys_of_another_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CI has no secrets. Envoy refuses a directory that is not there, but only where it will run must it be."""
    envoy_binary()
    absent, present = tmp_path / "absent", tmp_path / "present"
    present.mkdir()
    text = REGISTRY.replace("{env: OPENAI_KEY_1}", f"{{file: {absent / 'k1'}}}").replace("{env: CLAUDE_KEY}", f"{{file: {present / 'k'}}}")
    file = write(tmp_path, text)
    code, out, err = run(capsys, "check", "--registry", file)
    assert code == 0, err
    assert "Envoy accepts" in out
    assert err == f"{file}: keys are read from {absent}, which this machine does not have; Envoy's must\n"


def test_up_needs_the_directories_of_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    envoy_binary()
    file = write(tmp_path, REGISTRY.replace("{env: OPENAI_KEY_1}", f"{{file: {tmp_path / 'absent' / 'k1'}}}"))
    code, _, err = run(capsys, "up", "--registry", file)
    assert code == 1
    assert f"{file}:3: providers.openai.credentials.k1.file: the directory {tmp_path / 'absent'} does not exist" in err


def test_a_registry_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "check", "--registry", tmp_path / "absent.yaml")
    assert code == 1
    assert err == f"{tmp_path / 'absent.yaml'}: cannot be read: No such file or directory\n1 problem\n"


def test_a_directory_of_sources_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "check", "--registry", write(tmp_path), "--envoy-dir", tmp_path / "absent")
    assert (code, err) == (1, f"{tmp_path / 'absent'}: no such directory\n1 problem\n")


# options


def parsed(tmp_path: Path, *line: str) -> argparse.Namespace:
    return parser_for("check").parse_args(["check", "--registry", str(write(tmp_path)), *line])


def test_options_from_arguments(tmp_path: Path) -> None:
    line = (
        "--listen [::1]:80 --workers 3 --max-body 8 --envoy-heap 512MiB --ca-file certs/ca.pem --access-log /dev/stdout --listen-socket /run/llm.sock"
    )
    options = envoy_options(parsed(tmp_path, *line.split()), tmp_path, tmp_path / "run", {})
    assert (options.address, options.port, options.workers) == ("::1", 80, 3)
    assert (options.max_body_bytes, options.heap_bytes) == (8 * MIB, 512 * MIB)
    assert options.ca_file == str(Path("certs/ca.pem").absolute())
    assert (options.access_log, options.listen_socket) == ("/dev/stdout", "/run/llm.sock")
    assert problems_of(parsed(tmp_path, *line.split()), options) == []


def test_defaults(tmp_path: Path) -> None:
    options = envoy_options(parsed(tmp_path), tmp_path, tmp_path, {})
    assert (options.address, options.port, options.heap_bytes, options.otlp) == ("127.0.0.1", 10000, None, None)
    assert options.ca_file == system_ca_file()


def test_the_systems_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    debian, other = tmp_path / "debian.crt", tmp_path / "other.pem"
    monkeypatch.setattr(arguments, "DEBIAN_CA_FILE", str(debian))
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    assert system_ca_file() == str(debian), "where there is neither, Envoy says so"
    other.write_text("")
    assert system_ca_file() == str(other)
    debian.write_text("")
    assert system_ca_file() == str(debian)


@pytest.mark.usefixtures("no_envoy")
def test_a_heap_that_is_too_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "check", "--registry", write(tmp_path), "--envoy-heap", "100")
    assert code == 1
    assert err.startswith("options: envoy_heap: must be at least")


@pytest.mark.parametrize("text", ["localhost", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", ""])
def test_addresses_that_are_none(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="expected HOST:PORT"):
        host_port(text)
    code, _, err = run(capsys, "check", "--registry", write(tmp_path), "--listen", text)
    assert code == 2
    assert "expected HOST:PORT" in err


def test_addresses() -> None:
    assert host_port("10.0.0.1:80") == ("10.0.0.1", 80)
    assert host_port("[::]:80") == ("::", 80)
    assert host_port(":80") == ("127.0.0.1", 80)


@pytest.mark.parametrize("line", [["--envoy-heap", "0"], ["--envoy-heap", "1GB"], ["--max-body", "0"], ["--workers", "65"]])
def test_sizes_that_are_none(line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(capsys, "check", "--registry", write(tmp_path), *line)
    assert ended.value.code == 2


CLOUDS = """\
version: 1
providers:
  azure: {{kind: azure, url: "https://acme.openai.azure.com", api_version: "2024-10-21", credential: {{entra: workload-identity}}}}
  vertex: {{kind: vertex, project: acme-prod, location: global, credentials: {{a: {{google: default}}, b: {{google: {{file: /s/b.json}}}}}}}}
  bedrock: {{kind: bedrock, region: eu-central-1, credentials: {{a: {{aws: default}}, b: {{aws: {{file: {aws}, profile: prod}}}}}}}}
targets:
  gpt: {{provider: azure, model: gpt-4o}}
  flash: {{provider: vertex, model: gemini-2.5-flash}}
  nova: {{provider: bedrock, model: "amazon.nova-pro-v1:0"}}
models:
  chat: {{targets: [gpt, flash, nova]}}
passthrough:
  "/v1/files/**": {{target: gpt}}
"""


def test_clouds_pass_envoys_own_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a machine that has neither the keys of AWS nor a directory of tokens."""
    envoy_binary()
    file = write(tmp_path, CLOUDS.format(aws="/nowhere/credentials"))
    code, out, err = run(capsys, "check", "--registry", file, "--token-dir", "/nowhere/tokens")
    assert code == 0, err
    assert out == f"{file}: good (1 models, 3 targets, 3 providers); Envoy accepts the configuration\n"
    assert err.splitlines() == [
        f"{file}: `extproc tokens` must run beside Envoy, for azure, vertex@a, vertex@b",
        f"{file}: keys are read from /nowhere, which this machine does not have; Envoy's must",
        f"{file}: keys are read from /nowhere/tokens, which this machine does not have; Envoy's must",
    ]


@pytest.mark.parametrize("name", ["registry.example.yaml", "private-provider.example.yaml"])
def test_the_examples_pass(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Envoy wants to read the private authority's file; any will do."""
    envoy_binary()
    example = Path(__file__).parents[2] / "envoy" / name
    file = write(tmp_path, example.read_text().replace("/etc/llm/corp-ca.pem", system_ca_file()))
    code, out, err = run(capsys, "check", "--registry", file)
    assert code == 0, err
    assert "Envoy accepts the configuration" in out


@pytest.mark.usefixtures("envoy_says")
def test_where_envoy_runs_the_keys_of_aws_are_there_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    aws = tmp_path / "aws-credentials"
    file = write(tmp_path, CLOUDS.format(aws=aws))
    code, _, err = run(capsys, "up", "--registry", file)
    assert code == 1
    line = f"{file}:5: providers.bedrock.credentials.b.aws.file: the file {aws} does not exist; Envoy does not notice one that comes later"
    assert err.splitlines() == [line, "1 problem"]
