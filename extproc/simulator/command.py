"""`extproc simulate`: simulated providers on loopback ports, to try things by hand and to point a registry at."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from extproc.simulator.faults import MEANING, Fault, planned_from_json
from extproc.simulator.received import Received
from extproc.simulator.server import Simulator

DESCRIPTION = (
    "Starts simulated providers on this machine: streams, tool calls, structured output, thinking, embeddings, the providers' own errors and "
    "request validation. Any key is accepted. Answers name the simulator and echo the question; a tool is called when the question names it."
)


@dataclass(frozen=True, slots=True)
class _Provider:
    """`dialect` as in `SITES`, the usual `port`, the `path` of the base URL, a `model`, what a registry adds (`more`), and `serves` for the help."""

    dialect: str
    port: int
    path: str
    model: str
    serves: str
    credential: str = "{env: SIM_KEY}"
    more: str = ""


_PROVIDERS = {
    "openai": _Provider(
        "openai_chat",
        8101,
        "/v1",
        "gpt-4o",
        "Chat Completions, Responses, embeddings, rerank (Jina's), completions, images, speech, transcription, moderations; Azure's paths",
    ),
    "anthropic": _Provider("anthropic_messages", 8102, "/v1", "claude-sonnet-4-5", "Messages, count_tokens"),
    "gemini": _Provider(
        "gemini",
        8103,
        "/v1beta",
        "gemini-2.5-flash",
        "generateContent, embedContent, countTokens; below Vertex AI's paths these, predict, and Claude by rawPredict",
    ),
    "bedrock": _Provider(
        "bedrock_converse",
        8104,
        "",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "Converse, InvokeModel for Claude, CountTokens; requests must be signed",
        "{aws: default}",
        ", region: us-east-1",
    ),
    "cohere": _Provider("cohere_chat", 8105, "", "command-a-03-2025", "chat, embed, rerank, version 2"),
    "ollama": _Provider("ollama_chat", 8106, "", "llama3.2", "chat, generate, embed, tags; OpenAI's chat and embeddings below /v1", "none"),
}
"""By kind in the registry."""


def epilog() -> str:
    """The part of the help behind the options: what is served, faults and how to set them."""
    width = max(len(k.value) for k in MEANING) + 2
    lines = "\n".join(
        textwrap.fill(f"  {kind.value:<{width}}{text}", 100, subsequent_indent=" " * (width + 2), break_on_hyphens=False)
        for kind, text in MEANING.items()
    )
    apis = "\n".join(
        textwrap.fill(f"  {name:<11}{p.serves}", 100, subsequent_indent=" " * 13, break_on_hyphens=False) for name, p in _PROVIDERS.items()
    )
    return (
        f"providers, and what each serves:\n{apis}\n\n"
        "faults, while it runs (the same on each port):\n"
        '  curl -d \'{"kind":"status","status":429,"retry_after":2,"times":3}\' http://127.0.0.1:8101/_sim/fault\n'
        "  curl -X DELETE http://127.0.0.1:8101/_sim/fault\n"
        "  curl http://127.0.0.1:8101/_sim/requests\n\n"
        "members of a fault: kind, status, retry_after, message, after (events), seconds, rate (bytes per second),\n"
        "probability, every (2: every second request), model (pattern), key, times (null: until cleared)\n\n"
        f"kinds:\n{lines}\n"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's options, and its help around them."""
    parser.description = textwrap.fill(DESCRIPTION, 100)
    parser.epilog = epilog()
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for name, provider in _PROVIDERS.items():
        usual = provider.port
        parser.add_argument(
            f"--{name}", type=_port, default=usual, metavar="PORT", help=f"port of the {name} simulator; 0 takes a free one (default: {usual})"
        )
    parser.add_argument("--only", action="append", choices=list(_PROVIDERS), help="start only this one; may be repeated")
    parser.add_argument("--tokens-per-second", type=_positive, metavar="N", help="pace of streams (default: all at once)")
    parser.add_argument("--words", type=_count, metavar="N", help="least number of words in a text answer")
    parser.add_argument("--context-window", type=_count, metavar="TOKENS", help="longer prompts fail with the provider's context-length error")
    parser.add_argument("--canned", action="store_true", help="for benchmarks: repeat the first answer of each kind without parsing requests")
    parser.add_argument(
        "--fault",
        action="append",
        type=_fault,
        default=[],
        metavar="PROVIDER=JSON",
        help='a fault from the start, standing unless it has `times`: openai=\'{"kind":"status","status":503}\'',
    )
    parser.add_argument("--quiet", action="store_true", help="no line per request")


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port lies between 0 and 65535")
    return port


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be positive")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _fault(text: str) -> tuple[str, Fault, int | None]:
    name, _, raw = text.partition("=")
    if name not in _PROVIDERS:
        raise argparse.ArgumentTypeError(f"starts with one of: {', '.join(f'{p}=' for p in _PROVIDERS)}")
    try:
        data = orjson.loads(raw)
        fault, times = planned_from_json({"times": None, **data} if isinstance(data, dict) else data)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None
    return name, fault, times


def run(args: argparse.Namespace) -> int:
    """Runs until SIGINT or SIGTERM. Returns the exit code: 0, or 1 when a port is taken."""
    return asyncio.run(_run(args))


def _out(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _log(name: str) -> Callable[[Received], None]:
    return lambda record: _out(log_line(name, record))


def log_line(name: str, record: Received) -> str:
    """One line per request: who, what, status or what became of it, milliseconds, fault, key as a hash, and what was wrong with it."""
    parts = [
        f"{name:<9}",
        record.method,
        record.view()["target"],
        record.model or "-",
        "stream" if record.stream else "unary",
        str(record.status or "-"),
        f"{(record.seconds or 0) * 1000:.0f}ms",
        f"{record.length}B",
    ]
    if record.key_sha256:
        parts.append(f"key={record.key_sha256}")
    if record.fault:
        parts.append(f"fault={record.fault}")
    if record.left:
        parts.append("client-left")
    if record.problem:
        parts.append(f"problem={record.problem!r}")
    # a request target is the client's text: no control character reaches a terminal
    return "".join(c if c.isprintable() else "?" for c in " ".join(parts))


def snippet(simulators: dict[str, Simulator]) -> str:
    """Registry YAML that uses the simulators: one model that falls back through all of them."""
    lines = ["version: 1", "providers:"]
    targets = ["targets:"]
    for name, simulator in simulators.items():
        p = _PROVIDERS[name]
        lines.append(f'  sim-{name}: {{kind: {name}, url: "{simulator.url}{p.path}", credential: {p.credential}{p.more}}}')
        targets.append(f'  {name}: {{provider: sim-{name}, model: "{p.model}"}}')
    lines += [*targets, "models:", "  chat:", "    aliases: [gpt-4o, claude-sonnet-4-5]", f"    targets: [{', '.join(simulators)}]"]
    return "\n".join(lines)


async def _run(args: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    simulators: dict[str, Simulator] = {}
    try:
        for name, provider in _PROVIDERS.items():
            if args.only and name not in args.only:
                continue
            simulator = Simulator(
                f"sim-{name}",
                provider.dialect,
                getattr(args, name),
                words=args.words,
                tokens_per_second=args.tokens_per_second,
                context_window=args.context_window,
                canned=args.canned,
                on_exchange=None if args.quiet else _log(name),
            )
            try:
                await simulator.start()
            except OSError as problem:
                sys.stderr.write(
                    f"extproc simulate: cannot listen on port {simulator.port} for {name}: {problem.strerror}; choose another with --{name}\n"
                )
                return 1
            simulators[name] = simulator
        for name, fault, times in args.fault:
            if name in simulators:
                simulators[name].fault(fault, times)
        _announce(simulators)
        await stop.wait()
    finally:
        for simulator in simulators.values():
            await simulator.stop()
    return 0


def _announce(simulators: dict[str, Simulator]) -> None:
    for name, simulator in simulators.items():
        _out(f"{name:<9} {simulator.url}")
    _out(f"\nA registry that uses them (SIM_KEY and, for Bedrock, the keys of AWS may be anything):\n\n{snippet(simulators)}\n")
    first = next(iter(simulators.values()))
    _out(f"Faults: curl {first.url}/_sim/fault shows the kinds; POST sets one. Stop with Ctrl-C.\n")
