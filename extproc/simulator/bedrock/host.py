"""Bedrock's runtime as a host: signed requests, headers and errors, which its APIs share.

An access key id stands for the key: whether signatures hold is no question of a dialect, and checked elsewhere.
Wire format of errors: https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

import orjson

from extproc.simulator.bedrock.frames import CONTENT_TYPE, exception
from extproc.simulator.wire import JSON, Answer, Call, Headers, Rejected, Stamp

_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([A-Za-z0-9]+)/\d{8}/[a-z0-9-]+/bedrock/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=[0-9a-f]{64}"
)
_PATH = re.compile(r"/model/([^/]+)/([a-z-]+)")
_TYPES = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
_USUAL = {
    400: "The request was invalid.",
    403: "You don't have access to the model with the specified model ID.",
    408: "The model timed out while processing the request.",
    424: "The model returned an error while processing the request.",
    429: "Too many requests, please wait before trying again.",
    500: "The system encountered an unexpected error during processing. Try your request again.",
    503: "Bedrock is unable to process your request.",
}
_IN_STREAM = {
    400: "validationException",
    424: "modelStreamErrorException",
    429: "throttlingException",
    500: "internalServerException",
    503: "serviceUnavailableException",
}


class BedrockHost:
    """What its APIs share."""

    dialect = "bedrock_converse"
    models: tuple[str, ...] = ("anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-lite-v1:0")
    json_type = "application/json"
    bad_json = "Unexpected end-of-input: expected close marker for Object"
    bad_shape = "STRUCTURE_VALUE, a member has the wrong type."
    overloaded = 503

    def place(self, method: str, path: str) -> tuple[str, str]:
        """(model, operation) of `/model/{id}/{operation}`; a slash within an id is percent-encoded. Raises `Rejected`."""
        found = _PATH.fullmatch(path)
        if found is None:
            raise Rejected(404, "Unable to determine service/operation name to be authorized", "UnknownOperationException")
        if method != "POST":
            raise Rejected(405, "Method Not Allowed", "UnknownOperationException")
        return unquote(found[1]), found[2]

    def key(self, headers: Mapping[str, str], query: str) -> str | None:  # noqa: ARG002 - the contract's signature
        written = headers.get("authorization", "")
        signed = _SIGNED.fullmatch(written)
        if signed is not None:
            return signed[1]
        scheme, _, key = written.partition(" ")
        return key.strip() or None if scheme.lower() == "bearer" else None

    def check_access(self, call: Call, headers: Mapping[str, str], key: str | None, accepted: frozenset[str]) -> None:  # noqa: ARG002
        if not headers.get("authorization"):
            raise Rejected(403, "Missing Authentication Token", "MissingAuthenticationTokenException")
        if key is None:
            text = "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' parameters."
            raise Rejected(403, text, "IncompleteSignatureException")
        signed = _SIGNED.fullmatch(headers["authorization"])
        if signed is not None and ("x-amz-date" not in headers or "host" not in signed[2].split(";")):
            text = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
            raise Rejected(403, text, "IncompleteSignatureException")
        if accepted and key not in accepted:
            raise self.refused_key()

    def model_of(self, call: Call, body: JSON) -> str:  # noqa: ARG002
        return call.model

    def model_list(self, call: Call, models: tuple[str, ...]) -> bytes:  # noqa: ARG002
        """Listed by another service of AWS; here for completeness."""
        return orjson.dumps({"modelSummaries": [{"modelId": m, "modelName": m} for m in models]})

    def headers(self, stamp: Stamp, content_type: str) -> Headers:
        digits = stamp.hex(f"request{stamp.number}", 32)
        request_id = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        return [("content-type", content_type), ("x-amzn-requestid", request_id)]

    def stream_type(self, call: Call) -> str:  # noqa: ARG002
        return CONTENT_TYPE

    def error(self, problem: Rejected, stamp: Stamp, call: Call | None = None) -> Answer:  # noqa: ARG002
        kind = problem.type or _TYPES.get(problem.status) or ("ValidationException" if problem.status < 500 else "InternalServerException")
        headers = [*self.headers(stamp, self.json_type), ("x-amzn-errortype", f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/")]
        if problem.retry_after is not None:
            headers.append(("retry-after", f"{problem.retry_after:g}"))
        return Answer(problem.status, headers, orjson.dumps({"message": problem.message}))

    def usual(self, status: int, model: str) -> Rejected:
        if status == 404:
            return self.unknown_model(model, None)
        return Rejected(status, _USUAL.get(status, f"The server answered with status {status}."))

    def refused_key(self) -> Rejected:
        return Rejected(403, "The security token included in the request is invalid.", "UnrecognizedClientException")

    def context_length(self, model: str, tokens: int, window: int) -> Rejected:
        text = (
            f"The model returned the following errors: prompt is too long: {tokens} tokens > {window} maximum"
            if "anthropic." in model
            else "The model returned the following errors: Input Tokens Exceeded: Number of input tokens exceeds maximum length. "
            "Please update the input to try again."
        )
        return Rejected(400, text)

    def unknown_model(self, model: str, call: Call | None) -> Rejected:  # noqa: ARG002
        return Rejected(400, "The provided model identifier is invalid.")

    def error_event(self, problem: Rejected, stamp: Stamp, call: Call | None, after: int) -> bytes:  # noqa: ARG002
        kind = _IN_STREAM.get(problem.status, "validationException" if problem.status < 500 else "internalServerException")
        return exception(kind, problem.message)
