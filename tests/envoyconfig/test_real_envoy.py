"""What the rendered configuration does in the real Envoy."""

from __future__ import annotations

import httpx

from tests.envoy_process import running_envoy
from tests.envoyconfig.registries import provider, registry, target

LOCAL = ("http", "127.0.0.1", 9)


def test_without_a_server_callers_get_json_503_at_once() -> None:
    with running_envoy(registry(target("a", provider("p", url=LOCAL)))) as envoy:
        answer = httpx.post(f"{envoy.url}/v1/chat/completions", json={"model": "chat"}, timeout=1)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["type"] == "error"
        print(answer.headers, answer.text)
        ws = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13"}
        answer = httpx.get(f"{envoy.url}/v1/realtime", headers=ws, timeout=1)
        print(answer.status_code, answer.headers, answer.text)
        assert answer.status_code == 501
