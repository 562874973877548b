"""The request's log line: its golden form, its documented fields, and that hostile values cannot break it."""

from __future__ import annotations

import orjson

from extproc.telemetry.logline import ALWAYS, FIELDS, request_line, timestamp
from extproc.telemetry.record import AttemptRecord, Outcome, RequestRecord
from tests.telemetry.records import answered, failed

GOLDEN = (
    '{"ts":"2023-11-14T22:13:20.812Z","level":"info","type":"request","outcome":"ok","status":200,"request_id":"req-1",'
    '"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","operation":"chat","model":"gpt-4o","target":"sonnet","provider":"anthropic",'
    '"target_model":"claude-sonnet-4-5","client_dialect":"openai_chat","upstream_dialect":"anthropic_messages","stream":true,'
    '"commit":"first_token","finish":"stop",'
    '"attempts":[{"target":"gpt-4o","status":503,"provider":"openai","verdict":"next","error_type":"unavailable","ms":18.0},'
    '{"target":"sonnet","status":200,"provider":"anthropic","verdict":"pass","ms":640.0}],'
    '"total_ms":812.0,"ttft_ms":120.0,"cpu_us":413,"input_tokens":12,"output_tokens":48,"cache_read_tokens":4,"cache_write_tokens":2,'
    '"reasoning_tokens":8,"cost_usd":0.000312,"bytes_in":512,"bytes_out":4096,"losses":["dropped:logprobs"],"response_id":"msg_1",'
    '"registry":"0123456789ab","tenant":"acme","rule":"premium","rank_by":"latency","routing":["explored"],"observed":"gpt-4o","limited":"limits[0]",'
    '"shadow":{"request_id":"req-0","target":"gpt-4o","total_ms":700.5}}\n'
)


def test_golden_line() -> None:
    assert request_line(answered()).decode() == GOLDEN


def test_every_field_is_documented_and_every_documented_field_occurs() -> None:
    names = list(orjson.loads(request_line(answered())))
    failure = list(orjson.loads(request_line(failed())))
    assert names == [name for name in FIELDS if name != "error_type"]
    assert set(failure) <= set(FIELDS)
    assert "error_type" in failure


def test_an_almost_empty_record_gives_what_is_always_there() -> None:
    line = orjson.loads(request_line(RequestRecord(request_id="", outcome=Outcome.CLIENT_GONE, ended_ns=0, total_ms=0.0)))
    assert set(line) == ALWAYS | {"bytes_in", "bytes_out"}
    assert (line["level"], line["status"], line["attempts"]) == ("info", 0, [])


def test_hostile_values_are_one_short_line() -> None:
    record = failed(error_type="e" * 9999)
    record.model = 'a"\n\x1b[2J\ud800' + "m" * 1_000_000
    record.losses = ["l" * 1000] * 1000
    record.attempts = [AttemptRecord("t", 500)] * 1000
    line = request_line(record)
    assert line.count(b"\n") == 1
    assert len(line) < 30_000
    assert orjson.loads(line)["model"].startswith('a"\n\x1b[2J?m')


def test_timestamp() -> None:
    assert timestamp(1_700_000_000_000_000_000) == "2023-11-14T22:13:20.000Z"
    assert timestamp(1_999_999_999) == "1970-01-01T00:00:01.999Z"
