"""Anthropic's token count. Wire format: https://platform.claude.com/docs/en/api/messages-count-tokens"""

from __future__ import annotations

import orjson

from extproc.simulator.anthropic.host import AnthropicHost
from extproc.simulator.anthropic.messages import bad
from extproc.simulator.anthropic.requests import read
from extproc.simulator.wire import Answer, Call, Posted, Rejected

_NOT_HERE = frozenset({"max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata", "service_tier"})


class AnthropicCount(AnthropicHost):
    """POST /v1/messages/count_tokens."""

    def route(self, method: str, path: str, query: str) -> Call:  # noqa: ARG002 - the contract's signature
        if path != "/v1/messages/count_tokens":
            raise Rejected(404, "Not Found")
        if method != "POST":
            raise Rejected(405, "Method Not Allowed", "invalid_request_error")
        return Call("plain", serve=self._count)

    def _count(self, posted: Posted) -> Answer:
        if posted.body is None:
            raise Rejected(400, self.bad_json)
        if stray := next((k for k in posted.body if k in _NOT_HERE), None):
            raise bad(f"{stray}: Extra inputs are not permitted")
        # a budget of thinking may be counted with, whatever its size
        counted = read({**posted.body, "max_tokens": 1 << 20}, posted.headers).prompt_tokens
        return Answer(200, self.headers(posted.stamp, self.json_type), orjson.dumps({"input_tokens": counted}))
