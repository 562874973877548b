"""The command line's side of the admin API: finding it, asking it, and saying what it refused in words for a terminal."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx
import orjson

from extproc.commands.arguments import UsageError

ENVIRONMENT = "EXTPROC_ADMIN"
TOKEN_FILE = "EXTPROC_ADMIN_TOKEN_FILE"
SOCKET = "admin-api.sock"
TIMEOUT = 60.0
"""Seconds: a change that brings a cluster waits until Envoy has it."""


class RefusedError(Exception):
    """The server said no. `problems` are its reasons with their places, `status` the HTTP status."""

    def __init__(self, status: int, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join((self.args[0], *(f"  {p}" for p in self.problems)))


@dataclass(frozen=True, slots=True)
class Answer:
    """`etag` is the version of what was read, "" without one."""

    body: Any
    etag: str


def add_admin(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """--admin, --run-dir, --token-file. `again`: on an action's parser too, so that they may stand before the action or behind it."""
    group = parser.add_argument_group("which server", "one of --run-dir and --admin; where both are given, --run-dir counts")
    group.add_argument(
        "--run-dir",
        type=Path,
        metavar="DIR",
        default=argparse.SUPPRESS if again else None,
        help="the server's --run-dir: `extproc up` and `extproc demo` print it",
    )
    group.add_argument(
        "--admin",
        metavar="SOCKET|URL",
        default=argparse.SUPPRESS if again else os.environ.get(ENVIRONMENT),
        help=f"the server's admin API: a Unix socket ({SOCKET} in its --run-dir) or http://127.0.0.1:PORT (default: ${ENVIRONMENT})",
    )
    group.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        default=argparse.SUPPRESS if again else os.environ.get(TOKEN_FILE),
        help=f"with a URL: the file that holds the server's admin token (default: ${TOKEN_FILE})",
    )


class AdminClient:
    """One server's admin API. Used as a context manager."""

    def __init__(self, where: str, token: str | None = None) -> None:
        self.where = where
        headers = {"x-author": _author()}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        if where.startswith(("http://", "https://")):
            self._http = httpx.Client(base_url=where.rstrip("/"), headers=headers, timeout=TIMEOUT)
        else:
            transport = httpx.HTTPTransport(uds=where.removeprefix("unix:"))
            self._http = httpx.Client(transport=transport, base_url="http://localhost", headers=headers, timeout=TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, query: Mapping[str, str | int | None] | None = None) -> Answer:
        """Raises `RefusedError`, or `UsageError` where nobody answers."""
        return self.send("GET", path, query=query)

    def send(
        self, method: str, path: str, body: Any = None, *, etag: str = "", new: bool = False, query: Mapping[str, str | int | None] | None = None
    ) -> Answer:
        """`etag`: only if what stands there is still this version; `new`: only if nothing does. Raises like `get`."""
        headers = {"if-match": etag} if etag else {"if-none-match": "*"} if new else {}
        params = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            content = None if body is None else orjson.dumps(body)
            kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
            response = self._http.request(method, path, params=params, headers={**headers, "content-type": kind}, content=content)
        except (httpx.HTTPError, OSError) as error:
            raise UsageError(f"no server answers at {self.where} ({error}); say where it is with --run-dir or --admin") from None
        try:
            said = response.json() if response.content else None
        except ValueError:
            said = None
        if response.status_code >= 400:
            raise _refusal(response.status_code, said)
        return Answer(said, response.headers.get("etag", ""))


def client_of(args: argparse.Namespace) -> AdminClient:
    """The client that the arguments mean. Raises `UsageError`."""
    where: str | None = args.admin
    if args.run_dir is not None:
        where = str(args.run_dir / SOCKET)
    if not where:
        raise UsageError(f"which server? Say --run-dir DIR (of `extproc up` or `serve`), --admin SOCKET|URL, or set {ENVIRONMENT}")
    token = Path(args.token_file).read_text().strip() if args.token_file else None
    if where.startswith("http") and token is None:
        raise UsageError(f"{where} wants a token: --token-file FILE")
    return AdminClient(where, token)


def asked(args: argparse.Namespace, ask: Callable[[AdminClient, argparse.Namespace], tuple[Any, str]]) -> int:
    """Runs one action and returns the exit code. `ask` gives the server's answer and what a person gets to read of it; --json prints the answer."""
    with client_of(args) as client:
        try:
            said, text = ask(client, args)
        except RefusedError as refused:
            print(f"refused ({refused.status}): {refused}", file=sys.stderr)
            return 1
    print(orjson.dumps(said, option=orjson.OPT_INDENT_2).decode() if args.json else text)
    return 0


def segment(name: str) -> str:
    """A name in a path: model names may hold slashes."""
    return quote(name, safe="")


def _author() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _refusal(status: int, said: Any) -> RefusedError:
    error = said.get("error") if isinstance(said, dict) else None
    if not isinstance(error, dict):
        return RefusedError(status, f"the server answered with status {status}")
    problems = tuple(_problem(p) for p in error.get("problems") or () if isinstance(p, dict))
    return RefusedError(status, str(error.get("message", status)), problems)


def _problem(problem: Mapping[str, Any]) -> str:
    where = ":".join(str(p) for p in (problem.get("line") or "", problem.get("path") or "") if p)
    hint = f" ({problem['suggestion']})" if problem.get("suggestion") else ""
    return f"{where + ': ' if where else ''}{problem.get('message', '')}{hint}"
