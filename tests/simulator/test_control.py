"""The HTTP control, what is kept of requests, and the plan of faults."""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
import yaml

from extproc.simulator import Fault, FaultKind, Simulator, command
from extproc.simulator.faults import MEANING, FaultPlan, fault_from_json, fault_to_json
from extproc.simulator.http1 import Request
from extproc.simulator.received import KEEP_BODIES, ReceivedLog, fingerprint

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
HEADERS = {"authorization": "Bearer sk-secret"}


def test_faults_over_http(simulate):
    sim = simulate("openai_chat")

    def status():
        return httpx.post(sim.url + "/v1/chat/completions", json=CHAT, headers=HEADERS).status_code

    assert httpx.post(sim.url + "/_sim/fault", json={"kind": "status", "status": 429, "times": 2}).status_code == 200
    listed = httpx.get(sim.url + "/_sim/fault").json()
    assert listed["faults"] == [{"kind": "status", "status": 429, "times": 2}]
    assert set(listed["kinds"]) == {k.value for k in FaultKind}
    assert [status() for _ in range(3)] == [429, 429, 200]
    httpx.post(sim.url + "/_sim/fault", json={"kind": "status", "status": 503, "times": None})
    assert status() == 503
    assert httpx.delete(sim.url + "/_sim/fault").status_code == 200
    assert status() == 200


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("[]", "a fault is an object"),
        ("nonsense", "line 1 column 1"),
        ('{"kind": "nope"}', "kind must be one of"),
        ('{"kind": "status", "colour": 1}', "unknown member `colour`"),
        ('{"kind": "status", "status": "x"}', "`status` has the wrong type"),
        ('{"kind": "status", "status": 99}', "between 200 and 599"),
        ('{"kind": "status", "times": 0}', "times must be positive"),
        ('{"kind": "status", "times": "x"}', "whole number or null"),
        ('{"kind": "status", "probability": 2}', "probability"),
    ],
)
def test_faults_that_make_no_sense(simulate, body, text):
    got = httpx.post(simulate("openai_chat").url + "/_sim/fault", content=body)
    assert got.status_code == 400
    assert text in got.json()["error"]


def test_requests_are_shown_without_keys(simulate):
    sim = simulate("gemini")
    httpx.post(sim.url + "/v1beta/models/m:generateContent?key=sk-query", json={}, headers={"x-goog-api-key": "sk-secret", "cookie": "c=sk-cookie"})
    shown = httpx.get(sim.url + "/_sim/requests")
    assert "sk-" not in shown.text
    record = shown.json()["requests"][0]
    assert record["key_sha256"] == fingerprint("sk-secret")
    assert (record["status"], record["model"]) == (400, "m")
    assert sim.received[-1].headers["x-goog-api-key"] == "sk-secret"
    httpx.delete(sim.url + "/_sim/requests")
    assert len(sim.received) == 0
    assert httpx.get(sim.url + "/_sim/elsewhere").status_code == 404
    assert httpx.put(sim.url + "/_sim/fault").status_code == 405


def test_kept_requests_are_bounded():
    log = ReceivedLog(keep=50)
    for _ in range(100):
        log.note(Request("POST", "/", {}, b"x" * (1 << 20)))
    assert len(log) == 50
    assert log.total == 100
    kept = sum(len(r.body or b"") for r in log)
    assert kept <= KEEP_BODIES
    assert log[-1].body is not None
    assert log[0].body is None
    assert log[0].sha256


def test_every_kind_has_a_meaning_and_round_trips():
    assert set(MEANING) == set(FaultKind)
    for kind in FaultKind:
        fault = Fault(kind, status=500, after=3, seconds=1.5, every=2, retry_after=2)
        assert fault_from_json(fault_to_json(fault)) == fault
    assert fault_to_json(Fault(FaultKind.RESET, key="sk-a")) == {"kind": "reset", "key": "…"}


def test_the_plan_is_bounded():
    plan = FaultPlan()
    for _ in range(FaultPlan.LIMIT):
        plan.add(Fault(FaultKind.RESET))
    with pytest.raises(ValueError, match="waiting"):
        plan.add(Fault(FaultKind.RESET))


@pytest.mark.parametrize("stream", [True, False])
def test_canned_answers_are_the_first_answer_again(simulate, stream):
    sim = simulate("openai_chat", canned=True)

    def ask(text):
        body = CHAT | {"messages": [{"role": "user", "content": text}], "stream": stream}
        return httpx.post(sim.url + "/v1/chat/completions", json=body, headers=HEADERS).content

    first = ask("one")
    assert b"one" in first
    assert ask("two") == first
    if stream:
        assert first.count(b"data: ") >= 100
    assert sim.received.total == 2
    sim.fault(Fault(FaultKind.STATUS, status=500))
    assert b"server_error" in ask("three")
    assert ask("four") == first


def test_canned_streams_keep_their_pace(simulate):
    sim = simulate("openai_chat", canned=True, words=5, tokens_per_second=1000)
    body = CHAT | {"stream": True}
    answers = {httpx.post(sim.url + "/v1/chat/completions", json=body, headers=HEADERS).content for _ in range(2)}
    assert len(answers) == 1
    assert next(iter(answers)).endswith(b"data: [DONE]\n\n")


def test_unknown_dialect():
    with pytest.raises(ValueError, match="openai_chat"):
        Simulator("x", "soap")


# -- the command


def parsed(*argv):
    parser = argparse.ArgumentParser(prog="extproc simulate")
    command.add_arguments(parser)
    return parser, parser.parse_args(argv)


def test_help_names_every_fault():
    text = parsed()[0].format_help()
    for kind in FaultKind:
        assert re.search(rf"^  {kind.value} ", text, re.MULTILINE)
    for name in ("openai", "anthropic", "gemini", "bedrock", "cohere", "ollama"):
        assert re.search(rf"^  {name} +\w", text, re.MULTILINE)
    assert "--tokens-per-second" in text


@pytest.mark.parametrize(
    "argv", [["--openai", "70000"], ["--fault", "nobody={}"], ["--fault", 'openai={"kind":"x"}'], ["--words", "0"], ["--tokens-per-second", "nan"]]
)
def test_bad_arguments(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        parsed(*argv)
    assert stopped.value.code == 2
    assert argv[0] in capsys.readouterr().err


RUN = """
import argparse, sys
from extproc.simulator import command
parser = argparse.ArgumentParser()
command.add_arguments(parser)
sys.exit(command.run(parser.parse_args()))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_logs_and_stops(number):
    names = ["openai", "anthropic", "gemini", "bedrock", "cohere", "ollama"]
    ports = [word for name in names for word in (f"--{name}", "0")]
    fault = ["--fault", 'openai={"kind":"status","status":503,"times":1}']
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", RUN, *ports, *fault], stdout=subprocess.PIPE, text=True, cwd=root, env=os.environ)
    guard = threading.Timer(20, process.kill)
    guard.start()
    try:
        text = ""
        while "Ctrl-C" not in text:
            line = process.stdout.readline()
            assert line, text
            text += line
        urls = dict(re.findall(r"^(\w+) +(http://\S+)$", text, re.MULTILINE))
        assert list(urls) == names
        registry = yaml.safe_load(text[text.index("version: 1") : text.index("\nFaults:")])
        assert registry["providers"]["sim-gemini"] == {"kind": "gemini", "url": urls["gemini"] + "/v1beta", "credential": {"env": "SIM_KEY"}}
        assert registry["models"]["chat"]["targets"] == names
        got = [httpx.post(urls["openai"] + "/v1/chat/completions", json=CHAT, headers=HEADERS).status_code for _ in range(2)]
        assert got == [503, 200]
        assert process.stdout.readline() == "\n"
        lines = [process.stdout.readline() for _ in range(2)]
        assert "fault=status" in lines[0]
        assert re.fullmatch(rf"openai    POST /v1/chat/completions gpt-4o unary 200 \d+ms \d+B key={fingerprint('sk-secret')}\n", lines[1])
        process.send_signal(number)
        assert process.wait(10) == 0
    finally:
        guard.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_taken_port_is_explained(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert command.run(parsed("--only", "openai", "--openai", str(port))[1]) == 1
    assert f"cannot listen on port {port} for openai" in capsys.readouterr().err


def test_log_lines_hold_no_control_characters():
    record = ReceivedLog().note(Request("POST", "/\x1b[31m", {}, json.dumps(CHAT).encode()))
    assert "\x1b" not in command.log_line("openai", record)
