"""Estimates of tokens, held to what providers counted in recorded requests, and to laws where there are no recordings."""

from __future__ import annotations

import base64
import statistics
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.characters import SAMPLE, count
from extproc.core.prompt import Media, Prompt, read
from extproc.routing import media_tokens, tokens
from extproc.routing.tokens import CERTAIN, ERROR, FAMILIES, clamped, estimate, estimate_low, family_of
from tests.recorded_requests import Recorded, needs_recordings, recorded

# what providers counted


def knowable(one: Recorded) -> bool:
    """Is all that was counted in the request? Not where a provider adds what it keeps, runs tools of its own, or another one answers."""
    body = one.body
    kept = ("previous_response_id", "prompt", "conversation", "cachedContent", "cached_content", "mcp_servers", "container", "web_search_options")
    if (one.dialect.startswith("openai_responses") and body.get("prompt")) or any(body.get(name) for name in kept if name != "prompt"):
        return False
    if body.get("plugins") or body.get("models") or body.get("provider") or "prompt_caching" in one.name:
        # OpenRouter's choice; one recording's prompt was shortened by hand
        return False
    if b'"citations":{"enabled":true}' in orjson.dumps(body):
        # instructions of the provider's own
        return False
    tools = body.get("tools")
    own = {"openai_chat": "function", "openai_responses": "function", "anthropic_messages": "custom"}.get(one.dialect)
    for tool in tools if isinstance(tools, list) else [tools] if tools else []:
        kind = tool.get("type", own)
        if one.dialect == "gemini" and not tool.keys() <= {"functionDeclarations", "function_declarations"}:
            return False
        if own is not None and kind not in (own, "custom", None):
            return False
    return True


def counted() -> list[tuple[Recorded, Prompt, str]]:
    return [(one, read(one.dialect, one.body), family_of(one.model)) for one in recorded() if one.tokens and knowable(one)]


@needs_recordings
def test_the_stated_errors_hold() -> None:
    wrong: dict[str, list[float]] = {}
    for one, prompt, family in counted():
        if not prompt.media:
            wrong.setdefault(family, []).append(abs(estimate(prompt, family) - one.tokens) / max(one.tokens, 100))
    assert sum(map(len, wrong.values())) > 1700
    assert set(wrong) == set(ERROR) == set(FAMILIES)
    for family, errors in wrong.items():
        median, most = ERROR[family]
        ninth = sorted(errors)[int(len(errors) * 0.9)]
        assert statistics.median(errors) <= median, family
        assert ninth <= most, family
        # an error that is stated far too large says nothing
        assert median <= statistics.median(errors) * 2 + 0.03, family


@needs_recordings
def test_the_certain_part_is_certain() -> None:
    """But for a few tools that `tool_choice: none` left out, and one provider that forgot what it was told (33 tokens for 400 words)."""
    over = []
    for one, prompt, family in counted():
        low = estimate_low(prompt, family)
        if low > one.tokens:
            over.append((low, one.tokens, one.name))
    assert all(low < 100 for low, _, name in over if "bedrock" not in name), over
    assert len(over) <= 8, over


@needs_recordings
def test_images_of_known_size() -> None:
    exact = 0
    for one, prompt, family in counted():
        kinds = {(m.kind, m.head[:4]) for m in prompt.media}
        plain = not prompt.opaque and not prompt.calls and "gemini-3" not in one.model
        if plain and family in ("anthropic", "gemini") and kinds == {("image", "iVBO")}:
            exact += 1
            assert abs(estimate(prompt, family) - one.tokens) <= max(0.15 * one.tokens, 25), one.name
    assert exact >= 10


# families


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("gpt-4o-2024-11-20", "o200k"),
        ("gpt-4.1-nano", "o200k"),
        ("openai/gpt-5-mini", "o200k"),
        ("chatgpt-4o-latest", "o200k"),
        ("o3", "o200k"),
        ("o4-mini", "o200k"),
        ("gpt-4", "cl100k"),
        ("gpt-4-turbo-2024-04-09", "cl100k"),
        ("gpt-35-turbo", "cl100k"),
        ("text-embedding-3-small", "cl100k"),
        ("openai/gpt-oss-120b", "harmony"),
        ("claude-sonnet-4-5-20250929", "anthropic"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic"),
        ("claude-3-opus-20240229", "anthropic"),
        ("claude-opus-4-6", "anthropic"),
        ("anthropic/claude-opus-4.7", "anthropic_2026"),
        ("claude-opus-4-8", "anthropic_2026"),
        ("claude-sonnet-5", "anthropic_2026"),
        ("gemini-2.5-flash", "gemini"),
        ("google/gemma-3-27b-it", "gemini"),
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "llama"),
        ("us.meta.llama4-maverick-17b-instruct-v1:0", "llama"),
        ("mixtral-8x7b", "mistral"),
        ("magistral-medium", "mistral"),
        ("Qwen/Qwen3-32B", "qwen"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "deepseek"),
        ("command-r-plus", "cohere"),
        ("grok-4-fast", "grok"),
        ("us.amazon.nova-pro-v1:0", "nova"),
        ("somebody's own", "other"),
        ("", "other"),
        ("x" * 10_000, "other"),
    ],
)
def test_families(model: str, family: str) -> None:
    assert family_of(model) == family


# laws


def chat(*texts: str, **more: Any) -> Prompt:
    return read("openai_chat", {"messages": [{"role": "user", "content": text} for text in texts], **more})


@given(st.text(max_size=2000), st.text(max_size=2000), st.sampled_from(sorted(FAMILIES)))
def test_more_text_is_not_fewer_tokens(one: str, other: str, family: str) -> None:
    together = estimate(chat(one, other), family)
    assert together >= estimate(chat(one), family) - 1
    assert estimate_low(chat(one, other), family) <= together


@given(st.floats(), st.sampled_from(sorted(FAMILIES)))
def test_a_ratio_is_clamped(ratio: float, family: str) -> None:
    prompt = chat("some words of a prompt " * 50)
    plain = estimate_low(prompt, family)
    corrected = estimate_low(prompt, family, ratio)
    assert plain // 2 - 1 <= corrected <= plain * 2 + 2
    assert 0.5 <= clamped(ratio) <= 2.0


@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox jumps over the lazy dog. ",
        "Комиссия приняла решение в четверг. ",
        "委员会星期四作出了决定。",
        "def f(x):\n    return x[0] + 12\n",
        '{"id": 17, "name": "x"}\n',
    ],
)
def test_a_sample_stands_for_the_whole(text: str) -> None:
    """A text many times as long has as many times the tokens, whether it is sampled or not."""
    small, large = text * (SAMPLE // 2 // len(text)), text * (40 * SAMPLE // len(text))
    per = estimate(chat(small), "o200k") / len(small)
    assert estimate(chat(large), "o200k") / len(large) == pytest.approx(per, rel=0.06)
    pieces = estimate(chat(*[text * 20] * (len(large) // len(text) // 20)), "o200k")
    assert pieces / len(large) == pytest.approx(per, rel=0.25)


def test_known_texts() -> None:
    """The sentence of OpenAI's announcement of o200k, with the counts that it gives for both vocabularies."""
    for text, new, old in (
        ("Hello, my name is GPT-4o. I'm a new type of language model, it's nice to meet you!", 24, 27),
        ("Привет, меня зовут GPT-4o. Я — новая языковая модель, приятно познакомиться!", 39, 58),
        ("你好,我的名字是GPT-4o。我是一种新型的语言模型,很高兴见到你!", 24, 34),
        ("안녕하세요, 제 이름은 GPT-4o입니다. 저는 새로운 유형의 언어 모델입니다, 만나서 반갑습니다!", 27, 45),
    ):
        for family, real in (("o200k", new), ("cl100k", old)):
            of = FAMILIES[family]
            assert tokens._text(count([text]), of) == pytest.approx(real, rel=0.3), (text, family)


def test_tools_schemas_and_tokens_count() -> None:
    tools = [{"type": "function", "function": {"name": f"f{n}", "description": "finds " * 20, "parameters": {"type": "object"}}} for n in range(20)]
    for family in FAMILIES:
        with_tools, plain = chat("hello", tools=tools), chat("hello")
        assert estimate(with_tools, family) > estimate(plain, family) + 200
        assert estimate_low(with_tools, family) > estimate_low(plain, family)
        assert estimate(Prompt(tokens=500), family) >= 500
        assert estimate_low(Prompt(tokens=500), family) == 500


def test_nothing_is_certain_of_what_may_be_shortened_or_left_out() -> None:
    words = "some words of a prompt " * 500
    assert estimate_low(chat(words), "o200k") > 1000
    assert estimate_low(chat(words, transforms=["middle-out"]), "o200k") == 0
    assert estimate_low(read("openai_embeddings", {"input": [words]}), "cl100k") == 0
    media = Prompt(media=[Media("image", 4_000_000, "", "image/png")], thoughts=[words], opaque=100_000)
    assert estimate(media, "anthropic") > 1000
    assert estimate_low(media, "anthropic") == 0
    assert 0 < CERTAIN < 0.71


# media


def png(width: int, height: int) -> Media:
    raw = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes(30)
    return Media("image", 1000, base64.b64encode(raw).decode()[:64], "image/png")


@pytest.mark.parametrize(
    ("family", "width", "height", "expected"),
    [
        # the examples in the vendors' documentation
        ("o200k", 1024, 1024, 765),
        ("o200k", 2048, 4096, 1105),
        ("gemini", 384, 384, 258),
        ("gemini", 1024, 1024, 1032),
        ("anthropic", 200, 200, 64),
        ("anthropic", 1000, 1000, 1296),
        ("anthropic", 8000, 8000, 1568),
        ("other", 50, 50, 1000),
    ],
)
def test_images(family: str, width: int, height: int, expected: int) -> None:
    assert media_tokens.estimate([png(width, height)], family) == expected


def test_low_detail() -> None:
    image = png(2048, 2048)
    image.detail = "low"
    assert media_tokens.estimate([image], "o200k") == 85
    assert media_tokens.estimate([image], "gemini") > 258


@pytest.mark.parametrize(
    ("medium", "family", "low", "high"),
    [
        (Media("document", 0, "", "application/pdf"), "gemini", 258, 258 * 10),
        (Media("document", 4_000_000, "", "application/pdf"), "anthropic", 50_000, 300_000),
        (Media("document", 40_000, "", "text/plain"), "anthropic", 5_000, 10_000),
        (Media("audio", 32_000 * 60 * 4 // 3, "", "wav"), "gemini", 1900, 1950),
        (Media("audio", 0), "o200k", 100, 1000),
        (Media("video", 0), "gemini", 1000, 20_000),
        (Media("image", 0), "anthropic", 500, 1568),
        (Media("image", 400_000, "/9j/4AAQSkZJRgABAQ", "image/jpeg"), "anthropic", 800, 1568),
    ],
)
def test_other_media(medium: Media, family: str, low: int, high: int) -> None:
    assert low <= media_tokens.estimate([medium], family) <= high


@given(
    st.sampled_from(["image", "document", "audio", "video"]),
    st.integers(0, 10**9),
    st.text(max_size=64),
    st.text(max_size=20),
    st.sampled_from(sorted(FAMILIES)),
)
def test_no_header_makes_it_raise(kind: str, size: int, head: str, form: str, family: str) -> None:
    assert 0 <= media_tokens.estimate([Media(kind, size, head, form)], family) < 1e9


@given(
    st.binary(min_size=48, max_size=48),
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x00\x00\x00\x00WEBPVP8X", b"RIFF....WEBPVP8 ", b"RIFF....WEBPVP8L"]),
)
def test_no_size_in_a_header_is_beyond_reason(rest: bytes, start: bytes) -> None:
    head = base64.b64encode(start + rest).decode()[:64]
    width, height = media_tokens.dimensions(Media("image", 1000, head))
    assert 1 <= width <= 65_536
    assert 1 <= height <= 65_536
