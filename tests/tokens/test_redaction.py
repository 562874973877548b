"""No text of a failure holds a token or a secret."""

import base64
import random

import pytest

from extproc.tokens.redaction import LIMIT, safe_text

RANDOM = random.Random(1)
JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJodHRwczovL2EifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "secret",
    [
        JWT,
        "ya29.c.Kp8BCAi0Zk3v9QmWx81LpTn5RbYc7Ua2",
        "Zk3v9QmWx81LpTn5RbYc7Ua2==",
        "abc8Q~Zk3v9QmWx81LpTn5RbYc7Ua2abcdefgh",
        "abcdefghijklmnopqrstuvwxyzabcdef",
        *[RANDOM.randbytes(32).hex() for _ in range(3)],
        *[base64.urlsafe_b64encode(RANDOM.randbytes(48)).decode() for _ in range(3)],
    ],
)
def test_secrets(secret: str) -> None:
    text = safe_text(ValueError(f"('invalid_grant', {{'access_token': '{secret}', 'x': 1}}) for url /token?secret={secret}&a=1"))
    assert secret not in text
    assert secret[4:20] not in text
    assert text.startswith("ValueError: ('invalid_grant', {'access_token': '…', 'x': 1})")


def test_a_key_in_lines_leaves_none_of_them() -> None:
    for end in ("", "-----END PRIVATE KEY-----\nis no key"):
        for _ in range(50):
            pem = base64.encodebytes(RANDOM.randbytes(600)).decode()
            text = safe_text(ValueError(f"cannot read -----BEGIN PRIVATE KEY-----\n{pem}{end}"))
            assert text == "ValueError: cannot read …" + (" is no key" if end else "")
            assert len(text) <= LIMIT + 20


@pytest.mark.parametrize(
    "words",
    [
        "AADSTS7000215: Invalid client secret provided. Trace ID: 0c7d0b7e-4e7c-4b0a-9d3a-2f1f2b3c4d5e",
        "File /secrets/google-service-account.json was not found.",
        "HTTPSConnectionPool: Failed to resolve login.microsoftonline.com",
        "iamcredentials.googleapis.com: PERMISSION_DENIED iam.serviceAccounts.getAccessToken",
    ],
)
def test_words_stay(words: str) -> None:
    assert safe_text(RuntimeError(words)) == f"RuntimeError: {words}"


def test_an_error_without_a_text() -> None:
    assert safe_text(TimeoutError()) == "TimeoutError"
