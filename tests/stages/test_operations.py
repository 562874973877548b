"""The table of paths: what every method and path asks for, under every alias, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.errors import ApiError, ErrorKind
from extproc.core.headers import passed_query
from extproc.registry.types import Passthrough
from extproc.stages.operations import PASSTHROUGH, Asked, Own, find, guess_dialect, model_and_stream

POSTS: list[tuple[str, str, str]] = [
    ("/v1/chat/completions", "openai_chat", ""),
    ("/v1/chat/completions/", "openai_chat", ""),
    ("/v1/responses", "openai_responses", ""),
    ("/v1/responses/input_tokens", "openai_count_tokens", ""),
    ("/v1/completions", "openai_completions", ""),
    ("/v1/embeddings", "openai_embeddings", ""),
    ("/v1/moderations", "openai_moderations", ""),
    ("/v1/images/generations", "openai_images", "generations"),
    ("/v1/images/edits", "openai_images", "edits"),
    ("/v1/images/variations", "openai_images", "variations"),
    ("/v1/audio/speech", "openai_speech", ""),
    ("/v1/audio/transcriptions", "openai_transcription", "transcriptions"),
    ("/v1/audio/translations", "openai_transcription", "translations"),
    ("/v1/messages", "anthropic_messages", ""),
    ("/v1/messages/count_tokens", "anthropic_count_tokens", ""),
    ("/anthropic/v1/messages", "anthropic_messages", ""),
    ("/api/v1/messages", "anthropic_messages", ""),
    ("/v2/chat", "cohere_chat", ""),
    ("/v2/embed", "cohere_embeddings", ""),
    ("/v2/rerank", "cohere_rerank", ""),
    ("/v1/rerank", "cohere_rerank", "v1"),
    ("/rerank", "cohere_rerank", "v1"),
    ("/api/chat", "ollama_chat", ""),
    ("/api/generate", "ollama_chat", "generate"),
    ("/api/embed", "ollama_embeddings", ""),
    ("/api/embeddings", "ollama_embeddings", "legacy"),
    # aliases of OpenAI's
    ("/openai/v1/chat/completions", "openai_chat", ""),
    ("/openai/responses", "openai_responses", ""),
    ("/api/v1/chat/completions", "openai_chat", ""),
    ("/inference/v1/embeddings", "openai_embeddings", ""),
    ("/v1beta/openai/chat/completions", "openai_chat", ""),
    ("/compatibility/v1/chat/completions", "openai_chat", ""),
    ("/chat/completions", "openai_chat", ""),
    ("/audio/speech", "openai_speech", ""),
]


@pytest.mark.parametrize(("path", "dialect", "form"), POSTS)
def test_posts(path: str, dialect: str, form: str) -> None:
    asked = find("POST", f"{path}?api-version=2025-01-01&key=secret", {})
    assert (asked.own, asked.dialect, asked.form, asked.model, asked.query) == (None, dialect, form, "", "")


PATHS: list[tuple[str, Asked]] = [
    ("/v1beta/models/gemini-x:generateContent", Asked("gemini", model="gemini-x", stream=False)),
    ("/v1/models/gemini-x:generateContent", Asked("gemini", model="gemini-x", stream=False)),
    ("/v1alpha/models/gemini-x:streamGenerateContent?alt=sse", Asked("gemini", model="gemini-x", stream=True)),
    ("/v1beta/models/gemini-x:streamGenerateContent?key=k", Asked("gemini", model="gemini-x", stream=True, form="array")),
    ("/v1beta/models/a%2Fb%3Ac:countTokens", Asked("gemini_count_tokens", model="a/b:c", stream=False)),
    ("/v1beta/models/org/name:embedContent", Asked("gemini_embeddings", model="org/name", stream=False)),
    ("/v1beta/models/e:batchEmbedContents", Asked("gemini_embeddings", model="e", stream=False, form="batch")),
    ("/v1/projects/p/locations/l/publishers/google/models/e:predict", Asked("vertex_embeddings", model="e", stream=False)),
    (
        "/v1/projects/p/locations/eu/publishers/google/models/gemini-x:generateContent?%24alt=json%3Benum-encoding%3Dint",
        Asked("gemini", model="gemini-x", stream=False, query="%24alt=json%3Benum-encoding%3Dint"),
    ),
    (
        "/v1beta1/publishers/google/models/gemini-x:streamGenerateContent?$alt=json;enum-encoding=int",
        Asked("gemini", model="gemini-x", stream=True, form="array"),
    ),
    (
        "/v1beta/models/x:generateContent?a=1&$alt=json;enum-encoding=int",
        Asked("gemini", model="x", stream=False, query="$alt=json;enum-encoding=int"),
    ),
    ("/model/eu.anthropic.c-v1%3A0/converse", Asked("bedrock_converse", model="eu.anthropic.c-v1:0", stream=False)),
    ("/model/arn%3Aaws%3Ab%3A%3A1%3Aip%2Fx/converse-stream", Asked("bedrock_converse", model="arn:aws:b::1:ip/x", stream=True)),
    ("/model/arn:aws:b::1:ip/x/count-tokens", Asked("bedrock_count_tokens", model="arn:aws:b::1:ip/x", stream=False)),
    ("/openai/deployments/my%20gpt/chat/completions?api-version=2025-04-01", Asked("openai_chat", model="my gpt")),
    ("/openai/deployments/w/audio/transcriptions", Asked("openai_transcription", model="w", form="transcriptions", form_data=True)),
    ("/v1/messages?beta=true&x=1", Asked("anthropic_messages", query="beta=true")),
]


@pytest.mark.parametrize(("path", "expected"), PATHS)
def test_what_stands_in_the_path(path: str, expected: Asked) -> None:
    assert find("POST", path, {}) == expected


GETS: list[tuple[str, dict[str, str], Own, str, str]] = [
    ("/v1/models", {}, Own.MODELS, "openai_chat", ""),
    ("/v1/models", {"anthropic-version": "2023-06-01"}, Own.MODELS, "anthropic_messages", ""),
    ("/v1/models", {"x-goog-api-client": "google-genai-sdk/1"}, Own.MODELS, "gemini", ""),
    ("/models", {}, Own.MODELS, "openai_chat", ""),
    ("/openai/v1/models", {}, Own.MODELS, "openai_chat", ""),
    ("/v1/models/llama3:8b", {}, Own.MODEL, "openai_chat", "llama3:8b"),
    ("/v1/models/meta%2Fllama", {}, Own.MODEL, "openai_chat", "meta/llama"),
    ("/api/v1/models/meta/llama", {}, Own.MODEL, "openai_chat", "meta/llama"),
    ("/v1beta/models", {}, Own.MODELS, "gemini", ""),
    ("/v1beta/models/g%2Fx", {}, Own.MODEL, "gemini", "g/x"),
    ("/v1beta/openai/models/x", {}, Own.MODEL, "openai_chat", "x"),
    ("/api/tags", {}, Own.MODELS, "ollama_chat", ""),
    ("/api/version", {}, Own.VERSION, "ollama_chat", ""),
    ("/", {}, Own.PROBE, "openai_chat", ""),
]


@pytest.mark.parametrize(("path", "headers", "own", "dialect", "model"), GETS)
def test_our_own_answers(path: str, headers: dict[str, str], own: Own, dialect: str, model: str) -> None:
    asked = find("GET", path, headers)
    assert (asked.own, asked.dialect, asked.model) == (own, dialect, model)


@pytest.mark.parametrize(
    ("method", "path", "headers", "kind"),
    [
        ("POST", "/v1/realtime/sessions", {}, ErrorKind.NOT_IMPLEMENTED),
        ("GET", "/openai/realtime?deployment=x", {}, ErrorKind.NOT_IMPLEMENTED),
        ("GET", "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", {}, ErrorKind.NOT_IMPLEMENTED),
        ("GET", "/v1/responses", {"upgrade": "WebSocket"}, ErrorKind.NOT_IMPLEMENTED),
        ("GET", "/v1/responses", {}, ErrorKind.METHOD_NOT_ALLOWED),
        ("GET", "/v1beta/models/x:generateContent", {}, ErrorKind.METHOD_NOT_ALLOWED),
        ("DELETE", "/v1/models/x", {}, ErrorKind.METHOD_NOT_ALLOWED),
        ("POST", "/v1beta/models/x:generateAnswer", {}, ErrorKind.NOT_FOUND),
        ("POST", "/model/x/invoke", {}, ErrorKind.NOT_FOUND),
        ("POST", "/v1/files", {}, ErrorKind.NOT_FOUND),
        ("POST", "/openai/deployments/x/models", {}, ErrorKind.NOT_FOUND),
        ("POST", "/v1/chat/completions/x", {}, ErrorKind.NOT_FOUND),
        ("POST", "/messages", {}, ErrorKind.NOT_FOUND),
    ],
)
def test_refusals(method: str, path: str, headers: dict[str, str], kind: ErrorKind) -> None:
    with pytest.raises(ApiError) as refused:
        find(method, path, headers)
    assert refused.value.kind is kind


@pytest.mark.parametrize(
    ("path", "there", "absent"),
    [
        ("/v2/nothing", "Of this API there are /v2/chat, /v2/embed, /v2/rerank, /v1/rerank;", "/v1/embeddings"),
        ("/api/pull", "/api/tags, /api/show, /api/version;", "/v2/rerank"),
        ("/v1beta/files", "/v1beta/models/{model}:embedContent", "/v2/embed"),
        ("/model/x/invoke", "/model/{model}/converse-stream, /model/{model}/count-tokens;", "/api/tags"),
        ("/v1/messages/batches", "/v1/messages, /v1/messages/count_tokens;", "/v1/audio/speech"),
        ("/v1/nothing", "/v1/audio/speech", "/api/tags"),
    ],
)
def test_an_unknown_path_is_told_its_neighbours(path: str, there: str, absent: str) -> None:
    with pytest.raises(ApiError) as refused:
        find("POST", path, {})
    assert there in refused.value.message
    assert absent not in refused.value.message
    assert "/v1/chat/completions" in refused.value.message


@pytest.mark.parametrize(
    ("path", "headers", "dialect"),
    [
        ("/v1/nothing", {}, "openai_chat"),
        ("/v1/nothing", {"anthropic-version": "x"}, "anthropic_messages"),
        ("/v1/messages/batches", {}, "anthropic_messages"),
        ("/v1beta/files", {}, "gemini"),
        ("/v1/models/x:predict", {}, "gemini"),
        ("/v1/nothing", {"amz-sdk-invocation-id": "1"}, "bedrock_converse"),
        ("/model/x/invoke", {}, "bedrock_converse"),
        ("/v2/classify", {}, "cohere_chat"),
        ("/v1/classify", {"x-fern-sdk-name": "cohere"}, "cohere_chat"),
        ("/api/pull", {}, "ollama_chat"),
        ("/api/v1/nothing", {}, "openai_chat"),
    ],
)
def test_the_dialect_of_an_error_is_guessed(path: str, headers: dict[str, str], dialect: str) -> None:
    assert guess_dialect(path, headers) == dialect


# pass-through

PASSED = (Passthrough("/v1/files/**", "oa@a"), Passthrough("/v1/responses/*", "oa@b"), Passthrough("/v1/batches", "oa@c"))


@pytest.mark.parametrize(
    ("method", "path", "cluster", "behind"),
    [
        ("GET", "/v1/files", "oa@a", "/files"),
        ("POST", "/v1/files/f-1/content", "oa@a", "/files/f-1/content"),
        ("DELETE", "/v1/files/f-1", "oa@a", "/files/f-1"),
        ("GET", "/v1/responses/resp_1", "oa@b", "/responses/resp_1"),
        ("GET", "/v1/responses/input_tokens", "oa@b", "/responses/input_tokens"),
        ("PATCH", "/v1/batches", "oa@c", "/batches"),
    ],
)
def test_passed_on(method: str, path: str, cluster: str, behind: str) -> None:
    asked = find(method, f"{path}?limit=2&key=SECRET&after=x", {}, PASSED)
    assert (asked.dialect, asked.cluster, asked.path, asked.query) == (PASSTHROUGH, cluster, behind, "limit=2&after=x")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/v1/filesx",
            "/v1/responses/a/b",
            "/v1/responses/",
            "/v1/batches/b",
            "/v2/files",
            "/v1/files/../chat/completions",
            "/v1/files/%2e%2e/models",
        ),
        *(
            "/v1/files/..;/models",
            "/v1/files/..%3b/models",
            "/v1/files/%252e%252e/models",
            "/v1/files/%25252Fx",
            "/v1/files/a%0d%0ab",
            "/v1/files/a#b",
        ),
        *("/v1/files/%2Fx", "/v1/files/a%5cb", "/v1/files/..", "/v1/files/./x", "/v1/files/a\\b", "/openai/v1/files"),
    ],
)
def test_not_passed_on(path: str) -> None:
    with pytest.raises(ApiError):
        find("GET", path, {}, PASSED)


def test_a_path_of_the_table_goes_before_one_that_passes() -> None:
    assert find("POST", "/v1/responses/input_tokens", {}, PASSED).dialect == "openai_count_tokens"
    everything = (Passthrough("/v1/**", "oa"),)
    assert find("POST", "/v1/chat/completions", {}, everything).cluster == ""
    assert find("GET", "/v1/chat/completions", {}, everything).cluster == "oa", "stored completions"


@pytest.mark.parametrize(
    ("query", "passed"),
    [
        ("key=K&limit=1", "limit=1"),
        ("limit=1&KEY=K&api%2Dkey=K&api_key=K", "limit=1"),
        ("metadata%5Ba%5D=b&purpose=batch", "metadata%5Ba%5D=b&purpose=batch"),
        ("&&", ""),
        ("monkey=1&page_token=p&after=a&keywords=k", "monkey=1&page_token=p&after=a&keywords=k"),
        ("X-Amz-Signature=S&AWSAccessKeyId=S&x-amz-security-token=S&X-Goog-Credential=S&a=1", "a=1"),
        ("subscription_key=S&client_secret=S&access-token=S&sig=S&key[]=S&a=1", "a=1"),
        ("a=1&b=2;key=S", "a=1"),
        ("api_version=2&API-Version=3&a=1", "a=1"),
    ],
)
def test_credentials_do_not_pass_in_a_query(query: str, passed: str) -> None:
    assert passed_query(query) == passed


# model and stream


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/chat/completions", {"model": "m"}, ("m", False)),
        ("/v1/chat/completions", {"model": "m", "stream": None}, ("m", False)),
        ("/api/chat", {"model": "m"}, ("m", True)),
        ("/api/chat", {"model": "m", "stream": False}, ("m", False)),
        ("/v1/moderations", {"input": "x"}, ("omni-moderation-latest", False)),
        ("/v1/embeddings", {"model": "m", "stream": True}, ("m", False)),
        ("/v1beta/models/g:countTokens", {"model": "models/other"}, ("g", False)),
        ("/openai/deployments/d/chat/completions", {"model": "other", "stream": True}, ("d", True)),
        ("/openai/deployments/d/chat/completions", {}, ("d", False)),
        ("/v1/audio/transcriptions", {"model": "w", "stream": "true"}, ("w", True)),
        ("/v1/audio/speech", {"model": "t", "stream_format": "sse"}, ("t", True)),
        ("/v1/audio/speech", {"model": "t", "stream_format": "audio"}, ("t", False)),
    ],
)
def test_model_and_stream(path: str, body: dict[str, object], expected: tuple[str, bool]) -> None:
    assert model_and_stream(body, find("POST", path, {})) == expected


@pytest.mark.parametrize("body", [[], None, {}, {"model": 7}, {"model": ""}, {"model": "m", "stream": "true"}, {"model": "m", "stream": 1}])
def test_model_and_stream_refuse(body: object) -> None:
    with pytest.raises(ApiError):
        model_and_stream(body, find("POST", "/v1/chat/completions", {}))


@given(st.text(max_size=80), st.sampled_from(["GET", "POST", "DELETE", "PUT"]), st.text(max_size=20))
def test_any_path_is_found_or_refused(path: str, method: str, query: str) -> None:
    for prefix in ("/", "/v1/", "/v1beta/models/", "/model/", "/openai/deployments/", "/v1/files/"):
        try:
            asked = find(method, f"{prefix}{path}?{query}", {}, PASSED)
        except ApiError:
            continue
        assert asked.dialect
