"""`extproc explain`: says what the stages do, shows what is sent, and refuses what the server refuses."""

from __future__ import annotations

import io
import json
import random
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.commands.arguments import UsageError
from extproc.commands.explain import explain
from extproc.commands.fitted import fitted
from extproc.commands.guess import guess_path
from extproc.core.exchange import Continue
from extproc.registry.load import load_registry
from extproc.registry.types import Registry
from tests.commands.files import run, write
from tests.stages.world import Journey, World, of_type, request_body

HELLO = [{"role": "user", "content": "hello"}]
GOLDEN = Path(__file__).parents[1] / "golden" / "requests"
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path)


@pytest.fixture
def registry(file: Path) -> Registry:
    return load_registry(file)


def chat(model: str = "chat", **members: Any) -> bytes:
    return orjson.dumps({"model": model, "messages": HELLO, **members})


def explained(registry: Registry, raw: bytes, path: str | None = None, seed: int = 1, **headers: str) -> dict[str, Any]:
    report = explain(registry, raw, path, {name.replace("_", "-"): value for name, value in headers.items()}, seed)
    parsed: dict[str, Any] = orjson.loads(orjson.dumps(report))
    return parsed


# the same as the stages

BODIES: list[tuple[str, bytes, dict[str, str]]] = [
    ("/v1/chat/completions", chat(), {}),
    ("/v1/chat/completions?beta=1", chat(stream=True, temperature=0.2, logprobs=True, tools=[TOOL]), {"user_agent": "an SDK", "x_secret": "1"}),
    (
        "/v1/chat/completions",
        b'{ "model" : "chat",\n "messages":[{"role":"user","content":"\\u00fc"}], "unheard_of": 123456789012345678901234567890 }',
        {},
    ),
    ("/v1/messages", chat(max_tokens=10, system="be brief", top_k=3), {"anthropic_version": "2023-06-01", "anthropic_beta": "files-api-2025-04-14"}),
    ("/v1/messages?beta=true", chat(max_tokens=10, stream=True, metadata={"user_id": "u"}), {"anthropic_beta": "a,b"}),
    ("/v1/chat/completions", chat("gpt-4o-mini", max_completion_tokens=7), {}),
]


@pytest.mark.parametrize(("path", "raw", "headers"), BODIES)
def test_it_shows_what_the_stages_send(registry: Registry, path: str, raw: bytes, headers: dict[str, str]) -> None:
    report = explain(registry, raw, path, {name.replace("_", "-"): value for name, value in headers.items()}, 1)
    world = World(registry)
    world.services.random = random.Random(1)
    journey = Journey(world)
    journey.route(raw, path, **headers)
    assert report["chain"] == journey.chain
    for shown in report["attempts"]:
        attempt = world.attempt()
        journey.take(attempt.handle(journey.attempt_headers(shown["attempt"])))
        answer = of_type(attempt.handle(request_body(raw)), Continue)
        sent = dict(answer.set)
        target = registry.cluster_target(shown["cluster"])
        assert target is not None
        assert shown["url"] == f"{target.provider.scheme}://{sent.pop(':authority')}{sent.pop(':path')}"
        body = raw if answer.body is None else answer.body
        assert orjson.dumps(shown["body"]) == body, "byte for byte"
        assert int(sent.pop("content-length")) == len(body)
        credential = target.provider.kind.auth_header
        assert {n: v for n, v in shown["headers"].items() if n != credential} == sent


# what it says


def test_candidates_chain_and_attempts(registry: Registry) -> None:
    report = explained(registry, chat())
    assert report["candidates"] == ["gpt@k1", "gpt@k2", "sonnet", "flash", "llama"]
    assert report["chain"] == ["gpt@k1", "sonnet", "flash", "llama", "gpt@k2"]
    assert [a["cluster"] for a in report["attempts"]] == ["gpt@k1", "sonnet", "flash", "llama"]
    assert [a["pair"].partition(" -> ")[2] for a in report["attempts"]] == ["openai_chat", "anthropic_messages", "gemini", "openai_chat"]
    assert (report["model"], report["asked"], report["stream"], report["strict"]) == ("chat", "chat", False, False)
    assert report["attempts"][2]["url"] == "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent"
    assert report["attempts"][3]["url"] == "http://127.0.0.1:8000/base/v1/chat/completions"


def test_no_more_attempts_than_are_allowed(registry: Registry) -> None:
    report = explained(registry, chat("short"))
    assert [a["cluster"] for a in report["attempts"]] == ["gpt@k1", "sonnet"]
    assert report["attempts_at_most"] == 2


def test_exclusions_have_reasons(registry: Registry) -> None:
    report = explained(registry, chat(messages=IMAGE))
    assert report["needs"] == ["vision"]
    (excluded,) = report["excluded"]
    assert (excluded["cluster"], excluded["code"]) == ("llama", "lacks:vision")
    assert "vision" in excluded["why"]
    assert "llama" not in report["chain"]


def test_a_strict_model_leaves_out_what_would_lose_something(registry: Registry) -> None:
    report = explained(registry, chat("careful", logprobs=True))
    assert report["chain"] == ["gpt@k1", "gpt@k2"]
    (excluded,) = report["excluded"]
    assert (excluded["cluster"], excluded["code"]) == ("sonnet", "strict")
    assert "dropped:logprobs" in excluded["why"]
    assert [a["cluster"] for a in report["attempts"]] == ["gpt@k1", "gpt@k2"]


def test_losses_are_told(registry: Registry) -> None:
    lossy = next(a for a in explained(registry, chat(logprobs=True))["attempts"] if a["cluster"] == "sonnet")
    assert "dropped:logprobs" in [loss["code"] for loss in lossy["losses"]]


def test_keys_are_not_known_and_not_shown(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_KEY", "the-key-itself")
    report = explained(registry, chat(), authorization="Bearer the client's", x_api_key="the client's")
    shown = {a["cluster"]: a["headers"] for a in report["attempts"]}
    assert shown["gpt@k1"]["authorization"] == "Bearer <the key in OPENAI_KEY_1, injected by Envoy>"
    assert shown["sonnet"]["x-api-key"] == "<the key in CLAUDE_KEY, injected by Envoy>"
    assert shown["flash"]["x-goog-api-key"] == "<the key in GOOGLE_KEY, injected by Envoy>"
    assert "authorization" not in shown["llama"], "this provider gets no key"
    assert "the-key-itself" not in str(report)
    assert "the client's" not in str(report)


def test_a_clients_beta_and_the_operators_add_up(registry: Registry) -> None:
    report = explained(registry, chat(max_tokens=5), "/v1/messages", anthropic_beta="files-api-2025-04-14")
    shown = {a["cluster"]: a["headers"] for a in report["attempts"]}
    assert shown["sonnet"]["anthropic-beta"] == "files-api-2025-04-14,context-1m-2025-08-07"
    assert "anthropic-beta" not in shown["gpt@k1"]


def test_a_seed_repeats_a_draw_and_others_draw_otherwise(registry: Registry) -> None:
    first = {seed: explained(registry, chat("canary"), seed=seed)["chain"] for seed in range(8)}
    again = {seed: explained(registry, chat("canary"), seed=seed)["chain"] for seed in range(8)}
    assert first == again
    assert {chain[0].partition("@")[0] for chain in first.values()} == {"gpt", "sonnet"}


def test_a_wildcard_target_gets_the_clients_model(registry: Registry) -> None:
    report = explained(registry, chat("gpt-4o-mini"))
    assert (report["model"], report["attempts"][0]["body"]["model"]) == ("gpt-*", "gpt-4o-mini")


GEMINI, CONVERSE = "/v1beta/models/{model}:", "/model/{model}/converse"
CALLED = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}


@pytest.mark.parametrize(
    ("body", "headers", "path"),
    [
        ({"messages": HELLO}, {}, "/v1/chat/completions"),
        ({"messages": HELLO, "max_tokens": 5}, {}, "/v1/messages"),
        ({"messages": HELLO}, {"anthropic-version": "2023-06-01"}, "/v1/messages"),
        ({"messages": HELLO, "max_tokens": 5, "thinking": {"type": "adaptive"}}, {}, "/v1/messages"),
        ({"messages": [{"role": "system", "content": "x"}, *HELLO], "max_tokens": 5}, {}, "/v1/chat/completions"),
        ({"messages": HELLO, "max_tokens": 5, "stop": ["x"]}, {}, "/v1/chat/completions"),
        ({"messages": HELLO, "max_tokens": 5, "tools": [TOOL]}, {}, "/v1/chat/completions"),
        ({"messages": HELLO, "max_tokens": 5, "tools": [{"name": "f", "input_schema": {}}]}, {}, "/v1/messages"),
        ({"messages": 7, "max_tokens": 5}, {}, "/v1/messages"),
        ({"messages": [{"role": ["x"]}], "max_tokens": 5}, {}, "/v1/messages"),
        (["not", "an", "object"], {}, "/v1/chat/completions"),
        (None, {}, "/v1/chat/completions"),
        ({"model": "m", "input": "hello", "instructions": "be brief"}, {}, "/v1/responses"),
        ({"model": "m", "input": HELLO}, {}, "/v1/responses"),
        ({"model": "m", "input": "hello"}, {}, "/v1/responses"),
        ({"contents": [{"parts": [{"text": "x"}]}]}, {}, GEMINI + "generateContent"),
        ({"content": {"parts": [{"text": "x"}]}}, {}, GEMINI + "embedContent"),
        ({"requests": []}, {}, GEMINI + "batchEmbedContents"),
        ({"instances": [{"content": "x"}]}, {}, GEMINI + "predict"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, {}, CONVERSE),
        ({"messages": [], "inferenceConfig": {}}, {}, CONVERSE),
        ({"model": "m", "messages": HELLO, "k": 3}, {}, "/v2/chat"),
        ({"model": "m", "messages": HELLO, "documents": ["x"]}, {}, "/v2/chat"),
        ({"model": "m", "messages": HELLO, "options": {"seed": 1}}, {}, "/api/chat"),
        ({"model": "m", "messages": [*HELLO, CALLED]}, {}, "/api/chat"),
        ({"model": "m", "messages": [{"tool_calls": [7, {"function": None}]}]}, {}, "/v1/chat/completions"),
        ({"model": "m", "prompt": "x", "options": {}}, {}, "/api/generate"),
        ({"model": "m", "prompt": "x"}, {}, "/v1/completions"),
        ({"model": "gpt-image-1", "prompt": "x"}, {}, "/v1/images/generations"),
        ({"model": "m", "input": ["a", "b"]}, {}, "/v1/embeddings"),
        ({"model": "m", "input": "a", "dimensions": 8}, {}, "/v1/embeddings"),
        ({"model": "text-embedding-3-small", "input": "a"}, {}, "/v1/embeddings"),
        ({"model": "m", "input": ["a"], "keep_alive": 1}, {}, "/api/embed"),
        ({"model": "m", "texts": ["a"], "input_type": "classification"}, {}, "/v2/embed"),
        ({"model": "m", "query": "a", "documents": ["b"]}, {}, "/v2/rerank"),
        ({"model": "m", "input": "a", "voice": "alloy"}, {}, "/v1/audio/speech"),
        ({"model": "omni-moderation-latest", "input": "a"}, {}, "/v1/moderations"),
        (frozenset({"file", "model"}), {}, "/v1/audio/transcriptions"),
        (frozenset({"image[]", "model"}), {}, "/v1/images/edits"),
        (frozenset({"file", "purpose"}), {}, "/v1/files"),
    ],
)
def test_the_guess_of_the_path(body: Any, headers: dict[str, str], path: str) -> None:
    assert guess_path(body, headers) == path


@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        ("openai_chat", "/v1/chat/completions"),
        ("openai_responses", "/v1/responses"),
        ("anthropic_messages", "/v1/messages"),
        ("gemini", GEMINI + "generateContent"),
        ("bedrock_converse", CONVERSE),
        ("cohere_chat", "/v2/chat"),
        ("ollama_chat", "/api/chat"),
    ],
)
def test_a_body_with_everything_is_known_by_its_members(dialect: str, path: str) -> None:
    body = orjson.loads((GOLDEN / dialect / "full.json").read_bytes())
    assert guess_path(body.get("body", body), {}) == path


def test_a_model_that_stands_in_the_path_must_be_named(registry: Registry) -> None:
    body = orjson.dumps({"messages": [{"role": "user", "content": [{"text": "x"}]}]})
    with pytest.raises(UsageError, match="--path /model/NAME/converse"):
        explained(registry, body)
    report = explained(registry, orjson.dumps({"model": "models/chat", "contents": [{"parts": [{"text": "x"}]}]}))
    assert (report["asked"], report["client_dialect"], report["guessed"]) == ("chat", "gemini", True)


def test_a_form_without_a_path(registry: Registry) -> None:
    assert explained(registry, FORM)["operation"] == "transcription"


CLOUDS = """\
version: 1
providers:
  aws: {kind: bedrock, region: eu-central-1, credential: {aws: default}}
  aws-file: {kind: bedrock, region: us-east-1, credential: {aws: {file: /secrets/aws}}}
  gcp: {kind: vertex, project: acme-prod, location: europe-west4, credential: {google: default}}
  azure: {kind: azure-openai, url: "https://x.openai.azure.com", credential: {entra: workload-identity}}
  pool: {kind: azure-openai, url: "https://y.openai.azure.com", credentials: {a: {file: /secrets/a}, b: {file: /secrets/b}}}
targets:
  nova: {provider: aws, model: "amazon.nova-pro-v1:0"}
  nova-file: {provider: aws-file, model: "amazon.nova-pro-v1:0"}
  flash: {provider: gcp, model: gemini-2.5-flash}
  gpt: {provider: azure, model: gpt-4o, deployment: d}
  gpt-pool: {provider: pool, model: gpt-4o, deployment: d}
models:
  chat: {targets: [nova, nova-file, flash, gpt, gpt-pool], attempts: {total: 6}}
"""


def test_how_each_cloud_gets_its_credential(tmp_path: Path) -> None:
    shown = {a["cluster"]: a["headers"] for a in explained(load_registry(write(tmp_path, CLOUDS)), chat())["attempts"]}
    aws = "AWS4-HMAC-SHA256 <Envoy signs for bedrock in "
    assert shown["nova"]["authorization"] == aws + "eu-central-1, with AWS's default chain of credentials>"
    assert shown["nova-file"]["authorization"] == aws + "us-east-1, with the keys in /secrets/aws>"
    assert shown["flash"]["authorization"] == "Bearer <access token of Google, kept fresh by `extproc tokens`, injected by Envoy>"
    assert shown["gpt"]["authorization"] == "Bearer <access token of Microsoft Entra ID, kept fresh by `extproc tokens`, injected by Envoy>"
    assert shown["gpt-pool@a"]["api-key"] == "<the key in /secrets/a, injected by Envoy>"
    assert shown["gpt-pool@b"]["api-key"] == "<the key in /secrets/b, injected by Envoy>"


# JSON for people


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=200), lambda v: st.lists(v) | st.dictionaries(st.text(), v)))
def test_fitted_json_is_the_same_json(value: Any) -> None:
    text = fitted(json.dumps(value).encode(), 10**9)
    assert json.loads(text) == value


def test_fitted_json_keeps_numbers_and_lines_short() -> None:
    raw = b'{"a":' + b"9" * 5000 + b',"b":1.10000000000000000000001,"c":[' + b",".join([b'{"d":[1,2,3]}'] * 30) + b"]}"
    lines = fitted(raw, 10**9).splitlines()
    assert lines[1] == '  "a": ' + "9" * 5000 + ","
    assert lines[2] == '  "b": 1.10000000000000000000001,'
    assert lines[4] == '    {"d": [1, 2, 3]},'
    assert fitted(raw, 100).splitlines()[-1] == f"… cut: {len(raw):,} bytes in all; --json prints them"


# the command line


def test_text_for_a_person(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "body.json").write_bytes(chat(messages=IMAGE, logprobs=True, seed=12).replace(b":12", b":12345678901234567890123"))
    code, out, err = run(capsys, "explain", "--registry", file, "--seed", "1", tmp_path / "body.json")
    assert (code, err) == (0, "")
    assert out.splitlines()[:2] == [
        "POST /v1/chat/completions  (guessed from the body; --path names another)",
        "'chat' in openai_chat -> model 'chat' (unary, commit first_token)",
    ]
    for line in (
        "needs       vision",
        "candidates  gpt@k1, gpt@k2, sonnet, flash, llama",
        "excluded    llama: lacks:vision (openai_chat at local cannot carry: vision)",
        "chain       gpt@k1 -> sonnet -> flash -> gpt@k2 (at most 4 attempts)",
        "attempt 1   gpt@k1   openai_chat -> openai_chat   no losses, the same format: edited in place",
        "attempt 2   sonnet   openai_chat -> anthropic_messages   2 losses",
        "  POST https://api.anthropic.com/v1/messages",
        "  x-api-key: <the key in CLAUDE_KEY, injected by Envoy>",
        '    "seed": 12345678901234567890123',
    ):
        assert line in [known.rstrip(",") for known in out.splitlines()], line
    assert "  loss dropped:logprobs  the parameter logprobs: the target has none, or refuses it here" in out


def test_a_long_body_is_cut_in_text_and_whole_in_json(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "x" * 50_000
    (tmp_path / "body.json").write_bytes(chat("small", messages=[{"role": "user", "content": text}]))
    _, out, _ = run(capsys, "explain", "--registry", file, tmp_path / "body.json")
    assert "49,760 more" in out
    assert len(out) < 2000
    (tmp_path / "body.json").write_bytes(chat("small", messages=HELLO * 2000))
    _, out, _ = run(capsys, "explain", "--registry", file, tmp_path / "body.json")
    assert "bytes in all; --json prints them" in out
    assert len(out) < 6000
    (tmp_path / "body.json").write_bytes(chat("small", messages=[{"role": "user", "content": text}]))
    code, out, _ = run(capsys, "explain", "--registry", file, "--json", tmp_path / "body.json")
    assert code == 0
    assert orjson.loads(out)["attempts"][0]["body"]["messages"][0]["content"] == text


def test_a_body_from_standard_input(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(chat())))
    code, out, _ = run(capsys, "explain", "--registry", file, "--json", "--header", "Anthropic-Version: 2023-06-01", "-")
    assert (code, orjson.loads(out)["client_dialect"]) == (0, "anthropic_messages")


@pytest.mark.parametrize(
    ("body", "options", "status", "says"),
    [
        (b"{", [], 400, "not valid JSON"),
        (b"", [], 400, "no body"),
        (b"[]", [], 400, "JSON object"),
        (b'{"messages":[]}', [], 400, "`model` is required"),
        (b'{"model":"chat","messages":[],"model":"chat"}', [], 400, "two members of the same name"),
        (b'{"model":"nothing-like-it","messages":[]}', [], 404, "nothing-like-it"),
        (b'{"model":"../../etc/passwd","messages":[]}', ["--header", "anthropic-version: 2023-06-01"], 404, "passwd"),
        (chat(), ["--path", "/v1/nothing"], 404, "/v1/nothing"),
        (chat(), ["--path", "/v1/models"], 405, "GET"),
        (chat(), ["--path", "/v1/realtime"], 501, "realtime"),
        (chat(), ["--header", "content-encoding: gzip"], 415, "gzip"),
        (chat("small", messages=IMAGE), [], 422, "vision"),
        (chat("exact", logprobs=True), [], 422, "strict"),
    ],
)
def test_what_the_server_refuses_is_refused(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], body: bytes, options: list[str], status: int, says: str
) -> None:
    (tmp_path / "body.json").write_bytes(body)
    code, out, err = run(capsys, "explain", "--registry", file, *options, tmp_path / "body.json")
    assert (code, out) == (1, "")
    assert err.startswith(f"refused with {status}: ")
    assert says in err


def test_wrong_arguments(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "body.json").write_bytes(chat())
    code, _, err = run(capsys, "explain", "--registry", file, "--header", "no colon", tmp_path / "body.json")
    assert code == 2
    assert "--header no colon: expected NAME:VALUE" in err
    code, _, err = run(capsys, "explain", "--registry", file)
    assert code == 2
    assert "a BODY is required, or the --path of a request without one" in err
    code, _, err = run(capsys, "explain", "--registry", file, tmp_path / "absent.json")
    assert code == 1
    assert "absent.json: No such file" in err
    code, _, err = run(capsys, "explain", "--registry", tmp_path / "absent.yaml", tmp_path / "body.json")
    assert code == 1
    assert "absent.yaml: cannot be read" in err


# every operation

FORM = (
    b'--b0\r\nContent-Disposition: form-data; name="model"\r\n\r\nchat\r\n'
    b'--b0\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n\x00\xff--\r\n\r\n--b0--\r\n'
)


def test_a_form_is_summarised(registry: Registry) -> None:
    report = explained(registry, FORM, "/v1/audio/transcriptions")
    assert (report["operation"], report["client_dialect"]) == ("transcription", "openai_transcription")
    first = report["attempts"][0]
    assert first["url"] == "https://api.openai.com/v1/audio/transcriptions"
    assert first["headers"]["content-type"] == "multipart/form-data; boundary=b0"
    assert first["body"]["fields"] == [{"name": "model", "value": "gpt-4o"}, {"name": "file", "value": "<6 bytes>"}]
    assert {e["code"] for e in report["excluded"]} == {"lacks:transcription"}


def test_images_and_completions(registry: Registry) -> None:
    for path, operation in (("/v1/images/generations", "images"), ("/openai/deployments/chat/completions", "completions")):
        report = explained(registry, orjson.dumps({"model": "chat", "prompt": "x"}), path)
        assert report["operation"] == operation
        assert report["attempts"][0]["body"]["model"] == "gpt-4o"


def test_a_model_in_the_path(registry: Registry) -> None:
    body = orjson.dumps({"contents": [{"role": "user", "parts": [{"text": "x"}]}]})
    report = explained(registry, body, "/v1beta/models/chat:streamGenerateContent?alt=sse&key=mine")
    assert (report["asked"], report["stream"], report["client_dialect"]) == ("chat", True, "gemini")
    flash = next(a for a in report["attempts"] if a["cluster"] == "flash")
    assert flash["url"].endswith("/models/gemini-2.5-flash:streamGenerateContent?alt=sse")
    assert "mine" not in str(report)


@pytest.fixture
def passing(file: Path) -> Registry:
    file.write_text(file.read_text() + 'passthrough: {"/v1/files/**": {target: gpt, credential: k2}}\n')
    return load_registry(file)


def test_what_is_passed_on(passing: Registry, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = explain(passing, b"", "/v1/files/f-1/content?key=k&x=1", {"accept": "*/*"}, 1, "GET")
    assert report["passthrough"] == "gpt@k2"
    first = report["attempts"][0]
    assert (report["method"], first["url"], first["body"]) == ("GET", "https://api.openai.com/v1/files/f-1/content?x=1", None)
    assert first["headers"]["accept"] == "*/*"
    code, out, _ = run(capsys, "explain", "--registry", file, "--method", "DELETE", "--path", "/v1/files/f-1")
    assert code == 0
    assert out.splitlines()[:2] == ["DELETE /v1/files/f-1", "passed on as it is to gpt@k2 (once; again only if no connection can be made)"]
    assert "  DELETE https://api.openai.com/v1/files/f-1" in out
    (tmp_path / "file.bin").write_bytes(b"\x00\xff")
    code, out, _ = run(capsys, "explain", "--registry", file, "--path", "/v1/files", "--header", "content-type: x/y", tmp_path / "file.bin")
    assert code == 0
    assert '"bytes": 2' in out


def test_what_is_answered_here(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", "--registry", file, "--method", "GET", "--path", "/v1beta/models/chat")
    assert code == 0
    assert out.startswith("GET /v1beta/models/chat\nanswered here, in gemini:\n")
    assert "models/chat" in out


@pytest.mark.parametrize("path", ["/v2/chat", "/model/nothing/converse", "/api/chat", "/v1/messages", "/v1beta/models/nothing:generateContent"])
def test_a_refusal_in_every_envelope(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str) -> None:
    (tmp_path / "body.json").write_bytes(chat("nothing-like-it"))
    code, _, err = run(capsys, "explain", "--registry", file, "--path", path, tmp_path / "body.json")
    assert code == 1
    assert "does not exist here" in err
