"""Embeddings dialects alone: total over every shape, what real SDKs send, edits in the client's bytes."""

from __future__ import annotations

import functools
from typing import Any

import cohere
import httpx
import httpx2
import mistralai.client
import ollama
import openai
import orjson
import pytest
from google import genai
from google.auth.credentials import AnonymousCredentials
from google.genai import types as genai_types
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.dialect import Ask, Encoded, Facts, Need, Reply
from extproc.core.embeddings import EmbeddingRequest
from extproc.core.errors import ApiError, BadRequestError, UpstreamFormatError
from extproc.core.ir import Image
from extproc.dialects.catalog import DIALECTS
from extproc.providers.kinds import KINDS
from extproc.registry.types import Provider, Target
from tests.golden.embeddings import CLIENTS, TARGETS, form_of, inputs

EMBEDDINGS = sorted(name for name, dialect in DIALECTS.items() if dialect.operation == "embeddings")

# every shape

_WORDS = (
    *("model", "input", "prompt", "dimensions", "output_dimension", "encoding_format", "output_dtype", "input_type", "texts", "images", "inputs"),
    *("embedding_types", "truncate", "content", "parts", "text", "inlineData", "fileData", "fileUri", "mimeType", "data", "requests", "taskType"),
    *("task_type", "title", "outputDimensionality", "embedContentConfig", "instances", "parameters", "autoTruncate", "type", "image_url", "url"),
    *("base64", "float", "int8", "data:image/png;base64,AA==", "RETRIEVAL_QUERY", "END", "options", "embeddings", "embedding", "values", "index"),
    *("predictions", "statistics", "token_count", "usage", "usageMetadata", "promptTokenCount", "meta", "billed_units", "error", "message", "id"),
)
_NAMES = st.sampled_from(_WORDS)
BODIES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3000) | st.floats(allow_nan=False) | _NAMES | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
)


@functools.cache
def _seeds() -> list[Any]:
    return [orjson.loads(path.read_bytes()) for path in inputs()]


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """A good body with one of its values, anywhere, replaced."""
    body = draw(st.sampled_from(_seeds()))
    path: list[Any] = []
    here = body
    while isinstance(here, dict | list) and here and (not path or draw(st.booleans())):
        path.append(draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here)))))
        here = here[path[-1]]
    copy = orjson.loads(orjson.dumps(body))
    here = copy
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = draw(BODIES)
    return copy


@pytest.mark.parametrize("name", EMBEDDINGS)
@given(body=BODIES | spoilt(), form=st.sampled_from(["", "batch", "legacy"]))
def test_requests_of_any_shape(name: str, body: Any, form: str) -> None:
    dialect = DIALECTS[name]
    needs = dialect.needs(body)
    dialect.wishes(body)
    try:
        request = dialect.decode_request(body, Ask("m", form=form))
    except BadRequestError:
        return
    assert isinstance(request, EmbeddingRequest)
    assert request.inputs
    for to, target in TARGETS.items():
        upstream = DIALECTS[to.partition("-")[0]]
        if upstream.name != name and needs <= upstream.carries:
            # named beforehand, so nothing is left to refuse
            assert isinstance(upstream.encode_request(request, target.facts), Encoded)


@pytest.mark.parametrize("name", EMBEDDINGS)
@given(body=BODIES | spoilt())
def test_answers_of_any_shape(name: str, body: Any) -> None:
    dialect = DIALECTS[name]
    try:
        response = dialect.decode_response(orjson.dumps(body))
    except ApiError:
        return
    for client, form, encodings in CLIENTS:
        try:
            raw, _ = DIALECTS[client].encode_response(response, Reply("id", 1, "m", form=form, encodings=encodings))
        except UpstreamFormatError:
            continue
        orjson.loads(raw)


# what real SDKs send


class _Seen:
    """The path and the body of a request, and an answer that no SDK understands."""

    path = ""
    body: Any = None

    def __call__(self, request: Any) -> httpx.Response:
        self.path, self.body = request.url.path, orjson.loads(request.content)
        return httpx.Response(500, json={"error": "seen"})

    def successor(self, request: Any) -> httpx2.Response:
        self(request)
        return httpx2.Response(500, json={"error": "seen"})


def _sent(call: Any) -> None:
    with pytest.raises(Exception, match=r"seen|500"):
        call()


def decoded(dialect: str, seen: _Seen, model: str = "") -> EmbeddingRequest:
    form = form_of(dialect, seen.body)
    return DIALECTS[dialect].decode_request(seen.body, Ask(model or seen.body["model"], form=form))  # type: ignore[no-any-return]


def test_openai_sdk() -> None:
    seen = _Seen()
    http = httpx2.Client(transport=httpx2.MockTransport(seen.successor))
    client = openai.OpenAI(api_key="none", base_url="http://host/v1", http_client=http, max_retries=0)
    _sent(lambda: client.embeddings.create(model="m", input=[[1, 2], [3]], dimensions=3))
    request = decoded("openai_embeddings", seen)
    assert [one.content for one in request.inputs] == [[1, 2], [3]]
    assert request.inputs[0].settings.dimensions == 3
    assert DIALECTS["openai_embeddings"].wishes(seen.body).encodings == ("base64",), "its default"
    assert not request.losses


def test_mistral_sdk() -> None:
    seen = _Seen()
    http: Any = httpx.Client(transport=httpx.MockTransport(seen))
    client = mistralai.client.Mistral(api_key="none", server_url="http://host", client=http)
    _sent(lambda: client.embeddings.create(model="m", inputs=["a"], output_dimension=3, output_dtype="int8", retries=None))
    request = decoded("openai_embeddings", seen)
    assert request.inputs[0].settings.dimensions == 3
    assert request.types == ("int8",)
    assert DIALECTS["openai_embeddings"].needs(seen.body) == {Need.DIMENSIONS, Need.QUANTIZED}
    assert not request.losses


def test_cohere_sdk() -> None:
    seen = _Seen()
    client = cohere.ClientV2(api_key="none", base_url="http://host", httpx_client=httpx.Client(transport=httpx.MockTransport(seen)))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    options = cohere.core.RequestOptions(max_retries=0)
    parts: Any = [{"content": [{"type": "text", "text": "a"}, image]}]
    _sent(lambda: client.embed(model="m", input_type="search_query", inputs=parts, embedding_types=["float"], request_options=options))
    assert seen.path == "/v2/embed"
    request = decoded("cohere_embeddings", seen)
    content = request.inputs[0].content
    assert isinstance(content, list)
    assert isinstance(content[1], Image)
    assert content[1].source.data == "AA=="
    assert request.inputs[0].settings.task == "query"
    assert not request.losses


def test_ollama_sdk() -> None:
    seen = _Seen()
    client = ollama.Client(host="http://host")
    client._client = httpx.Client(base_url="http://host", transport=httpx.MockTransport(seen))
    _sent(lambda: client.embed("m", ["a", "b"], truncate=False, keep_alive="1m"))
    request = decoded("ollama_embeddings", seen)
    assert request.inputs[0].settings.truncate == "none"
    assert request.knobs == {"keep_alive": "1m"}
    _sent(lambda: client.embeddings("m", "a"))
    assert seen.path == "/api/embeddings"
    assert decoded("ollama_embeddings", seen).single


@pytest.mark.parametrize(
    ("model", "dialect", "method"),
    [
        ("text-embedding-005", "vertex_embeddings", "predict"),
        ("gemini-embedding-001", "gemini_embeddings", "batchEmbedContents"),
        ("gemini-embedding-2", "gemini_embeddings", "embedContent"),
    ],
)
def test_genai_sdk_on_vertex(model: str, dialect: str, method: str) -> None:
    seen = _Seen()
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    credentials.token = "none"
    options = genai_types.HttpOptions(base_url="http://host", httpx_client=httpx.Client(transport=httpx.MockTransport(seen)))
    client = genai.Client(vertexai=True, project="p", location="l", credentials=credentials, http_options=options)
    config = genai_types.EmbedContentConfig(task_type="RETRIEVAL_DOCUMENT", title="T", output_dimensionality=3, auto_truncate=False)
    _sent(lambda: client.models.embed_content(model=model, contents=["a", "b"], config=config))
    assert seen.path.endswith(f":{method}")
    request = decoded(dialect, seen, model)
    one = request.inputs[0]
    assert (one.settings.task, one.settings.dimensions, one.settings.truncate, one.title) == ("document", 3, "none", "T")
    assert not request.losses


def test_genai_sdk() -> None:
    seen = _Seen()
    options = genai_types.HttpOptions(base_url="http://host", httpx_client=httpx.Client(transport=httpx.MockTransport(seen)))
    client = genai.Client(api_key="none", http_options=options)
    config = genai_types.EmbedContentConfig(task_type="CODE_RETRIEVAL_QUERY", output_dimensionality=3)
    _sent(lambda: client.models.embed_content(model="gemini-embedding-001", contents=["a", "b"], config=config))
    assert seen.path.endswith("/models/gemini-embedding-001:batchEmbedContents")
    request = decoded("gemini_embeddings", seen, "gemini-embedding-001")
    assert [one.content for one in request.inputs] == ["a", "b"]
    assert request.inputs[1].settings.task == "code_query"
    assert not request.losses


# edits in the client's bytes


def spliced(dialect: str, raw: bytes, facts: Facts, form: str = "") -> Encoded:
    return DIALECTS[dialect].splice_request(raw, orjson.loads(raw), facts, Ask("alias", form=form))


def test_vendors_names_for_the_length() -> None:
    mistral = Facts("mistral-embed", "mistral", quirks=KINDS["mistral"].quirks)
    encoded = spliced("openai_embeddings", b'{"model":"a", "input": "x" , "dimensions":3,"user":"u","new":[1.0]}', mistral)
    assert encoded.body == b'{"model":"mistral-embed", "input": "x" , "new":[1.0],"output_dimension":3}'
    assert [loss.code for loss in encoded.losses] == ["dropped:user"]
    openai_ = Facts("m", "openai")
    assert (
        spliced("openai_embeddings", b'{"model":"m","input":"x","output_dimension":3}', openai_).body == b'{"model":"m","input":"x","dimensions":3}'
    )
    both = b'{"model":"m","input":"x","output_dimension":3,"dimensions":4}'
    assert spliced("openai_embeddings", both, openai_).body == b'{"model":"m","input":"x","dimensions":4}'
    other = Facts("*", "openai-compatible")
    assert spliced("openai_embeddings", both, other).body == both, "another vendor's members are its own"


def test_a_batch_names_the_model_in_every_request() -> None:
    raw = b'{"requests": [ {"model":"models/alias","content":{"parts":[{"text":"]"}]}} ,{"content":{},"model":"models/m"}, {"content":{}}]}'
    encoded = spliced("gemini_embeddings", raw, Facts("m", "gemini"), "batch")
    assert encoded.body == raw.replace(b"models/alias", b"models/m")
    assert encoded.path == "/models/m:batchEmbedContents"
    vertex = spliced("gemini_embeddings", raw, Facts("m", "gemini", quirks=KINDS["vertex"].quirks), "batch")
    assert b"models/" not in vertex.body
    assert orjson.loads(vertex.body) == {"requests": [{"content": {"parts": [{"text": "]"}]}}, {"content": {}}, {"content": {}}]}
    single = spliced("gemini_embeddings", b'{"content":{},"model":"models/alias"}', Facts("m", "gemini"))
    assert single.body == b'{"content":{},"model":"models/m"}'
    assert single.path == "/models/m:embedContent"


@pytest.mark.parametrize("model", ["../x", "a/b", "m:generateContent", "m?x", ""])
def test_models_that_would_be_another_path(model: str) -> None:
    for name in ("gemini_embeddings", "vertex_embeddings"):
        with pytest.raises(ApiError):
            spliced(name, b'{"content":{}}', Facts(model, "gemini"))


def test_a_vertex_client_is_served_by_the_method_that_its_model_has() -> None:
    def via(model: str, client: str) -> str:
        provider = Provider(name="p", kind=KINDS["vertex"], scheme="https", host="h", port=443, base_path="/v1", credentials=())
        upstream = Target("t", provider, model, Facts(model, "gemini")).upstream(DIALECTS[client].operation, client)
        assert upstream is not None
        return upstream.dialect

    assert via("gemini-embedding-001", "vertex_embeddings") == "gemini_embeddings"
    assert via("text-embedding-005", "gemini_embeddings") == "vertex_embeddings"
    assert via("text-embedding-005", "openai_embeddings") == "vertex_embeddings"
