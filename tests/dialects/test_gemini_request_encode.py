"""The canonical conversation to Gemini: goldens, the rules of the API, what is reported. Every body passes the strict validator."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.dialect import NO_ASK, Ask, Facts
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import (
    Audio,
    Block,
    Document,
    Foreign,
    ForeignTool,
    Image,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Request,
    Role,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Video,
)
from extproc.dialects.gemini import GEMINI
from tests.dialects.gemini_bodies import FLASH, GEMINI3, NAMES, encode, model, user
from tests.validators.gemini_discovery import check_request


def test_golden_conversation() -> None:
    encoded = GEMINI.encode_request(
        Request(
            "asked",
            [
                Message(Role.SYSTEM, [Text("Be brief.")]),
                Message(Role.DEVELOPER, [Text("Use tools.")]),
                user(Text("What is this?"), Image(Source(media_type="image/png", data="aGk="))),
                model(
                    Thinking("hm"),
                    Text("Looking.", opaque=Opaque("gemini", "dA==")),
                    ToolCall("c1", "look", '{"z":1,"a":2}', Opaque("gemini", "Yw==")),
                ),
                user(ToolResult("c1", [Text('{"is":"a cat"}')]), Text("and?")),
            ],
            stream=True,
            max_tokens=100,
            temperature=0.5,
            top_p=0.9,
            top_k=40,
            stop=["END"],
            tools=[Tool("look", "looks", {"type": "object", "properties": {"z": {"type": ["integer", "null"]}}, "additionalProperties": False})],
            tool_choice=ToolChoice("auto"),
            reasoning=Reasoning(effort="low", show=True),
            knobs={"seed": 7},
        ),
        FLASH,
    )
    assert encoded.path == "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    assert encoded.losses == []
    assert encoded.body == (
        b'{"systemInstruction":{"parts":[{"text":"Be brief."},{"text":"Use tools."}]},'
        b'"contents":[{"role":"user","parts":[{"text":"What is this?"},{"inlineData":{"mimeType":"image/png","data":"aGk="}}]},'
        b'{"role":"model","parts":[{"text":"hm","thought":true},{"text":"Looking.","thoughtSignature":"dA=="},'
        b'{"functionCall":{"name":"look","args":{"z":1,"a":2},"id":"c1"},"thoughtSignature":"Yw=="}]},'
        b'{"role":"user","parts":[{"functionResponse":{"name":"look","response":{"is":"a cat"},"id":"c1"}},{"text":"and?"}]}],'
        b'"tools":[{"functionDeclarations":[{"name":"look","description":"looks","parametersJsonSchema":'
        b'{"type":"object","properties":{"z":{"type":["integer","null"]}},"additionalProperties":false}}]}],'
        b'"toolConfig":{"functionCallingConfig":{"mode":"AUTO"}},'
        b'"generationConfig":{"temperature":0.5,"topP":0.9,"topK":40,"maxOutputTokens":100,"stopSequences":["END"],"seed":7,'
        b'"thinkingConfig":{"includeThoughts":true,"thinkingBudget":1024}}}'
    )
    check_request(encoded.body)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("gemini-2.5-pro", "/models/gemini-2.5-pro:generateContent"),
        ("models/gemini-2.5-pro", "/models/gemini-2.5-pro:generateContent"),
        ("tunedModels/mine-1", "/tunedModels/mine-1:generateContent"),
    ],
)
def test_paths(name: str, path: str) -> None:
    request = Request("", [user(Text("q"))])
    assert GEMINI.encode_request(request, Facts(name, "gemini")).path == path
    assert GEMINI.splice_request(b"{}", {}, Facts(name, "gemini"), NO_ASK).path == path


@pytest.mark.parametrize(
    "name",
    ["", "..", "a/../b", "models/..", "x/y", "a%2Fb", "a?alt=sse", "a#b", "a b", "a:countTokens", "models/models/a", "/a", "a\n", "é", "models/"],
)
def test_unsafe_model_names_are_refused(name: str) -> None:
    with pytest.raises(UntranslatableError):
        GEMINI.encode_request(Request("", [user(Text("q"))]), Facts(name, "gemini"))
    with pytest.raises(UntranslatableError):
        GEMINI.splice_request(b"{}", {}, Facts(name, "gemini"), NO_ASK)


@pytest.mark.parametrize(
    ("ask", "method"),
    [
        (Ask("x", stream=True), "streamGenerateContent?alt=sse"),
        (Ask("x", stream=True, form="array"), "streamGenerateContent?alt=sse"),
        (Ask("x"), "generateContent"),
    ],
)
def test_splice_keeps_the_body(ask: Ask, method: str) -> None:
    raw = b'{ "contents": [ {"parts":[{"text":"\\u00e9", "new": 1}]} ] }'
    encoded = GEMINI.splice_request(raw, orjson.loads(raw), FLASH, ask)
    assert encoded.body == raw
    assert encoded.path == f"/models/gemini-2.5-flash:{method}"
    assert encoded.losses == []


def test_same_role_runs_are_merged_and_empty_texts_reported() -> None:
    body, losses = encode(user(Text("a"), Text("")), user(Text("b")), model(Text("c")), model(Text("d")), model(Text("")))
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        {"role": "model", "parts": [{"text": "c"}, {"text": "d"}]},
    ]
    assert losses == ["dropped:empty_text"]


def test_system_text_in_the_middle_keeps_its_authority() -> None:
    body, losses = encode(user(Text("q")), Message(Role.SYSTEM, [Text("now in French")]))
    assert body["systemInstruction"] == {"parts": [{"text": "now in French"}]}
    assert losses == ["coerced:system_position"]


def test_only_system_text_becomes_the_users_turn() -> None:
    body, losses = encode(Message(Role.SYSTEM, [Text("write a poem")]))
    assert body == {"contents": [{"role": "user", "parts": [{"text": "write a poem"}]}]}
    assert losses == ["coerced:system_position"]


@pytest.mark.parametrize("messages", [[], [user()], [user(Text(""))], [model(Thinking(""))]])
def test_nothing_to_say_is_refused(messages: list[Message]) -> None:
    with pytest.raises(BadRequestError):
        GEMINI.encode_request(Request("", messages), FLASH)


def test_results_stand_first_in_the_order_of_the_calls() -> None:
    body, losses = encode(
        user(Text("q")),
        model(ToolCall("a", "f", '{"n":1}'), Text("meanwhile"), ToolCall("b", "f", '{"n":2}')),
        user(ToolResult("b", [Text("two")])),
        user(Text("hurry"), ToolResult("a", [Text("one")])),
    )
    assert [p.get("functionResponse", p) for p in body["contents"][2]["parts"]] == [
        {"name": "f", "response": {"result": "one"}, "id": "a"},
        {"name": "f", "response": {"result": "two"}, "id": "b"},
        {"text": "hurry"},
    ]
    assert losses == []


def test_synthetic_ids_go_back_as_no_ids() -> None:
    body, _ = encode(user(Text("q")), model(ToolCall("call_g_resp_0", "f")), user(ToolResult("call_g_resp_0", [])))
    assert body["contents"][1]["parts"] == [{"functionCall": {"name": "f", "args": {}}}]
    assert body["contents"][2]["parts"] == [{"functionResponse": {"name": "f", "response": {"result": ""}}}]


@pytest.mark.parametrize(
    ("content", "is_error", "response"),
    [
        (["plain"], False, {"result": "plain"}),
        (["a", "b"], False, {"result": ["a", "b"]}),
        ([], False, {"result": ""}),
        (['{"a": 1}'], False, {"a": 1}),
        (["[1,2]"], False, {"result": "[1,2]"}),
        (["{broken"], False, {"result": "{broken"}),
        (["boom"], True, {"error": "boom"}),
        (['{"code": 5}'], True, {"error": {"code": 5}}),
        ([], True, {"error": ""}),
    ],
)
def test_tool_results(content: list[str], is_error: bool, response: dict[str, Any]) -> None:
    result = ToolResult("c", [Text(text) for text in content], is_error=is_error)
    body, losses = encode(user(Text("q")), model(ToolCall("c", "f")), user(result))
    assert body["contents"][2]["parts"][0]["functionResponse"] == {"name": "f", "response": response, "id": "c"}
    assert losses == []


def test_a_result_without_its_call_stays_in_the_conversation() -> None:
    body, losses = encode(user(Text("q"), ToolResult("lost", [Text("42")])))
    assert body["contents"][0]["parts"] == [{"text": "q"}, {"text": "42"}]
    assert losses == ["coerced:orphan_tool_result"]


def test_so_does_its_image() -> None:
    body, losses = encode(user(Text("q"), ToolResult("lost", [Text("42"), Image(Source("image/png", "aW1n"))])))
    assert body["contents"][0]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": "aW1n"}}, {"text": "q"}, {"text": "42"}]
    assert losses == ["coerced:orphan_tool_result", "coerced:tool_result_media"]


def test_images_in_tool_results() -> None:
    image = Image(Source(media_type="image/png", data="aGk="))
    turns = (user(Text("q")), model(ToolCall("c", "f", opaque=Opaque("gemini", "cw=="))), user(ToolResult("c", [Text("see"), image])))
    inline = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    new, losses = encode(*turns, facts=GEMINI3)
    assert new["contents"][2]["parts"] == [{"functionResponse": {"name": "f", "response": {"result": "see"}, "id": "c", "parts": [inline]}}]
    assert losses == []
    old, losses = encode(*turns)
    assert old["contents"][2]["parts"] == [{"functionResponse": {"name": "f", "response": {"result": "see"}, "id": "c"}}, inline]
    assert losses == ["coerced:tool_result_media"]


@pytest.mark.parametrize(
    ("text", "args", "losses"),
    [
        ("", {}, []),
        (" \n", {}, []),
        ('{"big":123456789012345678901234567890}', {"big": 1.2345678901234568e29}, []),
        ("[1]", {"arguments": "[1]"}, ["coerced:tool_arguments"]),
        ('{"cut": ', {"arguments": '{"cut": '}, ["coerced:tool_arguments"]),
        ('"text"', {"arguments": '"text"'}, ["coerced:tool_arguments"]),
    ],
)
def test_arguments(text: str, args: dict[str, Any], losses: list[str]) -> None:
    body, found = encode(user(Text("q")), model(ToolCall("c", "f", text)), user(ToolResult("c", [])))
    assert body["contents"][1]["parts"][0]["functionCall"]["args"] == args
    assert found == losses


def test_arguments_stay_raw() -> None:
    raw = '{"z": 123456789012345678901234567890, "a": 1.50, "é": "\\u00e9"}'
    encoded = GEMINI.encode_request(Request("", [user(Text("q")), model(ToolCall("c", "f", raw))]), FLASH)
    assert raw.encode() in encoded.body


@pytest.mark.parametrize(
    ("block", "part", "losses"),
    [
        (Image(Source(url="https://x.test/a.JPG?w=1")), {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://x.test/a.JPG?w=1"}}, []),
        (Image(Source(url="https://x.test/a")), {"fileData": {"mimeType": "image/png", "fileUri": "https://x.test/a"}}, ["coerced:media_type"]),
        (Image(Source(data="/9j/aaaa")), {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/aaaa"}}, []),
        (
            Image(Source(media_type="image/webp", data="aGk="), detail="high"),
            {"inlineData": {"mimeType": "image/webp", "data": "aGk="}},
            ["dropped:image_detail"],
        ),
        (Document(Source(url="https://x.test/a.pdf")), {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.test/a.pdf"}}, []),
        (
            Document(Source(media_type="application/pdf", data="JVBERi0="), title="T", citations=True),
            {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
            ["dropped:document_title", "dropped:document_citations"],
        ),
        (Document(Source(text="hi")), {"inlineData": {"mimeType": "text/plain", "data": "aGk="}}, []),
        (
            Document(Source(media_type="text/plain", file_id="https://generativelanguage.googleapis.com/v1beta/files/x")),
            {"fileData": {"mimeType": "text/plain", "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x"}},
            [],
        ),
        (Audio(Source(media_type="audio/wav", data="UklG")), {"inlineData": {"mimeType": "audio/wav", "data": "UklG"}}, []),
        (Video(Source(url="https://x.test/v.mp4")), {"fileData": {"mimeType": "video/mp4", "fileUri": "https://x.test/v.mp4"}}, []),
        (Refusal("I won't"), {"text": "I won't"}, ["coerced:refusal"]),
        (Text("t", cache="5m", citations=[{}], citations_from="anthropic_messages"), {"text": "t"}, ["dropped:cache_control", "dropped:citations"]),
        (
            Foreign("gemini", "executableCode", {"executableCode": {"language": "PYTHON", "code": "1"}}),
            {"executableCode": {"language": "PYTHON", "code": "1"}},
            [],
        ),
    ],
)
def test_blocks(block: Block, part: dict[str, Any], losses: list[str]) -> None:
    body, found = encode(user(block))
    assert body["contents"] == [{"role": "user", "parts": [part]}]
    assert found == losses


def test_a_documents_context_goes_before_it() -> None:
    body, losses = encode(user(Document(Source(text="hi"), context="a letter")))
    assert body["contents"][0]["parts"][0] == {"text": "a letter"}
    assert losses == ["coerced:document_context"]


@pytest.mark.parametrize(
    "members",
    [
        {"messages": [user(Foreign("anthropic_messages", "server_tool_use", {}))]},
        {"messages": [user(Document(Source(file_id="file-abc")))]},
        {"messages": [user(Text("q"), ToolResult("c", [Foreign("x", "y", {})]))]},
        {"tools": [ForeignTool("openai_chat", "web_search", {})]},
        {"tools": [Tool("")]},
        {"tools": [Tool("9" * 129)]},
    ],
)
def test_what_cannot_be_carried_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(UntranslatableError):
        GEMINI.encode_request(Request(**({"model": "", "messages": [user(Text("q"))]} | members)), FLASH)


def test_a_schema_nested_too_deep_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(2000):
        schema = {"items": schema}
    with pytest.raises(UntranslatableError):
        GEMINI.encode_request(Request("", [user(Text("q"))], tools=[Tool("f", parameters=schema)]), FLASH)


def test_signatures_of_others_are_dropped_and_stand_ins_set_for_gemini_3() -> None:
    messages = (
        user(Text("q")),
        model(Thinking("why", Opaque("anthropic", "sig")), ToolCall("a", "f"), ToolCall("b", "g")),
        user(ToolResult("a", []), ToolResult("b", [])),
        model(ToolCall("c", "f", opaque=Opaque("gemini", "cw=="))),
        user(ToolResult("c", [])),
    )
    new, losses = encode(*messages, facts=GEMINI3)
    assert new["contents"][1]["parts"] == [
        {"text": "why", "thought": True},
        {"functionCall": {"name": "f", "args": {}, "id": "a"}, "thoughtSignature": "skip_thought_signature_validator"},
        {"functionCall": {"name": "g", "args": {}, "id": "b"}},
    ]
    assert new["contents"][3]["parts"][0]["thoughtSignature"] == "cw=="
    assert losses == ["signature:foreign", "coerced:thought_signature"]
    old, losses = encode(*messages)
    assert "thoughtSignature" not in old["contents"][1]["parts"][1]
    assert losses == ["signature:foreign"]


def test_the_prefix_does_not_change_when_the_conversation_grows() -> None:
    turns = [user(Text("q")), model(ToolCall("a", "f")), user(ToolResult("a", [Text("1")])), model(Text("done")), user(Text("more"))]
    shorter, longer = (encode(*turns[:n], facts=GEMINI3)[0]["contents"] for n in (3, 5))
    assert longer[:3] == shorter


def test_redacted_thinking_of_others_is_reported() -> None:
    body, losses = encode(user(Text("q")), model(Thinking("", Opaque("anthropic", "x"), redacted=True), Text("a")))
    assert body["contents"][1]["parts"] == [{"text": "a"}]
    assert losses == ["signature:foreign"]


_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=0, max_size=8)
_opaques = st.sampled_from([None, Opaque("gemini", "c2ln"), Opaque("anthropic", "x")])
_said = st.one_of(st.builds(Text, _texts, opaque=_opaques), st.builds(Thinking, _texts, _opaques), st.builds(Refusal, _texts))
_asked = st.one_of(st.builds(Text, _texts), st.just(Image(Source(url="https://x.test/a.png"))), st.just(Document(Source(text="d"))))


@st.composite
def _conversations(draw: st.DrawFn) -> list[Message]:
    messages = [Message(Role.SYSTEM, [Text(draw(_texts))]), user(Text("q"))]
    for turn in range(draw(st.integers(0, 4))):
        calls = [
            ToolCall(f"c{turn}-{n}", draw(st.sampled_from(NAMES)), draw(st.sampled_from(["", "{}", '{"a":1}', "broken"])), draw(_opaques))
            for n in range(draw(st.integers(0, 3)))
        ]
        messages.append(model(*draw(st.lists(_said, max_size=2)), *calls, *draw(st.lists(_said, max_size=1))))
        results: list[Block] = [ToolResult(c.id, [Text(draw(_texts))], is_error=draw(st.booleans())) for c in calls]
        for result in draw(st.permutations(results)):
            messages.append(user(result, *draw(st.lists(_asked, max_size=1))))
        if not calls:
            messages.append(user(Text("next"), *draw(st.lists(_asked, max_size=1))))
    return messages


@settings(max_examples=150, deadline=None)
@given(_conversations(), st.sampled_from([FLASH, GEMINI3]))
def test_every_conversation_is_valid_and_repeatable(messages: list[Message], facts: Facts) -> None:
    encoded = GEMINI.encode_request(Request("", messages), facts)
    check_request(encoded.body)
    assert GEMINI.encode_request(Request("", messages), facts) == encoded
