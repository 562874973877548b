"""Embeddings requests and answers, judged by third parties: the vendors' SDKs and Google's discovery document.

Requests are strict: members that the published types do not have, and values outside their enums, raise. Answers are parsed by the SDK's own code
from the bytes of an HTTP answer, and give back the numbers that an application would get.
"""

from __future__ import annotations

import base64
import functools
import inspect
import json
import struct
from collections.abc import Callable
from typing import Any, Literal, NotRequired, Required, get_args, get_type_hints

import cohere
import httpx
import httpx2
import ollama
import openai
import orjson
from cohere.types import EmbedContent, EmbeddingType, EmbedInputType
from cohere.v2.raw_client import RawV2Client
from cohere.v2.types.v2embed_request_truncate import V2EmbedRequestTruncate
from google import genai
from google.auth.credentials import AnonymousCredentials
from google.genai import types as genai_types
from mistralai.client.models import EmbeddingRequestTypedDict
from openai.types.embedding_create_params import EmbeddingCreateParams
from typing_extensions import TypedDict

from tests.validators import gemini_discovery
from tests.validators.typed import strict_validator

Numbers = list[list[float]]


@functools.cache
def _openai() -> Callable[[bytes], None]:
    return strict_validator(EmbeddingCreateParams)


def check_openai(body: bytes) -> None:
    _openai()(body)
    assert orjson.loads(body)["input"], "an empty list is refused"


class _MistralRequest(TypedDict):
    """`EmbeddingRequestTypedDict` with the name that `inputs` has on the wire."""

    model: str
    input: str | list[str]
    metadata: NotRequired[dict[str, Any]]
    output_dimension: NotRequired[int]
    output_dtype: NotRequired[Literal["float", "int8", "uint8", "binary", "ubinary"]]
    encoding_format: NotRequired[Literal["float", "base64"]]


assert {"input" if name == "inputs" else name for name in get_type_hints(EmbeddingRequestTypedDict)} == set(get_type_hints(_MistralRequest))


@functools.cache
def _mistral() -> Callable[[bytes], None]:
    return strict_validator(_MistralRequest)


def check_mistral(body: bytes) -> None:
    _mistral()(body)


def _words(union: Any) -> set[str]:
    """The literals of an enum of Cohere's SDK, which takes any other word too."""
    return {word for part in get_args(union) for word in get_args(part)}


_COHERE = set(inspect.signature(RawV2Client.embed).parameters) - {"self", "request_options"}


class _CohereText(TypedDict):
    type: Required[Literal["text"]]
    text: str


class _CohereUrl(TypedDict):
    url: str


class _CohereImage(TypedDict):
    type: Required[Literal["image_url"]]
    image_url: _CohereUrl


class _CohereInput(TypedDict):
    content: list[_CohereText | _CohereImage]


class _CohereRequest(TypedDict):
    model: str
    input_type: str
    texts: NotRequired[list[str]]
    images: NotRequired[list[str]]
    inputs: NotRequired[list[_CohereInput]]
    max_tokens: NotRequired[int]
    output_dimension: NotRequired[int]
    embedding_types: NotRequired[list[str]]
    truncate: NotRequired[str]
    priority: NotRequired[int]


assert set(get_type_hints(_CohereRequest)) == _COHERE
_KINDS = {part.model_fields["type"].default for part in get_args(get_args(EmbedContent)[0])}


@functools.cache
def _cohere() -> Callable[[bytes], None]:
    return strict_validator(_CohereRequest)


def check_cohere(body: bytes) -> None:
    _cohere()(body)
    parsed = orjson.loads(body)
    assert parsed["input_type"] in _words(EmbedInputType)
    assert set(parsed.get("embedding_types", ())) <= _words(EmbeddingType)
    assert parsed.get("truncate", "NONE") in _words(V2EmbedRequestTruncate)
    given = [name for name in ("texts", "images", "inputs") if name in parsed]
    assert len(given) == 1, "exactly one of texts, images and inputs"
    assert parsed[given[0]]
    for url in parsed.get("images", ()):
        assert url.startswith("data:image/")
    assert {part["type"] for one in parsed.get("inputs", ()) for part in one["content"]} <= _KINDS


def check_ollama(body: bytes) -> None:
    parsed = orjson.loads(body)
    request = ollama._types.EmbedRequest.model_validate(parsed, strict=True)
    assert not parsed.keys() - type(request).model_fields.keys()


def _check_google(request: dict[str, Any]) -> None:
    # the Gemini API knows the model from the path; Vertex AI's document calls it required and takes it from there too
    gemini_discovery._check_message({"model": "models/any"} | request, "EmbedContentRequest", "request")
    genai_types.Content.model_validate(request["content"])
    assert request["content"]["parts"]


def check_gemini(body: bytes) -> None:
    parsed = orjson.loads(body)
    if "requests" not in parsed:
        _check_google(parsed)
        return
    gemini_discovery._check_message(parsed | {"requests": []}, "BatchEmbedContentsRequest", "body")
    for request in parsed["requests"]:
        assert request["model"].startswith("models/")
        _check_google(request)


def check_gemini_on_vertex(body: bytes) -> None:
    parsed = orjson.loads(body)
    for request in parsed.get("requests", [parsed]):
        assert request.keys() <= {"content", "embedContentConfig"}, "the others are deprecated, or another resource name"
        _check_google(request)


class _Instance(TypedDict):
    """https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api"""

    content: str
    title: NotRequired[str]
    task_type: NotRequired[str]


class _Parameters(TypedDict, total=False):
    autoTruncate: bool
    outputDimensionality: int


class _Predict(TypedDict):
    instances: list[_Instance]
    parameters: NotRequired[_Parameters]


@functools.cache
def _predict() -> Callable[[bytes], None]:
    return strict_validator(_Predict)


def check_vertex(body: bytes) -> None:
    _predict()(body)
    parsed = orjson.loads(body)
    gemini_discovery._check_message(parsed, "PredictRequest", "body")
    schema = gemini_discovery._schemas()[gemini_discovery._PREFIX + "EmbedContentRequestEmbedContentConfig"]
    tasks = schema["properties"]["taskType"]["enum"]
    for instance in parsed["instances"]:
        assert instance.get("task_type", tasks[0]) in tasks
        assert "title" not in instance or instance.get("task_type") == "RETRIEVAL_DOCUMENT"


REQUESTS: dict[str, Callable[[bytes], None]] = {
    "openai_embeddings": check_openai,
    "openai_embeddings-mistral": check_mistral,
    "cohere_embeddings": check_cohere,
    "ollama_embeddings": check_ollama,
    "gemini_embeddings": check_gemini,
    "gemini_embeddings-2": check_gemini,
    "gemini_embeddings-vertex": check_gemini_on_vertex,
    "vertex_embeddings": check_vertex,
}
"""By the name of the golden matrix's targets."""


# answers


class _Provider(httpx.MockTransport):
    """Answers every request with `body`."""

    def __init__(self) -> None:
        self.body = b""
        super().__init__(lambda _: httpx.Response(200, content=self.body, headers={"content-type": "application/json"}))


PROVIDER = _Provider()


@functools.cache
def _http() -> httpx.Client:
    return httpx.Client(base_url="http://provider", transport=PROVIDER)


@functools.cache
def _openai_client() -> openai.OpenAI:
    # this SDK has moved to httpx's successor
    answer = httpx2.MockTransport(lambda _: httpx2.Response(200, content=PROVIDER.body, headers={"content-type": "application/json"}))
    return openai.OpenAI(api_key="none", base_url="http://provider/v1", http_client=httpx2.Client(transport=answer))


def read_openai(body: bytes, encoding: str = "float") -> Numbers:
    """As openai's SDK gives it: without an `encoding_format` of the application's it asks for base64 and decodes it."""
    PROVIDER.body = body
    if encoding == "base64":
        return [one.embedding for one in _openai_client().embeddings.create(model="m", input="x").data]
    answer = _openai_client().embeddings.create(model="m", input="x", encoding_format="float")
    assert [one.index for one in answer.data] == list(range(len(answer.data)))
    type(answer).model_validate(orjson.loads(body), strict=True)
    return [one.embedding for one in answer.data]


@functools.cache
def _cohere_client() -> cohere.ClientV2:
    return cohere.ClientV2(api_key="none", base_url="http://provider", httpx_client=_http())


def read_cohere(body: bytes) -> Any:
    """The SDK's object of vectors by type."""
    PROVIDER.body = body
    answer = _cohere_client().embed(model="m", input_type="search_query", texts=["x"], embedding_types=["float"])
    assert answer.id
    assert answer.response_type == "embeddings_by_type"
    return answer.embeddings


@functools.cache
def _ollama_client() -> ollama.Client:
    client = ollama.Client(host="http://provider")
    client._client = _http()
    return client


def read_ollama(body: bytes, *, legacy: bool = False) -> Numbers:
    PROVIDER.body = body
    if legacy:
        return [list(_ollama_client().embeddings("m", "x").embedding)]
    answer = _ollama_client().embed("m", "x")
    assert answer.model
    return [list(one) for one in answer.embeddings]


@functools.cache
def _genai(vertex: bool) -> genai.Client:
    options = genai_types.HttpOptions(base_url="http://provider", httpx_client=_http())
    if vertex:
        # the SDK fetches no token for credentials that hold one
        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        credentials.token = "none"
        return genai.Client(vertexai=True, project="p", location="l", credentials=credentials, http_options=options)
    return genai.Client(api_key="none", http_options=options)


def read_gemini(body: bytes, *, vertex: bool = False) -> Any:
    """google-genai's answer; on Vertex AI the model decides that `:predict` is asked."""
    PROVIDER.body = body
    return _genai(vertex).models.embed_content(model="text-embedding-005", contents=["x"])


def unpacked(text: str) -> list[float]:
    """Base64 as OpenAI's and Cohere's users unpack it."""
    raw = base64.b64decode(text)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def numbers(body: bytes, dialect: str, *, form: str = "", encoding: str = "float") -> Numbers:
    """What an application gets."""
    match dialect:
        case "openai_embeddings":
            return read_openai(body, encoding)
        case "cohere_embeddings":
            found = read_cohere(body)
            return (
                [unpacked(text) for text in found.base64]
                if encoding == "base64"
                else getattr(found, f"{encoding}_" if encoding == "float" else encoding)
            )
        case "ollama_embeddings":
            return read_ollama(body, legacy=form == "legacy")
        case "vertex_embeddings":
            return [one.values for one in read_gemini(body, vertex=True).embeddings]
        case _ if form == "batch":
            return [one.values for one in read_gemini(body).embeddings]
        case _:
            # only Vertex AI's SDK asks for one content, and reads it out of the raw answer
            gemini_discovery._check(json.loads(body), {"$ref": gemini_discovery._PREFIX + "EmbedContentResponse"}, "answer")
            return [orjson.loads(body)["embedding"]["values"]]
