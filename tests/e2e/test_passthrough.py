"""Paths of the registry's `passthrough`, and OpenAI's operations that are not translated, through the real Envoy by OpenAI's own SDK."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator

import httpx
import openai
import orjson
import pytest

from tests.e2e.bare import Bare, Call, Said, running_bare
from tests.e2e.stack import Stack, running_stack

KEY = "key-of-the-account-0123456789"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def bare() -> Iterator[Bare]:
    with running_bare() as provider:
        yield provider


@pytest.fixture(scope="module")
def passing(bare: Bare) -> Iterator[Stack]:
    def registry(sims: object, directory: object) -> str:
        return f"""
version: 1
providers:
  one: {{kind: openai, url: "{bare.url}/base/v1", credential: {{file: {directory}/keys/one}}}}
  two: {{kind: openai-compatible, url: "{bare.url}/two/v1"}}
  gone: {{kind: openai, url: "http://127.0.0.1:{closed_port()}/v1"}}
targets:
  any: {{provider: one, model: "*"}}
  first: {{provider: one, model: real-one}}
  second: {{provider: two, model: real-two}}
  gone: {{provider: gone, model: "*"}}
models:
  m: {{targets: [first, second]}}
  omni-moderation-latest: {{targets: [any]}}
passthrough:
  "/v1/files/**": {{target: any}}
  "/v1/responses/**": {{target: any}}
  "/v1/batches/**": {{target: any}}
  "/v1/uploads/*": {{target: gone}}
"""

    with running_stack(registry, {}, {"one": KEY}) as stack:
        yield stack


@pytest.fixture
def client(passing: Stack, bare: Bare) -> Iterator[openai.OpenAI]:
    bare.calls.clear()
    passing.reset()
    with openai.OpenAI(base_url=f"{passing.url}/v1", api_key="of-the-application", max_retries=0) as sdk:
        yield sdk


FILE = {"id": "file-1", "object": "file", "bytes": 3, "created_at": 1, "filename": "a.jsonl", "purpose": "batch", "status": "processed"}


def says(document: object, status: int = 200, **headers: str) -> Said:
    return Said(status, [orjson.dumps(document)], headers={k.replace("_", "-"): v for k, v in headers.items()}, length=True)


# pass-through


def test_a_list(client: openai.OpenAI, bare: Bare, passing: Stack) -> None:
    bare.answer = lambda call: says({"object": "list", "data": [FILE], "has_more": False}, x_request_id="req_9", brand_new="1", set_cookie="s=1")
    answer = client.files.with_raw_response.list(extra_query={"limit": 2, "key": "of-the-application"}, extra_headers={"x-request-id": "list-1"})
    assert answer.parse().data[0].id == "file-1"
    assert answer.headers["brand-new"] == "1"
    assert "set-cookie" not in answer.headers
    (call,) = bare.calls
    assert (call.method, call.target, call.body) == ("GET", "/base/v1/files?limit=2", b"")
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert "content-type" not in call.headers
    assert not [name for name in call.headers if name.startswith(("x-stainless", "x-llm", "x-envoy"))]
    line = passing.lines.of("list-1")
    assert (line["outcome"], line["status"], line["operation"], line["target"], line["model"]) == ("ok", 200, "passthrough", "any", "")


def test_an_upload_is_the_same_bytes(client: openai.OpenAI, bare: Bare) -> None:
    content = bytes(range(256)) * 4000
    bare.answer = lambda call: says(FILE)
    assert client.files.create(file=("a.bin", content), purpose="batch", extra_headers={"idempotency-key": "once"}).id == "file-1"
    (call,) = bare.calls
    assert (call.method, call.target) == ("POST", "/base/v1/files")
    assert call.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert call.headers["idempotency-key"] == "once"
    assert content in call.body
    assert int(call.headers["content-length"]) == len(call.body)


def test_a_download_is_the_same_bytes(client: openai.OpenAI, bare: Bare) -> None:
    content = [bytes(range(256)) * 700] * 8
    bare.answer = lambda call: Said(200, content, "application/octet-stream", {"content-encoding": "x-own"})
    raw = httpx.get(f"{client.base_url}files/file-1/content", headers={"accept-encoding": "identity"})
    assert raw.read() == b"".join(content)
    assert raw.headers["content-encoding"] == "x-own", "untouched"
    assert bare.last().target == "/base/v1/files/file-1/content"


def test_delete(client: openai.OpenAI, bare: Bare) -> None:
    bare.answer = lambda call: says({"id": "file-1", "object": "file", "deleted": True})
    assert client.files.delete("file-1").deleted
    assert (bare.last().method, bare.last().target) == ("DELETE", "/base/v1/files/file-1")


def test_an_answer_without_a_body(passing: Stack, client: openai.OpenAI, bare: Bare) -> None:
    bare.answer = lambda call: Said(204, content_type="")
    answer = httpx.delete(f"{client.base_url}batches/b-1", headers={"x-request-id": "empty-1"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert passing.lines.of("empty-1")["outcome"] == "ok"


def test_a_stored_response_and_its_stream(client: openai.OpenAI, bare: Bare) -> None:
    bare.answer = lambda call: says({"id": "resp_1", "object": "response", "output": [], "status": "completed"})
    assert client.responses.retrieve("resp_1").id == "resp_1"
    assert bare.last().target == "/base/v1/responses/resp_1"
    event = b'event: response.completed\ndata: {"type":"response.completed","sequence_number":1,"response":{"id":"resp_1","output":[]}}\n\n'
    bare.answer = lambda call: Said(200, [event], "text/event-stream")
    assert [e.type for e in client.responses.retrieve("resp_1", stream=True)] == ["response.completed"]
    assert bare.last().target == "/base/v1/responses/resp_1?stream=true"
    bare.answer = lambda call: says({"id": "resp_1", "object": "response", "output": [], "status": "cancelled"})
    assert client.responses.cancel("resp_1").status == "cancelled"


def test_a_batch(client: openai.OpenAI, bare: Bare) -> None:
    batch = {"id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "status": "validating"}
    bare.answer = lambda call: says(batch)
    assert client.batches.create(completion_window="24h", endpoint="/v1/chat/completions", input_file_id="file-1").id == "batch_1"
    assert orjson.loads(bare.last().body)["input_file_id"] == "file-1"
    assert client.batches.cancel("batch_1").id == "batch_1"
    assert bare.last().target == "/base/v1/batches/batch_1/cancel"


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_the_providers_errors_pass_once(client: openai.OpenAI, bare: Bare, passing: Stack, status: int) -> None:
    bare.answer = lambda call: says({"error": {"message": "its own words", "type": "t", "param": None, "code": None}}, status, retry_after="7")
    with pytest.raises(openai.APIStatusError, match="its own words") as caught:
        client.files.create(file=b"x", purpose="batch", extra_headers={"x-request-id": f"error-{status}"})
    assert caught.value.status_code == status
    assert caught.value.response.headers["retry-after"] == "7"
    assert len(bare.calls) == 1, "nobody knows what doing it twice would mean"
    assert passing.lines.of(f"error-{status}")["outcome"] == ("rejected" if status < 500 else "upstream_error")


def test_a_provider_that_breaks_off_is_not_asked_again(client: openai.OpenAI, bare: Bare) -> None:
    def break_off(call: Call) -> Said:
        raise ConnectionAbortedError

    bare._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # it would print a trace
    bare.answer = break_off
    with pytest.raises(openai.InternalServerError) as caught:
        client.files.create(file=b"x", purpose="batch")
    assert caught.value.status_code == 503
    assert len(bare.calls) == 1


def test_nobody_there(client: openai.OpenAI) -> None:
    answer = httpx.post(f"{client.base_url}uploads/u-1", content=b"x")
    assert answer.status_code == 503
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/files/%2e%2e/realms", "/v1/files/a%2Fb", "/v1/files/%2e%2e%2fx", "/v1/vector_stores", "/v1/uploads/u-1/parts"])
def test_what_does_not_pass(client: openai.OpenAI, bare: Bare, path: str) -> None:
    assert httpx.get(str(client.base_url).removesuffix("/v1/") + path).status_code in (400, 404)
    assert bare.calls == []


# OpenAI's own operations


def test_completions_stream(client: openai.OpenAI, bare: Bare, passing: Stack) -> None:
    def chunk(text: str, reason: str | None = None, **more: object) -> bytes:
        choices = [{"text": text, "index": 0, "logprobs": None, "finish_reason": reason}]
        return (
            b"data: "
            + orjson.dumps({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "real-one", "choices": choices} | more)
            + b"\n\n"
        )

    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    bare.answer = lambda call: Said(
        200, [chunk("a"), chunk("b", "stop"), chunk("", choices=[], usage=usage), b"data: [DONE]\n\n"], "text/event-stream"
    )
    stream = client.completions.create(model="m", prompt="x", stream=True, extra_headers={"x-request-id": "cmpl-1"})
    chunks = list(stream)
    assert "".join(c.choices[0].text for c in chunks) == "ab"
    assert orjson.loads(bare.last().body)["stream_options"] == {"include_usage": True}
    assert bare.last().target == "/base/v1/completions"
    line = passing.lines.of("cmpl-1")
    assert (line["operation"], line["finish"], line["input_tokens"], line["output_tokens"]) == ("completions", "stop", 3, 2)
    assert line["response_id"] == "cmpl-1"


def test_completions_fall_back(client: openai.OpenAI, bare: Bare) -> None:
    def answer(call: Call) -> Said:
        if call.target.startswith("/base"):
            return says({"error": {"message": "no", "type": "server_error", "param": None, "code": None}}, 429)
        choices = [{"text": "ok", "index": 0, "logprobs": None, "finish_reason": "stop"}]
        return says({"id": "c", "object": "text_completion", "created": 1, "model": "real-two", "choices": choices})

    bare.answer = answer
    assert client.completions.create(model="m", prompt="x").choices[0].text == "ok"
    assert [(c.target, orjson.loads(c.body)["model"]) for c in bare.calls] == [
        ("/base/v1/completions", "real-one"),
        ("/two/v1/completions", "real-two"),
    ]


def test_images(client: openai.OpenAI, bare: Bare, passing: Stack) -> None:
    picture = base64.b64encode(b"png" * 40_000).decode()
    usage = {"input_tokens": 5, "output_tokens": 9, "total_tokens": 14, "input_tokens_details": {"image_tokens": 0, "text_tokens": 5}}
    bare.answer = lambda call: says({"created": 1, "data": [{"b64_json": picture}], "usage": usage})
    assert client.images.generate(model="m", prompt="x", extra_headers={"x-request-id": "img-1"}).data[0].b64_json == picture  # type: ignore[index]
    line = passing.lines.of("img-1")
    assert (line["operation"], line["input_tokens"], line["output_tokens"]) == ("images", 5, 9)
    events = [
        {"type": "image_generation.partial_image", "b64_json": picture, "partial_image_index": 0},
        {"type": "image_generation.completed", "b64_json": picture, "usage": usage},
    ]
    pieces = [b"event: %b\ndata: %b\n\n" % (str(e["type"]).encode(), orjson.dumps(e)) for e in events]
    bare.answer = lambda call: Said(200, pieces, "text/event-stream")
    stream = client.images.generate(model="m", prompt="x", stream=True, extra_headers={"x-request-id": "img-2"})
    assert [e.type for e in stream] == [e["type"] for e in events]
    assert passing.lines.of("img-2")["output_tokens"] == 9


def test_image_edits_are_a_form(client: openai.OpenAI, bare: Bare) -> None:
    files = [bytes([n]) * 100_000 for n in range(2)]
    bare.answer = lambda call: says({"created": 1, "data": []})
    client.images.edit(model="m", prompt="x", image=[(f"{n}.png", f) for n, f in enumerate(files)])
    call = bare.last()
    assert call.target == "/base/v1/images/edits"
    assert call.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="model"\r\n\r\nreal-one\r\n' in call.body
    assert all(file in call.body for file in files)


def test_speech(client: openai.OpenAI, bare: Bare, passing: Stack) -> None:
    sound = [bytes(range(256)) * 300] * 4
    bare.answer = lambda call: Said(200, sound, "audio/mpeg")
    answer = client.audio.speech.create(model="m", voice="alloy", input="hello", extra_headers={"x-request-id": "tts-1"})
    assert answer.content == b"".join(sound)
    assert answer.response.headers["content-type"] == "audio/mpeg"
    line = passing.lines.of("tts-1")
    assert (line["operation"], line["outcome"], line["bytes_out"]) == ("speech", "ok", len(b"".join(sound)))


@pytest.mark.parametrize("form", ["json", "text", "stream"])
def test_transcription(client: openai.OpenAI, bare: Bare, passing: Stack, form: str) -> None:
    sound = bytes(range(256)) * 2000
    rid = {"x-request-id": f"stt-{form}"}
    usage = {"type": "tokens", "input_tokens": 4, "output_tokens": 2, "total_tokens": 6}
    if form == "json":
        bare.answer = lambda call: says({"text": "hello", "usage": usage})
        assert client.audio.transcriptions.create(model="m", file=("a.wav", sound), extra_headers=rid).text == "hello"
    elif form == "text":
        bare.answer = lambda call: Said(200, [b"hel", b"lo\n"], "text/plain; charset=utf-8")
        said = client.audio.transcriptions.create(model="m", file=("a.wav", sound), response_format="text", extra_headers=rid)
        assert said == "hello\n"
    else:
        events = [{"type": "transcript.text.delta", "delta": "hello"}, {"type": "transcript.text.done", "text": "hello", "usage": usage}]
        bare.answer = lambda call: Said(200, [b"data: %b\n\n" % orjson.dumps(e) for e in events], "text/event-stream")
        stream = client.audio.transcriptions.create(model="m", file=("a.wav", sound), stream=True, extra_headers=rid)
        assert [e.type for e in stream] == [e["type"] for e in events]
    call = bare.last()
    assert call.target == "/base/v1/audio/transcriptions"
    assert sound in call.body
    assert b'name="model"\r\n\r\nreal-one\r\n' in call.body
    line = passing.lines.of(rid["x-request-id"])
    assert (line["operation"], line["outcome"], line["stream"]) == ("transcription", "ok", form == "stream")
    assert line.get("output_tokens") == (None if form == "text" else 2)


def test_moderations_without_a_model(client: openai.OpenAI, bare: Bare) -> None:
    bare.answer = lambda call: says({"id": "modr-1", "model": "omni-moderation-latest", "results": []})
    assert client.moderations.create(input="x").id == "modr-1"
    assert orjson.loads(bare.last().body) == {"input": "x", "model": "omni-moderation-latest"}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--b\r\n"),
        ("multipart/form-data; boundary=b", b"no boundary"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm'),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n' * 2 + b"--b--\r\n"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n--b--\r\n'),
    ],
)
def test_a_malformed_form_is_a_400(client: openai.OpenAI, bare: Bare, content_type: str, body: bytes) -> None:
    answer = httpx.post(f"{client.base_url}audio/transcriptions", content=body, headers={"content-type": content_type})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert bare.calls == []


@pytest.mark.parametrize("path", ["/openai/deployments/m/completions?api-version=2025-01-01", "/openai/v1/completions", "/completions"])
def test_aliases(client: openai.OpenAI, bare: Bare, path: str) -> None:
    choices = [{"text": "ok", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    bare.answer = lambda call: says({"id": "c", "object": "text_completion", "created": 1, "model": "real-one", "choices": choices})
    answer = httpx.post(str(client.base_url).removesuffix("/v1/") + path, json={"model": "m", "prompt": "x"})
    assert answer.json()["choices"][0]["text"] == "ok"
    assert bare.last().target == "/base/v1/completions"
