"""Converse requests for AWS: paths, families of models, ids, tools, media."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.core.dialect import Ask, Facts, Need
from extproc.core.errors import BadRequestError, UntranslatableError
from extproc.core.ir import (
    Document,
    Image,
    Message,
    Reasoning,
    Request,
    Role,
    Source,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from extproc.core.tool_names import wire_name
from extproc.dialects.bedrock_converse.families import family
from extproc.dialects.bedrock_converse.wire import client_id, original_id, provider_id, redacted_in, redacted_out
from tests.dialects.bedrock_requests import CLAUDE, DIALECT, LOOP, NOVA, PNG, TOOL, assistant, encode, user


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0",
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.amazon.nova-pro-v1%3A0/converse",
        ),
    ],
)
def test_the_id_is_encoded_as_boto3_does(model: str, path: str) -> None:
    assert DIALECT.encode_request(Request(model, [user("q")]), Facts(model, "bedrock")).path == path


@pytest.mark.parametrize("model", ["../x", "a/../b", "a//b", "", "a?b", "a%2Fb", "a b", "a/.."])
def test_an_id_that_could_mean_another_resource_is_refused(model: str) -> None:
    for call in (
        lambda: DIALECT.encode_request(Request("m", [user("q")]), Facts(model, "bedrock")),
        lambda: DIALECT.splice_request(b"{}", {}, Facts(model, "bedrock"), Ask()),
    ):
        with pytest.raises(UntranslatableError):
            call()


def test_a_deployment_stands_for_the_model_on_the_wire() -> None:
    arn = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc123"
    facts = Facts("anthropic.claude-sonnet-4-6", "anthropic", deployment=arn)
    encoded = DIALECT.encode_request(Request("m", [user("q")], reasoning=Reasoning(effort="low")), facts)
    assert encoded.path.startswith("/model/arn%3A")
    assert orjson.loads(encoded.body)["additionalModelRequestFields"] == {"thinking": {"type": "adaptive"}}


@pytest.mark.parametrize(
    ("model", "vendor", "thinking", "choices"),
    [
        ("eu.anthropic.claude-opus-4-6-v1", "anthropic", "claude", 3),
        ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0", "bedrock", "claude", 3),
        ("abc123", "anthropic", "claude", 3),
        ("global.amazon.nova-2-lite-v1:0", "bedrock", "nova", 3),
        ("amazon.nova-micro-v1:0", "bedrock", "", 3),
        ("openai.gpt-oss-120b-1:0", "bedrock", "effort", 0),
        ("qwen.qwen3-32b-v1:0", "bedrock", "qwen", 0),
        ("mistral.mistral-large-3-675b-instruct", "bedrock", "", 2),
        ("moonshot.kimi-k2-thinking", "bedrock", "", 3),
        ("new-maker.model", "bedrock", "", 0),
    ],
)
def test_families(model: str, vendor: str, thinking: str, choices: int) -> None:
    found = family(model, vendor)
    assert (found.thinking, len(found.choices)) == (thinking, choices)


def test_titan_has_no_system_text() -> None:
    body, codes = encode(Message(Role.SYSTEM, [Text("be brief")]), user("q"), facts=Facts("amazon.titan-text-express-v1", "bedrock"))
    assert "system" not in body
    assert body["messages"][0]["content"][0] == {"text": "<system>\nbe brief\n</system>"}
    assert codes == {"coerced:system_position"}


@given(st.text(max_size=80))
def test_ids_survive_and_fit(call_id: str) -> None:
    assert original_id(client_id(call_id)) == call_id
    assert 1 <= len(provider_id(call_id or "x")) <= 56
    assert provider_id(call_id) == provider_id(call_id)


@pytest.mark.parametrize("name", ["f" * 64, "f" * 65, "mcp.server/tool", "ü"])
def test_names_fit(name: str) -> None:
    """The client's own name comes back in the answer (`core.tool_names`)."""
    body, _ = encode(user("q"), assistant(ToolCall("c1", name)), LOOP[2], tools=[Tool(name)], tool_choice=ToolChoice("tool", name))
    written = body["toolConfig"]["tools"][0]["toolSpec"]["name"]
    assert written == wire_name(name)
    assert body["toolConfig"]["toolChoice"]["tool"]["name"] == body["messages"][1]["content"][0]["toolUse"]["name"] == written


@given(st.binary(min_size=1, max_size=60))
def test_redacted_reasoning_comes_back_byte_for_byte(data: bytes) -> None:
    wire = base64.b64encode(data).decode()
    opaque = redacted_in(wire)
    assert opaque is not None
    assert opaque.vendor == "anthropic" or data.startswith(b"llm1.")
    assert redacted_out(opaque) == wire


def test_a_long_id_and_one_used_twice() -> None:
    long = "call_" + "x" * 90
    turns = [user("q"), *(m for _ in range(2) for m in (assistant(ToolCall(long, "f")), user(ToolResult(long, [Text("r")]))))]
    body, codes = encode(*turns, tools=[TOOL])
    used = [b["toolUse"]["toolUseId"] for m in body["messages"] for b in m["content"] if "toolUse" in b]
    answered = [b["toolResult"]["toolUseId"] for m in body["messages"] for b in m["content"] if "toolResult" in b]
    assert used == answered
    assert len(set(used)) == 2
    assert codes == {"coerced:tool_id"}


def test_none_drops_the_tools() -> None:
    body, codes = encode(tools=[TOOL], tool_choice=ToolChoice("none"))
    assert "toolConfig" not in body
    assert not codes


def test_none_behind_calls_keeps_them_and_asks_for_text() -> None:
    body, codes = encode(*LOOP, tools=[TOOL], tool_choice=ToolChoice("none"))
    assert [t["toolSpec"]["name"] for t in body["toolConfig"]["tools"]] == ["f"]
    assert "toolChoice" not in body["toolConfig"]
    assert "Do not call any tool" in body["system"][-1]["text"]
    assert codes == {"coerced:tool_choice"}


def test_calls_in_the_history_want_tools() -> None:
    body, codes = encode(*LOOP)
    assert body["toolConfig"] == {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]}
    assert codes == {"defaulted:tools", "coerced:tool_choice"}


@pytest.mark.parametrize(
    ("choice", "facts", "wanted", "codes"),
    [
        (ToolChoice("auto"), CLAUDE, {"auto": {}}, set()),
        (ToolChoice("required"), NOVA, {"any": {}}, set()),
        (ToolChoice("tool", "f"), CLAUDE, {"tool": {"name": "f"}}, set()),
        (ToolChoice("required"), Facts("meta.llama3-3-70b-instruct-v1:0", "bedrock"), None, {"dropped:tool_choice"}),
        (ToolChoice("tool", "f"), Facts("mistral.mistral-large-2407-v1:0", "bedrock"), {"any": {}}, {"dropped:tool_choice", "coerced:allowed_tools"}),
        (None, CLAUDE, None, set()),
    ],
)
def test_choices(choice: ToolChoice | None, facts: Facts, wanted: Any, codes: set[str]) -> None:
    body, found = encode(tools=[TOOL, Tool("g")], tool_choice=choice, facts=facts)
    assert body["toolConfig"].get("toolChoice") == wanted
    assert found == codes


@pytest.mark.parametrize(
    ("choice", "fields", "written"),
    [
        (None, {"type": "auto", "disable_parallel_tool_use": True}, None),
        (ToolChoice("auto"), {"type": "auto", "disable_parallel_tool_use": True}, None),
        (ToolChoice("required"), {"disable_parallel_tool_use": True}, {"any": {}}),
    ],
)
def test_one_call_at_a_time(choice: ToolChoice | None, fields: Any, written: Any) -> None:
    """AWS refuses a request that names the type of the choice twice, and one that has a choice without tools."""
    body, codes = encode(tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)
    assert body["additionalModelRequestFields"] == {"tool_choice": fields}
    assert body["toolConfig"].get("toolChoice") == written
    assert not codes
    assert "additionalModelRequestFields" not in encode(parallel_tool_calls=False)[0]
    assert encode(tools=[TOOL], parallel_tool_calls=False, facts=NOVA)[1] == {"dropped:parallel_tool_calls"}


def test_results_stand_first_and_in_one_turn() -> None:
    history = (
        user("q"),
        assistant(ToolCall("a", "f"), ToolCall("b", "f")),
        user("meanwhile", ToolResult("b", [Text("2")], is_error=True)),
        user(ToolResult("a", [Text("1"), Image(Source("image/png", data=PNG))])),
    )
    body, codes = encode(*history, tools=[TOOL])
    turn = body["messages"][2]["content"]
    assert [next(iter(block)) for block in turn] == ["toolResult", "toolResult", "text"]
    assert turn[0]["toolResult"] == {"toolUseId": "b", "content": [{"text": "2"}], "status": "error"}
    assert turn[1]["toolResult"]["content"][1]["image"]["format"] == "png"
    assert codes == {"coerced:tool_result_position"}


def test_what_a_model_refuses_beside_results_follows() -> None:
    llama = Facts("us.meta.llama4-maverick-17b-instruct-v1:0", "bedrock")
    body, codes = encode(*LOOP[:2], user(ToolResult("c1", [Text("r")]), "and now?"), tools=[TOOL], facts=llama)
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user", "assistant", "user"]
    assert body["messages"][-1]["content"] == [{"text": "and now?"}]
    assert codes == {"coerced:turn_order"}
    assert len(encode(*LOOP[:2], user(ToolResult("c1", [Text("r")]), "and now?"), tools=[TOOL])[0]["messages"]) == 3


def test_media_that_a_result_cannot_hold_stands_beside_it() -> None:
    kimi = Facts("moonshot.kimi-k2-thinking", "bedrock")
    body, codes = encode(*LOOP[:2], user(ToolResult("c1", [Image(Source("image/png", data=PNG))])), tools=[TOOL], facts=kimi)
    assert body["messages"][2]["content"][0]["toolResult"]["content"] == [{"text": "(no output)"}]
    assert "image" in body["messages"][2]["content"][1]
    assert codes == {"coerced:tool_result_media", "coerced:tool_result_empty"}


@pytest.mark.parametrize("messages", [(user("q"), assistant(ToolCall("a", "f"))), (user("q"), user(ToolResult("a", [])))])
def test_what_cannot_be_paired_is_a_400(messages: tuple[Message, ...]) -> None:
    with pytest.raises(BadRequestError):
        encode(*messages, tools=[TOOL])


def test_documents_have_names_of_their_own() -> None:
    pdf = Source("application/pdf", data="JVBERi0=")
    names = ["a.pdf", None, None, "a-pdf", "a  b", "document 2", "../../etc", "«»"]
    body, codes = encode(user(*(Document(pdf, name) for name in names), "compare"))
    found = [b["document"]["name"] for b in body["messages"][0]["content"] if "document" in b]
    assert found == ["a-pdf", "document", "document 2", "a-pdf 2", "a b", "document 2 2", "etc", "document 3"]
    assert codes == {"coerced:document_title"}


def test_a_document_is_never_alone() -> None:
    body, codes = encode(user(Document(Source("text/csv", data="YQ=="))))
    assert body["messages"][0]["content"][1] == {"text": "(See the document.)"}
    assert codes == {"coerced:document_alone"}


def test_text_documents() -> None:
    note = Document(Source("text/plain", text="Straße"), "note", "about", citations=True)
    body, codes = encode(user(note, "q"))
    assert body["messages"][0]["content"][0]["document"] == {
        "format": "txt",
        "name": "note",
        "source": {"text": "Straße"},
        "context": "about",
        "citations": {"enabled": True},
    }
    assert not codes
    body, codes = encode(user(note, "q"), facts=NOVA)
    assert base64.b64decode(body["messages"][0]["content"][0]["document"]["source"]["bytes"]).decode() == "Straße"
    assert codes == {"dropped:document_context", "dropped:document_citations"}


@pytest.mark.parametrize(
    "source",
    [Source(url="https://x/y.png"), Source(file_id="file-1"), Source("image/bmp", data="Qk0="), Source("image/svg+xml", data="PHN2Zz4=")],
)
def test_images_are_bytes_of_four_kinds(source: Source) -> None:
    with pytest.raises(UntranslatableError):
        encode(user(Image(source)))
    assert not {Need.IMAGE_URL, Need.DOCUMENT_URL} & DIALECT.carries


def test_a_mark_behind_blank_text_marks_what_stood_in_front_of_it() -> None:
    body, codes = encode(user(Text(" ", "5m"), "a", Text("\n", "1h"), Text("b", "default"), Text("", "5m")))
    hour, plain = ({"cachePoint": {"type": "default", "ttl": "1h"}}, {"cachePoint": {"type": "default"}})
    assert body["messages"][0]["content"] == [{"text": "a"}, hour, {"text": "b"}, plain]
    assert codes == {"dropped:empty_text"}
