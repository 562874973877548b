"""The table of loss codes is complete and holds nothing that no code reports."""

from __future__ import annotations

import re
from pathlib import Path

from extproc.core.losses import CODES, MAX_LOSSES, MEMBERS, PARAMETERS, Losses, meaning
from extproc.dialects.openai_chat.request_decode import KNOBS
from tests.golden.matrix import cases, codes
from tests.losses import PAGE, text

_PACKAGE = Path(__file__).parents[2] / "extproc"
_CODE = re.compile(r"\"((?:dropped|coerced|defaulted|signature|completeness):[a-z_]+)\"")


def _sources() -> dict[str, str]:
    files = (p for folder in ("core", "dialects", "stages") for p in (_PACKAGE / folder).rglob("*.py") if p.name != "losses.py")
    return {str(p.relative_to(_PACKAGE)): p.read_text() for p in files}


def test_every_code_in_the_source_has_a_meaning() -> None:
    unknown = {code for text in _sources().values() for code in _CODE.findall(text) if meaning(code) is None}
    assert not unknown


def test_every_meaning_belongs_to_a_code() -> None:
    sources = "\n".join(_sources().values())
    made = re.compile(r"coerced:(frequency_penalty|presence_penalty|temperature|top_p)|dropped:(audio|document|image|toolresult|video)")
    assert not [code for code in CODES if f'"{code}"' not in sources and not made.fullmatch(code)]
    assert not [name for name in PARAMETERS if not re.search(rf"\W{name}\W", sources)]


def test_parameters_that_a_client_can_send_are_known() -> None:
    assert KNOBS <= PARAMETERS
    assert meaning("dropped:no_such_thing") is None
    assert meaning("coerced:store") is None


def test_every_code_of_the_goldens_has_a_meaning() -> None:
    seen = {code for case in cases() for code in codes(case)}
    assert not {code for code in seen if meaning(code) is None}
    assert len(seen) > 60


def test_a_collector_holds_each_loss_once_and_not_too_many() -> None:
    losses = Losses()
    for n in range(1000):
        losses.add("dropped:seed", "why")
        losses.member(f"made_up_{n}", "tool")
    assert len(losses) == MAX_LOSSES
    assert {loss.code for loss in losses} == {"dropped:seed", "dropped:unknown_member"}, "a client's names are no codes"
    assert all(meaning(f"dropped:{name}") for name in MEMBERS)


def test_the_page_for_people_is_the_table() -> None:
    assert PAGE.read_text() == text(), "python -m tests.losses --write"
