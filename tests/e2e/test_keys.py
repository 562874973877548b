"""Each provider sees its own key and nobody else's; the server, the logs, the spans and the files see none."""

from __future__ import annotations

import logging

import pytest

from extproc.simulator import FaultKind
from tests.e2e.conftest import KEYS
from tests.e2e.sdks import CLIENT_KEY, Sdk
from tests.e2e.stack import Stack, until

HEADERS = {"oa": "authorization", "an": "x-api-key", "ge": "x-goog-api-key"}
OF_CLIENTS = {
    "cookie": "session=client-cookie",
    "x-api-key": "sk-client-x",
    "proxy-authorization": "Basic client-proxy",
    "x-goog-api-key": "sk-client-g",
}
SECRETS = [*KEYS.values(), CLIENT_KEY, *OF_CLIENTS.values()]


def own_key_only(stack: Stack, name: str) -> None:
    for request in stack.received(name):
        expected = f"Bearer {KEYS[name]}" if name == "oa" else KEYS[name]
        assert request.headers[HEADERS[name]] == expected
        everything = "\n".join(f"{k}: {v}" for k, v in request.headers.items()) + request.target + (request.body or b"").decode()
        strangers = [secret for secret in SECRETS if secret != KEYS[name] and secret in everything]
        assert strangers == []
        assert not {"cookie", "proxy-authorization", "x-request-id", "traceparent", "x-forwarded-proto"} & set(request.headers)
        assert not [h for h in request.headers if h.startswith(("x-envoy-", "x-llm-"))]


@pytest.mark.parametrize("model", ["all-three", "an-oa", "ge-oa", "an-ge"])
def test_each_provider_gets_its_own_key(stack: Stack, sdk: Sdk, stream: bool, model: str) -> None:
    order = ["oa", "an", "ge"] if model == "all-three" else model.split("-")
    for name in order[:-1]:
        stack.fault(name, FaultKind.STATUS, status=429)
    answer = sdk.ask(model, stream=stream, extra_headers=OF_CLIENTS)
    assert answer.headers["x-llm-target"] == order[-1]
    assert stack.calls() == dict.fromkeys(order, 1)
    for name in order:
        own_key_only(stack, name)


def test_no_key_reaches_the_server_or_anything_that_is_written(stack: Stack, sdk: Sdk, caplog: pytest.LogCaptureFixture) -> None:
    """Over everything that this stack has seen so far, not only the requests of this test."""
    caplog.set_level(logging.DEBUG, "extproc")
    stack.fault("oa", FaultKind.KEY_REFUSED)
    request_id = f"secret-{sdk.name}"
    sdk.ask("all-three", extra_headers=OF_CLIENTS, request_id=request_id)
    stack.lines.of(request_id)
    assert len(stack.seen) > 20
    assert [pair for pair in stack.seen if any(secret in pair[1] for secret in SECRETS)] == []
    assert [name for name, _ in stack.seen if name in ("authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie")] == []
    rendered = [p for p in stack.directory.rglob("*") if p.is_file() and "keys" not in p.parts]
    assert len(rendered) > 4
    written = {
        "log lines": b"".join(stack.lines.raw).decode(),
        "process log": "".join(str(vars(r)) for r in caplog.records if r.name.startswith("extproc")),
        "spans": repr(stack.spans.all),
        "Envoy's log": stack.envoy.log,
        "access log": stack.envoy.out,
        "files": "".join(p.read_text(errors="replace") for p in rendered),
        "admin": stack.envoy.admin("/clusters") + stack.envoy.admin("/stats"),
    }
    assert {where for where, text in written.items() if any(secret in text for secret in SECRETS)} == set()
    assert request_id in written["log lines"]


def test_key_rotated_by_renaming_a_file(stack: Stack, sdk: Sdk) -> None:
    """No restart: soon, requests carry the new key, and none fails meanwhile."""
    sim, old = stack.sims["oa"], KEYS["oa"]
    new = old.replace("sk-", "sk-new-")
    sim.keys = frozenset({old, new})

    def key_now() -> str | None:
        assert sdk.ask("oa").text
        return stack.received("oa")[-1].key

    try:
        assert key_now() == old
        stack.rotate("oa", new)
        until(lambda: key_now() == new, "requests carry the new key")
    finally:
        stack.rotate("oa", old)
        until(lambda: key_now() == old, "requests carry the old key again")
        sim.keys = frozenset({old})


def test_missing_key_file(stack: Stack, sdks: dict[str, Sdk], caplog: pytest.LogCaptureFixture) -> None:
    """The provider's 401 is a verdict like any other: the next target answers and an alarm is raised. The key is used as soon as it is there."""
    sdk = sdks["openai"]
    with caplog.at_level(logging.ERROR):
        answer = sdk.ask("late-an", request_id="late", extra_headers={"authorization": "Bearer stolen"})
        assert answer.headers["x-llm-target"] == "an"
        until(lambda: any("refuses the gateway's configuration" in r.message for r in caplog.records), "the alarm")
    alarm = next(r for r in caplog.records if "refuses" in r.message)
    assert (alarm.cluster, alarm.status) == ("late", 401)  # type: ignore[attr-defined]
    (tried,) = stack.received("oa")
    assert "authorization" not in tried.headers
    line = stack.lines.of("late")
    assert [(a["target"], a["status"]) for a in line["attempts"]] == [("late", 401), ("an", 200)]
    assert sdk.ask("late-an").headers["x-llm-attempts"] == "1", "a target whose key was refused is left out for a while"

    def served() -> bool:
        stack.reset()
        return sdk.ask("late-an").headers["x-llm-target"] == "late"

    stack.rotate("late", KEYS["oa"])
    try:
        until(served, "the new key is used")
    finally:
        stack.key_file("late").unlink()
