"""The slot for signatures, and turns of the model put together again from what clients send back."""

from __future__ import annotations

import base64
import itertools
import json
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.core.dialect import Ask, Facts
from extproc.core.ir import Block, Opaque, Request, Role, Text, Thinking, ToolCall
from extproc.core.losses import Losses
from extproc.dialects.gemini import GEMINI, signature
from extproc.dialects.gemini.signature import Carried

CLAUDE = Opaque("anthropic", "c2ln")
FLASH = Facts("gemini-2.5-flash", "gemini")
GEMINI_3 = Facts("gemini-3-flash-preview", "gemini")


def slot(opaque: Opaque | None = CLAUDE, *thoughts: Thinking, call_id: str = "toolu_1", before: int = 0) -> str:
    carried = Carried()
    for _ in range(before):
        carried.call(ToolCall("x", "f"))
    for thought in thoughts:
        carried.wait(thought)
    return carried.call(ToolCall(call_id, "f", "", opaque))


_opaques = st.builds(Opaque, st.sampled_from(["anthropic", "openai", "bedrock"]), st.text(min_size=1, max_size=50))
_thoughts = st.builds(Thinking, st.text(max_size=50), _opaques, st.booleans())


@given(st.none() | _opaques, st.lists(_thoughts, max_size=3), st.text(max_size=20), st.booleans(), st.booleans())
def test_there_and_back(opaque: Opaque | None, thoughts: list[Thinking], call_id: str, urlsafe: bool, padded: bool) -> None:
    """Python's SDK sends the URL-safe alphabet, others what they got; padding may be gone."""
    given = slot(opaque, *thoughts, call_id=call_id)
    assert base64.b64decode(given, validate=True)[:5] == b"llm1:"
    if urlsafe:
        given = given.translate(str.maketrans("+/", "-_"))
    if not padded:
        given = given.rstrip("=")
    assert signature.read(given) == (call_id, opaque, thoughts)


@pytest.mark.parametrize("own", ["CiQB4/+=", "", "skip_thought_signature_validator", None, 5, "not base64 at all!"])
def test_what_is_geminis_own(own: Any) -> None:
    call_id, opaque, thoughts = signature.read(own)
    assert (call_id, thoughts) == ("", [])
    assert opaque == (Opaque("gemini", own) if own in ("CiQB4/+=", "not base64 at all!") else None)


@given(st.text(alphabet="abcAB01+/-_=!", max_size=40), st.sampled_from(["bGxtMTo6", "bGxtMTo7", "bGxtMTor", "bGxtMTos"]))
def test_forged_slots_hold_nothing(rest: str, prefix: str) -> None:
    assert signature.read(prefix + rest)[1:] == (None, [])


def test_every_kind_of_slot_is_known_by_its_first_letters() -> None:
    found = {slot(opaque, before=before)[:8] for opaque in (CLAUDE, None) for before in (0, 1)}
    assert found == {"bGxtMTo6", "bGxtMTo7", "bGxtMTor", "bGxtMTos"}


# for a Gemini model


def spliced(raw: bytes, facts: Facts) -> tuple[bytes, list[str]]:
    built = GEMINI.splice_request(raw, orjson.loads(raw), facts, Ask("m"))
    return built.body, [loss.code for loss in built.losses]


def _body(*slots: str) -> bytes:
    calls = [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": s} for s in slots]
    return json.dumps({"contents": [{"role": "model", "parts": calls}], "n": 1e400 if not slots else 1}).encode()


def _slots(body: bytes) -> list[str]:
    return [part.get("thoughtSignature", part.get("thought_signature")) for part in orjson.loads(body)["contents"][0]["parts"]]


@pytest.mark.parametrize(
    "spell",
    [
        lambda raw: raw,
        lambda raw: raw.replace(b"=", b"\\u003d").replace(b"/", b"\\/"),
        lambda raw: raw.replace(b"thoughtSignature", b"thought_signature"),
        lambda raw: raw.replace(b'": "', b'"\n:\t"'),
    ],
)
def test_state_of_others_goes_however_it_is_spelt(spell: Any) -> None:
    raw = spell(_body(slot(CLAUDE), slot(CLAUDE, before=1), "Z2VtaW5p"))
    for facts, first in ((FLASH, ""), (GEMINI_3, "skip_thought_signature_validator")):
        body, losses = spliced(raw, facts)
        assert _slots(body) == [first, "", "Z2VtaW5p"]
        assert losses == ["signature:foreign"] + ["coerced:thought_signature"] * bool(first)


def test_a_call_without_any_state_is_no_loss() -> None:
    raw = _body(slot(None))
    assert spliced(raw, FLASH) == (raw.replace(slot(None).encode(), b""), [])
    assert spliced(raw, GEMINI_3)[1] == ["coerced:thought_signature"]


def test_texts_that_quote_a_slot_stay() -> None:
    raw = json.dumps({"contents": [{"parts": [{"text": f'{{"thoughtSignature": "{slot()}"}}'}, {"text": slot()}]}]}).encode()
    for facts in (FLASH, GEMINI_3):
        assert spliced(raw, facts) == (raw, [])


def test_nothing_to_clean_is_the_same_object() -> None:
    raw = b'{"contents":[{"parts":[{"text":"q"}]}]}'
    assert signature.cleaned(raw, Losses(), stand_in=True) is raw


# turns


def decode(*contents: list[dict[str, Any]]) -> list[Block]:
    """The blocks of a turn whose contents have these parts."""
    body = {"contents": [{"role": "user", "parts": [{"text": "q"}]}, *({"role": "model", "parts": parts} for parts in contents)]}
    request: Request = GEMINI.decode_request(body)
    assert [message.role for message in request.messages] == [Role.USER, Role.ASSISTANT]
    return request.messages[1].blocks


FIRST, SECOND, HIDDEN = (
    Thinking("first", CLAUDE),
    Thinking("second", Opaque("anthropic", "czI=")),
    Thinking("", Opaque("anthropic", "eA=="), redacted=True),
)


def shown(text: str) -> dict[str, Any]:
    return {"text": text, "thought": True}


def call(*thoughts: Thinking) -> dict[str, Any]:
    return {"functionCall": {"name": "f"}, "thoughtSignature": slot(None, *thoughts)}


CALL = ToolCall("toolu_1", "f")


@pytest.mark.parametrize(
    ("parts", "blocks"),
    [
        ([shown("first"), {"text": "t"}, call(FIRST)], [FIRST, Text("t"), CALL]),
        ([{"text": "t"}, call(FIRST)], [FIRST, Text("t"), CALL]),
        ([call(FIRST, HIDDEN)], [FIRST, HIDDEN, CALL]),
        ([shown("first"), {"text": "t"}, shown("second"), call(FIRST, SECOND)], [FIRST, Text("t"), SECOND, CALL]),
        ([shown("first"), {"text": "t"}, shown("second"), call(HIDDEN, FIRST, SECOND)], [HIDDEN, FIRST, Text("t"), SECOND, CALL]),
        ([shown("first"), {"text": "t"}, shown("second"), call(FIRST, HIDDEN, SECOND)], [FIRST, HIDDEN, Text("t"), SECOND, CALL]),
        ([shown("first"), call(FIRST), shown("first"), call(FIRST)], [FIRST, CALL, FIRST, CALL]),
        ([shown("other"), call(FIRST)], [FIRST, Thinking("other"), CALL]),
        ([shown("first"), {"text": "t", "thoughtSignature": Carried().text(CLAUDE)}], [Thinking("first"), Text("t", opaque=CLAUDE)]),
    ],
)
def test_thoughts_go_back_to_their_place(parts: list[dict[str, Any]], blocks: list[Block]) -> None:
    assert decode(parts) == blocks
    assert decode(*([part] for part in parts)) == blocks


def test_thoughts_that_led_to_no_call() -> None:
    carried = Carried()
    carried.wait(FIRST)
    rest = carried.rest()
    assert decode([shown("first"), {"text": "t", "thoughtSignature": rest}]) == [FIRST, Text("t")]
    assert decode([shown("fi")], [shown("rst")], [{"text": "t"}], [{"text": "", "thoughtSignature": rest}]) == [FIRST, Text("t")]
    assert decode([{"text": "t"}], [{"thoughtSignature": rest}]) == [FIRST, Text("t")]


_parts = st.lists(
    st.builds(lambda text: {"text": text}, st.text(min_size=1, max_size=12))
    | st.builds(shown, st.text(min_size=1, max_size=12))
    | st.just({"functionCall": {"name": "f"}, "thoughtSignature": slot(None)}),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(_parts, st.data())
def test_chunks_of_a_stream_are_one_turn(parts: list[dict[str, Any]], data: st.DataObject) -> None:
    """Chat sessions keep every chunk as a content: cut anywhere, the turn says what it said whole."""
    whole: list[Block] = []
    for block in decode(parts):
        # without cuts two texts in a row are two blocks, with cuts nobody knows
        if whole and isinstance(block, Text | Thinking) and type(block) is type(whole[-1]):
            last = whole[-1]
            assert isinstance(last, Text | Thinking)
            whole[-1] = replace(last, text=last.text + block.text)
        else:
            whole.append(block)
    chunks: list[list[dict[str, Any]]] = []
    for part in parts:
        if "text" not in part:
            chunks.append([part])
            continue
        cuts = sorted(data.draw(st.lists(st.integers(0, len(part["text"])), max_size=3)))
        bounds = [0, *cuts, len(part["text"])]
        chunks += [[part | {"text": part["text"][a:b]}] for a, b in itertools.pairwise(bounds)]
    chunks.append([{"text": ""}])
    assert [b for b in decode(*chunks) if not (isinstance(b, Thinking) and not b.text)] == whole


def test_a_turn_of_many_chunks_is_read_in_one_pass() -> None:
    """Quadratic work on this many pieces would take minutes."""
    pieces = [[{"text": "0123456789"}] for _ in range(100_000)]
    assert decode(*pieces) == [Text("0123456789" * 100_000)]
    many = [Thinking(str(n), CLAUDE) for n in range(3000)]
    parts = [*(shown(str(n)) for n in range(3000)), call(*many)]
    assert decode(parts) == [*many, CALL]
    carrying = [{"text": "x", "thoughtSignature": slot(None, FIRST)} for _ in range(5000)]
    assert len(decode(carrying)) == 10_000
