"""The admin API: reading and changing the registry, with conditions, dry runs, expiry and problems that name their place."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from extproc.admin.endpoints import ENDPOINTS, document
from extproc.admin.hidden import HIDDEN
from extproc.admin.refusal import Refused
from tests.admin.api_rig import ApiRig
from tests.admin.live_rig import FILE, go


def problems(response: Any) -> list[tuple[str, str]]:
    return [(p["path"], p["message"]) for p in response.json()["error"]["problems"]]


# the document


def test_the_document_is_valid_and_has_every_endpoint(tmp_path: Path) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        said = await rig.get("/openapi.json")
        validate(said)
        assert said == document("0")
        assert {(e.method.lower(), e.path) for e in ENDPOINTS} == {(method, path) for path, at in said["paths"].items() for method in at}
        operations = [operation["operationId"] for at in said["paths"].values() for operation in at.values()]
        assert len(set(operations)) == len(operations)
        index = await rig.get("/")
        assert [(e["method"], e["path"]) for e in index["endpoints"]] == [(e.method, e.path) for e in ENDPOINTS]

    go(test())


def test_every_endpoint_that_reads_answers(tmp_path: Path) -> None:
    """With 200, or that there is no such name; and so as the document says."""

    async def test() -> None:
        rig = ApiRig(tmp_path)
        names = {"models": "chat", "targets": "a", "providers": "p", "tenants": "acme"}
        for endpoint in ENDPOINTS:
            if endpoint.method == "GET" and endpoint.path != "/v1/candidates":
                path = endpoint.path.replace("{name}", names.get(endpoint.path.split("/")[2] if endpoint.path.count("/") > 2 else "", "x"))
                response = await rig.ask("GET", path)
                assert response.status_code == (404 if "acme" in path else 200), path

    go(test())


def test_what_is_not_there(tmp_path: Path) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        for path in ("/nonsense", "/v1", "/v1/models/", "/v1/targets/a/b", "/v2/status"):
            assert (await rig.ask("GET", path)).status_code == 404, path
        for method, path in (("POST", "/v1/status"), ("GET", "/v1/targets/a/drain"), ("DELETE", "/v1/limits"), ("PUT", "/v1/overlay"), ("PUT", "/")):
            response = await rig.ask(method, path)
            assert response.status_code == 405, path
            assert response.json()["error"]["code"] == "method_not_allowed"
        assert (await rig.ask("GET", "/v1/models/nobody")).json()["error"]["message"] == "there is no models.nobody"

    go(test())


# reading and changing


def test_a_model_is_read_changed_and_removed(tmp_path: Path) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        found = await rig.ask("GET", "/v1/models/chat")
        assert found.json()["value"] == {"targets": ["a", "b"], "strict": False}
        changed = await rig.ask("PATCH", "/v1/models/chat", {"targets": ["b"], "strict": None}, if_match=found.headers["etag"], x_author="Ann")
        assert changed.status_code == 200
        body = changed.json()
        assert body["value"] == {"targets": ["b"]}
        assert body["reaches"] == "this process"
        assert body["registry"] == rig.current.digest
        assert body["difference"] == [
            {"path": "models.chat.targets", "before": ["a", "b"], "after": ["b"]},
            {"path": "models.chat.strict", "before": False},
        ]
        again = await rig.ask("GET", "/v1/models/chat")
        assert again.headers["etag"] == changed.headers["etag"] != found.headers["etag"]
        assert again.json()["changes"] == [f"{body['id']}.1", f"{body['id']}.2"]
        assert [r.targets for r in rig.current.models["chat"].ranks] == [(("b", 1.0),)]

        put = await rig.change("PUT", "/v1/models/chat", {"targets": [{"a": 9, "b": 1}]})
        assert put["value"] == {"targets": [{"a": 9, "b": 1}]}
        assert (await rig.get("/v1/overlay"))["changes"][0]["path"] == "models.chat"
        assert len((await rig.get("/v1/overlay"))["changes"]) == 1, "what it covers is gone"
        await rig.change("DELETE", "/v1/models/other")
        assert set(rig.current.models) == {"chat"}
        assert [d["path"] for d in (await rig.get("/v1/diff"))["difference"]] == ["models.chat.targets", "models.chat.strict", "models.other"]

    go(test())


def test_a_name_with_slashes_is_added(tmp_path: Path) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        path = "/v1/models/meta-llama%2Fllama-3"
        assert (await rig.ask("GET", path)).status_code == 404
        response = await rig.ask("PUT", path, {"targets": ["a"]}, if_none_match="*")
        assert response.status_code == 200
        assert rig.current.resolve("meta-llama/llama-3") is not None
        assert (await rig.get(path))["value"] == {"targets": ["a"]}
        assert (await rig.ask("PUT", path, {"targets": ["b"]}, if_none_match="*")).status_code == 412
        await rig.change("DELETE", path)
        assert rig.live.overlay.entries == (), "added and removed: nothing is left"

    go(test())


def test_a_target_is_drained_for_a_while(tmp_path: Path) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        drained = await rig.ask("POST", "/v1/targets/a/drain?expires=2h")
        assert drained.status_code == 200
        assert rig.current.targets["a"].drained
        (change,) = (await rig.get("/v1/overlay"))["changes"]
        assert change["expires"] == "1970-01-12T15:46:40.000Z"
        assert (await rig.get("/v1/status"))["drained"] == ["a"]
        # again, for good
        assert (await rig.ask("POST", "/v1/targets/a/drain")).json()["changed"]
        (change,) = (await rig.get("/v1/overlay"))["changes"]
        assert "expires" not in change
        assert not (await rig.ask("POST", "/v1/targets/a/drain")).json()["difference"]
        assert (await rig.ask("POST", "/v1/targets/a/enable")).status_code == 200
        assert not rig.current.targets["a"].drained
        assert rig.live.overlay.entries == ()
        assert not (await rig.ask("POST", "/v1/targets/a/enable")).json()["changed"]
        assert (await rig.ask("POST", "/v1/targets/x/drain")).status_code == 404

    go(test())


def test_a_target_that_the_file_drains_is_enabled(tmp_path: Path) -> None:
    (tmp_path / "registry.yaml").write_text(FILE.replace("a: {provider: p,", "a: {provider: p, drained: true,"))

    async def test() -> None:
        rig = ApiRig(tmp_path)
        assert rig.current.targets["a"].drained
        await rig.ask("POST", "/v1/targets/a/enable")
        assert not rig.current.targets["a"].drained
        await rig.ask("POST", "/v1/targets/a/drain")
        assert rig.live.overlay.entries == ()

    go(test())


def test_sections(tmp_path: Path) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        limits = [{"for": {"tenant": "*"}, "requests_per_minute": 600}]
        assert (await rig.get("/v1/limits"))["value"] == []
        await rig.change("PUT", "/v1/limits", limits)
        assert rig.current.limits[0].requests_per_minute == 600
        assert (await rig.get("/v1/limits"))["value"] == limits
        await rig.change("PUT", "/v1/limits", [])
        assert rig.current.limits == ()
        assert rig.live.overlay.entries == ()
        await rig.change("PUT", "/v1/defaults", {"timeouts": {"deadline": "9s", "first_token": "3s"}, "attempts": {"wait_at_most": "1s"}})
        assert rig.current.models["chat"].timeouts.deadline == 9.0
        await rig.change("PUT", "/v1/defaults", {})
        assert rig.current.models["chat"].timeouts.deadline == 300.0

    go(test())


def test_tenants_come_and_go_with_their_section(tmp_path: Path) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        for name in ("acme", "beta"):
            response = await rig.ask("PUT", f"/v1/tenants/{name}", {"models": {"allow": ["chat"]}}, if_none_match="*")
            assert response.status_code == 200, response.text
        assert set(rig.current.tenants) == {"acme", "beta"}
        await rig.change("DELETE", "/v1/tenants/acme")
        await rig.change("DELETE", "/v1/tenants/beta")
        assert rig.current.tenants == {}
        assert rig.live.overlay.entries == ()

    go(test())


# conditions


def test_two_people_do_not_overwrite_each_other(tmp_path: Path) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        seen = await rig.etag("/v1/models/chat")
        elsewhere = await rig.etag("/v1/models/other")
        assert (await rig.ask("PATCH", "/v1/models/chat", {"strict": True}, if_match=seen)).status_code == 200
        late = await rig.ask("PATCH", "/v1/models/chat", {"targets": ["a"]}, if_match=seen)
        assert (late.status_code, late.json()["error"]["code"]) == (412, "stale")
        assert len(rig.current.models["chat"].ranks) == 2
        assert (await rig.ask("PATCH", "/v1/models/other", {"strict": True}, if_match=elsewhere)).status_code == 200, "something else"
        for method, path, body in (("PATCH", "models/chat", {}), ("PUT", "models/new", {}), ("DELETE", "models/chat", None), ("PUT", "limits", [])):
            assert (await rig.ask(method, f"/v1/{path}", body)).status_code == 428
        assert (await rig.ask("DELETE", "/v1/overlay")).status_code == 428
        assert (await rig.ask("PUT", "/v1/models/new", {"targets": ["a"]}, if_match="*")).status_code == 412
        assert (await rig.ask("PATCH", "/v1/models/chat", {"strict": False}, if_match="*")).status_code == 200
        assert (await rig.ask("PATCH", "/v1/models/chat", {"strict": True}, if_match="abc")).status_code == 400
        assert (await rig.ask("PATCH", "/v1/models/nobody", {"strict": True}, if_match="*")).status_code == 404

    go(test())


# dry runs and refusals


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        before = rig.current, sorted((tmp_path / "state").iterdir())
        said = await rig.change("PATCH", "/v1/models/chat?dry_run=true", {"targets": ["b"]})
        assert said["dry_run"]
        assert said["value"]["targets"] == ["b"]
        assert said["registry"] != rig.current.digest
        assert (await rig.ask("POST", "/v1/targets/a/drain?dry_run=true")).json()["difference"]
        bad = await rig.ask("PATCH", "/v1/models/chat?dry_run=true", {"targets": ["x"]}, if_match="*")
        assert bad.status_code == 422
        assert (rig.current, sorted((tmp_path / "state").iterdir())) == before

    go(test())


def test_problems_name_their_place(tmp_path: Path) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        before = rig.current.digest
        response = await rig.ask("PATCH", "/v1/models/chat", {"targets": ["aa"], "strict": 1, "nonsense": {}}, if_match="*")
        assert response.status_code == 422
        assert sorted(path for path, _ in problems(response)) == ["models.chat.nonsense", "models.chat.strict", "models.chat.targets[0]"]
        assert any(p.get("suggestion") == 'did you mean "a"?' for p in response.json()["error"]["problems"]) or "aa" in response.text
        response = await rig.ask("DELETE", "/v1/targets/b", if_match="*")
        assert response.status_code == 422
        found = response.json()["error"]["problems"]
        assert [(p["path"], p["line"]) for p in found] == [("models.chat.targets[1]", 9), ("models.other.targets[0]", 10)], "the file is to blame"
        assert rig.current.digest == before

    go(test())


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'{"strict": NaN}', 400),
        (b'{"strict": 1e999}', 400),
        (b'{"envoy": ' + b"[" * 200 + b"]" * 200 + b"}", 422),
        (b"[" * 100_000, 400),
        (b'{"aliases": ["' + b"x" * (1 << 20) + b'"]}', 413),
        (b'{"aliases": [' + b"1," * 100_000 + b"1]}", 422),
        (b'{"aliases": ["\\ud800"]}', 400),
        (b'{"\\u0000": 1}', 422),
        (b'{"strict": true, "strict": false}', 400),
        (b'{"require": {"data_stays_in": ["eu"], "data_stays_in": ["us"]}}', 400),
        (b"{" + b",".join(b'"k%d": 1' % n for n in range(50_000)) + b', "k49999": 2}', 400),
    ],
)
def test_bodies_that_make_no_sense(tmp_path: Path, body: bytes, status: int) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        before = rig.current
        response = await rig.ask("PATCH", "/v1/models/chat", body, if_match="*")
        assert response.status_code == status, response.text
        assert rig.current is before

    go(test())


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("dry_run=yes", {}),
        ("expires=2", {}),
        ("expires=31d", {}),
        ("expires=0s", {}),
        ("expires=1m&expires=1h", {}),
        ("dryrun=true", {}),
        ("dry-run=true", {}),
        ("", {"x_author": "a\x9b31m".encode()}),
        ("", {"x_author": b"\xff"}),
        ("", {"x_author": b"\xe2\x80\xae"}),
        ("", {"expires_in": "soon"}),
        ("", {"x_author": "a\x7fb"}),
        ("", {"x_author": "x" * 101}),
    ],
)
def test_parameters_that_make_no_sense(tmp_path: Path, query: str, headers: Mapping[str, Any]) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        response = await rig.ask("PATCH", f"/v1/models/chat?{query}", {"strict": True}, if_match="*", **headers)
        assert response.status_code == 400
        assert rig.live.overlay.entries == ()

    go(test())


def test_nothing_to_change(tmp_path: Path) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        said = await rig.change("PATCH", "/v1/models/chat", {"targets": ["a", "b"]})
        assert not said["changed"]
        assert rig.files.history() == []

    go(test())


def test_a_bug_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        monkeypatch.setattr(rig.revise, "change", None)
        response = await rig.ask("PATCH", "/v1/models/chat", {"strict": True}, if_match="*")
        assert (response.status_code, response.json()["error"]["code"]) == (500, "internal")
        assert "NoneType" not in response.text

    go(test())


# the overlay and the history


def test_history_and_rollback(tmp_path: Path) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        first = await rig.change("PATCH", "/v1/models/chat", {"strict": True}, x_author="Ann")
        second = await rig.change("PATCH", "/v1/models/chat", {"targets": ["b"]}, x_author="Bob")
        history = (await rig.get("/v1/history"))["history"]
        assert [(h["id"], h["author"], h["action"]) for h in history] == [(second["id"], "Bob", "change"), (first["id"], "Ann", "change")]
        assert history[0]["difference"] == [{"path": "models.chat.targets", "before": ["a", "b"], "after": ["b"]}]
        assert len((await rig.get("/v1/history?limit=1"))["history"]) == 1
        back = await rig.ask("POST", f"/v1/history/{second['id']}/rollback", x_author="Cid")
        assert back.json()["difference"] == [{"path": "models.chat.targets", "before": ["b"], "after": ["a", "b"]}]
        assert rig.current.models["chat"].strict
        assert (await rig.ask("POST", f"/v1/history/{second['id']}/rollback?to=after")).json()["changed"]
        assert len(rig.current.models["chat"].ranks) == 1
        assert (await rig.ask("POST", f"/v1/history/{first['id']}/rollback?to=sideways")).status_code == 400
        assert (await rig.ask("POST", "/v1/history/x/rollback")).status_code == 404
        assert (await rig.ask("DELETE", f"/v1/overlay/{first['id']}")).status_code == 200
        assert not rig.current.models["chat"].strict
        assert (await rig.ask("DELETE", f"/v1/overlay/{first['id']}")).status_code == 404
        await rig.change("DELETE", "/v1/overlay")
        assert (await rig.get("/v1/diff"))["difference"] == []

    go(test())


def test_a_suspended_overlay_is_said_everywhere(tmp_path: Path) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        await rig.change("PATCH", "/v1/models/chat", {"targets": ["b"]})
        rig.write("[a, b]", "[a]")
        await rig.live.look()
        for path in ("/v1/status", "/v1/registry", "/v1/models", "/v1/models/chat", "/v1/overlay", "/v1/history", "/v1/decisions", "/"):
            assert (await rig.get(path))["overlay"] == "suspended", path
        status = await rig.get("/v1/status")
        assert status["suspended"]["reason"] == "conflict"
        assert status["suspended"]["problems"][0]["path"] == "models.chat.targets"
        refused = await rig.ask("PATCH", "/v1/models/chat", {"strict": True}, if_match="*")
        assert (refused.status_code, refused.json()["overlay"]) == (409, "suspended")
        resumed = await rig.ask("POST", "/v1/overlay/resume")
        assert resumed.json()["overlay"] == "active"
        assert (await rig.ask("POST", "/v1/overlay/resume")).status_code == 409

    go(test())


# what is never shown

_KEY = "sk-" + "proj-" + "0Aa1Bb2Cc3Dd4Ee5Ff6Gg7Hh8Ii9Jj0Kk"


def test_no_answer_holds_a_secret(tmp_path: Path) -> None:
    envoy = f'{{transport_socket: {{typed_config: {{common_tls_context: {{tls_certificates: [{{private_key: {{inline_string: "{_KEY}"}}}}]}}}}}}}}'
    (tmp_path / "registry.yaml").write_text(FILE.replace('"http://two.test/v1"}', f'"https://two.test/v1", envoy: {envoy}}}'))

    async def test() -> None:
        rig = ApiRig(tmp_path)
        found = await rig.ask("GET", "/v1/providers/q")
        certificate = found.json()["value"]["envoy"]["transport_socket"]["typed_config"]["common_tls_context"]["tls_certificates"][0]
        assert certificate == {"private_key": {"inline_string": HIDDEN}}
        # what was read can be written back
        value = found.json()["value"] | {"data_stays_in": ["eu"]}
        done = await rig.ask("PUT", "/v1/providers/q", value, if_match=found.headers["etag"])
        assert done.status_code == 200, done.text
        assert _KEY in str(rig.current.providers["q"].envoy)
        assert [d["path"] for d in done.json()["difference"]] == ["providers.q.data_stays_in"]
        for endpoint in ENDPOINTS:
            if endpoint.method == "GET" and endpoint.path != "/v1/candidates":
                response = await rig.ask("GET", endpoint.path.replace("{name}", "q"))
                assert _KEY not in response.text, endpoint.path
        response = await rig.ask("PATCH", "/v1/models/chat", {"targets": [HIDDEN]}, if_match="*")
        assert response.status_code == 200, "there something stands"
        response = await rig.ask("PATCH", "/v1/models/chat", {"aliases": [HIDDEN]}, if_match="*")
        assert response.status_code == 422
        assert problems(response)[0][0] == "models.chat.aliases[0]"

    go(test())


# reports


def test_status(tmp_path: Path) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        rig.services.health.active = frozenset({"a"})
        rig.services.health.ejected = frozenset({"a"})
        status = await rig.get("/v1/status")
        assert status["serving"]
        assert (status["registry"], status["base"]) == (rig.current.digest, rig.current.digest)
        assert status["clusters"] == ["a", "b"]
        assert status["cooling"] == {"a": {"why": "ejected", "seconds": 0.0}, "b": {"why": "inactive", "seconds": 0.0}}
        assert status["envoy"] == {"answers": None, "active": ["a"], "ejected": ["a"]}
        rig.file.write_text("nonsense")
        await rig.live.look()
        assert "registry.yaml" in (await rig.get("/v1/status"))["last_error"]
        rig.api.draining = True
        assert not (await rig.get("/v1/status"))["serving"]

    go(test())


def test_explain_is_handed_on(tmp_path: Path) -> None:
    asked: list[Any] = []

    def explain(raw: bytes, path: str | None, headers: Mapping[str, str], method: str) -> dict[str, Any]:
        asked.append((raw, path, dict(headers), method))
        if b"refuse" in raw:
            raise Refused(422, "would_be_refused", "the client would get status 404: no such model")
        return {
            "registry": "d",
            "client_dialect": "openai_chat",
            "method": method,
            "path": path or "/guessed",
            "guessed": path is None,
            "chain": ["a"],
        }

    async def test() -> None:
        rig = ApiRig(tmp_path, explain=explain)
        response = await rig.ask("POST", "/v1/explain", {"path": "/v1/messages", "headers": {"X-LLM-Task": "code"}, "body": {"model": "chat"}})
        assert response.json()["chain"] == ["a"]
        assert asked.pop() == (b'{"model":"chat"}', "/v1/messages", {"x-llm-task": "code"}, "POST")
        await rig.ask("POST", "/v1/explain", {"body": "text", "method": "PUT"})
        assert asked.pop() == (b"text", None, {}, "PUT")
        await rig.ask("POST", "/v1/explain", {"body_base64": "AAE="})
        assert asked.pop()[0] == b"\0\1"
        for bad in ({"path": 1}, {"path": "x"}, {"headers": {"a": 1}}, {"method": ""}, {"nonsense": 1}, {"body_base64": "?"}, {"body_base64": 5}, []):
            assert (await rig.ask("POST", "/v1/explain", bad)).status_code == 400
        assert (await rig.ask("POST", "/v1/explain", {"body": "refuse"})).status_code == 422
        found = await rig.get("/v1/candidates?model=chat")
        assert (found["model"], found["targets"], found["chain"]) == ("chat", ["a", "b"], ["a"])
        assert (await rig.ask("GET", "/v1/candidates")).status_code == 400
        assert (await rig.ask("GET", "/v1/candidates?model=nobody")).status_code == 404

    go(test())


def test_log_level(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.level

    async def test() -> None:
        rig = ApiRig(tmp_path)
        root.setLevel(logging.INFO)
        assert (await rig.get("/v1/log-level"))["level"] == "info"
        assert (await rig.ask("PUT", "/v1/log-level", {"level": "debug"})).json()["level"] == "debug"
        assert root.level == logging.DEBUG
        assert (await rig.ask("PUT", "/v1/log-level", {"level": "loud"})).status_code == 422
        assert (await rig.ask("PUT", "/v1/log-level", {"level": "error"}, expires_in="1s")).status_code == 200
        while root.level != logging.DEBUG:
            import asyncio

            await asyncio.sleep(0.01)

    try:
        go(test())
    finally:
        root.setLevel(before)


def test_decisions(tmp_path: Path) -> None:
    from extproc.routing.decision import Decision
    from extproc.stages.services import Decided
    from extproc.telemetry.record import Outcome, RequestRecord

    async def test() -> None:
        rig = ApiRig(tmp_path)
        for number, model in enumerate(("chat", "other", "chat")):
            rig.services.decisions.append(Decided(Decision(model, "order", ["a"]), RequestRecord(f"r{number}", Outcome.OK, 0, 0.0), float(number)))
        assert [d["request_id"] for d in (await rig.get("/v1/decisions"))["decisions"]] == ["r2", "r1", "r0"]
        assert [d["request_id"] for d in (await rig.get("/v1/decisions?model=chat&limit=1"))["decisions"]] == ["r2"]
        for bad in ("0", "-1", "x", "1001", "²"):
            assert (await rig.ask("GET", f"/v1/decisions?limit={bad}")).status_code == 400

    go(test())


def test_operations_are_named() -> None:
    assert all(re.fullmatch(r"[a-z0-9_]+", e.operation) for e in ENDPOINTS)


def test_secrets_are_hidden_wherever_they_are_said(tmp_path: Path) -> None:
    """Also where a change's own path ends in what holds one, and in lists."""

    async def test() -> None:
        rig = ApiRig(tmp_path)
        first = {"a": {"private_key": {"inline_string": "hidden-one"}, "token": ["hidden-two"]}}
        await rig.change("PATCH", "/v1/providers/q", {"envoy": {"lb_subset_config": first}})
        second = await rig.ask(
            "PATCH", "/v1/providers/q", {"envoy": {"lb_subset_config": {"a": {"private_key": {"inline_string": "hidden-three"}}}}}, if_match="*"
        )
        assert [d["path"] for d in second.json()["difference"]] == ["providers.q.envoy.lb_subset_config.a.private_key.inline_string"]
        rig.write('url: "http://two.test/v1"', 'url: "http://two.test/v1", envoy: {lb_subset_config: {}}')
        found = [second.text]
        for path in ("overlay", "diff", "history", "registry", "providers", "providers/q"):
            found.append((await rig.ask("GET", f"/v1/{path}")).text)
            assert HIDDEN in found[-1], path
        await rig.live.look()
        assert rig.live.overlay.state == "suspended"
        found += [(await rig.ask("GET", f"/v1/{path}")).text for path in ("status", "overlay")]
        assert not [text for text in found if "hidden-" in text]

    go(test())


def test_a_patch_with_too_many_members_is_refused_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        rig = ApiRig(tmp_path)
        refused = await rig.ask("PATCH", "/v1/models/chat", {f"k{n}": n for n in range(50_000)}, if_match="*")
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "too_many_changes")

    go(test())


def test_an_overlay_has_an_end(tmp_path: Path) -> None:
    """In bytes, also before others hear of it, and in different times at which changes expire."""

    async def test() -> None:
        rig = ApiRig(tmp_path)
        value = {"provider": "p", "model": "m", "set_headers": {f"x-{n}": "v" * 4000 for n in range(64)}}
        answers = [await rig.ask("PUT", f"/v1/targets/t{n}?dry_run={dry}", value, if_none_match="*") for n in range(5) for dry in ("true", "false")]
        refused = [(n // 2, a.json()["error"]["code"]) for n, a in enumerate(answers) if a.status_code != 200]
        assert refused == [(4, "too_large"), (4, "too_large")] or refused[0] == (3, "too_large"), refused
        await rig.change("DELETE", "/v1/overlay")
        for n in range(60):
            rig.now += 1.0
            last = await rig.ask("PATCH", "/v1/models/chat?expires=30d", {"strict": n % 2 == 0}, if_match="*")
            assert last.status_code == 200, "the newer takes the place of the older"
        for n in range(60):
            rig.now += 1.0
            last = await rig.ask("PATCH", f"/v1/models/chat?expires={1000 - 2 * n}s", {"strict": n % 2 == 0}, if_match="*")
            if last.status_code != 200:
                break
        assert (last.status_code, last.json()["error"]["code"]) == (422, "too_many_changes")

    go(test())
