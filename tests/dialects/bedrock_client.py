"""A real boto3 client whose requests are answered with given bytes."""

from __future__ import annotations

import io
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from tests.validators.bedrock_service import MODEL


class Body(io.BytesIO):
    """A response's body as botocore reads it."""

    def stream(self, amt: int = 1000, decode_content: bool = False) -> Any:
        yield from iter(lambda: self.read(amt), b"")


def boto_client(status: int, body: bytes, content_type: str = "application/json") -> Any:
    """A boto3 client whose requests are answered with these bytes, before anything is sent."""
    client = boto3.client(
        *("bedrock-runtime", "us-east-1"),
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )
    client.meta.events.register(
        "before-send.bedrock-runtime.*", lambda request, **_: AWSResponse(request.url, status, {"content-type": content_type}, Body(body))
    )
    return client


ASK = {"modelId": MODEL, "messages": [{"role": "user", "content": [{"text": "q"}]}]}
