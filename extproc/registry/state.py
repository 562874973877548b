"""The `state` section: the Redis through which replicas share what they count and learn. Its password is in a file, never here.

The text of a refused URL is not quoted: people write passwords into them.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from extproc.registry.credentials import read_path
from extproc.registry.endpoints import is_host
from extproc.registry.fields import Field, Record
from extproc.registry.policy import State
from extproc.registry.problems import looks_secret, shown
from extproc.registry.yaml_marks import Mapping

KNOWN = ("url", "username", "password_file", "prefix")
EXAMPLE = "redis://redis:6379/0"
PASSWORD = "write it into a file that this server reads, and name that: password_file: /secrets/redis"
HINTS = {
    **dict.fromkeys(("password", "pass", "secret", "auth", "token", "key"), PASSWORD),
    **dict.fromkeys(("password_env", "env"), "use password_file"),
    **dict.fromkeys(("host", "port", "db", "database", "redis_url", "redis", "address", "endpoint", "type"), f"use url: {EXAMPLE}"),
    **dict.fromkeys(("user",), "use username"),
    **dict.fromkeys(("tls", "ssl"), "use a url that starts with rediss://"),
    **dict.fromkeys(("key_prefix", "namespace"), "use prefix"),
}
_DATABASE = re.compile(r"(?:/[0-9]{0,4})?\Z")
_QUERY = re.compile(r"db=[0-9]{1,4}\Z")
_SOCKET = re.compile(r"(?:/[A-Za-z0-9._~@:+-]+)+\Z")
_USERNAME = re.compile(r"[\x21-\x7e]{1,128}\Z")
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}\Z")


def read_state(section: Field | None, directory: str) -> State | None:
    """None without one, or with problems. A relative path starts in `directory`."""
    if section is None:
        return None
    before = len(section.problems)
    if not isinstance(section.node, Mapping):
        url = _url(section)
        return State(url) if url is not None else None
    record = section.record(KNOWN, hints=HINTS)
    field = record.need("url", EXAMPLE) if record else None
    if record is None or field is None:
        return None
    url = _url(field)
    path = read_path(part, directory) if (part := record.get("password_file")) else None
    username = _matching(record, "username", _USERNAME, "up to 128 characters without spaces")
    prefix = _matching(record, "prefix", _PREFIX, "letters, digits and . _ : -, up to 64 characters")
    if username is not None and record.get("password_file") is None:
        record.field.fail("has a username without `password_file`", PASSWORD)
    if url is None or len(section.problems) > before:
        return None
    return State(url, username, path, prefix or State(url).prefix)


def _matching(record: Record, key: str, pattern: re.Pattern[str], rule: str) -> str | None:
    field = record.get(key)
    value = field.text(rule) if field else None
    if field is None or value is None or pattern.match(value):
        return value
    field.fail(f"{shown(value)} is no {key}: {rule}")
    return None


def _url(field: Field) -> str | None:
    if (text := getattr(field.node, "text", "")) and looks_secret(text) and "://" not in text:
        field.fail("looks like a key; here stands the URL of a Redis", f"such as {EXAMPLE}")
        return None
    text = field.text(f"a URL such as {EXAMPLE}")
    if text is None:
        return None
    wrong = _wrong(text)
    if wrong is None:
        return text
    field.fail(*wrong)
    return None


def _wrong(text: str) -> tuple[str, str | None] | None:
    """What is wrong with a URL of a Redis and what to do about it, without any of its text."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is not a URL: its host or port cannot be read", f"such as {EXAMPLE}"
    if parts.scheme not in ("redis", "rediss", "unix"):
        return "must start with redis://, rediss:// (TLS) or unix://", f"such as {EXAMPLE}, or unix:///run/redis.sock"
    if parts.username or parts.password or "@" in parts.netloc:
        return "must not hold a user name or password", PASSWORD
    if not text.isascii() or not text.isprintable() or " " in text:
        return "must not hold spaces, control characters or letters outside ASCII", None
    if "#" in text or ("?" in text and not (parts.scheme == "unix" and _QUERY.match(parts.query))):
        return "must not hold a query or a fragment", "the database is the path: redis://redis:6379/1; a password belongs to password_file"
    if parts.scheme == "unix":
        absolute = not parts.netloc and _SOCKET.match(parts.path)
        return None if absolute else ("must be the absolute path of a socket", "with three slashes: unix:///run/redis.sock")
    if not is_host(host) or port == 0 or parts.netloc.endswith(":"):
        return "has no valid host or port", f"such as {EXAMPLE}"
    if not _DATABASE.match(parts.path):
        return "may hold the number of a database behind the host, nothing else", f"such as {EXAMPLE}"
    return None
