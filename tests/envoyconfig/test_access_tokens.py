"""Access tokens in the real Envoy: read from the files that `extproc tokens` writes, sent as Bearer whatever header the provider's keys go in."""

from __future__ import annotations

import httpx
import yaml

from extproc.envoyconfig.options import Options
from extproc.envoyconfig.render import render
from extproc.envoyconfig.sources import load_sources
from extproc.registry.types import Credential, TokenSource
from extproc.tokens.files import State, put, write_states
from tests.envoy_process import envoy_binary, eventually, running_envoy, short_directory
from tests.envoyconfig.recorder import Recorder, recording
from tests.envoyconfig.registries import provider, registry, target
from tests.envoyconfig.upstream import upstream

ENTRA = Credential(token=TokenSource("entra", "scope"))


def pool(name: str) -> Credential:
    return Credential(name, token=TokenSource("google", "scope"))


def test_a_token_has_one_place_however_many_targets_use_it() -> None:
    azure = provider("azure-eu", "azure-openai", keys=(ENTRA,))
    vertex = provider("vertex", "vertex", keys=(pool("a"), pool("b")))
    files = render(registry(target("t", azure), target("u", azure), target("v", vertex)), Options("/out", "/run"), load_sources())

    def secret(cluster: str) -> str:
        return str(yaml.safe_load(files[f"sds/{cluster}.yaml"])["resources"][0]["generic_secret"]["secret"]["filename"])

    assert secret("t") == secret("u") == "/run/tokens/azure-eu"
    assert [secret("v@a"), secret("v@b")] == ["/run/tokens/vertex@a", "/run/tokens/vertex@b"]
    elsewhere = render(registry(target("t", azure)), Options("/out", "/run", token_dir="/var/tokens"), load_sources())
    assert b"/var/tokens/azure-eu" in elsewhere["sds/t.yaml"]
    assert b"/run/tokens" not in b"".join(elsewhere.values())


def test_a_token_that_comes_and_is_renewed() -> None:
    envoy_binary()
    with short_directory() as root, upstream(401) as azure, upstream(200) as other:
        (root / "run" / "tokens").mkdir(parents=True)
        (root / "key").write_text("an-azure-key")
        targets = [
            target("azure", provider("azure", "azure-openai", azure.url, (ENTRA,))),
            target("by-key", provider("by-key", "azure-openai", azure.url, (Credential(file=str(root / "key")),))),
            target("other", provider("other", url=other.url)),
        ]
        with (
            recording(root, Recorder(retry=frozenset({401}))) as recorder,
            running_envoy(registry(*targets), directory=root) as envoy,
        ):

            def sent(*chain: str) -> dict[str, str]:
                azure.requests.clear()
                other.requests.clear()
                recorder.chain = list(chain)
                httpx.post(f"{envoy.url}/v1/chat/completions", json={}, headers={"api-key": "of-the-client"}, timeout=20)
                return {name: value for name, value in azure.requests[0][1].items() if name in ("authorization", "api-key")}

            # no token yet: the provider says so, and the next target answers
            assert sent("azure", "other") == {}
            assert len(other.requests) == 1
            for token in ("first", "second"):
                put(root / "run" / "tokens", "azure", token.encode())
                wanted = {"authorization": f"Bearer {token}"}
                eventually(lambda wanted=wanted: sent("azure", "other") == wanted, f"the {token} token is used")  # type: ignore[misc]
                assert "authorization" not in other.requests[0][1]
            # what else is written there changes nothing
            write_states(root / "run" / "tokens", {"azure": State(1, 2)})
            assert sent("azure") == {"authorization": "Bearer second"}
            assert sent("by-key") == {"api-key": "an-azure-key"}
            assert sent("azure", "by-key") == {"authorization": "Bearer second"}
            assert [headers.get("authorization") for _, headers, _ in azure.requests] == ["Bearer second", None]
            assert "first" not in repr(recorder.seen)
            assert "second" not in repr(recorder.seen)
